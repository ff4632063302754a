//! How far a loss really falls along a direction: evaluated, not extrapolated.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Lengths that are tried first: powers of two.
const POWERS: std::ops::RangeInclusive<i32> = -10..=4;

/// Evaluations that narrow the best length down, to a factor of 1.04.
const NARROWING: usize = 7;

/// The largest fall of a loss that was found along a direction of length 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    /// How far the loss is below that at the weights; 0 when nothing was found.
    pub fall: f64,
    /// How far along, below 0 against the direction.
    pub length: f64,
}

/// The largest fall of `loss`, a function of how far one goes along a direction, from `here`: over lengths of 2^-10 to 2^4,
/// then between the neighbours of the best, by sections of a golden ratio on a logarithmic scale. `signs` says which ways.
///
/// # Errors
/// What `loss` reports.
pub fn deepest(here: f64, signs: &[f64], mut loss: impl FnMut(f64) -> Result<f64, Error>) -> Result<Drop, Error> {
    let mut best = Drop { fall: 0.0, length: 0.0 };
    let mut fall = |length: f64| {
        let fall = here - loss(length)?;
        Ok::<f64, Error>(if fall.is_finite() { fall } else { f64::NEG_INFINITY })
    };
    for &sign in signs {
        for power in POWERS {
            let length = sign * 2_f64.powi(power);
            let found = Drop { fall: fall(length)?, length };
            if found.fall > best.fall {
                best = found;
            }
        }
    }
    if best.length == 0.0 {
        return Ok(best);
    }
    let sign = best.length.signum();
    let middle = best.length.abs().log2();
    let golden = (5_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (middle - 1.0, middle + 1.0);
    let mut inner = [high - golden * (high - low), low + golden * (high - low)];
    let mut at = |power: f64, best: &mut Drop| {
        let length = sign * power.exp2();
        let found = Drop { fall: fall(length)?, length };
        if found.fall > best.fall {
            *best = found;
        }
        Ok::<f64, Error>(found.fall)
    };
    let mut falls = [at(inner[0], &mut best)?, at(inner[1], &mut best)?];
    for _ in 2..NARROWING {
        if falls[0] > falls[1] {
            high = inner[1];
            inner = [high - golden * (high - low), inner[0]];
            falls = [at(inner[0], &mut best)?, falls[0]];
        } else {
            low = inner[0];
            inner = [inner[1], low + golden * (high - low)];
            falls = [falls[1], at(inner[1], &mut best)?];
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_point_of_a_parabola_is_found_on_its_side() {
        for lowest in [0.3, -1.7, 0.0021, -11.0] {
            let drop = deepest(lowest * lowest, &[1.0, -1.0], |length| Ok((length - lowest).powi(2))).unwrap();
            // A length that is 4 % off costs 0.16 % of the fall.
            assert!((drop.fall / (lowest * lowest) - 1.0).abs() < 2e-3, "{lowest}: {drop:?}");
            assert!((drop.length / lowest - 1.0).abs() < 0.05, "{lowest}: {drop:?}");
        }
    }

    #[test]
    fn only_the_ways_that_are_named_are_gone() {
        let drop = deepest(0.0, &[1.0], Ok).unwrap();
        assert_eq!(drop, Drop { fall: 0.0, length: 0.0 });
        let drop = deepest(0.0, &[1.0, -1.0], Ok).unwrap();
        assert!(drop.fall > 16.0 && drop.length == -drop.fall, "{drop:?}");
    }

    #[test]
    fn what_is_not_finite_is_no_fall() {
        let loss = |length: f64| Ok(if length > 0.1 { f64::NAN } else { -length });
        let drop = deepest(0.0, &[1.0, -1.0], loss).unwrap();
        assert!(drop.fall <= 0.1 && drop.fall > 0.06, "{drop:?}");
        assert_eq!(deepest(0.0, &[1.0], |_| Ok(f64::NEG_INFINITY)).unwrap().fall, 0.0);
    }
}
