//! How well a network's confidence agrees with how often it is right.

/// Bins of equal width over the confidences, as is usual.
const BINS: usize = 15;

/// Predictions by confidence, for the expected calibration error (ECE; Guo et al. 2017, On Calibration of Modern Neural
/// Networks): with `n` samples in all, the mean of `|right_b - confidence_b|` over the bins `b`, each weighed by its samples.
///
/// The confidence of a prediction is its softmax probability. Bin `b` of 15 holds those in `(b / 15, (b + 1) / 15]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    bins: [Bin; BINS],
}

/// Sums over the predictions of a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    samples: u32,
    right: u32,
    confidence: f64,
}

impl Calibration {
    /// Counts a sample whose largest logit is that of `prediction`.
    pub fn add(&mut self, logits: &[f32], prediction: usize, is_right: bool) {
        let confidence = confidence(logits, prediction);
        // Above 0 as a largest probability; a bin's upper bound belongs to it.
        let number = (confidence * BINS as f64).ceil() as usize;
        let bin = &mut self.bins[number.clamp(1, BINS) - 1];
        bin.samples += 1;
        bin.right += u32::from(is_right);
        bin.confidence += confidence;
    }

    /// The expected calibration error in percent; none without samples.
    pub fn error(&self) -> Option<f64> {
        let samples: u32 = self.bins.iter().map(|bin| bin.samples).sum();
        let gaps = self.bins.iter().map(|bin| (f64::from(bin.right) - bin.confidence).abs());
        (samples > 0).then(|| 100.0 * gaps.sum::<f64>() / f64::from(samples))
    }
}

/// The softmax probability of the class with the largest logit. By `libm`: the same bits on every machine.
fn confidence(logits: &[f32], prediction: usize) -> f64 {
    let largest = f64::from(logits[prediction]);
    1.0 / logits.iter().map(|&logit| libm::exp(f64::from(logit) - largest)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of two classes whose first has this probability.
    fn pair(probability: f64) -> [f32; 2] {
        [(probability / (1.0 - probability)).ln() as f32, 0.0]
    }

    #[test]
    fn the_error_is_the_mean_gap_of_the_bins() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.error(), None);
        // Two of confidence 0.9, one right: a gap of 0.8 in sum; four of 0.6, all right: 1.6. Over six samples.
        for is_right in [true, false] {
            calibration.add(&pair(0.9), 0, is_right);
        }
        for _ in 0..4 {
            calibration.add(&pair(0.6), 0, true);
        }
        assert!((calibration.error().unwrap() - 100.0 * 2.4 / 6.0).abs() < 1e-5, "{:?}", calibration.error());
    }

    #[test]
    fn gaps_of_one_bin_cancel_and_those_of_two_do_not() {
        let of = |confidences: [f64; 2]| {
            let mut calibration = Calibration::default();
            calibration.add(&pair(confidences[0]), 0, true);
            calibration.add(&pair(confidences[1]), 0, false);
            calibration.error().unwrap()
        };
        // Bin 8 of those from 0 ends at 0.6.
        assert!((of([0.55, 0.59]) - 100.0 * 0.14 / 2.0).abs() < 1e-4);
        assert!((of([0.59, 0.61]) - 100.0 * (0.41 + 0.61) / 2.0).abs() < 1e-4);
        // And 8 begins at 0.5333.
        assert!((of([0.52, 0.55]) - 100.0 * (0.48 + 0.55) / 2.0).abs() < 1e-4);
    }

    #[test]
    fn a_sure_prediction_lies_in_the_last_bin() {
        let mut calibration = Calibration::default();
        calibration.add(&[1000.0, 0.0, -1000.0], 0, true);
        assert_eq!((calibration.bins[BINS - 1].samples, calibration.error()), (1, Some(0.0)));
    }
}
