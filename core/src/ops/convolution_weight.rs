//! The gradient of a convolution with respect to its weights.

use core::ops::Range;

use crate::error::Error;
use crate::memory::Span;
use crate::ops::convolution::{check, positions};
use crate::ops::lent::{ByRows, Memory, one};
use crate::ops::math::rows::{rows, rows_mut};
use crate::ops::math::tile::{PIXELS, Portable, Tiles, columns_mut, outer_rows, widest};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Numbers, Parts, RowsMut, Whole};
use crate::shape::Conv2d;

/// Adds the gradient of [`Conv2dForward`](crate::ops::Conv2dForward) with respect to `weight`: [`conv2d_backward_weight`] on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dBackwardWeight<'a> {
    /// `[kernel][kernel][in][out]` each, added to.
    pub dweight: &'a [Span],
    /// `[n]` images of `conv.input`.
    pub x: Span,
    /// `[n]` images of `conv.output` each.
    pub dy: &'a [Span],
    /// The sizes.
    pub conv: &'a Conv2d,
}

impl Operation for Conv2dBackwardWeight<'_> {
    const NAME: &'static str = "conv2d_backward_weight";

    fn extent(&self) -> Result<Extent, Error> {
        if streams(&[self.dweight, self.dy])? == 0 {
            return Ok(Extent::Conv2d(0, *self.conv));
        }
        Ok(Extent::Conv2d(check(length(self.dy), self.x.length, length(self.dweight), self.conv)?, *self.conv))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dweight.iter().for_each(|dweight| see(Access::Update, *dweight));
        see(Access::Read, self.x);
        self.dy.iter().for_each(|dy| see(Access::Read, *dy));
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

impl Conv2dBackwardWeight<'_> {
    /// Input channels that are computed together.
    #[inline(always)]
    fn unit(&self) -> usize {
        if self.conv.input.channels.is_multiple_of(4) { 4 } else { 1 }
    }
}

impl ByRows for Conv2dBackwardWeight<'_> {
    /// The weights of each tap and tile of input channels, their numbers, `x` and `dy`.
    type Slices<'m> = (RowsMut<'m>, Numbers, Whole<'m>, Whole<'m>);

    fn count(&self) -> Result<usize, Error> {
        self.extent()?;
        Ok(self.dy.len())
    }

    fn slices<'m>(&self, memory: &mut Memory<'m>, stream: usize) -> Self::Slices<'m> {
        let dweight = memory.rows_mut(one(self.dweight, stream), self.unit().saturating_mul(self.conv.output.channels));
        let numbers = Numbers(0..dweight.rows());
        (dweight, numbers, memory.whole(&self.x), memory.whole(one(self.dy, stream)))
    }

    #[inline(always)]
    fn formula(&self, tiles: impl Tiles, (dweight, numbers, x, dy): Self::Slices<'_>) -> Result<(), Error> {
        add_weights(tiles, dweight.values, numbers.0.start * self.unit(), x.0, dy.0, self.conv);
        Ok(())
    }
}

/// Adds the gradient of [`conv2d_forward`](crate::ops::conv2d_forward) with respect to `weight`.
///
/// `dweight[a][b][c][o] += sum_{n,i,j} x[n][i*stride+a-padding][j*stride+b-padding][c] * dy[n][i][j][o]`. Shapes as
/// there.
///
/// # Errors
/// As [`conv2d_forward`](crate::ops::conv2d_forward).
pub fn conv2d_backward_weight(dweight: &mut [f32], x: &[f32], dy: &[f32], conv: &Conv2d) -> Result<(), Error> {
    check(dy.len(), x.len(), dweight.len(), conv)?;
    add_weights(Portable, dweight, 0, x, dy, conv);
    Ok(())
}

/// Adds the gradients of the weights of some taps and input channels, the first of which has this number.
#[cfg_attr(feature = "wide", inline(always))]
pub(super) fn add_weights<T: Tiles>(tiles: T, dweight: &mut [f32], first: usize, x: &[f32], dy: &[f32], conv: &Conv2d) {
    // About 32 pixels are summed in registers before they meet memory: few enough to stay in the first cache.
    let height = (32 / conv.output.width.max(1)).max(1);
    for (x, dy) in rows(x, conv.input.len()).zip(rows(dy, conv.output.len())) {
        let mut row = 0;
        while row < conv.output.height {
            band(tiles, dweight, first, x, dy, conv, row..conv.output.height.min(row + height));
            row += height;
        }
    }
}

/// What the output rows `rows` of one image add.
#[cfg_attr(feature = "wide", inline(always))]
fn band<T: Tiles>(
    tiles: T,
    dweight: &mut [f32],
    first: usize,
    x: &[f32],
    dy: &[f32],
    conv: &Conv2d,
    rows: Range<usize>,
) {
    let (inputs, outputs) = (conv.input.channels.max(1), conv.output.channels.max(1));
    let (mut tap, mut c, mut rest) = (first / inputs, first % inputs, dweight);
    while rest.len() >= outputs {
        let taps = (tap / conv.kernel.max(1), tap % conv.kernel.max(1));
        let (end, met) = (c.max(inputs.min(c + rest.len() / outputs)), Met::new(x, dy, conv, &rows, taps));
        while c < end {
            let height = if end - c < 4 { 1 } else { 4 };
            let Some((dweight, after)) = rest.split_at_mut_checked(height * outputs) else { return };
            if height == 4 {
                met.gather::<T, 4>(tiles, dweight, outputs, c);
            } else {
                met.gather::<T, 1>(tiles, dweight, outputs, c);
            }
            (rest, c) = (after, c + height);
        }
        (tap, c) = (tap + 1, 0);
    }
}

/// The pixels of [`band`] that meet at one kernel position.
struct Met<'a> {
    /// Inputs, and the steps from row to row and from pixel to pixel.
    x: (&'a [f32], usize, usize),
    /// Gradients of the outputs, likewise.
    dy: (&'a [f32], usize, usize),
    /// Rows and columns.
    size: (usize, usize),
}

impl<'a> Met<'a> {
    #[cfg_attr(feature = "wide", inline(always))]
    fn new(x: &'a [f32], dy: &'a [f32], conv: &Conv2d, rows: &Range<usize>, (a, b): (usize, usize)) -> Self {
        let Conv2d { input, output, stride, padding, .. } = *conv;
        let (pitch, dy_pitch) = (input.width * input.channels, output.width * output.channels);
        let valid = positions(a, input.height, output.height, conv);
        let (top, bottom) = (rows.start.max(valid.start), rows.end.min(valid.end));
        let columns = positions(b, input.width, output.width, conv);
        let first = (top * stride + a).saturating_sub(padding) * pitch
            + (columns.start * stride + b).saturating_sub(padding) * input.channels;
        let dy = dy.get(top * dy_pitch + columns.start * output.channels..).unwrap_or_default();
        Self {
            x: (x.get(first..).unwrap_or_default(), stride * pitch, stride * input.channels),
            dy: (dy, dy_pitch, output.channels),
            size: (bottom.saturating_sub(top), columns.len()),
        }
    }

    /// Adds what `R` input channels from `c` on give to all output channels.
    #[cfg_attr(feature = "wide", inline(always))]
    fn gather<T: Tiles, const R: usize>(&self, tiles: T, dweight: &mut [f32], outputs: usize, c: usize) {
        let mut at = 0;
        while at < outputs {
            let rest = outputs - at;
            at += widest!(T, rest, C => self.gather_tile::<R, C>(tiles, dweight, outputs, c, at), {
                if rest >= 4 {
                    self.gather_tile::<R, 4>(tiles, dweight, outputs, c, at)
                } else {
                    self.gather_tile::<R, 1>(tiles, dweight, outputs, c, at)
                }
            });
        }
    }

    /// Adds a tile of `R` input and `C` output channels from `(c, at)` on; how many output channels these are.
    #[inline(always)]
    fn gather_tile<const R: usize, const C: usize>(
        &self,
        tiles: impl Tiles,
        dweight: &mut [f32],
        outputs: usize,
        c: usize,
        at: usize,
    ) -> usize {
        let x = (self.x.0.get(c..).unwrap_or_default(), self.x.1, self.x.2);
        let dy = (self.dy.0.get(at..).unwrap_or_default(), self.dy.1, self.dy.2);
        let mut sums = [[0.0; C]; R];
        match sums.first_chunk_mut::<PIXELS>() {
            Some(sums) => tiles.outer_rows::<C>(sums, x, dy, self.size),
            None => outer_rows(&mut sums, x, dy, self.size),
        }
        for (dweight, sums) in rows_mut(dweight, outputs).zip(sums) {
            if let Some(dweight) = columns_mut::<C>(dweight, at) {
                dweight.iter_mut().zip(sums).for_each(|(dweight, sum)| *dweight += sum);
            }
        }
        C
    }
}
