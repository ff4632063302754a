//! Batch normalisation, with an optional residual input and rectifier.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::activation::rectified;
use crate::ops::lent::{Compute, Lent};
use crate::ops::math::elementary::sqrt;
use crate::ops::math::reduce::{CHANNELS, lanes};
use crate::ops::math::rows::{expect, pieces_mut, put, rows, rows_mut, whole_rows};
use crate::ops::operation::{Access, Extent, Operation};
use crate::ops::parts::{Rows, RowsMut};
use crate::ops::workers::{Alone, Columns, Formula, Terms, Workers};

/// Added to variances.
const EPSILON: f32 = 1e-5;
/// How far running statistics move towards a batch's.
const MOMENTUM: f32 = 0.1;

/// Numbers of [`CHANNELS`] channels.
pub(super) type Lanes = [f32; CHANNELS];

/// Checks the lengths that all three share and returns the number of values a channel has.
// `inline(never)`: one copy in flash.
#[inline(never)]
pub(super) fn check(y: usize, x: usize, weight: usize, bias: usize, statistics: usize) -> Result<usize, Error> {
    let values = whole_rows("x", x, weight)?;
    expect("y", x, y)?;
    expect("bias", weight, bias)?;
    expect("statistics", weight.saturating_mul(2), statistics)?;
    Ok(values)
}

/// Lane by lane `f(a, b)`.
#[inline(always)]
pub(super) fn combine(a: Lanes, b: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    let mut result = a;
    result.iter_mut().zip(b).for_each(|(a, b)| *a = f(*a, b));
    result
}

/// What a normalisation adds to its result: the residual must be as long as the input.
fn check_residual(x: usize, residual: Option<usize>) -> Result<(), Error> {
    expect("residual", x, residual.unwrap_or(x))
}

/// `y = relu?(weight * (x - mean) / sqrt(var + 1e-5) + bias + residual?)` with the batch's own mean and biased variance of
/// each channel: [`batch_norm_forward`] on a machine.
///
/// A channel with a single value, or whose statistics are not finite, leaves `running` as it is. The number of channels is
/// `weight.length`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormForward {
    /// `[m][channels]`, overwritten.
    pub y: Span,
    /// `[2][channels]`, overwritten with `mean` and `1 / sqrt(var + 1e-5)`.
    pub saved: Span,
    /// `[2][channels]`, mean and variance; if given, moves by 0.1 towards the batch's mean and unbiased variance.
    pub running: Option<Span>,
    /// `[m][channels]`.
    pub x: Span,
    /// `[channels]`.
    pub weight: Span,
    /// `[channels]`.
    pub bias: Span,
    /// `[m][channels]`, added before the rectifier.
    pub residual: Option<Span>,
    /// Whether a rectifier follows.
    pub relu: bool,
}

impl Operation for BatchNormForward {
    const NAME: &'static str = "batch_norm_forward";

    fn extent(&self) -> Result<Extent, Error> {
        let (x, channels) = (self.x.length, self.weight.length);
        let rows = check(self.y.length, x, channels, self.bias.length, self.saved.length)?;
        check_residual(x, self.residual.map(|residual| residual.length))?;
        expect("running", self.saved.length, self.running.map_or(self.saved.length, |running| running.length))?;
        Ok(Extent::Rows(rows, channels))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        see(Access::Write, self.saved);
        self.running.into_iter().for_each(|running| see(Access::Update, running));
        [self.x, self.weight, self.bias].into_iter().chain(self.residual).for_each(|read| see(Access::Read, read));
    }
}

impl Compute for BatchNormForward {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, workers: &W) -> Result<(), Error> {
        let mut memory = lent.memory();
        let (y, saved) = (memory.write(&self.y), memory.write(&self.saved));
        let moved = self.running.as_ref().map(|running| memory.write(running));
        let added = self.residual.as_ref().map(|residual| memory.read(residual));
        let (x, weight, bias) = (memory.read(&self.x), memory.read(&self.weight), memory.read(&self.bias));
        memory.found?;
        forward(workers, y, saved, moved, x, weight, bias, added, self.relu)
    }
}

/// [`BatchNormForward`] with the running statistics in place of the batch's: [`batch_norm_inference`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormInference {
    /// `[m][channels]`, overwritten.
    pub y: Span,
    /// `[m][channels]`.
    pub x: Span,
    /// `[channels]`.
    pub weight: Span,
    /// `[channels]`.
    pub bias: Span,
    /// `[2][channels]`, mean and variance.
    pub running: Span,
    /// `[m][channels]`, added before the rectifier.
    pub residual: Option<Span>,
    /// Whether a rectifier follows.
    pub relu: bool,
}

impl Operation for BatchNormInference {
    const NAME: &'static str = "batch_norm_inference";

    fn extent(&self) -> Result<Extent, Error> {
        let (x, channels) = (self.x.length, self.weight.length);
        let rows = check(self.y.length, x, channels, self.bias.length, self.running.length)?;
        check_residual(x, self.residual.map(|residual| residual.length))?;
        Ok(Extent::Rows(rows, channels))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        let read = [self.x, self.weight, self.bias, self.running];
        read.into_iter().chain(self.residual).for_each(|read| see(Access::Read, read));
    }
}

impl Compute for BatchNormInference {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, workers: &W) -> Result<(), Error> {
        let mut memory = lent.memory();
        let added = self.residual.as_ref().map(|residual| memory.read(residual));
        let (y, x, weight, bias, running) = (
            memory.write(&self.y),
            memory.read(&self.x),
            memory.read(&self.weight),
            memory.read(&self.bias),
            memory.read(&self.running),
        );
        memory.found?;
        inference(workers, y, x, weight, bias, running, added, self.relu)
    }
}

/// Batch normalisation of each channel with the batch's own statistics.
///
/// `y = relu?(weight * (x - mean) / sqrt(var + 1e-5) + bias + residual?)` with the mean and the biased variance, taken
/// in two passes, over all `m` pixels of a channel.
///
/// | argument   | shape           | meaning                                                                     |
/// |------------|-----------------|-----------------------------------------------------------------------------|
/// | `y`        | `[m][channels]` | overwritten                                                                 |
/// | `saved`    | `[2][channels]` | overwritten with `mean` and `1 / sqrt(var + 1e-5)`                          |
/// | `running`  | `[2][channels]` | if given, moves by 0.1 towards the mean and the unbiased variance           |
/// | `x`        | `[m][channels]` |                                                                             |
/// | `weight`   | `[channels]`    |                                                                             |
/// | `bias`     | `[channels]`    |                                                                             |
/// | `residual` | `[m][channels]` | added before the rectifier                                                  |
///
/// A channel with a single value, or whose statistics are not finite, leaves `running` as it is.
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
///
/// # Source
/// Ioffe and Szegedy 2015, algorithm 1; running statistics as PyTorch's.
#[expect(clippy::too_many_arguments, reason = "slices by name, as the formula has them")]
pub fn batch_norm_forward(
    y: &mut [f32],
    saved: &mut [f32],
    running: Option<&mut [f32]>,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) -> Result<(), Error> {
    forward(&Alone, y, saved, running, x, weight, bias, residual, relu)
}

/// [`batch_norm_forward`] by some workers.
#[expect(clippy::too_many_arguments, reason = "slices by name, as the formula has them")]
fn forward<W: Workers>(
    workers: &W,
    y: &mut [f32],
    saved: &mut [f32],
    running: Option<&mut [f32]>,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) -> Result<(), Error> {
    let values = check(y.len(), x.len(), weight.len(), bias.len(), saved.len())?;
    check_residual(x.len(), residual.map(<[f32]>::len))?;
    expect("running", saved.len(), running.as_ref().map_or(saved.len(), |running| running.len()))?;
    let Some((means, factors)) = saved.split_at_mut_checked(weight.len()) else { return Ok(()) };
    statistics(workers, means, factors, x, values);
    if let Some((mean, variance)) = running.and_then(|running| running.split_at_mut_checked(weight.len())) {
        move_running(mean, variance, means, factors, values);
    }
    factors.iter_mut().for_each(|factor| *factor = inverse_deviation(*factor));
    let normalize = Normalize { means, spreads: factors, factor: |factor| factor, weight, bias, relu };
    workers.each(&normalize, normalize.parts(y, x, residual))
}

/// `(x - mean)^2` of the channels from `at` on.
struct Squares {
    at: usize,
    mean: Lanes,
}

impl<'p> Terms<Rows<'p>, CHANNELS, 1> for Squares {
    #[inline(always)]
    fn terms(&self, x: Rows<'p>) -> impl Iterator<Item = [Lanes; 1]> {
        rows(x.values, x.length).map(|x| [combine(lanes(x, self.at), self.mean, squared_difference)])
    }
}

/// Each channel's mean and biased variance.
fn statistics(workers: &impl Workers, means: &mut [f32], variances: &mut [f32], x: &[f32], values: usize) {
    let x = Rows { values: x, length: means.len() };
    let count = values as f32;
    for (block, (means, variances)) in pieces_mut(means, CHANNELS).zip(pieces_mut(variances, CHANNELS)).enumerate() {
        let at = block * CHANNELS;
        let [mean] = workers.sums(&Columns { at }, x);
        let mean = mean.map(|sum| sum / count);
        let [variance] = workers.sums(&Squares { at, mean }, x);
        means.iter_mut().zip(mean).for_each(|(to, mean)| *to = mean);
        variances.iter_mut().zip(variance).for_each(|(to, sum)| *to = sum / count);
    }
}

#[cfg_attr(feature = "wide", inline(always))]
fn squared_difference(a: f32, b: f32) -> f32 {
    (a - b) * (a - b)
}

/// Moves the running statistics towards those of a batch with `values` a channel.
fn move_running(mean: &mut [f32], variance: &mut [f32], means: &[f32], variances: &[f32], values: usize) {
    if values < 2 {
        return;
    }
    let unbiased = values as f32 / (values - 1) as f32;
    for (((mean, variance), batch_mean), batch_variance) in mean.iter_mut().zip(variance).zip(means).zip(variances) {
        if batch_mean.is_finite() && batch_variance.is_finite() {
            *mean = (1.0 - MOMENTUM) * *mean + MOMENTUM * batch_mean;
            *variance = (1.0 - MOMENTUM) * *variance + MOMENTUM * (batch_variance * unbiased);
        }
    }
}

pub(super) fn inverse_deviation(variance: f32) -> f32 {
    1.0 / sqrt(variance + EPSILON)
}

/// `y = relu?(weight * (x - mean) * factor(spread) + bias + residual?)`.
struct Normalize<'a> {
    means: &'a [f32],
    spreads: &'a [f32],
    factor: fn(f32) -> f32,
    weight: &'a [f32],
    bias: &'a [f32],
    relu: bool,
}

/// Output, input and residual of a normalisation.
type Normalized<'p> = (RowsMut<'p>, Rows<'p>, Option<Rows<'p>>);

impl Normalize<'_> {
    fn parts<'p>(&self, y: &'p mut [f32], x: &'p [f32], residual: Option<&'p [f32]>) -> Normalized<'p> {
        let length = self.weight.len();
        (RowsMut { values: y, length }, Rows { values: x, length }, residual.map(|values| Rows { values, length }))
    }
}

impl<'p> Formula<Normalized<'p>> for Normalize<'_> {
    #[inline(always)]
    fn run(&self, parts: Normalized<'p>) -> Result<(), Error> {
        normalize(self, parts);
        Ok(())
    }
}

#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
fn normalize(normalize: &Normalize<'_>, (y, x, residual): Normalized<'_>) {
    let Normalize { means, spreads, factor, weight, bias, relu } = *normalize;
    let channels = weight.len();
    for at in (0..weight.len()).step_by(CHANNELS) {
        let scale = combine(lanes(weight, at), lanes(spreads, at), |weight, spread| weight * factor(spread));
        let (mean, bias) = (lanes(means, at), lanes(bias, at));
        for (row, (y, x)) in rows_mut(y.values, channels).zip(rows(x.values, channels)).enumerate() {
            let centred = combine(lanes(x, at), mean, |x, mean| x - mean);
            let mut result = combine(combine(centred, scale, |x, scale| x * scale), bias, |x, bias| x + bias);
            if let Some(residual) = residual {
                let residual = residual.values.get(row * channels..).unwrap_or_default();
                result = combine(result, lanes(residual, at), |x, residual| x + residual);
            }
            store(y, at, if relu { result.map(rectified) } else { result }, false);
        }
    }
}

/// Puts lanes into a row from `at` on, as far as it reaches.
#[inline(always)]
pub(super) fn store(row: &mut [f32], at: usize, values: Lanes, accumulate: bool) {
    let rest = row.get_mut(at..).unwrap_or_default();
    match rest.first_chunk_mut::<CHANNELS>() {
        Some(full) => full.iter_mut().zip(values).for_each(|(to, value)| put(to, value, accumulate)),
        None => rest.iter_mut().zip(values).for_each(|(to, value)| put(to, value, accumulate)),
    }
}

/// [`batch_norm_forward`] with the running statistics in place of the batch's.
///
/// `running` is `[2][channels]`, mean and variance; the other shapes as there.
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
pub fn batch_norm_inference(
    y: &mut [f32],
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    running: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) -> Result<(), Error> {
    inference(&Alone, y, x, weight, bias, running, residual, relu)
}

/// [`batch_norm_inference`] by some workers.
#[expect(clippy::too_many_arguments, reason = "slices by name, as the formula has them")]
fn inference<W: Workers>(
    workers: &W,
    y: &mut [f32],
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    running: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) -> Result<(), Error> {
    check(y.len(), x.len(), weight.len(), bias.len(), running.len())?;
    check_residual(x.len(), residual.map(<[f32]>::len))?;
    let Some((means, spreads)) = running.split_at_checked(weight.len()) else { return Ok(()) };
    let normalize = Normalize { means, spreads, factor: inverse_deviation, weight, bias, relu };
    workers.each(&normalize, normalize.parts(y, x, residual))
}

#[cfg(test)]
mod tests {
    use super::super::batch_norm_gradient::batch_norm_backward;
    use super::super::testing::{Vec, assert_close, differences, numbers, wide};
    use super::*;

    /// Mean and biased variance of a channel.
    fn moments(x: &[f64], channels: usize, c: usize) -> (f64, f64) {
        let values = || x.iter().skip(c).step_by(channels);
        let count = values().count() as f64;
        let mean = values().sum::<f64>() / count;
        (mean, values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count)
    }

    /// `relu(bn(x) + residual)`.
    fn forward(x: &[f64], weight: &[f64], bias: &[f64], residual: &[f64]) -> Vec<f64> {
        let channels = weight.len();
        let moments: Vec<_> = (0..channels).map(|c| moments(x, channels, c)).collect();
        let one = |(at, x): (usize, &f64)| {
            let (mean, variance) = moments[at % channels];
            let xhat = (x - mean) / libm::sqrt(variance + 1e-5);
            (weight[at % channels] * xhat + bias[at % channels] + residual[at]).max(0.0)
        };
        x.iter().enumerate().map(one).collect()
    }

    #[test]
    fn batch_norm_and_its_gradients_follow_the_formula() {
        for (values, channels) in [(2, 1), (5, 3), (9, 16), (7, 19), (130, 2)] {
            let x = numbers(1, values * channels);
            let (weight, bias, residual) = (numbers(2, channels), numbers(3, channels), numbers(4, x.len()));
            let (mut y, mut saved, mut running) = (x.clone(), numbers(5, 2 * channels), numbers(6, 2 * channels));
            let mut moved = wide(&running);
            let [wide_x, wide_weight, wide_bias, wide_residual] = [&x, &weight, &bias, &residual].map(|v| wide(v));
            for c in 0..channels {
                let (mean, variance) = moments(&wide_x, channels, c);
                moved[c] = 0.9 * moved[c] + 0.1 * mean;
                let unbiased = variance * values as f64 / (values - 1) as f64;
                moved[channels + c] = 0.9 * moved[channels + c] + 0.1 * unbiased;
            }
            let added = Some(&*residual);
            batch_norm_forward(&mut y, &mut saved, Some(&mut running), &x, &weight, &bias, added, true).unwrap();
            assert_close(&y, &forward(&wide_x, &wide_weight, &wide_bias, &wide_residual), 1e-5);
            assert_close(&running, &moved, 1e-5);

            let dy = numbers(7, x.len());
            let loss = |y: Vec<f64>| y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>();
            let (mut dx, mut masked) = (numbers(8, x.len()), dy.clone());
            let (mut dweight, mut dbias) = (weight.iter().map(|_| 0.0).collect::<Vec<_>>(), bias.clone());
            dbias.fill(0.0);
            batch_norm_backward(&mut dx, &mut dweight, &mut dbias, &mut masked, &y, &x, &weight, &saved, true, false)
                .unwrap();
            let of_x = differences(&wide_x, |x| loss(forward(x, &wide_weight, &wide_bias, &wide_residual)));
            let of_weight = differences(&wide_weight, |w| loss(forward(&wide_x, w, &wide_bias, &wide_residual)));
            let of_bias = differences(&wide_bias, |b| loss(forward(&wide_x, &wide_weight, b, &wide_residual)));
            let of_residual = differences(&wide_residual, |r| loss(forward(&wide_x, &wide_weight, &wide_bias, r)));
            // With two values a channel, dx is what is left of two numbers that cancel.
            assert_close(&dx, &of_x, if values == 2 { 1e-2 } else { 1e-4 });
            assert_close(&dweight, &of_weight, 1e-4);
            assert_close(&dbias, &of_bias, 1e-4);
            assert_close(&masked, &of_residual, 1e-4);
        }
    }

    #[test]
    fn inference_uses_the_running_statistics() {
        let (mut y, x) = ([0.0; 4], [1.0, 2.0, 3.0, 4.0]);
        let running = [1.0, 2.0, 4.0 - 1e-5, 1.0 - 1e-5];
        batch_norm_inference(&mut y, &x, &[2.0, 3.0], &[0.5, -1.0], &running, None, true).unwrap();
        assert_close(&y, &[0.5, 0.0, 2.5, 5.0], 1e-6);
    }

    #[test]
    fn statistics_of_many_pixels_are_accurate() {
        let x: Vec<f32> = numbers(1, 131_072).iter().map(|x| x + 3.0).collect();
        let (mut y, mut saved) = (x.clone(), [0.0; 2]);
        batch_norm_forward(&mut y, &mut saved, None, &x, &[1.0], &[0.0], None, false).unwrap();
        let (mean, variance) = moments(&wide(&x), 1, 0);
        assert_close(&saved[..1], &[mean], 2e-7);
        assert_close(&saved[1..], &[1.0 / libm::sqrt(variance + 1e-5)], 1e-6);
    }

    #[test]
    fn a_single_value_does_not_move_the_running_statistics() {
        let (mut y, mut saved, mut running) = ([0.0], [0.0; 2], [0.5, 2.0]);
        batch_norm_forward(&mut y, &mut saved, Some(&mut running), &[3.0], &[1.0], &[0.25], None, false).unwrap();
        assert_eq!((y, running), ([0.25], [0.5, 2.0]));
    }
}
