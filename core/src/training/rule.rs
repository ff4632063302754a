//! What a method makes of an epoch: what a sample counts in each group, and how far each group is perturbed.

use crate::error::Error;
use crate::longtail::classes::{focal_share, is_tail};
use crate::memory::Span;
use crate::ops::gather::Row;
use crate::training::method::{Groups, Method};

/// Which classes are tail, where a method tells them from the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    /// Classes with fewer training samples.
    pub eta: u32,
    /// Factor of their samples' losses; 1 in the papers of SSE-SAM, 2 in that of ImbSAM.
    pub weight: f64,
}

/// A method's rule in an epoch: groups with their radii, and what the samples of a class count in each.
///
/// | method    | weight in the first and the second group | radii                                   |
/// |-----------|------------------------------------------|-----------------------------------------|
/// | SGD       | 1                                        | 0                                       |
/// | SAM       | 1                                        | rho                                     |
/// | ImbSAM    | 1 and 0 in the head, 0 and the tail's    | 0, rho                                  |
/// | SSE-SAM   | the same                                 | head_rho in the first stage, 0; tail_rho |
/// | Focal-SAM | `1 - a_c` and `a_c`: see [`focal_share`] | 0, rho                                  |
///
/// Groups of radius 0 are merged: their weights add up in the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule<'a> {
    /// The groups, by their radii.
    pub groups: Groups,
    method: Method,
    counts: &'a [u32],
    samples: u64,
    tail: Tail,
}

impl Method {
    /// The rule of `epoch` of `epochs` for the training samples of each class.
    ///
    /// # Errors
    /// As [`Method::groups`].
    pub fn rule<'a>(&self, counts: &'a [u32], tail: Tail, epoch: u32, epochs: u32) -> Result<Rule<'a>, Error> {
        let samples = counts.iter().map(|&count| u64::from(count)).sum();
        Ok(Rule { groups: self.groups(epoch, epochs)?, method: *self, counts, samples, tail })
    }
}

impl Rule<'_> {
    /// What a sample of `class` counts in each group.
    pub fn weights(&self, class: usize) -> [f64; 2] {
        let count = self.counts.get(class).copied().unwrap_or_default();
        let [first, second] = match self.method {
            Method::Sgd | Method::Sam { .. } => [1.0, 0.0],
            Method::ImbSam { .. } | Method::SseSam { .. } if is_tail(count, self.tail.eta) => [0.0, self.tail.weight],
            Method::ImbSam { .. } | Method::SseSam { .. } => [1.0, 0.0],
            Method::FocalSam { lambda, gamma, .. } => {
                let share = focal_share(count, self.samples, lambda, gamma);
                [1.0 - share, share]
            }
        };
        if self.groups.count() == 1 { [first + second, 0.0] } else { [first, second] }
    }

    /// The factors of the loss of a sample of `class` in a batch of `rows`: the divisor is the whole batch for every
    /// group. `class_weight` is that of deferred re-weighting, or 1.
    pub fn factors(&self, class: usize, class_weight: f64, rows: usize) -> [f32; 2] {
        self.weights(class).map(|weight| (class_weight * weight / rows as f64) as f32)
    }
}

/// How many rows of a batch count in the first group alone, in both, in the second alone, and in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    rows: [usize; 4],
}

impl Tally {
    /// Places of rows: in the first group alone, in both, in the second alone, in none.
    pub const PLACES: usize = 4;

    /// The place of a row with these factors. Where batches pass in pieces, rows lie in the order of their places, so
    /// that those of each group lie together.
    pub fn place(factors: [f32; 2]) -> usize {
        match factors.map(|factor| factor != 0.0) {
            [true, false] => 0,
            [true, true] => 1,
            [false, true] => 2,
            [false, false] => 3,
        }
    }

    /// Counts a row with these factors.
    pub fn add(&mut self, factors: [f32; 2]) {
        if let Some(rows) = self.rows.get_mut(Self::place(factors)) {
            *rows += 1;
        }
    }

    /// Which groups have a row: a group without any adds nothing and costs nothing.
    pub fn present(&self) -> [bool; 2] {
        let [first, both, second, _] = self.rows;
        [first + both > 0, both + second > 0]
    }

    /// The rows of each group in a batch's part of the table, in the order of their places.
    ///
    /// # Errors
    /// [`Error::Bounds`] when the part has fewer rows.
    pub fn parts(&self, table: Span) -> Result<[Span; 2], Error> {
        let [first, both, second, _] = self.rows.map(|rows| rows.saturating_mul(Row::WORDS));
        Ok([table.part(0, first.saturating_add(both))?, table.part(first, both.saturating_add(second))?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [u32; 3] = [70, 20, 10];
    const TAIL: Tail = Tail { eta: 20, weight: 2.0 };
    const SSE: Method = Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma: 0.5 };

    fn weights(method: Method, epoch: u32) -> [[f64; 2]; 3] {
        let rule = method.rule(&COUNTS, TAIL, epoch, 2).unwrap();
        [0, 1, 2].map(|class| rule.weights(class))
    }

    #[test]
    fn a_sample_counts_in_the_groups_of_its_class() {
        assert_eq!(weights(Method::Sgd, 0), [[1.0, 0.0]; 3]);
        assert_eq!(weights(Method::Sam { rho: 0.1 }, 0), [[1.0, 0.0]; 3]);
        let split = [[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]];
        assert_eq!(weights(Method::ImbSam { rho: 0.1 }, 0), split);
        assert_eq!([weights(SSE, 0), weights(SSE, 1)], [split; 2]);
        let focal = weights(Method::FocalSam { rho: 0.1, lambda: 0.5, gamma: 2.0 }, 0);
        let share = |class: usize| 0.5 * (1.0 - f64::from(COUNTS[class]) / 100.0).powi(2);
        for (class, weights) in focal.into_iter().enumerate() {
            assert!(
                (weights[1] - share(class)).abs() < 1e-15 && weights[0] == 1.0 - weights[1],
                "{class}: {weights:?}"
            );
        }
    }

    #[test]
    fn weights_of_merged_groups_add_up() {
        assert_eq!(weights(Method::ImbSam { rho: 0.0 }, 0), [[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]);
        let head_alone = Method::SseSam { head_rho: 0.1, tail_rho: 0.0, gamma: 0.5 };
        assert_eq!(weights(head_alone, 0)[2], [0.0, 2.0]);
        assert_eq!(weights(head_alone, 1)[2], [2.0, 0.0]);
        for gamma in [0.0, 0.3, 1.0, 2.7] {
            assert_eq!(weights(Method::FocalSam { rho: 0.0, lambda: 0.9, gamma }, 0), [[1.0, 0.0]; 3]);
        }
    }

    #[test]
    fn a_factor_is_rounded_once() {
        let rule = Method::ImbSam { rho: 0.1 }.rule(&COUNTS, Tail { eta: 20, weight: 0.7 }, 0, 1).unwrap();
        assert_eq!(rule.factors(2, 1.3, 7), [0.0, (1.3 * 0.7 / 7.0) as f32]);
        assert_eq!(rule.factors(0, 1.3, 7), [(1.3_f64 / 7.0) as f32, 0.0]);
    }

    #[test]
    fn rows_of_each_group_lie_together() {
        let factors = [[0.1, 0.0], [0.1, 0.2], [0.3, 0.1], [0.0, 0.1], [0.0, 0.0]];
        assert_eq!(factors.map(Tally::place), [0, 1, 1, 2, 3]);
        let mut tally = Tally::default();
        assert_eq!(tally.present(), [false; 2]);
        factors.into_iter().for_each(|factors| tally.add(factors));
        assert_eq!(tally.present(), [true; 2]);
        let table = Span::work(100, 5 * Row::WORDS);
        let part = |from: usize, to: usize| table.part(from * Row::WORDS, (to - from) * Row::WORDS).unwrap();
        assert_eq!(tally.parts(table), Ok([part(0, 3), part(1, 4)]));
        assert!(tally.parts(part(0, 3)).is_err());
        for (factors, present) in [([0.1, 0.0], [true, false]), ([0.0, 0.1], [false, true]), ([0.0; 2], [false; 2])] {
            let mut one = Tally::default();
            one.add(factors);
            assert_eq!(one.present(), present);
        }
    }
}
