// Convolutions as products of matrices, for GPUs: a work-group computes a block of bm x bn numbers of the result, a
// work-item tm x tn of them, all in registers.
//
// The sum runs in slabs of `depth`. A slab of each matrix lies in local memory as [depth][bm] and [depth][bn], rows
// padded by PAD against bank conflicts; while one slab is multiplied the next is on its way from memory, so that there
// is one barrier a slab. The matrix of pixels is never built: its numbers are read where they lie. Where blocks alone
// would leave units of the device idle the sum itself is split, and a second launch adds the parts in their order.
//
// Blocks that are multiples of 64 x 32 are multiplied by matrix instructions where the device has them and is allowed
// to: see MATRIX in common.h.

#if INTERLEAVED

#define PAD 4
// Quads of sums of the largest tile of a work-item: 8 x 8.
#define SUMS 16
// Quads that a work-item keeps of a slab on its way.
#define STAGED 8

// The sizes of a convolution, as every kernel takes them.
#define SIZES                                                                                                         \
  const uint batch, const uint height, const uint width, const uint channels, const uint out_height,                  \
      const uint out_width, const uint filters, const uint kernel_size, const uint stride, const uint padding

// What every kernel knows of its block, constants all.
#define BLOCK const int bm, const int bn, const int tm, const int tn, const int depth, const int aligned, const int matrix
#define BLOCK_OF bm, bn, tm, tn, depth, aligned, matrix

#define UNROLL _Pragma("unroll")

// Four neighbours of a row of which `valid` are there, zeros behind them; rows of whole quads are `aligned`.
static INLINE float4 quad(__global const float *p, const int valid, const int aligned) {
  if (aligned)
    return valid > 0 ? *(__global const float4 *)p : (float4)(0.0f);
  return (float4)(valid > 0 ? p[0] : 0.0f, valid > 1 ? p[1] : 0.0f, valid > 2 ? p[2] : 0.0f, valid > 3 ? p[3] : 0.0f);
}

static INLINE void put_quad(__global float *p, const float4 v, const int valid, const uint accumulate,
                            const int aligned) {
  const float4 sum = accumulate ? quad(p, valid, aligned) + v : v;
  if (aligned) {
    if (valid > 0)
      *(__global float4 *)p = sum;
    return;
  }
  if (valid > 0)
    p[0] = sum.s0;
  if (valid > 1)
    p[1] = sum.s1;
  if (valid > 2)
    p[2] = sum.s2;
  if (valid > 3)
    p[3] = sum.s3;
}

// Where number `m` of row `k` of a slab of `n` lies. For matrix instructions rows are not padded but turned by groups of
// 8 numbers, so that four rows that are read or written at once lie in different banks.
static INLINE int slot(const int k, const int m, const int n, const int matrix) {
  return matrix ? k * n + (m ^ ((k ^ k >> 2) & 3) << 3) : k * (n + PAD) + m;
}

// Numbers of a slab of `n`.
#define SLAB(n) (depth * ((n) + (matrix ? 0 : PAD)))

// sum[row] += left[row] * right, for four rows of `step` quads each.
static INLINE void multiply_quads(float4 *sum, const int step, const float4 left, const float4 right) {
  sum[0] = MAD((float4)(left.s0), right, sum[0]);
  sum[step] = MAD((float4)(left.s1), right, sum[step]);
  sum[2 * step] = MAD((float4)(left.s2), right, sum[2 * step]);
  sum[3 * step] = MAD((float4)(left.s3), right, sum[3 * step]);
}

// sum += row `k` of a slab of one matrix times that of the other, from a work-item's first row and column on.
static INLINE void multiply_rows(float4 *sum, __local const float *a, __local const float *b, BLOCK) {
  const float4 left = *(__local const float4 *)a, right = *(__local const float4 *)b;
  const float4 below = tm == 8 ? *(__local const float4 *)(a + bm / 2) : left;
  const float4 beside = tn == 8 ? *(__local const float4 *)(b + bn / 2) : right;
  multiply_quads(sum, tn / 4, left, right);
  if (tn == 8)
    multiply_quads(sum + 1, tn / 4, left, beside);
  if (tm == 8)
    multiply_quads(sum + tn, tn / 4, below, right);
  if (tm == 8 && tn == 8)
    multiply_quads(sum + tn + 1, tn / 4, below, beside);
}

// The whole slab. With 64 sums a work-item has no registers left for the factors of many rows.
static INLINE void multiply(float4 *sum, __local const float *a, __local const float *b, BLOCK) {
#define MULTIPLY_ROWS multiply_rows(sum, a + k * (bm + PAD), b + k * (bn + PAD), BLOCK_OF)
  if (tn == 8)
    _Pragma("unroll 1") for (int k = 0; k < depth; k++) MULTIPLY_ROWS;
  else
    UNROLL for (int k = 0; k < depth; k++) MULTIPLY_ROWS;
}

#if MATRIX
// The same as `multiply` by matrix instructions: 32 work-items have 64 x 32 numbers, each 8 x 8 in pairs of rows and
// quads of columns. Rows and columns of an instruction are dealt out so that these lie together in a slab.
static INLINE void multiply_matrices(float4 *sum, __local const float *a, __local const float *b,
                                     __local float *fragments, BLOCK) {
  const int lane = get_local_id(0), thread = lane % 32, warp = lane / 32;
  const int row = warp / (bn / 32) * 64 + thread / 4 * 2, column = warp % (bn / 32) * 32 + thread / 4 * 4;
  UNROLL for (int step = 0; step < depth; step += 8) {
    const int k = step + thread % 4;
    const float4 right = *(__local const float4 *)(b + slot(k, column, bn, 1));
    const float4 right_4 = *(__local const float4 *)(b + slot(k + 4, column, bn, 1));
    UNROLL for (int h = 0; h < 4; h++) {
      const float2 left = *(__local const float2 *)(a + slot(k, row + 16 * h, bm, 1));
      const float2 left_4 = *(__local const float2 *)(a + slot(k + 4, row + 16 * h, bm, 1));
      // Four instructions of 16 rows and 8 columns, number n of each quad.
#define MATRICES(n)                                                                                                   \
  {                                                                                                                   \
    float c[4] = {c0.n, c1.n, c2.n, c3.n};                                                                            \
    multiply_matrix(c, c + 1, c + 2, c + 3, (float4)(left, left_4), (float2)(right.n, right_4.n), fragments);         \
    c0.n = c[0], c1.n = c[1], c2.n = c[2], c3.n = c[3];                                                               \
  }
      float4 c0 = sum[4 * h], c1 = sum[4 * h + 1], c2 = sum[4 * h + 2], c3 = sum[4 * h + 3];
      MATRICES(s0)
      MATRICES(s1)
      MATRICES(s2)
      MATRICES(s3)
      sum[4 * h] = c0, sum[4 * h + 1] = c1, sum[4 * h + 2] = c2, sum[4 * h + 3] = c3;
    }
  }
}
#endif

#if MATRIX
#define MULTIPLY(half)                                                                                                \
  if (matrix)                                                                                                         \
    multiply_matrices(sum, a + (half)*SLAB(bm), b + (half)*SLAB(bn), fragments, BLOCK_OF);                            \
  else                                                                                                                \
    multiply(sum, a + (half)*SLAB(bm) + item_row, b + (half)*SLAB(bn) + item_column, BLOCK_OF)
#define STAGE(v) (matrix ? (float4)(round_factor(v.s0), round_factor(v.s1), round_factor(v.s2), round_factor(v.s3)) : v)
#else
#define MULTIPLY(half) multiply(sum, a + (half)*SLAB(bm) + item_row, b + (half)*SLAB(bn) + item_column, BLOCK_OF)
#define STAGE(v) v
#endif
// The row of the block that a work-item's row `i` is, and the column that its quad `j` starts at.
#define ROW_OF(i) (item_row + (matrix ? (i) / 2 * 16 + (i) % 2 : (i) / 4 * (bm / 2) + (i) % 4))
#define COLUMN_OF(j) ((j) * (matrix ? 4 : bn / 2) + item_column)

#define EACH_ROW UNROLL for (int i = 0; i < 8; i++) if (i < tm)
#define EACH_COLUMN UNROLL for (int j = 0; j < 2; j++) if (j < tn / 4)

// Which of the block's numbers a work-item has: from which row and column, and as which of those with the same columns.
#define ITEM                                                                                                          \
  const int items = bm / tm * (bn / tn), lane = get_local_id(0), thread = lane % 32, warp = lane / 32;                \
  const int item_line = matrix ? warp / (bn / 32) * 8 + thread / 4 : lane / (bn / tn);                                \
  const int item_row = matrix ? warp / (bn / 32) * 64 + thread / 4 * 2 : item_line * 4;                               \
  const int item_column = matrix ? warp % (bn / 32) * 32 + thread % 4 * 8 : lane % (bn / tn) * 4

#define SUMS_OF_ITEM                                                                                                  \
  float4 sum[SUMS];                                                                                                   \
  UNROLL for (int s = 0; s < SUMS; s++) sum[s] = (float4)(0.0f)

// Goes through the slabs from `first` to `last`: FETCH(slab) reads one into registers, KEEP(half) puts it into a half
// of local memory.
#define SUM_SLABS                                                                                                     \
  if (first < last) {                                                                                                 \
    FETCH(first);                                                                                                     \
    KEEP(0);                                                                                                          \
  }                                                                                                                   \
  barrier(CLK_LOCAL_MEM_FENCE);                                                                                       \
  for (uint slab = first; slab < last; slab++) {                                                                      \
    const uint half_now = (slab - first) & 1;                                                                         \
    if (slab + 1 < last)                                                                                              \
      FETCH(slab + 1);                                                                                                \
    MULTIPLY(half_now);                                                                                               \
    if (slab + 1 < last)                                                                                              \
      KEEP(half_now ^ 1);                                                                                             \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                                     \
  }

// Goes through the quads of a slab of `n` rows that a work-item moves. Loops over arrays have constant
// bounds, or the arrays would stay in memory.
#define EACH_QUAD(n)                                                                                                  \
  UNROLL for (int l = 0; l < STAGED; l++) if (l * items < (n)*depth / 4 &&                                            \
                                              ((n)*depth / 4 % items == 0 || lane + l * items < (n)*depth / 4))

// A slab whose rows lie in memory along `depth` is turned on its way.
static INLINE void keep_turned(__local float *to, const float4 *stage, const int lane, const int n, const int items,
                               const int depth, const int matrix) {
  EACH_QUAD(n) {
    const int at = lane + l * items, k = at % (depth / 4) * 4, row = at / (depth / 4);
    const float4 v = STAGE(stage[l]);
    to[slot(k, row, n, matrix)] = v.s0;
    to[slot(k + 1, row, n, matrix)] = v.s1;
    to[slot(k + 2, row, n, matrix)] = v.s2;
    to[slot(k + 3, row, n, matrix)] = v.s3;
  }
}

// A slab that lies in memory as it lies in local memory.
static INLINE void keep(__local float *to, const float4 *stage, const int lane, const int n, const int items,
                        const int depth, const int matrix) {
  EACH_QUAD(n) {
    const int at = lane + l * items;
    *(__local float4 *)(to + slot(at / (n / 4), at % (n / 4) * 4, n, matrix)) = STAGE(stage[l]);
  }
}

// A place in the sum over rows and columns of the kernel, and channels.
typedef struct {
  uint row, column, channel;
} place;

// Written through a pointer: a structure that is returned has Clang promise what Oclgrind cannot read.
static INLINE void place_of(place *at, const uint k, const uint columns, const uint channels) {
  const uint tap = k / channels;
  at->row = tap / columns;
  at->column = tap % columns;
  at->channel = k % channels;
}

static INLINE void move_on(place *at, const uint by, const uint columns, const uint channels) {
  at->channel += by;
  while (at->channel >= channels) {
    at->channel -= channels;
    at->column++;
    if (at->column == columns) {
      at->column = 0;
      at->row++;
    }
  }
}

// A pixel's image in memory, and the row and column that the kernel's first tap reads; `direction` is where taps go.
typedef struct {
  uint image;
  int row, column;
} origin;

// The number at `at` around a pixel of a picture of height x width x channels, zero outside.
static INLINE float around(__global const float *x, const origin from, const place at, const int direction,
                           const uint rows, const uint height, const uint width, const uint channels) {
  const uint row = from.row + direction * (int)at.row, column = from.column + direction * (int)at.column;
  return at.row < rows && row < height && column < width ? x[from.image + (row * width + column) * channels + at.channel]
                                                         : 0.0f;
}

// The same for four channels from `at`; `columns` of the kernel say where the next number is when they are not aligned.
static INLINE float4 quad_around(__global const float *x, const origin from, const place at, const int direction,
                                 const uint rows, const uint columns, const uint height, const uint width,
                                 const uint channels, const int aligned) {
  if (aligned) {
    const uint row = from.row + direction * (int)at.row, column = from.column + direction * (int)at.column;
    const bool inside = at.row < rows && row < height && column < width;
    return quad(x + from.image + (row * width + column) * channels + at.channel, inside ? 4 : 0, 1);
  }
  place next = at;
  float4 v;
  v.s0 = around(x, from, next, direction, rows, height, width, channels);
  move_on(&next, 1, columns, channels);
  v.s1 = around(x, from, next, direction, rows, height, width, channels);
  move_on(&next, 1, columns, channels);
  v.s2 = around(x, from, next, direction, rows, height, width, channels);
  move_on(&next, 1, columns, channels);
  v.s3 = around(x, from, next, direction, rows, height, width, channels);
  return v;
}

// Mean and squared deviations of each of the block's columns over its `count` rows, [3][filters] with the count.
static INLINE void column_statistics(const float4 *sum, __local float *shared, __local float *mean,
                                     __global float *partial, const int count, const uint column, const uint filters,
                                     BLOCK) {
  ITEM;
  for (int pass = 0; pass < 2; pass++) {
    EACH_COLUMN {
      const float4 centre = pass ? *(__local const float4 *)(mean + COLUMN_OF(j)) : (float4)(0.0f);
      float4 total = (float4)(0.0f);
      EACH_ROW {
        const float4 v = sum[i * (tn / 4) + j] - centre;
        if (ROW_OF(i) < count)
          total = pass ? MAD(v, v, total) : total + v;
      }
      *(__local float4 *)(shared + item_line * bn + COLUMN_OF(j)) = total;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int c = lane; c < bn; c += items) {
      float total = 0.0f;
      for (int r = 0; r < bm / tm; r++)
        total += shared[r * bn + c];
      if (!pass)
        total = mean[c] = total / (float)count;
      if (column + c < filters) {
        partial[pass * filters + column + c] = total;
        if (!pass)
          partial[2 * filters + column + c] = (float)count;
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
}

// y[n][i][j][o] = sum_{a,b,c} x[n][i*stride+a-padding][j*stride+b-padding][c] * weight[a][b][c][o]; with several splits
// y is [splits][y], with one `partial` is the statistics of each block's rows.
static INLINE void forward_block(SIZES, const uint splits, __global float *y, __global float *partial,
                                 __global const float *x, __global const float *weight, __local float *a,
                                 __local float *b, __local float *fragments, BLOCK) {
  ITEM;
  SUMS_OF_ITEM;
  const uint pixels = out_height * out_width, rows = batch * pixels, sums = kernel_size * kernel_size * channels;
  const uint across = (filters + bn - 1) / bn, down = (rows + bm - 1) / bm, slabs = (sums + depth - 1) / depth;
  const uint group = get_group_id(0), column = group % across * bn, block = group / across % down;
  const uint split = group / across / down, row = block * bm;
  const uint first = (uint)((ulong)slabs * split / splits), last = (uint)((ulong)slabs * (split + 1) / splits);
  origin from[STAGED];
  EACH_QUAD(bm) {
    const uint m = row + (lane + l * items) / (depth / 4), n = m / pixels, i = m % pixels / out_width;
    from[l].image = n * height * width * channels;
    from[l].row = m < rows ? (int)(i * stride) - (int)padding : (int)height;
    from[l].column = (int)(m % out_width * stride) - (int)padding;
  }
  place at;
  place_of(&at, first * depth + lane % (depth / 4) * 4, kernel_size, channels);
  float4 a_stage[STAGED], b_stage[STAGED];
#define FETCH(slab)                                                                                                   \
  {                                                                                                                   \
    EACH_QUAD(bm) a_stage[l] =                                         \
        quad_around(x, from[l], at, 1, kernel_size, kernel_size, height, width, channels, aligned);                   \
    EACH_QUAD(bn) {                                                    \
      const int t = lane + l * items;                                                                                 \
      const uint k = (slab)*depth + t / (bn / 4), o = column + t % (bn / 4) * 4;                                      \
      b_stage[l] = quad(weight + k * filters + o, k < sums ? (int)filters - (int)o : 0, aligned);                     \
    }                                                                                                                 \
    move_on(&at, depth, kernel_size, channels);                                                                       \
  }
#define KEEP(half)                                                                                                    \
  {                                                                                                                   \
    keep_turned(a + (half)*SLAB(bm), a_stage, lane, bm, items, depth, matrix);                                        \
    keep(b + (half)*SLAB(bn), b_stage, lane, bn, items, depth, matrix);                                               \
  }
  SUM_SLABS
#undef FETCH
#undef KEEP
  y += split * rows * filters;
  EACH_ROW EACH_COLUMN {
    const uint m = row + ROW_OF(i), o = column + COLUMN_OF(j);
    put_quad(y + m * filters + o, sum[i * (tn / 4) + j], m < rows ? (int)filters - (int)o : 0, 0, aligned);
  }
  if (splits == 1)
    column_statistics(sum, a, b, partial + block * 3 * filters, min((int)(rows - row), bm), column, filters, BLOCK_OF);
}

// dx[n][row][column][c] = sum over a, b, o of dy at the pixels that read (row, column), added if `accumulate`; with
// several splits dx is [splits][dx]. Pixels of a block agree in (row % stride, column % stride), so that they are read
// by the same taps, `stride` apart.
static INLINE void backward_input_block(SIZES, const uint splits, const uint accumulate, __global float *dx,
                                        __global const float *dy, __global const float *weight, __local float *a,
                                        __local float *b, __local float *fragments, BLOCK) {
  ITEM;
  SUMS_OF_ITEM;
  const uint high = (height + stride - 1) / stride, wide = (width + stride - 1) / stride;
  const uint rows = batch * high * wide, across = (channels + bn - 1) / bn, down = (rows + bm - 1) / bm;
  const uint group = get_group_id(0), column = group % across * bn, row = group / across % down * bm;
  const uint phase = group / across / down % (stride * stride), split = group / across / down / (stride * stride);
  const uint odd_row = phase / stride, odd_column = phase % stride;
  // The first taps that read such a pixel, how many there are, and what they read; the next ones read before that.
  const uint tap_row = (odd_row + padding) % stride, tap_column = (odd_column + padding) % stride;
  const uint tap_rows = tap_row < kernel_size ? (kernel_size - tap_row + stride - 1) / stride : 0;
  const uint tap_columns = tap_column < kernel_size ? (kernel_size - tap_column + stride - 1) / stride : 0;
  const uint sums = tap_rows * tap_columns * filters, slabs = (sums + depth - 1) / depth;
  const uint first = (uint)((ulong)slabs * split / splits), last = (uint)((ulong)slabs * (split + 1) / splits);
  origin from[STAGED];
  EACH_QUAD(bm) {
    const uint m = row + (lane + l * items) / (depth / 4), n = m / wide / high, i = m / wide % high;
    from[l].image = n * out_height * out_width * filters;
    from[l].row = m < rows ? (int)(i + (odd_row + padding - tap_row) / stride) : -(int)kernel_size;
    from[l].column = m % wide + (odd_column + padding - tap_column) / stride;
  }
  place at;
  place_of(&at, first * depth + lane % (depth / 4) * 4, max(tap_columns, 1u), filters);
  float4 a_stage[STAGED], b_stage[STAGED];
#define TAP(at) ((tap_row + (at).row * stride) * kernel_size + tap_column + (at).column * stride)
#define FETCH(slab)                                                                                                   \
  {                                                                                                                   \
    EACH_QUAD(bm) a_stage[l] =                                         \
        quad_around(dy, from[l], at, -1, tap_rows, tap_columns, out_height, out_width, filters, aligned);             \
    EACH_QUAD(bn) {                                                    \
      const uint c = column + (lane + l * items) / (depth / 4);                                                       \
      b_stage[l] = (float4)(0.0f);                                                                                    \
      if (aligned) {                                                                                                  \
        if (c < channels && at.row < tap_rows)                                                                        \
          b_stage[l] = quad(weight + (TAP(at) * channels + c) * filters + at.channel, 4, 1);                          \
      } else if (c < channels) {                                                                                      \
        place next = at;                                                                                              \
        float own[4];                                                                                                 \
        UNROLL for (int e = 0; e < 4; e++) {                                                                          \
          own[e] = next.row < tap_rows ? weight[(TAP(next) * channels + c) * filters + next.channel] : 0.0f;          \
          move_on(&next, 1, tap_columns, filters);                                                                    \
        }                                                                                                             \
        b_stage[l] = (float4)(own[0], own[1], own[2], own[3]);                                                        \
      }                                                                                                               \
    }                                                                                                                 \
    move_on(&at, depth, tap_columns, filters);                                                                        \
  }
#define KEEP(half)                                                                                                    \
  {                                                                                                                   \
    keep_turned(a + (half)*SLAB(bm), a_stage, lane, bm, items, depth, matrix);                                        \
    keep_turned(b + (half)*SLAB(bn), b_stage, lane, bn, items, depth, matrix);                                        \
  }
  SUM_SLABS
#undef FETCH
#undef KEEP
  dx += split * batch * height * width * channels;
  EACH_ROW {
    const uint m = row + ROW_OF(i), n = m / wide / high;
    const uint to_row = m / wide % high * stride + odd_row, to_column = m % wide * stride + odd_column;
    const bool inside = m < rows && to_row < height && to_column < width;
    EACH_COLUMN {
      const uint c = column + COLUMN_OF(j);
      put_quad(dx + ((n * height + to_row) * width + to_column) * channels + c, sum[i * (tn / 4) + j],
               inside ? (int)channels - (int)c : 0, accumulate, aligned);
    }
  }
}

// partial[split][a][b][c][o] = sum of x * dy over the split's share of the output's pixels. Pixels are told apart by
// products: n / d = (n + high half of n * factor) >> shift for n below 2^31.
static INLINE uint divide(const uint n, const uint factor, const uint shift) { return (mul_hi(n, factor) + n) >> shift; }

static INLINE void backward_weight_block(SIZES, const uint splits, const uint row_factor, const uint row_shift,
                                         const uint image_factor, const uint image_shift, __global float *partial,
                                         __global const float *x, __global const float *dy, __local float *a,
                                         __local float *b, __local float *fragments, BLOCK) {
  ITEM;
  SUMS_OF_ITEM;
  const uint rows = kernel_size * kernel_size * channels, sums = batch * out_height * out_width;
  const uint across = (filters + bn - 1) / bn, down = (rows + bm - 1) / bm, slabs = (sums + depth - 1) / depth;
  const uint group = get_group_id(0), column = group % across * bn, row = group / across % down * bm;
  const uint split = group / across / down;
  const uint first = (uint)((ulong)slabs * split / splits), last = (uint)((ulong)slabs * (split + 1) / splits);
  // What a work-item reads of x around each pixel: always the same tap and channels.
  const uint own_row = row + lane % (bm / 4) * 4;
  place at[4];
  UNROLL for (int e = 0; e < (aligned ? 1 : 4); e++) place_of(at + e, own_row + e, kernel_size, channels);
  float4 a_stage[STAGED], b_stage[STAGED];
#define FETCH(slab)                                                                                                   \
  {                                                                                                                   \
    EACH_QUAD(bm) {                                                    \
      const uint p = (slab)*depth + (lane + l * items) / (bm / 4);                                                    \
      const uint line = divide(p, row_factor, row_shift), n = divide(p, image_factor, image_shift);                   \
      origin from;                                                                                                    \
      from.image = n * height * width * channels;                                                                     \
      from.row = p < sums ? (int)((line - n * out_height) * stride) - (int)padding : (int)height;                     \
      from.column = (int)((p - line * out_width) * stride) - (int)padding;                                            \
      if (aligned)                                                                                                    \
        a_stage[l] = quad_around(x, from, at[0], 1, kernel_size, 1, height, width, channels, 1);                      \
      else                                                                                                            \
        a_stage[l] = (float4)(around(x, from, at[0], 1, kernel_size, height, width, channels),                        \
                              around(x, from, at[1], 1, kernel_size, height, width, channels),                        \
                              around(x, from, at[2], 1, kernel_size, height, width, channels),                        \
                              around(x, from, at[3], 1, kernel_size, height, width, channels));                       \
    }                                                                                                                 \
    EACH_QUAD(bn) {                                                    \
      const int t = lane + l * items;                                                                                 \
      const uint p = (slab)*depth + t / (bn / 4), o = column + t % (bn / 4) * 4;                                      \
      b_stage[l] = quad(dy + p * filters + o, p < sums ? (int)filters - (int)o : 0, aligned);                         \
    }                                                                                                                 \
  }
#define KEEP(half)                                                                                                    \
  {                                                                                                                   \
    keep(a + (half)*SLAB(bm), a_stage, lane, bm, items, depth, matrix);                                               \
    keep(b + (half)*SLAB(bn), b_stage, lane, bn, items, depth, matrix);                                               \
  }
  SUM_SLABS
#undef FETCH
#undef KEEP
  partial += split * rows * filters;
  EACH_ROW EACH_COLUMN {
    const uint m = row + ROW_OF(i), o = column + COLUMN_OF(j);
    put_quad(partial + m * filters + o, sum[i * (tn / 4) + j], m < rows ? (int)filters - (int)o : 0, 0, aligned);
  }
}

#define SIZES_OF batch, height, width, channels, out_height, out_width, filters, kernel_size, stride, padding

// What a block has of local memory.
#define LOCAL(bm, bn, depth, matrix)                                                                                  \
  __local __attribute__((aligned(16))) float a[2 * (depth) * ((bm) + (matrix ? 0 : PAD))],                            \
      b[2 * (depth) * ((bn) + (matrix ? 0 : PAD))];                                                                   \
  FRAGMENTS((bm) * (bn) / 64)
#if MATRIX == 2
#define FRAGMENTS(items) __local float fragments[(items)*6]
#else
#define FRAGMENTS(items) __local float *fragments = 0
#endif

// The three kernels of a block.
#define BLOCKS(stage, bm, bn, tm, tn, depth, whole, matrix)                                                           \
  __kernel __attribute__((reqd_work_group_size((bm) / (tm) * ((bn) / (tn)), 1, 1))) void conv2d_forward_##stage(      \
      SIZES, const uint splits, __global float *restrict y, const uint y_at, __global float *restrict partial,        \
      const uint partial_at, __global const float *restrict x, const uint x_at, __global const float *restrict weight, \
      const uint weight_at) {                                                                                         \
    LOCAL(bm, bn, depth, matrix);                                                                                     \
    forward_block(SIZES_OF, splits, y + y_at, partial + partial_at, x + x_at, weight + weight_at, a, b, fragments,    \
                  bm, bn, tm, tn, depth, whole, matrix);                                                              \
  }                                                                                                                   \
  __kernel __attribute__((reqd_work_group_size((bm) / (tm) * ((bn) / (tn)), 1, 1))) void                              \
      conv2d_backward_input_##stage(SIZES, const uint splits, const uint accumulate, __global float *restrict dx,     \
                                    const uint dx_at, __global const float *restrict dy, const uint dy_at,            \
                                    __global const float *restrict weight, const uint weight_at) {                    \
    LOCAL(bm, bn, depth, matrix);                                                                                     \
    backward_input_block(SIZES_OF, splits, accumulate, dx + dx_at, dy + dy_at, weight + weight_at, a, b, fragments,   \
                         bm, bn, tm, tn, depth, whole, matrix);                                                       \
  }                                                                                                                   \
  __kernel __attribute__((reqd_work_group_size((bm) / (tm) * ((bn) / (tn)), 1, 1))) void                              \
      conv2d_backward_weight_##stage(SIZES, const uint splits, const uint row_factor, const uint row_shift,           \
                                     const uint image_factor, const uint image_shift,                                 \
                                     __global float *restrict partial, const uint partial_at,                         \
                                     __global const float *restrict x, const uint x_at,                               \
                                     __global const float *restrict dy, const uint dy_at) {                           \
    LOCAL(bm, bn, depth, matrix);                                                                                     \
    backward_weight_block(SIZES_OF, splits, row_factor, row_shift, image_factor, image_shift, partial + partial_at,   \
                          x + x_at, dy + dy_at, a, b, fragments, bm, bn, tm, tn, depth, whole, matrix);               \
  }

// The table of blocks, as the host knows it, which leaves those out that the device has no work-groups for.
#if MATRIX
#ifndef WITHOUT_128x128
BLOCKS(128x128, 128, 128, 8, 8, 16, 1, 1)
#endif
#ifndef WITHOUT_128x64
BLOCKS(128x64, 128, 64, 8, 8, 16, 1, 1)
#endif
#ifndef WITHOUT_64x64
BLOCKS(64x64, 64, 64, 8, 8, 16, 1, 1)
#endif
#ifndef WITHOUT_128x32
BLOCKS(128x32, 128, 32, 8, 8, 16, 1, 1)
#endif
#else
#ifndef WITHOUT_128x128
BLOCKS(128x128, 128, 128, 8, 8, 8, 1, 0)
#endif
#ifndef WITHOUT_128x64
BLOCKS(128x64, 128, 64, 8, 4, 16, 1, 0)
#endif
#ifndef WITHOUT_64x64
BLOCKS(64x64, 64, 64, 4, 4, 16, 1, 0)
#endif
#ifndef WITHOUT_128x32
BLOCKS(128x32, 128, 32, 8, 4, 16, 1, 0)
#endif
#endif
#ifndef WITHOUT_64x32
BLOCKS(64x32, 64, 32, 4, 4, 16, 1, 0)
#endif
#ifndef WITHOUT_128x16
BLOCKS(128x16, 128, 16, 4, 4, 16, 1, 0)
#endif
#ifndef WITHOUT_64x16
BLOCKS(64x16, 64, 16, 4, 4, 16, 1, 0)
#endif
// Any number of channels and filters, at any address.
#ifndef WITHOUT_any
BLOCKS(any, 64, 32, 4, 4, 16, 0, 0)
#endif

// The sum of the splits.
MERGE_PARTS(conv2d_forward_merge)
MERGE_PARTS(conv2d_backward_input_merge)

#endif
