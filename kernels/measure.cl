// Measures what the device can do at most. Not a method of any backend.

// rounds times sum[k] = a * sum[k] + b in as many independent sums as there are chains, all in registers
#define CHAINS(n)                                                                                                      \
  {                                                                                                                    \
    vec sum[n];                                                                                                        \
    for (uint k = 0; k < n; k++)                                                                                       \
      sum[k] = (vec)((float)(item + k));                                                                               \
    for (uint i = 0; i < rounds; i++)                                                                                  \
      _Pragma("unroll") for (uint k = 0; k < n; k++) sum[k] = MAD(sum[k], (vec)(a), (vec)(b));                         \
    for (uint k = 0; k < n; k++)                                                                                       \
      total += sum[k];                                                                                                 \
  }

__kernel void measure_fma(const uint rounds, const uint chains, const float a, const float b, __global float *out) {
  const uint item = get_global_id(0);
  vec total = ZERO;
  if (chains == 12)
    CHAINS(12)
  else if (chains == 8)
    CHAINS(8)
  else
    CHAINS(4)
  out[item] = sum_lanes(total);
}

#if MATRIX
// c = a * b of 16 x 8 by 8 x 8 numbers in one work-group of 32, all row by row: whether matrix instructions do as they
// are asked
__kernel __attribute__((reqd_work_group_size(32, 1, 1))) void measure_matrix(__global float *c,
                                                                             __global const float *a,
                                                                             __global const float *b) {
#if MATRIX == 2
  __local float fragments[32 * 6];
#else
  __local float *fragments = 0;
#endif
  const int r = get_local_id(0) / 4, q = get_local_id(0) % 4;
  const float4 left = (float4)(a[r * 8 + q], a[(r + 8) * 8 + q], a[r * 8 + q + 4], a[(r + 8) * 8 + q + 4]);
  const float2 right = (float2)(round_factor(b[q * 8 + r]), round_factor(b[(q + 4) * 8 + r]));
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  multiply_matrix(sum, sum + 1, sum + 2, sum + 3,
                  (float4)(round_factor(left.s0), round_factor(left.s1), round_factor(left.s2), round_factor(left.s3)),
                  right, fragments);
  c[r * 8 + 2 * q] = sum[0];
  c[r * 8 + 2 * q + 1] = sum[1];
  c[(r + 8) * 8 + 2 * q] = sum[2];
  c[(r + 8) * 8 + 2 * q + 1] = sum[3];
}
#endif
