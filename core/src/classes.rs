//! Long-tailed class counts, the head/tail split, and the many/medium/few shots.

use crate::error::Error;

/// How the number of samples falls from the first class to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `floor(largest * imbalance^(-c / (classes - 1)))`.
    Exponential,
    /// The first half of the classes (rounded down) `largest`, the rest `floor(largest / imbalance)`.
    Step,
}

/// The number of samples of each class in a long-tailed subset.
///
/// | argument    | shape       | meaning                                                                      |
/// |-------------|-------------|------------------------------------------------------------------------------|
/// | `counts`    | `[classes]` | overwritten                                                                  |
/// | `largest`   | scalar      | samples of the first class: what the smallest class has, so that all suffice |
/// | `imbalance` | scalar      | first class over last; 100 and 0.01 mean the same                            |
///
/// Computed in `f64` and rounded down.
///
/// # Errors
/// [`Error::Range`] when `imbalance` is not a positive number, [`Error::EmptyClass`] when a class is left without
/// samples.
///
/// # Source
/// Cao et al. 2019 (LDAM), section 4; the same rule as in the public code of SSE-SAM.
pub fn long_tail_counts(counts: &mut [u32], largest: u32, imbalance: f64, profile: Profile) -> Result<(), Error> {
    if !(imbalance > 0.0 && imbalance.is_finite()) {
        return Err(Error::Range {
            what: "imbalance",
            low: f32::MIN_POSITIVE,
            high: f32::INFINITY,
            found: imbalance as f32,
        });
    }
    let factor = if imbalance < 1.0 { 1.0 / imbalance } else { imbalance };
    let half = counts.len() / 2;
    let last = counts.len().saturating_sub(1).max(1) as f64;
    for (class, count) in counts.iter_mut().enumerate() {
        let exact = match profile {
            Profile::Exponential => f64::from(largest) * libm::pow(factor, -(class as f64) / last),
            Profile::Step if class < half => f64::from(largest),
            Profile::Step => f64::from(largest) / factor,
        };
        *count = libm::floor(exact) as u32;
        if *count == 0 {
            return Err(Error::EmptyClass { class });
        }
    }
    Ok(())
}

/// Whether a class belongs to the tail: its training count is below `eta`, strictly.
pub fn is_tail(count: u32, eta: u32) -> bool {
    count < eta
}

/// How many training samples a class has, in three steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shot {
    /// More than [`Shots::many`].
    Many,
    /// In between.
    Medium,
    /// Fewer than [`Shots::few`].
    Few,
}

/// The bounds between many, medium and few shots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shots {
    /// A class with more training samples than this is *many*.
    pub many: u32,
    /// A class with fewer training samples than this is *few*.
    pub few: u32,
}

impl Shots {
    /// The shot of a class with `count` training samples.
    pub fn of(self, count: u32) -> Shot {
        if count > self.many {
            Shot::Many
        } else if count < self.few {
            Shot::Few
        } else {
            Shot::Medium
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<const C: usize>(largest: u32, imbalance: f64) -> [u32; C] {
        let mut counts = [0; C];
        long_tail_counts(&mut counts, largest, imbalance, Profile::Exponential).unwrap();
        counts
    }

    #[test]
    fn cifar_and_digits_have_the_published_counts() {
        assert_eq!(counts(5000, 100.0), [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]);
        assert_eq!(counts::<100>(500, 100.0).iter().sum::<u32>(), 10_847);
        assert_eq!(counts(376, 50.0), [376, 243, 157, 102, 66, 42, 27, 17, 11, 7]);
    }

    #[test]
    fn an_imbalance_and_its_inverse_mean_the_same() {
        assert_eq!(counts::<10>(5000, 100.0), counts::<10>(5000, 0.01));
    }

    #[test]
    fn the_step_profile_cuts_the_second_half() {
        let mut counts = [0; 5];
        long_tail_counts(&mut counts, 95, 10.0, Profile::Step).unwrap();
        assert_eq!(counts, [95, 95, 9, 9, 9]);
    }

    #[test]
    fn bad_imbalances_are_refused() {
        let mut counts = [0; 3];
        for imbalance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = long_tail_counts(&mut counts, 10, imbalance, Profile::Exponential);
            assert!(matches!(refused, Err(Error::Range { .. })), "{imbalance}");
        }
        let emptied = long_tail_counts(&mut counts, 10, 100.0, Profile::Exponential);
        assert_eq!(emptied, Err(Error::EmptyClass { class: 2 }));
    }

    #[test]
    fn bounds_of_the_split_and_the_shots_are_strict() {
        assert!(is_tail(39, 40) && !is_tail(40, 40));
        let shots = Shots { many: 100, few: 20 };
        assert_eq!(
            [101, 100, 20, 19].map(|count| shots.of(count)),
            [Shot::Many, Shot::Medium, Shot::Medium, Shot::Few]
        );
    }
}
