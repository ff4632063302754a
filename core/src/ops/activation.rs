//! The rectifier.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::lent::{ByRows, Memory, one};
use crate::ops::math::rows::{expect, put};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Rows, RowsMut};
use crate::ops::workers::Tiles;

/// `y[i] = x[i] > 0 ? x[i] : 0`: [`relu_forward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReluForward {
    /// `[n]`, overwritten.
    pub y: Span,
    /// `[n]`.
    pub x: Span,
}

impl Operation for ReluForward {
    const NAME: &'static str = "relu_forward";

    fn extent(&self) -> Result<Extent, Error> {
        expect("x", self.y.length, self.x.length)?;
        Ok(Extent::Vector(self.y.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        see(Access::Read, self.x);
    }
}

impl ByRows for ReluForward {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (memory.rows_mut(&self.y, 1), memory.rows(&self.x, 1))
    }

    #[inline(always)]
    fn formula(&self, _: impl Tiles, (y, x): Self::Slices<'_>) -> Result<(), Error> {
        relu_forward(y.values, x.values)
    }
}

/// Rectifier: `y[i] = x[i] > 0 ? x[i] : 0`.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
#[cfg_attr(feature = "wide", inline(always))]
pub fn relu_forward(y: &mut [f32], x: &[f32]) -> Result<(), Error> {
    expect("x", y.len(), x.len())?;
    for (y, x) in y.iter_mut().zip(x) {
        *y = rectified(*x);
    }
    Ok(())
}

/// `dx[i] = y[i] > 0 ? dy[i] : 0`: [`relu_backward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReluBackward<'a> {
    /// `[n]` each, overwritten or added to.
    pub dx: &'a [Span],
    /// `[n]` each.
    pub dy: &'a [Span],
    /// `[n]`, output of the forward pass.
    pub y: Span,
    /// Whether `dx` is added to.
    pub accumulate: bool,
}

impl Operation for ReluBackward<'_> {
    const NAME: &'static str = "relu_backward";

    fn extent(&self) -> Result<Extent, Error> {
        if streams(&[self.dx, self.dy])? > 0 {
            expect("dx", self.y.length, length(self.dx))?;
            expect("dy", self.y.length, length(self.dy))?;
        }
        Ok(Extent::Vector(self.y.length))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dx.iter().for_each(|dx| see(Access::gradient(self.accumulate), *dx));
        self.dy.iter().for_each(|dy| see(Access::Read, *dy));
        see(Access::Read, self.y);
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

impl ByRows for ReluBackward<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>, Rows<'m>);

    fn count(&self) -> Result<usize, Error> {
        streams(&[self.dx, self.dy])
    }

    fn slices<'m>(&self, memory: &mut Memory<'m>, stream: usize) -> Self::Slices<'m> {
        (memory.rows_mut(one(self.dx, stream), 1), memory.rows(one(self.dy, stream), 1), memory.rows(&self.y, 1))
    }

    #[inline(always)]
    fn formula(&self, _: impl Tiles, (dx, dy, y): Self::Slices<'_>) -> Result<(), Error> {
        relu_backward(dx.values, dy.values, y.values, self.accumulate)
    }
}

/// The gradient of [`relu_forward`]: `dx[i] = y[i] > 0 ? dy[i] : 0`, added to `dx` when `accumulate` is set.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
#[cfg_attr(feature = "wide", inline(always))]
pub fn relu_backward(dx: &mut [f32], dy: &[f32], y: &[f32], accumulate: bool) -> Result<(), Error> {
    expect("dy", dx.len(), dy.len())?;
    expect("y", dx.len(), y.len())?;
    for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
        put(dx, if *y > 0.0 { *dy } else { 0.0 }, accumulate);
    }
    Ok(())
}

/// `x > 0 ? x : 0`.
#[inline(always)]
pub(super) fn rectified(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rectifier_passes_what_is_positive() {
        let (mut y, mut dx) = ([9.0; 3], [1.0; 3]);
        relu_forward(&mut y, &[-1.0, 0.0, 2.0]).unwrap();
        assert_eq!(y, [0.0, 0.0, 2.0]);
        relu_backward(&mut dx, &[3.0, 4.0, 5.0], &y, true).unwrap();
        assert_eq!(dx, [1.0, 1.0, 6.0]);
        relu_backward(&mut dx, &[3.0, 4.0, 5.0], &y, false).unwrap();
        assert_eq!(dx, [0.0, 0.0, 5.0]);
        assert!(relu_forward(&mut y, &[1.0]).is_err());
    }
}
