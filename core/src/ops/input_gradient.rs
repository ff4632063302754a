//! The gradient of a convolution's input, all kernel positions of a pixel at once: for machines with stack to spare.
//!
//! The scattering form of `convolution.rs` reads and writes `dx` once for every kernel position and block of weights, so that few
//! weights lie on a chip's stack at a time. Here as many as fit are added up in registers. Each number's terms are added in
//! the same order, by kernel position and then by output channel: the same bits.

use core::ops::Range;

use crate::ops::math::rows::{part, rows};
use crate::ops::math::tile::{Tiles, Windows, columns, columns_mut, widest};
use crate::ops::stretches::{Area, pitch, scattered, tiles_of};
use crate::shape::Conv2d;

/// Kernel positions times output channels whose weights lie on the stack at a time: 128 KiB of it at most.
const WEIGHTS: usize = 1024;

/// Kernel positions and output channels that are worked on together.
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
    outputs: Range<usize>,
}

/// All that a kernel of `size` rows and columns with `outputs` has, in the order of the sums, as many at a time as fit.
#[inline(always)]
fn blocks(size: usize, outputs: usize) -> impl Iterator<Item = Block> {
    let depth = outputs.clamp(1, WEIGHTS);
    let width = (WEIGHTS / depth).clamp(1, size.max(1));
    let height = if width < size { 1 } else { (WEIGHTS / (depth * width)).clamp(1, size.max(1)) };
    let ranges = |end: usize, step: usize| (0..end).step_by(step).map(move |at| at..end.min(at + step));
    ranges(size, height).flat_map(move |rows| {
        ranges(size, width).flat_map(move |columns| {
            let rows = rows.clone();
            ranges(outputs, depth).map(move |outputs| Block { rows: rows.clone(), columns: columns.clone(), outputs })
        })
    })
}

/// Adds to the gradients of some images.
#[inline(always)]
pub(crate) fn gather_taps<T: Tiles>(tiles: T, dx: &mut [f32], dy: &[f32], weight: &[f32], conv: &Conv2d) {
    let mut at = 0;
    while at < conv.input.channels {
        let rest = conv.input.channels - at;
        at += widest!(T, rest, C => gather_channels::<C>(tiles, dx, dy, weight, conv, at), {
            if rest >= 4 {
                gather_channels::<4>(tiles, dx, dy, weight, conv, at)
            } else {
                gather_channels::<1>(tiles, dx, dy, weight, conv, at)
            }
        });
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
    let mut weights = [[0.0; C]; WEIGHTS];
    for block in blocks(conv.kernel, conv.output.channels) {
        transpose(&mut weights, weight, conv, &block, at);
        gather(tiles, dx, dy, &weights, conv, &block, at);
    }
    C
}

/// Fills `to` with the weights of a block, `C` input channels from `at` on side by side.
#[inline(always)]
fn transpose<const C: usize>(to: &mut [[f32; C]], weight: &[f32], conv: &Conv2d, block: &Block, at: usize) {
    let outputs = conv.output.channels;
    let taps = block.rows.clone().flat_map(|a| block.columns.clone().map(move |b| a * conv.kernel + b));
    for (tap, to) in taps.zip(to.chunks_mut(block.outputs.len().max(1))) {
        let weight = part(weight, (tap * conv.input.channels + at) * outputs, C * outputs);
        for (c, row) in rows(weight, outputs).enumerate() {
            for (to, weight) in to.iter_mut().zip(part(row, block.outputs.start, block.outputs.len())) {
                to.iter_mut().skip(c).take(1).for_each(|to| *to = *weight);
            }
        }
    }
}

/// Adds what a block gives to the input channels `at..at + C`.
#[inline(always)]
fn gather<const C: usize>(
    tiles: impl Tiles,
    dx: &mut [f32],
    dy: &[f32],
    weights: &[[f32; C]],
    conv: &Conv2d,
    block: &Block,
    at: usize,
) {
    let Conv2d { input, output, stride, .. } = *conv;
    let images = dx.len().checked_div(input.len()).unwrap_or(0);
    let (depth, width) = (block.outputs.len() * C, block.columns.len() * block.outputs.len() * C);
    let steps = [-pitch(&output), -(output.channels as isize)];
    for rows in scattered(input.height, output.height, block.rows.clone(), conv) {
        for row in scattered(input.width, output.width, block.columns.clone(), conv) {
            let first = (rows.tap - block.rows.start) * width + (row.tap - block.columns.start) * depth;
            let weight = weights.as_flattened().get(first..).unwrap_or_default();
            let size = [rows.taps, row.taps, block.outputs.len()];
            for (pixels, count) in tiles_of(Area { images, rows, columns: row }, (output, 1), (input, stride)) {
                let windows = Windows { x: dy, at: pixels.map(|pixel| pixel.0 + block.outputs.start), steps };
                let mut sums = pixels.map(|pixel| columns(dx, pixel.1 + at).copied().unwrap_or([0.0; C]));
                tiles.window(&mut sums, windows, (weight, [stride * width, stride * depth, C]), size);
                for (pixel, sums) in pixels.iter().zip(sums).take(count) {
                    if let Some(dx) = columns_mut(dx, pixel.1 + at) {
                        *dx = sums;
                    }
                }
            }
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
        for (shape, filters, kernel, stride, padding) in [
            ((7, 9, WIDE), 5, 3, 1, 1),
            ((5, 6, 2 * WIDE), 700, 3, 1, 1),
            ((4, 5, WIDE), 1500, 2, 1, 1),
            ((6, 3, 3 * WIDE), 64, 5, 1, 2),
            ((4, 4, WIDE), 33, 1, 1, 0),
            ((9, 8, WIDE), 40, 3, 2, 1),
            ((7, 10, WIDE), 400, 4, 3, 2),
        ] {
            let input = Shape::new(shape.0, shape.1, shape.2);
            let conv = Conv2d::new(input, filters, kernel, stride, padding).unwrap();
            let (dy, weight) = (numbers(1, 2 * conv.output.len()), numbers(2, conv.weights()));
            let (mut ours, mut theirs) = (numbers(3, 2 * input.len()), numbers(3, 2 * input.len()));
            gather_taps(Portable, &mut ours, &dy, &weight, &conv);
            for at in (0..shape.2).step_by(WIDE) {
                spread_taps::<WIDE>(&mut theirs, &dy, &weight, &conv, at);
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
