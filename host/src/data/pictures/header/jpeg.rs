//! JPEG's segments up to the frame's header.

use std::io::{BufRead, Read, Seek};

use super::{Header, Kind, Refused, exif, refused};

/// Bytes between two segments that are passed over in the search for the next one.
const JUNK: usize = 1 << 16;

/// Reads the segments up to the frame's.
pub fn header(mut reader: impl BufRead + Seek) -> Result<Header, Refused> {
    let mut orientation = None;
    loop {
        let marker = marker(&mut reader)?;
        match marker {
            0xd8 | 0x01 | 0xd0..=0xd7 => continue,
            0xd9 | 0xda => return refused("is JPEG without a frame's header before its data"),
            _ => {}
        }
        let length = u16::from_be_bytes(bytes(&mut reader)?);
        let Some(length) = length.checked_sub(2) else { return refused("is JPEG with a segment of no length") };
        match marker {
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf => return frame(marker, bytes(&mut reader)?, orientation.unwrap_or(1)),
            0xe1 if orientation.is_none() => {
                let mut block = Vec::new();
                reader.by_ref().take(length.into()).read_to_end(&mut block).map_err(unreadable)?;
                orientation = block.starts_with(b"Exif\0\0").then(|| exif::orientation(&block));
                continue;
            }
            _ => {}
        }
        reader.seek_relative(length.into()).map_err(unreadable)?;
    }
}

/// What a frame's header says: bits a value, rows, pixels a row, components.
fn frame(marker: u8, [bits, h1, h0, w1, w0, components]: [u8; 6], orientation: u8) -> Result<Header, Refused> {
    let unsupported = |what: &str| refused(format!("is JPEG {what}, which is not supported: convert it to PNG"));
    let channels = match components {
        1 => 1,
        3 | 4 => 3,
        _ => return unsupported(&format!("of {components} components")),
    };
    match marker {
        0xc0..=0xc2 if bits == 8 => {}
        0xc0..=0xc2 => return unsupported(&format!("of {bits} bits a value")),
        0xc9..=0xcf => return unsupported("in arithmetic codes"),
        0xc3 => return unsupported("without loss"),
        _ => return unsupported("in several resolutions"),
    }
    let (width, height) = (u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
    Ok(Header { orientation, ..Header::new(Kind::Jpeg, width, height, channels) })
}

/// The next marker: a byte behind 255 that is neither 0 nor 255. Others are passed over, as decoders do.
fn marker(reader: &mut impl Read) -> Result<u8, Refused> {
    let mut last = 0;
    for _ in 0..JUNK {
        let [byte] = bytes(reader)?;
        if last == 0xff && !matches!(byte, 0 | 0xff) {
            return Ok(byte);
        }
        last = byte;
    }
    refused("is JPEG without a segment where one should begin")
}

fn bytes<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => refused("is JPEG that is cut off in its header"),
    }
}

fn unreadable(error: std::io::Error) -> Refused {
    Refused(format!("cannot be read: {error}"))
}
