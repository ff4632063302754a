//! The gradients of batch normalisation.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::batch_norm::{check, combine, store};
use crate::ops::lent::{Compute, Lent, one};
use crate::ops::math::reduce::{CHANNELS, lanes, side_by_side};
use crate::ops::math::rows::{expect, rows, rows_mut};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::parts::{Rows, RowsMut};
use crate::ops::workers::{Alone, Formula, Terms, Tiles, Workers};

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
    let length = weight.len();
    let x = Rows { values: x, length };
    let mut at = 0;
    while at < length {
        at += side_by_side!(length - at, N => {
            let column = Column::<N> { at, mean: lanes(means, at), factor: lanes(factors, at) };
            let parts = (RowsMut { values: &mut *dy, length }, Rows { values: y, length }, x);
            let sums = column.add_sums(workers, dweight, dbias, parts, relu);
            let [dy_mean, slope] = sums.map(|sums| sums.map(|sum| sum / values as f32));
            let scale = combine(lanes(weight, at), column.factor, |weight, factor| weight * factor);
            let gradient = Gradient { column, dy_mean, slope, scale, accumulate };
            workers.each(&gradient, (RowsMut { values: &mut *dx, length }, Rows { values: &*dy, length }, x))?;
        });
    }
    Ok(())
}

/// Adds to the channels from `at` on.
fn add<const N: usize>(to: &mut [f32], at: usize, sums: [f32; N]) {
    to.iter_mut().skip(at).zip(sums).for_each(|(to, sum)| *to += sum);
}

/// The channels from `at` on, and how their inputs are normalised.
pub(super) struct Column<const N: usize> {
    pub at: usize,
    pub mean: [f32; N],
    pub factor: [f32; N],
}

impl<const N: usize> Column<N> {
    #[inline(always)]
    fn xhat(&self, x: &[f32]) -> [f32; N] {
        let centred = combine(lanes(x, self.at), self.mean, |x, mean| x - mean);
        combine(centred, self.factor, |x, factor| x * factor)
    }

    /// Masks `dy`, the first of `parts` beside `y` and `x`, and adds `sum masked` to `dbias` and `sum masked * xhat` to
    /// `dweight`; both sums.
    pub fn add_sums<'p>(
        &self,
        workers: &impl Workers,
        dweight: &mut [f32],
        dbias: &mut [f32],
        parts: (RowsMut<'p>, Rows<'p>, Rows<'p>),
        relu: bool,
    ) -> [[f32; N]; 2] {
        let [dy_sum, dy_xhat_sum] = workers.sums(&Masked { column: self, relu }, parts);
        add(dbias, self.at, dy_sum);
        add(dweight, self.at, dy_xhat_sum);
        [dy_sum, dy_xhat_sum]
    }
}

/// A column's `dy`, which becomes `relu ? (y > 0 ? dy : 0) : dy` on the way, and `dy * xhat`.
struct Masked<'a, const N: usize> {
    column: &'a Column<N>,
    relu: bool,
}

impl<'p, const N: usize> Terms<(RowsMut<'p>, Rows<'p>, Rows<'p>), N, 2> for Masked<'_, N> {
    #[inline(always)]
    fn terms(&self, (dy, y, x): (RowsMut<'p>, Rows<'p>, Rows<'p>)) -> impl Iterator<Item = [[f32; N]; 2]> {
        let pixels = rows_mut(dy.values, dy.length).zip(rows(y.values, y.length)).zip(rows(x.values, x.length));
        pixels.map(|((to, y), x)| {
            let mut dy = lanes(to, self.column.at);
            if self.relu {
                dy = combine(dy, lanes(y, self.column.at), |dy, y| if y > 0.0 { dy } else { 0.0 });
                store(to, self.column.at, dy, false);
            }
            [dy, combine(dy, self.column.xhat(x), |dy, xhat| dy * xhat)]
        })
    }
}

/// `dx = scale * (dy - dy_mean - xhat * slope)` of a column.
struct Gradient<const N: usize> {
    column: Column<N>,
    dy_mean: [f32; N],
    slope: [f32; N],
    scale: [f32; N],
    accumulate: bool,
}

impl<'p, const N: usize> Formula<(RowsMut<'p>, Rows<'p>, Rows<'p>)> for Gradient<N> {
    #[inline(always)]
    fn run(&self, _: impl Tiles, (dx, dy, x): (RowsMut<'p>, Rows<'p>, Rows<'p>)) -> Result<(), Error> {
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
