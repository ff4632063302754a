// Global average pooling: one work-item for each image and `vec` of channels.

// y[n][c] = sum_p x[n][p][c] / pixels
__kernel void global_average_pool_forward(const uint batch, const uint pixels, const uint channels,
                                          __global float *restrict y, const uint y_at,
                                          __global const float *restrict x, const uint x_at) {
  const uint blocks = (channels + WIDTH - 1) / WIDTH, id = get_global_id(0);
  if (id >= batch * blocks)
    return;
  const uint n = id / blocks, c = id % blocks * WIDTH, valid = channels - c;
  x += x_at + n * pixels * channels + c;
  vec sum = ZERO;
  for (uint p = 0; p < pixels; p++)
    sum += load_part(x + p * channels, valid);
  store_part(y + y_at + n * channels + c, sum / (float)pixels, valid);
}

// dx[n][p][c] = dy[n][c] / pixels, added if `accumulate`
__kernel void global_average_pool_backward(const uint batch, const uint pixels, const uint channels,
                                           const uint accumulate, __global float *restrict dx, const uint dx_at,
                                           __global const float *restrict dy, const uint dy_at) {
  const uint blocks = (channels + WIDTH - 1) / WIDTH, id = get_global_id(0);
  if (id >= batch * blocks)
    return;
  const uint n = id / blocks, c = id % blocks * WIDTH, valid = channels - c;
  const vec value = load_part(dy + dy_at + n * channels + c, valid) / (float)pixels;
  dx += dx_at + n * pixels * channels + c;
  for (uint p = 0; p < pixels; p++)
    store_part(dx + p * channels, accumulate ? load_part(dx + p * channels, valid) + value : value, valid);
}
