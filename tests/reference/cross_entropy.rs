//! The adjusted softmax cross-entropy.

/// The tables of the adjustment, one value a class, and the focal exponent.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Divides the logits.
    pub scale: Vec<f64>,
    /// Added to the logits.
    pub shift: Vec<f64>,
    /// Subtracted from the label's logit.
    pub margin: Vec<f64>,
    /// Exponent of `1 - p`.
    pub focal: f64,
}

/// `z_c = logits_c / scale_c + shift_c - margin_c * [c == label]`, less the largest of them.
fn adjusted(logits: &[f64], label: usize, terms: &Terms) -> Vec<f64> {
    let mut z = vec![0.0; logits.len()];
    for c in 0..logits.len() {
        let margin = if c == label { terms.margin[c] } else { 0.0 };
        z[c] = logits[c] / terms.scale[c] + terms.shift[c] - margin;
    }
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    z.iter().map(|z| z - largest).collect()
}

/// Softmax, one less its value at the label (as a sum: exact when small), and its logarithm at the label.
fn softmax(z: &[f64], label: usize) -> (Vec<f64>, f64, f64) {
    let sum = z.iter().map(|z| z.exp()).sum::<f64>();
    let p: Vec<f64> = z.iter().map(|z| z.exp() / sum).collect();
    let others = p.iter().enumerate().filter(|(c, _)| *c != label).map(|(_, p)| p).sum();
    (p, others, z[label] - sum.ln())
}

/// `weight * (1 - p_label)^focal * -log p_label`.
pub fn forward(logits: &[f64], label: usize, weight: f64, terms: &Terms) -> f64 {
    let (_, others, log_p) = softmax(&adjusted(logits, label, terms), label);
    weight * others.powf(terms.focal) * -log_p
}

/// Gradient of [`forward`] with respect to the logits.
///
/// With `q = 1 - p_label`: `d loss / d p_label = weight * (-q^focal / p + focal * q^(focal - 1) * log p)`,
/// `d p_label / d z_c = p_label * ([c == label] - p_c)`, `d z_c / d logits_c = 1 / scale_c`.
pub fn backward(logits: &[f64], label: usize, weight: f64, terms: &Terms) -> Vec<f64> {
    let (p, others, log_p) = softmax(&adjusted(logits, label, terms), label);
    let focal_slope =
        if terms.focal == 0.0 || others == 0.0 { 0.0 } else { terms.focal * others.powf(terms.focal - 1.0) };
    let factor = weight * (-others.powf(terms.focal) + focal_slope * p[label] * log_p);
    let mut dlogits = vec![0.0; logits.len()];
    for c in 0..logits.len() {
        let toward_label = if c == label { others } else { -p[c] };
        dlogits[c] = factor * toward_label / terms.scale[c];
    }
    dlogits
}

/// The derivative of [`backward`] along a direction `u` of the logits: the chain rule on its factors.
///
/// With `z' = u / scale` and `m = sum_j p_j z'_j`: `p_c' = p_c (z'_c - m)`, `q' = -p_label'`, `(log p)' = z'_label - m`.
pub fn tangent(logits: &[f64], u: &[f64], label: usize, weight: f64, terms: &Terms) -> Vec<f64> {
    let (p, q, log_p) = softmax(&adjusted(logits, label, terms), label);
    let moved: Vec<f64> = u.iter().zip(&terms.scale).map(|(u, scale)| u / scale).collect();
    let mean: f64 = p.iter().zip(&moved).map(|(p, z)| p * z).sum();
    let dp: Vec<f64> = p.iter().zip(&moved).map(|(p, z)| p * (z - mean)).collect();
    let (dq, dlog_p, k) = (-dp[label], moved[label] - mean, terms.focal);
    // q^(k - 1) and q^(k - 2), each 0 where their factor is.
    let power = |factor: f64, exponent: f64| if factor == 0.0 || q == 0.0 { 0.0 } else { factor * q.powf(exponent) };
    let factor = weight * (-q.powf(k) + power(k, k - 1.0) * p[label] * log_p);
    let slope = power(k, k - 1.0);
    let dfactor = -slope * dq
        + power(k * (k - 1.0), k - 2.0) * dq * p[label] * log_p
        + slope * (dp[label] * log_p + p[label] * dlog_p);
    let mut result = vec![0.0; logits.len()];
    for c in 0..logits.len() {
        let (toward, dtoward) = if c == label { (q, dq) } else { (-p[c], -dp[c]) };
        result[c] = (weight * dfactor * toward + factor * dtoward) / terms.scale[c];
    }
    result
}
