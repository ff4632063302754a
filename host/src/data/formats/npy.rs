//! NumPy's arrays: a header that is a Python dictionary, then the values.
//!
//! Versions 1 to 3 of the format (numpy/lib/format.py): pictures are unsigned bytes, labels integers of any width and order
//! of bytes. Objects, which would have to be unpickled, are refused like every other type.

mod header;

use std::io::{self, Read};
use std::path::Path;

use sse_sam_core::{Row, Shape};

use crate::Error;
use crate::data::formats::idx::{axes, interleave};

pub(crate) use header::{Header, Type};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Where values come from: what messages call it, its bytes, and how many they are.
pub(crate) struct Content<'a> {
    pub(crate) place: &'a Path,
    pub(crate) reader: &'a mut dyn Read,
    pub(crate) length: u64,
}

/// Pictures as `[samples][height][width][channels]`.
pub(crate) struct Pictures {
    pub(crate) image: Shape,
    pub(crate) bytes: Vec<u8>,
    /// What is to be said about the order of the dimensions.
    pub(crate) notice: Option<String>,
}

/// Reads pictures of `(N, H, W)`, `(N, H, W, 1 | 3)` or `(N, 3 | 1, H, W)` unsigned bytes.
///
/// # Errors
/// [`Error::File`] when the array has another type or shape, or its bytes end early.
pub(crate) fn pictures(content: Content<'_>) -> Result<Pictures, Error> {
    let place = content.place;
    let header = Header::read(place, content.reader)?;
    check_pictures(place, &header)?;
    let (image, is_planes, notice) = picture_axes(place, &header.shape)?;
    let bytes = values(content, &header)?;
    let mut bytes = if header.fortran { to_c_order(&bytes, &header.shape, 1) } else { bytes };
    if is_planes {
        interleave(&mut bytes, image);
    }
    Ok(Pictures { image, bytes, notice })
}

fn check_pictures(place: &Path, header: &Header) -> Result<(), Error> {
    let refuse = |message: String, hint: &str| Err(Error::file(place, message).with_hint(hint));
    match header.of {
        Type { kind: b'u', width: 1, .. } => {}
        Type { kind: b'O', .. } => {
            return refuse(
                "holds Python objects, which are not read: they would be unpickled".into(),
                "in NumPy: np.stack(list(images)).astype('uint8') of pictures of one size",
            );
        }
        Type { kind: b'f', .. } => {
            return refuse(
                format!("holds {} values, not unsigned bytes", header.of),
                "in NumPy: (images * 255).round().astype('uint8') of values from 0 to 1, without the factor from 0 to 255",
            );
        }
        other => {
            return refuse(
                format!("holds {other} values, not unsigned bytes"),
                "in NumPy: images.astype('uint8') of values from 0 to 255",
            );
        }
    }
    match header.shape.len() {
        _ if header.shape.contains(&0) => refuse(format!("dimensions {} hold nothing", header.by()), "save it again"),
        3 | 4 => Ok(()),
        5 => refuse(
            format!("holds {} values, pictures of three dimensions, which are not read", header.by()),
            "read are (N, height, width) and (N, height, width, channels); a slice of each is images[:, K]",
        ),
        rank => refuse(
            format!("has {rank} dimensions, not 3 or 4"),
            "in NumPy: images.reshape(-1, HEIGHT, WIDTH), or with channels behind",
        ),
    }
}

/// A picture's shape, whether planes come first, and what is to be said about that.
fn picture_axes(place: &Path, shape: &[usize]) -> Result<(Shape, bool, Option<String>), Error> {
    let &[_, first, middle, last] = shape else {
        return Ok((Shape::new(shape[1], shape[2], 1), false, None));
    };
    axes([shape[0], first, middle, last], &[1, 3]).ok_or_else(|| {
        let message = format!("dimensions {} have no place for channels", header::by(shape));
        let hint =
            "the second or the last dimension must be 1 or 3 channels; volumes and pictures with alpha are not read";
        Error::file(place, message).with_hint(hint)
    })
}

/// Reads one label for each of `count` pictures: integers of shape `(N,)` or `(N, 1)`.
///
/// # Errors
/// [`Error::File`] when the array has another type or shape, another number of labels, or a label that no class has.
pub(crate) fn labels(content: Content<'_>, count: usize) -> Result<Vec<u32>, Error> {
    let place = content.place;
    let header = Header::read(place, content.reader)?;
    check_labels(place, &header, count)?;
    let bytes = values(content, &header)?;
    bytes
        .chunks_exact(header.of.width)
        .enumerate()
        .map(|(row, value)| {
            let label = header.of.integer(value);
            u32::try_from(label).ok().filter(|&label| (label as usize) < Row::CLASSES).ok_or_else(|| {
                let message = format!("label {label} in row {row} is not in 0..={}", Row::CLASSES - 1);
                let hint = format!("classes are counted from 0, and there are at most {}", Row::CLASSES);
                Error::file(place, message).with_hint(hint)
            })
        })
        .collect()
}

fn check_labels(place: &Path, header: &Header, count: usize) -> Result<(), Error> {
    let refuse = |message: String, hint: &str| Err(Error::file(place, message).with_hint(hint));
    if !header.of.is_integer() {
        let hint = "in NumPy: labels.astype('int64'), classes counted from 0";
        return refuse(format!("holds {} values, not integer labels", header.of), hint);
    }
    match header.shape[..] {
        [rows] | [rows, 1] if rows == count => Ok(()),
        [rows] | [rows, 1] => Err(Error::file(place, format!("{rows} labels for {count} pictures"))),
        [_, columns] => refuse(
            format!("holds {} labels, {columns} for each picture", header.by()),
            "one label a picture is read; in NumPy: x.argmax(axis=1) of one-hot labels, x[:, [K]] of column K",
        ),
        _ => refuse(format!("has {} dimensions, not 1 or 2", header.shape.len()), "in NumPy: labels.reshape(-1)"),
    }
}

/// The bytes behind a header, all of them and no more.
fn values(content: Content<'_>, header: &Header) -> Result<Vec<u8>, Error> {
    let Content { place, reader, length } = content;
    let (wanted, found) = (header.length(), length.saturating_sub(header.start));
    if wanted != Some(found) {
        let promised = wanted.map_or_else(|| "more bytes than there are addresses".into(), |n| format!("{n} bytes"));
        let message = format!("{} values of {} are {promised}, but {found} are there", header.by(), header.of);
        return Err(Error::file(place, message).with_hint("copy or download it again"));
    }
    let mut bytes = Vec::new();
    let reserved = usize::try_from(found).ok().and_then(|found| bytes.try_reserve_exact(found).ok());
    if reserved.is_none() {
        return Err(Error::file(place, format!("{} values of {} do not fit into memory", header.by(), header.of)));
    }
    reader.take(found).read_to_end(&mut bytes).map_err(|source| unread(place, source))?;
    if (bytes.len() as u64) < found {
        return Err(unread(place, io::ErrorKind::UnexpectedEof.into()));
    }
    // Checksums are looked at where the content ends.
    reader.read(&mut [0]).map_err(|source| unread(place, source))?;
    Ok(bytes)
}

fn unread(place: &Path, source: io::Error) -> Error {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match source.kind() {
        UnexpectedEof | InvalidData | InvalidInput => {
            Error::file(place, "is cut off or damaged").with_hint("copy or download it again")
        }
        _ => Error::io(place, source),
    }
}

/// Values of `width` bytes whose first index runs fastest, as values whose last index does.
pub(crate) fn to_c_order(bytes: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
    let mut steps = Vec::with_capacity(shape.len());
    let mut step = width;
    for &side in shape {
        steps.push(step);
        step *= side;
    }
    let mut ordered = Vec::with_capacity(bytes.len());
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    while ordered.len() < bytes.len() {
        ordered.extend_from_slice(bytes.get(at..at + width).unwrap_or_default());
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += steps[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= steps[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    ordered
}
