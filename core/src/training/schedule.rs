//! Learning rates by epoch.

use crate::error::{Error, Quantity};

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule<'a> {
    /// It does not.
    Constant,
    /// `lr * (1 + cos(pi * epoch / epochs)) / 2`.
    Cosine,
    /// Multiplied by `factor` at each epoch listed.
    MultiStep {
        /// First epochs that run at the lower rate.
        milestones: &'a [u32],
        /// What the rate is multiplied by.
        factor: f64,
    },
}

impl Schedule<'_> {
    /// The learning rate of `epoch` (from 0) of `epochs`.
    ///
    /// During the first `warmup` epochs it is `base * (epoch + 1) / warmup`; later ones have the schedule's value for
    /// their own number, not shifted.
    ///
    /// # Errors
    /// [`Error::Range`] when `base` is negative or not finite.
    pub fn learning_rate(&self, base: f64, epoch: u32, epochs: u32, warmup: u32) -> Result<f64, Error> {
        if !(base >= 0.0 && base.is_finite()) {
            return Err(Error::Range {
                what: Quantity::LearningRate,
                low: 0.0,
                high: f32::INFINITY,
                found: base as f32,
            });
        }
        if epoch < warmup {
            return Ok(base * (f64::from(epoch) + 1.0) / f64::from(warmup));
        }
        Ok(match *self {
            Self::Constant => base,
            Self::Cosine => {
                let progress = f64::from(epoch) / f64::from(epochs.max(1));
                base * (1.0 + libm::cos(core::f64::consts::PI * progress)) / 2.0
            }
            Self::MultiStep { milestones, factor } => {
                milestones.iter().filter(|&&milestone| milestone <= epoch).fold(base, |rate, _| rate * factor)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_give_the_rates_pytorch_gives() {
        let rate = |schedule: Schedule, epoch| schedule.learning_rate(0.1, epoch, 4, 0).unwrap();
        assert_eq!([0, 1, 2, 3].map(|epoch| rate(Schedule::Constant, epoch)), [0.1; 4]);
        let cosine = [0, 1, 2, 3].map(|epoch| rate(Schedule::Cosine, epoch));
        for (found, expected) in cosine.iter().zip([0.1, 0.085_355_339_059_327_38, 0.05, 0.014_644_660_940_672_627]) {
            assert!((found - expected).abs() < 1e-16, "{found} {expected}");
        }
        let steps = Schedule::MultiStep { milestones: &[1, 3], factor: 0.1 };
        let rates = [0, 1, 2, 3].map(|epoch| rate(steps, epoch));
        for (found, expected) in rates.iter().zip([0.1, 0.01, 0.01, 0.001]) {
            assert!((found - expected).abs() < 1e-16, "{found} {expected}");
        }
    }

    #[test]
    fn warm_up_does_not_shift_the_schedule() {
        let rate = |epoch| Schedule::Cosine.learning_rate(0.1, epoch, 4, 2).unwrap();
        assert_eq!(rate(0), 0.05);
        assert_eq!(rate(1), 0.1);
        assert_eq!(rate(2), Schedule::Cosine.learning_rate(0.1, 2, 4, 0).unwrap());
    }

    #[test]
    fn a_rate_of_zero_stays_zero() {
        let steps = Schedule::MultiStep { milestones: &[1], factor: 0.1 };
        for schedule in [Schedule::Constant, Schedule::Cosine, steps] {
            for (epoch, warmup) in [(0, 0), (2, 0), (0, 3)] {
                assert_eq!(schedule.learning_rate(0.0, epoch, 4, warmup), Ok(0.0), "{schedule:?}");
            }
        }
    }

    #[test]
    fn a_run_of_no_epochs_has_the_rate_of_its_first() {
        let steps = Schedule::MultiStep { milestones: &[1], factor: 0.1 };
        for schedule in [Schedule::Constant, Schedule::Cosine, steps] {
            assert_eq!(schedule.learning_rate(0.1, 0, 0, 0), Ok(0.1), "{schedule:?}");
        }
        // Also with a single epoch, at which the cosine is still 1.
        assert_eq!(Schedule::Cosine.learning_rate(0.1, 0, 1, 0), Ok(0.1));
        assert_eq!(Schedule::Cosine.learning_rate(0.1, 1, 1, 0), Ok(0.0));
    }

    #[test]
    fn a_milestone_counts_from_its_own_epoch_on() {
        let rate = |milestones, epoch| Schedule::MultiStep { milestones, factor: 0.5 }.learning_rate(1.0, epoch, 9, 0);
        assert_eq!([rate(&[], 8), rate(&[3], 2), rate(&[3], 3)], [Ok(1.0), Ok(1.0), Ok(0.5)]);
        assert_eq!([rate(&[0], 0), rate(&[2, 2], 2), rate(&[9, 1], 3)], [Ok(0.5), Ok(0.25), Ok(0.5)]);
    }

    #[test]
    fn a_warm_up_reaches_the_rate_in_its_last_epoch() {
        let rate = |epoch| Schedule::Constant.learning_rate(0.8, epoch, 9, 4).unwrap();
        assert_eq!([0, 1, 2, 3, 4].map(rate), [0.2, 0.4, 0.8 * 3.0 / 4.0, 0.8, 0.8]);
    }

    #[test]
    fn negative_and_non_finite_rates_are_refused() {
        for base in [-0.1, f64::NAN, f64::INFINITY] {
            let refused = Schedule::Constant.learning_rate(base, 0, 1, 0);
            assert!(matches!(refused, Err(Error::Range { what: Quantity::LearningRate, .. })), "{base}");
        }
    }
}
