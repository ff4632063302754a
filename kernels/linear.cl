// Fully connected layers: weights [in][out].

#define LINEAR_ROWS 8

// y[n][o] = bias[o] + sum_i x[n][i] * weight[i][o]; a work-item has LINEAR_ROWS rows and a `vec` of outputs
__kernel void linear_forward(const uint rows, const uint inputs, const uint outputs, __global float *restrict y,
                             const uint y_at, __global const float *restrict x, const uint x_at,
                             __global const float *restrict weight, const uint weight_at,
                             __global const float *restrict bias, const uint bias_at) {
  const uint blocks = (outputs + WIDTH - 1) / WIDTH, id = get_global_id(0);
  const uint first = id / blocks * LINEAR_ROWS, o = id % blocks * WIDTH, valid = outputs - o;
  if (first >= rows)
    return;
  vec sum[LINEAR_ROWS];
  __global const float *row[LINEAR_ROWS];
  for (uint r = 0; r < LINEAR_ROWS; r++) {
    sum[r] = load_part(bias + bias_at + o, valid);
    row[r] = x + x_at + min(first + r, rows - 1) * inputs;
  }
  weight += weight_at + o;
  for (uint i = 0; i < inputs; i++) {
    const vec w = load_part(weight + i * outputs, valid);
    for (uint r = 0; r < LINEAR_ROWS; r++)
      sum[r] = MAD((vec)(row[r][i]), w, sum[r]);
  }
  for (uint r = 0; r < LINEAR_ROWS; r++)
    if (first + r < rows)
      store_part(y + y_at + (first + r) * outputs + o, sum[r], valid);
}

// dx[n][i] = sum_o dy[n][o] * weight[i][o], added if `accumulate`; one work-item for each number
__kernel void linear_backward_input(const uint rows, const uint inputs, const uint outputs, const uint accumulate,
                                    __global float *restrict dx, const uint dx_at, __global const float *restrict dy,
                                    const uint dy_at, __global const float *restrict weight, const uint weight_at) {
  const uint id = get_global_id(0);
  if (id >= rows * inputs)
    return;
  dy += dy_at + id / inputs * outputs;
  weight += weight_at + id % inputs * outputs;
  vec sum = ZERO;
  for (uint o = 0; o < outputs; o += WIDTH)
    sum = MAD(load_part(dy + o, outputs - o), load_part(weight + o, outputs - o), sum);
  const float value = sum_lanes(sum);
  dx[dx_at + id] = accumulate ? dx[dx_at + id] + value : value;
}

// dweight[i][o] += sum_n x[n][i] * dy[n][o], dbias[o] += sum_n dy[n][o]; a work-item has one i, or the bias as the
// last, and a `vec` of outputs
__kernel void linear_backward_weight(const uint rows, const uint inputs, const uint outputs,
                                     __global float *restrict dweight, const uint dweight_at,
                                     __global float *restrict dbias, const uint dbias_at,
                                     __global const float *restrict x, const uint x_at,
                                     __global const float *restrict dy, const uint dy_at) {
  const uint blocks = (outputs + WIDTH - 1) / WIDTH, id = get_global_id(0);
  const uint i = id / blocks, o = id % blocks * WIDTH, valid = outputs - o;
  if (i > inputs)
    return;
  vec sum = ZERO;
  dy += dy_at + o;
  if (i == inputs) {
    for (uint n = 0; n < rows; n++)
      sum += load_part(dy + n * outputs, valid);
    store_part(dbias + dbias_at + o, load_part(dbias + dbias_at + o, valid) + sum, valid);
    return;
  }
  x += x_at + i;
  for (uint n = 0; n < rows; n++)
    sum = MAD((vec)(x[n * inputs]), load_part(dy + n * outputs, valid), sum);
  dweight += dweight_at + i * outputs + o;
  store_part(dweight, load_part(dweight, valid) + sum, valid);
}
