// Batch normalisation over rows x channels. A part of the rows is a work-group, whose work-items share it out in
// strands and have up to COLUMNS `vec`s of channels each, so that the group reads whole lines of memory in turn.
//
// Statistics are (mean, sum of squared deviations, count), merged by Chan's formula, never E[x^2]-E[x]^2. Convolutions
// in Winograd's form leave them with their output (winograd.cl). On CPUs what reads an activation for the second time
// goes through its parts from the end: the last ones are still in the cache.

#define EPSILON 1e-5f
#define MOMENTUM 0.1f
// Rows whose mean is taken before their squared deviations: from registers on GPUs, from the first cache on CPUs.
#define STRIP (INTERLEAVED ? ROWS : 64)
// Rows whose gradients are summed before they are added to the sum.
#define SUM_STRIP 64

// What a work-item has: channels from `channel` to `end` of `count` rows, `step` apart from `first`.
struct place {
  struct columns columns;
  uint channel, end, first, count, step;
};

static inline struct place place(const uint rows, const uint channels, const uint parts, const bool from_end) {
  const uint span = COLUMNS * WIDTH;
  struct place own;
  own.columns = columns((channels + span - 1) / span);
  own.channel = min(own.columns.piece * span, channels);
  own.end = min(channels, own.channel + span);
  const uint strands = own.columns.strands;
  const uint part = from_end && !INTERLEAVED ? parts - 1 - own.columns.part : own.columns.part;
  share(rows, part * strands + own.columns.strand, parts * strands, &own.first, &own.count, &own.step);
  return own;
}

// Runs `step(n, channel, valid)` for all channels of the work-item, n vectors at a time; only a single one can be
// ragged. Where there is one column, for all work-items once: they meet at barriers.
#if COLUMNS == 1
#define IN_COLUMNS(own, step) step(1, own.channel, own.end - own.channel)
#else
#define IN_COLUMNS(own, step)                                       \
  for (uint channel = own.channel; channel < own.end;) {            \
    const uint valid = own.end - channel;                           \
    if (COLUMNS >= 4 && valid >= 4 * WIDTH) {                       \
      step(4, channel, valid);                                      \
      channel += 4 * WIDTH;                                         \
    } else if (valid >= 2 * WIDTH) {                                \
      step(2, channel, valid);                                      \
      channel += 2 * WIDTH;                                         \
    } else {                                                        \
      step(1, channel, valid);                                      \
      channel += WIDTH;                                             \
    }                                                               \
  }
#endif

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

// Mean and squared deviations of `count` rows; returns `count`.
#if INTERLEAVED
static INLINE float measure(const int n, const uint count, const uint stride, const uint valid, vec *mean,
                            vec *deviations, __global const float *x) {
  float merged = 0.0f;
  *mean = *deviations = ZERO;
  for (uint k = 0; k < count; k += STRIP) {
    const uint strip = min((uint)STRIP, count - k);
    vec v[STRIP], sum = ZERO, squares = ZERO;
    ROW(r) v[r] = load_part(x + r * stride, r < strip ? valid : 0);
    ROW(r) sum += v[r];
    const vec strip_mean = sum / (float)strip;
    ROW(r) {
      const vec centred = r < strip ? v[r] - strip_mean : ZERO;
      squares = MAD(centred, centred, squares);
    }
    chan(&merged, mean, deviations, (float)strip, strip_mean, squares);
    x += STRIP * stride;
  }
  return merged;
}
#else
static INLINE float measure(const int n, const uint count, const uint stride, const uint valid, vec *mean,
                            vec *deviations, __global const float *x) {
  float merged = 0.0f;
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
  return merged;
}
#endif

// Merges the statistics of a piece's strands, for strand 0.
static INLINE void merge_strands(const struct columns own, float *count, vec *mean, vec *deviations,
                                 __local float *counts, __local vec *means, __local vec *squares) {
#if GROUP > 1
  const uint id = get_local_id(0);
#define KEEP counts[id] = *count, means[id] = *mean, squares[id] = *deviations
  KEEP;
#define MERGE_STRAND(gap)                                                              \
  const uint other = id + gap * own.lanes;                                             \
  if (counts[other] > 0.0f)                                                            \
    chan(count, mean, deviations, counts[other], means[other], squares[other]);        \
  KEEP
  TREE(own, MERGE_STRAND)
#endif
}

// partial[part] = statistics [3][channels] of the part's rows
GROUPED void batch_norm_forward_tiles(const uint rows, const uint channels, const uint parts,
                                      __global float *restrict partial, const uint partial_at,
                                      __global const float *restrict x, const uint x_at) {
  __local float counts[GROUP];
  __local vec means[GROUP], squares[GROUP];
  const struct place own = place(rows, channels, parts, false);
  partial += partial_at + own.columns.part * 3 * channels;
  x += x_at + own.first * channels;
#define MEASURE(n, at, valid)                                                                   \
  {                                                                                             \
    vec mean[4], deviations[4];                                                                 \
    float count = measure(n, own.count, own.step * channels, valid, mean, deviations, x + at);  \
    merge_strands(own.columns, &count, mean, deviations, counts, means, squares);               \
    if (own.columns.strand == 0)                                                                \
      COLUMN(n) {                                                                               \
        store_column(n, c, partial + at, mean[c], valid);                                       \
        store_column(n, c, partial + channels + at, deviations[c], valid);                      \
        store_column(n, c, partial + 2 * channels + at, (vec)(count), valid);                   \
      }                                                                                         \
  }
  IN_COLUMNS(own, MEASURE)
}

// Merges what the work-item's strand takes of the `parts` statistics: every `strands`-th. Returns the count of rows.
static INLINE float merge_tiles(const struct columns own, const uint parts, const uint channels, const uint valid,
                                vec *mean, vec *deviations, __global const float *partial) {
  float merged = 0.0f;
  *mean = *deviations = ZERO;
  for (uint part = own.strand; part < parts; part += ROWS * own.strands) {
    float count[ROWS];
    vec means[ROWS], squares[ROWS];
    ROW(r) {
      const uint at = part + r * own.strands, own_valid = at < parts ? valid : 0;
      __global const float *from = partial + at * 3 * channels;
      count[r] = own_valid > 0 ? from[2 * channels] : 0.0f;
      means[r] = load_part(from, own_valid);
      squares[r] = load_part(from + channels, own_valid);
    }
    ROW(r) if (count[r] > 0.0f)
      chan(&merged, mean, deviations, count[r], means[r], squares[r]);
  }
  return merged;
}

// saved = mean and 1 / sqrt(var + eps), [2][channels]; running, when kept, moves towards the mean and unbiased
// variance. A work-group for each `vec` of channels.
GROUPED void batch_norm_forward_merge(const uint rows, const uint channels, const uint parts, const uint keep,
                                      __global float *restrict saved, const uint saved_at, __global float *running,
                                      const uint running_at, __global const float *restrict partial,
                                      const uint partial_at) {
  __local float counts[GROUP];
  __local vec means[GROUP], squares[GROUP];
  const struct columns own = column();
  const uint channel = own.piece * WIDTH, valid = rest(channels, channel);
  vec mean, deviations;
  float count = merge_tiles(own, parts, channels, valid, &mean, &deviations, partial + partial_at + channel);
  merge_strands(own, &count, &mean, &deviations, counts, means, squares);
  if (own.strand != 0)
    return;
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
static INLINE void normalize_rows(const int n, const uint count, const uint stride, const uint channels,
                                  const uint valid, const uint variances, const uint relu, const uint with_residual,
                                  const uint stream, __global float *y, __global const float *x,
                                  __global const float *weight, __global const float *bias,
                                  __global const float *statistics, __global const float *residual) {
  vec mean[4], factor[4], shift[4];
  COLUMN(n) {
    const vec second = load_column(n, c, statistics + channels, valid);
    const vec inverse = variances ? 1.0f / sqrt(second + EPSILON) : second;
    mean[c] = load_column(n, c, statistics, valid);
    factor[c] = load_column(n, c, weight, valid) * inverse;
    shift[c] = load_column(n, c, bias, valid);
  }
  for (uint k = 0; k < count; k += ROWS) {
    vec v[ROWS][4], added[ROWS][4];
    ROW(r) COLUMN(n) {
      const uint own = k + r < count ? valid : 0;
      v[r][c] = load_column(n, c, x + r * stride, own);
      added[r][c] = with_residual ? load_column(n, c, residual + r * stride, own) : ZERO;
    }
    ROW(r) COLUMN(n) {
      vec result = MAD(v[r][c] - mean[c], factor[c], shift[c]);
      if (with_residual)
        result += added[r][c];
      if (relu)
        result = result > ZERO ? result : ZERO;
      if (stream)
        STREAM(y + r * stride + c * WIDTH, result);
      else
        store_column(n, c, y + r * stride, result, k + r < count ? valid : 0);
    }
    x += ROWS * stride;
    y += ROWS * stride;
    residual += ROWS * stride;
  }
}

#define NORMALIZE_ARGUMENTS                                                                                       \
  const uint rows, const uint channels, const uint parts, const uint relu, const uint with_residual,              \
      const uint stream, __global float *restrict y, const uint y_at, __global const float *restrict x,           \
      const uint x_at, __global const float *restrict weight, const uint weight_at,                               \
      __global const float *restrict bias, const uint bias_at, __global const float *restrict statistics,         \
      const uint statistics_at, __global const float *restrict residual, const uint residual_at

#define NORMALIZE(variances)                                            \
  const struct place own = place(rows, channels, parts, true);          \
  const uint start = own.first * channels;                              \
  IN_COLUMNS(own, NORMALIZE_##variances)

#define NORMALIZE_STEP(n, at, valid, variances)                                                                    \
  normalize_rows(n, own.count, own.step *channels, channels, valid, variances, relu, with_residual, stream,        \
                 y + y_at + start + at, x + x_at + start + at, weight + weight_at + at, bias + bias_at + at,       \
                 statistics + statistics_at + at, residual + residual_at + start + at);
#define NORMALIZE_SAVED(n, at, valid) NORMALIZE_STEP(n, at, valid, 0)
#define NORMALIZE_RUNNING(n, at, valid) NORMALIZE_STEP(n, at, valid, 1)

// y = relu?(weight * (x - mean) / sqrt(var + eps) + bias + residual?), with the batch's statistics
GROUPED void batch_norm_forward(NORMALIZE_ARGUMENTS) { NORMALIZE(SAVED) }

// The same with the running statistics
GROUPED void batch_norm_inference(NORMALIZE_ARGUMENTS) { NORMALIZE(RUNNING) }

// Where the output of `relu` was not positive, dy does not count. The output is `y`, or without a residual what x gives
// again, bit for bit.
static INLINE vec mask(const vec dy, const uint relu, const uint with_residual, const vec y, const vec centred,
                       const vec factor, const vec bias) {
  if (!relu)
    return dy;
  return (with_residual ? y : MAD(centred, factor, bias)) > ZERO ? dy : ZERO;
}

// sum = sum masked and product = sum masked * (x - mean) of `count` rows; masked goes back to `dy` if there is a
// residual
static INLINE void sum_gradients(const int n, const uint count, const uint stride, const uint channels,
                                 const uint valid, const uint relu, const uint with_residual, vec *sum, vec *product,
                                 __global float *dy, __global const float *y, __global const float *x,
                                 __global const float *weight, __global const float *bias,
                                 __global const float *saved) {
  vec mean[4], factor[4], shift[4];
  COLUMN(n) {
    mean[c] = load_column(n, c, saved, valid);
    factor[c] = load_column(n, c, weight, valid) * load_column(n, c, saved + channels, valid);
    shift[c] = load_column(n, c, bias, valid);
    sum[c] = product[c] = ZERO;
  }
  for (uint k = 0; k < count; k += SUM_STRIP) {
    const uint strip = min((uint)SUM_STRIP, count - k);
    vec strip_sum[4], strip_product[4];
    COLUMN(n) strip_sum[c] = strip_product[c] = ZERO;
    for (uint s = 0; s < strip; s += ROWS) {
      vec centred[ROWS][4], d[ROWS][4], output[ROWS][4];
      ROW(r) COLUMN(n) {
        const uint own = s + r < strip ? valid : 0;
        centred[r][c] = load_column(n, c, x + r * stride, own) - mean[c];
        output[r][c] = with_residual ? load_column(n, c, y + r * stride, own) : ZERO;
        d[r][c] = load_column(n, c, dy + r * stride, own);
      }
      ROW(r) COLUMN(n) {
        const vec masked = mask(d[r][c], relu, with_residual, output[r][c], centred[r][c], factor[c], shift[c]);
        if (relu && with_residual)
          store_column(n, c, dy + r * stride, masked, s + r < strip ? valid : 0);
        strip_sum[c] += masked;
        strip_product[c] = MAD(masked, centred[r][c], strip_product[c]);
      }
      dy += ROWS * stride;
      y += ROWS * stride;
      x += ROWS * stride;
    }
    COLUMN(n) {
      sum[c] += strip_sum[c];
      product[c] += strip_product[c];
    }
  }
}

// partial[part] = the sums of the part's rows, [2][channels]
GROUPED void batch_norm_backward_tiles(const uint rows, const uint channels, const uint parts, const uint relu,
                                       const uint with_residual, __global float *restrict partial,
                                       const uint partial_at, __global float *restrict dy, const uint dy_at,
                                       __global const float *restrict y, const uint y_at,
                                       __global const float *restrict x, const uint x_at,
                                       __global const float *restrict weight, const uint weight_at,
                                       __global const float *restrict bias, const uint bias_at,
                                       __global const float *restrict saved, const uint saved_at) {
  __local vec shared[GROUP];
  const struct place own = place(rows, channels, parts, false);
  const uint start = own.first * channels;
  partial += partial_at + own.columns.part * 2 * channels;
#define SUM_GRADIENTS(n, at, valid)                                                                               \
  {                                                                                                               \
    vec sum[4], product[4];                                                                                       \
    sum_gradients(n, own.count, own.step *channels, channels, valid, relu, with_residual, sum, product,           \
                  dy + dy_at + start + at, y + y_at + start + at, x + x_at + start + at, weight + weight_at + at, \
                  bias + bias_at + at, saved + saved_at + at);                                                    \
    COLUMN(n) {                                                                                                   \
      sum[c] = sum_strands(own.columns, sum[c], shared);                                                               \
      product[c] = sum_strands(own.columns, product[c], shared);                                                       \
      if (own.columns.strand == 0) {                                                                                   \
        store_column(n, c, partial + at, sum[c], valid);                                                          \
        store_column(n, c, partial + channels + at, product[c], valid);                                           \
      }                                                                                                           \
    }                                                                                                             \
  }
  IN_COLUMNS(own, SUM_GRADIENTS)
}

// dbias += sum masked, dweight += sum masked * xhat; sums = the two, [2][channels]. A work-group for each `vec` of
// channels.
GROUPED void batch_norm_backward_merge(const uint channels, const uint parts, __global float *restrict dweight,
                                       const uint dweight_at, __global float *restrict dbias, const uint dbias_at,
                                       __global float *restrict sums, const uint sums_at,
                                       __global const float *restrict partial, const uint partial_at,
                                       __global const float *restrict saved, const uint saved_at) {
  __local vec shared[GROUP];
  const struct columns own = column();
  const uint channel = own.piece * WIDTH, valid = rest(channels, channel);
  partial += partial_at + channel;
  vec sum = ZERO, product = ZERO;
  for (uint part = own.strand; part < parts; part += own.strands) {
    sum += load_part(partial + part * 2 * channels, valid);
    product += load_part(partial + (part * 2 + 1) * channels, valid);
  }
  sum = sum_strands(own, sum, shared);
  product = sum_strands(own, product, shared);
  if (own.strand != 0)
    return;
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
  for (uint k = 0; k < count; k += ROWS) {
    vec centred[ROWS][4], d[ROWS][4], old[ROWS][4];
    ROW(r) COLUMN(n) {
      const uint own = k + r < count ? valid : 0;
      centred[r][c] = load_column(n, c, x + r * stride, own) - mean[c];
      d[r][c] = load_column(n, c, dy + r * stride, own);
      old[r][c] = accumulate ? load_column(n, c, dx + r * stride, own) : ZERO;
    }
    ROW(r) COLUMN(n) {
      const vec masked = mask(d[r][c], relu, 0, ZERO, centred[r][c], factor[c], shift[c]);
      const vec own = factor[c] * (masked - average[c] - centred[r][c] * slope[c]);
      store_column(n, c, dx + r * stride, accumulate ? old[r][c] + own : own, k + r < count ? valid : 0);
    }
    dx += ROWS * stride;
    dy += ROWS * stride;
    x += ROWS * stride;
  }
}

// dx from the sums; if `relu`, dy still has to be masked
GROUPED void batch_norm_backward(const uint rows, const uint channels, const uint parts, const uint relu,
                                 const uint accumulate, __global float *restrict dx, const uint dx_at,
                                 __global const float *restrict dy, const uint dy_at,
                                 __global const float *restrict x, const uint x_at,
                                 __global const float *restrict weight, const uint weight_at,
                                 __global const float *restrict bias, const uint bias_at,
                                 __global const float *restrict saved, const uint saved_at,
                                 __global const float *restrict sums, const uint sums_at) {
  const struct place own = place(rows, channels, parts, true);
  const uint start = own.first * channels;
#define INPUT_GRADIENT(n, at, valid)                                                                                \
  input_gradient(n, own.count, own.step *channels, rows, channels, valid, relu, accumulate, dx + dx_at + start + at, \
                 dy + dy_at + start + at, x + x_at + start + at, weight + weight_at + at, bias + bias_at + at,      \
                 saved + saved_at + at, sums + sums_at + at);
  IN_COLUMNS(own, INPUT_GRADIENT)
}

// The gradients by fixed statistics of `count` rows: sum = sum masked, product = sum masked * (x - mean), dx = weight *
// inv_std * masked, added if `accumulate`; masked goes back to `dy` if `relu`
static INLINE void fixed_gradients(const int n, const uint count, const uint stride, const uint channels,
                                   const uint valid, const uint relu, const uint accumulate, vec *sum, vec *product,
                                   __global float *dx, __global float *dy, __global const float *y,
                                   __global const float *x, __global const float *weight,
                                   __global const float *running) {
  vec mean[4], factor[4];
  COLUMN(n) {
    mean[c] = load_column(n, c, running, valid);
    factor[c] = load_column(n, c, weight, valid) / sqrt(load_column(n, c, running + channels, valid) + EPSILON);
    sum[c] = product[c] = ZERO;
  }
  for (uint k = 0; k < count; k += SUM_STRIP) {
    const uint strip = min((uint)SUM_STRIP, count - k);
    vec strip_sum[4], strip_product[4];
    COLUMN(n) strip_sum[c] = strip_product[c] = ZERO;
    for (uint s = 0; s < strip; s += ROWS) {
      vec centred[ROWS][4], masked[ROWS][4], old[ROWS][4];
      ROW(r) COLUMN(n) {
        const uint own = s + r < strip ? valid : 0;
        centred[r][c] = load_column(n, c, x + r * stride, own) - mean[c];
        masked[r][c] = load_column(n, c, dy + r * stride, own);
        if (relu)
          masked[r][c] = load_column(n, c, y + r * stride, own) > ZERO ? masked[r][c] : ZERO;
        old[r][c] = accumulate ? load_column(n, c, dx + r * stride, own) : ZERO;
      }
      ROW(r) COLUMN(n) {
        const uint own = s + r < strip ? valid : 0;
        const vec gradient = factor[c] * masked[r][c];
        if (relu)
          store_column(n, c, dy + r * stride, masked[r][c], own);
        store_column(n, c, dx + r * stride, accumulate ? old[r][c] + gradient : gradient, own);
        strip_sum[c] += masked[r][c];
        strip_product[c] = MAD(masked[r][c], centred[r][c], strip_product[c]);
      }
      dx += ROWS * stride;
      dy += ROWS * stride;
      y += ROWS * stride;
      x += ROWS * stride;
    }
    COLUMN(n) {
      sum[c] += strip_sum[c];
      product[c] += strip_product[c];
    }
  }
}

// dx, masked dy, and partial[part] = the sums of the part's rows, [2][channels]
GROUPED void batch_norm_inference_backward(const uint rows, const uint channels, const uint parts, const uint relu,
                                           const uint accumulate, __global float *restrict partial,
                                           const uint partial_at, __global float *restrict dx, const uint dx_at,
                                           __global float *restrict dy, const uint dy_at,
                                           __global const float *restrict y, const uint y_at,
                                           __global const float *restrict x, const uint x_at,
                                           __global const float *restrict weight, const uint weight_at,
                                           __global const float *restrict running, const uint running_at) {
  __local vec shared[GROUP];
  const struct place own = place(rows, channels, parts, false);
  const uint start = own.first * channels;
  partial += partial_at + own.columns.part * 2 * channels;
#define FIXED_GRADIENTS(n, at, valid)                                                                              \
  {                                                                                                                \
    vec sum[4], product[4];                                                                                        \
    fixed_gradients(n, own.count, own.step *channels, channels, valid, relu, accumulate, sum, product,             \
                    dx + dx_at + start + at, dy + dy_at + start + at, y + y_at + start + at, x + x_at + start + at, \
                    weight + weight_at + at, running + running_at + at);                                           \
    COLUMN(n) {                                                                                                    \
      sum[c] = sum_strands(own.columns, sum[c], shared);                                                           \
      product[c] = sum_strands(own.columns, product[c], shared);                                                   \
      if (own.columns.strand == 0) {                                                                               \
        store_column(n, c, partial + at, sum[c], valid);                                                           \
        store_column(n, c, partial + channels + at, product[c], valid);                                            \
      }                                                                                                            \
    }                                                                                                              \
  }
  IN_COLUMNS(own, FIXED_GRADIENTS)
}

// dbias += sum masked, dweight += sum masked * (x - mean) * inv_std. A work-group for each `vec` of channels.
GROUPED void batch_norm_inference_backward_merge(const uint channels, const uint parts,
                                                 __global float *restrict dweight, const uint dweight_at,
                                                 __global float *restrict dbias, const uint dbias_at,
                                                 __global const float *restrict partial, const uint partial_at,
                                                 __global const float *restrict running, const uint running_at) {
  __local vec shared[GROUP];
  const struct columns own = column();
  const uint channel = own.piece * WIDTH, valid = rest(channels, channel);
  partial += partial_at + channel;
  vec sum = ZERO, product = ZERO;
  for (uint part = own.strand; part < parts; part += own.strands) {
    sum += load_part(partial + part * 2 * channels, valid);
    product += load_part(partial + (part * 2 + 1) * channels, valid);
  }
  sum = sum_strands(own, sum, shared);
  product = sum_strands(own, product, shared);
  if (own.strand != 0)
    return;
  dweight += dweight_at + channel;
  dbias += dbias_at + channel;
  product /= sqrt(load_part(running + running_at + channels + channel, valid) + EPSILON);
  store_part(dweight, load_part(dweight, valid) + product, valid);
  store_part(dbias, load_part(dbias, valid) + sum, valid);
}
