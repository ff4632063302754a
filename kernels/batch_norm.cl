// Batch normalisation over rows x channels: a work-item has a `vec` of channels and a share of the rows.
//
// Statistics are (count, mean, sum of squared deviations), merged by Chan, Golub and LeVeque (1979), never E[x^2]-E[x]^2.

#define EPSILON 1e-5f
#define MOMENTUM 0.1f
// Rows whose mean is taken before their squared deviations; they stay in the first cache.
#define STRIP 64

// Which channels and which part of the rows a work-item has.
typedef struct {
  uint channel, valid, part;
} Place;

static inline Place place(const uint channels) {
  const uint blocks = (channels + WIDTH - 1) / WIDTH, id = get_global_id(0);
  Place mine;
  mine.channel = id % blocks * WIDTH;
  mine.valid = channels - mine.channel;
  mine.part = id / blocks;
  return mine;
}

// Statistics of `added` rows merged into those of `count`.
static inline void chan(float *count, vec *mean, vec *deviations, const float added, const vec added_mean,
                        const vec added_deviations) {
  const float total = *count + added;
  const vec delta = added_mean - *mean;
  *mean += delta * (added / total);
  *deviations += added_deviations + delta * delta * (*count * added / total);
  *count = total;
}

// partial[part] = mean and squared deviations [2][channels] of the part's rows
__kernel void batch_norm_forward_tiles(const uint rows, const uint channels, const uint parts,
                                       __global float *restrict partial, const uint partial_at,
                                       __global const float *restrict x, const uint x_at) {
  const Place at = place(channels);
  if (at.part >= parts)
    return;
  const Share mine = share(rows, at.part, parts);
  const uint stride = mine.step * channels;
  x += x_at + mine.first * channels + at.channel;
  float count = 0.0f;
  vec mean = ZERO, deviations = ZERO;
  for (uint k = 0; k < mine.count; k += STRIP) {
    const uint strip = min((uint)STRIP, mine.count - k);
    vec sum = ZERO, other = ZERO, squares = ZERO, other_squares = ZERO;
    uint r = 0;
    for (; r + 1 < strip; r += 2) {
      sum += load_part(x + r * stride, at.valid);
      other += load_part(x + (r + 1) * stride, at.valid);
    }
    if (r < strip)
      sum += load_part(x + r * stride, at.valid);
    const vec strip_mean = (sum + other) / (float)strip;
    for (r = 0; r + 1 < strip; r += 2) {
      const vec a = load_part(x + r * stride, at.valid) - strip_mean;
      const vec b = load_part(x + (r + 1) * stride, at.valid) - strip_mean;
      squares = MAD(a, a, squares);
      other_squares = MAD(b, b, other_squares);
    }
    if (r < strip) {
      const vec a = load_part(x + r * stride, at.valid) - strip_mean;
      squares = MAD(a, a, squares);
    }
    chan(&count, &mean, &deviations, (float)strip, strip_mean, squares + other_squares);
    x += strip * stride;
  }
  partial += partial_at + at.part * 2 * channels + at.channel;
  store_part(partial, mean, at.valid);
  store_part(partial + channels, deviations, at.valid);
}

// saved = mean and 1 / sqrt(var + eps), [2][channels]; running, when kept, moves towards the mean and unbiased variance
__kernel void batch_norm_forward_merge(const uint rows, const uint channels, const uint parts, const uint keep,
                                       __global float *restrict saved, const uint saved_at, __global float *running,
                                       const uint running_at, __global const float *restrict partial,
                                       const uint partial_at) {
  const Place at = place(channels);
  if (at.part != 0)
    return;
  partial += partial_at + at.channel;
  float count = 0.0f;
  vec mean = ZERO, deviations = ZERO;
  for (uint part = 0; part < parts; part++) {
    const float added = (float)share(rows, part, parts).count;
    if (added > 0.0f)
      chan(&count, &mean, &deviations, added, load_part(partial, at.valid), load_part(partial + channels, at.valid));
    partial += 2 * channels;
  }
  saved += saved_at + at.channel;
  store_part(saved, mean, at.valid);
  store_part(saved + channels, 1.0f / sqrt(deviations / (float)rows + EPSILON), at.valid);
  if (!keep || rows < 2)
    return;
  running += running_at + at.channel;
  const vec variance = deviations / (float)(rows - 1);
  const vec old_mean = load_part(running, at.valid), old_variance = load_part(running + channels, at.valid);
  const vec new_mean = (1.0f - MOMENTUM) * old_mean + MOMENTUM * mean;
  const vec new_variance = (1.0f - MOMENTUM) * old_variance + MOMENTUM * variance;
  store_part(running, isfinite(mean) && isfinite(variance) ? new_mean : old_mean, at.valid);
  store_part(running + channels, isfinite(mean) && isfinite(variance) ? new_variance : old_variance, at.valid);
}

// y = relu?((x - mean) * factor + bias + residual?) over the share of rows
static inline void normalize(const Place at, const Share mine, const uint channels, const uint relu,
                             const uint with_residual, __global float *restrict y, __global const float *restrict x,
                             __global const float *restrict residual, const vec mean, const vec factor,
                             const vec bias) {
  const uint stride = mine.step * channels, start = mine.first * channels + at.channel;
  x += start;
  y += start;
  residual += start;
  for (uint r = 0; r < mine.count; r++) {
    vec v = MAD(load_part(x, at.valid) - mean, factor, bias);
    if (with_residual)
      v += load_part(residual, at.valid);
    if (relu)
      v = v > ZERO ? v : ZERO;
    store_part(y, v, at.valid);
    x += stride;
    y += stride;
    residual += stride;
  }
}

// y = relu?(weight * (x - mean) / sqrt(var + eps) + bias + residual?)
__kernel void batch_norm_forward(const uint rows, const uint channels, const uint parts, const uint relu,
                                 const uint with_residual, __global float *restrict y, const uint y_at,
                                 __global const float *restrict x, const uint x_at,
                                 __global const float *restrict weight, const uint weight_at,
                                 __global const float *restrict bias, const uint bias_at,
                                 __global const float *restrict saved, const uint saved_at,
                                 __global const float *restrict residual, const uint residual_at) {
  const Place at = place(channels);
  if (at.part >= parts)
    return;
  const vec mean = load_part(saved + saved_at + at.channel, at.valid);
  const vec inverse = load_part(saved + saved_at + channels + at.channel, at.valid);
  normalize(at, share(rows, at.part, parts), channels, relu, with_residual, y + y_at, x + x_at, residual + residual_at,
            mean, load_part(weight + weight_at + at.channel, at.valid) * inverse,
            load_part(bias + bias_at + at.channel, at.valid));
}

// The same with the running statistics, [2][channels]
__kernel void batch_norm_inference(const uint rows, const uint channels, const uint parts, const uint relu,
                                   const uint with_residual, __global float *restrict y, const uint y_at,
                                   __global const float *restrict x, const uint x_at,
                                   __global const float *restrict weight, const uint weight_at,
                                   __global const float *restrict bias, const uint bias_at,
                                   __global const float *restrict running, const uint running_at,
                                   __global const float *restrict residual, const uint residual_at) {
  const Place at = place(channels);
  if (at.part >= parts)
    return;
  const vec mean = load_part(running + running_at + at.channel, at.valid);
  const vec variance = load_part(running + running_at + channels + at.channel, at.valid);
  const vec inverse = 1.0f / sqrt(variance + EPSILON);
  normalize(at, share(rows, at.part, parts), channels, relu, with_residual, y + y_at, x + x_at, residual + residual_at,
            mean, load_part(weight + weight_at + at.channel, at.valid) * inverse,
            load_part(bias + bias_at + at.channel, at.valid));
}

// partial[part] = sum masked and sum masked * (x - mean), [2][channels], of the part's rows, where
// masked = relu ? (y > 0 ? dy : 0) : dy, which goes back to `dy` if `keep`
__kernel void batch_norm_backward_tiles(const uint rows, const uint channels, const uint parts, const uint relu,
                                        const uint keep, __global float *restrict partial, const uint partial_at,
                                        __global float *restrict dy, const uint dy_at,
                                        __global const float *restrict y, const uint y_at,
                                        __global const float *restrict x, const uint x_at,
                                        __global const float *restrict saved, const uint saved_at) {
  const Place at = place(channels);
  if (at.part >= parts)
    return;
  const Share mine = share(rows, at.part, parts);
  const vec mean = load_part(saved + saved_at + at.channel, at.valid);
  const uint stride = mine.step * channels, start = mine.first * channels + at.channel;
  dy += dy_at + start;
  y += y_at + start;
  x += x_at + start;
  vec sum = ZERO, product = ZERO;
  for (uint k = 0; k < mine.count; k += STRIP) {
    const uint strip = min((uint)STRIP, mine.count - k);
    vec strip_sum = ZERO, strip_product = ZERO;
    for (uint r = 0; r < strip; r++) {
      vec d = load_part(dy, at.valid);
      if (relu)
        d = load_part(y, at.valid) > ZERO ? d : ZERO;
      if (keep)
        store_part(dy, d, at.valid);
      strip_sum += d;
      strip_product = MAD(d, load_part(x, at.valid) - mean, strip_product);
      dy += stride;
      y += stride;
      x += stride;
    }
    sum += strip_sum;
    product += strip_product;
  }
  partial += partial_at + at.part * 2 * channels + at.channel;
  store_part(partial, sum, at.valid);
  store_part(partial + channels, product, at.valid);
}

// dbias += sum masked, dweight += sum masked * xhat; sums = the two, [2][channels]
__kernel void batch_norm_backward_merge(const uint channels, const uint parts, __global float *restrict dweight,
                                        const uint dweight_at, __global float *restrict dbias, const uint dbias_at,
                                        __global float *restrict sums, const uint sums_at,
                                        __global const float *restrict partial, const uint partial_at,
                                        __global const float *restrict saved, const uint saved_at) {
  const Place at = place(channels);
  if (at.part != 0)
    return;
  partial += partial_at + at.channel;
  vec sum = ZERO, product = ZERO;
  for (uint part = 0; part < parts; part++) {
    sum += load_part(partial, at.valid);
    product += load_part(partial + channels, at.valid);
    partial += 2 * channels;
  }
  product *= load_part(saved + saved_at + channels + at.channel, at.valid);
  dweight += dweight_at + at.channel;
  dbias += dbias_at + at.channel;
  sums += sums_at + at.channel;
  store_part(dweight, load_part(dweight, at.valid) + product, at.valid);
  store_part(dbias, load_part(dbias, at.valid) + sum, at.valid);
  store_part(sums, sum, at.valid);
  store_part(sums + channels, product, at.valid);
}

// dx = weight * inv_std * (masked - sum masked / rows - xhat * sum(masked * xhat) / rows), added if `accumulate`
__kernel void batch_norm_backward(const uint rows, const uint channels, const uint parts, const uint relu,
                                  const uint accumulate, __global float *restrict dx, const uint dx_at,
                                  __global const float *restrict dy, const uint dy_at,
                                  __global const float *restrict y, const uint y_at,
                                  __global const float *restrict x, const uint x_at,
                                  __global const float *restrict weight, const uint weight_at,
                                  __global const float *restrict saved, const uint saved_at,
                                  __global const float *restrict sums, const uint sums_at) {
  const Place at = place(channels);
  if (at.part >= parts)
    return;
  const Share mine = share(rows, at.part, parts);
  const vec mean = load_part(saved + saved_at + at.channel, at.valid);
  const vec inverse = load_part(saved + saved_at + channels + at.channel, at.valid);
  const vec factor = load_part(weight + weight_at + at.channel, at.valid) * inverse;
  const vec average = load_part(sums + sums_at + at.channel, at.valid) / (float)rows;
  const vec slope = load_part(sums + sums_at + channels + at.channel, at.valid) / (float)rows * inverse;
  const uint stride = mine.step * channels, start = mine.first * channels + at.channel;
  dx += dx_at + start;
  dy += dy_at + start;
  y += y_at + start;
  x += x_at + start;
  for (uint r = 0; r < mine.count; r++) {
    vec d = load_part(dy, at.valid);
    if (relu)
      d = load_part(y, at.valid) > ZERO ? d : ZERO;
    d = factor * (d - average - (load_part(x, at.valid) - mean) * slope);
    store_part(dx, accumulate ? load_part(dx, at.valid) + d : d, at.valid);
    dx += stride;
    dy += stride;
    y += stride;
    x += stride;
  }
}
