//! CIFAR-10 and CIFAR-100, as a folder or as the archive they are published in: their binary version, and with the same
//! outcome their Python version.
//!
//! A record of the binary version is a label (CIFAR-100: the coarse one, then the fine one, which counts) and three planes of 32 x 32 bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sse_sam_core::Shape;

use crate::Error;
use crate::data::formats::cifar_python as python;
use crate::data::formats::idx::interleave;
use crate::data::input::{Input, read_failed};
use crate::data::{Dataset, Entry, Format, Split, foreign, length_of, listing, name_of};

pub(super) const IMAGE: Shape = Shape::new(32, 32, 3);
pub(super) const PIXELS: usize = IMAGE.len();

/// Names of an archive that are kept for a message.
const NAMES: usize = 1000;

/// Bytes set aside for a split's images before any was read, at most: a length may be a lie.
const LARGEST_RESERVE: usize = 1 << 24;

/// The next move where an archive leaves open which file is meant.
pub(super) const WHICH: &str = "unpack it and give the folder of the data set that is meant";

/// Which of the two: decides records as well as usual file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ten,
    Hundred,
}

impl Kind {
    pub(super) const BOTH: [Self; 2] = [Self::Ten, Self::Hundred];

    pub(crate) const fn format(self) -> Format {
        match self {
            Self::Ten => Format::Cifar10,
            Self::Hundred => Format::Cifar100,
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Ten => "CIFAR-10",
            Self::Hundred => "CIFAR-100",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Ten => Self::Hundred,
            Self::Hundred => Self::Ten,
        }
    }

    /// The number of values each label of a record is below; the last label is the class.
    const fn labels(self) -> &'static [u8] {
        match self {
            Self::Ten => &[10],
            Self::Hundred => &[20, 100],
        }
    }

    pub(super) fn classes(self) -> usize {
        self.labels().last().map_or(0, |&classes| usize::from(classes))
    }

    const fn record(self) -> usize {
        self.labels().len() + PIXELS
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Ten => "cifar-10-batches-bin",
            Self::Hundred => "cifar-100-binary",
        }
    }

    const fn train_names(self) -> &'static [&'static str] {
        match self {
            Self::Ten => {
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"]
            }
            Self::Hundred => &["train.bin"],
        }
    }

    const fn test_name(self) -> &'static str {
        match self {
            Self::Ten => "test_batch.bin",
            Self::Hundred => "test.bin",
        }
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        self.train_names().iter().copied().chain([self.test_name()])
    }

    /// Which of the two has a file of this name.
    fn naming(name: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|kind| kind.names().any(|usual| usual == name))
    }

    /// Whether a folder with these entries, or its usual sub-folder, holds files of this kind in either version.
    pub(crate) fn present(self, folder: &Path, entries: &[Entry]) -> Result<bool, Error> {
        Ok(self.home(folder, entries)?.is_some() || python::home(self, folder, entries)?.is_some())
    }

    /// Where the files with this kind's names lie: in the folder, which has these entries, or in its usual sub-folder.
    fn home(self, folder: &Path, entries: &[Entry]) -> Result<Option<PathBuf>, Error> {
        let holds = |entries: &[Entry]| {
            self.names().any(|name| entries.iter().any(|entry| !entry.is_folder && entry.name == name))
        };
        if holds(entries) {
            return Ok(Some(folder.to_owned()));
        }
        if !entries.iter().any(|entry| entry.is_folder && entry.name == self.folder()) {
            return Ok(None);
        }
        let inner = folder.join(self.folder());
        Ok(holds(&listing(&inner)?).then_some(inner))
    }

    pub(super) fn hint(self) -> String {
        format!("this looks like a {} file; try --dataset {}", self.title(), self.format())
    }
}

/// In which form files hold their samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Binary,
    Python,
}

/// What an archive holds, by the first name in it that is one of CIFAR's.
pub(crate) fn archive_kind(path: &Path) -> Result<(Kind, Version), Error> {
    let (reader, compressed) = open_archive(path)?;
    let mut archive = tar::Archive::new(reader);
    let mut names = Vec::new();
    for entry in archive.entries().map_err(|source| not_an_archive(path, compressed, source))? {
        let mut entry = entry.map_err(|source| not_an_archive(path, compressed, source))?;
        let name = entry_name(path, &entry)?;
        if let Some(kind) = Kind::naming(&name) {
            return Ok((kind, Version::Binary));
        }
        if entry.header().entry_type().is_file()
            && let Some(kind) = python::naming(&name, &mut entry)
        {
            return Ok((kind, Version::Python));
        }
        if names.len() < NAMES {
            names.push(name);
        }
    }
    Err(foreign::archive(path, &names))
}

/// Reads a folder or an archive, with the records of `kind` or of the kind that the file names say.
pub(crate) fn load(path: &Path, kind: Option<Kind>) -> Result<Dataset, Error> {
    if path.is_dir() { load_folder(path, kind) } else { load_archive(path, kind) }
}

fn load_folder(folder: &Path, kind: Option<Kind>) -> Result<Dataset, Error> {
    let preferred = kind.unwrap_or(Kind::Ten);
    let entries = listing(folder)?;
    let mut found = None;
    for naming in [preferred, preferred.other()] {
        found = found.or(naming.home(folder, &entries)?.map(|home| (naming, home)));
    }
    if found.is_none()
        && let Some(dataset) = python::load_folder(folder, &entries, kind)?
    {
        return Ok(dataset);
    }
    let Some((naming, home)) = found else {
        return Err(
            Error::file(folder, format!("{} is missing", preferred.train_names()[0])).with_hint(names(preferred))
        );
    };
    let kind = kind.unwrap_or(naming);
    let mut parts = Parts::new(naming);
    for name in naming.names() {
        let path = home.join(name);
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing(&home, name, naming),
            _ => Error::io(&path, source),
        })?;
        let mut reader = BufReader::new(file);
        parts.splits.insert(name.into(), read_split(kind, &path, &mut reader, length_of(&path)?)?);
    }
    parts.finish(folder, &home, kind)
}

fn load_archive(path: &Path, kind: Option<Kind>) -> Result<Dataset, Error> {
    let (naming, version) = archive_kind(path)?;
    let kind = kind.unwrap_or(naming);
    if version == Version::Python {
        return python::load_archive(path, naming, kind);
    }
    let mut parts = Parts::new(naming);
    each_file(path, |name, entry| {
        let Some(found) = Kind::naming(&name) else { return Ok(()) };
        check_single(path, &parts, found, &name)?;
        let place = place_in(path, &name);
        let length = entry.size();
        parts.splits.insert(name, read_split(kind, &place, entry, length)?);
        Ok(())
    })?;
    parts.finish(path, path, kind)
}

/// Calls `read` with the last component of every file's name of an archive, and the file; reads the archive to its end.
pub(super) fn each_file(
    path: &Path,
    mut read: impl FnMut(String, &mut tar::Entry<'_, Box<dyn Read>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (reader, compressed) = open_archive(path)?;
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(|source| not_an_archive(path, compressed, source))? {
        let mut entry = entry.map_err(|source| damaged(path, source))?;
        let name = entry_name(path, &entry)?;
        if entry.header().entry_type().is_file() {
            read(name, &mut entry)?;
        }
    }
    // To the end, where gzip's checksum is.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop).map_err(|source| damaged(path, source))
}

/// What messages call a file of an archive.
pub(super) fn place_in(archive: &Path, name: &str) -> PathBuf {
    PathBuf::from(format!("{}: {name}", archive.display()))
}

/// Refuses an archive with another file of this name, or with files of both kinds: which of them is meant, nothing says.
fn check_single(archive: &Path, parts: &Parts, found: Kind, name: &str) -> Result<(), Error> {
    let message = if found != parts.naming {
        format!("holds files of {} and of {}", parts.naming.title(), found.title())
    } else if parts.splits.contains_key(name) {
        format!("holds {name} more than once")
    } else {
        return Ok(());
    };
    Err(Error::file(archive, message).with_hint(WHICH))
}

/// The last component of an entry's name. Nothing is ever unpacked; a name that leads out of the archive is refused all
/// the same, since no data set has one.
fn entry_name<R: Read>(archive: &Path, entry: &tar::Entry<'_, R>) -> Result<String, Error> {
    let path = entry.path().map_err(|source| damaged(archive, source))?;
    if path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
        return Ok(name_of(&path));
    }
    let message = format!("holds {}, a name that leads out of the archive", path.display());
    Err(Error::file(archive, message).with_hint("this is not a data set as it was published"))
}

fn open_archive(path: &Path) -> Result<(Box<dyn Read>, bool), Error> {
    Input::open(path).map(Input::into_reader)
}

fn not_an_archive(path: &Path, compressed: bool, source: io::Error) -> Error {
    if source.raw_os_error().is_some() || source.kind() == io::ErrorKind::FileTooLarge {
        return read_failed(path, compressed, 0, source);
    }
    Error::file(path, "is neither a folder nor a whole .tar.gz")
        .with_hint("for single files give the folder that holds them; a .tar.gz that is cut off must be copied again")
}

pub(super) fn damaged(path: &Path, source: io::Error) -> Error {
    if source.raw_os_error().is_some() || source.kind() == io::ErrorKind::FileTooLarge {
        return read_failed(path, true, 0, source);
    }
    Error::file(path, "the archive is damaged or cut off").with_hint("copy or download it again")
}

/// What was read so far, by file name.
struct Parts {
    naming: Kind,
    splits: BTreeMap<String, Split>,
}

impl Parts {
    fn new(naming: Kind) -> Self {
        Self { naming, splits: BTreeMap::new() }
    }

    fn take(&mut self, place: &Path, name: &str) -> Result<Split, Error> {
        self.splits.remove(name).ok_or_else(|| missing(place, name, self.naming))
    }

    /// The training files in order, and the test file.
    fn finish(mut self, source: &Path, place: &Path, kind: Kind) -> Result<Dataset, Error> {
        let naming = self.naming;
        let mut train = Split::empty(IMAGE);
        for name in naming.train_names() {
            let part = self.take(place, name)?;
            train.images.extend_from_slice(&part.images);
            train.labels.extend_from_slice(&part.labels);
        }
        let (train, test) = (Arc::new(train), Arc::new(self.take(place, naming.test_name())?));
        let format = kind.format();
        Ok(Dataset {
            name: name_of(source),
            format,
            image: IMAGE,
            classes: kind.classes(),
            class_names: Vec::new(),
            train,
            validation: None,
            test,
            notices: Vec::new(),
            summary: Vec::new(),
            view: None,
        })
    }
}

fn missing(place: &Path, name: &str, naming: Kind) -> Error {
    Error::file(place, format!("{name} is missing")).with_hint(names(naming))
}

fn names(naming: Kind) -> String {
    format!("{}'s binary version has {}", naming.title(), naming.names().collect::<Vec<_>>().join(", "))
}

/// The records of one file of `length` bytes.
fn read_split(kind: Kind, path: &Path, reader: &mut dyn Read, length: u64) -> Result<Split, Error> {
    check_length(kind, path, length)?;
    let count = (length / kind.record() as u64) as usize;
    let mut split = Split::empty(IMAGE);
    split.images.reserve(count.saturating_mul(PIXELS).min(LARGEST_RESERVE));
    let mut record = vec![0; kind.record()];
    for start in (0..length).step_by(kind.record()) {
        reader.read_exact(&mut record).map_err(|source| read_failed(path, true, start, source))?;
        let (labels, planes) = record.split_at(kind.labels().len());
        split.labels.push(check_labels(kind, path, labels, start, length)?.into());
        let start = split.images.len();
        split.images.extend_from_slice(planes);
        interleave(&mut split.images[start..], IMAGE);
    }
    Ok(split)
}

fn check_length(kind: Kind, path: &Path, length: u64) -> Result<(), Error> {
    let rest = length % kind.record() as u64;
    if length == 0 {
        return Err(Error::file(path, "is empty").at(0));
    }
    if rest == 0 {
        return Ok(());
    }
    let whole = length - rest;
    let message =
        format!("ends at byte {length}, inside the record of {} bytes that starts at byte {whole}", kind.record());
    let looks_other = length.is_multiple_of(kind.other().record() as u64);
    let hint = match foreign::advice(path) {
        // Pixels may begin like another format.
        _ if looks_other => kind.other().hint(),
        Some(advice) => advice,
        None => "copy or download it again".into(),
    };
    Err(Error::file(path, message).at(length).with_hint(hint))
}

/// The class of the record that starts at byte `start`.
fn check_labels(kind: Kind, path: &Path, labels: &[u8], start: u64, length: u64) -> Result<u8, Error> {
    for (byte, (&label, &bound)) in (start..).zip(labels.iter().zip(kind.labels())) {
        if label >= bound {
            let coarse = if labels.len() > 1 && bound == 20 { "coarse label" } else { "label" };
            let error = Error::file(path, format!("{coarse} {label} at byte {byte} is not below {bound}")).at(byte);
            let looks_other = length.is_multiple_of(kind.other().record() as u64);
            return Err(if looks_other { error.with_hint(kind.other().hint()) } else { error });
        }
    }
    Ok(labels[labels.len() - 1])
}
