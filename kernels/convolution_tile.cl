// Convolutions in register tiles, for CPUs: a work-item computes 16 pixels x 16 channels, TILE_ROWS pixels at a time, so
// that their sums stay in registers. How many they are changes no bit: every sum has its own lane and its own order.
//
// The pixels that a tile reads are copied, 16 channels at a time, to a patch in private memory: what lies outside the
// picture, or behind the last channel, is zero there, so that the inner loop has neither masks nor run-time strides.
// Weights are packed before, by 16 outputs, with zeros behind the last.

#if WIDTH == 16

#define PIXELS 16
// Pixels of the largest patch: 3 x 33 for a row of 16 at stride 2.
#define PATCH 99

#define SIZES                                                                                                         \
  const uint batch, const uint height, const uint width, const uint channels, const uint out_height,                  \
      const uint out_width, const uint filters, const uint padding, const uint groups

typedef __attribute__((aligned(4))) float16 private_vec;

// The 16-channel slices of rows x columns pixels from (top, left), `depth` channels of each.
static inline void copy_patch(private_vec *patch, __global const float *x, const int top, const int left,
                              const int rows, const int columns, const uint height, const uint width,
                              const uint channels, const uint depth) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) {
      const bool inside = (uint)(top + r) < height && (uint)(left + c) < width;
      vec v = ZERO;
      if (inside)
        v = load_part(x + ((uint)(top + r) * width + (uint)(left + c)) * channels, depth);
      patch[r * columns + c] = v;
    }
}

// packed[block][tap][c][lane] = weight[tap][c][16 * block + lane]; one work-item for each vector
__kernel void conv2d_forward_pack(const uint taps, const uint channels, const uint filters,
                                  __global float *restrict packed, const uint packed_at,
                                  __global const float *restrict weight, const uint weight_at) {
  const uint id = get_global_id(0), filter = id / channels / taps * 16;
  if (filter < filters)
    STORE(packed + packed_at + id * 16,
          load_part(weight + weight_at + id % (channels * taps) * filters + filter, filters - filter));
}

// packed[block][tap][o][lane] = weight[tap'][16 * block + lane][o], where the kernel is turned round if `flip`
__kernel void conv2d_backward_input_pack(const uint taps, const uint channels, const uint filters, const uint flip,
                                         __global float *restrict packed, const uint packed_at,
                                         __global const float *restrict weight, const uint weight_at) {
  const uint id = get_global_id(0), channel = id / filters / taps * 16;
  if (channel >= channels)
    return;
  const uint o = id % filters, tap = id / filters % taps, from = flip ? taps - 1 - tap : tap;
  weight += weight_at + (from * channels + channel) * filters + o;
  packed += packed_at + id * 16;
  for (uint lane = 0; lane < 16; lane++)
    packed[lane] = channel + lane < channels ? weight[lane * filters] : 0.0f;
}

// The sums of TILE_ROWS pixels from `first` on, `own`: where there are others, taken from memory and put back.
#if TILE_ROWS == PIXELS
#define TAKE_SUMS(own, sum, first) vec *own = sum
#define PUT_SUMS(own, sum, first)
#else
static inline void copy_sums(vec *to, const vec *from) {
#pragma unroll
  for (int p = 0; p < TILE_ROWS; p++)
    to[p] = from[p];
}
#define TAKE_SUMS(own, sum, first)                                                                                    \
  vec own[TILE_ROWS];                                                                                                 \
  copy_sums(own, sum + first)
#define PUT_SUMS(own, sum, first) copy_sums(sum + first, own)
#endif

// sum[p] += patch(pixel p) x packed weights of one tap, `depth` channels, for TILE_ROWS pixels.
static inline void multiply(vec *sum, const float *from, __global const float *weight, const uint depth,
                            const int tile_width, const int row_step, const int column_step) {
  if (depth == 16) {
#pragma unroll 4
    for (uint c = 0; c < 16; c++) {
      const vec w = LOAD(weight + c * 16);
#pragma unroll
      for (int p = 0; p < TILE_ROWS; p++)
        sum[p] = MAD((vec)(from[(p / tile_width * row_step + p % tile_width * column_step) * 16 + c]), w, sum[p]);
    }
    return;
  }
  for (uint c = 0; c < depth; c++) {
    const vec w = LOAD(weight + c * 16);
#pragma unroll
    for (int p = 0; p < TILE_ROWS; p++)
      sum[p] = MAD((vec)(from[(p / tile_width * row_step + p % tile_width * column_step) * 16 + c]), w, sum[p]);
  }
}

// y = convolution of x, added to what is there if `accumulate`; the last four arguments are constants of the caller.
static inline void forward_tile(SIZES, const uint accumulate, __global float *restrict y,
                                __global const float *restrict x, __global const float *restrict weight,
                                const int tile_width, const int tile_height, const int kernel_size, const int stride) {
  const int columns = (tile_width - 1) * stride + kernel_size, rows = (tile_height - 1) * stride + kernel_size;
  const uint across = (out_width + tile_width - 1) / tile_width, down = (out_height + tile_height - 1) / tile_height;
  const uint tiles = batch * down * across, units = tiles * ((filters + 15) / 16), group = get_global_id(0);
  const uint last = (uint)((ulong)units * (group + 1) / groups);
  float16 patch[PATCH];
  for (uint unit = (uint)((ulong)units * group / groups); unit < last; unit++) {
    const uint filter = unit / tiles * 16, tile = unit % tiles, valid = filters - filter;
    const uint n = tile / across / down, i = tile / across % down * tile_height, j = tile % across * tile_width;
    vec sum[PIXELS];
#pragma unroll
    for (int p = 0; p < PIXELS; p++)
      sum[p] = ZERO;
    for (uint slice = 0; slice < channels; slice += 16) {
      const uint depth = min(16u, channels - slice);
      copy_patch(patch, x + n * height * width * channels + slice, (int)(i * stride) - (int)padding,
                 (int)(j * stride) - (int)padding, rows, columns, height, width, channels, depth);
      EACH_ROWS(first) {
        const private_vec *corner = patch + (first / tile_width * columns + first % tile_width) * stride;
        __global const float *w = weight + (filter * kernel_size * kernel_size * channels) + slice * 16;
        TAKE_SUMS(own, sum, first);
#pragma unroll 1
        for (int a = 0; a < kernel_size; a++)
#pragma unroll 1
          for (int b = 0; b < kernel_size; b++) {
            multiply(own, (const float *)(corner + a * columns + b), w, depth, tile_width, stride * columns,
                     stride);
            w += channels * 16;
          }
        PUT_SUMS(own, sum, first);
      }
    }
#pragma unroll
    for (int p = 0; p < PIXELS; p++) {
      const uint row = i + p / tile_width, column = j + p % tile_width;
      if (row < out_height && column < out_width) {
        __global float *to = y + ((n * out_height + row) * out_width + column) * filters + filter;
        store_part(to, accumulate ? load_part(to, valid) + sum[p] : sum[p], valid);
      }
    }
  }
}

#define FORWARD_TILE(stage, tile_width, tile_height, kernel_size, stride)                                             \
  __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_forward_##stage(                                \
      SIZES, const uint accumulate, __global float *restrict y, const uint y_at, __global const float *restrict x,    \
      const uint x_at, __global const float *restrict weight, const uint weight_at) {                                 \
    forward_tile(batch, height, width, channels, out_height, out_width, filters, padding, groups, accumulate,         \
                 y + y_at, x + x_at, weight + weight_at, tile_width, tile_height, kernel_size, stride);               \
  }

FORWARD_TILE(3x3_wide, 16, 1, 3, 1)
FORWARD_TILE(3x3_middle, 8, 2, 3, 1)
FORWARD_TILE(3x3_narrow, 4, 4, 3, 1)
FORWARD_TILE(3x3_step2_wide, 16, 1, 3, 2)
FORWARD_TILE(3x3_step2_middle, 8, 2, 3, 2)
FORWARD_TILE(3x3_step2_narrow, 4, 4, 3, 2)
FORWARD_TILE(1x1_step2_wide, 16, 1, 1, 2)
FORWARD_TILE(1x1_step2_middle, 8, 2, 1, 2)
FORWARD_TILE(1x1_step2_narrow, 4, 4, 1, 2)

// dx of a convolution of stride 2, added if `accumulate`: pixels of one parity read the same taps, so a tile has 16 of
// one parity and reads a dense patch of dy. `weight` is packed, not flipped.
static inline void backward_input_tile(SIZES, const uint accumulate, __global float *restrict dx,
                                       __global const float *restrict dy, __global const float *restrict weight,
                                       const int tile_width, const int tile_height, const int kernel_size) {
  const int columns = tile_width + kernel_size / 2, rows = tile_height + kernel_size / 2;
  const uint half_width = (width + 1) / 2, half_height = (height + 1) / 2;
  const uint across = (half_width + tile_width - 1) / tile_width;
  const uint down = (half_height + tile_height - 1) / tile_height;
  const uint tiles = batch * 4 * down * across, units = tiles * ((channels + 15) / 16), group = get_global_id(0);
  const uint last = (uint)((ulong)units * (group + 1) / groups);
  float16 patch[PATCH];
  for (uint unit = (uint)((ulong)units * group / groups); unit < last; unit++) {
    const uint channel = unit / tiles * 16, tile = unit % tiles, valid = channels - channel;
    const uint parity = tile / across / down % 4, n = tile / across / down / 4;
    const int i = tile / across % down * tile_height, j = tile % across * tile_width;
    // Taps of this parity start at (a0, b0) and are 2 apart; tap a reads dy's row i + (odd_row + padding - a) / 2.
    const int odd_row = parity / 2, odd_column = parity % 2;
    const int a0 = (odd_row + padding) % 2, b0 = (odd_column + padding) % 2;
    // The first row and column read, by the last tap.
    const int a_last = a0 + (kernel_size - 1 - a0) / 2 * 2, b_last = b0 + (kernel_size - 1 - b0) / 2 * 2;
    const int top = i + (odd_row + (int)padding - a_last) / 2, left = j + (odd_column + (int)padding - b_last) / 2;
    vec sum[PIXELS];
#pragma unroll
    for (int p = 0; p < PIXELS; p++)
      sum[p] = ZERO;
    for (uint slice = 0; slice < filters && a0 < kernel_size && b0 < kernel_size; slice += 16) {
      const uint depth = min(16u, filters - slice);
      copy_patch(patch, dy + n * out_height * out_width * filters + slice, top, left, rows, columns, out_height,
                 out_width, filters, depth);
      EACH_ROWS(first) {
        const private_vec *corner = patch + first / tile_width * columns + first % tile_width;
        TAKE_SUMS(own, sum, first);
#pragma unroll 1
        for (int a = a0; a < kernel_size; a += 2)
#pragma unroll 1
          for (int b = b0; b < kernel_size; b += 2)
            multiply(own, (const float *)(corner + (a_last - a) / 2 * columns + (b_last - b) / 2),
                     weight + channel * kernel_size * kernel_size * filters +
                         ((a * kernel_size + b) * filters + slice) * 16,
                     depth, tile_width, columns, 1);
        PUT_SUMS(own, sum, first);
      }
    }
#pragma unroll
    for (int p = 0; p < PIXELS; p++) {
      const uint row = (i + p / tile_width) * 2 + odd_row, column = (j + p % tile_width) * 2 + odd_column;
      if (row < height && column < width) {
        __global float *to = dx + ((n * height + row) * width + column) * channels + channel;
        store_part(to, accumulate ? load_part(to, valid) + sum[p] : sum[p], valid);
      }
    }
  }
}

#define BACKWARD_INPUT_TILE(stage, tile_width, tile_height, kernel_size)                                              \
  __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_backward_input_##stage(                         \
      SIZES, const uint accumulate, __global float *restrict dx, const uint dx_at, __global const float *restrict dy, \
      const uint dy_at, __global const float *restrict weight, const uint weight_at) {                                \
    backward_input_tile(batch, height, width, channels, out_height, out_width, filters, padding, groups, accumulate,  \
                        dx + dx_at, dy + dy_at, weight + weight_at, tile_width, tile_height, kernel_size);            \
  }

BACKWARD_INPUT_TILE(3x3_step2_wide, 16, 1, 3)
BACKWARD_INPUT_TILE(3x3_step2_middle, 8, 2, 3)
BACKWARD_INPUT_TILE(3x3_step2_narrow, 4, 4, 3)
BACKWARD_INPUT_TILE(1x1_step2_wide, 16, 1, 1)
BACKWARD_INPUT_TILE(1x1_step2_middle, 8, 2, 1)
BACKWARD_INPUT_TILE(1x1_step2_narrow, 4, 4, 1)

// Vectors of the largest piece of dy and of the patch of x that it meets.
#define PIECE 128
#define PIECE_PATCH 640
// Vectors of sums; the loops over them are literal, or the array would stay in memory.
#define SUMS (TILE_ROWS * 3 / 2)
// Most blocks of 16 filters that a work-item takes at once.
#define BLOCKS 4

// partial[part][a][b][c][o] = sum of x * dy over the part's pieces of the output, `images` x `lines` x `columns` pixels
// each: a piece is copied once, then met tap row by tap row by `depth` channels and 16 filters, which is
// kernel_size * depth vectors of sums. The last two arguments are constants of the caller.
static inline void backward_weight_tile(SIZES, const uint stride, const uint parts, const uint blocks,
                                        const uint images, const uint lines, const uint columns,
                                        __global float *restrict partial, __global const float *restrict x,
                                        __global const float *restrict dy, const int kernel_size, const int depth) {
  const uint filter_blocks = (filters + 15) / 16, subsets = (filter_blocks + blocks - 1) / blocks;
  const uint group = get_global_id(0), part = group / subsets, first_block = group % subsets * blocks;
  if (group >= groups || part >= parts)
    return;
  const uint block_count = min(blocks, filter_blocks - first_block);
  const uint down = (out_height + lines - 1) / lines, across = (out_width + columns - 1) / columns;
  uint first, count, step;
  share((batch + images - 1) / images * down * across, part, parts, &first, &count, &step);
  partial += part * kernel_size * kernel_size * channels * filters;
  vec gradients[BLOCKS * PIECE], patch[PIECE_PATCH];
  for (uint k = 0; k < count; k++) {
    const uint piece = first + k * step;
    const uint n0 = piece / across / down * images, i0 = piece / across % down * lines, j0 = piece % across * columns;
    const uint count = min(images, batch - n0), high = min(lines, out_height - i0), wide = min(columns, out_width - j0);
    const uint rows = (high - 1) * stride + kernel_size, pitch = (wide - 1) * stride + kernel_size;
    for (uint block = 0; block < block_count; block++) {
      const uint filter = (first_block + block) * 16;
      for (uint line = 0; line < count * high; line++) {
        const uint row = (n0 + line / high) * out_height + i0 + line % high;
        __global const float *from = dy + (row * out_width + j0) * filters + filter;
        for (uint j = 0; j < wide; j++)
          gradients[block * PIECE + line * wide + j] = load_part(from + j * filters, filters - filter);
      }
    }
    for (uint slice = 0; slice < channels; slice += 16) {
      for (uint n = 0; n < count; n++)
        copy_patch(patch + n * rows * pitch, x + (n0 + n) * height * width * channels + slice,
                   (int)(i0 * stride) - (int)padding, (int)(j0 * stride) - (int)padding, rows, pitch, height, width,
                   channels, min(16u, channels - slice));
      for (uint block = 0; block < block_count; block++)
        for (uint a = 0; a < kernel_size; a++)
#pragma unroll 1
          for (uint deep = 0; deep < 16 && slice + deep < channels; deep += depth) {
            vec sum[SUMS];
#pragma unroll
            for (int s = 0; s < SUMS; s++)
              sum[s] = ZERO;
            const vec *d = gradients + block * PIECE;
            for (uint line = 0; line < count * high; line++) {
              const uint row = line / high * rows + line % high * stride + a;
              const float *from = (const float *)(patch + row * pitch) + deep;
#pragma unroll 1
              for (uint j = 0; j < wide; j++) {
                const vec gradient = *d++;
#pragma unroll
                for (int s = 0; s < SUMS; s++)
                  if (s < kernel_size * depth)
                    sum[s] = MAD((vec)(from[s / depth * 16 + s % depth]), gradient, sum[s]);
                from += stride * 16;
              }
            }
            const uint filter = (first_block + block) * 16, valid = filters - filter;
            __global float *to = partial + (a * kernel_size * channels + slice + deep) * filters + filter;
#pragma unroll
            for (int s = 0; s < SUMS; s++)
              if (s < kernel_size * depth && slice + deep + s % depth < channels) {
                __global float *at = to + (s / depth * channels + s % depth) * filters;
                store_part(at, k == 0 ? sum[s] : load_part(at, valid) + sum[s], valid);
              }
          }
    }
  }
}

#define BACKWARD_WEIGHT_TILE(stage, kernel_size, depth)                                                               \
  __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_backward_weight_##stage(                        \
      SIZES, const uint stride, const uint parts, const uint blocks, const uint images, const uint lines,             \
      const uint columns, __global float *restrict partial, const uint partial_at, __global const float *restrict x,  \
      const uint x_at, __global const float *restrict dy, const uint dy_at) {                                         \
    backward_weight_tile(batch, height, width, channels, out_height, out_width, filters, padding, groups, stride,     \
                         parts, blocks, images, lines, columns, partial + partial_at, x + x_at, dy + dy_at,           \
                         kernel_size, depth);                                                                         \
  }

BACKWARD_WEIGHT_TILE(3x3_deep, 3, TILE_ROWS / 2)
#if TILE_ROWS == PIXELS
BACKWARD_WEIGHT_TILE(3x3_shallow, 3, 4)
#else
BACKWARD_WEIGHT_TILE(3x3_shallow, 3, TILE_ROWS / 2)
#endif
BACKWARD_WEIGHT_TILE(1x1, 1, TILE_ROWS)

#endif
