//! Products of a vector with the rows of a basis, and combinations of these rows: what an iteration that builds a basis
//! (Lanczos, Gram-Schmidt) is made of.
//!
//! A basis is `rows` vectors of one length, one after the other. Vectors as long as [`Plan::parameters`] says end in
//! zeros, so that each of them starts aligned.
//!
//! [`Plan::parameters`]: crate::Plan::parameters

use crate::error::Error;
use crate::memory::Span;
use crate::ops::lent::{ByRows, Memory};
use crate::ops::math::reduce::{RUN, Total};
use crate::ops::math::rows::{expect, pieces_mut, rows};
use crate::ops::operation::{Access, Extent, Operation};
use crate::ops::parts::{Numbers, Rows, RowsMut, Whole};

/// Lanes of a dot product: their number is part of its bits.
const LANES: usize = 16;
/// Numbers of a vector that combinations are added up for at once.
const PIECE: usize = 256;

/// `to[j] = sum_i basis[j][i] * x[i]`: [`dots`] on a machine.
///
/// The sum of a row does not depend on the other rows; it is taken in an order that the length fixes, with compensation
/// for rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dots {
    /// `[rows]`, overwritten.
    pub to: Span,
    /// `[rows][n]`.
    pub basis: Span,
    /// `[n]`.
    pub x: Span,
}

impl Operation for Dots {
    const NAME: &'static str = "dots";

    fn extent(&self) -> Result<Extent, Error> {
        let (rows, length) = (self.to.length, self.x.length);
        expect("basis", rows.saturating_mul(length), self.basis.length)?;
        Ok(Extent::Rows(rows, length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.to);
        see(Access::Read, self.basis);
        see(Access::Read, self.x);
    }
}

impl ByRows for Dots {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>, Whole<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (memory.rows_mut(&self.to, 1), memory.rows(&self.basis, self.x.length), memory.whole(&self.x))
    }

    fn count(&self) -> Result<usize, Error> {
        self.extent().map(|_| 1)
    }

    #[inline(always)]
    fn formula(&self, (to, basis, x): Self::Slices<'_>) -> Result<(), Error> {
        dots(to.values, basis.values, x.0)
    }
}

/// Dot products of `x` with every row of `basis`: `to[j] = sum_i basis[j][i] * x[i]`.
///
/// | argument | shape       | meaning     |
/// |----------|-------------|-------------|
/// | `to`     | `[rows]`    | overwritten |
/// | `basis`  | `[rows][n]` |             |
/// | `x`      | `[n]`       |             |
///
/// Lanes take 64 terms each, then go to totals that keep what rounding leaves out: the error is about `1e-7` of
/// `sum_i |basis[j][i] * x[i]|`, whatever the length.
///
/// # Errors
/// [`Error::Length`] when `basis` has not `rows * n` numbers.
#[cfg_attr(feature = "wide", inline(always))]
pub fn dots(to: &mut [f32], basis: &[f32], x: &[f32]) -> Result<(), Error> {
    expect("basis", to.len().saturating_mul(x.len()), basis.len())?;
    to.fill(0.0);
    for (to, row) in to.iter_mut().zip(rows(basis, x.len())) {
        *to = dot(row, x);
    }
    Ok(())
}

/// `sum_i a[i] * b[i]`.
#[cfg_attr(feature = "wide", inline(always))]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut totals = [Total::default(); LANES];
    for (a, b) in a.chunks(RUN * LANES).zip(b.chunks(RUN * LANES)) {
        let mut runs = [0.0; LANES];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            runs.iter_mut().zip(a).zip(b).for_each(|((run, a), b)| *run += a * b);
        }
        runs.iter_mut().zip(a_rest).zip(b_rest).for_each(|((run, a), b)| *run += a * b);
        totals.iter_mut().zip(runs).for_each(|(total, run)| total.add(run));
    }
    let mut total = Total::default();
    totals.iter().for_each(|lane| total.add(lane.value()));
    total.value()
}

/// `y[i] -= sum_j coefficients[j] * basis[j][i]`: [`combine_rows`] on a machine, which reads the coefficients where they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combine {
    /// `[n]`, what the combination is taken from.
    pub y: Span,
    /// `[rows]`.
    pub coefficients: Span,
    /// `[rows][n]`.
    pub basis: Span,
}

impl Operation for Combine {
    const NAME: &'static str = "combine";

    fn extent(&self) -> Result<Extent, Error> {
        let (rows, length) = (self.coefficients.length, self.y.length);
        expect("basis", rows.saturating_mul(length), self.basis.length)?;
        Ok(Extent::Rows(rows, length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Update, self.y);
        see(Access::Read, self.coefficients);
        see(Access::Read, self.basis);
    }
}

impl ByRows for Combine {
    type Slices<'m> = (RowsMut<'m>, Whole<'m>, Whole<'m>, Numbers);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        let numbers = Numbers(0..self.y.length);
        (memory.rows_mut(&self.y, 1), memory.whole(&self.coefficients), memory.whole(&self.basis), numbers)
    }

    fn count(&self) -> Result<usize, Error> {
        self.extent().map(|_| 1)
    }

    #[inline(always)]
    fn formula(&self, (y, coefficients, basis, numbers): Self::Slices<'_>) -> Result<(), Error> {
        subtract(y.values, coefficients.0, basis.0, (numbers.0.start, self.y.length));
        Ok(())
    }
}

/// Takes a combination of the rows of `basis` from `y`: `y[i] -= sum_j coefficients[j] * basis[j][i]`.
///
/// | argument       | shape       | meaning          |
/// |----------------|-------------|------------------|
/// | `y`            | `[n]`       | changed in place |
/// | `coefficients` | `[rows]`    |                  |
/// | `basis`        | `[rows][n]` |                  |
///
/// The sum is taken in the order of the rows, then subtracted.
///
/// # Errors
/// [`Error::Length`] when `basis` has not `rows * n` numbers.
pub fn combine_rows(y: &mut [f32], coefficients: &[f32], basis: &[f32]) -> Result<(), Error> {
    let length = y.len();
    expect("basis", coefficients.len().saturating_mul(length), basis.len())?;
    subtract(y, coefficients, basis, (0, length));
    Ok(())
}

/// [`combine_rows`] for the numbers from `first` on, where rows have `length` numbers.
#[cfg_attr(feature = "wide", inline(always))]
fn subtract(y: &mut [f32], coefficients: &[f32], basis: &[f32], (first, length): (usize, usize)) {
    let mut at = first;
    for y in pieces_mut(y, PIECE) {
        let mut sums = [0.0; PIECE];
        for (coefficient, row) in coefficients.iter().zip(rows(basis, length)) {
            let row = row.get(at..).unwrap_or_default();
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += coefficient * x);
        }
        at = at.saturating_add(y.len());
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y -= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Vec, assert_close, numbers, wide};
    use super::*;

    #[test]
    fn dot_products_are_accurate_at_any_length() {
        for (rows, length) in [(1, 0), (3, 1), (2, 15), (5, 17), (4, 1024), (3, 1025), (2, 3_000_001)] {
            let (basis, x) = (numbers(length as u64, rows * length), numbers(length as u64 + 1, length));
            let mut to = numbers(9, rows);
            dots(&mut to, &basis, &x).unwrap();
            let sum = |row: usize, f: fn(f64) -> f64| -> f64 {
                let row = &basis[row * length..(row + 1) * length];
                wide(row).iter().zip(wide(&x)).map(|(a, b)| f(a * b)).sum()
            };
            for (row, to) in to.iter().enumerate() {
                let error = (f64::from(*to) - sum(row, |term| term)).abs();
                assert!(error <= 1e-7 * sum(row, f64::abs), "{rows} x {length}, row {row}: {error:e}");
            }
        }
    }

    #[test]
    fn a_combination_is_subtracted() {
        let mut y = [10.0, 20.0, 30.0];
        combine_rows(&mut y, &[2.0, -1.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!(y, [12.0, 21.0, 30.0]);
        combine_rows(&mut y, &[], &[]).unwrap();
        assert_eq!(y, [12.0, 21.0, 30.0]);
        let (rows, length) = (7, 1000);
        let (mut y, c, basis) = (numbers(1, length), numbers(2, rows), numbers(3, rows * length));
        let expected = (0..length).map(|i| {
            let terms = (0..rows).map(|j| f64::from(c[j]) * f64::from(basis[j * length + i]));
            f64::from(y[i]) - terms.sum::<f64>()
        });
        let expected: Vec<f64> = expected.collect();
        combine_rows(&mut y, &c, &basis).unwrap();
        assert_close(&y, &expected, 1e-6);
    }

    #[test]
    fn a_basis_of_another_size_is_refused() {
        assert!(dots(&mut [0.0; 2], &[1.0; 5], &[1.0; 3]).is_err());
        assert!(dots(&mut [0.0; 2], &[1.0; 7], &[1.0; 3]).is_err());
        assert!(combine_rows(&mut [0.0; 3], &[1.0; 2], &[1.0; 5]).is_err());
        assert!(combine_rows(&mut [0.0; 3], &[1.0; 2], &[1.0; 7]).is_err());
    }
}
