//! Pillow's `Image.resize`: the same integers, so the same bytes.
//!
//! A side of `n` pixels becomes `m`: with `s = n / m`, `f = max(1, s)` and the filter's half width `r` (1 for a triangle,
//! 2 for a cubic), output `i` has its centre at `c = (i + 1/2) s` and takes the inputs `j` from `floor(c - r f + 1/2)` to
//! before `floor(c + r f + 1/2)`, those that exist, in shares `w_j = filter((j - c + 1/2) / f)` over their sum: where a
//! picture becomes smaller the filter grows, so nothing aliases. Shares are whole multiples of `2^-22`, sums are exact in
//! `i32`, and both passes round to bytes. (Pillow's `Resample.c`.)

use multiversion::multiversion;
use sse_sam_core::Shape;

use crate::data::Picture;

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// A triangle, `max(0, 1 - |x|)`.
    #[default]
    Bilinear,
    /// Keys' cubic with `a = -1/2`.
    Bicubic,
}

impl Filter {
    /// Where the filter ends.
    const fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// Its value, in the order of operations of Pillow.
    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// A part of a picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Pixels left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Area {
    /// The whole picture.
    pub fn whole(shape: Shape) -> Self {
        Self { left: 0, top: 0, width: shape.width as u32, height: shape.height as u32 }
    }

    /// As much of it as lies in a picture of this size.
    fn within(self, shape: Shape) -> Self {
        let (width, height) = (shape.width as u32, shape.height as u32);
        let (left, top) = (self.left.min(width), self.top.min(height));
        Self { left, top, width: self.width.min(width - left), height: self.height.min(height - top) }
    }
}

/// Memory that is taken again from one picture to the next.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    columns: Shares,
    rows: Shares,
    /// What one pass leaves to the other.
    between: Vec<u8>,
    /// A block of rows, column by column.
    block: Vec<u8>,
    /// A picture between two transforms.
    pub(super) resized: Picture,
}

/// Fraction bits of a share.
const BITS: u32 = 32 - 8 - 2;

/// One half, so that sums are rounded.
const HALF: i32 = 1 << (BITS - 1);

/// What each output takes of which inputs.
#[derive(Clone, Debug, Default)]
struct Shares {
    /// First input, and where the shares begin and end.
    outputs: Vec<(usize, usize, usize)>,
    shares: Vec<i32>,
    /// The same before they are rounded, of one output.
    exact: Vec<f64>,
}

impl Shares {
    /// The shares for `from` pixels that become `to`.
    fn set(&mut self, from: usize, to: usize, filter: Filter) {
        self.outputs.clear();
        self.shares.clear();
        let scale = from as f64 / to as f64;
        let widening = scale.max(1.0);
        let support = filter.support() * widening;
        for output in 0..to {
            let center = (output as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            self.exact.clear();
            self.exact.extend((first..end).map(|x| filter.at((x as f64 - center + 0.5) * (1.0 / widening))));
            let sum: f64 = self.exact.iter().fold(0.0, |sum, share| sum + share);
            let begin = self.shares.len();
            self.shares.extend(self.exact.iter().map(|&share| fixed(if sum == 0.0 { share } else { share / sum })));
            self.outputs.push((first, begin, self.shares.len()));
        }
    }

    /// The first input of each output, and its shares.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.outputs.iter().map(|&(first, begin, end)| (first, &self.shares[begin..end]))
    }
}

/// A share as a multiple of `2^-BITS`, rounded half away from zero.
fn fixed(share: f64) -> i32 {
    let scaled = share * f64::from(1 << BITS);
    (if share < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

/// A rounded sum as a byte.
#[inline(always)]
const fn byte(sum: i32) -> u8 {
    let value = sum >> BITS;
    if value < 0 {
        0
    } else if value > 255 {
        255
    } else {
        value as u8
    }
}

/// Cuts an area out of a picture and makes it `width x height`: torchvision's `resized_crop` and Pillow's
/// `im.crop(area).resize((width, height), filter)`. Pixels outside of the area do not count. A side that keeps its size is
/// not filtered.
///
/// | argument  | shape                       | meaning                                                    |
/// |-----------|-----------------------------|------------------------------------------------------------|
/// | `from`    | `[h][w][channels]`          | any number of channels                                     |
/// | `area`    | in pixels                   | what lies outside of the picture is cut off                |
/// | `to`      | `[height][width][channels]` | its memory is taken again; black where the area is empty   |
pub fn resize(
    from: &Picture,
    area: Area,
    (width, height): (u32, u32),
    filter: Filter,
    scratch: &mut Scratch,
    to: &mut Picture,
) {
    let (area, channels) = (area.within(from.shape), from.shape.channels);
    let size = (width as usize, height as usize);
    to.shape = Shape::new(size.1, size.0, channels);
    to.bytes.clear();
    to.bytes.resize(to.shape.len(), 0);
    if to.shape.is_empty() || area.width == 0 || area.height == 0 {
        return;
    }
    let stride = from.shape.width * channels;
    let rows = Rows {
        bytes: &from.bytes[area.top as usize * stride + area.left as usize * channels..],
        stride,
        width: area.width as usize,
        height: area.height as usize,
        channels,
    };
    let Scratch { columns, rows: lines, between, block, .. } = scratch;
    let mut horizontally = |rows: Rows, to: &mut [u8]| {
        columns.set(rows.width, size.0, filter);
        horizontal(&rows, columns, block, to);
    };
    let mut vertically = |rows: Rows, to: &mut [u8]| {
        lines.set(rows.height, size.1, filter);
        vertical(&rows, lines, to);
    };
    match (rows.width == size.0, rows.height == size.1) {
        (true, true) => rows.iter().zip(to.bytes.chunks_exact_mut(size.0 * channels)).for_each(|(from, to)| {
            to.copy_from_slice(from);
        }),
        (false, true) => horizontally(rows, &mut to.bytes),
        (true, false) => vertically(rows, &mut to.bytes),
        _ if is_vertical_first(&rows, size) => {
            between.resize(size.1 * rows.width * channels, 0);
            let passed = Rows { height: size.1, stride: rows.width * channels, bytes: &[], ..rows };
            vertically(rows, between);
            horizontally(Rows { bytes: between, ..passed }, &mut to.bytes);
        }
        _ => {
            between.resize(rows.height * size.0 * channels, 0);
            let passed = Rows { width: size.0, stride: size.0 * channels, bytes: &[], ..rows };
            horizontally(rows, between);
            vertically(Rows { bytes: between, ..passed }, &mut to.bytes);
        }
    }
}

/// Whether Pillow (from 13 on) begins with columns: rows are lost, and more than twice as many as columns.
fn is_vertical_first(rows: &Rows, (width, height): (usize, usize)) -> bool {
    let lost = |from: usize, to: usize| from as i64 - to as i64;
    lost(rows.height, height) > (2 * lost(rows.width, width)).max(0)
}

/// Rows of pixels in memory.
#[derive(Clone, Copy)]
struct Rows<'a> {
    /// From the first pixel of the first row on.
    bytes: &'a [u8],
    /// Bytes from a row to the next.
    stride: usize,
    width: usize,
    height: usize,
    channels: usize,
}

impl<'a> Rows<'a> {
    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let (bytes, stride, length) = (self.bytes, self.stride, self.width * self.channels);
        (0..self.height).map(move |row| &bytes[row * stride..row * stride + length])
    }
}

/// Bytes that are summed side by side.
const SIDE: usize = 16;

/// Sums [`SIDE`] bytes of rows that lie `stride` bytes apart, each row in its share.
#[inline(always)]
fn blend(rows: &[u8], stride: usize, shares: &[i32]) -> [u8; SIDE] {
    let mut sums = [HALF; SIDE];
    for (row, &share) in shares.iter().enumerate() {
        // Never missing. The way out keeps compilers at the sums, which lie side by side, where they otherwise take rows.
        let Some(values) = rows[row * stride..].first_chunk::<SIDE>() else { break };
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += share * i32::from(value);
        }
    }
    sums.map(byte)
}

/// Another number of rows: what each output takes of which rows. Compiled for several processors: the sums are the same.
#[multiversion(targets("x86_64+avx2"))]
fn vertical(from: &Rows, shares: &Shares, to: &mut [u8]) {
    for (to, (first, shares)) in to.chunks_exact_mut(from.width * from.channels).zip(shares.iter()) {
        let rows = &from.bytes[first * from.stride..];
        let (blocks, rest) = to.as_chunks_mut::<SIDE>();
        let behind = SIDE * blocks.len();
        for (index, block) in blocks.iter_mut().enumerate() {
            *block = blend(&rows[SIDE * index..], from.stride, shares);
        }
        for (index, value) in rest.iter_mut().enumerate() {
            let values = rows[behind + index..].iter().step_by(from.stride);
            *value = byte(shares.iter().zip(values).fold(HALF, |sum, (share, &value)| sum + share * i32::from(value)));
        }
    }
}

/// Rows of another width: what each output takes of a row.
fn horizontal(from: &Rows, columns: &Shares, block: &mut Vec<u8>, to: &mut [u8]) {
    match from.channels {
        3 => turned::<3>(from, columns, block, to),
        1 => turned::<1>(from, columns, block, to),
        channels => {
            for (row, to) in from.iter().zip(to.chunks_exact_mut(columns.outputs.len() * channels)) {
                (0..channels).for_each(|channel| one_channel(&row[channel..], channels, columns, &mut to[channel..]));
            }
        }
    }
}

/// [`horizontal`] for `C` channels: [`SIDE`] rows at a time, turned so that the pixels of a column lie side by side, which
/// makes them the rows of [`vertical`]. Compiled for several processors: the sums are the same.
#[multiversion(targets("x86_64+avx2"))]
fn turned<const C: usize>(from: &Rows, columns: &Shares, block: &mut Vec<u8>, to: &mut [u8]) {
    let (width, column) = (C * columns.outputs.len(), SIDE * C);
    block.resize(from.width * column, 0);
    for (index, to) in to.chunks_mut(SIDE * width).enumerate() {
        for row in 0..(to.len() / width) {
            let start = (SIDE * index + row) * from.stride;
            let pixels = from.bytes[start..start + C * from.width].as_chunks::<C>().0;
            for (column, pixel) in block.chunks_exact_mut(column).zip(pixels) {
                column[C * row..C * row + C].copy_from_slice(pixel);
            }
        }
        for (output, (first, shares)) in columns.iter().enumerate() {
            let mut bytes = [[0; SIDE]; C];
            for (part, bytes) in bytes.iter_mut().enumerate() {
                *bytes = blend(&block[first * column + SIDE * part..], column, shares);
            }
            let pixels = bytes.as_flattened().as_chunks::<C>().0;
            for (to, pixel) in to.chunks_exact_mut(width).zip(pixels) {
                to[C * output..C * output + C].copy_from_slice(pixel);
            }
        }
    }
}

/// One channel of a row of pixels of any number of bytes.
fn one_channel(from: &[u8], stride: usize, columns: &Shares, to: &mut [u8]) {
    for ((first, shares), value) in columns.iter().zip(to.iter_mut().step_by(stride)) {
        let values = from.iter().skip(first * stride).step_by(stride);
        *value = byte(shares.iter().zip(values).fold(HALF, |sum, (share, &value)| sum + share * i32::from(value)));
    }
}
