//! Fully connected layers: products of a matrix of samples, straight on the register tiles.

use core::ops::Range;

use crate::error::Error;
use crate::memory::Span;
use crate::ops::lent::{ByRows, Compute, Lent, Memory, one};
use crate::ops::math::rows::{expect, pieces, pieces_mut, rows, rows_mut, whole_rows};
use crate::ops::math::tile::{
    PIXELS, Portable, Tiles, WIDE, get_columns, multiply_one, put_columns, transpose, widest,
};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Numbers, Rows, RowsMut, Whole};
use crate::ops::workers::{Alone, Formula, Workers, for_each_sum};

/// Inputs of a tile of the weight's gradient.
const INPUTS: usize = 4;

/// Outputs whose weights are transposed at a time: few on a chip, for they lie on its stack. Sums do not depend on it.
const DEPTH: usize = if WIDE == 4 { 4 } else { 16 };

/// Checks the lengths of `x`, `y` and `weight`; returns the number of inputs.
#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
fn check(x: usize, y: usize, weight: usize, outputs: usize) -> Result<usize, Error> {
    let samples = whole_rows("y", y, outputs)?;
    let inputs = whole_rows("weight", weight, outputs)?;
    expect("x", samples.saturating_mul(inputs), x)?;
    Ok(inputs)
}

/// The sizes of a layer whose parts fit together.
fn layer(x: usize, y: usize, weight: usize, outputs: usize) -> Result<Extent, Error> {
    let inputs = check(x, y, weight, outputs)?;
    Ok(Extent::Linear { rows: y.checked_div(outputs).unwrap_or(0), inputs, outputs })
}

/// `y[n][o] = bias[o] + sum_i x[n][i] * weight[i][o]`: [`linear_forward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearForward {
    /// `[n][out]`, overwritten.
    pub y: Span,
    /// `[n][in]`.
    pub x: Span,
    /// `[in][out]`.
    pub weight: Span,
    /// `[out]`.
    pub bias: Span,
}

impl Operation for LinearForward {
    const NAME: &'static str = "linear_forward";

    fn extent(&self) -> Result<Extent, Error> {
        layer(self.x.length, self.y.length, self.weight.length, self.bias.length)
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        [self.x, self.weight, self.bias].into_iter().for_each(|read| see(Access::Read, read));
    }
}

impl ByRows for LinearForward {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>, Whole<'m>, Whole<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (
            memory.rows_mut(&self.y, self.bias.length),
            memory.rows(&self.x, self.weight.length.checked_div(self.bias.length).unwrap_or(0)),
            memory.whole(&self.weight),
            memory.whole(&self.bias),
        )
    }

    #[inline(always)]
    fn formula(&self, tiles: impl Tiles, (y, x, weight, bias): Self::Slices<'_>) -> Result<(), Error> {
        forward(tiles, y.values, x.values, weight.0, bias.0)
    }
}

/// Fully connected layer: `y[n][o] = bias[o] + sum_i x[n][i] * weight[i][o]`.
///
/// | argument | shape        | meaning     |
/// |----------|--------------|-------------|
/// | `y`      | `[n][out]`   | overwritten |
/// | `x`      | `[n][in]`    |             |
/// | `weight` | `[in][out]`  |             |
/// | `bias`   | `[out]`      |             |
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
pub fn linear_forward(y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32]) -> Result<(), Error> {
    forward(Portable, y, x, weight, bias)
}

/// [`linear_forward`] by some tiles.
#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
fn forward<T: Tiles>(tiles: T, y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32]) -> Result<(), Error> {
    let outputs = bias.len();
    let inputs = check(x.len(), y.len(), weight.len(), outputs)?;
    for y in rows_mut(y, outputs) {
        y.iter_mut().zip(bias).for_each(|(y, bias)| *y = *bias);
    }
    let mut at = 0;
    while at < outputs {
        let (y, x) = ((&mut *y, outputs), (x, inputs));
        let rest = outputs - at;
        at += widest!(T, rest, C => add_product::<C>(tiles, y, at, x, 0..inputs, weight, (outputs, at)), {
            if rest >= 4 {
                add_product::<4>(tiles, y, at, x, 0..inputs, weight, (outputs, at))
            } else {
                last_columns(y.0, outputs, at, x, weight);
                rest
            }
        });
    }
    Ok(())
}

/// `y[n][at..] += x[n] * weight[..][at..]`, one number after the other: columns that are too few for a tile.
#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
fn last_columns(y: &mut [f32], outputs: usize, at: usize, (x, inputs): (&[f32], usize), weight: &[f32]) {
    for (y, x) in rows_mut(y, outputs).zip(rows(x, inputs)) {
        for (column, y) in y.iter_mut().enumerate().skip(at) {
            for (x, weight) in x.iter().zip(rows(weight, outputs)) {
                *y += weight.get(column).map_or(0.0, |weight| x * weight);
            }
        }
    }
}

/// `dx[n][i] = sum_o dy[n][o] * weight[i][o]`: [`linear_backward_input`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearBackwardInput<'a> {
    /// `[n][in]` each, overwritten or added to.
    pub dx: &'a [Span],
    /// `[n][out]` each.
    pub dy: &'a [Span],
    /// `[in][out]`.
    pub weight: Span,
    /// The number of `o`.
    pub outputs: usize,
    /// Whether `dx` is added to.
    pub accumulate: bool,
}

impl Operation for LinearBackwardInput<'_> {
    const NAME: &'static str = "linear_backward_input";

    fn extent(&self) -> Result<Extent, Error> {
        streams(&[self.dx, self.dy])?;
        layer(length(self.dx), length(self.dy), self.weight.length, self.outputs)
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

impl ByRows for LinearBackwardInput<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>, Whole<'m>);

    fn count(&self) -> Result<usize, Error> {
        streams(&[self.dx, self.dy])
    }

    fn slices<'m>(&self, memory: &mut Memory<'m>, stream: usize) -> Self::Slices<'m> {
        (
            memory.rows_mut(one(self.dx, stream), self.weight.length.checked_div(self.outputs).unwrap_or(0)),
            memory.rows(one(self.dy, stream), self.outputs),
            memory.whole(&self.weight),
        )
    }

    #[inline(always)]
    fn formula(&self, tiles: impl Tiles, (dx, dy, weight): Self::Slices<'_>) -> Result<(), Error> {
        backward_input(tiles, dx.values, dy.values, weight.0, self.outputs, self.accumulate)
    }
}

/// The gradient of [`linear_forward`] with respect to `x`: `dx[n][i] = sum_o dy[n][o] * weight[i][o]`.
///
/// `outputs` is the number of `o`; adds to `dx` when `accumulate` is set. Shapes as there.
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
pub fn linear_backward_input(
    dx: &mut [f32],
    dy: &[f32],
    weight: &[f32],
    outputs: usize,
    accumulate: bool,
) -> Result<(), Error> {
    backward_input(Portable, dx, dy, weight, outputs, accumulate)
}

/// [`linear_backward_input`] by some tiles.
#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
fn backward_input<T: Tiles>(
    tiles: T,
    dx: &mut [f32],
    dy: &[f32],
    weight: &[f32],
    outputs: usize,
    accumulate: bool,
) -> Result<(), Error> {
    let inputs = check(dx.len(), dy.len(), weight.len(), outputs)?;
    if !accumulate {
        dx.fill(0.0);
    }
    let mut at = 0;
    while at < inputs {
        let (rest, sizes) = (inputs - at, (inputs, outputs));
        at += widest!(T, rest, C => backward_columns::<C>(tiles, dx, dy, weight, sizes, at), {
            backward_columns::<4>(tiles, dx, dy, weight, sizes, at)
        });
    }
    Ok(())
}

/// Up to `C` inputs from `at` on of all samples, one block of transposed weights after the other; `C`.
#[inline(always)]
fn backward_columns<const C: usize>(
    tiles: impl Tiles,
    dx: &mut [f32],
    dy: &[f32],
    weight: &[f32],
    (inputs, outputs): (usize, usize),
    at: usize,
) -> usize {
    let weight = weight.get(at * outputs..).unwrap_or_default();
    let mut block = [[0.0; C]; DEPTH];
    let mut from = 0;
    while from < outputs {
        let terms = from..outputs.min(from + DEPTH);
        transpose(&mut block, weight, outputs, &terms);
        add_product::<C>(tiles, (dx, inputs), at, (dy, outputs), terms, block.as_flattened(), (C, 0));
        from += DEPTH;
    }
    C
}

/// `y[n][at + c] += sum_t x[n][terms.start + t] * weight[t][column + c]` for up to `C` columns; `C`.
///
/// The second number of `(y, y_pitch)` and `(x, x_pitch)` is the length of a row, `pitch` that of a row of `weight`.
#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
fn add_product<const C: usize>(
    tiles: impl Tiles,
    (y, y_pitch): (&mut [f32], usize),
    at: usize,
    (x, x_pitch): (&[f32], usize),
    terms: Range<usize>,
    weight: &[f32],
    (pitch, column): (usize, usize),
) -> usize {
    let x = x.get(terms.start..).unwrap_or_default();
    for (y, x) in pieces_mut(y, PIXELS * y_pitch).zip(pieces(x, PIXELS * x_pitch)) {
        let mut sums = [[0.0; C]; PIXELS];
        sums.iter_mut().zip(rows(y, y_pitch)).for_each(|(sums, y)| get_columns(sums, y, at));
        let weight = weight.get(column..).unwrap_or_default();
        let sample = |p: usize| x.get(p * x_pitch..p * x_pitch + terms.len());
        let first = sample(0).unwrap_or_default();
        if x.len() > x_pitch {
            // Missing samples are replaced by copies of the first, whose results are discarded.
            let sample = |p| sample(p).unwrap_or(first);
            tiles.multiply(&mut sums, [first, sample(1), sample(2), sample(3)], weight, pitch);
        } else {
            let [sum, ..] = &mut sums;
            multiply_one(sum, first, weight, pitch);
        }
        rows_mut(y, y_pitch).zip(&sums).for_each(|(y, sums)| put_columns(y, at, sums));
    }
    C
}

/// `dweight[i][o] += sum_n x[n][i] * dy[n][o]`, `dbias[o] += sum_n dy[n][o]`: [`linear_backward_weight`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearBackwardWeight<'a> {
    /// `[in][out]` each, added to.
    pub dweight: &'a [Span],
    /// `[out]` each, added to.
    pub dbias: &'a [Span],
    /// `[n][in]`.
    pub x: Span,
    /// `[n][out]` each.
    pub dy: &'a [Span],
}

impl Operation for LinearBackwardWeight<'_> {
    const NAME: &'static str = "linear_backward_weight";

    fn extent(&self) -> Result<Extent, Error> {
        if streams(&[self.dweight, self.dbias, self.dy])? == 0 {
            return Ok(Extent::Linear { rows: 0, inputs: 0, outputs: 0 });
        }
        layer(self.x.length, length(self.dy), length(self.dweight), length(self.dbias))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dweight.iter().chain(self.dbias).for_each(|gradient| see(Access::Update, *gradient));
        see(Access::Read, self.x);
        self.dy.iter().for_each(|dy| see(Access::Read, *dy));
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

impl Compute for LinearBackwardWeight<'_> {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, workers: &W) -> Result<(), Error> {
        let count = streams(&[self.dweight, self.dbias, self.dy])?;
        for stream in 0..count {
            let mut memory = lent.memory();
            let (dweight, dbias, x, dy) = (
                memory.write(one(self.dweight, stream)),
                memory.write(one(self.dbias, stream)),
                memory.read(&self.x),
                memory.read(one(self.dy, stream)),
            );
            memory.found?;
            backward_weight(workers, dweight, dbias, x, dy)?;
        }
        Ok(())
    }
}

/// Adds the gradients of [`linear_forward`] with respect to `weight` and `bias`.
///
/// `dweight[i][o] += sum_n x[n][i] * dy[n][o]`, `dbias[o] += sum_n dy[n][o]`. Shapes as there.
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
pub fn linear_backward_weight(dweight: &mut [f32], dbias: &mut [f32], x: &[f32], dy: &[f32]) -> Result<(), Error> {
    backward_weight(&Alone, dweight, dbias, x, dy)
}

/// [`linear_backward_weight`] by some workers.
#[inline(never)]
fn backward_weight<W: Workers>(
    workers: &W,
    dweight: &mut [f32],
    dbias: &mut [f32],
    x: &[f32],
    dy: &[f32],
) -> Result<(), Error> {
    let outputs = dbias.len();
    let inputs = check(x.len(), dy.len(), dweight.len(), outputs)?;
    let weights = Weights { x, inputs, dy, outputs };
    workers.each(&weights, (RowsMut { values: dweight, length: outputs }, Numbers(0..inputs)))?;
    for_each_sum(workers, dbias, dy, |dbias, sum| *dbias += sum);
    Ok(())
}

/// `dweight[i][o] += sum_n x[n][i] * dy[n][o]` for some inputs.
struct Weights<'a> {
    x: &'a [f32],
    inputs: usize,
    dy: &'a [f32],
    outputs: usize,
}

impl<'p> Formula<(RowsMut<'p>, Numbers)> for Weights<'_> {
    #[inline(always)]
    fn run(&self, tiles: impl Tiles, (dweight, numbers): (RowsMut<'p>, Numbers)) -> Result<(), Error> {
        self.add(tiles, dweight.values, numbers.0.start);
        Ok(())
    }
}

impl Weights<'_> {
    /// Adds to the rows of `dweight`, those of the inputs from `first` on.
    #[inline(always)]
    fn add<T: Tiles>(&self, tiles: T, dweight: &mut [f32], first: usize) {
        let Self { x, inputs, dy, outputs } = *self;
        for (tile, dweight) in pieces_mut(dweight, INPUTS * outputs).enumerate() {
            let input = first + tile * INPUTS;
            let mut at = 0;
            while at < outputs {
                let (x, dy) = ((x, inputs), (dy, outputs));
                at += widest!(T, outputs - at, C => weight_tile::<C>(tiles, dweight, x, dy, (input, at)), {
                    weight_tile::<4>(tiles, dweight, x, dy, (input, at))
                });
            }
        }
    }
}

/// Adds to the rows of `dweight`, those of the inputs from `input` on, columns `at..at + C` as far as they go; `C`.
#[inline(always)]
fn weight_tile<const C: usize>(
    tiles: impl Tiles,
    dweight: &mut [f32],
    (x, inputs): (&[f32], usize),
    (dy, outputs): (&[f32], usize),
    (input, at): (usize, usize),
) -> usize {
    let mut sums = [[0.0; C]; INPUTS];
    if inputs - input >= INPUTS && outputs - at >= C {
        let (x, dy) = (x.get(input..).unwrap_or_default(), dy.get(at..).unwrap_or_default());
        tiles.outer(&mut sums, x, inputs, dy, outputs);
    } else {
        for (x, dy) in rows(x, inputs).zip(rows(dy, outputs)) {
            for (sums, x) in sums.iter_mut().zip(x.get(input..).unwrap_or_default()) {
                let dy = dy.get(at..).unwrap_or_default();
                sums.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += x * dy);
            }
        }
    }
    for (dweight, sums) in rows_mut(dweight, outputs).zip(&mut sums) {
        let before = dweight.get(at..).unwrap_or_default();
        sums.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
        put_columns(dweight, at, sums);
    }
    C
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, wide};
    use super::*;

    #[test]
    fn linear_layers_of_awkward_sizes_follow_the_formula() {
        for (samples, inputs, outputs) in [(1, 1, 1), (1, 7, 10), (3, 13, 4), (5, 33, 37), (130, 64, 10)] {
            let (x, dy) = (numbers(1, samples * inputs), numbers(2, samples * outputs));
            let (weight, bias) = (numbers(3, inputs * outputs), numbers(4, outputs));
            let (mut y, mut dx) = (numbers(5, dy.len()), numbers(6, x.len()));
            let (mut dweight, mut dbias) = (numbers(7, weight.len()), numbers(8, bias.len()));
            let (mut y_sum, mut dx_sum) = (wide(&y), wide(&dx));
            let (mut dweight_sum, mut dbias_sum) = (wide(&dweight), wide(&dbias));
            for (n, o) in (0..samples).flat_map(|n| (0..outputs).map(move |o| (n, o))) {
                let d = f64::from(dy[n * outputs + o]);
                y_sum[n * outputs + o] = f64::from(bias[o]);
                dbias_sum[o] += d;
                for i in 0..inputs {
                    let (x, w) = (f64::from(x[n * inputs + i]), f64::from(weight[i * outputs + o]));
                    y_sum[n * outputs + o] += x * w;
                    dx_sum[n * inputs + i] += d * w;
                    dweight_sum[i * outputs + o] += d * x;
                }
            }
            linear_forward(&mut y, &x, &weight, &bias).unwrap();
            linear_backward_input(&mut dx, &dy, &weight, outputs, true).unwrap();
            linear_backward_weight(&mut dweight, &mut dbias, &x, &dy).unwrap();
            assert_close(&y, &y_sum, 1e-5);
            assert_close(&dx, &dx_sum, 1e-5);
            assert_close(&dweight, &dweight_sum, 1e-5);
            assert_close(&dbias, &dbias_sum, 1e-5);
        }
    }
}
