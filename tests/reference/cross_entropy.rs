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
