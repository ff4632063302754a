//! The tables that turn one adjusted cross-entropy into the losses of long-tailed classification.

use crate::error::{Error, Quantity};

/// A loss by its name in the literature; [`Loss::terms`] makes its tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Plain softmax cross-entropy.
    CrossEntropy,
    /// Label-distribution-aware margins (Cao et al. 2019): `margin_c = s * max_m * (n_min / n_c)^(1/4)`. As in the
    /// public code of SSE-SAM, `s` multiplies the margins and not the logits, whose layer is an ordinary linear one.
    Ldam {
        /// Largest margin, that of the smallest class, before scaling.
        max_m: f64,
        /// Factor `s` of the margins.
        scale: f64,
    },
    /// Logit adjustment (Menon et al. 2021): `shift_c = tau * log pi_c`.
    LogitAdjustment {
        /// Factor of the log prior.
        tau: f64,
    },
    /// Vector scaling (Kini et al. 2021): `scale_c = (n_max / n_c)^gamma`, `shift_c = tau * log pi_c`.
    VectorScaling {
        /// Exponent of the multiplicative part.
        gamma: f64,
        /// Factor of the log prior.
        tau: f64,
    },
    /// Balanced softmax (Ren et al. 2020): `shift_c = log n_c`.
    BalancedSoftmax,
    /// Focal loss (Lin et al. 2017): factor `(1 - p)^gamma`.
    Focal {
        /// The exponent.
        gamma: f64,
    },
}

/// One class's entries in the three tables of [`crate::Terms`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassTerms {
    /// Divides the logit.
    pub scale: f32,
    /// Is added to the logit.
    pub shift: f32,
    /// Is subtracted from the logit when the class is the label.
    pub margin: f32,
}

impl Loss {
    /// The entries of `class` for the training counts `counts`, made in `f64` and rounded once.
    ///
    /// A class without training samples counts as one with a single sample, so that every entry is finite.
    ///
    /// # Errors
    /// [`Error::Label`] when there is no such class, [`Error::Range`] when a parameter of the loss is negative or not
    /// finite in `f32`, or so large that an entry is not.
    pub fn terms(&self, counts: &[u32], class: usize) -> Result<ClassTerms, Error> {
        self.check()?;
        let own = counts.get(class).ok_or(Error::Label { label: class as f32, classes: counts.len() })?;
        let count = f64::from((*own).max(1));
        let total = counts.iter().map(|&count| f64::from(count.max(1))).sum::<f64>();
        let largest = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
        let smallest = f64::from(counts.iter().copied().min().unwrap_or(1).max(1));
        let log_prior = libm::log(count / total);
        let (scale, shift, margin) = match *self {
            Self::CrossEntropy | Self::Focal { .. } => (1.0, 0.0, 0.0),
            Self::Ldam { max_m, scale } => (1.0, 0.0, scale * max_m * libm::pow(smallest / count, 0.25)),
            Self::LogitAdjustment { tau } => (1.0, tau * log_prior, 0.0),
            Self::VectorScaling { gamma, tau } => (libm::pow(largest / count, gamma), tau * log_prior, 0.0),
            Self::BalancedSoftmax => (1.0, libm::log(count), 0.0),
        };
        let terms = ClassTerms { scale: scale as f32, shift: shift as f32, margin: margin as f32 };
        match [terms.scale, terms.shift, terms.margin].into_iter().find(|entry| !entry.is_finite()) {
            Some(found) => {
                let what = Quantity::LossTable;
                Err(Error::Range { what, low: f32::MIN, high: f32::INFINITY, found })
            }
            None => Ok(terms),
        }
    }

    /// The exponent of the focal factor, 0 for none.
    pub fn focal(&self) -> f32 {
        if let Self::Focal { gamma } = *self { gamma as f32 } else { 0.0 }
    }

    fn check(&self) -> Result<(), Error> {
        let numbers = match *self {
            Self::CrossEntropy | Self::BalancedSoftmax => return Ok(()),
            Self::Ldam { max_m, scale } => [(Quantity::LdamMargin, max_m), (Quantity::LdamScale, scale)],
            Self::LogitAdjustment { tau } => [(Quantity::Tau, tau), (Quantity::Tau, tau)],
            Self::VectorScaling { gamma, tau } => [(Quantity::VectorScalingGamma, gamma), (Quantity::Tau, tau)],
            Self::Focal { gamma } => [(Quantity::FocalGamma, gamma), (Quantity::FocalGamma, gamma)],
        };
        match numbers.into_iter().find(|(_, number)| !(*number >= 0.0 && (*number as f32).is_finite())) {
            Some((what, found)) => Err(Error::Range { what, low: 0.0, high: f32::INFINITY, found: found as f32 }),
            None => Ok(()),
        }
    }
}

/// The class weights of deferred re-weighting, `(1 - b) / (1 - b^n_c)` with `b` 0.9999, scaled so that those of all
/// classes sum to their number. A class without training samples has weight 0.
///
/// # Source
/// Cui et al. 2019 (class-balanced loss), eq. 5; deferred by Cao et al. 2019.
pub fn deferred_class_weights(counts: &[u32]) -> impl Iterator<Item = f64> {
    let weight = |count: u32| if count == 0 { 0.0 } else { 1e-4 / (1.0 - libm::pow(0.9999, f64::from(count))) };
    let total = counts.iter().map(|&count| weight(count)).sum::<f64>();
    counts.iter().map(move |&count| if total > 0.0 { weight(count) * counts.len() as f64 / total } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [u32; 3] = [100, 10, 1];

    fn weights(counts: &[u32; 3]) -> [f64; 3] {
        let mut weights = deferred_class_weights(counts);
        [0; 3].map(|_| weights.next().unwrap())
    }

    fn terms(loss: Loss) -> [ClassTerms; 3] {
        [0, 1, 2].map(|class| loss.terms(&COUNTS, class).unwrap())
    }

    #[test]
    fn tables_follow_the_formulas() {
        let ldam = terms(Loss::Ldam { max_m: 0.5, scale: 30.0 });
        assert_eq!(ldam[2], ClassTerms { scale: 1.0, shift: 0.0, margin: 15.0 });
        assert!((ldam[0].margin - 15.0 * 0.01f32.powf(0.25)).abs() < 1e-5);
        let adjusted = terms(Loss::LogitAdjustment { tau: 2.0 });
        assert!((adjusted[1].shift - 2.0 * (10.0f32 / 111.0).ln()).abs() < 1e-6);
        let scaled = terms(Loss::VectorScaling { gamma: 0.5, tau: 0.0 });
        assert_eq!(scaled.map(|term| term.scale), [1.0, 10.0f32.sqrt(), 10.0]);
        let both = terms(Loss::VectorScaling { gamma: 0.5, tau: 2.0 });
        assert_eq!(both[1], ClassTerms { scale: 10.0f32.sqrt(), shift: adjusted[1].shift, margin: 0.0 });
        assert_eq!(adjusted[1], ClassTerms { scale: 1.0, shift: adjusted[1].shift, margin: 0.0 });
        assert!((terms(Loss::BalancedSoftmax)[0].shift - 100.0f32.ln()).abs() < 1e-6);
        assert_eq!([Loss::Focal { gamma: 2.0 }.focal(), Loss::CrossEntropy.focal()], [2.0, 0.0]);
    }

    #[test]
    fn deferred_weights_sum_to_the_number_of_classes_and_favour_the_tail() {
        let weights = weights(&COUNTS);
        assert!((weights.iter().sum::<f64>() - 3.0).abs() < 1e-12);
        assert!(weights[0] < weights[1] && weights[1] < weights[2]);
    }

    /// Every loss that has parameters, with one of them replaced.
    fn with(number: f64) -> [(Quantity, Loss); 6] {
        [
            (Quantity::LdamMargin, Loss::Ldam { max_m: number, scale: 30.0 }),
            (Quantity::LdamScale, Loss::Ldam { max_m: 0.5, scale: number }),
            (Quantity::Tau, Loss::LogitAdjustment { tau: number }),
            (Quantity::VectorScalingGamma, Loss::VectorScaling { gamma: number, tau: 1.0 }),
            (Quantity::Tau, Loss::VectorScaling { gamma: 0.3, tau: number }),
            (Quantity::FocalGamma, Loss::Focal { gamma: number }),
        ]
    }

    #[test]
    fn every_parameter_must_be_finite_and_not_negative() {
        for bad in [-0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            for (name, loss) in with(bad) {
                let refused = loss.terms(&COUNTS, 0);
                assert!(matches!(refused, Err(Error::Range { what, .. }) if what == name), "{loss:?}: {refused:?}");
            }
        }
    }

    #[test]
    fn parameters_that_make_an_entry_infinite_are_refused() {
        let large = [
            Loss::Ldam { max_m: 1e20, scale: 1e20 },
            Loss::VectorScaling { gamma: 20.0, tau: 0.0 },
            Loss::LogitAdjustment { tau: 3e38 },
        ];
        for (loss, class) in large.into_iter().zip([0, 2, 2]) {
            let refused = loss.terms(&COUNTS, class).unwrap_err();
            assert!(matches!(refused, Error::Range { what: Quantity::LossTable, .. }), "{refused:?}");
        }
    }

    #[test]
    fn a_parameter_of_zero_is_plain_cross_entropy() {
        let plain = ClassTerms { scale: 1.0, shift: 0.0, margin: 0.0 };
        for class in 0..3 {
            for (_, loss) in with(0.0) {
                // Where there are two parameters, one is zero here: the other one's part is compared above.
                let loss = if let Loss::VectorScaling { .. } = loss {
                    Loss::VectorScaling { gamma: 0.0, tau: 0.0 }
                } else {
                    loss
                };
                assert_eq!(loss.terms(&COUNTS, class), Ok(plain), "{loss:?}");
            }
            assert_eq!(Loss::CrossEntropy.terms(&COUNTS, class), Ok(plain));
        }
    }

    #[test]
    fn a_class_that_is_none_is_refused() {
        assert_eq!(Loss::CrossEntropy.terms(&COUNTS, 3), Err(Error::Label { label: 3.0, classes: 3 }));
        assert_eq!(Loss::BalancedSoftmax.terms(&[], 0), Err(Error::Label { label: 0.0, classes: 0 }));
    }

    #[test]
    fn tables_of_a_class_without_samples_are_those_of_a_single_one() {
        let (empty, single) = ([100, 0, 10], [100, 1, 10]);
        for loss in with(0.5).map(|(_, loss)| loss).into_iter().chain([Loss::BalancedSoftmax, Loss::CrossEntropy]) {
            for class in 0..3 {
                let found = loss.terms(&empty, class).unwrap();
                assert_eq!(Ok(found), loss.terms(&single, class), "{loss:?}, class {class}");
                assert!([found.scale, found.shift, found.margin].iter().all(|entry| entry.is_finite()));
            }
        }
        let plain = ClassTerms { scale: 1.0, shift: 0.0, margin: 0.0 };
        assert_eq!(Loss::BalancedSoftmax.terms(&[0], 0), Ok(plain));
        assert_eq!(Loss::VectorScaling { gamma: 0.3, tau: 1.0 }.terms(&[0], 0), Ok(plain));
    }

    #[test]
    fn a_class_without_samples_weighs_nothing_and_the_others_sum_to_the_number_of_classes() {
        let weights = weights(&[100, 0, 10]);
        assert_eq!(weights[1], 0.0);
        assert!((weights.iter().sum::<f64>() - 3.0).abs() < 1e-12, "{weights:?}");
        assert!(0.0 < weights[0] && weights[0] < weights[2]);
        assert!(deferred_class_weights(&[0, 0]).eq([0.0, 0.0]));
    }

    #[test]
    fn deferred_weights_follow_the_formula() {
        let weight = |count: i32| 1e-4 / (1.0 - 0.9999f64.powi(count));
        let total = weight(100) + weight(10) + weight(1);
        for (class, count) in [100, 10, 1].into_iter().enumerate() {
            let (found, expected) = (weights(&COUNTS)[class], 3.0 * weight(count) / total);
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        }
    }
}
