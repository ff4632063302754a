//! Sums over pixels and long vectors: short runs are summed in lanes, then added up with compensation for rounding.

use crate::ops::math::tile::WIDE;

/// Channels that are worked on side by side; a channel's own sum does not depend on it.
pub(crate) const CHANNELS: usize = if WIDE == 4 { 4 } else { 16 };

/// Runs an expression with `N` of the `rest` channels side by side, the more the fewer passes over memory; gives `N`.
macro_rules! side_by_side {
    ($rest:expr, $n:ident => $body:expr) => {
        if cfg!(feature = "wide") && $rest >= 32 {
            const $n: usize = 32;
            $body;
            $n
        } else {
            const $n: usize = CHANNELS;
            $body;
            $n
        }
    };
}
pub(crate) use side_by_side;

/// Terms a lane takes before it goes to the total.
pub const RUN: usize = 64;

/// `N` values of `row` from `at`, zeros where it ends.
#[inline(always)]
pub(crate) fn lanes<const N: usize>(row: &[f32], at: usize) -> [f32; N] {
    let rest = row.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(full) => *full,
        None => {
            let mut padded = [0.0; N];
            padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            padded
        }
    }
}

/// A compensated sum: the second part keeps what rounding took from the first. As exact as a sum in `f64`,
/// without `f64` arithmetic, which a chip would have to emulate.
///
/// # Source
/// Knuth, The Art of Computer Programming, volume 2, theorem 4.2.2 B.
#[derive(Clone, Copy, Default)]
pub(crate) struct Total {
    rounded: f32,
    rest: f32,
}

impl Total {
    #[inline(always)]
    pub(crate) fn add(&mut self, term: f32) {
        let sum = self.rounded + term;
        let taken = sum - self.rounded;
        self.rest += (self.rounded - (sum - taken)) + (term - taken);
        self.rounded = sum;
    }

    #[inline(always)]
    pub(crate) fn value(self) -> f32 {
        // Infinity minus infinity is NaN: an infinite sum has no rounding error to keep.
        if self.rounded.is_finite() { self.rounded + self.rest } else { self.rounded }
    }
}

/// Totals of lanes, to which runs are added in order.
#[derive(Clone, Copy)]
pub struct Totals<const N: usize, const K: usize>([[Total; N]; K]);

impl<const N: usize, const K: usize> Default for Totals<N, K> {
    #[inline(always)]
    fn default() -> Self {
        Self([[Total::default(); N]; K])
    }
}

impl<const N: usize, const K: usize> Totals<N, K> {
    /// Adds a run.
    #[inline(always)]
    pub fn add(&mut self, run: &[[f32; N]; K]) {
        let totals = self.0.as_flattened_mut().iter_mut();
        totals.zip(run.as_flattened()).for_each(|(total, run)| total.add(*run));
    }

    /// The sums.
    #[inline(always)]
    pub fn values(self) -> [[f32; N]; K] {
        self.0.map(|totals| totals.map(Total::value))
    }
}

/// The sums of the next [`RUN`] terms, or of those that are left, and how many that were.
#[inline(always)]
pub fn run<const N: usize, const K: usize>(terms: &mut impl Iterator<Item = [[f32; N]; K]>) -> ([[f32; N]; K], usize) {
    let mut runs = [[0.0; N]; K];
    let mut taken = 0;
    for term in terms.take(RUN) {
        for (run, term) in runs.iter_mut().zip(&term) {
            run.iter_mut().zip(term).for_each(|(run, term)| *run += term);
        }
        taken += 1;
    }
    (runs, taken)
}

/// The sums of all `terms`, lane by lane.
#[inline(always)]
pub(crate) fn sum<const N: usize, const K: usize>(mut terms: impl Iterator<Item = [[f32; N]; K]>) -> [[f32; N]; K] {
    let mut totals = Totals::default();
    loop {
        let (runs, taken) = run(&mut terms);
        totals.add(&runs);
        if taken < RUN {
            return totals.values();
        }
    }
}
