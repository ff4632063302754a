//! How well a network fits samples: the loss and the miss, from its outputs, in `f64`.

use sse_sam_core::Loss;
use sse_sam_core::longtail::loss::ClassTerms;

use crate::error::Error;

/// The loss's tables for all classes, as the device has them.
#[derive(Clone, Debug)]
pub struct Tables {
    terms: Vec<ClassTerms>,
    focal: f64,
}

/// Loss and miss of one sample, or their weighted sums over some.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// The loss.
    pub loss: f64,
    /// `1 - p` of the label, by the loss's softmax.
    pub miss: f64,
}

/// How one sample's loss depends on its adjusted logits: see [`Tables::slopes`].
#[derive(Clone, Debug, PartialEq)]
pub struct Slopes {
    /// Softmax of the adjusted logits.
    pub probabilities: Vec<f64>,
    /// Factor of the cross-entropy's own second derivative.
    pub first: f64,
    /// Factor of the cross-entropy's gradient times itself.
    pub second: f64,
}

impl Tables {
    /// Tables of a loss for the training samples of each class.
    ///
    /// # Errors
    /// [`Error::Core`] when the loss's numbers are out of range.
    pub fn new(loss: &Loss, counts: &[u32]) -> Result<Self, Error> {
        let terms = (0..counts.len()).map(|class| loss.terms(counts, class)).collect::<Result<_, _>>()?;
        Ok(Self { terms, focal: loss.focal().into() })
    }

    /// The adjusted logits of a sample with this label.
    fn adjusted(&self, logits: &[f32], label: u32) -> Vec<f64> {
        let one = |(class, (&logit, terms)): (usize, (&f32, &ClassTerms))| {
            let margin = if class == label as usize { f64::from(terms.margin) } else { 0.0 };
            f64::from(logit) / f64::from(terms.scale) + f64::from(terms.shift) - margin
        };
        logits.iter().zip(&self.terms).enumerate().map(one).collect()
    }

    /// `[scale, shift, margin]` of all classes.
    pub fn all(&self) -> [Vec<f32>; 3] {
        let of = |number: fn(&ClassTerms) -> f32| self.terms.iter().map(number).collect::<Vec<_>>();
        [of(|terms| terms.scale), of(|terms| terms.shift), of(|terms| terms.margin)]
    }

    /// The shifts and scales by which a sample with this label is judged, without a margin: `[scale, shift, margin]`.
    pub fn of_label(&self, label: u32) -> [Vec<f32>; 3] {
        let [scale, mut shift, margin] = self.all();
        if let (Some(shift), Some(margin)) = (shift.get_mut(label as usize), margin.get(label as usize)) {
            *shift -= margin;
        }
        [scale, shift, vec![0.0; margin.len()]]
    }

    /// Loss and miss of a sample: `(1 - p)^focal * -log p` and `1 - p`, both without cancellation where `p` is near 1.
    pub fn fit(&self, logits: &[f32], label: u32) -> Fit {
        let (entropy, miss) = entropy(&self.adjusted(logits, label), label as usize);
        Fit { loss: miss.powf(self.focal) * entropy, miss }
    }

    /// The second derivative of a sample's loss in its adjusted logits is
    /// `first * (diag(p) - p p') + second * e e'` with `e = p - onehot(label)`.
    ///
    /// `first = q^k + k q^(k-1) p l` and `second = k q^(k-1) p (2 - l + (k - 1) p l / q)`, `q = 1 - p`, `l` the
    /// cross-entropy, `k` the focal exponent; `l / q` is 1 where `q` is 0.
    pub fn slopes(&self, logits: &[f32], label: u32) -> Slopes {
        let adjusted = self.adjusted(logits, label);
        let most = adjusted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = adjusted.iter().map(|value| (value - most).exp()).sum();
        let probabilities: Vec<f64> = adjusted.iter().map(|value| (value - most).exp() / sum).collect();
        let (l, q) = entropy(&adjusted, label as usize);
        let (k, p) = (self.focal, 1.0 - q);
        if k == 0.0 {
            return Slopes { probabilities, first: 1.0, second: 0.0 };
        }
        let ratio = if q > 0.0 { l / q } else { 1.0 };
        // q^(k-1) l as q^k * (l / q): finite at q = 0 for any k.
        let first = q.powf(k) * (1.0 + k * p * ratio);
        let second =
            k * p * if q > 0.0 || k >= 1.0 { q.powf(k - 1.0) * (2.0 - l + (k - 1.0) * p * ratio) } else { 0.0 };
        Slopes { probabilities, first, second }
    }
}

/// `-log p` and `1 - p` of the label.
fn entropy(adjusted: &[f64], label: usize) -> (f64, f64) {
    let own = adjusted.get(label).copied().unwrap_or(f64::NAN);
    // Of the others relative to the label's: their sum r gives p = 1 / (1 + r).
    let most = adjusted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most - own > 500.0 {
        let sum: f64 = adjusted.iter().map(|value| (value - most).exp()).sum();
        return (most - own + sum.ln(), 1.0);
    }
    let others = adjusted.iter().enumerate().filter(|(class, _)| *class != label);
    let ratio: f64 = others.map(|(_, value)| (value - own).exp()).sum();
    (ratio.ln_1p(), ratio / (1.0 + ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [u32; 3] = [100, 10, 4];

    fn losses() -> [Loss; 5] {
        [
            Loss::CrossEntropy,
            Loss::Focal { gamma: 1.0 },
            Loss::Focal { gamma: 2.5 },
            Loss::VectorScaling { gamma: 0.3, tau: 1.0 },
            Loss::Ldam { max_m: 0.5, scale: 3.0 },
        ]
    }

    #[test]
    fn a_fit_is_the_formula() {
        let logits = [0.5_f32, 2.0, -1.0];
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let p = 2.0_f64.exp() / sum;
        let plain = Tables::new(&Loss::CrossEntropy, &COUNTS).unwrap().fit(&logits, 1);
        assert!((plain.loss + p.ln()).abs() < 1e-15 && (plain.miss - (1.0 - p)).abs() < 1e-15);
        let focal = Tables::new(&Loss::Focal { gamma: 2.5 }, &COUNTS).unwrap().fit(&logits, 1);
        assert!((focal.loss + (1.0 - p).powf(2.5) * p.ln()).abs() < 1e-15);
    }

    #[test]
    fn a_loss_of_almost_nothing_keeps_its_digits_and_a_huge_one_is_finite() {
        let tables = Tables::new(&Loss::CrossEntropy, &COUNTS).unwrap();
        let fit = tables.fit(&[60.0, 0.0, 0.0], 0);
        let expected = 2.0 * (-60.0_f64).exp();
        assert!((fit.loss / expected - 1.0).abs() < 1e-12 && (fit.miss / expected - 1.0).abs() < 1e-12);
        assert_eq!(tables.fit(&[0.0, 3e4, 0.0], 0), Fit { loss: 3e4, miss: 1.0 });
    }

    #[test]
    fn slopes_are_the_second_derivative_of_the_loss() {
        let (logits, step) = ([0.5_f32, 1.25, -1.0], 1.0 / 1024.0);
        for loss in losses() {
            let tables = Tables::new(&loss, &COUNTS).unwrap();
            for label in 0..3 {
                let Slopes { probabilities: p, first, second } = tables.slopes(&logits, label);
                let scale = |class: usize| f64::from(tables.terms[class].scale);
                let residual = |class: usize| p[class] - f64::from(u8::from(class == label as usize));
                for (a, b) in [(0, 0), (0, 1), (1, 1), (2, 0), (2, 2)] {
                    let at = |signs: [f32; 2]| {
                        let mut moved = logits;
                        moved[a] += signs[0] * step;
                        moved[b] += signs[1] * step;
                        tables.fit(&moved, label).loss
                    };
                    let four = at([1.0, 1.0]) - at([1.0, -1.0]) - at([-1.0, 1.0]) + at([-1.0, -1.0]);
                    let found = four / (4.0 * f64::from(step).powi(2)) * scale(a) * scale(b);
                    let diagonal = if a == b { p[a] } else { 0.0 };
                    let expected = first * (diagonal - p[a] * p[b]) + second * residual(a) * residual(b);
                    assert!((found - expected).abs() < 1e-5, "{loss:?}, {label}, {a} {b}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_labels_own_tables_judge_as_the_margins_do() {
        let tables = Tables::new(&Loss::Ldam { max_m: 0.5, scale: 3.0 }, &COUNTS).unwrap();
        let logits = [0.5_f32, 1.25, -1.0];
        for label in 0..3 {
            let [scale, shift, margin] = tables.of_label(label);
            let z = |class: usize| f64::from(logits[class] / scale[class] + shift[class] - margin[class]);
            let sum: f64 = (0..3).map(|class| z(class).exp()).sum();
            assert!((tables.fit(&logits, label).loss - (sum.ln() - z(label as usize))).abs() < 1e-6, "{label}");
        }
    }
}
