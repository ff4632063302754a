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
