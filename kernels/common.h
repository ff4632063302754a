// What every file of kernels starts with.
//
// WIDTH        numbers in a `vec`
// INTERLEAVED  whether neighbouring work-items take neighbouring pieces (GPUs) or long runs of their own (CPUs)
// COLUMNS      most `vec`s of channels that a work-item takes side by side; 1, 2 or 4
// GROUP        work-items that sum together through local memory; 1, and no local memory, on CPUs
// ROWS         rows of which a work-item loads all before it uses the first
// TILE_ROWS    vectors of sums that a convolution on a CPU multiplies at once; 4 or 16
// LANES        numbers of a vector register of such a device; 4, 8 or 16
// LINEAR_ROWS  rows that a work-item of a linear layer multiplies with the weights it has loaded
// ADD_VECTORS  `vec`s side by side of a work-group that adds parts of a sum
// ADDERS       its work-items for each of them, a power of two, which take every ADDERS-th part
// FMA          whether the device has a fused multiply-add
// MATRIX       what multiplies matrices: 0 work-items, 1 the matrix instructions of NVIDIA's devices, which round factors
//              to TF32 (10 bits of fraction), 2 the same written out, for tests of all that is around them

#pragma OPENCL FP_CONTRACT OFF

// Clang warns of every call, built-in functions among them, that is given a vector wider than a register: compilers for
// processors with wider ones pass it otherwise. That matters between files that are compiled for different processors;
// a program is compiled for one, built-in functions and all, and from source each time.
#ifdef __has_warning
#if __has_warning("-Wpsabi")
#pragma clang diagnostic ignored "-Wpsabi"
#endif
#endif

#if !defined(WIDTH) || !defined(INTERLEAVED) || !defined(COLUMNS) || !defined(GROUP) || !defined(ROWS) ||    \
    !defined(TILE_ROWS) || !defined(LANES) || !defined(LINEAR_ROWS) || !defined(ADD_VECTORS) ||               \
    !defined(ADDERS) || !defined(FMA) || !defined(MATRIX)
#error "a tile size is missing"
#endif

#if FMA
#define MAD(a, b, c) fma((a), (b), (c))
#else
#define MAD(a, b, c) ((a) * (b) + (c))
#endif

// A vector at any address of a float. Built-in loads of 16 are split on some CPUs, so these are plain accesses there.
// GPUs need whole vectors aligned, as most are: those are one access, others one for each lane. Lanes are written out:
// between a vector that is aligned and one that need not be compilers see no difference, and split both.
#if WIDTH == 16
typedef float16 vec;
typedef float16 vec_unaligned __attribute__((aligned(4)));
#define LOAD(p) (*(__global const vec_unaligned *)(p))
#define STORE(p, v) (*(__global vec_unaligned *)(p) = (v))
#elif WIDTH == 4
typedef float4 vec;
#define LOAD(p) load_part((p), WIDTH)
#define STORE(p, v) store_part((p), (v), WIDTH)
#define ALIGNED(p) (((size_t)(p) & 15) == 0)
#else
#error "WIDTH must be 4 or 16"
#endif

// Stores past the caches, for results that are larger than these; `p` is aligned to a vector.
#if WIDTH == 16 && defined(__has_builtin)
#if __has_builtin(__builtin_nontemporal_store)
#define STREAM_AS(type, p, v) __builtin_nontemporal_store((v), (__global type *)(p))
#endif
#endif
#ifdef STREAM_AS
#define STREAM(p, v) STREAM_AS(vec, p, v)
#else
#define STREAM(p, v) STORE(p, v)
#endif

// Fetches a line of memory ahead of its use, where a compiler for CPUs knows how (what runs unoptimised code may not).
// SPIR-V has no instruction for it.
#if WIDTH == 16 && defined(__OPTIMIZE__) && defined(__has_builtin) && !defined(__SPIR__) && !defined(__SPIRV__)
#if __has_builtin(__builtin_prefetch)
#define AHEAD(p) __builtin_prefetch((const void *)(size_t)(p), 0, 3)
#endif
#endif
#ifndef AHEAD
#define AHEAD(p)
#endif

#define ZERO ((vec)(0.0f))
// Runs what follows for each TILE_ROWS of 16 vectors, the first of them at `first`; and for each LANES of 16 numbers. Both
// are no loop where one turn does.
#if TILE_ROWS == 16
#define EACH_ROWS(first) const int first = 0;
#else
#define EACH_ROWS(first) _Pragma("unroll 1") for (int first = 0; first < 16; first += TILE_ROWS)
#endif
#if LANES == 16
#define EACH_LANES(lane) const uint lane = 0;
#else
#define EACH_LANES(lane) _Pragma("unroll 1") for (uint lane = 0; lane < 16; lane += LANES)
#endif
#define ROW(r) _Pragma("unroll") for (uint r = 0; r < ROWS; r++)
// Work-items that share a run of `n` numbers: one each where neighbours should touch neighbouring addresses.
#define SPREAD(n) (INTERLEAVED ? (n) : 1)
// A kernel whose work-groups sum together.
#define GROUPED __kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
#define INLINE inline __attribute__((always_inline))

// The first `valid` lanes from `p`, zeros behind them.
static inline vec load_part(__global const float *p, const uint valid) {
#if WIDTH == 4
  if (valid >= WIDTH && ALIGNED(p))
    return *(__global const vec *)p;
  return (vec)(valid > 0 ? p[0] : 0.0f, valid > 1 ? p[1] : 0.0f, valid > 2 ? p[2] : 0.0f, valid > 3 ? p[3] : 0.0f);
#else
  if (valid >= WIDTH)
    return LOAD(p);
  vec v = ZERO;
  for (uint i = 0; i < valid; i++)
    ((float *)&v)[i] = p[i];
  return v;
#endif
}

// The first `valid` lanes of `v` to `p`.
static inline void store_part(__global float *p, const vec v, const uint valid) {
#if WIDTH == 4
  if (valid >= WIDTH && ALIGNED(p)) {
    *(__global vec *)p = v;
    return;
  }
  if (valid > 0)
    p[0] = v.s0;
  if (valid > 1)
    p[1] = v.s1;
  if (valid > 2)
    p[2] = v.s2;
  if (valid > 3)
    p[3] = v.s3;
#else
  if (valid >= WIDTH) {
    STORE(p, v);
    return;
  }
  vec lanes = v;
  for (uint i = 0; i < valid; i++)
    p[i] = ((float *)&lanes)[i];
#endif
}

static inline float sum_lanes(const vec v) {
#if WIDTH == 16
  return (((v.s0 + v.s1) + (v.s2 + v.s3)) + ((v.s4 + v.s5) + (v.s6 + v.s7))) +
         (((v.s8 + v.s9) + (v.sa + v.sb)) + ((v.sc + v.sd) + (v.se + v.sf)));
#else
  return (v.s0 + v.s1) + (v.s2 + v.s3);
#endif
}

// Adds `term` to a sum whose rounding errors `kept` keeps: Knuth, The Art of Computer Programming, 4.2.2 theorem B.
static inline void add_kept(float *sum, float *kept, const float term) {
  const float old = *sum, new = old + term, taken = new - old;
  *kept += (old - (new - taken)) + (term - taken);
  *sum = new;
}

// Statistics of `added` rows merged into those of `count`, by Chan, Golub and LeVeque (1979).
static inline void chan(float *count, vec *mean, vec *deviations, const float added, const vec added_mean,
                        const vec added_deviations) {
  const float total = *count + added;
  const vec delta = added_mean - *mean;
  *mean += delta * (added / total);
  *deviations += added_deviations + delta * delta * (*count * added / total);
  *count = total;
}

// How the work-items of a group lie over `pieces` side by side, `vec`s of channels: `lanes` of them in a strand, and
// strands one behind the other that share a sum. Several groups share the pieces that are too many for one.
struct columns {
  uint lanes, strands;
  uint piece;  // the work-item's own; `pieces` when it has none
  uint strand; // and its strand
  uint part;   // the group's number among those of the same pieces
};

static inline struct columns columns(const uint pieces) {
  const uint blocks = (pieces + GROUP - 1) / GROUP, lanes = (pieces + blocks - 1) / blocks, strands = GROUP / lanes;
  const uint group = get_group_id(0), id = get_local_id(0), strand = id / lanes;
  const uint piece = strand < strands ? min(group % blocks * lanes + id % lanes, pieces) : pieces;
  return (struct columns){lanes, strands, piece, strand, group / blocks};
}

// All of a group on one piece, the group's number.
static inline struct columns column() {
  return (struct columns){1, GROUP, get_group_id(0), get_local_id(0), 0};
}

// What is left of `n` from `i` on.
static inline uint rest(const uint n, const uint i) { return i < n ? n - i : 0; }

#if GROUP > 1
// Runs `merge(gap)` for the strands that have a partner `gap` strands behind them, until one is left: a tree.
#define TREE(own, merge)                                           \
  for (uint left = (own).strands; left > 1; left = (left + 1) / 2) { \
    const uint gap = (left + 1) / 2;                               \
    barrier(CLK_LOCAL_MEM_FENCE);                                  \
    if ((own).strand < left - gap) {                               \
      merge(gap);                                                  \
    }                                                              \
  }
#endif

// The sum of `value` over the strands of a piece, for strand 0.
static INLINE vec sum_strands(const struct columns own, const vec value, __local vec *shared) {
  vec sum = value;
#if GROUP > 1
  const uint id = get_local_id(0);
  // Other work-items may still be reading the result of the sum before.
  barrier(CLK_LOCAL_MEM_FENCE);
  shared[id] = sum;
#define ADD_STRAND(gap) shared[id] = sum += shared[id + gap * own.lanes]
  TREE(own, ADD_STRAND)
#endif
  return sum;
}

// The sum of `value` over a group, for all of it.
static INLINE float sum_group(const float value, __local float *shared) {
  float sum = value;
#if GROUP > 1
  const struct columns own = column();
  barrier(CLK_LOCAL_MEM_FENCE);
  shared[own.strand] = sum;
#define ADD_ITEM(gap) shared[own.strand] = sum += shared[own.strand + gap]
  TREE(own, ADD_ITEM)
  barrier(CLK_LOCAL_MEM_FENCE);
  sum = shared[0];
#endif
  return sum;
}

// What part `part` of `parts` takes of `n` pieces: `count` of them from `first`, `step` apart.
static inline void share(const uint n, const uint part, const uint parts, uint *first, uint *count, uint *step) {
#if INTERLEAVED
  *first = part;
  *count = part < n ? (n - part + parts - 1) / parts : 0;
  *step = parts;
#else
  *first = (uint)((ulong)n * part / parts);
  *count = (uint)((ulong)n * (part + 1) / parts) - *first;
  *step = 1;
#endif
}

// to[i] = sum over parts of partial[part][i], added to what is there if `accumulate`
static INLINE void merge_parts(const uint n, const uint parts, const uint accumulate, __global float *to,
                               __global const float *partial, __local vec *shared) {
  const uint lane = get_local_id(0), adder = lane / ADD_VECTORS;
  const uint i = (get_group_id(0) * ADD_VECTORS + lane % ADD_VECTORS) * WIDTH;
  vec sum = ZERO;
  if (i < n)
    for (uint part = adder; part < parts; part += ROWS * ADDERS) {
      vec v[ROWS];
      ROW(r) v[r] = load_part(partial + (part + r * ADDERS) * n + i, part + r * ADDERS < parts ? n - i : 0);
      ROW(r) sum += v[r];
    }
  for (uint adders = ADDERS; adders > 1; adders /= 2) {
    shared[lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (adder < adders / 2)
      sum += shared[lane + adders / 2 * ADD_VECTORS];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (adder == 0 && i < n)
    store_part(to + i, accumulate ? load_part(to + i, n - i) + sum : sum, n - i);
}

// A kernel of that.
#define MERGE_PARTS(name)                                                                                             \
  __kernel __attribute__((reqd_work_group_size(ADDERS *ADD_VECTORS, 1, 1))) void name(                                \
      const uint n, const uint parts, const uint accumulate, __global float *restrict to, const uint to_at,           \
      __global const float *restrict partial, const uint partial_at) {                                                \
    __local vec shared[ADDERS * ADD_VECTORS];                                                                         \
    merge_parts(n, parts, accumulate, to + to_at, partial + partial_at, shared);                                      \
  }

#if MATRIX
// Compilers that are clang know the word in this spelling always, others as NVIDIA writes it.
#ifdef __clang__
#define ASSEMBLY __asm__
#else
#define ASSEMBLY asm
#endif

// Rounds to the nearest number of TF32, ties away from zero.
static INLINE float round_factor(const float v) {
#if MATRIX == 1
  uint rounded;
  ASSEMBLY("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(v));
  return as_float(rounded);
#else
  return isnan(v) ? v : as_float((as_uint(v) + 0x1000) & 0xffffe000);
#endif
}

// c += a * b for 16 x 8 by 8 x 8 numbers in 32 work-items, as PTX's mma.m16n8k8 has them: with r = thread / 4 and
// q = thread % 4, a has (row, k) = (r, q), (r + 8, q), (r, q + 4), (r + 8, q + 4), b has (k, column) = (q, r),
// (q + 4, r), and c (row, column) = (r, 2q), (r, 2q + 1), (r + 8, 2q), (r + 8, 2q + 1).
static INLINE void multiply_matrix(float *c0, float *c1, float *c2, float *c3, const float4 a, const float2 b,
                                   __local float *fragments) {
#if MATRIX == 1
  ASSEMBLY volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(*c0), "+f"(*c1), "+f"(*c2), "+f"(*c3)
      : "r"(as_uint(a.s0)), "r"(as_uint(a.s1)), "r"(as_uint(a.s2)), "r"(as_uint(a.s3)), "r"(as_uint(b.s0)),
        "r"(as_uint(b.s1)));
#else
  const int lane = get_local_id(0), thread = lane % 32, r = thread / 4, q = thread % 4;
  barrier(CLK_LOCAL_MEM_FENCE);
  vstore4(a, 0, fragments + lane * 6);
  vstore2(b, 0, fragments + lane * 6 + 4);
  barrier(CLK_LOCAL_MEM_FENCE);
  fragments += (lane - thread) * 6;
  for (int k = 0; k < 8; k++) {
    // The work-items that hold row r of a, and columns 2q and 2q + 1 of b, at k.
    __local const float *left = fragments + (r * 4 + k % 4) * 6 + k / 4 * 2;
    __local const float *right = fragments + (2 * q * 4 + k % 4) * 6 + 4 + k / 4;
    *c0 += left[0] * right[0];
    *c1 += left[0] * right[4 * 6];
    *c2 += left[1] * right[0];
    *c3 += left[1] * right[4 * 6];
  }
#endif
}
#endif
