// A basis is `rows` vectors of `n` numbers, one after the other. Its products with a vector and its combinations read it
// once, a few rows at a time, and keep the other vector in the cache.

// Rows that a work-group multiplies with its share of x at once.
#define DOT_ROWS 4
// Products of a lane that are summed before they are added to the total.
#define DOT_RUN 64
// Rows that are combined at once, and `vec`s that a work-item combines: on CPUs many, so that rows are read in long pieces.
#define COMBINE_ROWS 4
#define COMBINE_VECTORS (INTERLEAVED ? 1 : 64)

// add_kept for each lane.
static inline void add_kept_lanes(vec *sum, vec *rest, const vec term) {
  const vec old = *sum, new = old + term, taken = new - old;
  *rest += (old - (new - taken)) + (term - taken);
  *sum = new;
}

// partial[row][part] = sum of basis[row][i] * x[i] over the share of a part, for DOT_ROWS rows from `block` on. Groups
// with the same part lie side by side: they read the same piece of x.
GROUPED void dots_parts(const uint n, const uint rows, const uint parts, __global float *restrict partial,
                        const uint partial_at, __global const float *restrict basis, const uint basis_at,
                        __global const float *restrict x, const uint x_at) {
  __local float shared[GROUP];
  const uint blocks = (rows + DOT_ROWS - 1) / DOT_ROWS;
  const uint block = get_group_id(0) % blocks * DOT_ROWS, part = get_group_id(0) / blocks;
  uint first, count, step;
  share((n + WIDTH - 1) / WIDTH, part * GROUP + get_local_id(0), parts * GROUP, &first, &count, &step);
  basis += basis_at + block * n;
  x += x_at;
  vec sum[DOT_ROWS], rest[DOT_ROWS];
  _Pragma("unroll") for (uint r = 0; r < DOT_ROWS; r++) sum[r] = rest[r] = ZERO;
  for (uint k = 0; k < count; k += DOT_RUN) {
    const uint end = min(count, k + DOT_RUN);
    vec run[DOT_ROWS];
    _Pragma("unroll") for (uint r = 0; r < DOT_ROWS; r++) run[r] = ZERO;
    for (uint i = k; i < end; i++) {
      const uint at = (first + i * step) * WIDTH, valid = n - at;
      const vec v = load_part(x + at, valid);
      _Pragma("unroll") for (uint r = 0; r < DOT_ROWS; r++)
        run[r] = MAD(load_part(basis + r * n + at, block + r < rows ? valid : 0), v, run[r]);
    }
    _Pragma("unroll") for (uint r = 0; r < DOT_ROWS; r++) add_kept_lanes(&sum[r], &rest[r], run[r]);
  }
  _Pragma("unroll") for (uint r = 0; r < DOT_ROWS; r++) {
    const float total = sum_group(sum_lanes(sum[r]) + sum_lanes(rest[r]), shared);
    if (get_local_id(0) == 0 && block + r < rows)
      partial[partial_at + (block + r) * parts + part] = total;
  }
}

// to[row] = sum of partial[row], a work-group for each row
GROUPED void dots_merge(const uint parts, __global float *restrict to, const uint to_at,
                        __global const float *restrict partial, const uint partial_at) {
  __local float shared[GROUP];
  const uint row = get_group_id(0);
  partial += partial_at + row * parts;
  float sum = 0.0f, kept = 0.0f;
  for (uint part = get_local_id(0); part < parts; part += GROUP)
    add_kept(&sum, &kept, partial[part]);
  sum = sum_group(sum + kept, shared);
  if (get_local_id(0) == 0)
    to[to_at + row] = sum;
}

// y[i] -= sum over rows of coefficients[row] * basis[row][i]
__kernel void combine(const uint n, const uint rows, __global float *restrict y, const uint y_at,
                      __global const float *restrict coefficients, const uint coefficients_at,
                      __global const float *restrict basis, const uint basis_at) {
  const uint at = get_global_id(0) * COMBINE_VECTORS * WIDTH;
  if (at >= n)
    return;
  y += y_at + at;
  basis += basis_at + at;
  coefficients += coefficients_at;
  vec sum[COMBINE_VECTORS];
  for (uint k = 0; k < COMBINE_VECTORS; k++)
    sum[k] = ZERO;
  for (uint row = 0; row < rows; row += COMBINE_ROWS) {
    float c[COMBINE_ROWS];
    _Pragma("unroll") for (uint r = 0; r < COMBINE_ROWS; r++)
      c[r] = row + r < rows ? coefficients[row + r] : 0.0f;
    for (uint k = 0; k < COMBINE_VECTORS; k++) {
      vec v[COMBINE_ROWS];
      _Pragma("unroll") for (uint r = 0; r < COMBINE_ROWS; r++)
        v[r] = load_part(basis + (row + r) * n + k * WIDTH, row + r < rows ? rest(n, at + k * WIDTH) : 0);
      _Pragma("unroll") for (uint r = 0; r < COMBINE_ROWS; r++) sum[k] = MAD((vec)(c[r]), v[r], sum[k]);
    }
  }
  for (uint k = 0; k < COMBINE_VECTORS; k++) {
    const uint own = rest(n, at + k * WIDTH);
    store_part(y + k * WIDTH, load_part(y + k * WIDTH, own) - sum[k], own);
  }
}
