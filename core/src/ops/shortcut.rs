//! The parameter-free shortcut of small residual networks.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::lent::{ByRows, Memory, one};
use crate::ops::math::rows::{expect, pieces, pieces_mut, put, rows, rows_mut, whole_rows};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Rows, RowsMut};
use crate::ops::workers::Tiles;
use crate::shape::Shape;

/// Checks the shapes; returns the number of images, and the zero channels before the input's.
fn check(y: usize, x: usize, input: Shape, output: Shape) -> Result<(usize, usize), Error> {
    let halved = input.height.div_ceil(2) == output.height && input.width.div_ceil(2) == output.width;
    let (true, Some(added)) = (halved, output.channels.checked_sub(input.channels)) else {
        return Err(Error::Image { what: "a shortcut", found: (output.height, output.width, output.channels) });
    };
    let images = whole_rows("x", x, input.len())?;
    expect("y", images.saturating_mul(output.len()), y)?;
    Ok((images, added / 2))
}

/// Every second row and column, channels padded with zeros: [`shortcut_forward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortcutForward {
    /// `[n]` images of `output`, overwritten.
    pub y: Span,
    /// `[n]` images of `input`.
    pub x: Span,
    /// One image.
    pub input: Shape,
    /// What becomes of it: sides are the input's halved, rounded up; at least as many channels.
    pub output: Shape,
}

impl Operation for ShortcutForward {
    const NAME: &'static str = "shortcut_forward";

    fn extent(&self) -> Result<Extent, Error> {
        let (images, _) = check(self.y.length, self.x.length, self.input, self.output)?;
        Ok(Extent::Mapped(images, self.input, self.output))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.y);
        see(Access::Read, self.x);
    }
}

impl ByRows for ShortcutForward {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>);

    fn slices<'m>(&self, memory: &mut Memory<'m>, _: usize) -> Self::Slices<'m> {
        (memory.rows_mut(&self.y, self.output.len()), memory.rows(&self.x, self.input.len()))
    }

    #[inline(always)]
    fn formula(&self, _: impl Tiles, (y, x): Self::Slices<'_>) -> Result<(), Error> {
        shortcut_forward(y.values, x.values, self.input, self.output)
    }
}

/// Every second pixel of a row of pixels.
#[cfg_attr(feature = "wide", inline(always))]
fn every_second(row: &[f32], channels: usize) -> impl Iterator<Item = &[f32]> {
    pieces(row, 2 * channels).map(move |pair| pair.get(..channels).unwrap_or_default())
}

/// Every second row of pixels of some images, one after the other; `height` rows an image.
#[cfg_attr(feature = "wide", inline(always))]
fn skipped(row: usize, height: usize) -> bool {
    row.checked_rem(height).is_some_and(|row| row % 2 == 1)
}

/// The parameter-free shortcut ("option A"): every second row and column, and channels padded with zeros.
///
/// `y[n][i][j][before + c] = x[n][2 i][2 j][c]` with `before = (output.channels - input.channels) / 2`, rounded down;
/// the other channels are 0.
///
/// | argument | shape                    | meaning                                                            |
/// |----------|--------------------------|--------------------------------------------------------------------|
/// | `y`      | `[n]` images of `output` | overwritten                                                        |
/// | `x`      | `[n]` images of `input`  |                                                                    |
/// | `output` |                          | sides are the input's halved, rounded up; at least as many channels |
///
/// # Errors
/// [`Error::Image`] when the shapes do not fit together, [`Error::Length`] when a slice does not fit its shape.
///
/// # Source
/// He et al. 2016, section 3.3 (A).
#[cfg_attr(feature = "wide", inline(always))]
pub fn shortcut_forward(y: &mut [f32], x: &[f32], input: Shape, output: Shape) -> Result<(), Error> {
    let (_, before) = check(y.len(), x.len(), input, output)?;
    let all = rows(x, input.width * input.channels).enumerate();
    let kept = all.filter(|(row, _)| !skipped(*row, input.height)).map(|(_, row)| row);
    y.fill(0.0);
    for (y, x) in rows_mut(y, output.width * output.channels).zip(kept) {
        for (y, x) in rows_mut(y, output.channels).zip(every_second(x, input.channels)) {
            y.iter_mut().skip(before).zip(x).for_each(|(y, x)| *y = *x);
        }
    }
    Ok(())
}

/// The gradient of [`ShortcutForward`]: [`shortcut_backward`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortcutBackward<'a> {
    /// `[n]` images of `input` each, overwritten or added to.
    pub dx: &'a [Span],
    /// `[n]` images of `output` each.
    pub dy: &'a [Span],
    /// One image.
    pub input: Shape,
    /// What became of it.
    pub output: Shape,
    /// Whether `dx` is added to.
    pub accumulate: bool,
}

impl Operation for ShortcutBackward<'_> {
    const NAME: &'static str = "shortcut_backward";

    fn extent(&self) -> Result<Extent, Error> {
        streams(&[self.dx, self.dy])?;
        let (images, _) = check(length(self.dy), length(self.dx), self.input, self.output)?;
        Ok(Extent::Mapped(images, self.input, self.output))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dx.iter().for_each(|dx| see(Access::gradient(self.accumulate), *dx));
        self.dy.iter().for_each(|dy| see(Access::Read, *dy));
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

impl ByRows for ShortcutBackward<'_> {
    type Slices<'m> = (RowsMut<'m>, Rows<'m>);

    fn count(&self) -> Result<usize, Error> {
        streams(&[self.dx, self.dy])
    }

    fn slices<'m>(&self, memory: &mut Memory<'m>, stream: usize) -> Self::Slices<'m> {
        (memory.rows_mut(one(self.dx, stream), self.input.len()), memory.rows(one(self.dy, stream), self.output.len()))
    }

    #[inline(always)]
    fn formula(&self, _: impl Tiles, (dx, dy): Self::Slices<'_>) -> Result<(), Error> {
        shortcut_backward(dx.values, dy.values, self.input, self.output, self.accumulate)
    }
}

/// The gradient of [`shortcut_forward`]: `dx[n][2 i][2 j][c] = dy[n][i][j][before + c]`, 0 elsewhere; added to `dx`
/// when `accumulate` is set. Shapes as there.
///
/// # Errors
/// As [`shortcut_forward`].
#[cfg_attr(feature = "wide", inline(always))]
pub fn shortcut_backward(
    dx: &mut [f32],
    dy: &[f32],
    input: Shape,
    output: Shape,
    accumulate: bool,
) -> Result<(), Error> {
    let (_, before) = check(dy.len(), dx.len(), input, output)?;
    if !accumulate {
        dx.fill(0.0);
    }
    let all = rows_mut(dx, input.width * input.channels).enumerate();
    let kept = all.filter(|(row, _)| !skipped(*row, input.height)).map(|(_, row)| row);
    for (dx, dy) in kept.zip(rows(dy, output.width * output.channels)) {
        for (dx, dy) in pieces_mut(dx, 2 * input.channels).zip(rows(dy, output.channels)) {
            let dy = dy.iter().skip(before);
            dx.iter_mut().take(input.channels).zip(dy).for_each(|(dx, dy)| put(dx, *dy, accumulate));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_pixel_is_kept_and_channels_are_padded_on_both_sides() {
        let (input, output) = (Shape::new(3, 2, 1), Shape::new(2, 1, 4));
        let x: [f32; 12] = core::array::from_fn(|at| at as f32 + 1.0);
        let (mut y, mut dx) = ([9.0; 16], [1.0; 12]);
        shortcut_forward(&mut y, &x, input, output).unwrap();
        assert_eq!(y, [0., 1., 0., 0., 0., 5., 0., 0., 0., 7., 0., 0., 0., 11., 0., 0.]);
        shortcut_backward(&mut dx, &y, input, output, true).unwrap();
        assert_eq!(dx, [2., 1., 1., 1., 6., 1., 8., 1., 1., 1., 12., 1.]);
        shortcut_backward(&mut dx, &y, input, output, false).unwrap();
        assert_eq!(dx, [1., 0., 0., 0., 5., 0., 7., 0., 0., 0., 11., 0.]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let refused = shortcut_forward(&mut [0.0; 4], &[0.0; 9], Shape::new(3, 3, 1), Shape::new(1, 1, 4));
        assert!(matches!(refused, Err(Error::Image { .. })));
        let refused = shortcut_forward(&mut [0.0; 4], &[0.0; 8], Shape::new(2, 2, 2), Shape::new(1, 1, 1));
        assert!(matches!(refused, Err(Error::Image { .. })));
    }
}
