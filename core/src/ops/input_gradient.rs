//! The gradient of a convolution's input, all taps of a pixel at once: for machines with stack to spare.
//!
//! The scattering form of `convolution.rs` reads and writes `dx` once for every tap and block of weights, so that few weights
//! lie on a chip's stack at a time. Here as many taps as fit are added up in registers. Each number's terms are added in the
//! same order, by tap and then by output channel: the same bits.

use crate::ops::math::rows::{part, pieces_mut, rows, rows_mut};
use crate::ops::math::tile::{PIXELS, Tiles, columns, columns_mut, multiply, widest};
use crate::shape::Conv2d;

/// Output channels of all taps whose weights lie on the stack at a time: 128 KiB of it at most.
const WEIGHTS: usize = 1024;

/// Whether this form computes a convolution.
#[inline(always)]
pub(crate) fn can<T: Tiles>(conv: &Conv2d) -> bool {
    conv.stride == 1 && conv.output.channels <= WEIGHTS && conv.input.channels.is_multiple_of(T::WIDE.clamp(8, 16))
}

/// Adds to the gradients of some images.
#[inline(always)]
pub(crate) fn gather_taps<T: Tiles>(tiles: T, dx: &mut [f32], dy: &[f32], weight: &[f32], conv: &Conv2d) {
    let mut at = 0;
    while at < conv.input.channels {
        let rest = conv.input.channels - at;
        at += widest!(T, rest, C => gather_channels::<C>(tiles, dx, dy, weight, conv, at), rest);
    }
}

/// Adds to the input channels `at..at + C`; how many these are.
#[inline(always)]
fn gather_channels<const C: usize>(
    tiles: impl Tiles,
    dx: &mut [f32],
    dy: &[f32],
    weight: &[f32],
    conv: &Conv2d,
    at: usize,
) -> usize {
    let outputs = conv.output.channels.max(1);
    let (taps, fitting) = (conv.kernel * conv.kernel, (WEIGHTS / outputs).max(1));
    let mut block = [[0.0; C]; WEIGHTS];
    let mut first = 0;
    while first < taps {
        let count = fitting.min(taps - first);
        let weights = rows(weight, conv.input.channels * outputs).skip(first).take(count);
        for (weight, block) in weights.zip(block.chunks_exact_mut(outputs)) {
            for (c, row) in rows(part(weight, at * outputs, C * outputs), outputs).enumerate() {
                for (transposed, weight) in block.iter_mut().zip(row) {
                    transposed.iter_mut().skip(c).take(1).for_each(|to| *to = *weight);
                }
            }
        }
        let block = block.as_flattened();
        for (dx, dy) in rows_mut(dx, conv.input.len()).zip(rows(dy, conv.output.len())) {
            for (h, dx) in rows_mut(dx, conv.input.width * conv.input.channels).enumerate() {
                for (tile, dx) in pieces_mut(dx, PIXELS * conv.input.channels).enumerate() {
                    gather_tile::<C>(tiles, dx, (h, tile * PIXELS), dy, block, conv, first..first + count, at);
                }
            }
        }
        first += count;
    }
    C
}

/// Adds the taps `taps` of up to [`PIXELS`] pixels of a row from `(h, w)` on.
#[inline(always)]
fn gather_tile<const C: usize>(
    tiles: impl Tiles,
    dx: &mut [f32],
    (h, w): (usize, usize),
    dy: &[f32],
    block: &[f32],
    conv: &Conv2d,
    taps: core::ops::Range<usize>,
    at: usize,
) {
    let Conv2d { input, output, kernel, padding, .. } = *conv;
    let outputs = output.channels;
    let mut sums = [0, 1, 2, 3].map(|p| columns(dx, p * input.channels + at).copied().unwrap_or([0.0; C]));
    let (mut a, mut b) = (taps.start / kernel.max(1), taps.start % kernel.max(1));
    for weight in rows(block, outputs * C).take(taps.len()) {
        if let Some(i) = (h + padding).checked_sub(a).filter(|i| *i < output.height) {
            let row = part(dy, i * output.width * outputs, output.width * outputs);
            let pixels = [w, w + 1, w + 2, w + 3].map(|w| {
                let j = (w + padding).checked_sub(b).filter(|j| w < input.width && *j < output.width)?;
                Some(part(row, j * outputs, outputs))
            });
            multiply(tiles, &mut sums, pixels, weight, C, 0);
        }
        b += 1;
        if b == kernel {
            (a, b) = (a + 1, 0);
        }
    }
    for (p, sums) in sums.iter().enumerate() {
        if let Some(dx) = columns_mut(dx, p * input.channels + at) {
            *dx = *sums;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::convolution::spread_taps;
    use super::super::testing::numbers;
    use super::*;
    use crate::ops::math::tile::{Portable, WIDE};
    use crate::shape::Shape;

    #[test]
    fn both_forms_give_the_same_bits() {
        for (shape, filters, kernel, padding) in [
            ((7, 9, WIDE), 5, 3, 1),
            ((5, 6, 2 * WIDE), 700, 3, 1),
            ((6, 3, 3 * WIDE), 64, 5, 2),
            ((4, 4, WIDE), 33, 1, 0),
        ] {
            let input = Shape::new(shape.0, shape.1, shape.2);
            let conv = Conv2d::new(input, filters, kernel, 1, padding).unwrap();
            let (dy, weight) = (numbers(1, 2 * conv.output.len()), numbers(2, conv.weights()));
            assert!(can::<Portable>(&conv));
            let (mut ours, mut theirs) = (numbers(3, 2 * input.len()), numbers(3, 2 * input.len()));
            gather_taps(Portable, &mut ours, &dy, &weight, &conv);
            for at in (0..shape.2).step_by(WIDE) {
                spread_taps::<WIDE>(Portable, &mut theirs, &dy, &weight, &conv, at);
            }
            let bits = |values: &[f32]| {
                values
                    .iter()
                    .map(|value| value.to_bits())
                    .fold(0u64, |hash, bits| hash.wrapping_mul(31).wrapping_add(bits.into()))
            };
            assert_eq!(bits(&ours), bits(&theirs), "{conv:?}");
            assert_ne!(bits(&ours), bits(&numbers(3, 2 * input.len())), "nothing was added");
        }
    }
}
