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

/// What is put between a picture's data and its end marker: bits that are no code of any table. A picture that lacks some
/// of its data then fails at the first code that is missing, where decoders otherwise take an end marker for zeros.
const NO_CODE: [u8; 16] = [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];

/// The marker behind a picture.
const END: [u8; 2] = [0xff, 0xd9];

/// Decodes into one channel for grey pictures and three for all others; inks (CMYK, YCCK) are taken as inverted,
/// `R = C K / 255` and so on, as Pillow does whatever the Adobe marker says. Returns the channels.
///
/// A file without an end marker is cut off, also where all rows came, as it is for Pillow.
pub(super) fn decode(bytes: &[u8], header: &Header, pixels: &mut Vec<u8>) -> Result<usize, Refused> {
    let channels = usize::from(header.channels);
    pixels.resize(header.width as usize * header.height as usize * channels, 0);
    let data = behind_frame(bytes)?;
    let end = bytes[data..].windows(2).rposition(|marker| marker == END);
    let whole = bytes.get(..end.map_or(bytes.len(), |end| data + end)).unwrap_or_default();
    let padded = [whole, &NO_CODE, &END].concat();
    match run(&padded, channels, true, pixels) {
        Ok(()) if end.is_some() => Ok(channels),
        Ok(()) => refused("is JPEG that is cut off: its end marker is missing"),
        // Damage may leave too few bits: the picture counts if every row began, as it does for Pillow.
        Err(error) => match missing(&padded, header, pixels) {
            Some(0) if end.is_some() && is_taken(bytes, channels, pixels) => Ok(channels),
            missing => Err(why(&error, header, end, missing)),
        },
    }
}

/// Whether a file with all its rows can be decoded as it is. Bytes between segments are passed over, as others do.
fn is_taken(bytes: &[u8], channels: usize, pixels: &mut [u8]) -> bool {
    match run(bytes, channels, true, pixels) {
        Ok(()) => true,
        Err(DecodeErrors::FormatStatic(why)) if why.contains("Extra bytes between headers") => {
            run(bytes, channels, false, pixels).is_ok()
        }
        Err(_) => false,
    }
}

/// Why strict decoding failed, with the rows that are missing where that is known.
fn why(error: &DecodeErrors, header: &Header, end: Option<usize>, missing: Option<u32>) -> Refused {
    let what = if end.is_some() { "is JPEG with damage in its data" } else { "is JPEG that is cut off" };
    match missing {
        Some(rows) if rows > 0 => {
            Refused(format!("{what}: at most {} of {} rows are there", header.height - rows, header.height))
        }
        _ if end.is_some() => damaged(Kind::Jpeg, error),
        _ => Refused(what.into()),
    }
}

/// Where what follows the frame's header begins.
fn behind_frame(bytes: &[u8]) -> Result<usize, Refused> {
    let mut cursor = Cursor::new(bytes);
    jpeg::header(&mut cursor)?;
    Ok(usize::try_from(cursor.position()).map_or(bytes.len(), |at| at.min(bytes.len())))
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
