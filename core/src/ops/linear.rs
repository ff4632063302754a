//! Fully connected layers: products of a matrix of samples, straight on the register tiles.

use core::ops::Range;

use super::reduce::for_each_sum;
use super::tile::{DEPTH, PIXELS, WIDE, columns, columns_mut, multiply_all, multiply_one, outer, transposed, width};
use super::{expect, part, pieces, pieces_mut, rows_mut, whole_rows};
use crate::error::Error;

/// Checks the lengths of `x`, `y` and `weight`; returns the number of inputs.
fn check(x: usize, y: usize, weight: usize, outputs: usize) -> Result<usize, Error> {
    let samples = whole_rows("y", y, outputs)?;
    let inputs = whole_rows("weight", weight, outputs)?;
    expect("x", samples.saturating_mul(inputs), x)?;
    Ok(inputs)
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
    let outputs = bias.len();
    let inputs = check(x.len(), y.len(), weight.len(), outputs)?;
    for y in rows_mut(y, outputs) {
        y.iter_mut().zip(bias).for_each(|(y, bias)| *y = *bias);
    }
    let mut at = 0;
    while at < outputs {
        let width = width(outputs - at);
        let (y, terms) = (Matrix { values: &mut *y, pitch: outputs }, 0..inputs);
        if width == WIDE {
            add_product::<WIDE>(y, at, x, inputs, terms, weight, (outputs, at));
        } else if width == 4 {
            add_product::<4>(y, at, x, inputs, terms, weight, (outputs, at));
        } else {
            add_product::<1>(y, at, x, inputs, terms, weight, (outputs, at));
        }
        at += width;
    }
    Ok(())
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
    let inputs = check(dx.len(), dy.len(), weight.len(), outputs)?;
    if !accumulate {
        dx.fill(0.0);
    }
    let mut at = 0;
    while at < inputs {
        let width = width(inputs - at);
        if width == WIDE {
            backward_columns::<WIDE>(dx, dy, weight, (inputs, outputs), at);
        } else if width == 4 {
            backward_columns::<4>(dx, dy, weight, (inputs, outputs), at);
        } else {
            backward_columns::<1>(dx, dy, weight, (inputs, outputs), at);
        }
        at += width;
    }
    Ok(())
}

/// Inputs `at..at + C` of all samples, one block of transposed weights after the other.
fn backward_columns<const C: usize>(
    dx: &mut [f32],
    dy: &[f32],
    weight: &[f32],
    (inputs, outputs): (usize, usize),
    at: usize,
) {
    let weight = part(weight, at * outputs, C * outputs);
    let mut from = 0;
    while from < outputs {
        let terms = from..outputs.min(from + DEPTH);
        let block = transposed::<C>(weight, outputs, &terms);
        let dx = Matrix { values: &mut *dx, pitch: inputs };
        add_product::<C>(dx, at, dy, outputs, terms, block.as_flattened(), (C, 0));
        from += DEPTH;
    }
}

/// Rows of `pitch` numbers.
struct Matrix<'v> {
    values: &'v mut [f32],
    pitch: usize,
}

/// `y[n][at + c] += sum_t x[n][terms.start + t] * weight[t][column + c]` for `C` columns; `x` has rows of `x_pitch`,
/// `weight` of `pitch`.
#[inline(never)]
fn add_product<const C: usize>(
    y: Matrix<'_>,
    at: usize,
    x: &[f32],
    x_pitch: usize,
    terms: Range<usize>,
    weight: &[f32],
    (pitch, column): (usize, usize),
) {
    for (y_tile, x) in pieces_mut(y.values, PIXELS * y.pitch).zip(pieces(x, PIXELS * x_pitch)) {
        let first = x.get(terms.clone()).unwrap_or_default();
        let mut sums = [0, 1, 2, 3].map(|p| columns(y_tile, p * y.pitch + at).copied().unwrap_or([0.0; C]));
        if x.len() > x_pitch {
            // Where samples are missing, copies of the first; what becomes of them is thrown away.
            let sample = |p: usize| x.get(p * x_pitch + terms.start..p * x_pitch + terms.end).unwrap_or(first);
            multiply_all(&mut sums, [first, sample(1), sample(2), sample(3)], weight, pitch, column);
        } else {
            let [sum, ..] = &mut sums;
            multiply_one(sum, first, weight, pitch, column);
        }
        for (row, sums) in rows_mut(y_tile, y.pitch).zip(sums) {
            if let Some(row) = columns_mut(row, at) {
                *row = sums;
            }
        }
    }
}

/// Adds the gradients of [`linear_forward`] with respect to `weight` and `bias`.
///
/// `dweight[i][o] += sum_n x[n][i] * dy[n][o]`, `dbias[o] += sum_n dy[n][o]`. Shapes as there.
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
pub fn linear_backward_weight(dweight: &mut [f32], dbias: &mut [f32], x: &[f32], dy: &[f32]) -> Result<(), Error> {
    let outputs = dbias.len();
    let inputs = check(x.len(), dy.len(), dweight.len(), outputs)?;
    for (tile, dweight) in pieces_mut(dweight, 4 * outputs).enumerate() {
        let whole = dweight.len() == 4 * outputs;
        for (row, dweight) in pieces_mut(dweight, if whole { 4 * outputs } else { outputs }).enumerate() {
            let x = x.get(4 * tile + row..).unwrap_or_default();
            if whole {
                weight_rows::<4>(dweight, x, inputs, dy, outputs);
            } else {
                weight_rows::<1>(dweight, x, inputs, dy, outputs);
            }
        }
    }
    for_each_sum(dbias, dy, |dbias, sum| *dbias += sum as f32);
    Ok(())
}

/// `R` rows of the weight's gradient; `x` begins at their first input.
fn weight_rows<const R: usize>(dweight: &mut [f32], x: &[f32], inputs: usize, dy: &[f32], outputs: usize) {
    let mut at = 0;
    while at < outputs {
        let width = width(outputs - at);
        if width == WIDE {
            weight_tile::<R, WIDE>(dweight, x, inputs, dy, outputs, at);
        } else if width == 4 {
            weight_tile::<R, 4>(dweight, x, inputs, dy, outputs, at);
        } else {
            weight_tile::<R, 1>(dweight, x, inputs, dy, outputs, at);
        }
        at += width;
    }
}

/// Adds a tile of `R` inputs and `C` outputs from `at` on.
#[inline(always)]
fn weight_tile<const R: usize, const C: usize>(
    dweight: &mut [f32],
    x: &[f32],
    inputs: usize,
    dy: &[f32],
    outputs: usize,
    at: usize,
) {
    let mut sums = [[0.0; C]; R];
    outer(&mut sums, x, inputs, dy, outputs, at);
    for (dweight, sums) in rows_mut(dweight, outputs).zip(sums) {
        if let Some(dweight) = columns_mut::<C>(dweight, at) {
            dweight.iter_mut().zip(sums).for_each(|(dweight, sum)| *dweight += sum);
        }
    }
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
