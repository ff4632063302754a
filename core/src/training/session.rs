//! The memory of a training.

use heapless::Vec;

use crate::error::Error;
use crate::memory::{Arena, Span};
use crate::training::method::{Group, Present};
use crate::training::problem::Target;

/// How many vectors a method works with. The mathematics is the same, sums are rounded in another order.
///
/// | memory      | step          | vectors in SSE-SAM's first stage | forward and backward passes of a batch there |
/// |-------------|---------------|----------------------------------|----------------------------------------------|
/// | `Full`      | [`step()`]    | 5: w, v, G, two points           | 3 and 4                                      |
/// | `Lean`      | [`lean_step`] | 4: w, v, two points              | 3 and 4                                      |
/// | `Recompute` | [`lean_step`] | 3: w, v, one point               | 4 and 4                                      |
///
/// [`Pieces`](crate::Pieces) take 2 and 2 passes with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// A vector for the sum of the groups' gradients, and a point for each group that is perturbed.
    #[default]
    Full,
    /// Gradients are added to the velocity.
    Lean,
    /// As `Lean`, and one point serves one group after the other.
    Recompute,
}

impl Memory {
    /// Vectors as long as the parameters, for a method that perturbs `points` groups.
    pub fn vectors(self, points: usize) -> usize {
        match self {
            Self::Full => 3 + points.min(2),
            Self::Lean => 2 + points.min(2),
            Self::Recompute => 2 + points.min(1),
        }
    }

    /// Gradients of one activation at a time, when `groups` take a step: what to plan a network for.
    pub fn streams(self, groups: &Present) -> usize {
        match self {
            Self::Full => groups.iter().count().max(1),
            Self::Lean => groups.perturbed().count().max(1),
            Self::Recompute => 1,
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
    /// Plans `3 + points` vectors of `length` numbers for [`step()`].
    ///
    /// # Errors
    /// As [`Arena::allocate`].
    pub fn new(arena: &mut Arena, length: usize, points: usize) -> Result<Self, Error> {
        Self::in_memory(Memory::Full, arena, length, points)
    }

    /// Plans the vectors of a method that perturbs `points` groups: [`Memory::vectors`] of `length` numbers.
    ///
    /// # Errors
    /// As [`Arena::allocate`].
    pub fn in_memory(memory: Memory, arena: &mut Arena, length: usize, points: usize) -> Result<Self, Error> {
        let (params, velocity) = (arena.allocate(length)?, arena.allocate(length)?);
        let gradient = if memory == Memory::Full { arena.allocate(length)? } else { velocity };
        let mut vectors = Self { params, velocity, gradient, points: [None; 2] };
        let points = if memory == Memory::Recompute { points.min(1) } else { points };
        for point in vectors.points.iter_mut().take(points) {
            *point = Some(arena.allocate(length)?);
        }
        Ok(vectors)
    }
}

/// Where the losses of a step's passes are left: `[group]` at the parameters, `[group]` at the perturbed points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Losses {
    /// Sums of the weighted losses at the parameters, one number for each group.
    pub plain: [Span; 2],
    /// Sums of the weighted losses at the perturbed points, one number for each group.
    pub perturbed: [Span; 2],
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
    use crate::training::method::{Groups, Method};

    const SSE: Method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 };

    #[test]
    fn memory_counts_the_vectors_that_are_planned() {
        for memory in [Memory::Full, Memory::Lean, Memory::Recompute] {
            for points in 0..=2 {
                let mut arena = Arena::new(1);
                Vectors::in_memory(memory, &mut arena, 7, points).unwrap();
                assert_eq!(arena.len(), 7 * memory.vectors(points), "{memory:?}, {points} points");
            }
        }
        assert_eq!([Memory::Full, Memory::Lean, Memory::Recompute].map(|memory| memory.vectors(2)), [5, 4, 3]);
        let both = SSE.groups(0, 4).unwrap().all();
        assert_eq!([Memory::Full, Memory::Lean, Memory::Recompute].map(|memory| memory.streams(&both)), [2, 2, 1]);
        let one = Method::ImbSam { rho: 0.1 }.groups(0, 4).unwrap().all();
        assert_eq!([Memory::Full, Memory::Lean, Memory::Recompute].map(|memory| memory.streams(&one)), [2, 1, 1]);
    }

    #[test]
    fn points_go_to_the_perturbed_groups_in_order() {
        let mut arena = Arena::new(1);
        let vectors = Vectors::new(&mut arena, 3, 2).unwrap();
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
