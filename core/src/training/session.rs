//! The memory of a training: what steps work with, and what they leave behind.

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::memory::{Arena, Span};
use crate::ops::Fill;
use crate::ops::gather::Row;
use crate::ops::vector::{Outcome, Sgd};
use crate::training::method::Present;
use crate::training::problem::Problem;
use crate::training::step::{PartRate, lean_step, lean_step_with_part, step, step_with_part};
use crate::training::vectors::{Demand, Economy, Vectors};

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
    /// What steps leave behind, `[window][Record::WORDS]`, then the loss of a piece where batches pass in pieces.
    pub records: Span,
    pieces: bool,
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
            records: arena.allocate(window.saturating_mul(Record::WORDS).saturating_add(demand.pieces.into()))?,
            pieces: demand.pieces,
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

    /// [`Session::step`] with another learning rate for a part of the parameters, where there is any.
    ///
    /// # Errors
    /// As [`Session::step`]; [`Error::Bounds`] when the part does not lie in the parameters.
    pub fn step_with_part<B: Backend, P: Problem<B>>(
        &self,
        backend: &mut B,
        problem: &mut P,
        present: &Present,
        (sgd, rate): (&Sgd, Option<&PartRate>),
        number: usize,
    ) -> Result<(), B::Error> {
        let Some(rate) = rate else { return self.step(backend, problem, present, sgd, number) };
        let (outcome, both) = (self.outcome(number)?, (sgd, rate));
        match self.economy {
            Economy::Full => step_with_part(backend, problem, &self.vectors, present, both, &outcome),
            _ => lean_step_with_part(backend, problem, &self.vectors, present, both, &outcome),
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

    /// Where the loss of a piece goes, `[1]`, where batches pass in pieces.
    pub fn piece(&self) -> Option<Span> {
        let last = self.records.length.checked_sub(1).filter(|_| self.pieces)?;
        self.records.part(last, 1).ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::method::Method;

    #[test]
    fn a_record_has_the_numbers_in_the_order_of_their_places() {
        let method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 };
        let demand = Demand { groups: method.largest().unwrap(), economy: Economy::Full, pieces: false };
        let session = Session::new(1, &demand, 3, 2, &mut Arena::new(1)).unwrap();
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
