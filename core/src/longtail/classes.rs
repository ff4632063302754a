//! Long-tailed class counts, the head/tail split, and the many/medium/few shots.

use crate::error::{Error, Quantity};

/// What of a sample's loss Focal-SAM perturbs: `lambda * (1 - n_c / N)^gamma`, `n_c` training samples of its class among
/// `N`. So the rare classes are smoothed most.
///
/// # Source
/// Li et al. 2025 (Focal-SAM); there `lambda` may be above 1, where the rest `1 - share` could be negative.
pub fn focal_share(count: u32, samples: u64, lambda: f64, gamma: f64) -> f64 {
    let others = 1.0 - f64::from(count) / samples.max(1) as f64;
    lambda * libm::pow(others, gamma)
}

/// How the number of samples falls from the first class to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `largest * imbalance^(-c / (classes - 1))`, as a whole number.
    Exponential,
    /// The first half of the classes (rounded down) `largest`, the rest `largest / imbalance`, as a whole number.
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
/// Computed in `f64`. A value counts as the integer that it lies within 1e-9 (relative) of, else it is rounded down:
/// 98 samples at imbalance 49 end in 2, though `98 * 49^-1` is less than 2 in `f64`, and 5,000 at 0.03 in 150.
/// A single class has `largest` samples in the exponential profile.
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
            what: Quantity::Imbalance,
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
        *count = whole(exact);
        if *count == 0 {
            return Err(Error::EmptyClass { class });
        }
    }
    Ok(())
}

/// The integer that `exact`, a number of samples, lies within 1e-9 (relative) of, else the next one below.
fn whole(exact: f64) -> u32 {
    let nearest = libm::round(exact);
    let counts = libm::fabs(exact - nearest) <= 1e-9 * nearest;
    (if counts { nearest } else { libm::floor(exact) }) as u32
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

    /// The last class's count in either profile.
    fn last(largest: u32, imbalance: f64) -> [u32; 2] {
        [Profile::Exponential, Profile::Step].map(|profile| {
            let mut counts = [0; 4];
            long_tail_counts(&mut counts, largest, imbalance, profile).unwrap();
            counts[3]
        })
    }

    #[test]
    fn a_value_that_rounding_left_below_an_integer_counts_as_it() {
        for (largest, imbalance, expected) in
            [(98, 49.0, 2), (98, 98.0, 1), (5000, 0.03, 150), (500, 0.03, 15), (98, 1.0 / 49.0, 2)]
        {
            assert_eq!(last(largest, imbalance), [expected; 2], "{largest} at {imbalance}");
        }
    }

    #[test]
    fn every_whole_ratio_ends_in_its_quotient_either_way_round() {
        for imbalance in 1..=1000 {
            for quotient in [1, 2, 3, 7, 50, 997] {
                let largest = imbalance * quotient;
                for given in [f64::from(imbalance), 1.0 / f64::from(imbalance)] {
                    assert_eq!(last(largest, given), [quotient; 2], "{largest} at {given}");
                }
                if quotient > 1 {
                    // One sample less is rounded down.
                    let below = last(largest - 1, f64::from(imbalance));
                    assert_eq!(below, [quotient - 1; 2], "{largest} - 1 at {imbalance}");
                }
            }
        }
    }

    #[test]
    fn classes_in_between_count_as_the_integer_beside_them_too() {
        // 1000 * 1000^(-1/3) and 1000 * 1000^(-2/3).
        assert_eq!(counts(1000, 1000.0), [1000, 100, 10, 1]);
        assert_eq!(counts(1024, 1024.0), [1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1]);
    }

    #[test]
    fn a_value_counts_as_an_integer_within_a_billionth_of_it_and_no_further() {
        assert_eq!([2.0 - 1.9e-9, 2.0 + 1.9e-9, 2.0 - 2.1e-9, 1.5, 1.999].map(whole), [2, 2, 1, 1, 1]);
        assert_eq!([150.0 - 1.4e-7, 150.0 - 1.6e-7].map(whole), [150, 149]);
        assert_eq!([0.0, 1e-12, 0.999_999_998, 0.999_999_999_5].map(whole), [0, 0, 0, 1]);
    }

    #[test]
    fn one_class_alone_keeps_all_of_its_samples_in_the_exponential_profile() {
        assert_eq!(counts(98, 49.0), [98]);
        let mut counts = [0];
        long_tail_counts(&mut counts, 98, 49.0, Profile::Step).unwrap();
        assert_eq!(counts, [2], "half of one class, rounded down, is none");
        assert_eq!(long_tail_counts(&mut [], 98, 49.0, Profile::Step), Ok(()));
    }

    #[test]
    fn a_balanced_subset_is_one_of_imbalance_one() {
        for profile in [Profile::Exponential, Profile::Step] {
            let mut counts = [0; 3];
            long_tail_counts(&mut counts, u32::MAX, 1.0, profile).unwrap();
            assert_eq!(counts, [u32::MAX; 3]);
        }
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
        // Its reciprocal is infinite.
        for profile in [Profile::Exponential, Profile::Step] {
            let emptied = long_tail_counts(&mut counts, 10, 1e-310, profile);
            assert_eq!(emptied, Err(Error::EmptyClass { class: 1 }));
        }
        assert_eq!(long_tail_counts(&mut [0], 0, 1.0, Profile::Step), Err(Error::EmptyClass { class: 0 }));
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
