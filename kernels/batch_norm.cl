// Batch normalisation over rows x channels: a work-item has a share of the rows, and up to COLUMNS `vec`s of their
// channels, so that it reads whole lines of memory one after the other.
//
// Statistics are (mean, sum of squared deviations, count), merged by Chan's formula, never E[x^2]-E[x]^2. Convolutions
// in Winograd's form leave them with their output (winograd.cl). What reads an activation for the second time goes
// through its parts from the end: the last ones are still in the cache.

#define EPSILON 1e-5f
#define MOMENTUM 0.1f
// Rows whose mean is taken before their squared deviations; they stay in the first cache.
#define STRIP 64

// Which channels, from `channel` to `end`, and which part of the rows a work-item has.
static inline void place(const uint channels, uint *channel, uint *end, uint *part) {
  const uint span = COLUMNS * WIDTH, chunks = (channels + span - 1) / span, id = get_global_id(0);
  *channel = id % chunks * span;
  *end = min(channels, *channel + span);
  *part = id / chunks;
}

// The channels of a work-item of kernels that merge parts.
static inline void place_merged(const uint channels, uint *channel, uint *valid) {
  *channel = get_global_id(0) * WIDTH;
  *valid = *channel < channels ? channels - *channel : 0;
}

// A part counted from the end.
static inline uint reversed(const uint part, const uint parts) { return INTERLEAVED ? part : parts - 1 - part; }

// Runs `step(n, channel, valid)` for all channels of the work-item, n vectors at a time; only a single one can be ragged.
#define IN_COLUMNS(step)                                            \
  while (channel < end) {                                           \
    const uint valid = end - channel;                               \
    if (COLUMNS >= 4 && valid >= 4 * WIDTH) {                       \
      step(4, channel, valid);                                      \
      channel += 4 * WIDTH;                                         \
    } else if (COLUMNS >= 2 && valid >= 2 * WIDTH) {                \
      step(2, channel, valid);                                      \
      channel += 2 * WIDTH;                                         \
    } else {                                                        \
      step(1, channel, valid);                                      \
      channel += WIDTH;                                             \
    }                                                               \
  }

#define COLUMN(n) _Pragma("unroll") for (int c = 0; c < (n); c++)

static INLINE vec load_column(const int n, const int c, __global const float *p, const uint valid) {
  return n == 1 ? load_part(p, valid) : LOAD(p + c * WIDTH);
}

static INLINE void store_column(const int n, const int c, __global float *p, const vec v, const uint valid) {
  if (n == 1)
    store_part(p, v, valid);
  else
    STORE(p + c * WIDTH, v);
}

// partial = mean, squared deviations and count, [3][channels], of `count` rows
static INLINE void measure(const int n, const uint count, const uint stride, const uint channels, const uint valid,
                           __global float *partial, __global const float *x) {
  float merged = 0.0f;
  vec mean[4], deviations[4];
  COLUMN(n) mean[c] = deviations[c] = ZERO;
  for (uint k = 0; k < count; k += STRIP) {
    const uint strip = min((uint)STRIP, count - k);
    vec sum[4], other[4], strip_mean[4];
    COLUMN(n) sum[c] = other[c] = ZERO;
    uint r = 0;
    for (; r + 1 < strip; r += 2) {
      COLUMN(n) sum[c] += load_column(n, c, x + r * stride, valid);
      COLUMN(n) other[c] += load_column(n, c, x + (r + 1) * stride, valid);
    }
    if (r < strip)
      COLUMN(n) sum[c] += load_column(n, c, x + r * stride, valid);
    COLUMN(n) strip_mean[c] = (sum[c] + other[c]) / (float)strip;
    COLUMN(n) sum[c] = other[c] = ZERO;
    for (r = 0; r + 1 < strip; r += 2) {
      COLUMN(n) {
        const vec a = load_column(n, c, x + r * stride, valid) - strip_mean[c];
        const vec b = load_column(n, c, x + (r + 1) * stride, valid) - strip_mean[c];
        sum[c] = MAD(a, a, sum[c]);
        other[c] = MAD(b, b, other[c]);
      }
    }
    if (r < strip)
      COLUMN(n) {
        const vec a = load_column(n, c, x + r * stride, valid) - strip_mean[c];
        sum[c] = MAD(a, a, sum[c]);
      }
    float total = merged;
    COLUMN(n) {
      total = merged;
      chan(&total, mean + c, deviations + c, (float)strip, strip_mean[c], sum[c] + other[c]);
    }
    merged = total;
    x += strip * stride;
  }
  COLUMN(n) {
    store_column(n, c, partial, mean[c], valid);
    store_column(n, c, partial + channels, deviations[c], valid);
    store_column(n, c, partial + 2 * channels, (vec)(merged), valid);
  }
}

// partial[part] = statistics [3][channels] of the part's rows
__kernel void batch_norm_forward_tiles(const uint rows, const uint channels, const uint parts,
                                       __global float *restrict partial, const uint partial_at,
                                       __global const float *restrict x, const uint x_at) {
  uint channel, end, part, first, count, step;
  place(channels, &channel, &end, &part);
  if (part >= parts)
    return;
  share(rows, part, parts, &first, &count, &step);
  partial += partial_at + part * 3 * channels;
  x += x_at + first * channels;
#define MEASURE(n, at, valid) measure(n, count, step * channels, channels, valid, partial + at, x + at)
  IN_COLUMNS(MEASURE)
}

// saved = mean and 1 / sqrt(var + eps), [2][channels]; running, when kept, moves towards the mean and unbiased variance
__kernel void batch_norm_forward_merge(const uint rows, const uint channels, const uint parts, const uint keep,
                                       __global float *restrict saved, const uint saved_at, __global float *running,
                                       const uint running_at, __global const float *restrict partial,
                                       const uint partial_at) {
  uint channel, valid;
  place_merged(channels, &channel, &valid);
  if (valid == 0)
    return;
  partial += partial_at + channel;
  float merged = 0.0f;
  vec mean = ZERO, deviations = ZERO;
  for (uint part = 0; part < parts; part++) {
    const float count = partial[2 * channels];
    if (count > 0.0f)
      chan(&merged, &mean, &deviations, count, load_part(partial, valid), load_part(partial + channels, valid));
    partial += 3 * channels;
  }
  saved += saved_at + channel;
  store_part(saved, mean, valid);
  store_part(saved + channels, 1.0f / sqrt(deviations / (float)rows + EPSILON), valid);
  if (!keep || rows < 2)
    return;
  running += running_at + channel;
  const vec variance = deviations / (float)(rows - 1);
  const vec old_mean = load_part(running, valid), old_variance = load_part(running + channels, valid);
  const vec new_mean = (1.0f - MOMENTUM) * old_mean + MOMENTUM * mean;
  const vec new_variance = (1.0f - MOMENTUM) * old_variance + MOMENTUM * variance;
  store_part(running, isfinite(mean) && isfinite(variance) ? new_mean : old_mean, valid);
  store_part(running + channels, isfinite(mean) && isfinite(variance) ? new_variance : old_variance, valid);
}

// y = relu?((x - mean) * factor + bias + residual?) over `count` rows, where `statistics` is the mean and 1 / sqrt(var +
// eps), or if `variances` the mean and var, [2][channels]
static INLINE void normalize(const int n, const uint count, const uint stride, const uint channels, const uint valid,
                             const uint variances, const uint relu, const uint with_residual, const uint stream,
                             __global float *y, __global const float *x, __global const float *weight,
                             __global const float *bias, __global const float *statistics,
                             __global const float *residual) {
  vec mean[4], factor[4], shift[4];
  COLUMN(n) {
    const vec second = load_column(n, c, statistics + channels, valid);
    const vec inverse = variances ? 1.0f / sqrt(second + EPSILON) : second;
    mean[c] = load_column(n, c, statistics, valid);
    factor[c] = load_column(n, c, weight, valid) * inverse;
    shift[c] = load_column(n, c, bias, valid);
  }
  for (uint r = 0; r < count; r++) {
    COLUMN(n) {
      vec v = MAD(load_column(n, c, x, valid) - mean[c], factor[c], shift[c]);
      if (with_residual)
        v += load_column(n, c, residual, valid);
      if (relu)
        v = v > ZERO ? v : ZERO;
      if (stream)
        STREAM(y + c * WIDTH, v);
      else
        store_column(n, c, y, v, valid);
    }
    x += stride;
    y += stride;
    residual += stride;
  }
}

#define NORMALIZE_ARGUMENTS                                                                                       \
  const uint rows, const uint channels, const uint parts, const uint relu, const uint with_residual,              \
      const uint stream, __global float *restrict y, const uint y_at, __global const float *restrict x,           \
      const uint x_at, __global const float *restrict weight, const uint weight_at,                               \
      __global const float *restrict bias, const uint bias_at, __global const float *restrict statistics,         \
      const uint statistics_at, __global const float *restrict residual, const uint residual_at

#define NORMALIZE(variances)                                                                                      \
  uint channel, end, part, first, count, step;                                                                    \
  place(channels, &channel, &end, &part);                                                                         \
  if (part >= parts)                                                                                              \
    return;                                                                                                       \
  share(rows, reversed(part, parts), parts, &first, &count, &step);                                               \
  const uint start = first * channels;                                                                            \
  IN_COLUMNS(NORMALIZE_##variances)

#define NORMALIZE_STEP(n, at, valid, variances)                                                                   \
  normalize(n, count, step *channels, channels, valid, variances, relu, with_residual, stream,                    \
            y + y_at + start + at, x + x_at + start + at, weight + weight_at + at, bias + bias_at + at,           \
            statistics + statistics_at + at, residual + residual_at + start + at)
#define NORMALIZE_SAVED(n, at, valid) NORMALIZE_STEP(n, at, valid, 0)
#define NORMALIZE_RUNNING(n, at, valid) NORMALIZE_STEP(n, at, valid, 1)

// y = relu?(weight * (x - mean) / sqrt(var + eps) + bias + residual?), with the batch's statistics
__kernel void batch_norm_forward(NORMALIZE_ARGUMENTS) { NORMALIZE(SAVED) }

// The same with the running statistics
__kernel void batch_norm_inference(NORMALIZE_ARGUMENTS) { NORMALIZE(RUNNING) }

// Where the output of `relu` was not positive, dy does not count. The output is `y`, or without a residual what x gives
// again, bit for bit.
static INLINE vec mask(const vec dy, const uint relu, const uint with_residual, const vec y, const vec centred,
                       const vec factor, const vec bias) {
  if (!relu)
    return dy;
  return (with_residual ? y : MAD(centred, factor, bias)) > ZERO ? dy : ZERO;
}

// partial = sum masked and sum masked * (x - mean), [2][channels], of `count` rows; masked goes back to `dy` if there is
// a residual
static INLINE void sum_gradients(const int n, const uint count, const uint stride, const uint channels,
                                 const uint valid, const uint relu, const uint with_residual,
                                 __global float *partial, __global float *dy, __global const float *y,
                                 __global const float *x, __global const float *weight, __global const float *bias,
                                 __global const float *saved) {
  vec mean[4], factor[4], shift[4], sum[4], product[4];
  COLUMN(n) {
    mean[c] = load_column(n, c, saved, valid);
    factor[c] = load_column(n, c, weight, valid) * load_column(n, c, saved + channels, valid);
    shift[c] = load_column(n, c, bias, valid);
    sum[c] = product[c] = ZERO;
  }
  for (uint k = 0; k < count; k += STRIP) {
    const uint strip = min((uint)STRIP, count - k);
    vec strip_sum[4], strip_product[4];
    COLUMN(n) strip_sum[c] = strip_product[c] = ZERO;
    for (uint r = 0; r < strip; r++) {
      COLUMN(n) {
        const vec centred = load_column(n, c, x, valid) - mean[c];
        const vec output = with_residual ? load_column(n, c, y, valid) : ZERO;
        const vec d = mask(load_column(n, c, dy, valid), relu, with_residual, output, centred, factor[c], shift[c]);
        if (relu && with_residual)
          store_column(n, c, dy, d, valid);
        strip_sum[c] += d;
        strip_product[c] = MAD(d, centred, strip_product[c]);
      }
      dy += stride;
      y += stride;
      x += stride;
    }
    COLUMN(n) {
      sum[c] += strip_sum[c];
      product[c] += strip_product[c];
    }
  }
  COLUMN(n) {
    store_column(n, c, partial, sum[c], valid);
    store_column(n, c, partial + channels, product[c], valid);
  }
}

// partial[part] = the sums of the part's rows, [2][channels]
__kernel void batch_norm_backward_tiles(const uint rows, const uint channels, const uint parts, const uint relu,
                                        const uint with_residual, __global float *restrict partial,
                                        const uint partial_at, __global float *restrict dy, const uint dy_at,
                                        __global const float *restrict y, const uint y_at,
                                        __global const float *restrict x, const uint x_at,
                                        __global const float *restrict weight, const uint weight_at,
                                        __global const float *restrict bias, const uint bias_at,
                                        __global const float *restrict saved, const uint saved_at) {
  uint channel, end, part, first, count, step;
  place(channels, &channel, &end, &part);
  if (part >= parts)
    return;
  share(rows, part, parts, &first, &count, &step);
  const uint start = first * channels;
  partial += partial_at + part * 2 * channels;
#define SUM_GRADIENTS(n, at, valid)                                                                               \
  sum_gradients(n, count, step *channels, channels, valid, relu, with_residual, partial + at, dy + dy_at + start + at, \
                y + y_at + start + at, x + x_at + start + at, weight + weight_at + at, bias + bias_at + at,       \
                saved + saved_at + at)
  IN_COLUMNS(SUM_GRADIENTS)
}

// dbias += sum masked, dweight += sum masked * xhat; sums = the two, [2][channels]
__kernel void batch_norm_backward_merge(const uint channels, const uint parts, __global float *restrict dweight,
                                        const uint dweight_at, __global float *restrict dbias, const uint dbias_at,
                                        __global float *restrict sums, const uint sums_at,
                                        __global const float *restrict partial, const uint partial_at,
                                        __global const float *restrict saved, const uint saved_at) {
  uint channel, valid;
  place_merged(channels, &channel, &valid);
  if (valid == 0)
    return;
  partial += partial_at + channel;
  vec sum = ZERO, product = ZERO;
  for (uint part = 0; part < parts; part++) {
    sum += load_part(partial, valid);
    product += load_part(partial + channels, valid);
    partial += 2 * channels;
  }
  product *= load_part(saved + saved_at + channels + channel, valid);
  dweight += dweight_at + channel;
  dbias += dbias_at + channel;
  sums += sums_at + channel;
  store_part(dweight, load_part(dweight, valid) + product, valid);
  store_part(dbias, load_part(dbias, valid) + sum, valid);
  store_part(sums, sum, valid);
  store_part(sums + channels, product, valid);
}

// dx = weight * inv_std * (masked - sum masked / rows - xhat * sum(masked * xhat) / rows), added if `accumulate`
static INLINE void input_gradient(const int n, const uint count, const uint stride, const uint rows,
                                  const uint channels, const uint valid, const uint relu, const uint accumulate,
                                  __global float *dx, __global const float *dy, __global const float *x,
                                  __global const float *weight, __global const float *bias,
                                  __global const float *saved, __global const float *sums) {
  vec mean[4], factor[4], shift[4], average[4], slope[4];
  COLUMN(n) {
    const vec inverse = load_column(n, c, saved + channels, valid);
    mean[c] = load_column(n, c, saved, valid);
    factor[c] = load_column(n, c, weight, valid) * inverse;
    shift[c] = load_column(n, c, bias, valid);
    average[c] = load_column(n, c, sums, valid) / (float)rows;
    slope[c] = load_column(n, c, sums + channels, valid) / (float)rows * inverse;
  }
  for (uint r = 0; r < count; r++) {
    COLUMN(n) {
      const vec centred = load_column(n, c, x, valid) - mean[c];
      const vec d = mask(load_column(n, c, dy, valid), relu, 0, ZERO, centred, factor[c], shift[c]);
      const vec own = factor[c] * (d - average[c] - centred * slope[c]);
      store_column(n, c, dx, accumulate ? load_column(n, c, dx, valid) + own : own, valid);
    }
    dx += stride;
    dy += stride;
    x += stride;
  }
}

// dx from the sums; if `relu`, dy still has to be masked
__kernel void batch_norm_backward(const uint rows, const uint channels, const uint parts, const uint relu,
                                  const uint accumulate, __global float *restrict dx, const uint dx_at,
                                  __global const float *restrict dy, const uint dy_at,
                                  __global const float *restrict x, const uint x_at,
                                  __global const float *restrict weight, const uint weight_at,
                                  __global const float *restrict bias, const uint bias_at,
                                  __global const float *restrict saved, const uint saved_at,
                                  __global const float *restrict sums, const uint sums_at) {
  uint channel, end, part, first, count, step;
  place(channels, &channel, &end, &part);
  if (part >= parts)
    return;
  share(rows, reversed(part, parts), parts, &first, &count, &step);
  const uint start = first * channels;
#define INPUT_GRADIENT(n, at, valid)                                                                              \
  input_gradient(n, count, step *channels, rows, channels, valid, relu, accumulate, dx + dx_at + start + at,         \
                 dy + dy_at + start + at, x + x_at + start + at, weight + weight_at + at, bias + bias_at + at,    \
                 saved + saved_at + at, sums + sums_at + at)
  IN_COLUMNS(INPUT_GRADIENT)
}
