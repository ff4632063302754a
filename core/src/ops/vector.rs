//! Operations on the flat vectors of parameters and gradients.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::lent::{ByRows, Compute, Lent, Memory};
use crate::ops::math::elementary::sqrt;
use crate::ops::math::reduce::{RUN, Total};
use crate::ops::math::rows::expect;
use crate::ops::operation::{Access, Extent, Operation};
use crate::ops::parts::{Rows, RowsMut};
use crate::ops::workers::Tiles;
use crate::ops::workers::Workers;

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

impl Outcome {
    /// Refuses slots that are not one number each; those of the groups are not an update's.
    pub(crate) fn check(&self) -> Result<(), Error> {
        expect("squared_norm", 1, self.squared_norm.length)?;
        expect("failure", 1, self.failure.length)
    }
}

/// Leaves what became of the update of step `number`.
fn report(squared_norm: &mut [f32], failure: &mut [f32], norm: f32, number: f32) {
    squared_norm.fill(norm);
    for failure in failure.iter_mut().filter(|failure| **failure == 0.0 && !norm.is_finite()) {
        *failure = number;
    }
}

/// Lanes of a norm's sum: their number is part of its bits.
const LANES: usize = 16;

/// `to[i] = value`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    /// `[n]`, overwritten.
    pub to: Span,
    /// The number.
    pub value: f32,
}

impl Operation for Fill {
    const NAME: &'static str = "fill";

    fn extent(&self) -> Result<Extent, Error> {
        Ok(Extent::Vector(self.to.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.to);
    }
}

impl Compute for Fill {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, _: &W) -> Result<(), Error> {
        let mut memory = lent.memory();
        memory.write(&self.to).fill(self.value);
        memory.found
    }
}

/// `to[i] = from[i]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Copy {
    /// `[n]`, overwritten.
    pub to: Span,
    /// `[n]`.
    pub from: Span,
}

impl Operation for Copy {
    const NAME: &'static str = "copy";

    fn extent(&self) -> Result<Extent, Error> {
        expect("from", self.to.length, self.from.length)?;
        Ok(Extent::Vector(self.to.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.to);
        see(Access::Read, self.from);
    }
}

impl ByRows for Copy {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (memory.rows_mut(&self.to, 1), memory.rows(&self.from, 1))
    }

    #[inline(always)]
    fn formula(&self, _: impl Tiles, (to, from): Self::Slices<'_>) -> Result<(), Error> {
        copy(to.values, from.values)
    }
}

/// `to[i] = from[i]`.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
#[cfg_attr(feature = "wide", inline(always))]
pub fn copy(to: &mut [f32], from: &[f32]) -> Result<(), Error> {
    expect("from", to.len(), from.len())?;
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    Ok(())
}

/// `y[i] += alpha * x[i]`: [`axpy`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axpy {
    /// `[n]`, added to.
    pub y: Span,
    /// Factor of what is added.
    pub alpha: f32,
    /// `[n]`.
    pub x: Span,
}

impl Operation for Axpy {
    const NAME: &'static str = "axpy";

    fn extent(&self) -> Result<Extent, Error> {
        expect("x", self.y.length, self.x.length)?;
        Ok(Extent::Vector(self.y.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Update, self.y);
        see(Access::Read, self.x);
    }
}

impl ByRows for Axpy {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (memory.rows_mut(&self.y, 1), memory.rows(&self.x, 1))
    }

    #[inline(always)]
    fn formula(&self, _: impl Tiles, (y, x): Self::Slices<'_>) -> Result<(), Error> {
        axpy(y.values, self.alpha, x.values)
    }
}

/// `y[i] += alpha * x[i]`.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
#[cfg_attr(feature = "wide", inline(always))]
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

/// `point <- params + radius * point / (||point||_2 + 1e-16)`, in place: [`ascend`] on a machine.
///
/// `point` holds a gradient before and the perturbed parameters afterwards; the norm never leaves the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascend {
    /// `[n]`, a gradient that becomes the perturbed parameters.
    pub point: Span,
    /// `[1]`, overwritten with the gradient's squared norm.
    pub squared_norm: Span,
    /// `[n]`.
    pub params: Span,
    /// How far it climbs.
    pub radius: f32,
}

impl Operation for Ascend {
    const NAME: &'static str = "ascend";

    fn extent(&self) -> Result<Extent, Error> {
        expect("params", self.point.length, self.params.length)?;
        expect("squared_norm", 1, self.squared_norm.length)?;
        Ok(Extent::Vector(self.point.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Update, self.point);
        see(Access::Again, self.point);
        see(Access::Write, self.squared_norm);
        see(Access::Read, self.params);
    }
}

impl Compute for Ascend {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, _: &W) -> Result<(), Error> {
        let mut memory = lent.memory();
        let (point, squared_norm, params) =
            (memory.write(&self.point), memory.write(&self.squared_norm), memory.read(&self.params));
        memory.found?;
        expect("squared_norm", 1, squared_norm.len())?;
        squared_norm.fill(ascend(point, params, self.radius)?);
        Ok(())
    }
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

/// One update as [`Sgd`] says, and of its [`Outcome`] the squared norm and the failure: [`sgd`] on a machine.
///
/// Changes neither `params` nor `velocity` when the squared norm of `gradient` is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdUpdate<'a> {
    /// `[n]`, the parameters.
    pub params: Span,
    /// `[n]`.
    pub velocity: Span,
    /// Where it leaves what became of it.
    pub outcome: &'a Outcome,
    /// `[n]`.
    pub gradient: Span,
    /// The rule.
    pub sgd: &'a Sgd,
}

impl Operation for SgdUpdate<'_> {
    const NAME: &'static str = "sgd";

    fn extent(&self) -> Result<Extent, Error> {
        expect("velocity", self.params.length, self.velocity.length)?;
        expect("gradient", self.params.length, self.gradient.length)?;
        self.outcome.check()?;
        Ok(Extent::Vector(self.params.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Update, self.params);
        see(Access::Update, self.velocity);
        see(Access::Write, self.outcome.squared_norm);
        see(Access::Update, self.outcome.failure);
        see(Access::Read, self.gradient);
        see(Access::Again, self.gradient);
    }
}

impl Compute for SgdUpdate<'_> {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, _: &W) -> Result<(), Error> {
        self.outcome.check()?;
        let mut memory = lent.memory();
        let (squared_norm, failure) = (memory.write(&self.outcome.squared_norm), memory.write(&self.outcome.failure));
        let (params, velocity, gradient) =
            (memory.write(&self.params), memory.write(&self.velocity), memory.read(&self.gradient));
        memory.found?;
        let norm = sgd(params, velocity, gradient, self.sgd)?;
        report(squared_norm, failure, norm, self.outcome.number);
        Ok(())
    }
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

/// `velocity[i] = momentum * velocity[i] + weight_decay * params[i]`: [`decay`] on a machine.
///
/// The first part of an update in lean memory, where gradients are added to the velocity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay<'a> {
    /// `[n]`, changed in place.
    pub velocity: Span,
    /// `[n]`.
    pub params: Span,
    /// The rule.
    pub sgd: &'a Sgd,
}

impl Operation for Decay<'_> {
    const NAME: &'static str = "decay";

    fn extent(&self) -> Result<Extent, Error> {
        expect("params", self.velocity.length, self.params.length)?;
        Ok(Extent::Vector(self.velocity.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Update, self.velocity);
        see(Access::Read, self.params);
    }
}

impl Compute for Decay<'_> {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, _: &W) -> Result<(), Error> {
        let mut memory = lent.memory();
        let (velocity, params) = (memory.write(&self.velocity), memory.read(&self.params));
        memory.found?;
        decay(velocity, params, self.sgd)
    }
}

/// The first part of an update in lean memory, where gradients are added to the velocity:
/// `velocity[i] = momentum * velocity[i] + weight_decay * params[i]`.
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

/// `params[i] -= learning_rate * velocity[i]`, and its [`Outcome`]: [`descend`] on a machine.
///
/// The last part of that update. When the squared norm of `velocity` is not finite, `params` do not change and the
/// velocity becomes zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descend<'a> {
    /// `[n]`, the parameters.
    pub params: Span,
    /// `[n]`; written when it is not finite.
    pub velocity: Span,
    /// Where it leaves what became of it.
    pub outcome: &'a Outcome,
    /// Step length.
    pub learning_rate: f32,
}

impl Operation for Descend<'_> {
    const NAME: &'static str = "descend";

    fn extent(&self) -> Result<Extent, Error> {
        expect("velocity", self.params.length, self.velocity.length)?;
        self.outcome.check()?;
        Ok(Extent::Vector(self.params.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Update, self.params);
        see(Access::Update, self.velocity);
        see(Access::Again, self.velocity);
        see(Access::Write, self.outcome.squared_norm);
        see(Access::Update, self.outcome.failure);
    }
}

impl Compute for Descend<'_> {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, _: &W) -> Result<(), Error> {
        self.outcome.check()?;
        let mut memory = lent.memory();
        let (params, velocity) = (memory.write(&self.params), memory.write(&self.velocity));
        let (squared_norm, failure) = (memory.write(&self.outcome.squared_norm), memory.write(&self.outcome.failure));
        memory.found?;
        let norm = descend(params, velocity, self.learning_rate)?;
        report(squared_norm, failure, norm, self.outcome.number);
        Ok(())
    }
}

/// The last part of an update in lean memory: `params[i] -= learning_rate * velocity[i]`.
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
