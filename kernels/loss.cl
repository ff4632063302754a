// Adjusted softmax cross-entropy: one work-group for each row, whose work-items share the classes, then one for the sum
// over rows.

// z_c = logits_c / scale_c + shift_c - margin_c * [c == label]
static inline float adjusted(__global const float *logits, __global const float *scale, __global const float *shift,
                             __global const float *margin, const uint c, const uint label) {
  return logits[c] / scale[c] + shift[c] - (c == label ? margin[c] : 0.0f);
}

// The larger of two, or what is no number.
static inline float larger(const float a, const float b) { return b > a || isnan(b) ? b : a; }

// The largest `value` of a group, for all of it.
static INLINE float largest_in_group(const float value, __local float *shared) {
  float largest = value;
#if GROUP > 1
  const struct columns own = column();
  barrier(CLK_LOCAL_MEM_FENCE);
  shared[own.strand] = largest;
#define LARGER_ITEM(gap) shared[own.strand] = largest = larger(largest, shared[own.strand + gap])
  TREE(own, LARGER_ITEM)
  barrier(CLK_LOCAL_MEM_FENCE);
  largest = shared[0];
#endif
  return largest;
}

// partial[row] = weights[row] * (1 - p)^focal * (log sum_j exp z_j - z_label), and dlogits its gradient:
// weight * (p_c - [c == label]) / scale_c * ((1 - p)^focal + focal * p * (1 - p)^(focal - 1) * loss).
// A label that is no class makes both NaN.
GROUPED void cross_entropy(const uint rows, const uint classes, __global float *restrict dlogits,
                           const uint dlogits_at, __global float *restrict partial, const uint partial_at,
                           __global const float *restrict logits, const uint logits_at,
                           __global const float *restrict labels, const uint labels_at,
                           __global const float *restrict weights, const uint weights_at,
                           __global const float *restrict scale, const uint scale_at,
                           __global const float *restrict shift, const uint shift_at,
                           __global const float *restrict margin, const uint margin_at, const float focal) {
  __local float shared[GROUP];
  const uint row = get_group_id(0), lane = get_local_id(0);
  logits += logits_at + row * classes;
  dlogits += dlogits_at + row * classes;
  scale += scale_at;
  shift += shift_at;
  margin += margin_at;
  const float name = labels[labels_at + row], weight = weights[weights_at + row];
  const bool known = name >= 0.0f && name < (float)classes;
  const uint label = known ? (uint)name : 0;
  float largest = -INFINITY;
  for (uint c = lane; c < classes; c += GROUP)
    largest = larger(largest, adjusted(logits, scale, shift, margin, c, label));
  largest = largest_in_group(largest, shared);
  // 1 - p and the loss from the other classes' share, which does not cancel when p is near 1.
  float others = 0.0f;
  const float own_z = adjusted(logits, scale, shift, margin, label, label), own = exp(own_z - largest);
  for (uint c = lane; c < classes; c += GROUP)
    if (c != label)
      others += exp(adjusted(logits, scale, shift, margin, c, label) - largest);
  others = sum_group(others, shared);
  const float total = own + others, p = own / total, rest = others / total;
  const float loss = own_z == largest ? log1p(others) : log(total) + (largest - own_z);
  float factor = 1.0f, slope = 1.0f;
  if (focal != 0.0f) {
    factor = pow(rest, focal);
    // loss / rest tends to 1 where rest vanishes.
    slope = factor + focal * p * factor * (rest > 0.0f ? loss / rest : 1.0f);
  }
  if (lane == 0)
    partial[partial_at + row] = known ? weight * factor * loss : NAN;
  for (uint c = lane; c < classes; c += GROUP) {
    const float share = exp(adjusted(logits, scale, shift, margin, c, label) - largest) / total;
    const float gradient = weight * slope * (c == label ? -rest : share) / scale[c];
    dlogits[c] = known ? gradient : NAN;
  }
}

// loss[0] = sum of partial, by one work-group
GROUPED void cross_entropy_merge(const uint rows, __global float *loss, const uint loss_at,
                                 __global const float *partial, const uint partial_at) {
  __local float shared[GROUP];
  float sum = 0.0f;
  for (uint row = get_local_id(0); row < rows; row += GROUP)
    sum += partial[partial_at + row];
  sum = sum_group(sum, shared);
  if (get_local_id(0) == 0)
    loss[loss_at] = sum;
}

// dlogits = the derivative of cross_entropy's along `tangent`: with u = tangent / scale, e = p - [c == label], l the plain
// cross-entropy and q = 1 - p_label, weight / scale_c * (F' p_c (u_c - sum p u) + F'' (sum e u) e_c), where
// F' = q^focal + focal q^(focal - 1) p_label l, F'' = focal q^(focal - 1) p_label (2 - l + (focal - 1) p_label l / q).
// u is taken relative to that of the most probable class: nothing cancels where its probability is near 1.
// A label that is no class makes it NaN.
GROUPED void cross_entropy_tangent(const uint rows, const uint classes, __global float *restrict dlogits,
                                   const uint dlogits_at, __global const float *restrict logits, const uint logits_at,
                                   __global const float *restrict tangent, const uint tangent_at,
                                   __global const float *restrict labels, const uint labels_at,
                                   __global const float *restrict weights, const uint weights_at,
                                   __global const float *restrict scale, const uint scale_at,
                                   __global const float *restrict shift, const uint shift_at,
                                   __global const float *restrict margin, const uint margin_at, const float focal) {
  __local float shared[GROUP];
  const uint row = get_group_id(0), lane = get_local_id(0);
  logits += logits_at + row * classes;
  tangent += tangent_at + row * classes;
  dlogits += dlogits_at + row * classes;
  scale += scale_at;
  shift += shift_at;
  margin += margin_at;
  const float name = labels[labels_at + row], weight = weights[weights_at + row];
  const bool known = name >= 0.0f && name < (float)classes;
  const uint label = known ? (uint)name : 0;
  float largest = -INFINITY;
  for (uint c = lane; c < classes; c += GROUP)
    largest = larger(largest, adjusted(logits, scale, shift, margin, c, label));
  largest = largest_in_group(largest, shared);
  // The last class with the largest logit; as a number, which local memory is for.
  float place = 0.0f;
  for (uint c = lane; c < classes; c += GROUP)
    if (adjusted(logits, scale, shift, margin, c, label) == largest)
      place = (float)c;
  const uint top = (uint)largest_in_group(place, shared);
  const float start = tangent[top] / scale[top];
  const float own_z = adjusted(logits, scale, shift, margin, label, label), own = exp(own_z - largest);
  float sums[2] = {0.0f, 0.0f}, kept[2] = {0.0f, 0.0f};
  for (uint c = lane; c < classes; c += GROUP) {
    const float term = c == label ? own : exp(adjusted(logits, scale, shift, margin, c, label) - largest);
    add_kept(&sums[0], &kept[0], c == label ? 0.0f : term);
    add_kept(&sums[1], &kept[1], term * (tangent[c] / scale[c] - start));
  }
  const float others = sum_group(sums[0] + kept[0], shared);
  const float total = own + others, p = own / total, rest = others / total;
  const float mean = sum_group(sums[1] + kept[1], shared) / total;
  float first = 1.0f, second = 0.0f;
  if (focal != 0.0f) {
    const float loss = own_z == largest ? log1p(others) : log(total) + (largest - own_z);
    // loss / rest tends to 1 where rest vanishes, and the gradient vanishes with it.
    const float power = rest > 0.0f ? pow(rest, focal) : 0.0f, ratio = rest > 0.0f ? p * loss / rest : 1.0f;
    first = power * (1.0f + focal * ratio);
    second = rest > 0.0f ? focal * (power / rest) * p * (2.0f - loss + (focal - 1.0f) * ratio) : 0.0f;
  }
  const float slope = second * (mean - (tangent[label] / scale[label] - start));
  for (uint c = lane; c < classes; c += GROUP) {
    const float share = exp(adjusted(logits, scale, shift, margin, c, label) - largest) / total;
    const float error = c == label ? -rest : share;
    const float turned = first * share * (tangent[c] / scale[c] - start - mean) + slope * error;
    dlogits[c] = known ? weight * turned / scale[c] : NAN;
  }
}
