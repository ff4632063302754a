//! The vectors that a method works with, and what a training asks of memory.

use heapless::Vec;

use crate::error::Error;
use crate::memory::{Arena, Span};
use crate::training::method::{Group, Groups, Present};
use crate::training::problem::Target;

/// How many vectors a method works with. The mathematics is the same, sums are rounded in another order.
///
/// | economy     | step          | vectors in SSE-SAM's first stage | forward and backward passes of a batch there |
/// |-------------|---------------|----------------------------------|----------------------------------------------|
/// | `Full`      | [`step()`]    | 5: w, v, G, two points           | 3 and 4                                      |
/// | `Lean`      | [`lean_step`] | 4: w, v, two points              | 3 and 4                                      |
/// | `Recompute` | [`lean_step`] | 3: w, v, one point               | 4 and 4                                      |
///
/// [`Pieces`](crate::Pieces) take 2 and 2 passes with each.
///
/// [`step()`]: crate::step()
/// [`lean_step`]: crate::lean_step
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Economy {
    /// A vector for the sum of the groups' gradients, and a point for each group that is perturbed.
    #[default]
    Full,
    /// Gradients are added to the velocity.
    Lean,
    /// As `Lean`, and one point serves one group after the other.
    Recompute,
}

/// What the steps of a training ask for; what it takes of memory follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// The groups of its hungriest epoch: [`Method::largest`](crate::Method::largest).
    pub groups: Groups,
    /// How many vectors it works with.
    pub economy: Economy,
    /// Whether a batch passes in [`Pieces`](crate::Pieces).
    pub pieces: bool,
}

impl Demand {
    /// Vectors as long as the parameters.
    pub fn vectors(&self) -> usize {
        let points = self.groups.points();
        match self.economy {
            Economy::Full => 3 + points,
            Economy::Lean => 2 + points,
            Economy::Recompute => 2 + points.min(1),
        }
    }

    /// Gradients of one activation at a time: what to plan a network for. One pass at the parameters serves both groups
    /// in full memory, and those that have a point of their own in lean memory; a piece goes backward for one group.
    pub fn streams(&self) -> usize {
        match self.economy {
            _ if self.pieces => 1,
            Economy::Full => self.groups.count(),
            Economy::Lean => self.groups.points().max(1),
            Economy::Recompute => 1,
        }
    }

    /// Forward and backward passes of a batch in a step with samples of every group. Where a sample counts in one group
    /// alone (`is_partition`), pieces pass for their own group only.
    pub fn passes(&self, is_partition: bool) -> [usize; 2] {
        let (groups, points) = (self.groups.count(), self.groups.points());
        let again = usize::from(self.economy == Economy::Recompute && points == 2);
        match self.pieces {
            true if is_partition => [1 + points.min(1); 2],
            true => [groups + points; 2],
            false => [1 + points + again, groups + points],
        }
    }
}

/// The vectors of a method, each as long as the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vectors {
    /// `w`.
    pub params: Span,
    /// `v`.
    pub velocity: Span,
    /// `G`, the sum over groups; the velocity itself in lean memory.
    pub gradient: Span,
    /// A group's gradient, then its perturbed parameters.
    pub points: [Option<Span>; 2],
}

impl Vectors {
    /// Plans the vectors that `demand` asks for: [`Demand::vectors`] of `length` numbers.
    ///
    /// # Errors
    /// As [`Arena::allocate`].
    pub fn new(arena: &mut Arena, length: usize, demand: &Demand) -> Result<Self, Error> {
        let (params, velocity) = (arena.allocate(length)?, arena.allocate(length)?);
        let gradient = if demand.economy == Economy::Full { arena.allocate(length)? } else { velocity };
        let points = demand.groups.points();
        let points = if demand.economy == Economy::Recompute { points.min(1) } else { points };
        let mut point = |number| if number < points { arena.allocate(length).map(Some) } else { Ok(None) };
        Ok(Self { params, velocity, gradient, points: [point(0)?, point(1)?] })
    }
}

impl Present {
    /// Where each group's gradient at the parameters goes: into its point, or into the sum where its radius is 0.
    pub(crate) fn targets(&self, vectors: &Vectors) -> Result<Vec<Target, 2>, Error> {
        let mut targets = Vec::new();
        for group in self.iter() {
            let gradient = if group.radius > 0.0 { self.point(group, vectors)? } else { vectors.gradient };
            let target = Target { column: group.column, gradient };
            targets.push(target).map_err(|_| Error::Capacity { what: "groups", capacity: 2 })?;
        }
        Ok(targets)
    }

    fn point(&self, group: Group, vectors: &Vectors) -> Result<Span, Error> {
        let number = self.perturbed().take_while(|other| other.column < group.column).count();
        let point = vectors.points.get(number).copied().flatten();
        point.ok_or(Error::Capacity { what: "perturbed points", capacity: number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::method::Method;

    const SSE: Method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 };
    const ECONOMIES: [Economy; 3] = [Economy::Full, Economy::Lean, Economy::Recompute];

    fn demand(method: Method, economy: Economy) -> Demand {
        Demand { groups: method.largest().unwrap(), economy, pieces: false }
    }

    #[test]
    fn a_demand_counts_the_vectors_that_are_planned() {
        let methods = [(Method::Sgd, [3, 2, 2]), (Method::Sam { rho: 0.1 }, [4, 3, 3]), (SSE, [5, 4, 3])];
        for (method, expected) in methods {
            for (economy, expected) in ECONOMIES.into_iter().zip(expected) {
                let (demand, mut arena) = (demand(method, economy), Arena::new(1));
                Vectors::new(&mut arena, 7, &demand).unwrap();
                assert_eq!([demand.vectors(), arena.len() / 7], [expected; 2], "{method:?}, {economy:?}");
            }
        }
    }

    #[test]
    fn a_gradient_is_planned_for_each_group_that_goes_backward_in_the_same_pass() {
        let streams = |method| ECONOMIES.map(|economy| demand(method, economy).streams());
        assert_eq!(streams(Method::Sgd), [1, 1, 1]);
        assert_eq!(streams(Method::Sam { rho: 0.1 }), [1, 1, 1]);
        assert_eq!(streams(Method::ImbSam { rho: 0.1 }), [2, 1, 1]);
        assert_eq!(streams(SSE), [2, 2, 1]);
        assert_eq!(ECONOMIES.map(|economy| Demand { pieces: true, ..demand(SSE, economy) }.streams()), [1; 3]);
    }

    #[test]
    fn points_go_to_the_perturbed_groups_in_order() {
        let mut arena = Arena::new(1);
        let vectors = Vectors::new(&mut arena, 3, &demand(SSE, Economy::Full)).unwrap();
        let targets = |groups: Groups| {
            let targets = groups.all().targets(&vectors).unwrap();
            [0, 1].map(|at| targets.get(at).map(|target| (target.column, target.gradient)))
        };
        let (sum, [first, second]) = (vectors.gradient, vectors.points.map(Option::unwrap));
        assert_eq!(targets(Groups::new(0.1, Some(0.2)).unwrap()), [Some((0, first)), Some((1, second))]);
        assert_eq!(targets(Groups::new(0.0, Some(0.2)).unwrap()), [Some((0, sum)), Some((1, first))]);
        assert_eq!(targets(Groups::new(0.1, Some(0.0)).unwrap()), [Some((0, first)), Some((1, sum))]);
        assert_eq!(targets(Groups::new(0.1, None).unwrap()), [Some((0, first)), None]);
        let none = Vectors { points: [None; 2], ..vectors };
        let refused = Groups::new(0.1, Some(0.2)).unwrap().all().targets(&none);
        assert_eq!(refused, Err(Error::Capacity { what: "perturbed points", capacity: 0 }));
    }
}
