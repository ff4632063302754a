// Winograd's F(4x4, 3x3) for convolutions 3 x 3 of stride 1 with padding 1, NHWC x HWIO, for CPUs: 2.25 x fewer
// products (Lavin and Gray 2016). Channels and filters are multiples of 16; pictures are of any size.
//
// A tile is 4 x 4 pixels of the output and reads a window of 6 x 6 pixels. With the matrices of the points 0, 1, -1, 2,
// -2 and infinity,
//   forward          y  = A^T [sum over channels of (B^T window B) . (G weight G^T)] A
//   weight gradient  dw = G^T [sum over tiles    of (B^T window B) . (A dy A^T)] G
// where . multiplies each of the 36 frequencies. The gradient with respect to the input is the forward form on dy, with
// weights flipped and turned. A work-item takes blocks of tiles; transformed tiles stay in its own scratch memory.
//
// winograd_rows.h goes in front: the transforms of rows and columns.
//
// WINOGRAD_BLOCK  tiles of a block; sums over tiles start from zero as often

#if WIDTH == 16

#ifndef WINOGRAD_BLOCK
#error "a tile size is missing"
#endif

#define BLOCK WINOGRAD_BLOCK
#define FREQUENCIES 36
// Numbers of a transformed tile, 16 channels: [frequency][16]; the last 16 keep tiles out of step with the cache.
#define CELL (FREQUENCIES * 16 + 16)
// Numbers of a block's transformed tiles, 16 channels: [tile][frequency][16]
#define SLICE (BLOCK * CELL)
// Numbers between frequencies of [channels][16] or of [channels][filters], for the same reason.
#define APART 80

typedef __global const float *Pixel;

// The sizes of a convolution, as every kernel takes them.
#define SIZES const uint batch, const uint height, const uint width, const uint channels, const uint filters

static inline uint tiles_of(const uint batch, const uint height, const uint width) {
  return batch * ((height + 3) / 4) * ((width + 3) / 4);
}

// Where a tile lies: its picture, and its upper left pixel there.
typedef struct {
  uint picture;
  int row, column;
} Tile;

static inline Tile tile_at(const uint index, const uint height, const uint width) {
  const uint across = (width + 3) / 4, down = (height + 3) / 4;
  Tile tile;
  tile.picture = index / across / down;
  tile.row = (int)(index / across % down * 4);
  tile.column = (int)(index % across * 4);
  return tile;
}

// The `size` x `size` pixels of x from (row, column) on; those outside the picture are at `zeros`.
static inline __attribute__((always_inline)) void find_pixels(Pixel *pixels, const int size, __global const float *x, __global const float *zeros,
                               const uint picture, const int row, const int column, const uint height,
                               const uint width, const uint channels) {
  x += (ulong)picture * height * width * channels;
#pragma unroll
  for (int r = 0; r < size; r++) {
    const bool row_inside = (uint)(row + r) < height;
    const long start = ((long)(row + r) * width + column) * channels;
#pragma unroll
    for (int c = 0; c < size; c++)
      pixels[r * size + c] = row_inside && (uint)(column + c) < width ? x + (start + c * channels) : zeros;
  }
}

// Prefetches the four lines and columns of pixels from `pixel` on: what the tile below needs and no tile has read yet.
static inline void fetch_below(Pixel pixel, const uint row_step, const uint channels) {
  for (uint r = 0; r < 4; r++)
    for (uint c = 0; c < 4 * channels; c += 16)
      AHEAD(pixel + r * row_step + c);
}

// v[slice][tile][frequency][16] = B^T window B for `count` tiles from `first`; neighbours are so many
// numbers apart.
static inline void transform_windows(__global float *v, const uint slice_step, const uint tile_step, const uint step,
                                     __global const float *x, __global const float *zeros, const uint first,
                                     const uint count, const uint height, const uint width, const uint channels) {
  const uint row_step = width * channels;
  for (uint t = 0; t < count; t++) {
    const Tile tile = tile_at(first + t, height, width);
    __global float *to = v + t * tile_step;
    fetch_below(x + ((tile.picture * height + tile.row + 5) * width + tile.column) * channels, row_step, channels);
    if (tile.row > 0 && tile.column > 0 && tile.row + 5 <= height && tile.column + 5 <= width) {
      Pixel corner = x + ((tile.picture * height + tile.row - 1) * width + tile.column - 1) * channels;
#define INSIDE(r, c) (corner + lane + (r)*row_step + (c)*channels)
      for (uint slice = 0; slice < channels / 16; slice++) {
        EACH_LANES(lane) {
          TRANSFORM_WINDOW(to + lane, step, INSIDE)
        }
        to += slice_step;
        corner += 16;
      }
    } else {
      Pixel window[36];
      find_pixels(window, 6, x, zeros, tile.picture, tile.row - 1, tile.column - 1, height, width, channels);
#define AT_EDGE(r, c) (window[(r)*6 + (c)] + slice * 16 + lane)
      for (uint slice = 0; slice < channels / 16; slice++) {
        EACH_LANES(lane) {
          TRANSFORM_WINDOW(to + lane, step, AT_EDGE)
        }
        to += slice_step;
      }
    }
  }
}

// Transposes 16 x 16: four times the perfect shuffle of the rows.
static inline void transpose(vec *rows) {
#pragma unroll
  for (int round = 0; round < 4; round++) {
    vec next[16];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const vec a = rows[i], b = rows[i + 8];
      next[2 * i] =
          (vec)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3, a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7);
      next[2 * i + 1] =
          (vec)(a.s8, b.s8, a.s9, b.s9, a.sa, b.sa, a.sb, b.sb, a.sc, b.sc, a.sd, b.sd, a.se, b.se, a.sf, b.sf);
    }
#pragma unroll
    for (int i = 0; i < 16; i++)
      rows[i] = next[i];
  }
}

// u[filter block][frequency][channel][16] = G weight G^T. If `turned`, `weight` is [3][3][filters][channels], and what
// is transformed is weight[2-a][2-b][filter][channel]: the gradient's kernel. An item has 16 channels and 16 filters.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_forward_winograd_weights(const uint channels, const uint filters, const uint turned, __global float *restrict u,
                                const uint u_at, __global const float *restrict weight, const uint weight_at) {
  const uint slices = channels / 16, id = get_global_id(0), slice = id % slices * 16, block = id / slices;
  if (block >= filters / 16)
    return;
  const uint step = channels * 16 + APART;
  u += u_at + block * FREQUENCIES * step + slice * 16;
  weight += weight_at;
  vec taps[9][16];
  for (int tap = 0; tap < 9; tap++) {
    const uint from = turned ? 8 - tap : tap, tap_at = from * channels * filters;
    for (uint r = 0; r < 16; r++)
      taps[tap][r] = turned ? LOAD(weight + tap_at + (block * 16 + r) * channels + slice)
                            : LOAD(weight + tap_at + (slice + r) * filters + block * 16);
    if (turned)
      transpose(taps[tap]);
  }
#define TAP(tap) (*(const lanes *)((const float *)&taps[tap][c] + lane))
  for (uint c = 0; c < 16; c++) {
    EACH_LANES(lane) {
      lanes down[3][6], across[6];
      EACH_SIDE(b, 3)
        kernel_rows(down[b], TAP(b), TAP(3 + b), TAP(6 + b));
      EACH_SIDE(i, 6) {
        kernel_rows(across, down[0][i], down[1][i], down[2][i]);
#pragma unroll
        for (int j = 0; j < 6; j++)
          STORE_LANES(u + (i * 6 + j) * step + c * 16 + lane, across[j]);
      }
    }
  }
#undef TAP
}

// m[tile] = sum over channels of v[tile][channel] * u[channel], for TILE_ROWS tiles, 16 filters and one frequency
static inline void multiply(__global float *restrict m, __global const float *restrict v,
                            __global const float *restrict u, const uint slices) {
  vec sum[TILE_ROWS];
#pragma unroll
  for (int t = 0; t < TILE_ROWS; t++)
    sum[t] = ZERO;
  for (uint slice = 0; slice < slices; slice++) {
#pragma unroll
    for (int c = 0; c < 16; c++) {
      const vec w = LOAD(u + c * 16);
#pragma unroll
      for (int t = 0; t < TILE_ROWS; t++)
        sum[t] = MAD((vec)(v[t * CELL + c]), w, sum[t]);
    }
    v += SLICE;
    u += 256;
  }
#pragma unroll
  for (int t = 0; t < TILE_ROWS; t++)
    STORE(m + t * 16, sum[t]);
}

// Statistics of one filter block's pixels, 16 filters.
typedef struct {
  float count;
  vec mean, deviations;
} Statistics;

// y(rows x columns pixels of the tile) = A^T m A for 16 filters; frequencies of m are `step` numbers apart. `statistics`
// takes the tile's pixels in. Their deviations are summed from the tile's first pixel, which is as close as any.
static inline void transform_output(__global float *y, __global const float *m, const uint step, const uint accumulate,
                                    const uint stream, const uint rows, const uint columns, const uint row_step,
                                    const uint column_step, Statistics *statistics) {
#if LANES == 16
#define M(r, c) LOAD(m + ((r)*6 + (c)) * step)
  vec down[6][4], pivot, sum = ZERO, squares = ZERO;
#pragma unroll
  for (int c = 0; c < 6; c++)
    output_rows(down[c], M(0, c), M(1, c), M(2, c), M(3, c), M(4, c), M(5, c));
#pragma unroll
  for (int r = 0; r < 4; r++) {
    vec across[4];
    output_rows(across, down[0][r], down[1][r], down[2][r], down[3][r], down[4][r], down[5][r]);
#pragma unroll
    for (int c = 0; c < 4; c++)
      if (r < rows && c < columns) {
        __global float *to = y + r * row_step + c * column_step;
        if (accumulate)
          STORE(to, LOAD(to) + across[c]);
        else if (stream)
          STREAM(to, across[c]);
        else
          STORE(to, across[c]);
        if (r == 0 && c == 0)
          pivot = across[c];
        sum += across[c] - pivot;
        squares = MAD(across[c] - pivot, across[c] - pivot, squares);
      }
  }
#else
#define M(r, c) LOAD_LANES(m + ((r)*6 + (c)) * step + lane)
  // A line of memory is stored at once, so lanes come last; what is summed over pixels lies in memory between.
  vec down[4][6], pivot = ZERO, sum = ZERO, squares = ZERO;
#define PART(v) (*(lanes *)((float *)&(v) + lane))
  EACH_SIDE(c, 6)
    EACH_LANES(lane) {
      lanes part[4];
      output_rows(part, M(0, c), M(1, c), M(2, c), M(3, c), M(4, c), M(5, c));
#pragma unroll
      for (int r = 0; r < 4; r++)
        PART(down[r][c]) = part[r];
    }
  EACH_SIDE(r, (int)min(rows, 4u))
    EACH_LANES(lane) {
      lanes across[4];
#define DOWN(c) PART(down[r][c])
      output_rows(across, DOWN(0), DOWN(1), DOWN(2), DOWN(3), DOWN(4), DOWN(5));
#undef DOWN
      if (r == 0)
        PART(pivot) = across[0];
      const lanes first = PART(pivot);
      lanes part_sum = PART(sum), part_squares = PART(squares);
#pragma unroll
      for (int c = 0; c < 4; c++)
        if (c < columns) {
          __global float *to = y + r * row_step + c * column_step + lane;
          if (accumulate)
            STORE_LANES(to, LOAD_LANES(to) + across[c]);
          else if (stream)
            STREAM_LANES(to, across[c]);
          else
            STORE_LANES(to, across[c]);
          part_sum += across[c] - first;
          part_squares = MAD(across[c] - first, across[c] - first, part_squares);
        }
      PART(sum) = part_sum;
      PART(squares) = part_squares;
    }
#undef PART
#endif
#undef M
  const float count = (float)(min(rows, 4u) * min(columns, 4u));
  const vec mean = sum / count;
  chan(&statistics->count, &statistics->mean, &statistics->deviations, count, pivot + mean, squares - sum * mean);
}

// y = convolution of x, added to what is there if `accumulate`; `u` comes from conv2d_forward_winograd_weights. A unit
// of work is a block of `block_tiles` tiles, at most BLOCK, and one of `splits` shares of the filters. partial[block of tiles] = mean, squared
// deviations and count of its pixels, [3][filters], for batch_norm_forward_merge.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_forward_winograd(SIZES, const uint block_tiles, const uint groups, const uint splits, const uint accumulate,
                        const uint stream, __global float *restrict y,
                        const uint y_at, __global float *restrict scratch, const uint scratch_at,
                        __global float *restrict partial, const uint partial_at, __global const float *restrict x,
                        const uint x_at, __global const float *restrict u, const uint u_at) {
  const uint tiles = tiles_of(batch, height, width), group = get_global_id(0);
  const uint units = (tiles + block_tiles - 1) / block_tiles * splits, slices = channels / 16;
  const uint step = BLOCK * 16 + 16;
  scratch += scratch_at + group * (slices * SLICE + FREQUENCIES * step + channels);
  __global float *v = scratch, *m = v + slices * SLICE, *zeros = m + FREQUENCIES * step;
  for (uint c = 0; c < channels; c++)
    zeros[c] = 0.0f;
  const uint last = (uint)((ulong)units * (group + 1) / groups);
  for (uint unit = (uint)((ulong)units * group / groups); unit < last; unit++) {
    const uint first = unit / splits * block_tiles, count = min(block_tiles, tiles - first);
    transform_windows(v, SLICE, CELL, 16, x + x_at, zeros, first, count, height, width, channels);
    // Rows of `multiply` behind the last tile: their results are not read.
    for (uint t = count; t % TILE_ROWS > 0; t++)
      for (uint slice = 0; slice < slices; slice++)
        for (uint f = 0; f < FREQUENCIES; f++)
          STORE(v + slice * SLICE + t * CELL + f * 16, ZERO);
    uint from, blocks, apart;
    share(filters / 16, unit % splits, splits, &from, &blocks, &apart);
    for (uint k = 0; k < blocks; k++) {
      const uint block = from + k * apart;
      for (uint f = 0; f < FREQUENCIES; f++)
        for (uint t = 0; t < count; t += TILE_ROWS)
          multiply(m + f * step + t * 16, v + f * 16 + t * CELL,
                   u + u_at + (block * FREQUENCIES + f) * (channels * 16 + APART), slices);
      // Element by element: as a whole, SPIR-V would copy it from a constant.
      Statistics statistics;
      statistics.count = 0.0f;
      statistics.mean = statistics.deviations = ZERO;
      for (uint t = 0; t < count; t++) {
        const Tile tile = tile_at(first + t, height, width);
        const uint pixel = (tile.picture * height + tile.row) * width + tile.column;
        transform_output(y + y_at + pixel * filters + block * 16, m + t * 16, step, accumulate, stream, height - tile.row,
                         width - tile.column, width * filters, filters, &statistics);
      }
      __global float *row = partial + partial_at + unit / splits * 3 * filters + block * 16;
      STORE(row, statistics.mean);
      STORE(row + filters, statistics.deviations);
      STORE(row + 2 * filters, (vec)(statistics.count));
    }
  }
}

// to[frequency] = A dy A^T, for LANES of 16 filters
static inline void transform_gradient(__global float *to, const uint step, const Pixel *pixels, const uint filter) {
#define D(r, c) LOAD_LANES(pixels[(r)*4 + (c)] + filter)
  lanes down[4][6], across[6];
  EACH_SIDE(c, 4)
    gradient_rows(down[c], D(0, c), D(1, c), D(2, c), D(3, c));
  EACH_SIDE(i, 6) {
    gradient_rows(across, down[0][i], down[1][i], down[2][i], down[3][i]);
#pragma unroll
    for (int j = 0; j < 6; j++)
      STORE_LANES(to + (i * 6 + j) * step, across[j]);
  }
#undef D
}

// The same for `count` tiles from `first`, all filters: to[slice][tile][frequency][16]
static inline void transform_gradients(__global float *to, const uint slice_step, const uint tile_step,
                                       const uint step, __global const float *dy, __global const float *zeros,
                                       const uint first, const uint count, const uint height, const uint width,
                                       const uint filters) {
  for (uint t = 0; t < count; t++) {
    const Tile tile = tile_at(first + t, height, width);
    Pixel pixels[16];
    find_pixels(pixels, 4, dy, zeros, tile.picture, tile.row, tile.column, height, width, filters);
    for (uint slice = 0; slice < filters / 16; slice++) {
      EACH_LANES(lane) {
        transform_gradient(to + slice * slice_step + t * tile_step + lane, step, pixels, slice * 16 + lane);
      }
    }
  }
}

// sums[channel] = sum over tiles of v[tile][channel] * d[tile], added if `add`, for 16 channels, 16 filters and one
// frequency; tiles are `tile_step` numbers apart.
static inline __attribute__((always_inline)) void correlate(__global float *sums, __global const float *v,
                             __global const float *d, const uint tile_step, const uint count,
                             const bool add) {
  EACH_ROWS(first) {
    vec sum[TILE_ROWS];
#pragma unroll
    for (int c = 0; c < TILE_ROWS; c++)
      sum[c] = ZERO;
    for (uint t = 0; t < count; t++) {
      const vec w = LOAD(d + t * tile_step);
#pragma unroll
      for (int c = 0; c < TILE_ROWS; c++)
        sum[c] = MAD((vec)(v[t * tile_step + first + c]), w, sum[c]);
    }
#pragma unroll
    for (int c = 0; c < TILE_ROWS; c++) {
      __global float *to = sums + (first + c) * 16;
      STORE(to, add ? LOAD(to) + sum[c] : sum[c]);
    }
  }
}

// sums[group][stream][frequency][channel slice][filter block][16][16] over the group's blocks of tiles, for one or two
// output gradients; each block is summed from zero.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_backward_weight_winograd(SIZES, const uint groups, const uint streams, __global float *restrict sums,
                                const uint sums_at, __global float *restrict scratch, const uint scratch_at,
                                __global const float *restrict x, const uint x_at,
                                __global const float *restrict dy_first, const uint dy_first_at,
                                __global const float *restrict dy_second, const uint dy_second_at) {
  const uint tiles = tiles_of(batch, height, width), group = get_global_id(0);
  const uint blocks = (tiles + BLOCK - 1) / BLOCK, slices = channels / 16, filter_blocks = filters / 16;
  const uint step = channels * filters + APART, widest = max(channels, filters);
  sums += sums_at + group * streams * FREQUENCIES * step;
  scratch += scratch_at + group * ((slices + filter_blocks) * SLICE + widest);
  __global float *v = scratch, *d = v + slices * SLICE, *zeros = d + filter_blocks * SLICE;
  for (uint c = 0; c < widest; c++)
    zeros[c] = 0.0f;
  const uint start = (uint)((ulong)blocks * group / groups), last = (uint)((ulong)blocks * (group + 1) / groups);
  for (uint block = start; block < last; block++) {
    const uint first = block * BLOCK, count = min((uint)BLOCK, tiles - first);
    transform_windows(v, SLICE, CELL, 16, x + x_at, zeros, first, count, height, width, channels);
    for (uint stream = 0; stream < streams; stream++) {
      __global const float *dy = stream ? dy_second + dy_second_at : dy_first + dy_first_at;
      transform_gradients(d, SLICE, CELL, 16, dy, zeros, first, count, height, width, filters);
      for (uint f = 0; f < FREQUENCIES; f++)
        for (uint slice = 0; slice < slices; slice++)
          for (uint o = 0; o < filter_blocks; o++)
            correlate(sums + (stream * FREQUENCIES + f) * step + (slice * filter_blocks + o) * 256,
                      v + slice * SLICE + f * 16, d + o * SLICE + f * 16, CELL, count, block > start);
    }
  }
}

// dw = G^T p, three rows
static inline void weight_rows(vec *dw, const vec p0, const vec p1, const vec p2, const vec p3, const vec p4,
                               const vec p5) {
  const vec near = (p1 + p2) * (-1.0f / 6.0f), far = p3 + p4;
  dw[0] = MAD((vec)(0.25f), p0, MAD((vec)(1.0f / 24.0f), far, near));
  dw[1] = MAD((vec)(1.0f / 12.0f), p3 - p4, (p2 - p1) * (1.0f / 6.0f));
  dw[2] = MAD((vec)(1.0f / 6.0f), far, near) + p5;
}

// dweight += G^T (sum over groups of sums) G. An item has one channel and 16 filters of a stream.
__kernel void conv2d_backward_weight_winograd_merge(
    const uint channels, const uint filters, const uint groups, const uint streams, __global float *dweight_first,
    const uint dweight_first_at, __global float *dweight_second, const uint dweight_second_at,
    __global const float *restrict sums, const uint sums_at) {
  const uint filter_blocks = filters / 16, id = get_global_id(0), o = id / 16 % filter_blocks;
  const uint channel = id / 16 / filter_blocks % (channels / 16) * 16 + id % 16;
  const uint stream = id / filter_blocks / channels, step = channels * filters + APART;
  if (stream >= streams)
    return;
  sums += sums_at + stream * FREQUENCIES * step + (channel / 16 * filter_blocks + o) * 256 + channel % 16 * 16;
  vec down[6][3], across[3];
#pragma unroll
  for (int j = 0; j < 6; j++) {
    vec p[6];
#pragma unroll
    for (int i = 0; i < 6; i++)
      p[i] = LOAD(sums + (i * 6 + j) * step);
    for (uint group = 1; group < groups; group++)
#pragma unroll
      for (int i = 0; i < 6; i++)
        p[i] += LOAD(sums + (group * streams * FREQUENCIES + i * 6 + j) * step);
    weight_rows(down[j], p[0], p[1], p[2], p[3], p[4], p[5]);
  }
  __global float *to = stream ? dweight_second + dweight_second_at : dweight_first + dweight_first_at;
  to += channel * filters + o * 16;
#pragma unroll
  for (int a = 0; a < 3; a++) {
    weight_rows(across, down[0][a], down[1][a], down[2][a], down[3][a], down[4][a], down[5][a]);
#pragma unroll
    for (int b = 0; b < 3; b++) {
      __global float *tap = to + (a * 3 + b) * channels * filters;
      STORE(tap, LOAD(tap) + across[b]);
    }
  }
}

// Where transformed tiles are too many for a group, they go through memory: [frequency][channel slice][tile][16].
// The frequencies of `channels` are this far apart.
#define WIDE_STEP(channels, tiles) ((channels) * (tiles) + APART)

// v = B^T window B for the group's tiles
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_backward_weight_winograd_windows(SIZES, const uint groups, __global float *restrict v, const uint v_at,
                                        __global const float *restrict x, const uint x_at) {
  const uint tiles = tiles_of(batch, height, width), group = get_global_id(0);
  const uint first = (uint)((ulong)tiles * group / groups), last = (uint)((ulong)tiles * (group + 1) / groups);
  // Zeros of each group lie behind the frequencies.
  v += v_at;
  __global float *zeros = v + FREQUENCIES * WIDE_STEP(channels, tiles) + group * channels;
  for (uint c = 0; c < channels; c++)
    zeros[c] = 0.0f;
  transform_windows(v + first * 16, tiles * 16, 16, WIDE_STEP(channels, tiles), x + x_at, zeros, first, last - first,
                    height, width, channels);
}

// d = A dy A^T for the group's tiles
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_backward_weight_winograd_gradients(SIZES, const uint groups, __global float *restrict d, const uint d_at,
                                          __global const float *restrict dy, const uint dy_at) {
  const uint tiles = tiles_of(batch, height, width), group = get_global_id(0);
  const uint first = (uint)((ulong)tiles * group / groups), last = (uint)((ulong)tiles * (group + 1) / groups);
  d += d_at;
  __global float *zeros = d + FREQUENCIES * WIDE_STEP(filters, tiles) + group * filters;
  for (uint c = 0; c < filters; c++)
    zeros[c] = 0.0f;
  transform_gradients(d + first * 16, tiles * 16, 16, WIDE_STEP(filters, tiles), dy + dy_at, zeros, first,
                      last - first, height, width, filters);
}

// sums[frequency][channel slice][filter block][16][16] over all tiles, BLOCK at a time from zero. An item has one
// frequency and 16 channels.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_backward_weight_winograd_wide(SIZES, __global float *restrict sums, const uint sums_at,
                                     __global const float *restrict v, const uint v_at,
                                     __global const float *restrict d, const uint d_at) {
  const uint tiles = tiles_of(batch, height, width), slices = channels / 16;
  const uint filter_blocks = filters / 16, slice = get_global_id(0) % slices, f = get_global_id(0) / slices;
  if (f >= FREQUENCIES)
    return;
  sums += sums_at + f * (channels * filters + APART) + slice * filter_blocks * 256;
  v += v_at + f * WIDE_STEP(channels, tiles) + slice * tiles * 16;
  d += d_at + f * WIDE_STEP(filters, tiles);
  for (uint o = 0; o < filter_blocks; o++)
    for (uint first = 0; first < tiles; first += BLOCK)
      correlate(sums + o * 256, v + first * 16, d + (o * tiles + first) * 16, 16, min((uint)BLOCK, tiles - first),
                first > 0);
}

#endif
