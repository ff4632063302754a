//! The gradients of batch normalisation.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::batch_norm::{Lanes, check, combine, store};
use crate::ops::lent::{Compute, Lent, one};
use crate::ops::math::reduce::{CHANNELS, lanes};
use crate::ops::math::rows::{expect, pieces_mut, rows, rows_mut};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Rows, RowsMut};
use crate::ops::workers::{Alone, Formula, Terms, Workers};

/// Checks the lengths of a stream's gradients.
pub(super) fn check_gradients(x: usize, weight: usize, dx: usize, dweight: usize, dy: usize) -> Result<(), Error> {
    expect("dx", x, dx)?;
    expect("dy", x, dy)?;
    expect("dweight", weight, dweight)
}

/// The gradients of [`BatchNormForward`](crate::ops::BatchNormForward): [`batch_norm_backward`] on a machine.
///
/// With `masked = relu ? (y > 0 ? dy : 0) : dy`, `xhat = (x - mean) * inv_std` and `m` values a channel:
/// `dbias += sum masked`, `dweight += sum masked * xhat`,
/// `dx = weight * inv_std * (masked - sum masked / m - xhat * sum(masked * xhat) / m)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormBackward<'a> {
    /// `[m][channels]` each, overwritten or added to.
    pub dx: &'a [Span],
    /// `[channels]` each, added to.
    pub dweight: &'a [Span],
    /// `[channels]` each, added to.
    pub dbias: &'a [Span],
    /// `[m][channels]` each. With a residual they hold `masked` afterwards, else nothing of meaning.
    pub dy: &'a [Span],
    /// `[m][channels]`, output of the forward pass; a machine may compute it anew from `x` and `bias` where there is no
    /// residual.
    pub y: Span,
    /// `[m][channels]`, its input.
    pub x: Span,
    /// `[channels]`.
    pub weight: Span,
    /// `[channels]`.
    pub bias: Span,
    /// `[2][channels]`, what it saved.
    pub saved: Span,
    /// Whether it had a rectifier.
    pub relu: bool,
    /// Whether it had a residual whose gradient is wanted.
    pub residual: bool,
    /// Whether `dx` is added to.
    pub accumulate: bool,
}

impl Operation for BatchNormBackward<'_> {
    const NAME: &'static str = "batch_norm_backward";

    fn extent(&self) -> Result<Extent, Error> {
        let (x, channels) = (self.x.length, self.weight.length);
        let rows = check(self.y.length, x, channels, self.bias.length, self.saved.length)?;
        if streams(&[self.dx, self.dweight, self.dbias, self.dy])? > 0 {
            check_gradients(x, channels, length(self.dx), length(self.dweight), length(self.dy))?;
            expect("dbias", channels, length(self.dbias))?;
        }
        Ok(Extent::Rows(rows, channels))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dx.iter().for_each(|dx| see(Access::gradient(self.accumulate), *dx));
        self.dweight.iter().chain(self.dbias).chain(self.dy).for_each(|changed| see(Access::Update, *changed));
        let read = [self.y, self.x, self.weight, self.bias, self.saved];
        read.into_iter().for_each(|read| see(Access::Read, read));
    }

    fn streams(&self) -> usize {
        self.dy.len()
    }
}

impl Compute for BatchNormBackward<'_> {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, workers: &W) -> Result<(), Error> {
        let count = streams(&[self.dx, self.dweight, self.dbias, self.dy])?;
        for stream in 0..count {
            let mut memory = lent.memory();
            let (dx, dweight, dbias, dy) = (
                memory.write(one(self.dx, stream)),
                memory.write(one(self.dweight, stream)),
                memory.write(one(self.dbias, stream)),
                memory.write(one(self.dy, stream)),
            );
            let (y, x, weight, saved) =
                (memory.read(&self.y), memory.read(&self.x), memory.read(&self.weight), memory.read(&self.saved));
            // The bias must be there; all that the formula needs of it is in `y`.
            expect("bias", weight.len(), memory.read(&self.bias).len())?;
            memory.found?;
            backward(workers, dx, dweight, dbias, dy, y, x, weight, saved, self.relu, self.accumulate)?;
        }
        Ok(())
    }
}

/// The gradients of [`batch_norm_forward`](crate::ops::batch_norm_forward).
///
/// With `masked = relu ? (y > 0 ? dy : 0) : dy`, `xhat = (x - mean) * inv_std` and `m` values a channel:
/// `dbias += sum masked`, `dweight += sum masked * xhat`,
/// `dx = weight * inv_std * (masked - sum masked / m - xhat * sum(masked * xhat) / m)`, added to `dx` when `accumulate`
/// is set. On return `dy` holds `masked`, the gradient with respect to the residual.
///
/// | argument  | shape           | meaning                                   |
/// |-----------|-----------------|-------------------------------------------|
/// | `dx`      | `[m][channels]` | overwritten or added to                   |
/// | `dweight` | `[channels]`    | added to                                  |
/// | `dbias`   | `[channels]`    | added to                                  |
/// | `dy`      | `[m][channels]` | overwritten with `masked`                 |
/// | `y`       | `[m][channels]` | output of the forward pass                |
/// | `x`       | `[m][channels]` | its input                                 |
/// | `weight`  | `[channels]`    |                                           |
/// | `saved`   | `[2][channels]` | what the forward pass saved               |
///
/// # Errors
/// [`Error::Length`] when the slices do not fit together.
#[expect(clippy::too_many_arguments, reason = "slices by name, as the formula has them")]
pub fn batch_norm_backward(
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
    dy: &mut [f32],
    y: &[f32],
    x: &[f32],
    weight: &[f32],
    saved: &[f32],
    relu: bool,
    accumulate: bool,
) -> Result<(), Error> {
    backward(&Alone, dx, dweight, dbias, dy, y, x, weight, saved, relu, accumulate)
}

/// [`batch_norm_backward`] by some workers.
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
    saved: &[f32],
    relu: bool,
    accumulate: bool,
) -> Result<(), Error> {
    let values = check(y.len(), x.len(), weight.len(), dbias.len(), saved.len())?;
    check_gradients(x.len(), weight.len(), dx.len(), dweight.len(), dy.len())?;
    let Some((means, factors)) = saved.split_at_checked(weight.len()) else { return Ok(()) };
    if relu {
        workers.each(&Mask, (RowsMut { values: &mut *dy, length: 1 }, Rows { values: y, length: 1 }))?;
    }
    let length = weight.len();
    let (dy, x) = (Rows { values: dy, length }, Rows { values: x, length });
    for (block, (dweight, dbias)) in pieces_mut(dweight, CHANNELS).zip(pieces_mut(dbias, CHANNELS)).enumerate() {
        let at = block * CHANNELS;
        let column = Column { at, mean: lanes(means, at), factor: lanes(factors, at) };
        let [dy_sum, dy_xhat_sum] = workers.sums(&column, (dy, x));
        dbias.iter_mut().zip(dy_sum).for_each(|(dbias, sum)| *dbias += sum);
        dweight.iter_mut().zip(dy_xhat_sum).for_each(|(dweight, sum)| *dweight += sum);
        let [dy_mean, slope] = [dy_sum, dy_xhat_sum].map(|sums| sums.map(|sum| sum / values as f32));
        let scale = combine(lanes(weight, at), column.factor, |weight, factor| weight * factor);
        let gradient = Gradient { column, dy_mean, slope, scale, accumulate };
        workers.each(&gradient, (RowsMut { values: &mut *dx, length }, dy, x))?;
    }
    Ok(())
}

/// `dy = y > 0 ? dy : 0`, in place.
pub(super) struct Mask;

impl<'p> Formula<(RowsMut<'p>, Rows<'p>)> for Mask {
    #[inline(always)]
    fn run(&self, (dy, y): (RowsMut<'p>, Rows<'p>)) -> Result<(), Error> {
        for (dy, y) in dy.values.iter_mut().zip(y.values) {
            *dy = if *y > 0.0 { *dy } else { 0.0 };
        }
        Ok(())
    }
}

/// The channels from `at` on, and how their inputs are normalised.
pub(super) struct Column {
    pub at: usize,
    pub mean: Lanes,
    pub factor: Lanes,
}

impl Column {
    #[inline(always)]
    fn xhat(&self, x: &[f32]) -> Lanes {
        let centred = combine(lanes(x, self.at), self.mean, |x, mean| x - mean);
        combine(centred, self.factor, |x, factor| x * factor)
    }
}

impl<'p> Terms<(Rows<'p>, Rows<'p>), CHANNELS, 2> for Column {
    /// `dy` and `dy * xhat`.
    #[inline(always)]
    fn terms(&self, (dy, x): (Rows<'p>, Rows<'p>)) -> impl Iterator<Item = [Lanes; 2]> {
        rows(dy.values, dy.length).zip(rows(x.values, x.length)).map(|(dy, x)| {
            let dy = lanes(dy, self.at);
            [dy, combine(dy, self.xhat(x), |dy, xhat| dy * xhat)]
        })
    }
}

/// `dx = scale * (dy - dy_mean - xhat * slope)` of a column.
struct Gradient {
    column: Column,
    dy_mean: Lanes,
    slope: Lanes,
    scale: Lanes,
    accumulate: bool,
}

impl<'p> Formula<(RowsMut<'p>, Rows<'p>, Rows<'p>)> for Gradient {
    #[inline(always)]
    fn run(&self, (dx, dy, x): (RowsMut<'p>, Rows<'p>, Rows<'p>)) -> Result<(), Error> {
        let Self { ref column, dy_mean, slope, scale, accumulate } = *self;
        let pixels = rows_mut(dx.values, dx.length).zip(rows(dy.values, dy.length)).zip(rows(x.values, x.length));
        for ((dx, dy), x) in pixels {
            let centred = combine(lanes(dy, column.at), dy_mean, |dy, mean| dy - mean);
            let fit = combine(column.xhat(x), slope, |xhat, slope| xhat * slope);
            let straight = combine(centred, fit, |dy, fit| dy - fit);
            store(dx, column.at, combine(straight, scale, |dy, scale| dy * scale), accumulate);
        }
        Ok(())
    }
}
