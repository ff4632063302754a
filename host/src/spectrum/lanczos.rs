//! Lanczos's method on a machine: from one vector to a small matrix with the same spectrum, as far as the vector sees it.

use sse_sam_core::ops::{Ascend, Axpy, Combine, Copy, Dots, Fill};
use sse_sam_core::{Arena, Backend, Error as CoreError, Span};

use crate::error::Error;
use crate::spectrum::quadrature::Run;
use crate::spectrum::tridiagonal::Tridiagonal;

/// A run ends where the next beta is below this share of the largest coefficient so far: the start vector has no part in
/// any other direction, and what is left is rounding.
const BREAKDOWN: f64 = 1e-6;

/// How often a new vector is made orthogonal to those that are kept: twice is enough (Parlett and Kahan).
const ROUNDS: usize = 2;

/// Most vectors of a block: a device's operation takes no more.
const BLOCK: usize = 1024;

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
    spare: Span,
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

    /// Plans runs of at most `steps` products of vectors of `length` numbers.
    ///
    /// # Errors
    /// As [`Arena::allocate`].
    pub fn new(arena: &mut Arena, length: usize, (basis, steps): (Basis, usize)) -> Result<Self, CoreError> {
        let rows = Self::rows(basis, steps);
        let mut of_block = rows.min(BLOCK);
        if let Err(CoreError::Segment { segment, .. }) = { *arena }.allocate(length.saturating_mul(of_block)) {
            of_block = (segment / length.max(1)).clamp(1, rows);
        }
        let mut blocks = Vec::new();
        for first in (0..rows).step_by(of_block) {
            blocks.push(arena.allocate(length.saturating_mul(of_block.min(rows - first)))?);
        }
        let [zeros, spare] = [arena.allocate(length)?, arena.allocate(length)?];
        let coefficients = [arena.allocate(rows)?, arena.allocate(rows)?];
        Ok(Self { length, basis, blocks, zeros, spare, coefficients, norm: arena.allocate(1)? })
    }

    /// Which vectors are kept.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// A vector for whatever is needed between two runs; [`Room::norm`] writes to it.
    pub fn spare(&self) -> Span {
        self.spare
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
        Err(CoreError::Graph.into())
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

    /// `||v||`.
    ///
    /// # Errors
    /// What the machine reports.
    pub fn norm<B: Backend>(&self, backend: &mut B, v: Span) -> Result<f64, Error>
    where
        Error: From<B::Error>,
    {
        // Operands of one operation share no memory.
        backend.run(&Copy { to: self.spare, from: v })?;
        Ok(self.dot(backend, v, self.spare)?.sqrt())
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

#[cfg(test)]
mod tests {
    use sse_sam_core::memory::Place;
    use sse_sam_core::{Cpu, Machine};

    use super::*;
    use crate::data::random::{self, Purpose};
    use crate::spectrum::quadrature::Spectrum;
    use crate::spectrum::start;

    /// A symmetric matrix by what it does to a vector, in `f64`, rounded once.
    struct Matrix<F>(F);

    impl<B: Backend, F: Fn(&[f64]) -> Vec<f64>> Operator<B> for Matrix<F>
    where
        Error: From<B::Error>,
    {
        fn product(&mut self, backend: &mut B, to: Span, v: Span) -> Result<(), Error> {
            let mut values = vec![0.0; v.length];
            backend.read(&mut values, v)?;
            let product = (self.0)(&values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>());
            Ok(backend.write(to, &product.iter().map(|&value| value as f32).collect::<Vec<_>>())?)
        }
    }

    fn diagonal(values: &[f64]) -> Matrix<impl Fn(&[f64]) -> Vec<f64>> {
        let values = values.to_vec();
        Matrix(move |v: &[f64]| v.iter().zip(&values).map(|(v, value)| v * value).collect())
    }

    /// What a run finds, and the residual `|H u - lambda u|` of its smallest eigenvalue's vector, as a matrix sees it.
    struct Found {
        runs: Vec<Run>,
        spectrum: Spectrum,
        residual: f64,
        lowest: Vec<f32>,
    }

    fn search<F: Fn(&[f64]) -> Vec<f64>>(
        matrix: &mut Matrix<F>,
        (length, steps): (usize, usize),
        basis: Basis,
        mut arena: Arena,
    ) -> Found {
        let room = Room::new(&mut arena, length, (basis, steps)).unwrap();
        let to = arena.allocate(length).unwrap();
        let mut memory = vec![0.0; arena.len()];
        let mut cpu = Cpu::new(&mut memory, &[], &[]);
        let start = start::vector(length, &[Place { offset: 0, length }], 5, 0);
        let run = lanczos(&mut cpu, matrix, &room, (&start, steps), |_, _, _| Ok(())).unwrap();
        let shares = run.matrix.lowest_vector().unwrap();
        match basis {
            Basis::Full => room.assemble(&mut cpu, to, &shares).unwrap(),
            Basis::None => lowest_again(&mut cpu, matrix, &room, (&start, &shares), to, |_| Ok(())).unwrap(),
        }
        let mut lowest = vec![0.0; length];
        cpu.read(&mut lowest, to).unwrap();
        let spectrum = Spectrum::of(std::slice::from_ref(&run)).unwrap();
        let wide: Vec<f64> = lowest.iter().map(|&value| f64::from(value)).collect();
        let product = (matrix.0)(&wide);
        let squared: f64 = product.iter().zip(&wide).map(|(h, u)| (h - spectrum.lambda_min.value * u).powi(2)).sum();
        Found { runs: vec![run], spectrum, residual: squared.sqrt(), lowest }
    }

    fn is_near(found: f64, expected: f64, size: f64) -> bool {
        (found - expected).abs() <= 1e-5 * size
    }

    /// 300 eigenvalues: a bulk around 0, five above and three below it.
    fn chosen() -> Vec<f64> {
        let bulk = (0..292).map(|number| 0.2 * (f64::from(number) / 291.0 - 0.5));
        [9.0, 5.0, 3.0, 2.5, 1.0, -0.9, -0.5, -0.3].into_iter().chain(bulk).collect()
    }

    #[test]
    fn a_diagonal_has_the_extremes_that_were_chosen() {
        let found = search(&mut diagonal(&chosen()), (300, 80), Basis::Full, Arena::new(1));
        let Spectrum { lambda_max, lambda_min, .. } = found.spectrum;
        assert!(is_near(lambda_max.value, 9.0, 9.0) && is_near(lambda_min.value, -0.9, 9.0), "{lambda_max:?}");
        assert!((lambda_max.value - 9.0).abs() <= lambda_max.bound, "{lambda_max:?}");
        assert!((lambda_min.value + 0.9).abs() <= lambda_min.bound, "{lambda_min:?}");
        assert!(found.residual <= 1e-5 * 9.0, "{}", found.residual);
        // The vector is that of entry 5, of length 1.
        assert!(is_near(f64::from(found.lowest[5].abs()), 1.0, 1.0), "{}", found.lowest[5]);
    }

    #[test]
    fn weights_sum_to_one_and_the_first_moment_is_the_start_vectors() {
        let values = chosen();
        let found = search(&mut diagonal(&values), (300, 40), Basis::Full, Arena::new(1));
        let nodes = &found.spectrum.nodes[0];
        let sum = |power: i32| nodes.iter().map(|node| node.weight * node.value.powi(power)).sum::<f64>();
        assert!((sum(0) - 1.0).abs() < 1e-12);
        // A start vector of +-1/sqrt(P) sees the mean of a diagonal.
        let mean = |power: i32| values.iter().map(|value| value.powi(power)).sum::<f64>() / 300.0;
        assert!((sum(1) - mean(1)).abs() < 1e-6 && (sum(2) - mean(2)).abs() < 1e-5, "{} {}", sum(1), sum(2));
    }

    #[test]
    fn a_saddle_of_two_dimensions_is_found_in_two_steps() {
        // x^2 - y^2.
        let found = search(&mut diagonal(&[2.0, -2.0]), (2, 2), Basis::Full, Arena::new(1));
        let Spectrum { lambda_max, lambda_min, nodes, negative_mass, .. } = found.spectrum;
        assert!(is_near(lambda_max.value, 2.0, 2.0) && is_near(lambda_min.value, -2.0, 2.0));
        assert!(nodes[0].iter().all(|node| is_near(node.weight, 0.5, 1.0)));
        assert!(is_near(negative_mass[0].share.mean, 0.5, 1.0));
        assert_eq!(found.runs[0].rest, 0.0);
    }

    /// `X'X / rows` of random signs with small noise: a dense matrix.
    fn wishart(length: usize, rows: usize) -> Vec<f64> {
        let mut word = random::stream(7, Purpose::Bench, 3);
        let mut number = || f64::from(word()) / f64::from(u32::MAX) * 12_f64.sqrt() - 3_f64.sqrt();
        let x: Vec<f64> = (0..rows * length).map(|_| number()).collect();
        let entry = |a: usize, b: usize| (0..rows).map(|row| x[row * length + a] * x[row * length + b]).sum::<f64>();
        (0..length * length).map(|at| entry(at / length, at % length) / rows as f64).collect()
    }

    fn times(matrix: &[f64], v: &[f64]) -> Vec<f64> {
        matrix.chunks_exact(v.len()).map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum()).collect()
    }

    /// The largest eigenvalue of `sign * matrix + shift`, by power iteration.
    fn power(matrix: &[f64], length: usize, sign: f64, shift: f64) -> f64 {
        let mut v: Vec<f64> = (0..length).map(|at| 1.0 + 0.01 * at as f64).collect();
        let mut value = 0.0;
        for _ in 0..20_000 {
            let next: Vec<f64> = times(matrix, &v).iter().zip(&v).map(|(h, v)| sign * h + shift * v).collect();
            value = next.iter().map(|value| value * value).sum::<f64>().sqrt();
            v = next.iter().map(|next| next / value).collect();
        }
        value
    }

    #[test]
    fn a_wishart_matrix_has_the_extremes_of_power_iteration() {
        let matrix = wishart(60, 120);
        let largest = power(&matrix, 60, 1.0, 0.0);
        let smallest = largest - power(&matrix, 60, -1.0, largest);
        for basis in [Basis::Full, Basis::None] {
            let operator = matrix.clone();
            let found = search(&mut Matrix(move |v: &[f64]| times(&operator, v)), (60, 60), basis, Arena::new(1));
            let Spectrum { lambda_max, lambda_min, .. } = found.spectrum;
            assert!(is_near(lambda_max.value, largest, largest), "{basis:?} {lambda_max:?} {largest}");
            assert!(is_near(lambda_min.value, smallest, largest), "{basis:?} {lambda_min:?} {smallest}");
            assert!(found.residual <= 1e-4 * largest, "{basis:?} {}", found.residual);
        }
    }

    #[test]
    fn a_run_ends_where_the_start_vector_sees_no_more() {
        // Three eigenvalues: three steps, however many are asked for.
        let values: Vec<f64> = (0..50).map(|at| [1.5, -0.25, 0.0][at % 3]).collect();
        for basis in [Basis::Full, Basis::None] {
            let found = search(&mut diagonal(&values), (50, 20), basis, Arena::new(1));
            assert_eq!((found.runs[0].matrix.len(), found.runs[0].rest), (3, 0.0), "{basis:?}");
            assert!(is_near(found.spectrum.lambda_max.value, 1.5, 1.5), "{basis:?}");
            assert!(is_near(found.spectrum.lambda_min.value, -0.25, 1.5), "{basis:?}");
        }
        let found = search(&mut diagonal(&[0.0; 7]), (7, 5), Basis::Full, Arena::new(1));
        assert_eq!((found.runs[0].matrix.len(), found.spectrum.lambda_max.value), (1, 0.0));
    }

    #[test]
    fn without_a_basis_extremes_are_the_same_to_the_floor() {
        let [full, none] =
            [Basis::Full, Basis::None].map(|basis| search(&mut diagonal(&chosen()), (300, 60), basis, Arena::new(1)));
        let ends = |found: &Found| [found.spectrum.lambda_max.value, found.spectrum.lambda_min.value];
        for (a, b) in ends(&full).into_iter().zip(ends(&none)) {
            assert!((a - b).abs() <= 4e-6 * 9.0, "{a} {b}");
        }
        assert!(none.residual <= 1e-5 * 9.0, "{}", none.residual);
    }

    #[test]
    fn rows_in_several_buffers_give_the_same_numbers() {
        let whole = search(&mut diagonal(&chosen()), (300, 30), Basis::Full, Arena::new(1));
        let parts = search(&mut diagonal(&chosen()), (300, 30), Basis::Full, Arena::segmented(4, 304 * 4));
        let room = Room::new(&mut Arena::segmented(4, 304 * 4), 300, (Basis::Full, 30)).unwrap();
        assert_eq!(room.blocks.len(), 8);
        // Sums of a row's parts are rounded in another order.
        for (a, b) in whole.runs[0].matrix.diagonal.iter().zip(&parts.runs[0].matrix.diagonal) {
            assert!((a - b).abs() <= 4e-6 * 9.0, "{a} {b}");
        }
        assert!(Room::new(&mut Arena::segmented(4, 64), 300, (Basis::Full, 30)).is_err());
    }

    #[test]
    fn whoever_looks_on_can_end_a_run() {
        let mut arena = Arena::new(1);
        let room = Room::new(&mut arena, 300, (Basis::Full, 30)).unwrap();
        let mut memory = vec![0.0; arena.len()];
        let start = start::vector(300, &[Place { offset: 0, length: 300 }], 5, 0);
        let mut seen = 0;
        let ended = lanczos(
            &mut Cpu::new(&mut memory, &[], &[]),
            &mut diagonal(&chosen()),
            &room,
            (&start, 30),
            |_, number, _| {
                seen = number;
                if number == 4 { Err(Error::Usage("enough".into())) } else { Ok(()) }
            },
        );
        assert!(ended.is_err() && seen == 4);
    }
}
