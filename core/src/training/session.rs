//! The memory of a training: what steps work with, and what they leave behind.

use crate::ops::Fill;
use heapless::Vec;

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::memory::{Arena, Span};
use crate::ops::gather::Row;
use crate::ops::vector::{Outcome, Sgd};
use crate::training::method::{Group, Groups, Present};
use crate::training::problem::{Problem, Target};
use crate::training::step::{lean_step, step};

/// How many vectors a method works with. The mathematics is the same, sums are rounded in another order.
///
/// | economy     | step          | vectors in SSE-SAM's first stage | forward and backward passes of a batch there |
/// |-------------|---------------|----------------------------------|----------------------------------------------|
/// | `Full`      | [`step()`]    | 5: w, v, G, two points           | 3 and 4                                      |
/// | `Lean`      | [`lean_step`] | 4: w, v, two points              | 3 and 4                                      |
/// | `Recompute` | [`lean_step`] | 3: w, v, one point               | 4 and 4                                      |
///
/// [`Pieces`](crate::Pieces) take 2 and 2 passes with each.
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
        let mut vectors = Self { params, velocity, gradient, points: [None; 2] };
        let points = demand.groups.points();
        let points = if demand.economy == Economy::Recompute { points.min(1) } else { points };
        for point in vectors.points.iter_mut().take(points) {
            *point = Some(arena.allocate(length)?);
        }
        Ok(vectors)
    }
}

/// What a step leaves behind; this order of its numbers is that of work memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Record {
    /// Sums of the weighted losses at the parameters, one for each group.
    pub losses: [f32; 2],
    /// Sums of the weighted losses at the perturbed points, one for each group.
    pub perturbed_losses: [f32; 2],
    /// Squared norm of each group's gradient at the parameters, where it is perturbed.
    pub group_squared_norms: [f32; 2],
    /// Squared norm of the update's gradient; of the velocity in lean memory.
    pub squared_norm: f32,
    /// Not 0 when that was not finite, and nothing was updated.
    pub failure: f32,
}

impl Record {
    /// Numbers of work memory that a record takes.
    pub const WORDS: usize = 8;

    /// The record as it lies in work memory.
    pub fn decode(words: &[f32; Self::WORDS]) -> Self {
        let [a, b, c, d, e, f, squared_norm, failure] = *words;
        Self { losses: [a, b], perturbed_losses: [c, d], group_squared_norms: [e, f], squared_norm, failure }
    }

    /// Whether the step had finite numbers and was taken.
    pub fn is_finite(&self) -> bool {
        let Self { losses: [a, b], perturbed_losses: [c, d], group_squared_norms: [e, f], squared_norm, failure } =
            *self;
        [a, b, c, d, e, f, squared_norm].iter().all(|value| value.is_finite()) && failure == 0.0
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

/// A training's memory beside its network's: vectors, rows of batches, and a window of records that are read together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Session {
    /// Parameters, velocity, gradient, points.
    pub vectors: Vectors,
    /// Which step is taken.
    pub economy: Economy,
    /// Rows of batches, `[rows][Row::WORDS]`.
    pub table: Span,
    /// What steps leave behind, `[window][Record::WORDS]`.
    pub records: Span,
    /// Where the loss of a piece goes, `[1]`, where batches pass in pieces.
    pub piece: Option<Span>,
}

impl Session {
    /// Plans a training of so many `parameters`, with room for `rows` rows of batches and the records of `window` steps.
    ///
    /// # Errors
    /// As [`Arena::allocate`].
    pub fn new(
        parameters: usize,
        demand: &Demand,
        rows: usize,
        window: usize,
        arena: &mut Arena,
    ) -> Result<Self, Error> {
        Ok(Self {
            vectors: Vectors::new(arena, parameters, demand)?,
            economy: demand.economy,
            table: arena.allocate(rows.saturating_mul(Row::WORDS))?,
            records: arena.allocate(window.saturating_mul(Record::WORDS))?,
            piece: if demand.pieces { Some(arena.allocate(1)?) } else { None },
        })
    }

    /// Step `number` of a window, with the groups that the batch has samples of.
    ///
    /// A program that calls [`step()`] or [`lean_step`] itself links no code of the other.
    ///
    /// # Errors
    /// As [`step()`] and [`lean_step`].
    pub fn step<B: Backend, P: Problem<B>>(
        &self,
        backend: &mut B,
        problem: &mut P,
        present: &Present,
        sgd: &Sgd,
        number: usize,
    ) -> Result<(), B::Error> {
        let outcome = self.outcome(number)?;
        match self.economy {
            Economy::Full => step(backend, problem, &self.vectors, present, sgd, &outcome),
            Economy::Lean | Economy::Recompute => lean_step(backend, problem, &self.vectors, present, sgd, &outcome),
        }
    }

    /// Where each number of a record lies.
    fn slots(&self, number: usize) -> Result<impl Fn(usize) -> Span, Error> {
        let record = self.records.part(number.saturating_mul(Record::WORDS), Record::WORDS)?;
        Ok(move |at| Span { offset: record.offset.saturating_add(at), length: 1, ..record })
    }

    /// Where step `number` of a window leaves its losses.
    ///
    /// # Errors
    /// [`Error::Bounds`] past the end of the window.
    pub fn losses(&self, number: usize) -> Result<Losses, Error> {
        let slot = self.slots(number)?;
        Ok(Losses { plain: [slot(0), slot(1)], perturbed: [slot(2), slot(3)] })
    }

    /// Where step `number` of a window leaves what became of its update.
    ///
    /// # Errors
    /// [`Error::Bounds`] past the end of the window.
    pub fn outcome(&self, number: usize) -> Result<Outcome, Error> {
        let slot = self.slots(number)?;
        let group_squared_norms = [slot(4), slot(5)];
        Ok(Outcome { squared_norm: slot(6), group_squared_norms, failure: slot(7), number: 1.0 })
    }

    /// Begins a window: a step leaves the numbers of groups without samples as they are.
    ///
    /// # Errors
    /// What the backend reports.
    pub fn clear<B: Backend>(&self, backend: &mut B) -> Result<(), B::Error> {
        backend.run(&Fill { to: self.records, value: 0.0 })
    }

    /// Reads what the first steps of a window left behind, as many as `words` has room for: see [`Record::decode`].
    ///
    /// # Errors
    /// [`Error::Bounds`] past the end of the window, else what the backend reports.
    pub fn read<B: Backend>(&self, backend: &mut B, words: &mut [[f32; Record::WORDS]]) -> Result<(), B::Error> {
        let words = words.as_flattened_mut();
        backend.read(words, self.records.part(0, words.len())?)
    }

    /// Reads what the first step of a window left behind.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub fn record<B: Backend>(&self, backend: &mut B) -> Result<Record, B::Error> {
        let mut words = [[0.0; Record::WORDS]];
        self.read(backend, &mut words)?;
        let [words] = words;
        Ok(Record::decode(&words))
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

    #[test]
    fn a_record_has_the_numbers_in_the_order_of_their_places() {
        let session = Session::new(1, &demand(SSE, Economy::Full), 3, 2, &mut Arena::new(1)).unwrap();
        let (losses, outcome) = (session.losses(1).unwrap(), session.outcome(1).unwrap());
        let words = core::array::from_fn(|at| at as f32);
        let Record { losses: plain, perturbed_losses, group_squared_norms, squared_norm, failure } =
            Record::decode(&words);
        let at = |span: Span| (span.offset - session.records.offset - Record::WORDS) as f32;
        assert_eq!(losses.plain.map(at), plain);
        assert_eq!(losses.perturbed.map(at), perturbed_losses);
        assert_eq!(outcome.group_squared_norms.map(at), group_squared_norms);
        assert_eq!([outcome.squared_norm, outcome.failure].map(at), [squared_norm, failure]);
        assert!(session.losses(2).is_err() && session.outcome(2).is_err());
        for at in 0..Record::WORDS {
            let mut words = [0.0; Record::WORDS];
            assert!(Record::decode(&words).is_finite());
            words[at] = f32::NAN;
            assert!(!Record::decode(&words).is_finite(), "{at}");
        }
    }
}
