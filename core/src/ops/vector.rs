//! Operations on the flat vectors of parameters and gradients.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::math::elementary::sqrt;
use crate::ops::math::reduce::{RUN, Total};
use crate::ops::math::rows::expect;

/// Stochastic gradient descent with momentum, as PyTorch writes it.
///
/// `d = g + weight_decay * w; v = momentum * v + d; w -= learning_rate * v`, with Nesterov
/// `w -= learning_rate * (d + momentum * v)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Step length.
    pub learning_rate: f32,
    /// Share of the velocity that is kept.
    pub momentum: f32,
    /// Factor of the parameters in the gradient.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

/// Where a step leaves what became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// `[1]`: the squared norm of the update's gradient, or of the velocity that took it up.
    pub squared_norm: Span,
    /// `[1]` for each column: the squared norm of that group's gradient at the parameters, where the group is perturbed.
    pub group_squared_norms: [Span; 2],
    /// `[1]`: zero, or the `number` of the first step in which that was not finite.
    pub failure: Span,
    /// This step's number, from 1.
    pub number: f32,
}

/// Sums that a norm adds up side by side; part of what fixes its bits.
const LANES: usize = 16;

/// `y[i] += alpha * x[i]`.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
pub fn axpy(y: &mut [f32], alpha: f32, x: &[f32]) -> Result<(), Error> {
    expect("x", y.len(), x.len())?;
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
    Ok(())
}

/// `sum_i x[i]^2`, accurate to about 1e-6 whatever the length.
///
/// Lanes take 64 terms each, then go to totals that keep what rounding leaves out.
#[inline(never)]
pub fn squared_norm(x: &[f32]) -> f32 {
    let mut totals = [Total::default(); LANES];
    for x in x.chunks(RUN * LANES) {
        let mut runs = [0.0; LANES];
        let (rows, rest) = x.as_chunks::<LANES>();
        for row in rows {
            runs.iter_mut().zip(row).for_each(|(run, x)| *run += x * x);
        }
        runs.iter_mut().zip(rest).for_each(|(run, x)| *run += x * x);
        totals.iter_mut().zip(runs).for_each(|(total, run)| total.add(run));
    }
    let mut total = Total::default();
    totals.iter().for_each(|lane| total.add(lane.value()));
    total.value()
}

/// Climbs: `point <- params + radius * point / (||point||_2 + 1e-16)`, in place.
///
/// `point` holds a gradient on entry and the perturbed parameters on return. Returns the gradient's squared norm.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
///
/// # Source
/// Foret et al. 2021 (SAM), eq. 2.
pub fn ascend(point: &mut [f32], params: &[f32], radius: f32) -> Result<f32, Error> {
    expect("params", point.len(), params.len())?;
    let squared_norm = squared_norm(point);
    let factor = radius / (sqrt(squared_norm) + 1e-16);
    for (point, param) in point.iter_mut().zip(params) {
        *point = param + factor * *point;
    }
    Ok(squared_norm)
}

/// One update of stochastic gradient descent, as [`Sgd`] says.
///
/// Returns the squared norm of `gradient`; when it is not finite, neither `params` nor `velocity` has changed.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
pub fn sgd(params: &mut [f32], velocity: &mut [f32], gradient: &[f32], sgd: &Sgd) -> Result<f32, Error> {
    expect("velocity", params.len(), velocity.len())?;
    expect("gradient", params.len(), gradient.len())?;
    let squared_norm = squared_norm(gradient);
    if squared_norm.is_finite() {
        for ((w, v), g) in params.iter_mut().zip(velocity).zip(gradient) {
            let d = g + sgd.weight_decay * *w;
            *v = sgd.momentum * *v + d;
            *w -= sgd.learning_rate * if sgd.nesterov { d + sgd.momentum * *v } else { *v };
        }
    }
    Ok(squared_norm)
}

/// The velocity as an update begins with it where gradients are added to it: `velocity[i] = momentum * velocity[i] +
/// weight_decay * params[i]`.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
pub fn decay(velocity: &mut [f32], params: &[f32], sgd: &Sgd) -> Result<(), Error> {
    expect("params", velocity.len(), params.len())?;
    for (v, w) in velocity.iter_mut().zip(params) {
        *v = sgd.momentum * *v + sgd.weight_decay * w;
    }
    Ok(())
}

/// The end of such an update: `params[i] -= learning_rate * velocity[i]`.
///
/// Returns the squared norm of `velocity`; when it is not finite, `params` have not changed and `velocity` is zero.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
pub fn descend(params: &mut [f32], velocity: &mut [f32], learning_rate: f32) -> Result<f32, Error> {
    expect("velocity", params.len(), velocity.len())?;
    let squared_norm = squared_norm(velocity);
    if squared_norm.is_finite() {
        for (w, v) in params.iter_mut().zip(velocity) {
            *w -= learning_rate * *v;
        }
    } else {
        velocity.fill(0.0);
    }
    Ok(squared_norm)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, wide};
    use super::*;

    #[test]
    fn norms_are_accurate_at_any_length() {
        for length in [0, 1, 15, 17, 1024, 1025, 21_000_000] {
            let x = numbers(length as u64, length);
            let expected: f64 = wide(&x).iter().map(|x| x * x).sum();
            assert_close(&[squared_norm(&x)], &[expected], 3e-7);
        }
    }

    #[test]
    fn ascend_moves_by_the_radius() {
        let mut point = [3.0, 4.0];
        assert_eq!(ascend(&mut point, &[1.0, 1.0], 0.5), Ok(25.0));
        assert_close(&point, &[1.3, 1.4], 1e-6);
        ascend(&mut point, &[1.0, 1.0], 0.0).unwrap();
        assert_eq!(point, [1.0, 1.0]);
        let mut flat = [0.0, 0.0];
        ascend(&mut flat, &[1.0, 1.0], 0.5).unwrap();
        assert_eq!(flat, [1.0, 1.0]);
    }

    #[test]
    fn sgd_is_momentum_as_pytorch_writes_it() {
        for (nesterov, expected) in [(false, 1.0 - 0.5 * 3.75), (true, 1.0 - 0.5 * (2.25 + 0.75 * 3.75))] {
            let (mut w, mut v) = ([1.0], [2.0]);
            let hyper = Sgd { learning_rate: 0.5, momentum: 0.75, weight_decay: 0.25, nesterov };
            assert_eq!(sgd(&mut w, &mut v, &[2.0], &hyper), Ok(4.0));
            assert_eq!((w, v), ([expected], [3.75]));
            assert!(sgd(&mut w, &mut v, &[f32::NAN], &hyper).unwrap().is_nan());
            assert_eq!((w, v), ([expected], [3.75]));
        }
    }

    #[test]
    fn decay_and_descend_are_momentum_around_a_gradient_that_is_added() {
        let hyper = Sgd { learning_rate: 0.5, momentum: 0.75, weight_decay: 0.25, nesterov: false };
        let (mut w, mut v) = ([1.0], [2.0]);
        decay(&mut v, &w, &hyper).unwrap();
        assert_eq!(v, [1.75]);
        v[0] += 2.0;
        assert_eq!(descend(&mut w, &mut v, hyper.learning_rate), Ok(3.75 * 3.75));
        assert_eq!((w, v), ([1.0 - 0.5 * 3.75], [3.75]));
        v[0] = f32::NAN;
        assert!(descend(&mut w, &mut v, hyper.learning_rate).unwrap().is_nan());
        assert_eq!((w, v), ([1.0 - 0.5 * 3.75], [0.0]));
    }
}
