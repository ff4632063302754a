// Rectifier: one work-item for each `vec`.

// y[i] = x[i] > 0 ? x[i] : 0
__kernel void relu_forward(const uint n, __global float *restrict y, const uint y_at, __global const float *restrict x,
                           const uint x_at) {
  const uint i = get_global_id(0) * WIDTH;
  if (i >= n)
    return;
  const vec v = load_part(x + x_at + i, n - i);
  store_part(y + y_at + i, v > ZERO ? v : ZERO, n - i);
}

// dx[i] = y[i] > 0 ? dy[i] : 0, added to what is there if `accumulate`
__kernel void relu_backward(const uint n, const uint accumulate, __global float *restrict dx, const uint dx_at,
                            __global const float *restrict dy, const uint dy_at, __global const float *restrict y,
                            const uint y_at) {
  const uint i = get_global_id(0) * WIDTH;
  if (i >= n)
    return;
  dx += dx_at + i;
  const vec old = accumulate ? load_part(dx, n - i) : ZERO;
  const vec masked = load_part(y + y_at + i, n - i) > ZERO ? load_part(dy + dy_at + i, n - i) : ZERO;
  store_part(dx, accumulate ? old + masked : masked, n - i);
}
