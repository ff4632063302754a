//! WebP: the crate `image-webp`.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::super::header::{Header, Kind, Refused, damaged};
use super::keep;

/// Bytes that the decoder may take for one chunk of an animation beside its pixels.
const CHUNKS: usize = 1 << 24;

/// Three channels; alpha is dropped. Returns the channels.
pub(super) fn decode(bytes: &[u8], header: &Header, pixels: &mut Vec<u8>) -> Result<usize, Refused> {
    let refuse = |error: DecodingError| damaged(Kind::WebP, error);
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(refuse)?;
    decoder.set_memory_limit(CHUNKS.saturating_add(bytes.len()));
    let samples = if header.alpha { 4 } else { 3 };
    pixels.resize(header.width as usize * header.height as usize * samples, 0);
    decoder.read_image(pixels).map_err(refuse)?;
    keep(pixels, 3, samples);
    Ok(3)
}
