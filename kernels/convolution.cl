// Convolutions of any size, NHWC x HWIO: one work-item for each number. What register tiles cannot take comes here.

// The sizes of a convolution, as every kernel takes them.
#define SIZES                                                                                                         \
  const uint batch, const uint height, const uint width, const uint channels, const uint out_height,                  \
      const uint out_width, const uint filters, const uint kernel_size, const uint stride, const uint padding

// y[n][i][j][o] = sum_{a,b,c} x[n][i*stride+a-padding][j*stride+b-padding][c] * weight[a][b][c][o]
__kernel void conv2d_forward(SIZES, __global float *restrict y, const uint y_at, __global const float *restrict x,
                             const uint x_at, __global const float *restrict weight, const uint weight_at) {
  const uint id = get_global_id(0);
  if (id >= batch * out_height * out_width * filters)
    return;
  const uint o = id % filters, pixel = id / filters;
  const uint j = pixel % out_width, i = pixel / out_width % out_height, n = pixel / out_width / out_height;
  x += x_at + n * height * width * channels;
  weight += weight_at + o;
  float sum = 0.0f;
  for (uint a = 0; a < kernel_size; a++)
    for (uint b = 0; b < kernel_size; b++) {
      // Left of or above the picture wraps round and fails the comparison.
      const uint row = i * stride + a - padding, column = j * stride + b - padding;
      if (row >= height || column >= width)
        continue;
      __global const float *from = x + (row * width + column) * channels;
      __global const float *w = weight + (a * kernel_size + b) * channels * filters;
      for (uint c = 0; c < channels; c++)
        sum = MAD(from[c], w[c * filters], sum);
    }
  y[y_at + id] = sum;
}

// dx[n][row][column][c] = sum over a, b, o of dy at the pixels that read (row, column), added if `accumulate`
__kernel void conv2d_backward_input(SIZES, const uint accumulate, __global float *restrict dx, const uint dx_at,
                                    __global const float *restrict dy, const uint dy_at,
                                    __global const float *restrict weight, const uint weight_at) {
  const uint id = get_global_id(0);
  if (id >= batch * height * width * channels)
    return;
  const uint c = id % channels, pixel = id / channels;
  const uint column = pixel % width, row = pixel / width % height, n = pixel / width / height;
  dy += dy_at + n * out_height * out_width * filters;
  weight += weight_at + c * filters;
  float sum = 0.0f;
  for (uint a = 0; a < kernel_size; a++)
    for (uint b = 0; b < kernel_size; b++) {
      const uint i = row + padding - a, j = column + padding - b;
      if (row + padding < a || column + padding < b || i % stride || j % stride || i / stride >= out_height ||
          j / stride >= out_width)
        continue;
      __global const float *d = dy + (i / stride * out_width + j / stride) * filters;
      __global const float *w = weight + (a * kernel_size + b) * channels * filters;
      for (uint o = 0; o < filters; o++)
        sum = MAD(d[o], w[o], sum);
    }
  dx[dx_at + id] = accumulate ? dx[dx_at + id] + sum : sum;
}

// partial[part][a][b][c][o] = sum of x * dy over the part's share of the output's rows of pixels
__kernel void conv2d_backward_weight(SIZES, const uint parts, __global float *restrict partial, const uint partial_at,
                                     __global const float *restrict x, const uint x_at,
                                     __global const float *restrict dy, const uint dy_at) {
  const uint weights = kernel_size * kernel_size * channels * filters, id = get_global_id(0);
  const uint part = id / weights, o = id % filters, c = id / filters % channels;
  const uint b = id / filters / channels % kernel_size, a = id % weights / filters / channels / kernel_size;
  if (part >= parts)
    return;
  uint first, count, step;
  share(batch * out_height, part, parts, &first, &count, &step);
  x += x_at + c;
  dy += dy_at + o;
  float sum = 0.0f;
  for (uint k = 0; k < count; k++) {
    const uint line = first + k * step, i = line % out_height, n = line / out_height;
    const uint row = i * stride + a - padding;
    if (row >= height)
      continue;
    for (uint j = 0; j < out_width; j++) {
      const uint column = j * stride + b - padding;
      if (column < width)
        sum = MAD(x[((n * height + row) * width + column) * channels], dy[(line * out_width + j) * filters], sum);
    }
  }
  partial[partial_at + id] = sum;
}

// dweight[i] += sum over parts of partial[part][i]
MERGE_PARTS(conv2d_backward_weight_merge)
