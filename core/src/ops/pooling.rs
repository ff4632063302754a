//! Global average pooling.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::math::reduce::for_each_sum;
use crate::ops::math::rows::{expect, put, rows, rows_mut, whole_rows};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::shape::Shape;

/// Checks the lengths and returns the number of images.
fn check(y: usize, x: usize, input: Shape) -> Result<usize, Error> {
    let images = whole_rows("x", x, input.len())?;
    expect("y", images.saturating_mul(input.channels), y)?;
    Ok(images)
}

/// `y[n][c] =` the mean of `x[n][..][..][c]`: [`global_average_pool_forward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlobalAveragePoolForward {
    /// `[n][channels]`, overwritten.
    pub y: Span,
    /// `[n]` images of `input`.
    pub x: Span,
    /// One image.
    pub input: Shape,
}

impl Operation for GlobalAveragePoolForward {
    const NAME: &'static str = "global_average_pool_forward";

    fn extent(&self) -> Result<Extent, Error> {
        Ok(Extent::Images(check(self.y.length, self.x.length, self.input)?, self.input))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        see(Access::Read, self.x);
    }
}

/// Global average pooling: `y[n][c] =` the mean of `x[n][..][..][c]`.
///
/// | argument | shape                   | meaning     |
/// |----------|-------------------------|-------------|
/// | `y`      | `[n][channels]`         | overwritten |
/// | `x`      | `[n]` images of `input` |             |
///
/// # Errors
/// [`Error::Length`] when a slice does not fit `input`.
pub fn global_average_pool_forward(y: &mut [f32], x: &[f32], input: Shape) -> Result<(), Error> {
    check(y.len(), x.len(), input)?;
    let pixels = (input.height * input.width) as f32;
    for (y, x) in rows_mut(y, input.channels).zip(rows(x, input.len())) {
        for_each_sum(y, x, |y, sum| *y = sum / pixels);
    }
    Ok(())
}

/// `dx[n][i][j][c] = dy[n][c] / pixels`: [`global_average_pool_backward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlobalAveragePoolBackward<'a> {
    /// `[n]` images of `input` each, overwritten or added to.
    pub dx: &'a [Span],
    /// `[n][channels]` each.
    pub dy: &'a [Span],
    /// One image.
    pub input: Shape,
    /// Whether `dx` is added to.
    pub accumulate: bool,
}

impl Operation for GlobalAveragePoolBackward<'_> {
    const NAME: &'static str = "global_average_pool_backward";

    fn extent(&self) -> Result<Extent, Error> {
        streams(&[self.dx, self.dy])?;
        let images = check(length(self.dy), length(self.dx), self.input)?;
        Ok(Extent::Images(images, self.input))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dx.iter().for_each(|dx| see(Access::gradient(self.accumulate), *dx));
        self.dy.iter().for_each(|dy| see(Access::Read, *dy));
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

/// The gradient of [`global_average_pool_forward`]: `dx[n][i][j][c] = dy[n][c] / pixels`, added to `dx` when
/// `accumulate` is set. Shapes as there.
///
/// # Errors
/// As [`global_average_pool_forward`].
pub fn global_average_pool_backward(dx: &mut [f32], dy: &[f32], input: Shape, accumulate: bool) -> Result<(), Error> {
    check(dy.len(), dx.len(), input)?;
    let (pixels, channels) = ((input.height * input.width) as f32, input.channels);
    for (dx, dy) in rows_mut(dx, input.len()).zip(rows(dy, channels)) {
        for dx in rows_mut(dx, channels) {
            dx.iter_mut().zip(dy).for_each(|(dx, dy)| put(dx, *dy / pixels, accumulate));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_averages_each_channel_of_each_image() {
        let shape = Shape::new(1, 2, 3);
        let x = [1., 2., 3., 3., 6., 9., 0., 0., 0., 2., 4., 6.];
        let (mut y, mut dx) = ([0.0; 6], [1.0; 12]);
        global_average_pool_forward(&mut y, &x, shape).unwrap();
        assert_eq!(y, [2., 4., 6., 1., 2., 3.]);
        global_average_pool_backward(&mut dx, &y, shape, true).unwrap();
        assert_eq!(dx, [2., 3., 4., 2., 3., 4., 1.5, 2., 2.5, 1.5, 2., 2.5]);
        global_average_pool_backward(&mut dx, &y, shape, false).unwrap();
        assert_eq!(dx[..6], [1., 2., 3., 1., 2., 3.]);
        assert!(global_average_pool_forward(&mut y, &x[1..], shape).is_err());
    }
}
