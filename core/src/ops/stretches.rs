//! Which pixels of a convolution meet the same kernel positions: they share register tiles, whatever image they are in.

#[cfg(feature = "wide")]
use core::ops::Range;

use crate::ops::math::tile::PIXELS;
use crate::shape::{Conv2d, Shape};

/// Positions of one side that meet the same kernel positions: those written, and those read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    /// The first one written.
    first: usize,
    /// How many there are.
    count: usize,
    /// What the first one reads at its first kernel position.
    from: usize,
    /// The first kernel position.
    pub(super) tap: usize,
    /// How many kernel positions, 0 where nothing is met.
    pub(super) taps: usize,
}

/// The outputs of a side, which read `stride` apart; kernel positions follow one another.
#[cfg_attr(feature = "wide", inline(always))]
pub(super) fn stretches(size: usize, outputs: usize, conv: &Conv2d) -> impl Iterator<Item = Stretch> {
    let Conv2d { kernel, stride, padding, .. } = *conv;
    let meets = move |position: usize| {
        let start = position.saturating_mul(stride);
        let (low, high) = (padding.saturating_sub(start), (size + padding).saturating_sub(start).min(kernel));
        (low, high.saturating_sub(low))
    };
    let mut next = 0;
    core::iter::from_fn(move || {
        let first = next;
        let (tap, taps) = meets(first);
        while next < outputs && meets(next) == (tap, taps) {
            next += 1;
        }
        let from = (first * stride + tap).saturating_sub(padding);
        (first < next).then_some(Stretch { first, count: next - first, from, tap, taps })
    })
}

/// The inputs of a side, `stride` apart, which read outputs that follow one another; of the kernel positions in `range`, those met
/// are `stride` apart too, and the later ones read earlier outputs.
#[cfg(feature = "wide")]
#[inline(always)]
pub(super) fn scattered(
    size: usize,
    outputs: usize,
    range: Range<usize>,
    conv: &Conv2d,
) -> impl Iterator<Item = Stretch> {
    let (stride, padding) = (conv.stride.max(1), conv.padding);
    let meets = move |position: usize| {
        let at = position + padding;
        let low = range.start.max(at.saturating_sub(stride * outputs.saturating_sub(1)));
        let tap = low + at.saturating_sub(low) % stride;
        let end = range.end.min(at + 1);
        (tap, end.saturating_sub(tap).div_ceil(stride))
    };
    let (mut next, mut residue) = (0, 0);
    core::iter::from_fn(move || {
        if next >= size {
            residue += 1;
            next = residue;
        }
        if residue >= stride || next >= size {
            return None;
        }
        let first = next;
        let (tap, taps) = meets(first);
        let mut count = 0;
        while next < size && meets(next) == (tap, taps) {
            (next, count) = (next + stride, count + 1);
        }
        let from = (first + padding).saturating_sub(tap) / stride;
        Some(Stretch { first, count, from, tap, taps })
    })
}

/// Numbers of a row of a picture.
pub(super) const fn pitch(shape: &Shape) -> isize {
    (shape.width * shape.channels).cast_signed()
}

/// Pixels of some images.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) images: usize,
    pub(super) rows: Stretch,
    pub(super) columns: Stretch,
}

/// The pixels of an area by fours: where each reads and where it is written, and how many there are, the rest being copies.
///
/// `read` and `written` are the images' shapes, and how far apart the positions of a stretch lie in them.
#[cfg_attr(feature = "wide", inline(always))]
pub(super) fn tiles_of(
    area: Area,
    read: (Shape, usize),
    written: (Shape, usize),
) -> impl Iterator<Item = ([(usize, usize); PIXELS], usize)> {
    let Area { images, rows, columns } = area;
    let at = |(shape, step): (Shape, usize), first: (usize, usize), (n, i, j): (usize, usize, usize)| {
        ((n * shape.height + first.0 + i * step) * shape.width + first.1 + j * step) * shape.channels
    };
    let mut next = (0, 0, 0);
    let mut pixels = core::iter::from_fn(move || {
        let (n, i, j) = next;
        next = match (i + 1 < rows.count, j + 1 < columns.count) {
            (_, true) => (n, i, j + 1),
            (true, false) => (n, i + 1, 0),
            (false, false) => (n + 1, 0, 0),
        };
        let pixel =
            (at(read, (rows.from, columns.from), (n, i, j)), at(written, (rows.first, columns.first), (n, i, j)));
        (n < images).then_some(pixel)
    });
    core::iter::from_fn(move || {
        let first = pixels.next()?;
        let (mut tile, mut count) = ([first; PIXELS], 1);
        for (to, pixel) in tile.iter_mut().skip(1).zip(&mut pixels) {
            (*to, count) = (pixel, count + 1);
        }
        Some((tile, count))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Vec;
    use super::*;

    /// Kernel, stride and padding of many convolutions of pictures `size` wide.
    fn convolutions(size: usize) -> impl Iterator<Item = Conv2d> {
        let kinds = (1..=5)
            .flat_map(|kernel| (1..=3).flat_map(move |stride| (0..kernel).map(move |pad| (kernel, stride, pad))));
        kinds.filter_map(move |(kernel, stride, padding)| {
            Conv2d::new(Shape::new(size, size, 1), 1, kernel, stride, padding).ok()
        })
    }

    /// Every output, kernel position and input that meet, in the order of the kernel positions of each output.
    fn met(conv: &Conv2d) -> Vec<(usize, usize, usize)> {
        let all = (0..conv.output.width).flat_map(|output| (0..conv.kernel).map(move |tap| (output, tap)));
        all.filter_map(|(output, tap)| {
            let input =
                (output * conv.stride + tap).checked_sub(conv.padding).filter(|input| *input < conv.input.width)?;
            Some((output, tap, input))
        })
        .collect()
    }

    #[test]
    fn outputs_meet_what_they_should_and_each_is_in_one_stretch() {
        for conv in (1..9).flat_map(convolutions) {
            let (size, outputs) = (conv.input.width, conv.output.width);
            let (mut found, mut written) = (Vec::new(), Vec::new());
            for Stretch { first, count, from, tap, taps } in stretches(size, outputs, &conv) {
                for k in 0..count {
                    written.push(first + k);
                    found.extend((0..taps).map(|t| (first + k, tap + t, from + k * conv.stride + t)));
                }
            }
            assert_eq!(found, met(&conv), "{conv:?}");
            assert!(written.into_iter().eq(0..outputs), "{conv:?}");
        }
    }

    #[cfg(feature = "wide")]
    #[test]
    fn inputs_meet_what_they_should() {
        for conv in (1..9).flat_map(convolutions) {
            for range in (0..conv.kernel).flat_map(|a| (a + 1..=conv.kernel).map(move |b| a..b)) {
                let (size, outputs, stride) = (conv.input.width, conv.output.width, conv.stride);
                let mut found: Vec<_> = Vec::new();
                let mut inputs = Vec::new();
                for Stretch { first, count, from, tap, taps } in scattered(size, outputs, range.clone(), &conv) {
                    for k in 0..count {
                        let input = first + k * stride;
                        inputs.push(input);
                        found.extend((0..taps).map(|t| (from + k - t, tap + t * stride, input)));
                    }
                }
                let mut expected = met(&conv);
                expected.retain(|(_, tap, _)| range.contains(tap));
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected, "{conv:?} {range:?}");
                inputs.sort_unstable();
                assert!(inputs.into_iter().eq(0..size), "{conv:?}");
            }
        }
    }

    #[test]
    fn tiles_hold_each_pixel_once() {
        let rows = Stretch { first: 1, count: 3, from: 0, tap: 0, taps: 3 };
        let columns = Stretch { first: 0, count: 5, from: 2, tap: 1, taps: 2 };
        let (read, written) = ((Shape::new(9, 12, 2), 2), (Shape::new(4, 5, 3), 1));
        let mut found = Vec::new();
        for (tile, count) in tiles_of(Area { images: 2, rows, columns }, read, written) {
            found.extend(tile.into_iter().take(count));
            assert!(tile[count..].iter().all(|copy| *copy == tile[0]));
        }
        let all = (0..2).flat_map(|n| (0..3).flat_map(move |i| (0..5).map(move |j| (n, i, j))));
        let expected = all.map(|(n, i, j)| (((n * 9 + 2 * i) * 12 + 2 + 2 * j) * 2, ((n * 4 + 1 + i) * 5 + j) * 3));
        assert!(found.into_iter().eq(expected));
    }
}
