//! torchvision's `ColorJitter` on Pillow's pictures: every step rounds to bytes as Pillow's C code does.

use super::decode::luma;
use crate::data::Picture;

/// How much colours are changed: a factor of brightness, contrast and saturation lies in
/// `max(0, 1 - x) .. 1 + x`, one of hue in `-x .. x`. A field that is 0 changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// Of the distance to black.
    pub brightness: f64,
    /// Of the distance to the mean grey.
    pub contrast: f64,
    /// Of the distance to each pixel's own grey.
    pub saturation: f64,
    /// Part of the circle of colours, at most 1/2.
    pub hue: f64,
}

/// One step of a jitter, with its factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// [`brightness`]
    Brightness(f64),
    /// [`contrast`]
    Contrast(f64),
    /// [`saturation`]
    Saturation(f64),
    /// [`hue`]
    Hue(f64),
}

impl Step {
    /// Changes a picture.
    pub fn apply(self, picture: &mut Picture) {
        match self {
            Self::Brightness(factor) => brightness(picture, factor),
            Self::Contrast(factor) => contrast(picture, factor),
            Self::Saturation(factor) => saturation(picture, factor),
            Self::Hue(factor) => hue(picture, factor),
        }
    }
}

/// `b * factor`, as Pillow's `ImageEnhance.Brightness`: a blend with black.
pub fn brightness(picture: &mut Picture, factor: f64) {
    blend_all(picture, 0, factor);
}

/// A blend with the mean `m` of the grey picture, `m + factor (b - m)`, as Pillow's `ImageEnhance.Contrast`.
pub fn contrast(picture: &mut Picture, factor: f64) {
    let (pixels, bytes) = (picture.shape.height * picture.shape.width, &picture.bytes);
    let sum: u64 = match picture.shape.channels {
        3 => bytes.as_chunks().0.iter().map(|&pixel| u64::from(luma(pixel))).sum(),
        _ => bytes.iter().map(|&byte| u64::from(byte)).sum(),
    };
    let mean = (sum as f64 / pixels.max(1) as f64 + 0.5) as u8;
    blend_all(picture, mean, factor);
}

/// Blends every byte with the same one.
fn blend_all(picture: &mut Picture, with: u8, factor: f64) {
    let table: [u8; 256] = std::array::from_fn(|byte| blend(with, byte as u8, factor as f32));
    picture.bytes.iter_mut().for_each(|byte| *byte = table[usize::from(*byte)]);
}

/// A blend with each pixel's own grey `g`, `g + factor (b - g)`, as Pillow's `ImageEnhance.Color`. Grey pictures stay.
pub fn saturation(picture: &mut Picture, factor: f64) {
    if picture.shape.channels == 3 {
        for pixel in picture.bytes.as_chunks_mut().0 {
            let grey = luma(*pixel);
            *pixel = pixel.map(|value| blend(grey, value, factor as f32));
        }
    }
}

/// Turns the circle of colours by a part of it from -1/2 to 1/2, as torchvision's `adjust_hue`: through Pillow's HSV of 8
/// bits, whose hue wraps. Grey pictures stay.
pub fn hue(picture: &mut Picture, factor: f64) {
    let shift = (factor * 255.0) as i32 as u8;
    if picture.shape.channels == 3 {
        for pixel in picture.bytes.as_chunks_mut().0 {
            let [hue, saturation, value] = hsv_of(*pixel);
            *pixel = rgb_of([hue.wrapping_add(shift), saturation, value]);
        }
    }
}

/// Pillow's `ImagingBlend`: `(a + factor (b - a))` in `f32`, cut off to a whole byte.
fn blend(a: u8, b: u8, factor: f32) -> u8 {
    let (a, b) = (i32::from(a), i32::from(b));
    // Casts from f32 saturate.
    (a as f32 + factor * (b - a) as f32) as u8
}

/// Pillow's `rgb2hsv_row`: all three from 0 to 255, in `f32` but where C takes `double` for a constant.
fn hsv_of([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (high, low) = (red.max(green).max(blue), red.min(green).min(blue));
    if high == low {
        return [0, 0, high];
    }
    let range = f32::from(high - low);
    let saturation = range / f32::from(high);
    let [r, g, b] = [red, green, blue].map(|value| f32::from(high - value) / range);
    let hue = if red == high {
        b - g
    } else if green == high {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let hue = libm::fmod(f64::from(hue) / 6.0 + 1.0, 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, high]
}

/// Pillow's `hsv2rgb`.
fn rgb_of([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sector = f64::from(hue) * 6.0 / 255.0;
    let whole = libm::floor(sector);
    let rest = (sector - f64::from(whole as f32)) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let times = |part: f64| libm::round(f64::from(value) * (1.0 - part)) as u8;
    let (p, q) = (times(saturation.into()), times((saturation * rest).into()));
    let t = times(f64::from(saturation) * (1.0 - f64::from(rest)));
    match whole as u8 % 6 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}
