//! What a picture's header says, without a look at its pixels.

mod exif;
pub(super) mod jpeg;
mod png;

use std::fmt;
use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};

use image::codecs::{bmp::BmpDecoder, pnm::PnmDecoder, tiff::TiffDecoder};
use image::{ExtendedColorType, ImageDecoder};
use image_webp::WebPDecoder;

use crate::data::found::Found;

/// Why a file is not taken: one sentence without the file's name, which stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Refuses with these words.
pub(super) fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(why.into()))
}

/// A kind of file that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Baseline or progressive, in Huffman codes of 8 bits.
    Jpeg,
    /// Any PNG; of an animated one the first picture.
    Png,
    /// Lossy or lossless; of an animated one the first picture.
    WebP,
    /// Its first picture.
    Gif,
    /// Windows' bitmaps.
    Bmp,
    /// Its first page.
    Tiff,
    /// PBM, PGM and PPM, in text or bytes.
    Pnm,
}

impl Kind {
    /// What a file that begins with these bytes is; names and endings count for nothing.
    pub fn of(head: &[u8]) -> Option<Self> {
        let is = |magic: &[u8]| head.starts_with(magic);
        match head {
            _ if is(b"\xff\xd8\xff") => Some(Self::Jpeg),
            _ if is(b"\x89PNG\r\n\x1a\n") => Some(Self::Png),
            _ if is(b"RIFF") && head.get(8..12) == Some(b"WEBP") => Some(Self::WebP),
            _ if is(b"GIF87a") || is(b"GIF89a") => Some(Self::Gif),
            _ if is(b"II*\0") || is(b"MM\0*") || is(b"II+\0") || is(b"MM\0+") => Some(Self::Tiff),
            [b'B', b'M', ..]
                if matches!(head.get(14..18), Some([12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])) =>
            {
                Some(Self::Bmp)
            }
            [b'P', b'1'..=b'6', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..] => Some(Self::Pnm),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Pnm => "PNM",
        })
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of file, by its content.
    pub kind: Kind,
    /// Pixels a row, at least 1, as stored: before any turn.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
    /// 1 for grey, 3 for colour (palettes among them), as it is decoded when nobody asks for the other.
    pub channels: u8,
    /// EXIF's orientation, 1 to 8; 1 where there is none or it is broken.
    pub orientation: u8,
    /// Whether it is grey with 16 bits a pixel, for which [`Grey16`](super::decode::Grey16) is asked.
    pub grey16: bool,
    /// Whether it says how opaque pixels are, which is dropped.
    pub alpha: bool,
    /// Whether more pictures follow the first.
    pub animated: bool,
}

impl Header {
    /// A plain picture of this size.
    const fn new(kind: Kind, width: u32, height: u32, channels: u8) -> Self {
        Self { kind, width, height, channels, orientation: 1, grey16: false, alpha: false, animated: false }
    }

    /// Number of pixels.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Bytes by which a kind is told.
const HEAD: u64 = 512;

/// Bytes of EXIF that are looked at: more than a JPEG's segment holds.
const EXIF: u64 = 1 << 16;

/// Reads the header of a picture: what precedes its pixels, and of GIF and WebP the lengths of what follows. Memory is
/// a few buffers, whatever the header says.
///
/// # Errors
/// [`Refused`] where it is no picture, of a kind that is not read, damaged, or without a pixel.
pub fn header(mut reader: impl BufRead + Seek) -> Result<Header, Refused> {
    let mut head = Vec::new();
    let read = reader.by_ref().take(HEAD).read_to_end(&mut head).and_then(|_| reader.seek(SeekFrom::Start(0)));
    read.map_err(|error| Refused(format!("cannot be read: {error}")))?;
    let Some(kind) = Kind::of(&head) else { return Err(stranger(&head)) };
    let header = match kind {
        Kind::Jpeg => jpeg::header(&mut reader)?,
        Kind::Png => png::header(reader)?,
        Kind::WebP => webp(reader)?,
        Kind::Gif => gif(reader)?,
        Kind::Bmp => BmpDecoder::new(reader).map(|found| plain(kind, &found)).map_err(|error| damaged(kind, error))?,
        Kind::Pnm => PnmDecoder::new(reader).map(|found| plain(kind, &found)).map_err(|error| damaged(kind, error))?,
        Kind::Tiff => tiff(reader)?,
    };
    match header.pixels() {
        0 => refused(format!("is {} without a pixel: its header says {} x {}", kind, header.width, header.height)),
        _ => Ok(header),
    }
}

/// The header at the front of these bytes, as [`header`].
pub fn of(bytes: &[u8]) -> Result<Header, Refused> {
    header(Cursor::new(bytes))
}

/// Why a file that begins like this is no picture for us.
fn stranger(head: &[u8]) -> Refused {
    const TAKEN: &str = "JPEG, PNG, WebP, GIF, BMP, TIFF and PNM are";
    Refused(match Found::of(head) {
        _ if head.is_empty() => "has no byte".into(),
        _ if head.iter().all(|&byte| byte == 0) => "begins with zeros: it was not stored whole".into(),
        Some(Found::Picture(kind @ ("AVIF" | "HEIF" | "DICOM"))) => {
            format!("is {kind}, which is not supported: convert it to JPEG or PNG")
        }
        Some(Found::Picture(kind)) => format!("begins as {kind} but is damaged in its first bytes"),
        Some(other) => format!("is {}, not a picture", other.name()),
        None => format!("is not a picture of a kind that is read ({TAKEN})"),
    })
}

/// A file that its decoder does not understand.
pub(super) fn damaged(kind: Kind, error: impl fmt::Display) -> Refused {
    let error = error.to_string();
    let cut = ["unexpected end of file", "failed to fill whole buffer", "UnexpectedEof"];
    Refused(match cut.iter().any(|words| error.contains(words)) {
        true => format!("is {kind} that is cut off"),
        false => format!("is {kind} that cannot be decoded: {}", crate::shown::shown(&error)),
    })
}

/// What the decoders of `image` say.
fn plain(kind: Kind, decoder: &impl ImageDecoder) -> Header {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let grey16 = decoder.original_color_type() == ExtendedColorType::L16;
    let channels = if color.has_color() { 3 } else { 1 };
    Header { grey16, alpha: color.has_alpha(), ..Header::new(kind, width, height, channels) }
}

fn tiff(reader: impl BufRead + Seek) -> Result<Header, Refused> {
    let mut decoder = TiffDecoder::new(reader).map_err(|error| damaged(Kind::Tiff, error))?;
    let orientation = decoder.orientation().map_or(1, image::metadata::Orientation::to_exif);
    Ok(Header { orientation, ..plain(Kind::Tiff, &decoder) })
}

fn webp(reader: impl BufRead + Seek) -> Result<Header, Refused> {
    let mut decoder = WebPDecoder::new(reader).map_err(|error| damaged(Kind::WebP, error))?;
    decoder.set_memory_limit(EXIF as usize);
    let orientation = decoder.exif_metadata().ok().flatten().map_or(1, |found| exif::orientation(&found));
    let (width, height) = decoder.dimensions();
    let (alpha, animated) = (decoder.has_alpha(), decoder.is_animated());
    Ok(Header { orientation, alpha, animated, ..Header::new(Kind::WebP, width, height, 3) })
}

/// The size is the screen's, made larger where the first picture goes beyond it.
fn gif(reader: impl BufRead) -> Result<Header, Refused> {
    let refuse = |error| damaged(Kind::Gif, error);
    let mut options = gif::DecodeOptions::new();
    options.skip_frame_decoding(true);
    let mut decoder = options.read_info(reader).map_err(refuse)?;
    let (width, height) = (u32::from(decoder.width()), u32::from(decoder.height()));
    let Some(frame) = decoder.next_frame_info().map_err(refuse)? else { return refused("is GIF without a picture") };
    let width = width.max(u32::from(frame.left) + u32::from(frame.width));
    let height = height.max(u32::from(frame.top) + u32::from(frame.height));
    let alpha = frame.transparent.is_some();
    let animated = decoder.next_frame_info().is_ok_and(|next| next.is_some());
    Ok(Header { alpha, animated, ..Header::new(Kind::Gif, width, height, 3) })
}
