//! JPEG: `zune-jpeg`, in its strict way.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::super::header::{Header, Kind, Refused, damaged, jpeg, refused};

/// The value that the decoder gives rows which it did not come to.
const MISSING: u8 = 128;

/// Decodes into one channel for grey pictures and three for all others; inks (CMYK, YCCK) are taken as inverted,
/// `R = C K / 255` and so on, as Pillow does whatever the Adobe marker says. Returns the channels.
///
/// A file without an end marker is cut off, also where all rows came, as it is for Pillow.
pub(super) fn decode(bytes: &[u8], header: &Header, pixels: &mut Vec<u8>) -> Result<usize, Refused> {
    let channels = usize::from(header.channels);
    pixels.resize(header.width as usize * header.height as usize * channels, 0);
    let (is_progressive, data) = frame(bytes)?;
    let is_whole = data.windows(2).rev().any(|marker| marker == [0xff, 0xd9]);
    match run(bytes, channels, true, pixels) {
        Ok(()) if is_whole => Ok(channels),
        Ok(()) => refused("is JPEG that is cut off: its end marker is missing"),
        // Strict decoding stops at any doubt: such a file is good if every row is there all the same.
        Err(error) => match missing(bytes, header, pixels) {
            Some(0) if is_whole && !is_progressive => Ok(channels),
            rows => Err(why(&error, header, is_whole, rows.filter(|_| !is_progressive))),
        },
    }
}

/// Why strict decoding failed, with the rows that are missing where that is known.
fn why(error: &DecodeErrors, header: &Header, is_whole: bool, missing: Option<u32>) -> Refused {
    let what = if is_whole { "is JPEG with damage in its data" } else { "is JPEG that is cut off" };
    match missing {
        Some(rows) if rows > 0 => {
            Refused(format!("{what}: at most {} of {} rows are there", header.height - rows, header.height))
        }
        _ if is_whole => damaged(Kind::Jpeg, error),
        _ => Refused(what.into()),
    }
}

/// Whether the picture is progressive, and what follows its frame's header.
fn frame(bytes: &[u8]) -> Result<(bool, &[u8]), Refused> {
    let mut cursor = Cursor::new(bytes);
    jpeg::header(&mut cursor)?;
    let at = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    let marker = at.checked_sub(jpeg::BEHIND_MARKER).and_then(|at| bytes.get(at));
    Ok((marker == Some(&0xc2), bytes.get(at..).unwrap_or_default()))
}

/// One way through the decoder.
fn run(bytes: &[u8], channels: usize, strict: bool, pixels: &mut [u8]) -> Result<(), DecodeErrors> {
    let color = if channels == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = DecoderOptions::default().set_strict_mode(strict).jpeg_set_out_colorspace(color);
    let options = options.set_max_width(u16::MAX.into()).set_max_height(u16::MAX.into());
    JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode_into(pixels)
}

/// How many rows of the picture the decoder does not come to, if it begins at all.
fn missing(bytes: &[u8], header: &Header, pixels: &mut [u8]) -> Option<u32> {
    let channels = usize::from(header.channels);
    run(bytes, channels, false, pixels).ok()?;
    let rows = pixels.chunks_exact(header.width as usize * channels).rev();
    u32::try_from(rows.take_while(|row| row.iter().all(|&byte| byte == MISSING)).count()).ok()
}
