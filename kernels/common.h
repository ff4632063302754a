// What every file of kernels starts with.
//
// WIDTH        numbers in a `vec`
// INTERLEAVED  whether neighbouring work-items take neighbouring pieces (GPUs) or long runs of their own (CPUs)
// MERGE        work-items that merge partial sums
// FMA          whether the device has a fused multiply-add

#pragma OPENCL FP_CONTRACT OFF

#if !defined(WIDTH) || !defined(INTERLEAVED) || !defined(MERGE) || !defined(FMA)
#error "a tile size is missing"
#endif

#if FMA
#define MAD(a, b, c) fma((a), (b), (c))
#else
#define MAD(a, b, c) ((a) * (b) + (c))
#endif

// A vector at any address of a float: built-in loads of 16 are split on some CPUs, so these are plain accesses there.
#if WIDTH == 16
typedef float16 vec;
typedef float16 vec_unaligned __attribute__((aligned(4)));
#define LOAD(p) (*(__global const vec_unaligned *)(p))
#define STORE(p, v) (*(__global vec_unaligned *)(p) = (v))
#elif WIDTH == 4
typedef float4 vec;
#define LOAD(p) vload4(0, p)
#define STORE(p, v) vstore4(v, 0, p)
#else
#error "WIDTH must be 4 or 16"
#endif

#define ZERO ((vec)(0.0f))

// The first `valid` lanes from `p`, zeros behind them.
static inline vec load_part(__global const float *p, const uint valid) {
  if (valid >= WIDTH)
    return LOAD(p);
  vec v = ZERO;
  for (uint i = 0; i < valid; i++)
    ((float *)&v)[i] = p[i];
  return v;
}

// The first `valid` lanes of `v` to `p`.
static inline void store_part(__global float *p, const vec v, const uint valid) {
  if (valid >= WIDTH) {
    STORE(p, v);
    return;
  }
  vec lanes = v;
  for (uint i = 0; i < valid; i++)
    p[i] = ((float *)&lanes)[i];
}

static inline float sum_lanes(const vec v) {
#if WIDTH == 16
  const float8 a = v.lo + v.hi;
  const float4 b = a.lo + a.hi;
#else
  const float4 b = v;
#endif
  const float2 c = b.lo + b.hi;
  return c.x + c.y;
}

// What part `part` of `parts` takes of `n` pieces: `count` of them from `first`, `step` apart.
typedef struct {
  uint first, count, step;
} Share;

static inline Share share(const uint n, const uint part, const uint parts) {
  Share mine;
#if INTERLEAVED
  mine.first = part;
  mine.count = part < n ? (n - part + parts - 1) / parts : 0;
  mine.step = parts;
#else
  mine.first = (uint)((ulong)n * part / parts);
  mine.count = (uint)((ulong)n * (part + 1) / parts) - mine.first;
  mine.step = 1;
#endif
  return mine;
}
