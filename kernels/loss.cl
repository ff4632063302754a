// Adjusted softmax cross-entropy: one work-item for each row, then one for the sum over rows.

// z_c = logits_c / scale_c + shift_c - margin_c * [c == label]
static inline float adjusted(__global const float *logits, __global const float *scale, __global const float *shift,
                             __global const float *margin, const uint c, const uint label) {
  return logits[c] / scale[c] + shift[c] - (c == label ? margin[c] : 0.0f);
}

// partial[row] = weights[row] * (1 - p)^focal * (log sum_j exp z_j - z_label), and dlogits its gradient:
// weight * (p_c - [c == label]) / scale_c * ((1 - p)^focal + focal * p * (1 - p)^(focal - 1) * loss).
// A label that is no class makes both NaN.
__kernel void cross_entropy(const uint rows, const uint classes, __global float *restrict dlogits,
                            const uint dlogits_at, __global float *restrict partial, const uint partial_at,
                            __global const float *restrict logits, const uint logits_at,
                            __global const float *restrict labels, const uint labels_at,
                            __global const float *restrict weights, const uint weights_at,
                            __global const float *restrict scale, const uint scale_at,
                            __global const float *restrict shift, const uint shift_at,
                            __global const float *restrict margin, const uint margin_at, const float focal) {
  const uint row = get_global_id(0);
  if (row >= rows)
    return;
  logits += logits_at + row * classes;
  dlogits += dlogits_at + row * classes;
  scale += scale_at;
  shift += shift_at;
  margin += margin_at;
  const float name = labels[labels_at + row], weight = weights[weights_at + row];
  const bool known = name >= 0.0f && name < (float)classes;
  const uint label = known ? (uint)name : 0;
  float largest = -INFINITY;
  for (uint c = 0; c < classes; c++) {
    const float z = adjusted(logits, scale, shift, margin, c, label);
    if (z > largest || isnan(z))
      largest = z;
  }
  // 1 - p and the loss from the other classes' share, which does not cancel when p is near 1.
  float others = 0.0f;
  const float own_z = adjusted(logits, scale, shift, margin, label, label), own = exp(own_z - largest);
  for (uint c = 0; c < classes; c++)
    if (c != label)
      others += exp(adjusted(logits, scale, shift, margin, c, label) - largest);
  const float total = own + others, p = own / total, rest = others / total;
  const float loss = own_z == largest ? log1p(others) : log(total) + (largest - own_z);
  float factor = 1.0f, slope = 1.0f;
  if (focal != 0.0f) {
    factor = pow(rest, focal);
    // loss / rest tends to 1 where rest vanishes.
    slope = factor + focal * p * factor * (rest > 0.0f ? loss / rest : 1.0f);
  }
  partial[partial_at + row] = known ? weight * factor * loss : NAN;
  for (uint c = 0; c < classes; c++) {
    const float share = exp(adjusted(logits, scale, shift, margin, c, label) - largest) / total;
    const float gradient = weight * slope * (c == label ? -rest : share) / scale[c];
    dlogits[c] = known ? gradient : NAN;
  }
}

// loss[0] = sum of partial in the rows' order
__kernel void cross_entropy_merge(const uint rows, __global float *loss, const uint loss_at,
                                  __global const float *partial, const uint partial_at) {
  if (get_global_id(0) != 0)
    return;
  float sum = 0.0f;
  for (uint row = 0; row < rows; row++)
    sum += partial[partial_at + row];
  loss[loss_at] = sum;
}
