//! Lanczos's method on a machine: from one vector to a small matrix with the same spectrum, as far as the vector sees it.

use sse_sam_core::ops::{Ascend, Axpy, Combine, Dots, Fill};
use sse_sam_core::{Arena, Backend, Span};

use crate::error::Error;
use crate::spectrum::quadrature::Run;
use crate::spectrum::tridiagonal::Tridiagonal;

/// A run ends where the next beta is below this share of the largest coefficient so far: the start vector has no part in
/// any other direction, and what is left is rounding.
const BREAKDOWN: f64 = 1e-6;

/// How often a new vector is made orthogonal to those that are kept: twice is enough (Parlett and Kahan).
const ROUNDS: usize = 2;

/// Vectors that are kept where the basis is not: the last two and the next one.
const RING: usize = 3;

/// A symmetric operator on vectors in work memory.
pub trait Operator<B: Backend> {
    /// `to <- H v`; both have the operator's length, padding included, which stays zero.
    ///
    /// # Errors
    /// What the machine reports.
    fn product(&mut self, backend: &mut B, to: Span, v: Span) -> Result<(), Error>;
}

/// Which vectors are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Basis {
    /// All of them: each new one is made orthogonal to all before
    #[default]
    Full,
    /// The last two: extremes stay right, but the density is blurred, and eigenvalues are found several times
    None,
}

/// Memory of Lanczos's method.
#[derive(Clone, Debug)]
pub struct Room {
    length: usize,
    basis: Basis,
    /// Numbered through, row by row; each block holds whole rows.
    blocks: Vec<Span>,
    zeros: Span,
    /// `[rounds][rows]`.
    coefficients: [Span; ROUNDS],
    norm: Span,
}

impl Room {
    /// Rows that a run of so many steps keeps.
    pub fn rows(basis: Basis, steps: usize) -> usize {
        match basis {
            Basis::Full => steps + 1,
            Basis::None => RING,
        }
    }

    /// Plans runs of at most `steps` products of vectors of `length` numbers; no block is longer than `segment`.
    ///
    /// # Errors
    /// [`Error::Core`] when memory cannot be addressed.
    pub fn new(
        arena: &mut Arena,
        length: usize,
        (basis, steps): (Basis, usize),
        segment: usize,
    ) -> Result<Self, Error> {
        let rows = Self::rows(basis, steps);
        let of_block = (segment / length.max(1)).clamp(1, rows);
        let mut blocks = Vec::new();
        for first in (0..rows).step_by(of_block) {
            blocks.push(arena.allocate(length * of_block.min(rows - first))?);
        }
        let zeros = arena.allocate(length)?;
        let coefficients = [arena.allocate(rows)?, arena.allocate(rows)?];
        Ok(Self { length, basis, blocks, zeros, coefficients, norm: arena.allocate(1)? })
    }

    /// Which vectors are kept.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The place of vector `number`.
    fn row(&self, number: usize) -> Result<Span, Error> {
        let mut row = if self.basis == Basis::Full { number } else { number % RING };
        for block in &self.blocks {
            let rows = block.length / self.length.max(1);
            if row < rows {
                return Ok(block.part(row * self.length, self.length)?);
            }
            row -= rows;
        }
        Err(sse_sam_core::Error::Graph.into())
    }

    /// The vectors before number `next` that it is made orthogonal to, rows that lie together as one span, with the place
    /// of their coefficients in a round. The last one is vector `next - 1`.
    fn kept(&self, next: usize, round: usize) -> Result<Vec<(Span, Span)>, Error> {
        let coefficients = self.coefficients[round];
        if self.basis == Basis::None {
            let numbers = (next.saturating_sub(RING - 1)..next).enumerate();
            return numbers.map(|(at, number)| Ok((self.row(number)?, coefficients.part(at, 1)?))).collect();
        }
        let (mut first, mut kept) = (0, Vec::new());
        for block in &self.blocks {
            let rows = (block.length / self.length.max(1)).min(next - first);
            if rows > 0 {
                kept.push((block.part(0, rows * self.length)?, coefficients.part(first, rows)?));
            }
            first += rows;
        }
        Ok(kept)
    }

    /// `v <- v / ||v||`, and the norm before that.
    ///
    /// # Errors
    /// What the machine reports.
    pub fn normalise<B: Backend>(&self, backend: &mut B, v: Span) -> Result<f64, Error>
    where
        Error: From<B::Error>,
    {
        backend.run(&Ascend { point: v, squared_norm: self.norm, params: self.zeros, radius: 1.0 })?;
        Ok(f64::from(read(backend, self.norm)?).sqrt())
    }

    /// `a'b`.
    ///
    /// # Errors
    /// What the machine reports.
    pub fn dot<B: Backend>(&self, backend: &mut B, a: Span, b: Span) -> Result<f64, Error>
    where
        Error: From<B::Error>,
    {
        backend.run(&Dots { to: self.norm, basis: a, x: b })?;
        Ok(f64::from(read(backend, self.norm)?))
    }

    /// Makes vector `next` orthogonal to those that are kept, and returns its coefficient along the one before it.
    fn orthogonalise<B: Backend>(&self, backend: &mut B, next: usize) -> Result<f64, Error>
    where
        Error: From<B::Error>,
    {
        let (y, mut alpha) = (self.row(next)?, 0.0);
        for round in 0..ROUNDS {
            let kept = self.kept(next, round)?;
            for &(basis, to) in &kept {
                backend.run(&Dots { to, basis, x: y })?;
            }
            for &(basis, coefficients) in &kept {
                backend.run(&Combine { y, coefficients, basis })?;
            }
            let Some((_, last)) = kept.last() else { continue };
            alpha += f64::from(read(backend, last.part(last.length - 1, 1)?)?);
        }
        Ok(alpha)
    }

    /// `to <- sum_j share_j v_j` over the vectors of the last run, made one of length 1. Only where the basis is kept.
    ///
    /// # Errors
    /// What the machine reports.
    pub fn assemble<B: Backend>(&self, backend: &mut B, to: Span, shares: &[f64]) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        backend.run(&Fill { to, value: 0.0 })?;
        let negated: Vec<f32> = shares.iter().map(|&share| -share as f32).collect();
        backend.write(self.coefficients[0].part(0, negated.len())?, &negated)?;
        for (basis, coefficients) in self.kept(shares.len(), 0)? {
            backend.run(&Combine { y: to, coefficients, basis })?;
        }
        self.normalise(backend, to).map(drop)
    }
}

/// Runs Lanczos's method from `start`, for `steps` products or until it breaks down.
///
/// `start` has length 1. `beside` is called with the number and the place of every vector before its product is computed.
///
/// # Errors
/// What the machine, the operator or `beside` reports.
pub fn lanczos<B: Backend>(
    backend: &mut B,
    operator: &mut impl Operator<B>,
    room: &Room,
    (start, steps): (&[f32], usize),
    mut beside: impl FnMut(&mut B, usize, Span) -> Result<(), Error>,
) -> Result<Run, Error>
where
    Error: From<B::Error>,
{
    backend.write(room.row(0)?, start)?;
    let (mut matrix, mut rest, mut largest) = (Tridiagonal::default(), 0.0, 0.0_f64);
    for number in 0..steps {
        let (v, next) = (room.row(number)?, room.row(number + 1)?);
        beside(backend, number, v)?;
        operator.product(backend, next, v)?;
        let alpha = room.orthogonalise(backend, number + 1)?;
        if number > 0 {
            matrix.beside.push(rest);
        }
        matrix.diagonal.push(alpha);
        largest = largest.max(alpha.abs()).max(rest);
        rest = room.normalise(backend, next)?;
        if rest <= BREAKDOWN * largest {
            return Ok(Run { matrix, rest: 0.0 });
        }
    }
    Ok(Run { matrix, rest })
}

/// The vector that belongs to a run's smallest eigenvalue, where no basis was kept: by the same run once more.
///
/// # Errors
/// As [`lanczos`].
pub fn lowest_again<B: Backend>(
    backend: &mut B,
    operator: &mut impl Operator<B>,
    room: &Room,
    (start, shares): (&[f32], &[f64]),
    to: Span,
    mut beside: impl FnMut(usize) -> Result<(), Error>,
) -> Result<(), Error>
where
    Error: From<B::Error>,
{
    backend.run(&Fill { to, value: 0.0 })?;
    lanczos(backend, operator, room, (start, shares.len()), |backend, number, v| {
        beside(number)?;
        let alpha = shares.get(number).map_or(0.0, |&share| share as f32);
        Ok(backend.run(&Axpy { y: to, alpha, x: v })?)
    })?;
    room.normalise(backend, to).map(drop)
}

/// One number of work memory.
fn read<B: Backend>(backend: &mut B, from: Span) -> Result<f32, Error>
where
    Error: From<B::Error>,
{
    let mut value = [0.0];
    backend.read(&mut value, from)?;
    Ok(value[0])
}
