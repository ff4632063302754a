//! torchvision's transforms: `Resize` and `CenterCrop` for evaluation, `RandomResizedCrop`, `RandomHorizontalFlip` and
//! `ColorJitter` for training. What is random is drawn first, as a value, from the words of a sample in an epoch.

use sse_sam_core::Shape;

use super::jitter::{Jitter, Step};
use super::resample::{Area, Filter, Scratch, resize};
use crate::data::Picture;
use crate::data::random::CropWords;

/// `Resize(resize)` of the shorter side, then `CenterCrop(crop)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evaluation {
    /// The shorter side, in pixels; the longer one is `int(resize * long / short)`.
    pub resize: u32,
    /// Both sides of the result; where it is larger than the resized picture, black surrounds that.
    pub crop: u32,
    /// How it is resized.
    pub filter: Filter,
}

impl Evaluation {
    /// Makes `to` a picture of `crop x crop` pixels.
    pub(crate) fn apply(&self, from: &Picture, scratch: &mut Scratch, to: &mut Picture) {
        let mut resized = std::mem::take(&mut scratch.resized);
        let size = shorter_side(from.shape, self.resize);
        resize(from, Area::whole(from.shape), size, self.filter, scratch, &mut resized);
        center(&resized, self.crop, to);
        scratch.resized = resized;
    }
}

/// Width and height when the shorter side becomes `side`: the longer one is cut off to a whole number.
fn shorter_side(Shape { width, height, .. }: Shape, side: u32) -> (u32, u32) {
    let (short, long) = (width.min(height), width.max(height));
    let long = (f64::from(side) * long as f64 / short.max(1) as f64) as u32;
    if width <= height { (side, long) } else { (long, side) }
}

/// `CenterCrop(side)`.
fn center(from: &Picture, side: u32, to: &mut Picture) {
    let Shape { height, width, channels } = from.shape;
    let side = side as usize;
    let ((top, above), (left, before)) = (middle(height, side), middle(width, side));
    to.shape = Shape::new(side, side, channels);
    to.bytes.clear();
    to.bytes.resize(to.shape.len(), 0);
    let (rows, count) = (height.min(side), width.min(side) * channels);
    if count == 0 {
        return;
    }
    let rows = from.bytes.chunks_exact(width * channels).skip(top).take(rows);
    for (target, row) in to.bytes.chunks_exact_mut(side * channels).skip(above).zip(rows) {
        target[before * channels..][..count].copy_from_slice(&row[left * channels..][..count]);
    }
}

/// What is left out at the beginning of a side to crop it in the middle, and what is put there when it is too short:
/// `round((length - side) / 2)`, half to even, and `(side - length) / 2`, cut off.
fn middle(length: usize, side: usize) -> (usize, usize) {
    match length.checked_sub(side) {
        Some(more) => ((more as f64 / 2.0).round_ties_even() as usize, 0),
        None => (0, (side - length) / 2),
    }
}

/// Mirrors a picture: left becomes right.
pub(crate) fn flip(picture: &mut Picture) {
    let Shape { width, channels, .. } = picture.shape;
    if width * channels == 0 {
        return;
    }
    for row in picture.bytes.chunks_exact_mut(width * channels) {
        match channels {
            1 => row.reverse(),
            3 => row.as_chunks_mut::<3>().0.reverse(),
            _ => {
                row.reverse();
                row.chunks_exact_mut(channels).for_each(<[u8]>::reverse);
            }
        }
    }
}

/// `RandomResizedCrop(size, scale, ratio, filter)`, `RandomHorizontalFlip(1/2)`, `ColorJitter`, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RandomCrop {
    /// Both sides of the result.
    pub size: u32,
    /// The crop's share of the picture's pixels, from and to.
    pub scale: (f64, f64),
    /// Its width over its height, from and to.
    pub ratio: (f64, f64),
    /// How it is resized.
    pub filter: Filter,
    /// Whether half of the pictures are mirrored.
    pub flip: bool,
    /// How colours change, if they do.
    pub jitter: Option<Jitter>,
}

/// What was drawn for a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drawn {
    /// The crop.
    pub area: Area,
    /// Whether it is mirrored.
    pub flip: bool,
    /// What its colours go through, in this order.
    pub jitter: [Option<Step>; 4],
}

/// How often a crop is tried that might not fit.
const TRIES: usize = 10;

impl RandomCrop {
    /// Draws for a picture of `width x height` pixels.
    ///
    /// With `u` a word's upper 53 bits as a number in `[0, 1)` and `U(a, b) = a + (b - a) u`, logarithm, exponential and
    /// root from `libm`, so that every machine draws the same:
    ///
    /// | word     | what is drawn                                                                                          |
    /// |----------|--------------------------------------------------------------------------------------------------------|
    /// | 2t       | try `t` of 10: the crop's pixels `A = width * height * U(scale)`                                       |
    /// | 2t + 1   | its ratio `r = exp(U(ln ratio))`: `w = round(sqrt(A r))`, `h = round(sqrt(A / r))`, half to even; taken if `0 < w <= width` and `0 < h <= height` |
    /// | 20, 21   | rows above the crop, `floor((height - h + 1) word / 2^64)`, and pixels left of it                       |
    /// | 22       | mirrored if the upper bit is set                                                                       |
    /// | 23       | the order of the jitter's steps, `floor(24 word / 2^64)` of the 24 in the order of a dictionary         |
    /// | 24 to 27 | factors of brightness, contrast, saturation and hue, each `U` of its range                              |
    ///
    /// When no try fits, the crop is as large as the ratios allow, in the middle.
    pub(crate) fn draw(&self, words: &CropWords, width: u32, height: u32) -> Drawn {
        let tries = words[..2 * TRIES].as_chunks().0;
        let found = tries.iter().find_map(|&[area, ratio]| self.fits(area, ratio, width, height));
        let area = match found {
            Some((w, h)) => {
                let (top, left) = (below(words[20], height - h + 1), below(words[21], width - w + 1));
                Area { left, top, width: w, height: h }
            }
            None => self.middle(width, height),
        };
        let jitter = self.jitter.map_or([None; 4], |jitter| steps(&jitter, words));
        Drawn { area, flip: self.flip && words[22] >> 63 == 1, jitter }
    }

    /// Width and height of a crop, if it fits.
    fn fits(&self, area: u64, ratio: u64, width: u32, height: u32) -> Option<(u32, u32)> {
        let area = f64::from(width) * f64::from(height) * uniform(area, self.scale);
        let ratio = libm::exp(uniform(ratio, (libm::log(self.ratio.0), libm::log(self.ratio.1))));
        let side = |square: f64| libm::sqrt(square).round_ties_even() as u32;
        let (w, h) = (side(area * ratio), side(area / ratio));
        ((1..=width).contains(&w) && (1..=height).contains(&h)).then_some((w, h))
    }

    /// The largest crop whose ratio is allowed, in the middle.
    fn middle(&self, width: u32, height: u32) -> Area {
        let (low, high) = (self.ratio.0.min(self.ratio.1), self.ratio.0.max(self.ratio.1));
        let (w, h) = (f64::from(width), f64::from(height));
        let (w, h) = match w / h {
            ratio if ratio < low => (width, ((w / low).round_ties_even() as u32).clamp(1, height.max(1))),
            ratio if ratio > high => (((h * high).round_ties_even() as u32).clamp(1, width.max(1)), height),
            _ => (width, height),
        };
        Area { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }

    /// Makes `to` what was drawn, `size x size` pixels.
    pub(crate) fn apply(&self, drawn: &Drawn, from: &Picture, scratch: &mut Scratch, to: &mut Picture) {
        resize(from, drawn.area, (self.size, self.size), self.filter, scratch, to);
        if drawn.flip {
            flip(to);
        }
        drawn.jitter.iter().flatten().for_each(|step| step.apply(to));
    }
}

/// `low + (high - low) u`.
fn uniform(word: u64, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * ((word >> 11) as f64 * (0.5_f64).powi(53))
}

/// A whole number from 0 to below `count`.
fn below(word: u64, count: u32) -> u32 {
    ((u128::from(word) * u128::from(count)) >> 64) as u32
}

/// The steps of a jitter in their drawn order; those that change nothing are left out.
fn steps(jitter: &Jitter, words: &CropWords) -> [Option<Step>; 4] {
    let factor = |word: usize, range: f64| uniform(words[word], ((1.0 - range).max(0.0), 1.0 + range));
    let Jitter { brightness, contrast, saturation, hue } = *jitter;
    let all = [
        (brightness > 0.0).then(|| Step::Brightness(factor(24, brightness))),
        (contrast > 0.0).then(|| Step::Contrast(factor(25, contrast))),
        (saturation > 0.0).then(|| Step::Saturation(factor(26, saturation))),
        (hue > 0.0).then(|| Step::Hue(uniform(words[27], (-hue, hue)))),
    ];
    order(below(words[23], 24)).map(|index| all[index])
}

/// The permutation of 0..4 with this number, of 24 in the order of a dictionary.
fn order(number: u32) -> [usize; 4] {
    let mut left = [0, 1, 2, 3];
    let mut number = number as usize % 24;
    for (place, others) in [6, 2, 1, 1].into_iter().enumerate() {
        let chosen = place + number / others;
        number %= others;
        left[place..=chosen.min(3)].rotate_right(1);
    }
    left
}
