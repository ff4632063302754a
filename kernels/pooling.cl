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

// Max-pooling: one work-item for each pixel of what is written on CPUs, for each of its numbers on GPUs.

// Whether a later pixel of a window takes the place of the largest so far
static inline bool exceeds(const float later, const float largest) { return later > largest || isnan(later); }

// The first and the end of the pixels of a window along one axis
static inline uint window_from(const uint at, const uint stride, const uint padding) {
  return at * stride > padding ? at * stride - padding : 0;
}
static inline uint window_to(const uint at, const uint kernel_size, const uint stride, const uint padding,
                             const uint size) {
  return min(at * stride + kernel_size - padding, size);
}

// y[n][i][j][c] = max_ab x[n][i * stride + a - padding][j * stride + b - padding][c]
__kernel void max_pool_forward(const uint batch, const uint height, const uint width, const uint channels,
                               const uint out_height, const uint out_width, const uint kernel_size, const uint stride,
                               const uint padding, __global float *restrict y, const uint y_at,
                               __global const float *restrict x, const uint x_at) {
  const uint lanes = SPREAD(channels), item = get_global_id(0), id = item / lanes;
  if (id >= batch * out_height * out_width)
    return;
  const uint j = id % out_width, i = id / out_width % out_height, n = id / out_width / out_height;
  const uint top = window_from(i, stride, padding), bottom = window_to(i, kernel_size, stride, padding, height);
  const uint left = window_from(j, stride, padding), right = window_to(j, kernel_size, stride, padding, width);
  __global const float *from = x + x_at + n * height * width * channels;
  __global float *to = y + y_at + id * channels;
  for (uint c = item % lanes; c < channels; c += lanes) {
    float largest = from[(top * width + left) * channels + c];
    for (uint a = top; a < bottom; a++)
      for (uint b = left; b < right; b++) {
        const float value = from[(a * width + b) * channels + c];
        largest = exceeds(value, largest) ? value : largest;
      }
    to[c] = largest;
  }
}

// dx[n][p][q][c] = sum of dy[n][i][j][c] over the windows (i, j) whose largest pixel is (p, q), the first of several;
// added if `accumulate`
__kernel void max_pool_backward(const uint batch, const uint height, const uint width, const uint channels,
                                const uint out_height, const uint out_width, const uint kernel_size,
                                const uint stride, const uint padding, const uint accumulate,
                                __global float *restrict dx, const uint dx_at, __global const float *restrict dy,
                                const uint dy_at, __global const float *restrict x, const uint x_at) {
  const uint lanes = SPREAD(channels), item = get_global_id(0), id = item / lanes;
  if (id >= batch * height * width)
    return;
  const uint q = id % width, p = id / width % height, n = id / width / height;
  // Windows that hold the pixel: from the first that reaches it to the last that begins at it or before.
  const uint first_i = p + padding < kernel_size ? 0 : (p + padding - kernel_size) / stride + 1;
  const uint first_j = q + padding < kernel_size ? 0 : (q + padding - kernel_size) / stride + 1;
  const uint end_i = min((p + padding) / stride + 1, out_height), end_j = min((q + padding) / stride + 1, out_width);
  x += x_at + n * height * width * channels;
  dy += dy_at + n * out_height * out_width * channels;
  dx += dx_at + id * channels;
  for (uint c = item % lanes; c < channels; c += lanes) {
    float sum = accumulate ? dx[c] : 0.0f;
    for (uint i = first_i; i < end_i; i++)
      for (uint j = first_j; j < end_j; j++) {
        const uint top = window_from(i, stride, padding), bottom = window_to(i, kernel_size, stride, padding, height);
        const uint left = window_from(j, stride, padding), right = window_to(j, kernel_size, stride, padding, width);
        uint at = top * width + left;
        float largest = x[at * channels + c];
        for (uint a = top; a < bottom; a++)
          for (uint b = left; b < right; b++) {
            const float value = x[(a * width + b) * channels + c];
            if (a * width + b != top * width + left && exceeds(value, largest)) {
              largest = value;
              at = a * width + b;
            }
          }
        if (at == p * width + q)
          sum += dy[(i * out_width + j) * channels + c];
      }
    dx[c] = sum;
  }
}

// y[n][i][j][c] = tangent of the largest pixel of x in the window (i, j), the first of several
__kernel void max_pool_tangent(const uint batch, const uint height, const uint width, const uint channels,
                               const uint out_height, const uint out_width, const uint kernel_size, const uint stride,
                               const uint padding, __global float *restrict y, const uint y_at,
                               __global const float *restrict tangent, const uint tangent_at,
                               __global const float *restrict x, const uint x_at) {
  const uint lanes = SPREAD(channels), item = get_global_id(0), id = item / lanes;
  if (id >= batch * out_height * out_width)
    return;
  const uint j = id % out_width, i = id / out_width % out_height, n = id / out_width / out_height;
  const uint top = window_from(i, stride, padding), bottom = window_to(i, kernel_size, stride, padding, height);
  const uint left = window_from(j, stride, padding), right = window_to(j, kernel_size, stride, padding, width);
  x += x_at + n * height * width * channels;
  tangent += tangent_at + n * height * width * channels;
  y += y_at + id * channels;
  for (uint c = item % lanes; c < channels; c += lanes) {
    uint at = top * width + left;
    float largest = x[at * channels + c];
    for (uint a = top; a < bottom; a++)
      for (uint b = left; b < right; b++) {
        const float value = x[(a * width + b) * channels + c];
        if (a * width + b != top * width + left && exceeds(value, largest)) {
          largest = value;
          at = a * width + b;
        }
      }
    y[c] = tangent[at * channels + c];
  }
}
