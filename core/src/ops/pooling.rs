//! Pooling: the average of all pixels, and the largest pixel of each window.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::lent::{ByRows, Memory, one};
use crate::ops::math::rows::{expect, part, put, rows, rows_mut, whole_rows};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Rows, RowsMut};
use crate::ops::workers::{Alone, for_each_sum};
use crate::shape::{Conv2d, Shape};

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

impl ByRows for GlobalAveragePoolForward {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (memory.rows_mut(&self.y, self.input.channels), memory.rows(&self.x, self.input.len()))
    }

    #[inline(always)]
    fn formula(&self, (y, x): Self::Slices<'_>) -> Result<(), Error> {
        global_average_pool_forward(y.values, x.values, self.input)
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
#[cfg_attr(feature = "wide", inline(always))]
pub fn global_average_pool_forward(y: &mut [f32], x: &[f32], input: Shape) -> Result<(), Error> {
    check(y.len(), x.len(), input)?;
    let pixels = (input.height * input.width) as f32;
    for (y, x) in rows_mut(y, input.channels).zip(rows(x, input.len())) {
        for_each_sum(&Alone, y, x, |y, sum| *y = sum / pixels);
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

impl ByRows for GlobalAveragePoolBackward<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>);

    fn count(&self) -> Result<usize, Error> {
        streams(&[self.dx, self.dy])
    }

    fn slices<'m>(&self, memory: &mut Memory<'m>, stream: usize) -> Self::Slices<'m> {
        (
            memory.rows_mut(one(self.dx, stream), self.input.len()),
            memory.rows(one(self.dy, stream), self.input.channels),
        )
    }

    #[inline(always)]
    fn formula(&self, (dx, dy): Self::Slices<'_>) -> Result<(), Error> {
        global_average_pool_backward(dx.values, dy.values, self.input, self.accumulate)
    }
}

/// The gradient of [`global_average_pool_forward`]: `dx[n][i][j][c] = dy[n][c] / pixels`, added to `dx` when
/// `accumulate` is set. Shapes as there.
///
/// # Errors
/// As [`global_average_pool_forward`].
#[cfg_attr(feature = "wide", inline(always))]
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

/// Pooling over square windows of an NHWC image, each channel by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// One input image.
    pub input: Shape,
    /// One output image.
    pub output: Shape,
    /// Height and width of a window.
    pub kernel: usize,
    /// Step between windows, in input pixels.
    pub stride: usize,
    /// Pixels by which windows reach over the edge; what lies there counts for nothing.
    pub padding: usize,
}

impl Pool2d {
    /// Windows of `kernel` over `input`; the output has `(size + 2 * padding - kernel) / stride + 1` rows and columns,
    /// rounded down.
    ///
    /// # Errors
    /// [`Error::Image`] when a size is zero, the kernel does not fit into the padded input, or a window may lie outside
    /// (the padding is more than half the kernel).
    pub fn new(input: Shape, kernel: usize, stride: usize, padding: usize) -> Result<Self, Error> {
        let windows = Conv2d::new(input, 1, kernel, stride, padding);
        match windows {
            Ok(windows) if padding <= kernel / 2 => {
                let output = Shape { channels: input.channels, ..windows.output };
                Ok(Self { input, output, kernel, stride, padding })
            }
            _ => Err(Error::Image { what: "pooling", found: (input.height, input.width, input.channels) }),
        }
    }

    /// The pixels of the window of output pixel `index`, row by row.
    #[inline(always)]
    pub(crate) fn window(&self, index: usize) -> impl Iterator<Item = usize> {
        let Self { input: Shape { height, width, .. }, kernel, stride, padding, .. } = *self;
        let columns = self.output.width.max(1);
        let inside = move |at: usize, size: usize| {
            let start = (at * stride).saturating_sub(padding);
            start..(at * stride + kernel).saturating_sub(padding).min(size)
        };
        let (rows, pixels) = (inside(index / columns, height), inside(index % columns, width));
        rows.flat_map(move |y| pixels.clone().map(move |x| y * width + x))
    }
}

/// Checks the lengths and returns the number of images.
fn check_max(y: usize, x: usize, pool: &Pool2d) -> Result<usize, Error> {
    let images = whole_rows("x", x, pool.input.len())?;
    expect("y", images.saturating_mul(pool.output.len()), y)?;
    Ok(images)
}

/// `y` = the largest pixel of each window: [`max_pool_forward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPoolForward<'a> {
    /// `[n]` images of `pool.output`, overwritten.
    pub y: Span,
    /// `[n]` images of `pool.input`.
    pub x: Span,
    /// The windows.
    pub pool: &'a Pool2d,
}

impl Operation for MaxPoolForward<'_> {
    const NAME: &'static str = "max_pool_forward";

    fn extent(&self) -> Result<Extent, Error> {
        let Pool2d { input, output, .. } = *self.pool;
        Ok(Extent::Mapped(check_max(self.y.length, self.x.length, self.pool)?, input, output))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        see(Access::Read, self.x);
    }
}

impl ByRows for MaxPoolForward<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (memory.rows_mut(&self.y, self.pool.output.len()), memory.rows(&self.x, self.pool.input.len()))
    }

    #[inline(always)]
    fn formula(&self, (y, x): Self::Slices<'_>) -> Result<(), Error> {
        max_pool_forward(y.values, x.values, self.pool)
    }
}

/// Max-pooling: `y[n][i][j][c] =` the largest `x[n][i*stride+a-padding][j*stride+b-padding][c]` over `a`, `b` below
/// `kernel` that lie inside the image; NaN where one of them is.
///
/// | argument | shape                       | meaning     |
/// |----------|-----------------------------|-------------|
/// | `y`      | `[n]` images of `pool.output` | overwritten |
/// | `x`      | `[n]` images of `pool.input`  |             |
///
/// # Errors
/// [`Error::Length`] when a slice does not fit `pool`.
#[cfg_attr(feature = "wide", inline(always))]
pub fn max_pool_forward(y: &mut [f32], x: &[f32], pool: &Pool2d) -> Result<(), Error> {
    check_max(y.len(), x.len(), pool)?;
    let channels = pool.input.channels;
    for (y, x) in rows_mut(y, pool.output.len()).zip(rows(x, pool.input.len())) {
        for (index, y) in rows_mut(y, channels).enumerate() {
            let mut pixels = pool.window(index).map(|at| part(x, at * channels, channels));
            y.iter_mut().zip(pixels.next().unwrap_or_default()).for_each(|(y, x)| *y = *x);
            for x in pixels {
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = if exceeds(x, *y) { x } else { *y });
            }
        }
    }
    Ok(())
}

/// `dx` = the gradients of the windows whose largest pixel it is: [`max_pool_backward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPoolBackward<'a> {
    /// `[n]` images of `pool.input` each, overwritten or added to.
    pub dx: &'a [Span],
    /// `[n]` images of `pool.output` each.
    pub dy: &'a [Span],
    /// `[n]` images of `pool.input`, as in the forward pass.
    pub x: Span,
    /// The windows.
    pub pool: &'a Pool2d,
    /// Whether `dx` is added to.
    pub accumulate: bool,
}

impl Operation for MaxPoolBackward<'_> {
    const NAME: &'static str = "max_pool_backward";

    fn extent(&self) -> Result<Extent, Error> {
        streams(&[self.dx, self.dy])?;
        expect("dx", self.x.length, length(self.dx))?;
        let Pool2d { input, output, .. } = *self.pool;
        Ok(Extent::Mapped(check_max(length(self.dy), self.x.length, self.pool)?, input, output))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dx.iter().for_each(|dx| see(Access::gradient(self.accumulate), *dx));
        self.dy.iter().for_each(|dy| see(Access::Read, *dy));
        see(Access::Read, self.x);
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

impl ByRows for MaxPoolBackward<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>, Rows<'m>);

    fn count(&self) -> Result<usize, Error> {
        streams(&[self.dx, self.dy])
    }

    fn slices<'m>(&self, memory: &mut Memory<'m>, stream: usize) -> Self::Slices<'m> {
        (
            memory.rows_mut(one(self.dx, stream), self.pool.input.len()),
            memory.rows(one(self.dy, stream), self.pool.output.len()),
            memory.rows(&self.x, self.pool.input.len()),
        )
    }

    #[inline(always)]
    fn formula(&self, (dx, dy, x): Self::Slices<'_>) -> Result<(), Error> {
        max_pool_backward(dx.values, dy.values, x.values, self.pool, self.accumulate)
    }
}

/// The gradient of [`max_pool_forward`]: each `dy` goes to the pixel that was the largest of its window, the first of
/// several (the last of several NaN), and is added there; to what is in `dx` when `accumulate` is set.
///
/// | argument | shape                         | meaning                  |
/// |----------|-------------------------------|--------------------------|
/// | `dx`     | `[n]` images of `pool.input`  | overwritten, or added to |
/// | `dy`     | `[n]` images of `pool.output` |                          |
/// | `x`      | `[n]` images of `pool.input`  | as in the forward pass   |
///
/// # Errors
/// As [`max_pool_forward`].
#[cfg_attr(feature = "wide", inline(always))]
pub fn max_pool_backward(dx: &mut [f32], dy: &[f32], x: &[f32], pool: &Pool2d, accumulate: bool) -> Result<(), Error> {
    check_max(dy.len(), x.len(), pool)?;
    expect("dx", x.len(), dx.len())?;
    if !accumulate {
        dx.fill(0.0);
    }
    let channels = pool.input.channels;
    let images = rows_mut(dx, pool.input.len()).zip(rows(dy, pool.output.len())).zip(rows(x, pool.input.len()));
    for ((dx, dy), x) in images {
        for (index, dy) in rows(dy, channels).enumerate() {
            for (c, &dy) in dy.iter().enumerate() {
                let largest = largest_pixel(x, pool.window(index).map(|pixel| pixel * channels + c));
                if let Some(dx) = largest.and_then(|at| dx.get_mut(at)) {
                    *dx += dy;
                }
            }
        }
    }
    Ok(())
}

/// `y` = of each window of `x` the tangent of the largest pixel: [`max_pool_tangent`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPoolTangent<'a> {
    /// `[n]` images of `pool.output`, overwritten.
    pub y: Span,
    /// `[n]` images of `pool.input`, a direction in `x`.
    pub tangent: Span,
    /// `[n]` images of `pool.input`, as in the forward pass.
    pub x: Span,
    /// The windows.
    pub pool: &'a Pool2d,
}

impl Operation for MaxPoolTangent<'_> {
    const NAME: &'static str = "max_pool_tangent";

    fn extent(&self) -> Result<Extent, Error> {
        expect("tangent", self.x.length, self.tangent.length)?;
        let Pool2d { input, output, .. } = *self.pool;
        Ok(Extent::Mapped(check_max(self.y.length, self.x.length, self.pool)?, input, output))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        see(Access::Read, self.tangent);
        see(Access::Read, self.x);
    }
}

impl ByRows for MaxPoolTangent<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>, Rows<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (
            memory.rows_mut(&self.y, self.pool.output.len()),
            memory.rows(&self.tangent, self.pool.input.len()),
            memory.rows(&self.x, self.pool.input.len()),
        )
    }

    #[inline(always)]
    fn formula(&self, (y, tangent, x): Self::Slices<'_>) -> Result<(), Error> {
        max_pool_tangent(y.values, tangent.values, x.values, self.pool)
    }
}

/// The derivative of [`max_pool_forward`] along a direction: `y[n][i][j][c]` is the `tangent` of the pixel that is the
/// largest of its window in `x`, the first of several (the last of several NaN), as [`max_pool_backward`] has it.
///
/// | argument  | shape                         | meaning                |
/// |-----------|-------------------------------|------------------------|
/// | `y`       | `[n]` images of `pool.output` | overwritten            |
/// | `tangent` | `[n]` images of `pool.input`  | a direction in `x`     |
/// | `x`       | `[n]` images of `pool.input`  | as in the forward pass |
///
/// # Errors
/// As [`max_pool_forward`].
#[cfg_attr(feature = "wide", inline(always))]
pub fn max_pool_tangent(y: &mut [f32], tangent: &[f32], x: &[f32], pool: &Pool2d) -> Result<(), Error> {
    check_max(y.len(), x.len(), pool)?;
    expect("tangent", x.len(), tangent.len())?;
    let channels = pool.input.channels;
    let images = rows_mut(y, pool.output.len()).zip(rows(tangent, pool.input.len())).zip(rows(x, pool.input.len()));
    for ((y, tangent), x) in images {
        for (index, y) in rows_mut(y, channels).enumerate() {
            for (c, y) in y.iter_mut().enumerate() {
                let largest = largest_pixel(x, pool.window(index).map(|pixel| pixel * channels + c));
                *y = largest.and_then(|at| tangent.get(at)).copied().unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// The place of the largest of some numbers of `x`, as the gradient of max-pooling has it.
#[inline(always)]
fn largest_pixel(x: &[f32], places: impl Iterator<Item = usize>) -> Option<usize> {
    let of = |at: usize| (at, x.get(at).copied().unwrap_or_default());
    places.map(of).reduce(|best, next| if exceeds(next.1, best.1) { next } else { best }).map(|(at, _)| at)
}

/// Whether a later pixel of a window takes the place of the largest so far, as PyTorch has it.
#[inline(always)]
fn exceeds(later: f32, largest: f32) -> bool {
    later > largest || later.is_nan()
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

    #[test]
    fn the_first_of_equal_pixels_takes_the_gradient_and_nan_wins() {
        let pool = Pool2d::new(Shape::new(3, 3, 1), 3, 2, 1).unwrap();
        assert_eq!(pool.output, Shape::new(2, 2, 1));
        let x = [1., 7., 7., 7., 7., 2., 0., 3., f32::NAN];
        let (mut y, mut dx) = ([0.0; 4], [0.5; 9]);
        max_pool_forward(&mut y, &x, &pool).unwrap();
        assert_eq!(y[..3], [7., 7., 7.]);
        assert!(y[3].is_nan());
        // Windows begin at rows and columns -1 and 1: pixel 1 is the first of the two in the first row.
        max_pool_backward(&mut dx, &[1., 2., 4., 8.], &x, &pool, true).unwrap();
        assert_eq!(dx, [0.5, 3.5, 0.5, 4.5, 0.5, 0.5, 0.5, 0.5, 8.5]);
        max_pool_backward(&mut dx, &[1., 2., 4., 8.], &x, &pool, false).unwrap();
        assert_eq!(dx, [0., 3., 0., 4., 0., 0., 0., 0., 8.]);
        // Pixels 1, 1, 3 and 8 are the largest.
        let tangent = [1., 2., 4., 8., 16., 32., 64., 128., 256.];
        max_pool_tangent(&mut y, &tangent, &x, &pool).unwrap();
        assert_eq!(y, [2., 2., 8., 256.]);
        assert!(max_pool_tangent(&mut y, &tangent[1..], &x, &pool).is_err());
        assert!(max_pool_tangent(&mut y[1..], &tangent, &x, &pool).is_err());
        assert!(max_pool_forward(&mut y, &x[1..], &pool).is_err());
        assert!(max_pool_backward(&mut dx[1..], &y, &x, &pool, false).is_err());
    }

    #[test]
    fn pixels_that_no_window_reaches_get_no_gradient() {
        let pool = Pool2d::new(Shape::new(1, 5, 1), 1, 3, 0).unwrap();
        let mut dx = [9.0; 5];
        max_pool_backward(&mut dx, &[1., 2.], &[0.; 5], &pool, false).unwrap();
        assert_eq!(dx, [1., 0., 0., 2., 0.]);
    }

    #[test]
    fn a_window_that_may_lie_outside_the_image_is_refused() {
        let image = Shape::new(4, 4, 2);
        assert!(Pool2d::new(image, 2, 2, 1).is_ok());
        for (kernel, stride, padding) in [(1, 1, 1), (3, 1, 2), (0, 1, 0), (2, 0, 0), (5, 1, 0)] {
            assert!(Pool2d::new(image, kernel, stride, padding).is_err(), "{kernel} {stride} {padding}");
        }
    }
}
