//! The gradients of batch normalisation by fixed statistics.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::batch_norm::{check, combine, inverse_deviation, store};
use crate::ops::batch_norm_gradient::{Column, check_gradients};
use crate::ops::lent::{Compute, Lent, one};
use crate::ops::math::reduce::{CHANNELS, lanes, side_by_side};
use crate::ops::math::rows::{expect, rows, rows_mut};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Rows, RowsMut};
use crate::ops::workers::{Alone, Formula, Tiles, Workers};

/// The gradients of [`BatchNormInference`](crate::ops::BatchNormInference), whose statistics are constants:
/// [`batch_norm_inference_backward`] on a machine.
///
/// With `masked = relu ? (y > 0 ? dy : 0) : dy` and `inv_std = 1 / sqrt(variance + 1e-5)`:
/// `dbias += sum masked`, `dweight += sum masked * (x - mean) * inv_std`, `dx = weight * inv_std * masked`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormInferenceBackward<'a> {
    /// `[m][channels]` each, overwritten or added to.
    pub dx: &'a [Span],
    /// `[channels]` each, added to.
    pub dweight: &'a [Span],
    /// `[channels]` each, added to.
    pub dbias: &'a [Span],
    /// `[m][channels]` each. They hold `masked` afterwards, the gradient of the residual.
    pub dy: &'a [Span],
    /// `[m][channels]`, output of the forward pass; matters where there was a rectifier.
    pub y: Span,
    /// `[m][channels]`, its input.
    pub x: Span,
    /// `[channels]`.
    pub weight: Span,
    /// `[2][channels]`, mean and variance.
    pub running: Span,
    /// Whether it had a rectifier.
    pub relu: bool,
    /// Whether `dx` is added to.
    pub accumulate: bool,
}

impl Operation for BatchNormInferenceBackward<'_> {
    const NAME: &'static str = "batch_norm_inference_backward";

    fn extent(&self) -> Result<Extent, Error> {
        let (x, channels) = (self.x.length, self.weight.length);
        let rows = check(self.y.length, x, channels, channels, self.running.length)?;
        if streams(&[self.dx, self.dweight, self.dbias, self.dy])? > 0 {
            check_gradients(x, channels, length(self.dx), length(self.dweight), length(self.dy))?;
            expect("dbias", channels, length(self.dbias))?;
        }
        Ok(Extent::Rows(rows, channels))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dx.iter().for_each(|dx| see(Access::gradient(self.accumulate), *dx));
        self.dweight.iter().chain(self.dbias).chain(self.dy).for_each(|changed| see(Access::Update, *changed));
        let read = [self.y, self.x, self.weight, self.running];
        read.into_iter().for_each(|read| see(Access::Read, read));
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

impl Compute for BatchNormInferenceBackward<'_> {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, workers: &W) -> Result<(), Error> {
        for stream in 0..streams(&[self.dx, self.dweight, self.dbias, self.dy])? {
            let mut memory = lent.memory();
            let (dx, dweight, dbias, dy) = (
                memory.write(one(self.dx, stream)),
                memory.write(one(self.dweight, stream)),
                memory.write(one(self.dbias, stream)),
                memory.write(one(self.dy, stream)),
            );
            let (y, x, weight, running) =
                (memory.read(&self.y), memory.read(&self.x), memory.read(&self.weight), memory.read(&self.running));
            memory.found?;
            backward(workers, dx, dweight, dbias, dy, y, x, weight, running, self.relu, self.accumulate)?;
        }
        Ok(())
    }
}

/// The gradients of [`batch_norm_inference`](crate::ops::batch_norm_inference), whose statistics are constants.
///
/// With `masked = relu ? (y > 0 ? dy : 0) : dy` and `inv_std = 1 / sqrt(variance + 1e-5)`:
/// `dbias += sum masked`, `dweight += sum masked * (x - mean) * inv_std`, `dx = weight * inv_std * masked`, added to `dx`
/// when `accumulate` is set. On return `dy` holds `masked`, the gradient with respect to the residual.
///
/// | argument  | shape           | meaning                    |
/// |-----------|-----------------|----------------------------|
/// | `dx`      | `[m][channels]` | overwritten or added to    |
/// | `dweight` | `[channels]`    | added to                   |
/// | `dbias`   | `[channels]`    | added to                   |
/// | `dy`      | `[m][channels]` | overwritten with `masked`  |
/// | `y`       | `[m][channels]` | output of the forward pass |
/// | `x`       | `[m][channels]` | its input                  |
/// | `weight`  | `[channels]`    |                            |
/// | `running` | `[2][channels]` | mean and variance          |
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
#[expect(clippy::too_many_arguments, reason = "slices by name, as the formula has them")]
pub fn batch_norm_inference_backward(
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
    dy: &mut [f32],
    y: &[f32],
    x: &[f32],
    weight: &[f32],
    running: &[f32],
    relu: bool,
    accumulate: bool,
) -> Result<(), Error> {
    backward(&Alone, dx, dweight, dbias, dy, y, x, weight, running, relu, accumulate)
}

/// [`batch_norm_inference_backward`] by some workers.
#[expect(clippy::too_many_arguments, reason = "slices by name, as the formula has them")]
fn backward<W: Workers>(
    workers: &W,
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
    dy: &mut [f32],
    y: &[f32],
    x: &[f32],
    weight: &[f32],
    running: &[f32],
    relu: bool,
    accumulate: bool,
) -> Result<(), Error> {
    check(y.len(), x.len(), weight.len(), dbias.len(), running.len())?;
    check_gradients(x.len(), weight.len(), dx.len(), dweight.len(), dy.len())?;
    let Some((means, variances)) = running.split_at_checked(weight.len()) else { return Ok(()) };
    let length = weight.len();
    let x = Rows { values: x, length };
    let mut at = 0;
    while at < length {
        at += side_by_side!(length - at, N => {
            let factor = lanes::<N>(variances, at).map(inverse_deviation);
            let column = Column { at, mean: lanes(means, at), factor };
            let parts = (RowsMut { values: &mut *dy, length }, Rows { values: y, length }, x);
            column.add_sums(workers, dweight, dbias, parts, relu);
            let scale = combine(lanes(weight, at), factor, |weight, factor| weight * factor);
            let scaled = Scaled { at, scale, accumulate };
            workers.each(&scaled, (RowsMut { values: &mut *dx, length }, Rows { values: &*dy, length }))?;
        });
    }
    Ok(())
}

/// `dx = scale * dy` of the channels from `at` on.
struct Scaled<const N: usize> {
    at: usize,
    scale: [f32; N],
    accumulate: bool,
}

impl<'p, const N: usize> Formula<(RowsMut<'p>, Rows<'p>)> for Scaled<N> {
    #[inline(always)]
    fn run(&self, _: impl Tiles, (dx, dy): (RowsMut<'p>, Rows<'p>)) -> Result<(), Error> {
        let Self { at, scale, accumulate } = *self;
        for (dx, dy) in rows_mut(dx.values, dx.length).zip(rows(dy.values, dy.length)) {
            store(dx, at, combine(lanes(dy, at), scale, |dy, scale| dy * scale), accumulate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch_norm::batch_norm_inference;
    use super::super::testing::{Vec, assert_close, differences, numbers, wide};
    use super::*;

    /// `sum dy * relu?(weight * (x - mean) / sqrt(var + 1e-5) + bias)` in `f64`.
    fn value(x: &[f64], weight: &[f64], bias: &[f64], running: &[f32], dy: &[f64], relu: bool) -> f64 {
        let channels = weight.len();
        let y = |at: usize| {
            let c = at % channels;
            let (mean, variance) = (f64::from(running[c]), f64::from(running[channels + c]));
            let y = weight[c] * (x[at] - mean) / libm::sqrt(variance + 1e-5) + bias[c];
            if relu && y <= 0.0 { 0.0 } else { y }
        };
        (0..x.len()).map(|at| dy[at] * y(at)).sum()
    }

    #[test]
    fn gradients_are_the_derivatives_of_the_normalisation() {
        for (relu, channels) in [(false, 3), (true, 3), (true, 19)] {
            let (m, n) = (5, 5 * channels);
            let (x, weight, bias, dy) = (numbers(1, n), numbers(2, channels), numbers(3, channels), numbers(4, n));
            let mut running = numbers(5, 2 * channels);
            running[channels..].iter_mut().for_each(|variance| *variance = variance.abs() + 0.3);
            let mut y: Vec<f32> = numbers(6, n);
            batch_norm_inference(&mut y, &x, &weight, &bias, &running, None, relu).unwrap();
            let (mut dx, mut dweight, mut dbias) = (numbers(7, n), numbers(8, channels), numbers(9, channels));
            let [dx_start, dweight_start, dbias_start] = [wide(&dx), wide(&dweight), wide(&dbias)];
            let (mut masked, dy) = (dy.clone(), wide(&dy));
            batch_norm_inference_backward(
                &mut dx,
                &mut dweight,
                &mut dbias,
                &mut masked,
                &y,
                &x,
                &weight,
                &running,
                relu,
                true,
            )
            .unwrap();
            let [x, w, b] = [wide(&x), wide(&weight), wide(&bias)];
            let added = |start: &[f64], slope: Vec<f64>| -> Vec<f64> {
                start.iter().zip(slope).map(|(start, slope)| start + slope).collect()
            };
            let expected = added(&dx_start, differences(&x, |x| value(x, &w, &b, &running, &dy, relu)));
            assert_close(&dx, &expected, 1e-5);
            let expected = added(&dweight_start, differences(&w, |w| value(&x, w, &b, &running, &dy, relu)));
            assert_close(&dweight, &expected, 1e-5);
            let expected = added(&dbias_start, differences(&b, |b| value(&x, &w, b, &running, &dy, relu)));
            assert_close(&dbias, &expected, 1e-5);
            let passed = |at: usize| if relu && y[at] <= 0.0 { 0.0 } else { dy[at] };
            assert_close(&masked, &(0..m * channels).map(passed).collect::<Vec<f64>>(), 0.0);
        }
    }
}
