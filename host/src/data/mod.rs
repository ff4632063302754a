//! Data sets: where they come from, and which part of them is trained on.

mod foreign;
mod formats;
pub(crate) mod found;
mod input;
mod normalization;
#[allow(dead_code)] // Its callers are the sources of pictures, which are being written.
pub(crate) mod pictures;
pub mod random;
mod source;
pub mod split;
mod subset;
#[cfg(test)]
mod tests;
pub mod validation;

use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs, io};

use formats::{cifar, digits, idx};
use sse_sam_core::Shape;

use crate::Error;

pub use normalization::normalization;
pub use source::{Picture, Source, Split};
pub use subset::{Rule, counts_after, subset};

/// A training set and the test set that belongs to it.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The source's last component: `digits`, or the name of a folder or archive.
    pub name: String,
    /// How it was stored.
    pub format: Format,
    /// One image, as the network takes it.
    pub image: Shape,
    /// Number of classes, at most [`Row::CLASSES`](sse_sam_core::Row::CLASSES); every label is below it.
    pub classes: usize,
    /// What is trained on.
    pub train: Arc<dyn Source>,
    /// What an epoch is chosen by, where there is a set for that: the source's own, or some of its training samples.
    pub validation: Option<Arc<dyn Source>>,
    /// What accuracy is measured on.
    pub test: Arc<dyn Source>,
    /// A notice about how the data were read.
    pub notice: Option<String>,
}

impl Dataset {
    /// Number of training samples of each class.
    pub fn counts(&self) -> Vec<u32> {
        self.train.counts(self.classes)
    }

    /// Number of samples of each class among these of the training set; indices past its end are not counted.
    pub fn counts_of(&self, indices: &[u32]) -> Vec<u32> {
        let there = indices.iter().map(|&index| index as usize).filter(|&index| index < self.train.len());
        source::count(there.map(|index| self.train.label(index)), self.classes)
    }

    /// Keeps only these training samples, in this order; indices past the end are left out.
    pub fn keep(&mut self, indices: &[u32]) {
        let whole = std::mem::replace(&mut self.train, Arc::new(Split::empty(self.image)));
        self.train = source::part(whole, indices);
    }

    /// Trains on some of the training samples and validates on others.
    fn divide(&mut self, train: &[u32], validation: &[u32]) {
        self.validation = Some(source::part(Arc::clone(&self.train), validation));
        self.keep(train);
    }

    /// Another one for data that differ: the size of an image, the number of classes, and the fingerprints of all sources.
    pub fn fingerprint(&self) -> String {
        let Shape { height, width, channels } = self.image;
        let (train, test) = (self.train.fingerprint(), self.test.fingerprint());
        let validation =
            self.validation.as_ref().map(|source| format!("-{}", source.fingerprint())).unwrap_or_default();
        format!("{height}x{width}x{channels}-{}-{train}-{test}{validation}", self.classes)
    }

    /// The classes without a training sample: allowed, and worth a warning.
    pub fn empty_classes(&self) -> Vec<usize> {
        self.counts().into_iter().enumerate().filter(|&(_, count)| count == 0).map(|(class, _)| class).collect()
    }
}

/// How a data set is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The optical digits that come with the program.
    Digits,
    /// A folder with four IDX files, as of MNIST.
    Idx,
    /// CIFAR-10's binary version.
    #[value(name = "cifar10")]
    Cifar10,
    /// CIFAR-100's binary version.
    #[value(name = "cifar100")]
    Cifar100,
}

impl Format {
    /// Every format, in the order of help texts.
    pub const ALL: [Self; 4] = [Self::Digits, Self::Idx, Self::Cifar10, Self::Cifar100];

    /// The word that names it on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Idx => "idx",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a source may be, for hints.
const SOURCES: &str = "data is digits, a folder with four IDX files, or CIFAR's binary version as a folder or .tar.gz";

/// Reads the data set that `source` names: `digits`, or the path of a folder or archive.
///
/// `format` insists on one; without it the names in the folder decide. A folder that is called digits is `./digits`.
///
/// # Errors
/// [`Error::Usage`] when source and format contradict each other, [`Error::Io`] when a file cannot be read,
/// [`Error::File`] when one is missing or its content is wrong: which file, at which byte, what next.
pub fn load(source: &str, format: Option<Format>) -> Result<Dataset, Error> {
    let path = Path::new(source);
    let builtin = source == Format::Digits.word();
    match format {
        None | Some(Format::Digits) if builtin => digits::load(),
        Some(Format::Digits) => {
            Err(Error::Usage(format!("the digits are built in; {source} cannot be read as digits")))
        }
        Some(other) if builtin => Err(Error::Usage(format!("the built-in digits cannot be read as {other}"))),
        Some(format) => load_as(exists(path)?, format),
        None => load_as(path, detect(exists(path)?)?),
    }
}

fn load_as(path: &Path, format: Format) -> Result<Dataset, Error> {
    match format {
        Format::Digits => digits::load(),
        Format::Idx => idx::load(path),
        Format::Cifar10 => cifar::load(path, Some(cifar::Kind::Ten)),
        Format::Cifar100 => cifar::load(path, Some(cifar::Kind::Hundred)),
    }
}

fn exists(path: &Path) -> Result<&Path, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() || found.is_dir() => Ok(path),
        Ok(_) => Err(Error::file(path, "is a device or a pipe, not data").with_hint(SOURCES)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if idx::split_prefix(path).is_some() {
                return Ok(path);
            }
            Err(Error::file(path, "no such file or folder").with_hint(SOURCES))
        }
        Err(source) => Err(Error::io(path, source)),
    }
}

/// The format of what lies at `path`, by the names in a folder or archive.
fn detect(path: &Path) -> Result<Format, Error> {
    if idx::split_prefix(path).is_some() {
        return Ok(Format::Idx);
    }
    if !path.is_dir() {
        return foreign::file(path).map_or_else(|| cifar::archive_kind(path).map(cifar::Kind::format), Err);
    }
    let entries = listing(path)?;
    match detect_in(path, &entries)?[..] {
        [format] => Ok(format),
        [] => Err(foreign::folder(path, &entries)),
        [first, second, ..] => Err(Error::file(path, format!("holds files of {first} and of {second}"))
            .with_hint("--dataset says which to read")),
    }
}

/// The formats that a folder with these entries holds files of.
fn detect_in(path: &Path, entries: &[Entry]) -> Result<Vec<Format>, Error> {
    let found = [
        (Format::Idx, idx::Files::present(entries)),
        (Format::Cifar10, cifar::Kind::Ten.home(path, entries)?.is_some()),
        (Format::Cifar100, cifar::Kind::Hundred.home(path, entries)?.is_some()),
    ];
    Ok(found.into_iter().filter(|&(_, present)| present).map(|(format, _)| format).collect())
}

/// What lies in a folder.
#[derive(Debug)]
struct Entry {
    name: String,
    is_folder: bool,
}

/// All entries of a folder, by name.
fn listing(folder: &Path) -> Result<Vec<Entry>, Error> {
    let entry = |entry: fs::DirEntry| {
        let kind = entry.file_type()?;
        let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        Ok(Entry { name: entry.file_name().to_string_lossy().into_owned(), is_folder })
    };
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|found| entry(found?)).collect());
    let mut entries: Vec<Entry> = entries.map_err(|source| Error::io(folder, source))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The last component of a path, for a data set's name: of the folder itself where the path is `.` or the like.
fn name_of(path: &Path) -> String {
    let whole = path.file_name().is_none().then(|| fs::canonicalize(path).ok()).flatten();
    let name = whole.as_deref().unwrap_or(path).file_name();
    name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The size of a regular file.
fn length_of(path: &Path) -> Result<u64, Error> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(|source| Error::io(path, source))
}
