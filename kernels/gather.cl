// Cuts a batch out of the samples: one work-item for each row of pixels on CPUs, for each number on GPUs.

// images[r][y][x][c] = (byte - mean[c]) * inverse[c] of the pixel at (y + top, x + left) of the mirrored picture, black
// outside; labels[r], weights[g][r] beside it. A row of the table is
// (index, top | left << 8 | flip << 16 | label << 17, weights), ROW_WORDS numbers. A sample that does not exist becomes NaN.
__kernel void gather(const uint batch, const uint height, const uint width, const uint channels, const uint samples,
                     __global float *restrict images, const uint images_at, __global float *restrict labels,
                     const uint labels_at, __global float *restrict head, const uint head_at,
                     __global float *restrict tail, const uint tail_at, __global const float *restrict rows,
                     const uint rows_at, __global const uchar *restrict bytes, const ulong images_from,
                     __global const float *restrict normalization, const uint normalization_at) {
  const uint lanes = SPREAD(width * channels), item = get_global_id(0), lane = item % lanes, id = item / lanes;
  if (id >= batch * height)
    return;
  const uint r = id / height, y = id % height;
  __global const float *row = rows + rows_at + r * ROW_WORDS;
  const uint index = as_uint(row[0]), moved = as_uint(row[1]), label = moved >> 17;
  const int top = as_char((uchar)(moved & 255)), left = as_char((uchar)(moved >> 8 & 255));
  const bool flip = (moved >> 16 & 1) != 0, known = index < samples;
  __global const float *mean = normalization + normalization_at, *inverse = mean + channels;
  __global const uchar *picture = bytes + images_from + (known ? (ulong)index * height * width * channels : 0);
  __global float *out = images + images_at + (r * height + y) * width * channels;
  const int from_y = (int)y + top;
#if INTERLEAVED
  const uint x = lane / channels, c = lane % channels;
#else
  for (uint x = 0; x < width; x++)
    for (uint c = 0; c < channels; c++)
#endif
  {
    const int moved_x = (int)x + left;
    const bool inside = from_y >= 0 && from_y < (int)height && moved_x >= 0 && moved_x < (int)width;
    const uint from_x = flip ? width - 1 - moved_x : moved_x;
    const float byte = inside ? (float)picture[((uint)from_y * width + from_x) * channels + c] : 0.0f;
    out[x * channels + c] = known ? (byte - mean[c]) * inverse[c] : NAN;
  }
  if (y == 0 && lane == 0) {
    labels[labels_at + r] = known ? (float)label : NAN;
    head[head_at + r] = row[2];
    tail[tail_at + r] = row[3];
  }
}
