//! PNG's chunks up to its pixels.

use std::io::{BufRead, Read, Seek};

use super::{EXIF, Header, Kind, Refused, exif, refused};

/// Reads the chunks before the first of pixels.
pub(super) fn header(mut reader: impl BufRead + Seek) -> Result<Header, Refused> {
    let _: [u8; 8] = bytes(&mut reader)?;
    let (length, name) = chunk(&mut reader)?;
    if (length, &name) != (13, b"IHDR") {
        return refused("is PNG that does not begin with its header");
    }
    let mut header = first(bytes(&mut reader)?)?;
    skip(&mut reader, 3 + 4)?;
    loop {
        let (length, name) = chunk(&mut reader)?;
        match &name {
            b"IDAT" => return Ok(header),
            b"IEND" => return refused("is PNG without pixels"),
            b"tRNS" => header.alpha = true,
            b"acTL" => header.animated = true,
            b"eXIf" if u64::from(length) <= EXIF => {
                let mut block = Vec::new();
                let _ = reader.by_ref().take(length.into()).read_to_end(&mut block);
                header.orientation = exif::orientation(&block);
                skip(&mut reader, 4)?;
                continue;
            }
            _ => {}
        }
        skip(&mut reader, i64::from(length) + 4)?;
    }
}

/// What the first chunk says: width, height, bits a value, kind of pixels.
fn first([w3, w2, w1, w0, h3, h2, h1, h0, bits, color]: [u8; 10]) -> Result<Header, Refused> {
    let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    let (channels, alpha) = match color {
        0 => (1, false),
        4 => (1, true),
        2 | 3 => (3, false),
        6 => (3, true),
        _ => return refused(format!("is PNG with pixels of kind {color}, which does not exist")),
    };
    Ok(Header { grey16: (color, bits) == (0, 16), alpha, ..Header::new(Kind::Png, width, height, channels) })
}

/// The length and the name of the next chunk.
fn chunk(reader: &mut impl Read) -> Result<(u32, [u8; 4]), Refused> {
    Ok((u32::from_be_bytes(bytes(reader)?), bytes(reader)?))
}

fn bytes<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => refused("is PNG that is cut off in its header"),
    }
}

fn skip(reader: &mut impl Seek, count: i64) -> Result<(), Refused> {
    reader.seek_relative(count).map_err(|error| Refused(format!("cannot be read: {error}")))
}
