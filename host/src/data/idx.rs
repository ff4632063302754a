//! Folders of four IDX files, the format of MNIST: raw or gzip, told apart by content.
//!
//! A file is `00 00 type dimensions`, each dimension as a big-endian `u32`, and the values. Type 8 is unsigned bytes,
//! the only one read here.

use std::path::{Path, PathBuf};

use sse_sam_core::Shape;

use super::input::Input;
use super::{Dataset, Format, Split, name_of};
use crate::Error;

const UNSIGNED_BYTES: u8 = 8;

/// One of the four files: what its name begins with, and its usual name for messages.
struct Role {
    prefixes: &'static [&'static str],
    usual: &'static str,
    suffixes: &'static [&'static str],
}

const IMAGE_SUFFIXES: &[&str] = &["idx3-ubyte", "idx4-ubyte"];
const LABEL_SUFFIXES: &[&str] = &["idx1-ubyte"];
const TRAIN_IMAGES: Role =
    Role { prefixes: &["train-images"], usual: "train-images-idx3-ubyte", suffixes: IMAGE_SUFFIXES };
const TRAIN_LABELS: Role =
    Role { prefixes: &["train-labels"], usual: "train-labels-idx1-ubyte", suffixes: LABEL_SUFFIXES };
const TEST_IMAGES: Role =
    Role { prefixes: &["t10k-images", "test-images"], usual: "t10k-images-idx3-ubyte", suffixes: IMAGE_SUFFIXES };
const TEST_LABELS: Role =
    Role { prefixes: &["t10k-labels", "test-labels"], usual: "t10k-labels-idx1-ubyte", suffixes: LABEL_SUFFIXES };

impl Role {
    /// The file that plays this role in a folder.
    fn find(&self, folder: &Path) -> Option<PathBuf> {
        let names = self.prefixes.iter().flat_map(|prefix| {
            let stems =
                self.suffixes.iter().flat_map(move |suffix| ["-", "."].map(|dot| format!("{prefix}{dot}{suffix}")));
            stems.flat_map(|stem| [stem.clone(), format!("{stem}.gz")])
        });
        names.map(|name| folder.join(name)).find(|path| path.is_file())
    }

    fn open(&self, folder: &Path) -> Result<PathBuf, Error> {
        self.find(folder).ok_or_else(|| {
            Error::file(folder, format!("{} is missing", self.usual)).with_hint(
                "a folder of IDX files holds images and labels to train (train-) and to test (t10k- or test-), raw or .gz",
            )
        })
    }
}

/// Whether a folder holds any of the four files.
pub(super) fn present(folder: &Path) -> bool {
    [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS].iter().any(|role| role.find(folder).is_some())
}

/// Reads a folder of four IDX files. The classes are those up to the largest training label.
pub(super) fn load(folder: &Path) -> Result<Dataset, Error> {
    if !folder.is_dir() {
        return Err(Error::file(folder, "is a file, not a folder with four IDX files")
            .with_hint("give the folder that holds it"));
    }
    let train_path = TRAIN_IMAGES.open(folder)?;
    let (image, images) = read_images(&train_path)?;
    let labels = read_labels(&TRAIN_LABELS.open(folder)?, &train_path, images.len() / image.len())?.1;
    let classes = labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
    let train = Split { images, labels };
    let test = load_test(folder, (image, &train_path), classes)?;
    Ok(Dataset { name: name_of(folder), format: Format::Idx, image, classes, train, test })
}

fn load_test(folder: &Path, (image, train): (Shape, &Path), classes: usize) -> Result<Split, Error> {
    let path = TEST_IMAGES.open(folder)?;
    let (found, images) = read_images(&path)?;
    if found != image {
        let message = format!(
            "images are {} by the header at byte 8, but those of {} are {}",
            sides(found),
            name_of(train),
            sides(image)
        );
        return Err(Error::file(path, message).at(8));
    }
    let (labels_path, labels) = read_labels(&TEST_LABELS.open(folder)?, &path, images.len() / image.len())?;
    if let Some(index) = labels.iter().position(|&label| usize::from(label) >= classes) {
        let byte = index as u64 + 8;
        let message = format!("label {} at byte {byte} is not below {classes}", labels[index]);
        return Err(Error::file(labels_path, message)
            .at(byte)
            .with_hint(format!("the largest label to train on is {}", classes.saturating_sub(1))));
    }
    Ok(Split { images, labels })
}

fn sides(image: Shape) -> String {
    format!("{} x {} x {}", image.height, image.width, image.channels)
}

/// Images as `[n][h][w][c]`, from `[n][h][w]`, `[n][h][w][c]` or `[n][c][h][w]`.
fn read_images(path: &Path) -> Result<(Shape, Vec<u8>), Error> {
    let (dimensions, values) = read(path, &[3, 4])?;
    match dimensions[..] {
        [_, height, width] => Ok((Shape::new(height, width, 1), values)),
        [_, height, width, channels @ (1 | 3 | 4)] => Ok((Shape::new(height, width, channels), values)),
        [_, channels @ (1 | 3 | 4), height, width] => {
            let image = Shape::new(height, width, channels);
            Ok((image, interleave(&values, image)))
        }
        _ => Err(Error::file(path, format!("dimensions {} at byte 4 have no place for channels", by(&dimensions)))
            .at(4)
            .with_hint("the second or the last dimension must be 1, 3 or 4 channels")),
    }
}

/// Planes to pixels: `[n][c][h][w]` to `[n][h][w][c]`.
pub(super) fn interleave(planes: &[u8], image: Shape) -> Vec<u8> {
    let area = image.height * image.width;
    let mut pixels = vec![0; planes.len()];
    for (to, from) in pixels.chunks_exact_mut(image.len()).zip(planes.chunks_exact(image.len())) {
        for (channel, plane) in from.chunks_exact(area).enumerate() {
            for (pixel, &value) in to.chunks_exact_mut(image.channels).zip(plane) {
                pixel[channel] = value;
            }
        }
    }
    pixels
}

/// Labels, with the path they came from; there must be one for each image.
fn read_labels(path: &Path, images: &Path, count: usize) -> Result<(PathBuf, Vec<u8>), Error> {
    let (_, labels) = read(path, &[1])?;
    if labels.len() != count {
        let message = format!("{} labels by byte 4 for the {count} images of {}", labels.len(), name_of(images));
        return Err(Error::file(path, message).at(4));
    }
    Ok((path.to_owned(), labels))
}

/// The dimensions and values of an IDX file whose number of dimensions is one of `ranks`.
fn read(path: &Path, ranks: &[u8]) -> Result<(Vec<usize>, Vec<u8>), Error> {
    let mut input = Input::open(path)?;
    let rank = read_magic(path, &input.up_to(4)?, ranks)?;
    let header = input.up_to(4 * u64::from(rank))?;
    if header.len() < 4 * usize::from(rank) {
        let end = header.len() as u64 + 4;
        return Err(Error::file(path, format!("ends at byte {end}, inside its header")).at(end));
    }
    let dimensions: Vec<usize> =
        header.chunks_exact(4).map(|word| word.iter().fold(0, |value, &byte| value << 8 | usize::from(byte))).collect();
    let start = header.len() as u64 + 4;
    let length = length(path, &dimensions)?;
    let values = input.up_to(length)?;
    let (found, end) = (start + values.len() as u64, start + length);
    if found < end {
        let message = format!("ends at byte {found}, but {} values need {end}", by(&dimensions));
        return Err(Error::file(path, message).at(found).with_hint("copy or download it again"));
    }
    if !input.at_end()? {
        return Err(
            Error::file(path, format!("goes on after byte {end}, where its {} values end", by(&dimensions))).at(end)
        );
    }
    Ok((dimensions, values))
}

/// The number of dimensions, by the first four bytes.
fn read_magic(path: &Path, magic: &[u8], ranks: &[u8]) -> Result<u8, Error> {
    match *magic {
        [0, 0, UNSIGNED_BYTES, rank] if ranks.contains(&rank) => Ok(rank),
        [0, 0, UNSIGNED_BYTES, rank] => {
            let wanted = ranks.iter().map(u8::to_string).collect::<Vec<_>>().join(" or ");
            Err(Error::file(path, format!("has {rank} dimensions by byte 3, not {wanted}"))
                .at(3)
                .with_hint("images have 3 or 4 dimensions and labels 1; the two files may be swapped"))
        }
        [0, 0, other @ (9 | 11..=14), _] => {
            Err(Error::file(path, format!("holds {} values by byte 2, not unsigned bytes", type_name(other))).at(2))
        }
        [_, _, _, _] => {
            let bytes = magic.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            Err(Error::file(path, format!("begins with {bytes} at byte 0, which is not an IDX file's")).at(0))
        }
        _ => Err(Error::file(path, format!("ends at byte {}, inside its header", magic.len())).at(magic.len() as u64)),
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

/// The number of values; at least one, and no more than 2^32 samples of what memory can address.
fn length(path: &Path, dimensions: &[usize]) -> Result<u64, Error> {
    let length = dimensions.iter().try_fold(1_u64, |product, &side| product.checked_mul(side as u64));
    match length {
        Some(0) => Err(Error::file(path, format!("dimensions {} at byte 4 hold nothing", by(dimensions))).at(4)),
        Some(length) if length <= isize::MAX as u64 => Ok(length),
        _ => Err(Error::file(path, format!("dimensions {} at byte 4 are too large", by(dimensions))).at(4)),
    }
}

fn by(dimensions: &[usize]) -> String {
    dimensions.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}
