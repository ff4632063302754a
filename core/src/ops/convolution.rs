//! Two-dimensional convolutions.

use core::ops::Range;

use crate::error::Error;
use crate::memory::Span;
#[cfg(feature = "wide")]
use crate::ops::input_gradient;
use crate::ops::lent::{ByRows, Memory, one};
use crate::ops::math::rows::{expect, whole_rows};
#[cfg(any(test, not(feature = "wide")))]
use crate::ops::math::rows::{part, pieces, pieces_mut, rows, rows_mut};
use crate::ops::math::tile::{PIXELS, Portable, Tiles, Windows, columns_mut, widest};
#[cfg(any(test, not(feature = "wide")))]
use crate::ops::math::tile::{columns, multiply_some, transpose};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Rows, RowsMut, Whole};
use crate::ops::stretches::{Area, pitch, stretches, tiles_of};
use crate::shape::Conv2d;

#[cfg(any(test, not(feature = "wide")))]
/// Outputs whose weights are transposed at a time.
const DEPTH: usize = 16;

/// Checks the lengths and returns the number of images.
// `inline(never)`: one copy in flash.
#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
pub(super) fn check(y: usize, x: usize, weight: usize, conv: &Conv2d) -> Result<usize, Error> {
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    if Conv2d::new(input, output.channels, kernel, stride, padding)? != *conv {
        return Err(Error::Image { what: "a convolution", found: (output.height, output.width, output.channels) });
    }
    let images = whole_rows("x", x, input.len())?;
    expect("y", images.saturating_mul(output.len()), y)?;
    expect("weight", conv.weights(), weight)?;
    Ok(images)
}

/// The positions of a side of `outputs` at which kernel position `tap` meets the input of `size`.
#[cfg_attr(feature = "wide", inline(always))]
pub(super) fn positions(tap: usize, size: usize, outputs: usize, conv: &Conv2d) -> Range<usize> {
    // A division costs as much as some terms of a tile.
    let strides = |length: usize| if conv.stride < 2 { length } else { length.div_ceil(conv.stride) };
    let (first, last) = (strides(conv.padding.saturating_sub(tap)), strides((size + conv.padding).saturating_sub(tap)));
    first..last.min(outputs)
}

/// `y[n][i][j][o] = sum_{a,b,c} x[n][i*stride+a-padding][j*stride+b-padding][c] * weight[a][b][c][o]`:
/// [`conv2d_forward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dForward<'a> {
    /// `[n]` images of `conv.output`, overwritten.
    pub y: Span,
    /// `[n]` images of `conv.input`.
    pub x: Span,
    /// `[kernel][kernel][in][out]`.
    pub weight: Span,
    /// The sizes.
    pub conv: &'a Conv2d,
}

impl Operation for Conv2dForward<'_> {
    const NAME: &'static str = "conv2d_forward";

    fn extent(&self) -> Result<Extent, Error> {
        Ok(Extent::Conv2d(check(self.y.length, self.x.length, self.weight.length, self.conv)?, *self.conv))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        see(Access::Read, self.x);
        see(Access::Read, self.weight);
    }
}

impl ByRows for Conv2dForward<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>, Whole<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (
            memory.rows_mut(&self.y, self.conv.output.len()),
            memory.rows(&self.x, self.conv.input.len()),
            memory.whole(&self.weight),
        )
    }

    #[inline(always)]
    fn formula(&self, tiles: impl Tiles, (y, x, weight): Self::Slices<'_>) -> Result<(), Error> {
        forward(tiles, y.values, x.values, weight.0, self.conv)
    }
}

/// Two-dimensional convolution without bias.
///
/// `y[n][i][j][o] = sum_{a,b,c} x[n][i*stride+a-padding][j*stride+b-padding][c] * weight[a][b][c][o]`, where pixels
/// outside `x` count as zero.
///
/// | argument | shape                         | meaning                     |
/// |----------|-------------------------------|-----------------------------|
/// | `y`      | `[n]` images of `conv.output` | overwritten                 |
/// | `x`      | `[n]` images of `conv.input`  |                             |
/// | `weight` | `[kernel][kernel][in][out]`   |                             |
/// | `conv`   |                               | as [`Conv2d::new`] makes it |
///
/// # Errors
/// [`Error::Length`] when a slice does not fit `conv`, [`Error::Image`] when `conv` contradicts itself.
pub fn conv2d_forward(y: &mut [f32], x: &[f32], weight: &[f32], conv: &Conv2d) -> Result<(), Error> {
    forward(Portable, y, x, weight, conv)
}

/// [`conv2d_forward`] by some tiles.
#[cfg_attr(feature = "wide", inline(always))]
fn forward<T: Tiles>(tiles: T, y: &mut [f32], x: &[f32], weight: &[f32], conv: &Conv2d) -> Result<(), Error> {
    check(y.len(), x.len(), weight.len(), conv)?;
    let mut at = 0;
    while at < conv.output.channels {
        let rest = conv.output.channels - at;
        at += widest!(T, rest, C => plane::<C>(tiles, y, x, weight, conv, at), {
            if rest >= 4 {
                plane::<4>(tiles, y, x, weight, conv, at)
            } else {
                plane::<1>(tiles, y, x, weight, conv, at)
            }
        });
    }
    Ok(())
}

/// Channels `at..at + C` of all images; how many these are.
#[cfg_attr(feature = "wide", inline(always))]
fn plane<const C: usize>(
    tiles: impl Tiles,
    y: &mut [f32],
    x: &[f32],
    weight: &[f32],
    conv: &Conv2d,
    at: usize,
) -> usize {
    let Conv2d { input, output, kernel, .. } = *conv;
    let images = y.len().checked_div(output.len()).unwrap_or(0);
    let (tap, row) = (input.channels * output.channels, kernel * input.channels * output.channels);
    for rows in stretches(input.height, output.height, conv) {
        for columns in stretches(input.width, output.width, conv) {
            let weight = weight.get(rows.tap * row + columns.tap * tap + at..).unwrap_or_default();
            // A pixel's kernel positions of one row lie side by side, and so do their weights.
            let size = [rows.taps, 1, columns.taps * input.channels];
            for (pixels, count) in tiles_of(Area { images, rows, columns }, (input, conv.stride), (output, 1)) {
                let windows = Windows { x, at: pixels.map(|pixel| pixel.0), steps: [pitch(&input), 0] };
                let mut sums = [[0.0; C]; PIXELS];
                tiles.window(&mut sums, windows, (weight, [row, 0, output.channels]), size);
                for (pixel, sums) in pixels.iter().zip(sums).take(count) {
                    if let Some(pixel) = columns_mut(y, pixel.1 + at) {
                        *pixel = sums;
                    }
                }
            }
        }
    }
    C
}

/// The gradient of [`Conv2dForward`] with respect to `x`: [`conv2d_backward_input`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dBackwardInput<'a> {
    /// `[n]` images of `conv.input` each, overwritten or added to.
    pub dx: &'a [Span],
    /// `[n]` images of `conv.output` each.
    pub dy: &'a [Span],
    /// `[kernel][kernel][in][out]`.
    pub weight: Span,
    /// The sizes.
    pub conv: &'a Conv2d,
    /// Whether `dx` is added to.
    pub accumulate: bool,
}

impl Operation for Conv2dBackwardInput<'_> {
    const NAME: &'static str = "conv2d_backward_input";

    fn extent(&self) -> Result<Extent, Error> {
        streams(&[self.dx, self.dy])?;
        Ok(Extent::Conv2d(check(length(self.dy), length(self.dx), self.weight.length, self.conv)?, *self.conv))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dx.iter().for_each(|dx| see(Access::gradient(self.accumulate), *dx));
        self.dy.iter().for_each(|dy| see(Access::Read, *dy));
        see(Access::Read, self.weight);
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

impl ByRows for Conv2dBackwardInput<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>, Whole<'m>);

    fn count(&self) -> Result<usize, Error> {
        streams(&[self.dx, self.dy])
    }

    fn slices<'m>(&self, memory: &mut Memory<'m>, stream: usize) -> Self::Slices<'m> {
        (
            memory.rows_mut(one(self.dx, stream), self.conv.input.len()),
            memory.rows(one(self.dy, stream), self.conv.output.len()),
            memory.whole(&self.weight),
        )
    }

    #[inline(always)]
    fn formula(&self, tiles: impl Tiles, (dx, dy, weight): Self::Slices<'_>) -> Result<(), Error> {
        backward_input(tiles, dx.values, dy.values, weight.0, self.conv, self.accumulate)
    }
}

/// The gradient of [`conv2d_forward`] with respect to `x`.
///
/// `dx[n][h][w][c] = sum dy[n][i][j][o] * weight[a][b][c][o]` over all `i*stride+a-padding = h`,
/// `j*stride+b-padding = w` and `o`; added to `dx` when `accumulate` is set. Shapes as there.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv2d_backward_input(
    dx: &mut [f32],
    dy: &[f32],
    weight: &[f32],
    conv: &Conv2d,
    accumulate: bool,
) -> Result<(), Error> {
    backward_input(Portable, dx, dy, weight, conv, accumulate)
}

/// [`conv2d_backward_input`] by some tiles.
#[cfg_attr(feature = "wide", inline(always))]
fn backward_input<T: Tiles>(
    tiles: T,
    dx: &mut [f32],
    dy: &[f32],
    weight: &[f32],
    conv: &Conv2d,
    accumulate: bool,
) -> Result<(), Error> {
    check(dy.len(), dx.len(), weight.len(), conv)?;
    if !accumulate {
        dx.fill(0.0);
    }
    #[cfg(feature = "wide")]
    input_gradient::gather_taps(tiles, dx, dy, weight, conv);
    #[cfg(not(feature = "wide"))]
    spread_channels(tiles, dx, dy, weight, conv);
    Ok(())
}

/// Adds to the gradients of some images.
#[cfg(not(feature = "wide"))]
fn spread_channels<T: Tiles>(_: T, dx: &mut [f32], dy: &[f32], weight: &[f32], conv: &Conv2d) {
    // Several images at a time, so that transposing a block of weights pays.
    let images = (256 / conv.output.height.saturating_mul(conv.output.width).max(1)).max(1);
    let (inputs, outputs) = (images.saturating_mul(conv.input.len()), images.saturating_mul(conv.output.len()));
    let groups = pieces_mut(dx, inputs).zip(pieces(dy, outputs));
    for (dx, dy) in groups {
        let mut at = 0;
        while at < conv.input.channels {
            let rest = conv.input.channels - at;
            at += widest!(T, rest, C => spread_taps::<C>(dx, dy, weight, conv, at), {
                if rest >= 4 {
                    spread_taps::<4>(dx, dy, weight, conv, at)
                } else {
                    spread_taps::<1>(dx, dy, weight, conv, at)
                }
            });
        }
    }
}

/// Input channels `at..at + C` of some images, one block of transposed weights after the other; how many these are.
#[cfg(any(test, not(feature = "wide")))]
pub(super) fn spread_taps<const C: usize>(
    dx: &mut [f32],
    dy: &[f32],
    weight: &[f32],
    conv: &Conv2d,
    at: usize,
) -> usize {
    let outputs = conv.output.channels;
    let taps = rows(weight, conv.input.channels * outputs);
    let mut block = [[0.0; C]; DEPTH];
    for (tap, weight) in taps.enumerate() {
        let tap = (tap / conv.kernel.max(1), tap % conv.kernel.max(1));
        let mut from = 0;
        while from < outputs {
            let depth = DEPTH.min(outputs - from);
            transpose(&mut block, part(weight, at * outputs, C * outputs), outputs, &(from..from + depth));
            spread(dx, dy, block.get(..depth).unwrap_or_default(), conv, tap, (at, from));
            from += depth;
        }
    }
    C
}

/// Adds `dy[..][from..] * block` at kernel position `(a, b)` to channels `at..at + C`.
#[cfg(any(test, not(feature = "wide")))]
#[inline(never)]
fn spread<const C: usize>(
    dx: &mut [f32],
    dy: &[f32],
    block: &[[f32; C]],
    conv: &Conv2d,
    (a, b): (usize, usize),
    (at, from): (usize, usize),
) {
    let Conv2d { input, output, stride, padding, .. } = *conv;
    let (pitch, dy_pitch) = (input.width * input.channels, output.width * output.channels);
    let columns = positions(b, input.width, output.width, conv);
    let step = stride * input.channels;
    let skipped = (columns.start * stride + b).saturating_sub(padding) * input.channels + at;
    for (dx, dy) in rows_mut(dx, input.len()).zip(rows(dy, output.len())) {
        for i in positions(a, input.height, output.height, conv) {
            let row = (i * stride + a - padding) * pitch;
            let dx = dx.get_mut(row + skipped..row + pitch).unwrap_or_default();
            let dy = part(dy, i * dy_pitch, columns.end * output.channels);
            let dy = dy.get(columns.start * output.channels + from..).unwrap_or_default();
            for (dx, dy) in pieces_mut(dx, PIXELS * step).zip(pieces(dy, PIXELS * output.channels)) {
                spread_tile(dx, step, dy, output.channels, block);
            }
        }
    }
}

/// [`spread`] for as many pixels as a tile has, `step` apart in `dx` and `pitch` in `dy`.
#[cfg(any(test, not(feature = "wide")))]
#[inline(always)]
fn spread_tile<const C: usize>(dx: &mut [f32], step: usize, dy: &[f32], pitch: usize, block: &[[f32; C]]) {
    let pixels = [0, 1, 2, 3].map(|p| dy.get(p * pitch..p * pitch + block.len()));
    let mut sums = [0, 1, 2, 3].map(|p| columns(dx, p * step).copied().unwrap_or([0.0; C]));
    multiply_some(&mut sums, pixels, block.as_flattened(), C);
    for (p, (sums, pixel)) in sums.iter().zip(pixels).enumerate() {
        if let (Some(dx), true) = (columns_mut(dx, p * step), pixel.is_some()) {
            *dx = *sums;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::convolution_weight::{add_weights, conv2d_backward_weight};
    use super::super::testing::{Vec, Wide, assert_close, numbers, wide};
    use super::*;
    use crate::shape::Shape;

    /// All products `x * weight` that make an output, by their three positions.
    fn products(images: usize, conv: &Conv2d, mut each: impl FnMut(usize, usize, usize)) {
        let Conv2d { input, output, kernel, stride, padding } = *conv;
        for n in 0..images * output.height * output.width * kernel * kernel {
            let (b, n) = (n % kernel, n / kernel);
            let (a, n) = (n % kernel, n / kernel);
            let (j, n) = (n % output.width, n / output.width);
            let (i, n) = (n % output.height, n / output.height);
            let (Some(h), Some(w)) = ((i * stride + a).checked_sub(padding), (j * stride + b).checked_sub(padding))
            else {
                continue;
            };
            if h >= input.height || w >= input.width {
                continue;
            }
            for (c, o) in (0..input.channels).flat_map(|c| (0..output.channels).map(move |o| (c, o))) {
                let y = ((n * output.height + i) * output.width + j) * output.channels + o;
                let x = ((n * input.height + h) * input.width + w) * input.channels + c;
                each(y, x, ((a * kernel + b) * input.channels + c) * output.channels + o);
            }
        }
    }

    fn check_shape(images: usize, input: Shape, filters: usize, kernel: usize, stride: usize, padding: usize) {
        let conv = Conv2d::new(input, filters, kernel, stride, padding).unwrap();
        let x = numbers(1, images * input.len());
        let weight = numbers(2, conv.weights());
        let dy = numbers(3, images * conv.output.len());
        let (dx_before, dweight_before) = (numbers(4, x.len()), numbers(5, weight.len()));
        let mut y_expected: Vec<f64> = dy.iter().map(|_| 0.0).collect();
        let (mut dx_expected, mut dweight_expected) = (wide(&dx_before), wide(&dweight_before));
        products(images, &conv, |y_at, x_at, weight_at| {
            y_expected[y_at] += f64::from(x[x_at]) * f64::from(weight[weight_at]);
            dx_expected[x_at] += f64::from(dy[y_at]) * f64::from(weight[weight_at]);
            dweight_expected[weight_at] += f64::from(dy[y_at]) * f64::from(x[x_at]);
        });
        let mut y = numbers(6, dy.len());
        conv2d_forward(&mut y, &x, &weight, &conv).unwrap();
        assert_close(&y, &y_expected, 1e-5);
        let (mut dx, mut dweight) = (dx_before.clone(), dweight_before.clone());
        conv2d_backward_input(&mut dx, &dy, &weight, &conv, true).unwrap();
        assert_close(&dx, &dx_expected, 1e-5);
        conv2d_backward_input(&mut dx, &dy, &weight, &conv, false).unwrap();
        let overwritten: Vec<f64> =
            dx_expected.iter().zip(&dx_before).map(|(sum, old)| sum - f64::from(*old)).collect();
        assert_close(&dx, &overwritten, 1e-5);
        conv2d_backward_weight(&mut dweight, &x, &dy, &conv).unwrap();
        assert_close(&dweight, &dweight_expected, 1e-5);
    }

    #[test]
    fn convolutions_of_awkward_sizes_follow_the_formula() {
        for (channels, filters) in [(1, 4), (3, 4), (3, 16), (5, 7), (16, 16), (8, 17), (17, 33), (33, 21)] {
            for (height, width) in [(1, 1), (2, 3), (5, 7), (8, 8), (9, 13)] {
                for (kernel, stride, padding) in
                    [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (2, 3, 1), (5, 1, 4), (3, 1, 0)]
                {
                    if kernel <= height.min(width) + 2 * padding {
                        check_shape(3, Shape::new(height, width, channels), filters, kernel, stride, padding);
                    }
                }
            }
        }
    }

    /// The bits of an output and of both gradients.
    fn bits<T: Tiles>(tiles: T, conv: &Conv2d) -> Vec<u32> {
        let (x, weight, dy) =
            (numbers(1, 3 * conv.input.len()), numbers(2, conv.weights()), numbers(3, 3 * conv.output.len()));
        let (mut y, mut dx, mut dweight) = (dy.clone(), numbers(4, x.len()), numbers(5, weight.len()));
        forward(tiles, &mut y, &x, &weight, conv).unwrap();
        backward_input(tiles, &mut dx, &dy, &weight, conv, true).unwrap();
        add_weights(tiles, &mut dweight, 0, &x, &dy, conv);
        y.iter().chain(&dx).chain(&dweight).map(|number| number.to_bits()).collect()
    }

    #[test]
    fn tiles_of_every_width_give_the_same_bits() {
        for (channels, filters) in [(3, 17), (32, 33), (57, 60), (64, 96)] {
            for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 2, 0), (2, 3, 1)] {
                let conv = Conv2d::new(Shape::new(5, 7, channels), filters, kernel, stride, padding).unwrap();
                let expected = bits(Wide::<4>, &conv);
                assert!(bits(Wide::<8>, &conv) == expected, "{conv:?} by 8");
                assert!(bits(Wide::<16>, &conv) == expected, "{conv:?} by 16");
                assert!(bits(Wide::<32>, &conv) == expected, "{conv:?} by 32");
            }
        }
    }

    #[test]
    fn a_convolution_that_contradicts_itself_is_refused() {
        let conv = Conv2d::new(Shape::new(4, 4, 1), 2, 3, 1, 1).unwrap();
        let wrong = Conv2d { output: Shape::new(5, 4, 2), ..conv };
        assert!(matches!(conv2d_forward(&mut [0.0; 40], &[0.0; 16], &[0.0; 18], &wrong), Err(Error::Image { .. })));
        assert!(matches!(conv2d_forward(&mut [0.0; 31], &[0.0; 16], &[0.0; 18], &conv), Err(Error::Length { .. })));
    }
}
