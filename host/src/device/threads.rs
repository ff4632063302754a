//! The cores of the CPU as workers, at the width of their vectors.
//!
//! An operation is divided by rows, and each part is computed in a function that is compiled for the widest vectors that
//! the processor has. The order in which a sum is added up depends on neither: the same bits as one core of the oldest
//! processor, or a chip.

use std::fmt;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::ValueEnum;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use sse_sam_core::Error as CoreError;
use sse_sam_core::ops::parts::Parts;
use sse_sam_core::ops::workers::{Formula, RUN, Terms, Tiles, Totals, Workers, run};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::device::tiles;

/// Numbers below which dividing an operation costs more than it saves.
const SMALLEST: usize = 1 << 14;
/// So many times as many numbers are worth dividing to be added up, which costs least of all.
const SUMMED: usize = 1 << 2;
/// Parts for each thread, so that one that is held up leaves its share to the others.
const PARTS: usize = 2;

/// Which vectors functions are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What every processor of the architecture has: SSE2, NEON.
    Baseline,
    /// 8 numbers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 16 numbers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// All of this architecture, narrow ones first.
    pub const ALL: &[Self] = &[
        Self::Baseline,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
    ];

    /// Whether this processor has it.
    pub fn is_there(self) -> bool {
        match self {
            Self::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
            }
        }
    }

    /// The widest that this processor has.
    pub fn widest() -> Self {
        Self::ALL.iter().rev().copied().find(|level| level.is_there()).unwrap_or(Self::Baseline)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    /// Runs a formula in a function that is compiled for it.
    pub(crate) fn run<P, F: Formula<P>>(self, formula: &F, parts: P) -> Result<(), CoreError> {
        match self {
            Self::Baseline => formula.run(baseline(), parts),
            // SAFETY: threads have a level that the processor has: `Threads::new` looks.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::run(formula, parts) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::run(formula, parts) },
        }
    }

    /// Leaves the sums of 64 rows each in `runs`.
    fn sum<P: Parts, T: Terms<P, N, K>, const N: usize, const K: usize>(
        self,
        terms: &T,
        parts: P,
        runs: &mut [[[f32; N]; K]],
    ) {
        match self {
            Self::Baseline => sum(terms, parts, runs),
            // SAFETY: as in `run`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::sum(terms, parts, runs) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::sum(terms, parts, runs) },
        }
    }
}

#[inline(always)]
fn sum<P: Parts, T: Terms<P, N, K>, const N: usize, const K: usize>(terms: &T, parts: P, runs: &mut [[[f32; N]; K]]) {
    let mut terms = terms.terms(parts);
    runs.iter_mut().for_each(|sums| (*sums, _) = run(&mut terms));
}

/// The tiles that every processor of the architecture has.
#[inline(always)]
fn baseline() -> impl Tiles {
    // SAFETY: they belong to the architecture.
    #[cfg(target_arch = "x86_64")]
    return unsafe { tiles::Sse2::new() };
    // SAFETY: likewise.
    #[cfg(target_arch = "aarch64")]
    return unsafe { tiles::Neon::new() };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    sse_sam_core::ops::workers::Portable
}

/// Functions in which formulas are compiled for more than the architecture's baseline: whatever they call is inlined.
#[cfg(target_arch = "x86_64")]
macro_rules! level {
    ($name:ident, $tiles:ident, $features:literal) => {
        mod $name {
            use sse_sam_core::Error;
            use sse_sam_core::ops::parts::Parts;
            use sse_sam_core::ops::workers::{Formula, Terms};

            use crate::device::tiles::$tiles;

            #[target_feature(enable = $features)]
            pub fn run<P, F: Formula<P>>(formula: &F, parts: P) -> Result<(), Error> {
                // SAFETY: this function runs where there are these instructions only.
                formula.run(unsafe { $tiles::new() }, parts)
            }

            #[target_feature(enable = $features)]
            pub fn sum<P: Parts, T: Terms<P, N, K>, const N: usize, const K: usize>(
                terms: &T,
                parts: P,
                runs: &mut [[[f32; N]; K]],
            ) {
                super::sum(terms, parts, runs);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
level!(avx2, Avx2, "avx2");
#[cfg(target_arch = "x86_64")]
level!(avx512, Avx512, "avx512f,avx512vl,avx512dq,avx512bw");

/// How many threads, and which vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Threads, at least 1.
    pub threads: usize,
    /// Vectors.
    pub level: Level,
}

impl Default for Cores {
    /// All that there are, and the widest.
    fn default() -> Self {
        Self { threads: thread::available_parallelism().map_or(1, NonZero::get), level: Level::widest() }
    }
}

impl Cores {
    /// Threads for each processor that may help: beyond that they only take memory.
    pub const A_PROCESSOR: usize = 4;

    /// The most threads that may help.
    pub fn most() -> usize {
        Self::A_PROCESSOR * Self::default().threads
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.threads {
            1 => write!(f, "one thread, {}", self.level.name()),
            threads => write!(f, "{threads} threads, {}", self.level.name()),
        }
    }
}

/// Threads that compute side by side; the one that asks is one of them.
#[derive(Debug)]
pub struct Threads {
    /// The others.
    pool: Option<ThreadPool>,
    count: usize,
    level: Level,
    /// Numbers from which an operation is divided.
    smallest: usize,
}

impl Threads {
    /// As many threads as are asked for, or as the system gives. Vectors that the processor does not have give way to the widest that it has.
    pub fn new(Cores { threads, level }: Cores) -> Self {
        let level = if level.is_there() { level } else { Level::widest() };
        let pool = |others: usize| {
            ThreadPoolBuilder::new().num_threads(others).thread_name(|number| format!("worker {number}")).build().ok()
        };
        let others = std::iter::successors(threads.checked_sub(1), |others| Some(others / 2));
        let made = others.take_while(|others| *others > 0).find_map(|others| Some((others + 1, pool(others)?)));
        match made {
            Some((count, pool)) => Self { pool: Some(pool), count, level, smallest: SMALLEST },
            None => Self { pool: None, count: 1, level, smallest: SMALLEST },
        }
    }

    /// The same, which divide operations of so many numbers already.
    #[must_use]
    pub fn dividing_from(self, numbers: usize) -> Self {
        Self { smallest: numbers, ..self }
    }

    /// How many threads there are.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Which vectors they use.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Has every thread take parts until none is left.
    fn share<P: Send>(&self, parts: Vec<P>, work: impl Fn(P) + Sync) {
        let queue = Mutex::new(parts.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(part) = next() {
                work(part);
            }
        };
        match &self.pool {
            None => work(),
            Some(pool) => pool.in_place_scope(|scope| {
                (1..self.count).for_each(|_| scope.spawn(|_| work()));
                work();
            }),
        }
    }

    /// In how many parts so many rows are divided.
    fn parts(&self, rows: usize, numbers: usize) -> usize {
        if self.count == 1 || rows == usize::MAX || numbers < self.smallest { 1 } else { rows.min(PARTS * self.count) }
    }
}

/// `count` parts of `parts`, as equal as whole multiples of `unit` rows can be.
fn divided<P: Parts>(parts: P, rows: usize, unit: usize, count: usize) -> Vec<P> {
    let units = rows.div_ceil(unit);
    let (mut rest, mut list) = (parts, Vec::with_capacity(count));
    for number in 1..count {
        let taken = (units * number / count - units * (number - 1) / count) * unit;
        let (first, after) = rest.split(taken);
        list.push(first);
        rest = after;
    }
    list.push(rest);
    list
}

impl Workers for Threads {
    fn each<P: Parts, F: Formula<P>>(&self, formula: &F, parts: P) -> Result<(), CoreError> {
        let rows = parts.rows();
        let count = self.parts(rows, parts.numbers());
        if count < 2 {
            return self.level.run(formula, parts);
        }
        let result = Mutex::new(Ok(()));
        self.share(divided(parts, rows, 1, count), |part| {
            if let Err(error) = self.level.run(formula, part) {
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        });
        result.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn sums<P: Parts, T: Terms<P, N, K>, const N: usize, const K: usize>(&self, terms: &T, parts: P) -> [[f32; N]; K] {
        let rows = parts.rows();
        let mut runs = vec![[[0.0; N]; K]; rows.div_ceil(RUN)];
        let count = self.parts(runs.len(), rows.saturating_mul(N * K) / SUMMED);
        if count < 2 {
            self.level.sum(terms, parts, &mut runs);
        } else {
            let mut rest = runs.as_mut_slice();
            let parts = divided(parts, rows, RUN, count).into_iter().map(|part| {
                let (own, after) = std::mem::take(&mut rest).split_at_mut(part.rows().div_ceil(RUN));
                rest = after;
                (part, own)
            });
            self.share(parts.collect(), |(part, runs)| self.level.sum(terms, part, runs));
        }
        let mut totals = Totals::default();
        runs.iter().for_each(|run| totals.add(run));
        totals.values()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sse_sam_core::ops::parts::{Numbers, Rows, RowsMut};
    use sse_sam_core::ops::workers::Alone;

    use super::*;

    fn every_kind() -> impl Iterator<Item = Threads> {
        let levels = Level::ALL.iter().copied().filter(|level| level.is_there());
        levels.flat_map(|level| [1, 2, 3, 7].map(|threads| Threads::new(Cores { threads, level })))
    }

    /// Adds each row's number to it, and counts the parts.
    struct Count(AtomicUsize);

    impl Formula<(RowsMut<'_>, Numbers)> for Count {
        #[inline(always)]
        fn run(&self, _: impl Tiles, (to, numbers): (RowsMut<'_>, Numbers)) -> Result<(), CoreError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert_eq!(to.rows(), numbers.rows());
            for (row, number) in to.values.chunks_mut(to.length.max(1)).zip(numbers.0) {
                row.iter_mut().for_each(|value| *value += number as f32);
            }
            Ok(())
        }
    }

    #[test]
    fn every_row_is_computed_once_and_long_operands_are_divided() {
        for threads in every_kind() {
            for (rows, length) in [(0, 3), (1, 20_000), (5, 1), (13, 2000), (40_000, 1), (4097, 7)] {
                let mut values = vec![0.5; rows * length];
                let count = Count(AtomicUsize::new(0));
                threads.each(&count, (RowsMut { values: &mut values, length }, Numbers(0..rows))).unwrap();
                for (number, row) in values.chunks(length).enumerate() {
                    assert!(row.iter().all(|value| *value == 0.5 + number as f32), "{rows} x {length}, row {number}");
                }
                let divided = threads.count() > 1 && rows > 1 && rows * length >= SMALLEST;
                assert_eq!(count.0.into_inner() > 1, divided, "{rows} x {length} by {}", threads.count());
            }
        }
    }

    #[test]
    fn operands_that_do_not_fit_together_are_not_divided() {
        struct Lengths;
        impl Formula<(RowsMut<'_>, Rows<'_>)> for Lengths {
            fn run(&self, _: impl Tiles, (to, from): (RowsMut<'_>, Rows<'_>)) -> Result<(), CoreError> {
                assert_eq!((to.values.len(), from.values.len()), (20_000, 20_010));
                Err(CoreError::Overlap)
            }
        }
        let (mut to, from) = (vec![0.0; 20_000], vec![0.0; 20_010]);
        for threads in every_kind() {
            let parts = (RowsMut { values: &mut to, length: 10 }, Rows { values: &from, length: 10 });
            assert_eq!(threads.each(&Lengths, parts), Err(CoreError::Overlap));
        }
    }

    #[test]
    fn an_error_of_one_part_ends_the_operation() {
        struct Last;
        impl Formula<(Rows<'_>, Numbers)> for Last {
            fn run(&self, _: impl Tiles, (_, numbers): (Rows<'_>, Numbers)) -> Result<(), CoreError> {
                if numbers.0.end == 20_000 { Err(CoreError::Nesterov) } else { Ok(()) }
            }
        }
        let values = vec![0.0; 20_000];
        for threads in every_kind() {
            let parts = (Rows { values: &values, length: 1 }, Numbers(0..20_000));
            assert_eq!(threads.each(&Last, parts), Err(CoreError::Nesterov));
        }
    }

    /// The values and their squares, three lanes of a row.
    struct Both;

    impl<'p> Terms<Rows<'p>, 3, 2> for Both {
        #[inline(always)]
        fn terms(&self, rows: Rows<'p>) -> impl Iterator<Item = [[f32; 3]; 2]> {
            rows.values.chunks_exact(3).map(|row| [[row[0], row[1], row[2]], [row[0], row[1], row[2]].map(|x| x * x)])
        }
    }

    #[test]
    fn sums_are_those_of_one_core() {
        let values: Vec<f32> =
            (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-7 - 0.7).collect();
        for rows in [0, 1, 63, 64, 65, 128, 1000, 50_001, 100_000] {
            let parts = Rows { values: &values[..3 * rows], length: 3 };
            let expected = Alone.sums(&Both, parts).map(|sums| sums.map(f32::to_bits));
            for threads in every_kind() {
                let found = threads.sums(&Both, parts).map(|sums| sums.map(f32::to_bits));
                assert_eq!(found, expected, "{rows} rows by {} with {}", threads.count(), threads.level().name());
            }
        }
    }
}
