//! Folders of four IDX files, the format of MNIST: raw or gzip, told apart by content.
//!
//! A file is `00 00 type dimensions`, each dimension as a big-endian `u32`, and the values. Images are unsigned bytes (type
//! 8); labels may be 16- or 32-bit integers too.

pub(crate) mod names;

use std::path::Path;
use std::sync::Arc;

use sse_sam_core::{Row, Shape};

use crate::Error;
use crate::data::input::Input;
use crate::data::{Dataset, Format, Source, Split, foreign, name_of};

pub(crate) use names::{Files, Part, Role, split_prefix};

const UNSIGNED_BYTES: u8 = 8;

/// Bytes of a value, by the types that labels may have: big-endian integers.
const LABEL_WIDTHS: [(u8, usize); 3] = [(UNSIGNED_BYTES, 1), (11, 2), (12, 4)];

/// Reads four IDX files: of a folder, or those of a folder whose names begin with the path's last component. The classes are
/// those up to the largest training label.
pub(crate) fn load(path: &Path) -> Result<Dataset, Error> {
    if path.is_file() {
        return Err(
            Error::file(path, "is a file, not a folder with four IDX files").with_hint("give the folder that holds it")
        );
    }
    let files = Files::find(path)?;
    let train_path = files.open(Role::images(Part::Train))?;
    let (image, images, notice) = read_images(&train_path)?;
    let notice = notice.map(|notice| format!("{}: {notice}", train_path.display()));
    let labels = read_labels(&files.open(Role::labels(Part::Train))?, &train_path, images.len() / image.len())?.values;
    let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let train = Arc::new(Split { image, images, labels });
    let test = Arc::new(beside(&files, Part::Test, (image, &train_path), classes)?);
    let validation =
        files.has(Part::Validation).then(|| beside(&files, Part::Validation, (image, &train_path), classes));
    let validation = validation.transpose()?.map(|split| Arc::new(split) as Arc<dyn Source>);
    Ok(Dataset {
        name: name_of(path),
        format: Format::Idx,
        image,
        classes,
        train,
        validation,
        test,
        class_names: Vec::new(),
        notices: notice.into_iter().collect(),
        summary: Vec::new(),
        view: None,
    })
}

/// Images and labels that belong to those of a training set.
fn beside(files: &Files, part: Part, (image, train): (Shape, &Path), classes: usize) -> Result<Split, Error> {
    let path = files.open(Role::images(part))?;
    let (found, images, _) = read_images(&path)?;
    if found != image {
        let message = format!(
            "images are {} by the header at byte 8, but those of {} are {}",
            sides(found),
            name_of(train),
            sides(image)
        );
        return Err(Error::file(path, message).at(8));
    }
    let labels_path = files.open(Role::labels(part))?;
    let labels = read_labels(&labels_path, &path, images.len() / image.len())?;
    if let Some((index, label)) = (0..).zip(&labels.values).find(|&(_, &label)| label as usize >= classes) {
        let byte = labels.start + index * labels.stride;
        return Err(Error::file(labels_path, format!("label {label} at byte {byte} is not below {classes}"))
            .at(byte)
            .with_hint(format!("the largest label to train on is {}", classes.saturating_sub(1))));
    }
    Ok(Split { image, images, labels: labels.values })
}

fn sides(image: Shape) -> String {
    format!("{} x {} x {}", image.height, image.width, image.channels)
}

/// Images as `[n][h][w][c]`, from `[n][h][w]`, `[n][h][w][c]` or `[n][c][h][w]`, and what is to be said about the order.
pub(crate) fn read_images(path: &Path) -> Result<(Shape, Vec<u8>, Option<String>), Error> {
    let Values { dimensions, mut bytes, .. } = read(path, &[3, 4], &[(UNSIGNED_BYTES, 1)])?;
    let &[count, first, middle, last] = &dimensions[..] else {
        let sides = dimensions.get(1..).unwrap_or_default();
        return Ok((Shape::new(sides[0], sides[1], 1), bytes, None));
    };
    let Some((image, is_planes, notice)) = axes([count, first, middle, last], &[1, 3, 4]) else {
        let message = format!("dimensions {} at byte 4 have no place for channels", by(&dimensions));
        return Err(Error::file(path, message)
            .at(4)
            .with_hint("the second or the last dimension must be 1, 3 or 4 channels"));
    };
    if is_planes {
        interleave(&mut bytes, image);
    }
    Ok((image, bytes, notice))
}

/// What images of four dimensions are, of which the second or the last counts channels: an image's shape, whether planes
/// come one after the other, and what is to be said about that. None where neither is one of these numbers of channels.
pub(crate) fn axes(dimensions: [usize; 4], channels: &[usize]) -> Option<(Shape, bool, Option<String>)> {
    let [_, first, middle, last] = dimensions;
    let (pixels, planes) = (Shape::new(first, middle, last), Shape::new(middle, last, first));
    let is_channels = |side| channels.contains(&side);
    let is_planes = match (is_channels(first), is_channels(last)) {
        (false, true) => false,
        (true, false) => true,
        // Pictures are square more often than not.
        (true, true) => middle == last && first != middle,
        (false, false) => return None,
    };
    let image = if is_planes { planes } else { pixels };
    // Of one channel, planes and pixels are the same.
    let is_worth_a_word = is_channels(first) && (is_channels(last) || first > 1) && (first, last) != (1, 1);
    let notice = is_worth_a_word.then(|| order(&dimensions, image, is_channels(last)));
    Some((image, is_planes, notice))
}

/// The notice about images whose channels may come first.
fn order(dimensions: &[usize], image: Shape, is_ambiguous: bool) -> String {
    let Shape { height, width, channels } = image;
    let plural = if channels == 1 { "" } else { "s" };
    let read = format!("{} values are read as {height} x {width} pixels of {channels} channel{plural}", by(dimensions));
    if is_ambiguous {
        return format!(
            "{read}; if that is wrong, pad the pictures: only one dimension beside theirs may be 1, 3 or 4"
        );
    }
    format!("{read}, plane after plane")
}

/// Planes to pixels, image by image: `[n][c][h][w]` to `[n][h][w][c]`.
pub(crate) fn interleave(images: &mut [u8], image: Shape) {
    let area = image.height * image.width;
    let mut planes = vec![0; image.len()];
    for pixels in images.chunks_exact_mut(image.len()) {
        planes.copy_from_slice(pixels);
        for (channel, plane) in planes.chunks_exact(area).enumerate() {
            for (pixel, &value) in pixels.chunks_exact_mut(image.channels).zip(plane) {
                pixel[channel] = value;
            }
        }
    }
}

/// Labels of a file, and where they stand in it.
struct Labels {
    values: Vec<u32>,
    /// The first one's byte.
    start: u64,
    /// Bytes from one to the next.
    stride: u64,
}

/// Columns of QMNIST's labels: integers of four bytes, the class first.
const QMNIST: (usize, usize) = (4, 8);

/// Labels; there must be one for each image. A file of two dimensions holds them in its only column, or in the first of
/// QMNIST's.
fn read_labels(path: &Path, images: &Path, count: usize) -> Result<Labels, Error> {
    let Values { dimensions, start, width, bytes } = read(path, &[1, 2], &LABEL_WIDTHS)?;
    if dimensions[0] != count {
        let message = format!("{} labels by byte 4 for the {count} images of {}", dimensions[0], name_of(images));
        return Err(Error::file(path, message).at(4));
    }
    let columns = *dimensions.get(1).unwrap_or(&1);
    if columns > 1 && ((width, columns) != QMNIST || is_one_hot(&bytes, width * columns)) {
        let message = format!("holds {} labels by byte 4, {columns} columns for each image", by(&dimensions));
        return Err(Error::file(path, message).at(4).with_hint(
            "one label an image is read; in NumPy: x.argmax(axis=1) of one-hot labels, x[:, K] of column K",
        ));
    }
    let stride = width * columns;
    let label = |(row, bytes): (u64, &[u8])| {
        // Sign and all: the first byte carries it.
        let signed = bytes.iter().take(width).enumerate().fold(0_i64, |value, (place, &byte)| {
            let byte = if place == 0 && width > 1 { i64::from(byte.cast_signed()) } else { i64::from(byte) };
            value << 8 | byte
        });
        u32::try_from(signed).ok().filter(|&label| (label as usize) < Row::CLASSES).ok_or_else(|| {
            let byte = start + row * stride as u64;
            let message = format!("label {signed} at byte {byte} is not in 0..={}", Row::CLASSES - 1);
            let hint = format!("classes are counted from 0, and there are at most {}", Row::CLASSES);
            Error::file(path, message).at(byte).with_hint(hint)
        })
    };
    let values = (0..).zip(bytes.chunks_exact(stride)).map(label).collect::<Result<_, _>>()?;
    Ok(Labels { values, start, stride: stride as u64 })
}

/// Whether each row of so many bytes is zero but for a single one.
fn is_one_hot(bytes: &[u8], row: usize) -> bool {
    bytes.chunks_exact(row).all(|row| row.iter().map(|&byte| u64::from(byte)).sum::<u64>() == 1)
}

/// The content of an IDX file.
struct Values {
    dimensions: Vec<usize>,
    /// The byte at which values begin.
    start: u64,
    /// Bytes of a value.
    width: usize,
    bytes: Vec<u8>,
}

/// An IDX file whose number of dimensions is one of `ranks` and whose type one of `types`, with the bytes of a value.
fn read(path: &Path, ranks: &[u8], types: &[(u8, usize)]) -> Result<Values, Error> {
    let mut input = Input::open(path)?;
    let (rank, width) = read_magic(path, &input.up_to(4)?, ranks, types)?;
    let header = input.up_to(4 * u64::from(rank))?;
    if header.len() < 4 * usize::from(rank) {
        let end = header.len() as u64 + 4;
        return Err(Error::file(path, format!("ends at byte {end}, inside its header")).at(end));
    }
    let dimensions: Vec<usize> =
        header.chunks_exact(4).map(|word| word.iter().fold(0, |value, &byte| value << 8 | usize::from(byte))).collect();
    let start = header.len() as u64 + 4;
    let length = length(path, &dimensions, width)?;
    let bytes = input.up_to(length)?;
    let (found, end) = (start + bytes.len() as u64, start + length);
    if found < end {
        let message = format!("ends at byte {found}, but {} values need {end}", by(&dimensions));
        return Err(Error::file(path, message).at(found).with_hint("copy or download it again"));
    }
    if !input.at_end()? {
        return Err(
            Error::file(path, format!("goes on after byte {end}, where its {} values end", by(&dimensions))).at(end)
        );
    }
    Ok(Values { dimensions, start, width, bytes })
}

/// The number of dimensions and the bytes of a value, by the first four bytes.
fn read_magic(path: &Path, magic: &[u8], ranks: &[u8], types: &[(u8, usize)]) -> Result<(u8, usize), Error> {
    let &[a, b, kind, rank] = magic else {
        let end = magic.len() as u64;
        return Err(Error::file(path, format!("ends at byte {end}, inside its header")).at(end));
    };
    let width = types.iter().find(|(code, _)| *code == kind).map(|&(_, width)| width);
    match (a, b, width) {
        (0, 0, Some(width)) if ranks.contains(&rank) => Ok((rank, width)),
        (0, 0, Some(_)) => {
            let wanted = ranks.iter().map(u8::to_string).collect::<Vec<_>>().join(" or ");
            let hint = match rank {
                2 => "in NumPy: images.reshape(-1, HEIGHT, WIDTH), or with channels behind",
                _ => "images have 3 or 4 dimensions and labels 1; the two files may be swapped",
            };
            Err(Error::file(path, format!("has {rank} dimensions by byte 3, not {wanted}")).at(3).with_hint(hint))
        }
        (0, 0, None) if matches!(kind, 9 | 11..=14) => {
            let (wanted, hint) = match types {
                [_] => ("unsigned bytes", "in NumPy: values.round().astype('uint8'), pixels in 0..=255"),
                _ => (
                    "labels of u8, i16 or i32",
                    "in NumPy: labels.astype('uint8'), or labels.astype('>i4') of more than 256 classes, counted from 0",
                ),
            };
            let message = format!("holds {} values by byte 2, not {wanted}", type_name(kind));
            Err(Error::file(path, message).at(2).with_hint(hint))
        }
        _ => {
            let bytes = magic.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            let error = Error::file(path, format!("begins with {bytes} at byte 0, which is not an IDX file's")).at(0);
            Err(if let Some(advice) = foreign::advice(path) { error.with_hint(advice) } else { error })
        }
    }
}

fn type_name(code: u8) -> &'static str {
    match code {
        9 => "i8",
        11 => "i16",
        12 => "i32",
        13 => "f32",
        _ => "f64",
    }
}

/// The number of bytes of the values; at least one value, and no more than 2^32 samples of what memory can address.
fn length(path: &Path, dimensions: &[usize], width: usize) -> Result<u64, Error> {
    let length = dimensions.iter().try_fold(width as u64, |product, &side| product.checked_mul(side as u64));
    match length {
        Some(0) => Err(Error::file(path, format!("dimensions {} at byte 4 hold nothing", by(dimensions))).at(4)),
        Some(length) if length <= isize::MAX as u64 => Ok(length),
        _ => Err(Error::file(path, format!("dimensions {} at byte 4 are too large", by(dimensions))).at(4)),
    }
}

fn by(dimensions: &[usize]) -> String {
    dimensions.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}
