//! What the host's processor can do at most, measured on the spot.

use std::hint::black_box;
use std::time::Instant;

use sse_sam_core::Error;
use sse_sam_core::ops::workers::{Formula, PIXELS, Tiles};

use crate::device::threads::Threads;

/// Terms of each sum of a tile: all operands stay in the first cache.
const TERMS: usize = 64;
/// Tiles of a run.
const TILES: usize = 1 << 12;
/// Runs.
const TRIES: usize = 20;

/// Floating-point operations a second of all threads in register tiles, multiplied and added without fusing as the CPU core
/// computes: the best of some runs of one thread, times the threads.
pub fn multiply_adds(threads: &Threads) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..TRIES {
        let start = Instant::now();
        let mut done = 0;
        if threads.level().run(&Peak, &mut done).is_ok() {
            best = best.max(done as f64 / start.elapsed().as_secs_f64());
        }
    }
    threads.count() as f64 * best
}

/// The widest tiles of a processor; how many operations they are.
struct Peak;

impl Formula<&mut usize> for Peak {
    #[inline(always)]
    fn run(&self, tiles: impl Tiles, done: &mut usize) -> Result<(), Error> {
        *done = multiplied(tiles);
        Ok(())
    }
}

#[inline(always)]
fn multiplied<T: Tiles>(tiles: T) -> usize {
    match T::WIDE {
        32 => of_width::<T, 32>(tiles),
        16 => of_width::<T, 16>(tiles),
        8 => of_width::<T, 8>(tiles),
        _ => of_width::<T, 4>(tiles),
    }
}

#[inline(always)]
fn of_width<T: Tiles, const C: usize>(tiles: T) -> usize {
    let (x, weight) = (black_box([0.5; TERMS]), black_box([[0.001; C]; TERMS]));
    let mut sums = [[1.0; C]; PIXELS];
    for _ in 0..TILES {
        tiles.multiply(&mut sums, [&x; PIXELS], weight.as_flattened(), C);
    }
    black_box(sums);
    2 * TILES * TERMS * PIXELS * C
}
