// Fully connected layers: weights [in][out]. The work-items of a group share the sum of a `vec` of outputs.

#define LINEAR_ROW(r) _Pragma("unroll") for (uint r = 0; r < LINEAR_ROWS; r++)

// y[n][o] = bias[o] + sum_i x[n][i] * weight[i][o]; a group has LINEAR_ROWS rows
GROUPED void linear_forward(const uint rows, const uint inputs, const uint outputs, __global float *restrict y,
                            const uint y_at, __global const float *restrict x, const uint x_at,
                            __global const float *restrict weight, const uint weight_at,
                            __global const float *restrict bias, const uint bias_at) {
  __local vec shared[GROUP];
  const struct columns own = columns((outputs + WIDTH - 1) / WIDTH);
  const uint first = own.part * LINEAR_ROWS, o = own.piece * WIDTH, valid = rest(outputs, o);
  vec sum[LINEAR_ROWS];
  __global const float *row[LINEAR_ROWS];
  LINEAR_ROW(r) {
    sum[r] = load_part(bias + bias_at + o, own.strand == 0 ? valid : 0);
    row[r] = x + x_at + min(first + r, rows - 1) * inputs;
  }
  weight += weight_at + o;
  for (uint i = own.strand; i < inputs; i += own.strands) {
    const vec w = load_part(weight + i * outputs, valid);
    LINEAR_ROW(r) sum[r] = MAD((vec)(row[r][i]), w, sum[r]);
  }
  LINEAR_ROW(r) {
    sum[r] = sum_strands(own, sum[r], shared);
    if (own.strand == 0 && first + r < rows)
      store_part(y + y_at + (first + r) * outputs + o, sum[r], valid);
  }
}

// dx[n][i] = sum_o dy[n][o] * weight[i][o], added if `accumulate`; a work-item has ROWS rows and one i
__kernel void linear_backward_input(const uint rows, const uint inputs, const uint outputs, const uint accumulate,
                                    __global float *restrict dx, const uint dx_at, __global const float *restrict dy,
                                    const uint dy_at, __global const float *restrict weight, const uint weight_at) {
  const uint id = get_global_id(0), i = id % inputs, first = id / inputs * ROWS;
  if (first >= rows)
    return;
  vec sum[ROWS];
  __global const float *row[ROWS];
  ROW(r) {
    sum[r] = ZERO;
    row[r] = dy + dy_at + min(first + r, rows - 1) * outputs;
  }
  weight += weight_at + i * outputs;
  for (uint o = 0; o < outputs; o += WIDTH) {
    const vec w = load_part(weight + o, outputs - o);
    ROW(r) sum[r] = MAD(load_part(row[r] + o, outputs - o), w, sum[r]);
  }
  dx += dx_at + first * inputs + i;
  ROW(r) if (first + r < rows) {
    const float value = sum_lanes(sum[r]);
    dx[r * inputs] = accumulate ? dx[r * inputs] + value : value;
  }
}

// dweight[i][o] += sum_n x[n][i] * dy[n][o], dbias[o] += sum_n dy[n][o]; a group has one i, or the bias as the last
GROUPED void linear_backward_weight(const uint rows, const uint inputs, const uint outputs,
                                    __global float *restrict dweight, const uint dweight_at,
                                    __global float *restrict dbias, const uint dbias_at,
                                    __global const float *restrict x, const uint x_at,
                                    __global const float *restrict dy, const uint dy_at) {
  __local vec shared[GROUP];
  const struct columns own = columns((outputs + WIDTH - 1) / WIDTH);
  const uint i = own.part, o = own.piece * WIDTH, valid = rest(outputs, o);
  x += x_at + i;
  dy += dy_at + o;
  vec sum = ZERO;
  for (uint n = own.strand; n < rows; n += own.strands) {
    const float factor = i < inputs ? x[n * inputs] : 1.0f;
    sum = MAD((vec)(factor), load_part(dy + n * outputs, valid), sum);
  }
  sum = sum_strands(own, sum, shared);
  if (own.strand != 0)
    return;
  __global float *to = i < inputs ? dweight + dweight_at + i * outputs + o : dbias + dbias_at + o;
  store_part(to, load_part(to, valid) + sum, valid);
}
