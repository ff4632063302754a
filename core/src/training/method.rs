//! Methods: which groups a batch is split into, and how far each is perturbed.

use crate::error::{Error, Quantity};

/// A training method: which groups a batch is split into, and how far each is perturbed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// One group, no perturbation.
    Sgd,
    /// One group, perturbed by `rho` (Foret et al. 2021).
    Sam {
        /// Radius.
        rho: f64,
    },
    /// Head unperturbed, tail perturbed by `rho` (Zhou et al. 2023).
    ImbSam {
        /// Radius of the tail.
        rho: f64,
    },
    /// Head and tail perturbed in the first stage, the tail alone in the second (Lyu et al. 2025).
    SseSam {
        /// Radius of the head while `epoch < gamma * epochs`.
        head_rho: f64,
        /// Radius of the tail throughout.
        tail_rho: f64,
        /// Share of the epochs that form the first stage, in `0..=1`.
        gamma: f64,
    },
    /// Every sample counts in both groups, the more in the one that is perturbed the rarer its class is (Li et al. 2025):
    /// see [`focal_share`](crate::longtail::classes::focal_share).
    FocalSam {
        /// Radius of the second group.
        rho: f64,
        /// The largest share of a loss that is perturbed, in `0..=1`.
        lambda: f64,
        /// How fast the share falls with the frequency of a class; 0 for the same share everywhere.
        gamma: f64,
    },
}

impl Method {
    /// The stage `epoch` (from 0) of `epochs` belongs to: 1 or 2 for SSE-SAM, always 1 for the others.
    pub fn stage(&self, epoch: u32, epochs: u32) -> u32 {
        match *self {
            Self::SseSam { gamma, .. } if f64::from(epoch) >= gamma * f64::from(epochs) => 2,
            _ => 1,
        }
    }

    /// Whether it tells the tail from the head: a sample then counts in one group alone.
    pub const fn has_tail(&self) -> bool {
        matches!(self, Self::ImbSam { .. } | Self::SseSam { .. })
    }

    /// The groups of `epoch` of `epochs`. Groups of radius 0 are merged.
    ///
    /// # Errors
    /// [`Error::Range`] when a number is negative or not finite, or SSE-SAM's gamma or Focal-SAM's lambda above 1.
    // In line: a program whose method is known links nothing of the others.
    #[inline(always)]
    pub fn groups(&self, epoch: u32, epochs: u32) -> Result<Groups, Error> {
        let (head, tail) = match *self {
            Self::Sgd => (0.0, None),
            Self::Sam { rho } => (radius(Quantity::Rho, rho)?, None),
            Self::ImbSam { rho } => (0.0, Some(radius(Quantity::Rho, rho)?)),
            Self::FocalSam { rho, lambda, gamma } => {
                share(Quantity::FocalSamLambda, lambda)?;
                radius(Quantity::FocalSamGamma, gamma)?;
                (0.0, Some(radius(Quantity::Rho, rho)?))
            }
            Self::SseSam { head_rho, tail_rho, gamma } => {
                share(Quantity::Gamma, gamma)?;
                let head = radius(Quantity::HeadRho, head_rho)?;
                (if self.stage(epoch, epochs) == 1 { head } else { 0.0 }, Some(radius(Quantity::TailRho, tail_rho)?))
            }
        };
        Ok(Groups { head, tail: tail.filter(|&tail| tail > 0.0 || head > 0.0) })
    }

    /// The groups of the hungriest epoch of a run, however long it is and becomes: what to plan memory for.
    ///
    /// # Errors
    /// As [`Method::groups`].
    pub fn largest(&self) -> Result<Groups, Error> {
        // A single epoch belongs to the first stage, if there is one: the second perturbs no more groups.
        self.groups(0, 1)
    }
}

fn share(what: Quantity, found: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&found) {
        Ok(())
    } else {
        Err(Error::Range { what, low: 0.0, high: 1.0, found: found as f32 })
    }
}

fn radius(what: Quantity, found: f64) -> Result<f32, Error> {
    if found >= 0.0 && (found as f32).is_finite() {
        Ok(found as f32)
    } else {
        Err(Error::Range { what, low: 0.0, high: f32::INFINITY, found: found as f32 })
    }
}

/// The groups of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Groups {
    head: f32,
    tail: Option<f32>,
}

impl Groups {
    /// All samples in one group that is not perturbed.
    pub const ONE: Self = Self { head: 0.0, tail: None };

    /// Groups by their radii: all samples in one, or those of the tail in another.
    ///
    /// # Errors
    /// [`Error::Range`] when a radius is negative or not finite.
    pub fn new(head: f32, tail: Option<f32>) -> Result<Self, Error> {
        for (what, found) in [(Quantity::Radius, head), (Quantity::TailRadius, tail.unwrap_or(0.0))] {
            if !(found >= 0.0 && found.is_finite()) {
                return Err(Error::Range { what, low: 0.0, high: f32::INFINITY, found });
            }
        }
        Ok(Self { head, tail: tail.filter(|&tail| tail > 0.0 || head > 0.0) })
    }

    /// The factors of a sample's loss in a batch of `rows`, where so much of the sample counts in the second group: what
    /// [`Rule::factors`](crate::Rule::factors) is without class weights and tail weight, for chips that have no `f64`.
    pub fn factors(&self, share: f32, rows: usize) -> [f32; 2] {
        let factor = 1.0 / rows as f32;
        if self.tail.is_some() { [(1.0 - share) * factor, share * factor] } else { [factor, 0.0] }
    }

    /// How many groups there are.
    pub fn count(&self) -> usize {
        1 + usize::from(self.tail.is_some())
    }

    /// How many of them are perturbed: vectors as long as the parameters.
    pub fn points(&self) -> usize {
        usize::from(self.head > 0.0) + usize::from(self.tail.is_some_and(|radius| radius > 0.0))
    }

    /// Both groups, as for a batch with samples of each.
    pub fn all(&self) -> Present {
        self.present([true, true])
    }

    /// The groups that have samples in a batch, by column; [`Tally::present`](crate::Tally::present) says which.
    pub fn present(&self, columns: [bool; 2]) -> Present {
        let [head, tail] = columns;
        let head = head.then_some(Group { column: 0, radius: self.head });
        let tail = self.tail.filter(|_| tail).map(|radius| Group { column: 1, radius });
        Present { groups: [head, tail] }
    }
}

/// A group with samples in the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Its column in the table of sample weights.
    pub column: usize,
    /// How far its point lies from the parameters.
    pub radius: f32,
}

/// The groups with samples in a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Present {
    groups: [Option<Group>; 2],
}

impl Present {
    /// Every group with samples, by column.
    pub fn iter(&self) -> impl Iterator<Item = Group> {
        self.groups.iter().filter_map(|group| *group)
    }

    /// The groups with a point of their own.
    pub fn perturbed(&self) -> impl Iterator<Item = Group> {
        self.iter().filter(|group| group.radius > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSE: Method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 };

    fn radii(method: Method, epoch: u32, epochs: u32) -> [Option<f32>; 2] {
        let present = method.groups(epoch, epochs).unwrap().all();
        present.groups.map(|group| group.map(|group| group.radius))
    }

    #[test]
    fn methods_differ_only_in_groups_and_radii() {
        assert_eq!(radii(Method::Sgd, 0, 4), [Some(0.0), None]);
        assert_eq!(radii(Method::Sam { rho: 0.05 }, 0, 4), [Some(0.05), None]);
        assert_eq!(radii(Method::ImbSam { rho: 0.05 }, 0, 4), [Some(0.0), Some(0.05)]);
        assert_eq!(radii(SSE, 1, 4), [Some(0.05), Some(0.1)]);
        assert_eq!(radii(SSE, 2, 4), [Some(0.0), Some(0.1)]);
    }

    #[test]
    fn the_first_stage_ends_at_gamma_of_the_epochs() {
        assert_eq!([0, 1, 2, 3, 4].map(|epoch| SSE.stage(epoch, 5)), [1, 1, 1, 2, 2]);
        let gamma = |gamma| Method::SseSam { head_rho: 1.0, tail_rho: 1.0, gamma };
        assert_eq!([gamma(0.0).stage(0, 5), gamma(1.0).stage(4, 5)], [2, 1]);
    }

    #[test]
    fn groups_by_their_radii_are_those_of_the_methods() {
        assert_eq!(Groups::new(0.05, Some(0.1)), SSE.groups(1, 4));
        assert_eq!(Groups::new(0.0, Some(0.1)), SSE.groups(2, 4));
        assert_eq!(Groups::new(0.05, None), Method::Sam { rho: 0.05 }.groups(0, 4));
        assert_eq!(Groups::new(0.0, Some(0.0)), Method::Sgd.groups(0, 4));
        for (head, tail) in [(-0.1, None), (f32::NAN, Some(0.1)), (0.1, Some(f32::INFINITY)), (0.1, Some(-0.1))] {
            assert!(matches!(Groups::new(head, tail), Err(Error::Range { .. })));
        }
    }

    #[test]
    fn groups_of_radius_zero_are_merged() {
        assert_eq!(radii(Method::ImbSam { rho: 0.0 }, 0, 4), [Some(0.0), None]);
        let merged = Method::ImbSam { rho: 0.0 }.groups(0, 4).unwrap();
        assert_eq!(merged.count(), 1);
        // Not where the other group is perturbed: a sample then counts in one of them alone.
        let still_tail = Method::SseSam { head_rho: 0.1, tail_rho: 0.0, gamma: 0.5 };
        assert_eq!([0, 2].map(|epoch| radii(still_tail, epoch, 4)), [[Some(0.1), Some(0.0)], [Some(0.0), None]]);
        assert_eq!([0, 2].map(|epoch| still_tail.groups(epoch, 4).unwrap().count()), [2, 1]);
        assert_eq!(SSE.groups(0, 4).unwrap().count(), 2);
    }

    #[test]
    fn memory_is_planned_for_the_hungriest_stage() {
        let planned = |method: Method| method.largest().map(|groups| (groups.count(), groups.points())).unwrap();
        assert_eq!(planned(Method::Sgd), (1, 0));
        assert_eq!(planned(Method::Sam { rho: 0.1 }), (1, 1));
        assert_eq!(planned(Method::ImbSam { rho: 0.1 }), (2, 1));
        assert_eq!(planned(SSE), (2, 2));
        let numbers = [0.0, 1e-300, 0.1, 0.5, 1.0];
        let radii = || [0.0, 0.1].into_iter();
        for (head_rho, tail_rho, gamma) in
            radii().flat_map(|a| radii().flat_map(move |b| numbers.map(|gamma| (a, b, gamma))))
        {
            let method = Method::SseSam { head_rho, tail_rho, gamma };
            let (count, points) = planned(method);
            for (epoch, epochs) in (1..9).flat_map(|epochs| (0..epochs).map(move |epoch| (epoch, epochs))) {
                let groups = method.groups(epoch, epochs).unwrap();
                assert!(groups.count() <= count && groups.points() <= points, "{method:?}, {epoch} of {epochs}");
            }
        }
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        for gamma in [-0.1, 1.7, f64::NAN] {
            let method = Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma };
            assert!(matches!(method.groups(0, 1), Err(Error::Range { what: Quantity::Gamma, .. })), "{gamma}");
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            let methods = [
                (Quantity::Rho, Method::Sam { rho: bad }),
                (Quantity::Rho, Method::ImbSam { rho: bad }),
                (Quantity::HeadRho, Method::SseSam { head_rho: bad, tail_rho: 0.1, gamma: 0.5 }),
                (Quantity::TailRho, Method::SseSam { head_rho: 0.1, tail_rho: bad, gamma: 0.5 }),
            ];
            for (name, method) in methods {
                // In either stage, though the head's radius counts in the first one only.
                for epoch in [0, 1] {
                    let refused = method.groups(epoch, 2);
                    assert!(matches!(refused, Err(Error::Range { what, .. }) if what == name), "{method:?}");
                }
                assert!(method.largest().is_err(), "{method:?}");
            }
        }
        for gamma in [0.0, 1.0] {
            assert!(Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma }.groups(0, 1).is_ok());
        }
    }

    #[test]
    fn every_radius_of_groups_must_be_finite_and_not_negative() {
        for bad in [-1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (head, tail) = (Groups::new(bad, Some(0.1)), Groups::new(0.1, Some(bad)));
            assert!(matches!(head, Err(Error::Range { what: Quantity::Radius, .. })), "{head:?}");
            assert!(matches!(tail, Err(Error::Range { what: Quantity::TailRadius, .. })), "{tail:?}");
        }
    }

    #[test]
    fn the_second_stage_begins_at_the_first_epoch_that_gamma_does_not_reach() {
        // Exactly as f64 has it: 0.3 * 10 is 3, 0.29 * 100 lies just below 29.
        let first = |gamma, epochs| {
            let method = Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma };
            (0..=epochs).find(|&epoch| method.stage(epoch, epochs) == 2)
        };
        assert_eq!([first(0.3, 10), first(0.5, 5), first(0.29, 100), first(0.7, 200)], [3, 3, 29, 140].map(Some));
        assert_eq!([first(0.0, 7), first(1.0, 7), first(0.5, 0)], [0, 7, 0].map(Some));
        for method in [Method::Sgd, Method::Sam { rho: 0.1 }, Method::ImbSam { rho: 0.1 }] {
            assert_eq!(method.stage(9, 10), 1, "{method:?}");
        }
    }

    #[test]
    fn methods_that_tell_the_tail_have_one() {
        let focal = Method::FocalSam { rho: 0.1, lambda: 1.0, gamma: 1.0 };
        assert_eq!([Method::ImbSam { rho: 0.1 }, SSE].map(|method| method.has_tail()), [true; 2]);
        assert_eq!([Method::Sgd, Method::Sam { rho: 0.1 }, focal].map(|method| method.has_tail()), [false; 3]);
    }

    #[test]
    fn focal_sam_perturbs_its_second_group_alone() {
        let method = |rho, lambda, gamma| Method::FocalSam { rho, lambda, gamma };
        assert_eq!(radii(method(0.1, 0.5, 2.0), 0, 4), [Some(0.0), Some(0.1)]);
        assert_eq!(radii(method(0.0, 0.5, 2.0), 0, 4), [Some(0.0), None]);
        for (what, refused) in [
            (Quantity::FocalSamLambda, method(0.1, 1.1, 1.0)),
            (Quantity::FocalSamLambda, method(0.1, f64::NAN, 1.0)),
            (Quantity::FocalSamGamma, method(0.1, 1.0, -0.1)),
            (Quantity::Rho, method(-0.1, 1.0, 1.0)),
        ] {
            let error = refused.groups(0, 1);
            assert!(matches!(error, Err(Error::Range { what: found, .. }) if found == what), "{error:?}");
        }
    }
}
