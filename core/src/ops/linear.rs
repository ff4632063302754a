//! Fully connected layers: 1 x 1 convolutions over a row of samples.

use super::convolution::{backward_input, backward_weight, forward};
use super::reduce::for_each_sum;
use super::{expect, whole_rows};
use crate::backend::{Conv2d, Shape};
use crate::error::Error;

/// The layer as a convolution of one image of one row; checks the lengths of `x`, `y` and `weight`.
fn as_convolution(x: usize, y: usize, weight: usize, outputs: usize) -> Result<Conv2d, Error> {
    let samples = whole_rows("y", y, outputs)?;
    let inputs = whole_rows("weight", weight, outputs)?;
    expect("x", samples.saturating_mul(inputs), x)?;
    let (input, output) = (Shape::new(1, samples, inputs), Shape::new(1, samples, outputs));
    Ok(Conv2d { input, output, kernel: 1, stride: 1, padding: 0 })
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
    let conv = as_convolution(x.len(), y.len(), weight.len(), bias.len())?;
    forward(y, x, weight, Some(bias), &conv);
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
    let conv = as_convolution(dx.len(), dy.len(), weight.len(), outputs)?;
    backward_input(dx, dy, weight, &conv, accumulate);
    Ok(())
}

/// Adds the gradients of [`linear_forward`] with respect to `weight` and `bias`.
///
/// `dweight[i][o] += sum_n x[n][i] * dy[n][o]`, `dbias[o] += sum_n dy[n][o]`. Shapes as there.
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
pub fn linear_backward_weight(dweight: &mut [f32], dbias: &mut [f32], x: &[f32], dy: &[f32]) -> Result<(), Error> {
    let conv = as_convolution(x.len(), dy.len(), dweight.len(), dbias.len())?;
    backward_weight(dweight, x, dy, &conv);
    for_each_sum(dbias, dy, |dbias, sum| *dbias += sum as f32);
    Ok(())
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
