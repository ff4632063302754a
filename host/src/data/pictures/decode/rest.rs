//! BMP, TIFF and PNM: the decoders of the crate `image`.

use std::io::Cursor;

use image::codecs::{bmp::BmpDecoder, pnm::PnmDecoder, tiff::TiffDecoder};
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::super::header::{Header, Kind, Refused, damaged, refused};
use super::{Decoding, Grey16, keep, narrow};

/// Bytes that a decoder may take beside its pixels.
const BESIDE: u64 = 1 << 24;

/// Palettes become colours, alpha is dropped, of 16 bits the upper 8 are kept (but see [`Grey16`]). Returns the channels.
pub(super) fn decode(bytes: &[u8], header: &Header, how: &Decoding, pixels: &mut Vec<u8>) -> Result<usize, Refused> {
    let refuse = |error: ImageError| damaged(header.kind, error);
    let color = match header.kind {
        Kind::Bmp => read(BmpDecoder::new(Cursor::new(bytes)).map_err(refuse)?, header, pixels),
        Kind::Tiff => read(TiffDecoder::new(Cursor::new(bytes)).map_err(refuse)?, header, pixels),
        _ => read(PnmDecoder::new(Cursor::new(bytes)).map_err(refuse)?, header, pixels),
    }?;
    if header.kind == Kind::Pnm {
        let (_, found) = PnmDecoder::new(Cursor::new(bytes)).map_err(refuse)?.into_inner();
        stretch(pixels, color, found.maximal_sample());
    }
    let channels = if color.has_color() { 3 } else { 1 };
    let samples = usize::from(color.channel_count());
    match color {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => keep(pixels, channels, samples),
        ColorType::L16 => narrow(pixels, 2, u16::from_ne_bytes, how.grey16),
        ColorType::La16 => narrow(pixels, 4, u16::from_ne_bytes, Grey16::Shift),
        ColorType::Rgb16 | ColorType::Rgba16 => {
            narrow(pixels, 2, u16::from_ne_bytes, Grey16::Shift);
            keep(pixels, channels, samples);
        }
        _ => return refused(format!("is {} of values that are not whole numbers: convert it to PNG", header.kind)),
    }
    Ok(channels)
}

/// Reads all values as the decoder gives them.
fn read(mut decoder: impl ImageDecoder, header: &Header, pixels: &mut Vec<u8>) -> Result<ColorType, Refused> {
    let color = decoder.color_type();
    let bytes = header.pixels().saturating_mul(color.bytes_per_pixel().into());
    let mut limits = Limits::default();
    limits.max_alloc = Some(bytes.saturating_mul(2).saturating_add(BESIDE));
    decoder.set_limits(limits).map_err(|error| damaged(header.kind, error))?;
    pixels.clear();
    pixels.resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
    decoder.read_image(pixels).map_err(|error| damaged(header.kind, error))?;
    Ok(color)
}

/// Values from `0..=maximum` to all that a byte or two hold, rounded as Pillow does: half to even. The decoder has already
/// done so in `f32` and its own way of rounding, which is taken back. Colours of 16 bits are rounded to 8, which then stand
/// in the upper byte.
fn stretch(pixels: &mut [u8], color: ColorType, maximum: u32) {
    let maximum = f64::from(maximum.max(1));
    let scaled = |value: f64, from: f64, to: f64| ((value * maximum / from).round() / maximum * to).round_ties_even();
    match color {
        ColorType::L8 | ColorType::Rgb8 if maximum < 255.0 => {
            pixels.iter_mut().for_each(|byte| *byte = scaled((*byte).into(), 255.0, 255.0) as u8);
        }
        ColorType::L16 | ColorType::Rgb16 => {
            for bytes in pixels.as_chunks_mut().0 {
                let value = f64::from(u16::from_ne_bytes(*bytes));
                let value = match color {
                    ColorType::L16 => scaled(value, 65535.0, 65535.0),
                    _ => scaled(value, 65535.0, 255.0) * 256.0,
                };
                *bytes = (value as u16).to_ne_bytes();
            }
        }
        _ => {}
    }
}
