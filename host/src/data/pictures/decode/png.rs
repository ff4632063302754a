//! PNG: the crate `png`.

use std::io::Cursor;

use png::{ColorType, Limits, Transformations};

use super::super::header::{Header, Kind, Refused, damaged};
use super::{Decoding, keep, narrow};

/// Bytes that the decoder may take for chunks, beside what a row needs.
const CHUNKS: usize = 1 << 24;

/// Palettes become colours, fewer bits than 8 are stretched to 8, of 16 the upper 8 are kept (but see
/// [`Grey16`](super::Grey16)), alpha is dropped. Returns the channels.
pub(super) fn decode(bytes: &[u8], header: &Header, how: &Decoding, pixels: &mut Vec<u8>) -> Result<usize, Refused> {
    let limit = CHUNKS.saturating_add((header.width as usize).saturating_mul(32));
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: limit });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let shorten = if header.grey16 { Transformations::IDENTITY } else { Transformations::STRIP_16 };
    decoder.set_transformations(Transformations::EXPAND | shorten);
    let mut reader = decoder.read_info().map_err(refuse)?;
    let size = reader.output_buffer_size().ok_or_else(|| Refused("is PNG too large for this machine".into()))?;
    pixels.resize(size, 0);
    let frame = reader.next_frame(pixels).map_err(refuse)?;
    pixels.truncate(frame.buffer_size());
    let channels = if matches!(frame.color_type, ColorType::Grayscale | ColorType::GrayscaleAlpha) { 1 } else { 3 };
    if header.grey16 {
        narrow(pixels, 2 * frame.color_type.samples(), u16::from_be_bytes, how.grey16);
    } else {
        keep(pixels, channels, frame.color_type.samples());
    }
    Ok(channels)
}

fn refuse(error: png::DecodingError) -> Refused {
    let words = error.to_string();
    match words.contains("CRC") || words.contains("CorruptFlateStream") || words.contains("corrupt deflate") {
        true => Refused("is PNG with damage in its data: a check sum is wrong".into()),
        false => damaged(Kind::Png, words),
    }
}
