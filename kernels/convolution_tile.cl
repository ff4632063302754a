// Convolutions in register tiles, for CPUs: a work-item computes 16 pixels x 16 channels in 16 vectors.
//
// The pixels that a tile reads are copied, 16 channels at a time, to a patch in private memory: what lies outside the
// picture, or behind the last channel, is zero there, so that the inner loop has neither masks nor run-time strides.

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

// sum[p] += patch(pixel p) x weights of one tap: `depth` channels of the patch by `valid` filters.
static inline void multiply(vec *sum, const float *from, __global const float *weight, const uint filters,
                            const uint depth, const uint valid, const int tile_width, const int row_step,
                            const int column_step) {
  if (depth == 16 && valid >= 16) {
#pragma unroll 4
    for (uint c = 0; c < 16; c++) {
      const vec w = LOAD(weight + c * filters);
#pragma unroll
      for (int p = 0; p < PIXELS; p++)
        sum[p] = MAD((vec)(from[(p / tile_width * row_step + p % tile_width * column_step) * 16 + c]), w, sum[p]);
    }
    return;
  }
  for (uint c = 0; c < depth; c++) {
    const vec w = load_part(weight + c * filters, valid);
#pragma unroll
    for (int p = 0; p < PIXELS; p++)
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
      __global const float *w = weight + slice * filters + filter;
#pragma unroll 1
      for (int a = 0; a < kernel_size; a++)
#pragma unroll 1
        for (int b = 0; b < kernel_size; b++) {
          multiply(sum, (const float *)(patch + a * columns + b), w, filters, depth, valid, tile_width,
                   stride * columns, stride);
          w += channels * filters;
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

#define FORWARD_TILE(name, tile_width, tile_height, kernel_size, stride)                                              \
  __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void name(                                                  \
      SIZES, const uint accumulate, __global float *restrict y, const uint y_at, __global const float *restrict x,    \
      const uint x_at, __global const float *restrict weight, const uint weight_at) {                                 \
    forward_tile(batch, height, width, channels, out_height, out_width, filters, padding, groups, accumulate,         \
                 y + y_at, x + x_at, weight + weight_at, tile_width, tile_height, kernel_size, stride);               \
  }

FORWARD_TILE(conv2d_forward_3x3_wide, 16, 1, 3, 1)
FORWARD_TILE(conv2d_forward_3x3_middle, 8, 2, 3, 1)
FORWARD_TILE(conv2d_forward_3x3_narrow, 4, 4, 3, 1)
FORWARD_TILE(conv2d_forward_3x3_step2_wide, 16, 1, 3, 2)
FORWARD_TILE(conv2d_forward_3x3_step2_middle, 8, 2, 3, 2)
FORWARD_TILE(conv2d_forward_3x3_step2_narrow, 4, 4, 3, 2)
FORWARD_TILE(conv2d_forward_1x1_step2_wide, 16, 1, 1, 2)
FORWARD_TILE(conv2d_forward_1x1_step2_middle, 8, 2, 1, 2)
FORWARD_TILE(conv2d_forward_1x1_step2_narrow, 4, 4, 1, 2)

// dx of a convolution of stride 2, added if `accumulate`: pixels of one parity read the same taps, so a tile has 16 of
// one parity and reads a dense patch of dy. `weight` is [a][b][filter][channel], not flipped.
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
#pragma unroll 1
      for (int a = a0; a < kernel_size; a += 2)
#pragma unroll 1
        for (int b = b0; b < kernel_size; b += 2)
          multiply(sum, (const float *)(patch + (a_last - a) / 2 * columns + (b_last - b) / 2),
                   weight + ((a * kernel_size + b) * filters + slice) * channels + channel, channels, depth, valid,
                   tile_width, columns, 1);
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

#define BACKWARD_INPUT_TILE(name, tile_width, tile_height, kernel_size)                                               \
  __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void name(                                                  \
      SIZES, const uint accumulate, __global float *restrict dx, const uint dx_at, __global const float *restrict dy, \
      const uint dy_at, __global const float *restrict weight, const uint weight_at) {                                \
    backward_input_tile(batch, height, width, channels, out_height, out_width, filters, padding, groups, accumulate,  \
                        dx + dx_at, dy + dy_at, weight + weight_at, tile_width, tile_height, kernel_size);            \
  }

BACKWARD_INPUT_TILE(conv2d_backward_input_3x3_step2_wide, 16, 1, 3)
BACKWARD_INPUT_TILE(conv2d_backward_input_3x3_step2_middle, 8, 2, 3)
BACKWARD_INPUT_TILE(conv2d_backward_input_3x3_step2_narrow, 4, 4, 3)
BACKWARD_INPUT_TILE(conv2d_backward_input_1x1_step2_wide, 16, 1, 1)
BACKWARD_INPUT_TILE(conv2d_backward_input_1x1_step2_middle, 8, 2, 1)
BACKWARD_INPUT_TILE(conv2d_backward_input_1x1_step2_narrow, 4, 4, 1)

// sum[t][c] += x(tap t, channel c) * dy, for the taps inside the picture.
static inline void outer(vec *sum, __global const float *x, const vec d, const uint channels, const int column,
                         const uint width, const int taps, const int depth, const bool inside) {
#pragma unroll
  for (int t = 0; t < taps; t++)
    if (inside || (uint)(column + t) < width) {
#pragma unroll
      for (int c = 0; c < depth; c++)
        sum[t * depth + c] = MAD((vec)(x[t * (int)channels + c]), d, sum[t * depth + c]);
    }
}

// partial[part][a][b][c][o] = sum of x * dy over the part's rows of pixels, for `taps` taps of a row of the kernel,
// `depth` channels (which divides them) and 16 filters at once; the last two arguments are constants of the caller.
static inline void backward_weight_tile(SIZES, const uint kernel_size, const uint stride, const uint parts,
                                        __global float *restrict partial, __global const float *restrict x,
                                        __global const float *restrict dy, const int taps, const int depth) {
  const uint filter_blocks = (filters + 15) / 16, slices = channels / depth, steps = kernel_size / taps;
  const uint units = parts * kernel_size * steps * slices * filter_blocks;
  for (uint unit = get_global_id(0); unit < units; unit += groups) {
    const uint filter = unit % filter_blocks * 16, slice = unit / filter_blocks % slices * depth;
    const uint b = unit / filter_blocks / slices % steps * taps;
    const uint a = unit / filter_blocks / slices / steps % kernel_size;
    const uint part = unit / filter_blocks / slices / steps / kernel_size, valid = filters - filter;
    // Pixels [first, last) of a row read no column outside the picture.
    const uint first = padding > b ? min((padding - b + stride - 1) / stride, out_width) : 0;
    const uint room = width + padding - b - taps;
    const uint last = width + padding < b + taps ? first : max(first, min(room / stride + 1, out_width));
    const Share mine = share(batch * out_height, part, parts);
    vec sum[24];
#pragma unroll
    for (int t = 0; t < taps * depth; t++)
      sum[t] = ZERO;
    for (uint k = 0; k < mine.count; k++) {
      const uint line = mine.first + k * mine.step, row = line % out_height * stride + a - padding;
      if (row >= height)
        continue;
      // May point in front of the picture; only taps inside are read.
      __global const float *from = x + (line / out_height * height + row) * width * channels + slice;
      __global const float *d = dy + line * out_width * filters + filter;
      for (uint j = 0; j < first; j++) {
        const int column = (int)(j * stride + b) - (int)padding;
        outer(sum, from + column * (int)channels, load_part(d + j * filters, valid), channels, column, width, taps,
              depth, false);
      }
      __global const float *pixel = from + ((int)(first * stride + b) - (int)padding) * (int)channels;
      if (valid >= 16)
        for (uint j = first; j < last; j++) {
          outer(sum, pixel, LOAD(d + j * filters), channels, 0, width, taps, depth, true);
          pixel += stride * channels;
        }
      else
        for (uint j = first; j < last; j++) {
          outer(sum, pixel, load_part(d + j * filters, valid), channels, 0, width, taps, depth, true);
          pixel += stride * channels;
        }
      for (uint j = last; j < out_width; j++) {
        const int column = (int)(j * stride + b) - (int)padding;
        outer(sum, from + column * (int)channels, load_part(d + j * filters, valid), channels, column, width, taps,
              depth, false);
      }
    }
    __global float *to = partial + (((part * kernel_size + a) * kernel_size + b) * channels + slice) * filters + filter;
#pragma unroll
    for (int t = 0; t < taps; t++)
#pragma unroll
      for (int c = 0; c < depth; c++)
        store_part(to + (t * channels + c) * filters, sum[t * depth + c], valid);
  }
}

#define BACKWARD_WEIGHT_TILE(name, taps, depth)                                                                       \
  __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void name(                                                  \
      SIZES, const uint kernel_size, const uint stride, const uint parts, __global float *restrict partial,           \
      const uint partial_at, __global const float *restrict x, const uint x_at, __global const float *restrict dy,    \
      const uint dy_at) {                                                                                             \
    backward_weight_tile(batch, height, width, channels, out_height, out_width, filters, padding, groups,             \
                         kernel_size, stride, parts, partial + partial_at, x + x_at, dy + dy_at, taps, depth);        \
  }

BACKWARD_WEIGHT_TILE(conv2d_backward_weight_3_taps_8_deep, 3, 8)
BACKWARD_WEIGHT_TILE(conv2d_backward_weight_3_taps_4_deep, 3, 4)
BACKWARD_WEIGHT_TILE(conv2d_backward_weight_3_taps_3_deep, 3, 3)
BACKWARD_WEIGHT_TILE(conv2d_backward_weight_3_taps_1_deep, 3, 1)
BACKWARD_WEIGHT_TILE(conv2d_backward_weight_1_tap_16_deep, 1, 16)
BACKWARD_WEIGHT_TILE(conv2d_backward_weight_1_tap_1_deep, 1, 1)

#endif
