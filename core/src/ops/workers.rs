//! Who computes an operation: one core, or several side by side.

use crate::error::Error;
use crate::ops::math::reduce::{CHANNELS, lanes, sum};
use crate::ops::math::rows::{pieces_mut, rows};
use crate::ops::parts::{Parts, Rows};

pub use crate::ops::math::reduce::{RUN, Totals, run};
pub use crate::ops::math::tile::{PIXELS, Portable, Tiles, Windows};

/// What is computed of each part of some operands, whichever part it is.
pub trait Formula<P>: Sync {
    /// Computes it for `parts`, matrix products by `tiles`.
    ///
    /// # Errors
    /// What is wrong with them.
    fn run(&self, tiles: impl Tiles, parts: P) -> Result<(), Error>;
}

/// What is added up over the rows of some operands.
pub trait Terms<P, const N: usize, const K: usize>: Sync {
    /// `K` terms of each row of `parts`, lane by lane.
    fn terms(&self, parts: P) -> impl Iterator<Item = [[f32; N]; K]>;
}

/// What runs formulas: every way to divide the rows gives the same bits.
pub trait Workers {
    /// Computes a formula for all of `parts`, or for some rows after the other, or side by side.
    ///
    /// # Errors
    /// What is wrong with the operands.
    fn each<P: Parts, F: Formula<P>>(&self, formula: &F, parts: P) -> Result<(), Error>;

    /// The sums over all rows: each [`run`] by itself, and the runs in order to [`Totals`].
    fn sums<P: Parts, T: Terms<P, N, K>, const N: usize, const K: usize>(&self, terms: &T, parts: P) -> [[f32; N]; K];
}

/// One core, and nothing between an operation and its formula.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Workers for Alone {
    #[inline(always)]
    fn each<P: Parts, F: Formula<P>>(&self, formula: &F, parts: P) -> Result<(), Error> {
        formula.run(Portable, parts)
    }

    #[inline(always)]
    fn sums<P: Parts, T: Terms<P, N, K>, const N: usize, const K: usize>(&self, terms: &T, parts: P) -> [[f32; N]; K] {
        sum(terms.terms(parts))
    }
}

impl<W: Workers> Workers for &W {
    #[inline(always)]
    fn each<P: Parts, F: Formula<P>>(&self, formula: &F, parts: P) -> Result<(), Error> {
        (**self).each(formula, parts)
    }

    #[inline(always)]
    fn sums<P: Parts, T: Terms<P, N, K>, const N: usize, const K: usize>(&self, terms: &T, parts: P) -> [[f32; N]; K] {
        (**self).sums(terms, parts)
    }
}

/// The values of the columns from `at` on.
pub(crate) struct Columns {
    pub(crate) at: usize,
}

impl<'p, const N: usize> Terms<Rows<'p>, N, 1> for Columns {
    #[inline(always)]
    fn terms(&self, parts: Rows<'p>) -> impl Iterator<Item = [[f32; N]; 1]> {
        rows(parts.values, parts.length).map(|row| [lanes(row, self.at)])
    }
}

/// Hands `each` every element of `to` with the sum of its column in `from`, rows of `to.len()` elements.
#[inline(always)]
pub(crate) fn for_each_sum(workers: &impl Workers, to: &mut [f32], from: &[f32], each: impl Fn(&mut f32, f32)) {
    let from = Rows { values: from, length: to.len() };
    for (block, to) in pieces_mut(to, CHANNELS).enumerate() {
        let [sums] = workers.sums::<_, _, CHANNELS, 1>(&Columns { at: block * CHANNELS }, from);
        to.iter_mut().zip(sums).for_each(|(to, sum)| each(to, sum));
    }
}
