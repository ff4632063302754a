//! Sums over pixels and over long vectors: short runs in `f32` lanes, run after run in `f64`.

use super::rows;
use super::tile::WIDE;

/// Channels that are worked on side by side; a channel's own sum does not depend on it.
pub(super) const CHANNELS: usize = if WIDE == 4 { 4 } else { 16 };

/// Terms a lane takes before it goes to the total.
const RUN: usize = 64;

/// `N` values of `row` from `at`, zeros where it ends.
#[inline(always)]
pub(super) fn lanes<const N: usize>(row: &[f32], at: usize) -> [f32; N] {
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

/// The sums of all `terms`, lane by lane.
#[inline(always)]
pub(super) fn sum<const N: usize, const K: usize>(mut terms: impl Iterator<Item = [[f32; N]; K]>) -> [[f64; N]; K] {
    let mut totals = [[0.0; N]; K];
    loop {
        let mut runs = [[0.0; N]; K];
        let mut taken = 0;
        for term in terms.by_ref().take(RUN) {
            for (run, term) in runs.iter_mut().zip(&term) {
                run.iter_mut().zip(term).for_each(|(run, term)| *run += term);
            }
            taken += 1;
        }
        for (total, run) in totals.as_flattened_mut().iter_mut().zip(runs.as_flattened()) {
            *total += f64::from(*run);
        }
        if taken < RUN {
            return totals;
        }
    }
}

/// Hands `each` every element of `to` with the sum of its column in `from`, rows of `to.len()` elements.
pub(super) fn for_each_sum(to: &mut [f32], from: &[f32], each: impl Fn(&mut f32, f64)) {
    let channels = to.len();
    for (block, to) in to.chunks_mut(CHANNELS).enumerate() {
        let [sums] = sum(rows(from, channels).map(|row| [lanes::<CHANNELS>(row, block * CHANNELS)]));
        to.iter_mut().zip(sums).for_each(|(to, sum)| each(to, sum));
    }
}
