//! The cores of the CPU as workers, at the width of their vectors.
//!
//! An operation is divided by rows, and each part is computed in a function that is compiled for the widest vectors that
//! the processor has. The order in which a sum is added up depends on neither: the same bits as one core of the oldest
//! processor, or a chip.

use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sse_sam_core::Error as CoreError;
use sse_sam_core::ops::parts::Parts;
use sse_sam_core::ops::workers::{Formula, RUN, Terms, Totals, Workers, run};

use crate::error::Error;

/// Numbers below which dividing an operation costs more than it saves.
const SMALLEST: usize = 1 << 13;
/// Parts for each thread, so that one that is held up leaves its share to the others.
const PARTS: usize = 4;

/// Which vectors functions are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
            #[cfg(target_arch = "aarch64")]
            Self::Baseline => "neon",
            #[cfg(not(target_arch = "aarch64"))]
            Self::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    fn run<P, F: Formula<P>>(self, formula: &F, parts: P) -> Result<(), CoreError> {
        match self {
            Self::Baseline => formula.run(parts),
            // SAFETY: a level is made for processors alone that have it.
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
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::sum(terms, parts, runs) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::sum(terms, parts, runs) },
        }
    }
}

#[inline(always)]
fn sum<P: Parts, T: Terms<P, N, K>, const N: usize, const K: usize>(
    terms: &T,
    parts: P,
    runs: &mut [[[f32; N]; K]],
) {
    let mut terms = terms.terms(parts);
    runs.iter_mut().for_each(|sums| (*sums, _) = run(&mut terms));
}

/// Functions in which formulas are compiled for more than the architecture's baseline: whatever they call is inlined.
#[cfg(target_arch = "x86_64")]
macro_rules! level {
    ($name:ident, $features:literal) => {
        mod $name {
            use sse_sam_core::Error;
            use sse_sam_core::ops::parts::Parts;
            use sse_sam_core::ops::workers::{Formula, Terms};

            #[target_feature(enable = $features)]
            pub fn run<P, F: Formula<P>>(formula: &F, parts: P) -> Result<(), Error> {
                formula.run(parts)
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
level!(avx2, "avx2");
#[cfg(target_arch = "x86_64")]
level!(avx512, "avx512f,avx512vl,avx512dq,avx512bw");

/// Threads that compute side by side; the one that asks is one of them.
#[derive(Debug)]
pub struct Threads {
    /// The others.
    pool: Option<ThreadPool>,
    count: usize,
    level: Level,
}

impl Threads {
    /// `count` threads, at the widest level.
    ///
    /// # Errors
    /// [`Error::Usage`] when the system gives no so many.
    pub fn new(count: usize) -> Result<Self, Error> {
        Self::at(Level::widest(), count)
    }

    /// `count` threads at `level`.
    ///
    /// # Errors
    /// [`Error::Usage`] when the processor does not have the level, or the system gives no so many threads.
    pub fn at(level: Level, count: usize) -> Result<Self, Error> {
        if !level.is_there() {
            return Err(Error::Usage(format!("this processor has no {}", level.name())));
        }
        let pool = match count {
            0 | 1 => None,
            _ => {
                let builder = ThreadPoolBuilder::new().num_threads(count - 1).thread_name(|at| format!("worker {at}"));
                Some(builder.build().map_err(|error| Error::Usage(format!("--threads {count}: {error}")))?)
            }
        };
        Ok(Self { pool, count: count.max(1), level })
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
        if self.count == 1 || rows == usize::MAX || numbers < SMALLEST { 1 } else { rows.min(PARTS * self.count) }
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
        let count = self.parts(runs.len(), parts.numbers());
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
