// Global average pooling: a work-group for each image and as many `vec`s of channels as it takes side by side.

// y[n][c] = sum_p x[n][p][c] / pixels
GROUPED void global_average_pool_forward(const uint batch, const uint pixels, const uint channels,
                                         __global float *restrict y, const uint y_at,
                                         __global const float *restrict x, const uint x_at) {
  __local vec shared[GROUP];
  const struct columns own = columns((channels + WIDTH - 1) / WIDTH);
  const uint c = own.piece * WIDTH, valid = rest(channels, c);
  x += x_at + own.part * pixels * channels + c;
  vec sum = ZERO;
  for (uint p = own.strand; p < pixels; p += own.strands)
    sum += load_part(x + p * channels, valid);
  sum = sum_strands(own, sum, shared);
  if (own.strand == 0)
    store_part(y + y_at + own.part * channels + c, sum / (float)pixels, valid);
}

// dx[n][p][c] = dy[n][c] / pixels, added if `accumulate`
GROUPED void global_average_pool_backward(const uint batch, const uint pixels, const uint channels,
                                          const uint accumulate, __global float *restrict dx, const uint dx_at,
                                          __global const float *restrict dy, const uint dy_at) {
  const struct columns own = columns((channels + WIDTH - 1) / WIDTH);
  const uint c = own.piece * WIDTH, valid = rest(channels, c);
  const vec value = load_part(dy + dy_at + own.part * channels + c, valid) / (float)pixels;
  dx += dx_at + own.part * pixels * channels + c;
  for (uint p = own.strand; p < pixels; p += own.strands)
    store_part(dx + p * channels, accumulate ? load_part(dx + p * channels, valid) + value : value, valid);
}
