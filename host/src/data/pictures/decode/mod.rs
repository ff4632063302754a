//! Pixels from the bytes of a file, as Pillow's `Image.open(f).convert("RGB")` or `convert("L")` gives them.
//!
//! What a header promises is compared with the limit before memory is taken; alpha is dropped, not blended; of several
//! pictures the first counts; colour profiles and other metadata are not looked at. JPEG and lossy WebP are within 4 of
//! Pillow's bytes, everything else is equal.

mod gif;
mod jpeg;
mod png;
mod rest;
mod turn;
mod webp;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::header::{self, Header, Kind, Refused, refused};
use crate::data::Picture;
use sse_sam_core::Shape;

/// The colours of a decoded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    /// Red, green, blue; grey is taken three times.
    Rgb,
    /// `(19595 R + 38470 G + 7471 B + 32768) >> 16`, Pillow's mode `L`.
    Grey,
}

/// Whether pictures are turned as their EXIF says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exif {
    /// They stay as they are stored, as torchvision and timm leave them. TIFF's own entry is followed, as Pillow does.
    Ignore,
    /// They are turned; what is broken means not turned.
    Apply,
}

/// What becomes of a grey value `v` of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grey16 {
    /// `v >> 8`.
    Shift,
    /// `min(v, 255)`, as Pillow converts: a picture that uses its 16 bits becomes white.
    Clip,
    /// `round(255 (v - min) / (max - min))` over the picture's own values; 0 where they are all equal.
    Stretch,
}

/// How pictures are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoding {
    /// The colours that are asked for.
    pub channels: Channels,
    /// Whether EXIF turns.
    pub exif: Exif,
    /// What 16-bit grey becomes.
    pub grey16: Grey16,
    /// Pictures of more pixels are refused by their header.
    pub max_pixels: u64,
}

impl Decoding {
    /// Pillow's limit: where a picture is a decompression bomb.
    pub(crate) const MAX_PIXELS: u64 = 178_956_970;

    /// Whether a picture of this size may be decoded.
    ///
    /// # Errors
    /// [`Refused`] when it has more pixels than the limit.
    pub(crate) fn allows(&self, Header { width, height, .. }: &Header) -> Result<(), Refused> {
        let limit = self.max_pixels;
        match u64::from(*width) * u64::from(*height) {
            pixels if pixels > limit => {
                refused(format!("has {width} x {height} pixels, more than the limit of {limit} (--max-pixels)"))
            }
            _ => Ok(()),
        }
    }
}

impl Default for Decoding {
    fn default() -> Self {
        Self { channels: Channels::Rgb, exif: Exif::Ignore, grey16: Grey16::Shift, max_pixels: Self::MAX_PIXELS }
    }
}

/// Decodes the picture in the bytes of a file into `to`, whose memory is taken again.
///
/// # Errors
/// [`Refused`] where it is no picture, damaged, cut off, larger than allowed, or of a kind that is not supported.
pub(crate) fn decode(bytes: &[u8], how: &Decoding, to: &mut Picture) -> Result<(), Refused> {
    // The decoders are others' code: should one of them panic on a file, that file is refused and the run goes on.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(bytes, how, to)))
        .unwrap_or_else(|_| refused("makes its decoder fail: it is damaged"))
}

pub(super) fn decode_unguarded(bytes: &[u8], how: &Decoding, to: &mut Picture) -> Result<(), Refused> {
    let header = header::of(bytes)?;
    how.allows(&header)?;
    let pixels = &mut to.bytes;
    let channels = match header.kind {
        Kind::Jpeg => jpeg::decode(bytes, &header, pixels),
        Kind::Png => png::decode(bytes, &header, how, pixels),
        Kind::WebP => webp::decode(bytes, &header, pixels),
        Kind::Gif => gif::decode(bytes, &header, pixels),
        Kind::Bmp | Kind::Tiff | Kind::Pnm => rest::decode(bytes, &header, how, pixels),
    }?;
    let count = header.width as usize * header.height as usize;
    if pixels.len() != count * channels {
        return refused(format!("is {} that cannot be decoded: it does not have its own size", header.kind));
    }
    let channels = match (how.channels, channels) {
        (Channels::Rgb, 1) => spread(pixels),
        (Channels::Grey, 3) => grey(pixels),
        (_, channels) => channels,
    };
    to.shape = Shape::new(header.height as usize, header.width as usize, channels);
    if how.exif == Exif::Apply || header.kind == Kind::Tiff {
        turn::turn(to, header.orientation);
    }
    Ok(())
}

/// Grey three times; the number of channels that makes.
fn spread(pixels: &mut Vec<u8>) -> usize {
    let count = pixels.len();
    pixels.resize(3 * count, 0);
    for index in (0..count).rev() {
        let value = pixels[index];
        pixels[3 * index..3 * index + 3].fill(value);
    }
    3
}

/// Colours to Pillow's mode `L`; the number of channels that makes.
fn grey(pixels: &mut Vec<u8>) -> usize {
    let count = pixels.len() / 3;
    for index in 0..count {
        pixels[index] = luma([pixels[3 * index], pixels[3 * index + 1], pixels[3 * index + 2]]);
    }
    pixels.truncate(count);
    1
}

/// `(19595 R + 38470 G + 7471 B + 32768) >> 16`.
pub(super) fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

/// Keeps the first `keep` of every `of` bytes.
fn keep(pixels: &mut Vec<u8>, keep: usize, of: usize) {
    if keep < of {
        let count = pixels.len() / of;
        for index in 0..count {
            pixels.copy_within(of * index..of * index + keep, keep * index);
        }
        pixels.truncate(keep * count);
    }
}

/// Grey values of 16 bits, one behind `of` bytes each, to bytes in their place; `value` reads two bytes.
fn narrow(pixels: &mut Vec<u8>, of: usize, value: impl Fn([u8; 2]) -> u16, how: Grey16) {
    let values = |pixels: &[u8], index: usize| value([pixels[of * index], pixels[of * index + 1]]);
    let count = pixels.len() / of;
    let (mut low, mut high) = (u16::MAX, 0);
    if how == Grey16::Stretch {
        for value in (0..count).map(|index| values(pixels, index)) {
            (low, high) = (low.min(value), high.max(value));
        }
    }
    let range = u32::from(high.saturating_sub(low)).max(1);
    for index in 0..count {
        let value = values(pixels, index);
        pixels[index] = match how {
            Grey16::Shift => (value >> 8) as u8,
            Grey16::Clip => value.min(255) as u8,
            Grey16::Stretch => ((u32::from(value - low) * 255 + range / 2) / range) as u8,
        };
    }
    pixels.truncate(count);
}
