//! Data sets: where they come from, and which part of them is trained on.

mod foreign;
mod formats;
pub(crate) mod found;
mod input;
mod normalization;
pub mod pictures;
pub mod random;
mod source;
pub mod split;
mod subset;
#[cfg(test)]
mod tests;
pub mod validation;

use std::path::{self, Path};
use std::sync::Arc;
use std::{fmt, fs, io};

use formats::{cifar, digits, idx, npz, parquet, webdataset};
use found::Found;
use sse_sam_core::Shape;

use crate::Error;
use pictures::options::PictureOptions;

pub use normalization::normalization;
pub use pictures::source::View;
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
    /// Names of the classes, in their order; empty where they have none.
    pub class_names: Vec<String>,
    /// What is trained on.
    pub train: Arc<dyn Source>,
    /// What an epoch is chosen by, where there is a set for that: the source's own, or some of its training samples.
    pub validation: Option<Arc<dyn Source>>,
    /// What accuracy is measured on.
    pub test: Arc<dyn Source>,
    /// What is odd about how the data were read, and worth a warning.
    pub notices: Vec<String>,
    /// What was found, in lines for people.
    pub summary: Vec<String>,
    /// How pictures in files become the network's; none where they lie in memory as they are.
    pub view: Option<View>,
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
        // Where names decide which class is which, their order is part of it.
        let names = if self.format.is_encoded() {
            format!("-{:08x}", crc32fast::hash(self.class_names.join("\n").as_bytes()))
        } else {
            String::new()
        };
        format!("{height}x{width}x{channels}-{}-{train}-{test}{validation}{names}", self.classes)
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
    /// CIFAR-10, its binary or its Python version.
    #[value(name = "cifar10")]
    Cifar10,
    /// CIFAR-100, its binary or its Python version.
    #[value(name = "cifar100")]
    Cifar100,
    /// NumPy's arrays under MedMNIST's or Keras' names: an npz archive, or a folder of npy files.
    Npz,
    /// Pictures in class folders.
    Folder,
    /// Pictures that lists (`path label`) or tables (CSV, TSV) name.
    List,
    /// Pictures with annotations as of COCO and iNaturalist.
    Coco,
    /// Pictures in tar shards, as WebDataset has them.
    #[value(name = "webdataset")]
    #[serde(rename = "webdataset")]
    WebDataset,
    /// Pictures in Parquet files, as Hugging Face has them.
    Parquet,
}

impl Format {
    /// Every format, in the order of help texts.
    pub const ALL: [Self; 10] = [
        Self::Digits,
        Self::Idx,
        Self::Cifar10,
        Self::Cifar100,
        Self::Npz,
        Self::Folder,
        Self::List,
        Self::Coco,
        Self::WebDataset,
        Self::Parquet,
    ];

    /// The word that names it on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Idx => "idx",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Npz => "npz",
            Self::Folder => "folder",
            Self::List => "list",
            Self::Coco => "coco",
            Self::WebDataset => "webdataset",
            Self::Parquet => "parquet",
        }
    }

    /// Whether its pictures lie in files of their own or in archives, encoded, in any size.
    pub const fn is_encoded(self) -> bool {
        matches!(self, Self::Folder | Self::List | Self::Coco | Self::WebDataset | Self::Parquet)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a source may be, for hints.
const SOURCES: &str = "data is digits, pictures (class folders, lists, CSV, COCO's JSON, Parquet, tar shards), NumPy's npz, \
    CIFAR as a folder or .tar.gz, or a folder with IDX files";

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `digits`, or the path of a folder, file or archive.
    pub place: &'a str,
    /// The format, where one is insisted on.
    pub format: Option<Format>,
    /// How pictures are read.
    pub pictures: &'a PictureOptions,
    /// Whether training pictures are cut out at random, where that is said.
    pub cut_out: Option<bool>,
}

/// Reads the data set that `source` names: `digits`, or the path of a folder or archive.
///
/// `format` insists on one; without it the names in the folder decide. A folder that is called digits is `./digits`.
///
/// # Errors
/// [`Error::Usage`] when source and format contradict each other, [`Error::Io`] when a file cannot be read,
/// [`Error::File`] when one is missing or its content is wrong: which file, at which byte, what next.
pub fn load(source: &str, format: Option<Format>) -> Result<Dataset, Error> {
    let pictures = &PictureOptions::default();
    read(&Request { place: source, format, pictures, cut_out: None })
}

/// As [`load`], with options about pictures.
///
/// # Errors
/// As [`load`].
pub fn read(request: &Request<'_>) -> Result<Dataset, Error> {
    let Request { place: source, format, .. } = *request;
    let path = Path::new(source);
    if let Some(train) = &request.pictures.train {
        let is_same = |a: &str, b: &str| path::absolute(a).ok() == path::absolute(b).ok();
        if !is_same(train, source) {
            return Err(Error::Usage(format!("--data {source} and --train {train} name two data sets: leave one out")));
        }
        return pictures::load::load(path, format, request.pictures, request.cut_out);
    }
    let builtin = source == Format::Digits.word();
    match format {
        None | Some(Format::Digits) if builtin => digits::load(),
        Some(Format::Digits) => {
            Err(Error::Usage(format!("the digits are built in; {source} cannot be read as digits")))
        }
        Some(other) if builtin => Err(Error::Usage(format!("the built-in digits cannot be read as {other}"))),
        Some(format) => load_as(exists(path)?, format, request),
        None => load_as(path, detect(exists(path)?)?, request),
    }
}

fn load_as(path: &Path, format: Format, request: &Request<'_>) -> Result<Dataset, Error> {
    match format {
        Format::Digits => digits::load(),
        Format::Idx => idx::load(path),
        Format::Cifar10 => cifar::load(path, Some(cifar::Kind::Ten)),
        Format::Cifar100 => cifar::load(path, Some(cifar::Kind::Hundred)),
        Format::Npz => npz::load(path),
        Format::Folder | Format::List | Format::Coco | Format::WebDataset | Format::Parquet => {
            pictures::load::load(path, Some(format), request.pictures, request.cut_out)
        }
    }
}

fn exists(path: &Path) -> Result<&Path, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() || found.is_dir() => Ok(path),
        Ok(_) => Err(Error::file(path, "is a device or a pipe, not data").with_hint(SOURCES)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if idx::split_prefix(path).is_some() || webdataset::is_pattern(path) {
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
    if npz::is_one(path) {
        return Ok(Format::Npz);
    }
    if let Some(error) = npz::alone(path) {
        return Err(error);
    }
    if !path.is_dir() {
        let is_text =
            || length_of(path).is_ok_and(|length| length > 0) && !Found::at(path).is_some_and(Found::is_no_text);
        if let Some(format) = pictures::find::recognise(path)?
            .filter(|format| !matches!(format, Format::List | Format::Coco) || is_text())
        {
            return Ok(format);
        }
        return foreign::file(path).map_or_else(|| cifar::archive_kind(path).map(|(kind, _)| kind.format()), Err);
    }
    let entries = listing(path)?;
    match detect_in(path, &entries)?[..] {
        [format] => Ok(format),
        [] => match pictures::find::recognise(path)? {
            Some(format) if !foreign::is_run(&entries) => Ok(format),
            _ => Err(foreign::folder(path, &entries)),
        },
        [first, second, ..] => Err(Error::file(path, format!("holds files of {first} and of {second}"))
            .with_hint("--dataset says which to read")),
    }
}

/// The formats that a folder with these entries holds files of.
fn detect_in(path: &Path, entries: &[Entry]) -> Result<Vec<Format>, Error> {
    let found = [
        (Format::Idx, idx::Files::present(entries)),
        (Format::Cifar10, cifar::Kind::Ten.present(path, entries)?),
        (Format::Cifar100, cifar::Kind::Hundred.present(path, entries)?),
        (Format::Npz, npz::present(entries)),
        (Format::WebDataset, webdataset::present(path, entries)),
        (Format::Parquet, parquet::present(path, entries)),
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
