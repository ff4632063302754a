//! What the host's processor can do at most, measured on the spot.

use std::hint::black_box;
use std::time::Instant;

use sse_sam_core::Error;
use sse_sam_core::ops::workers::{Formula, Tiles};

use crate::device::threads::{Level, Threads};

/// Multiply-adds of a chain.
const ROUNDS: usize = 1 << 16;
/// Runs of each way.
const TRIES: usize = 20;

/// Floating-point operations a second of all threads in `a * x + b` from registers to registers, without fusing, as the
/// CPU core computes: the best of a few numbers of independent chains of one thread, times the threads.
pub fn multiply_adds(threads: &Threads) -> f64 {
    let level = threads.level();
    let rates = [rate::<16>(level), rate::<32>(level), rate::<64>(level), rate::<128>(level), rate::<256>(level)];
    threads.count() as f64 * rates.into_iter().fold(0.0, f64::max)
}

fn rate<const CHAINS: usize>(level: Level) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..TRIES {
        let mut sums = std::array::from_fn(|chain| chain as f32);
        let start = Instant::now();
        let done =
            level.run(&Chains { a: black_box(0.999), b: black_box(0.001) }, black_box::<&mut [f32; CHAINS]>(&mut sums));
        if done.is_ok() {
            best = best.max((2 * ROUNDS * CHAINS) as f64 / start.elapsed().as_secs_f64());
        }
    }
    best
}

/// Chains of `x = a * x + b`.
struct Chains {
    a: f32,
    b: f32,
}

impl<const CHAINS: usize> Formula<&mut [f32; CHAINS]> for Chains {
    #[inline(always)]
    fn run(&self, _: impl Tiles, sums: &mut [f32; CHAINS]) -> Result<(), Error> {
        let mut local = *sums;
        for _ in 0..ROUNDS {
            local.iter_mut().for_each(|sum| *sum = *sum * self.a + self.b);
        }
        *sums = local;
        Ok(())
    }
}
