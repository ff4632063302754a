// Vectors: one work-item for each `vec`, except sums, which have two stages.

// The lanes of work-item `i` that lie below `n`.
static inline uint lanes_below(const uint n, const uint i) { return n - i * WIDTH; }

// y[i] = value
__kernel void fill(const uint n, __global float *y, const uint y_at, const float value) {
  const uint i = get_global_id(0);
  if (i * WIDTH < n)
    store_part(y + y_at + i * WIDTH, (vec)(value), lanes_below(n, i));
}

// y[i] = x[i]
__kernel void copy(const uint n, __global float *restrict y, const uint y_at, __global const float *restrict x,
                   const uint x_at) {
  const uint i = get_global_id(0);
  if (i * WIDTH < n)
    store_part(y + y_at + i * WIDTH, load_part(x + x_at + i * WIDTH, lanes_below(n, i)), lanes_below(n, i));
}

// y[i] += alpha * x[i]
__kernel void axpy(const uint n, __global float *restrict y, const uint y_at, const float alpha,
                   __global const float *restrict x, const uint x_at) {
  const uint i = get_global_id(0);
  if (i * WIDTH >= n)
    return;
  const uint valid = lanes_below(n, i);
  y += y_at + i * WIDTH;
  store_part(y, load_part(y, valid) + alpha * load_part(x + x_at + i * WIDTH, valid), valid);
}

// partial[part] = sum of x[i]^2 over the share of a part, which is a work-group
static INLINE void squares(const uint n, const uint parts, __global float *partial, __global const float *x,
                           __local float *shared) {
  const uint part = get_group_id(0);
  uint first, count, step;
  share((n + WIDTH - 1) / WIDTH, part * GROUP + get_local_id(0), parts * GROUP, &first, &count, &step);
  // Two sums, so that an addition need not wait for the one before.
  vec even = ZERO, odd = ZERO;
  for (uint k = 0; k < count; k += 2) {
    const uint i = first + k * step, j = i + step;
    const vec v = load_part(x + i * WIDTH, lanes_below(n, i));
    even = MAD(v, v, even);
    if (k + 1 < count) {
      const vec w = load_part(x + j * WIDTH, lanes_below(n, j));
      odd = MAD(w, w, odd);
    }
  }
  const float sum = sum_group(sum_lanes(even + odd), shared);
  if (get_local_id(0) == 0)
    partial[part] = sum;
}

// The sum of `parts` partial sums, by one work-group.
static INLINE float merge(const uint parts, __global const float *partial, __local float *shared) {
  float sum = 0.0f;
  for (uint i = get_local_id(0); i < parts; i += GROUP)
    sum += partial[i];
  return sum_group(sum, shared);
}

GROUPED void ascend_norm(const uint n, const uint parts, __global float *partial, const uint partial_at,
                         __global const float *point, const uint point_at) {
  __local float shared[GROUP];
  squares(n, parts, partial + partial_at, point + point_at, shared);
}

// squared_norm[0] = sum partial; scale[0] = radius / (sqrt(sum partial) + 1e-16)
GROUPED void
ascend_merge(const uint parts, __global float *scale, const uint scale_at, __global float *squared_norm,
             const uint squared_norm_at, __global const float *partial, const uint partial_at, const float radius) {
  __local float shared[GROUP];
  const float sum = merge(parts, partial + partial_at, shared);
  if (get_local_id(0) != 0)
    return;
  squared_norm[squared_norm_at] = sum;
  scale[scale_at] = radius / (sqrt(sum) + 1e-16f);
}

// point[i] = params[i] + scale[0] * point[i]
__kernel void ascend(const uint n, __global float *restrict point, const uint point_at,
                     __global const float *restrict params, const uint params_at, __global const float *restrict scale,
                     const uint scale_at) {
  const uint i = get_global_id(0);
  if (i * WIDTH >= n)
    return;
  const uint valid = lanes_below(n, i);
  point += point_at + i * WIDTH;
  store_part(point, load_part(params + params_at + i * WIDTH, valid) + scale[scale_at] * load_part(point, valid),
             valid);
}

GROUPED void sgd_norm(const uint n, const uint parts, __global float *partial, const uint partial_at,
                      __global const float *gradient, const uint gradient_at) {
  __local float shared[GROUP];
  squares(n, parts, partial + partial_at, gradient + gradient_at, shared);
}

// squared_norm[0] = sum partial; failure[0] = number of the first step where that is not finite
GROUPED void
sgd_merge(const uint parts, __global float *squared_norm, const uint squared_norm_at, __global float *failure,
          const uint failure_at, __global const float *partial, const uint partial_at, const float number) {
  __local float shared[GROUP];
  const float sum = merge(parts, partial + partial_at, shared);
  if (get_local_id(0) != 0)
    return;
  squared_norm[squared_norm_at] = sum;
  if (!isfinite(sum) && failure[failure_at] == 0.0f)
    failure[failure_at] = number;
}

// d = g + weight_decay * w; v = momentum * v + d; w -= learning_rate * (nesterov ? d + momentum * v : v),
// and nothing at all when the squared norm is not finite
__kernel void sgd(const uint n, __global float *restrict params, const uint params_at, __global float *restrict velocity,
                  const uint velocity_at, __global const float *restrict gradient, const uint gradient_at,
                  __global const float *restrict squared_norm, const uint squared_norm_at, const float learning_rate,
                  const float momentum, const float weight_decay, const uint nesterov) {
  const uint i = get_global_id(0);
  if (i * WIDTH >= n || !isfinite(squared_norm[squared_norm_at]))
    return;
  const uint valid = lanes_below(n, i);
  params += params_at + i * WIDTH;
  velocity += velocity_at + i * WIDTH;
  const vec w = load_part(params, valid);
  const vec d = load_part(gradient + gradient_at + i * WIDTH, valid) + weight_decay * w;
  const vec v = momentum * load_part(velocity, valid) + d;
  store_part(velocity, v, valid);
  store_part(params, w - learning_rate * (nesterov ? d + momentum * v : v), valid);
}

// velocity[i] = momentum * velocity[i] + weight_decay * params[i]
__kernel void decay(const uint n, __global float *restrict velocity, const uint velocity_at,
                    __global const float *restrict params, const uint params_at, const float momentum,
                    const float weight_decay) {
  const uint i = get_global_id(0);
  if (i * WIDTH >= n)
    return;
  const uint valid = lanes_below(n, i);
  velocity += velocity_at + i * WIDTH;
  const vec v = momentum * load_part(velocity, valid);
  store_part(velocity, v + weight_decay * load_part(params + params_at + i * WIDTH, valid), valid);
}

// params[i] -= learning_rate * velocity[i]; velocity[i] = 0 instead when the squared norm is not finite.
// The norm is sgd_norm's and sgd_merge's.
__kernel void descend(const uint n, __global float *restrict params, const uint params_at,
                      __global float *restrict velocity, const uint velocity_at,
                      __global const float *restrict squared_norm, const uint squared_norm_at,
                      const float learning_rate) {
  const uint i = get_global_id(0);
  if (i * WIDTH >= n)
    return;
  const uint valid = lanes_below(n, i);
  params += params_at + i * WIDTH;
  velocity += velocity_at + i * WIDTH;
  if (isfinite(squared_norm[squared_norm_at]))
    store_part(params, load_part(params, valid) - learning_rate * load_part(velocity, valid), valid);
  else
    store_part(velocity, ZERO, valid);
}
