//! What the host's processor can do at most, measured on the spot.

use std::hint::black_box;
use std::time::Instant;

/// Multiply-adds of a chain.
const ROUNDS: usize = 1 << 16;
/// Runs of each way.
const TRIES: usize = 20;

/// Floating-point operations a second of one thread in `a * x + b` from registers to registers, without fusing, as the
/// CPU core computes: the best of a few numbers of independent chains.
pub fn multiply_adds() -> f64 {
    [rate::<16>(), rate::<32>(), rate::<48>(), rate::<64>(), rate::<128>()].into_iter().fold(0.0, f64::max)
}

fn rate<const CHAINS: usize>() -> f64 {
    let mut best = 0.0f64;
    for _ in 0..TRIES {
        let start = Instant::now();
        black_box(chains::<CHAINS>(black_box(0.999), black_box(0.001)));
        best = best.max((2 * ROUNDS * CHAINS) as f64 / start.elapsed().as_secs_f64());
    }
    best
}

fn chains<const CHAINS: usize>(a: f32, b: f32) -> [f32; CHAINS] {
    let mut sums: [f32; CHAINS] = std::array::from_fn(|chain| chain as f32);
    for _ in 0..ROUNDS {
        sums.iter_mut().for_each(|sum| *sum = *sum * a + b);
    }
    sums
}
