//! Register tiles of matrix products: what convolutions and linear layers spend their time in.
//!
//! The tile's width changes with the architecture, the order in which one sum is added up does not.

use core::ops::Range;

use crate::ops::math::rows::{part, pieces, rows};

/// Pixels (or samples) of a tile.
pub const PIXELS: usize = 4;

/// Channels of the widest tile of [`Portable`]: as many as the registers hold sums for.
pub(crate) const WIDE: usize = if cfg!(any(feature = "wide", target_feature = "avx", target_arch = "aarch64")) {
    16
} else if cfg!(any(target_feature = "sse2", target_feature = "simd128")) {
    8
} else {
    4
};

/// The inner loops of matrix products, as a processor computes them fastest.
///
/// The order of the terms of every sum is given, and no product is fused with a sum: the same bits whoever computes them.
pub trait Tiles: Copy + Sync {
    /// Channels of the widest tile: 4, 8, 16 or 32.
    const WIDE: usize;

    /// `sums[p][o] += sum_t x[p][t] * weight[t * pitch + o]` for as many `t` as all pixels and `weight` have. `pitch`
    /// is at least `C`.
    #[inline(always)]
    fn multiply<const C: usize>(
        self,
        sums: &mut [[f32; C]; PIXELS],
        x: [&[f32]; PIXELS],
        weight: &[f32],
        pitch: usize,
    ) {
        multiply_all(sums, x, weight, pitch);
    }

    /// `sums[p][o] += sum_{i,j,t} x[at[p] + i * x_row + j * x_tap + t] * weight[i * row + j * tap + t * pitch + o]`, all `i`
    /// before `j` before `t` below `[rows, taps, terms]`. Terms outside of `x` or `weight` are left out.
    #[inline(always)]
    fn window<const C: usize>(
        self,
        sums: &mut [[f32; C]; PIXELS],
        x: Windows<'_>,
        (weight, [row, tap, pitch]): (&[f32], [usize; 3]),
        [rows, taps, terms]: [usize; 3],
    ) {
        for i in 0..rows {
            for j in 0..taps {
                let weight = weight.get(i * row + j * tap..).unwrap_or_default();
                self.multiply(sums, x.pixels(i, j, terms), weight, pitch);
            }
        }
    }

    /// `sums[r][o] += sum_j x[j * step + r] * dy[j * pitch + o]` for as many `j` as `x` and `dy` have. `step` is at least
    /// four, `pitch` at least `C`.
    #[inline(always)]
    fn outer<const C: usize>(self, sums: &mut [[f32; C]; PIXELS], x: &[f32], step: usize, dy: &[f32], pitch: usize) {
        outer(sums, x, step, dy, pitch);
    }

    /// `sums[r][o] += sum_{i,j} x[i * x_row + j * step + r] * dy[i * dy_row + j * pitch + o]`, `i` below `size.0` before `j`
    /// below `size.1`. Terms outside of `x` or `dy` are left out.
    #[inline(always)]
    fn outer_rows<const C: usize>(
        self,
        sums: &mut [[f32; C]; PIXELS],
        x: (&[f32], usize, usize),
        dy: (&[f32], usize, usize),
        size: (usize, usize),
    ) {
        outer_rows(sums, x, dy, size);
    }
}

/// What the pixels of a tile see of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    /// The picture, or several.
    pub x: &'a [f32],
    /// Where in `x` each pixel begins.
    pub at: [usize; PIXELS],
    /// From one row to the next, and from one kernel position to the next.
    pub steps: [isize; 2],
}

impl<'a> Windows<'a> {
    /// So many `terms` of each pixel in row `i` at kernel position `j`; none where they lie outside of `x`.
    #[inline(always)]
    fn pixels(&self, i: usize, j: usize, terms: usize) -> [&'a [f32]; PIXELS] {
        let [row, tap] = self.steps;
        let from = row.wrapping_mul(i as isize).wrapping_add(tap.wrapping_mul(j as isize));
        self.at.map(|at| part(self.x, at.wrapping_add_signed(from), terms))
    }
}

/// Loops that the compiler makes of plain Rust: what chips and other processors use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl Tiles for Portable {
    const WIDE: usize = WIDE;
}

/// Runs the first block with `C` the width of the widest tile that `rest` channels fill, the second where none does.
macro_rules! widest {
    ($tiles:ident, $rest:expr, $C:ident => $wide:expr, $narrow:expr) => {
        if $tiles::WIDE == 32 && $rest >= 32 {
            const $C: usize = 32;
            $wide
        } else if $tiles::WIDE >= 16 && $rest >= 16 {
            const $C: usize = 16;
            $wide
        } else if $tiles::WIDE == 8 && $rest >= 8 {
            const $C: usize = 8;
            $wide
        } else {
            $narrow
        }
    };
}
pub(crate) use widest;

/// `C` values of `row` from `at`.
#[inline(always)]
pub(crate) fn columns<const C: usize>(row: &[f32], at: usize) -> Option<&[f32; C]> {
    row.get(at..)?.first_chunk()
}

/// `C` values of `row` from `at`, to be written.
#[inline(always)]
pub(crate) fn columns_mut<const C: usize>(row: &mut [f32], at: usize) -> Option<&mut [f32; C]> {
    row.get_mut(at..)?.first_chunk_mut()
}

/// Fills `values` from `row` from `at`, as far as it goes.
#[inline(always)]
pub(crate) fn get_columns<const C: usize>(values: &mut [f32; C], row: &[f32], at: usize) {
    let rest = row.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(full) => *values = *full,
        None => values.iter_mut().zip(rest).for_each(|(to, value)| *to = *value),
    }
}

/// Writes `values` to `row` from `at`, as far as it goes.
#[inline(always)]
pub(crate) fn put_columns<const C: usize>(row: &mut [f32], at: usize, values: &[f32; C]) {
    let rest = row.get_mut(at..).unwrap_or_default();
    match rest.first_chunk_mut() {
        Some(full) => *full = *values,
        None => rest.iter_mut().zip(values).for_each(|(to, value)| *to = *value),
    }
}

/// Fills `block` with up to `C` rows of `pitch` weights, of which up to `D` columns are transposed.
#[inline(always)]
pub(crate) fn transpose<const C: usize, const D: usize>(
    block: &mut [[f32; C]; D],
    weight: &[f32],
    pitch: usize,
    range: &Range<usize>,
) {
    *block = [[0.0; C]; D];
    for (c, row) in rows(weight, pitch).take(C).enumerate() {
        for (transposed, weight) in block.iter_mut().zip(part(row, range.start, range.len())) {
            if let Some(transposed) = transposed.get_mut(c) {
                *transposed = *weight;
            }
        }
    }
}

#[inline(always)]
fn add_scaled<const C: usize>(sum: &mut [f32; C], factor: f32, values: &[f32; C]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// `sums[p][o] += sum_t x[p][t] * weight[t * pitch + o]`.
#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
fn multiply_all<const C: usize>(
    sums: &mut [[f32; C]; PIXELS],
    [x0, x1, x2, x3]: [&[f32]; PIXELS],
    weight: &[f32],
    pitch: usize,
) {
    let [mut sum0, mut sum1, mut sum2, mut sum3] = *sums;
    for ((((x0, x1), x2), x3), row) in x0.iter().zip(x1).zip(x2).zip(x3).zip(pieces(weight, pitch)) {
        let Some(weight) = row.first_chunk() else { break };
        add_scaled(&mut sum0, *x0, weight);
        add_scaled(&mut sum1, *x1, weight);
        add_scaled(&mut sum2, *x2, weight);
        add_scaled(&mut sum3, *x3, weight);
    }
    *sums = [sum0, sum1, sum2, sum3];
}

/// `sums[p][o] += sum_t x[p][t] * weight[t * pitch + o]` for the pixels that are there: one alone, more together with copies
/// whose sums are discarded.
#[cfg(any(test, not(feature = "wide")))]
#[inline(always)]
pub(crate) fn multiply_some<const C: usize>(
    sums: &mut [[f32; C]; PIXELS],
    x: [Option<&[f32]>; PIXELS],
    weight: &[f32],
    pitch: usize,
) {
    if let [Some(x0), Some(x1), Some(x2), Some(x3)] = x {
        return multiply_all(sums, [x0, x1, x2, x3], weight, pitch);
    }
    let mut present = x.iter().flatten();
    let (Some(first), others) = (present.next(), present.count()) else { return };
    if others == 0 {
        for (sum, x) in sums.iter_mut().zip(x) {
            multiply_one(sum, x.unwrap_or_default(), weight, pitch);
        }
        return;
    }
    let mut all = *sums;
    multiply_all(&mut all, x.map(|x| x.unwrap_or(first)), weight, pitch);
    for ((sum, result), x) in sums.iter_mut().zip(all).zip(x) {
        if x.is_some() {
            *sum = result;
        }
    }
}

/// `sum[o] += sum_t x[t] * weight[t * pitch + o]`: a tile of one pixel.
#[cfg_attr(feature = "wide", inline(always))]
pub(crate) fn multiply_one<const C: usize>(sum: &mut [f32; C], x: &[f32], weight: &[f32], pitch: usize) {
    outer(core::array::from_mut(sum), x, 1, weight, pitch);
}

/// [`Tiles::outer_rows`] for any number of channels.
#[inline(always)]
pub(crate) fn outer_rows<const R: usize, const C: usize>(
    sums: &mut [[f32; C]; R],
    (x, x_row, step): (&[f32], usize, usize),
    (dy, dy_row, pitch): (&[f32], usize, usize),
    (height, width): (usize, usize),
) {
    let Some(last) = width.checked_sub(1) else { return };
    for i in 0..height {
        let dy = dy.get(i * dy_row..).unwrap_or_default();
        let dy = dy.get(..last * pitch + C).unwrap_or(dy);
        outer(sums, x.get(i * x_row..).unwrap_or_default(), step, dy, pitch);
    }
}

/// [`Tiles::outer`] for any number of channels.
#[cfg_attr(not(feature = "wide"), inline(never))]
#[cfg_attr(feature = "wide", inline(always))]
fn outer<const R: usize, const C: usize>(sums: &mut [[f32; C]; R], x: &[f32], step: usize, dy: &[f32], pitch: usize) {
    let mut local = *sums;
    for (x, dy) in pieces(x, step).zip(pieces(dy, pitch)) {
        let (Some(x), Some(dy)) = (x.first_chunk::<R>(), dy.first_chunk()) else { break };
        for (sum, x) in local.iter_mut().zip(x) {
            add_scaled(sum, *x, dy);
        }
    }
    *sums = local;
}
