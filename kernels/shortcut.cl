// The parameter-free shortcut: every second row and column, channels padded with zeros on both sides.
// One work-item for each pixel of the result on CPUs, for each of its numbers on GPUs.

// y[n][i][j][before + c] = x[n][2i][2j][c], zeros in the other channels
__kernel void shortcut_forward(const uint batch, const uint height, const uint width, const uint channels,
                               const uint out_height, const uint out_width, const uint out_channels,
                               __global float *restrict y, const uint y_at, __global const float *restrict x,
                               const uint x_at) {
  const uint lanes = SPREAD(out_channels), item = get_global_id(0), id = item / lanes;
  if (id >= batch * out_height * out_width)
    return;
  const uint j = id % out_width, i = id / out_width % out_height, n = id / out_width / out_height;
  const uint before = (out_channels - channels) / 2;
  __global const float *from = x + x_at + ((n * height + 2 * i) * width + 2 * j) * channels;
  __global float *to = y + y_at + id * out_channels;
  uint c = item % lanes;
  for (; c < before; c += lanes)
    to[c] = 0.0f;
  for (; c < before + channels; c += lanes)
    to[c] = from[c - before];
  for (; c < out_channels; c += lanes)
    to[c] = 0.0f;
}

// dx[n][2i][2j][c] = dy[n][i][j][before + c], 0 elsewhere, added if `accumulate`
__kernel void shortcut_backward(const uint batch, const uint height, const uint width, const uint channels,
                                const uint out_height, const uint out_width, const uint out_channels,
                                const uint accumulate, __global float *restrict dx, const uint dx_at,
                                __global const float *restrict dy, const uint dy_at) {
  const uint lanes = SPREAD(channels), item = get_global_id(0), id = item / lanes;
  if (id >= batch * height * width)
    return;
  const uint j = id % width, i = id / width % height, n = id / width / height;
  const uint before = (out_channels - channels) / 2;
  const bool kept = i % 2 == 0 && j % 2 == 0;
  __global float *to = dx + dx_at + id * channels;
  __global const float *from = dy + dy_at + ((n * out_height + i / 2) * out_width + j / 2) * out_channels + before;
  for (uint c = item % lanes; c < channels; c += lanes) {
    const float value = kept ? from[c] : 0.0f;
    to[c] = accumulate ? to[c] + value : value;
  }
}
