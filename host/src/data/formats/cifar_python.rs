//! CIFAR-10 and CIFAR-100 in their Python version: pickled dictionaries of a matrix of pixels and a list of labels.
//!
//! A row of the matrix is three planes of 32 x 32 bytes. Of CIFAR-100's two labels the fine one counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::data::formats::cifar::{IMAGE, Kind, PIXELS, WHICH, damaged, each_file, place_in};
use crate::data::formats::idx::interleave;
use crate::data::formats::pickle::Pickle;
use crate::data::found::Found;
use crate::data::{Dataset, Entry, Split, listing, name_of};

/// A batch of CIFAR-100 takes 155 MB.
const LARGEST_FILE: u64 = 1 << 30;

/// Bytes that tell a pickle.
const HEAD: u64 = 16;

/// What the files of a kind are called.
struct Names {
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    meta: &'static str,
    /// The key of labels, and in `meta` that of classes' names.
    keys: [&'static str; 2],
}

const fn names(kind: Kind) -> Names {
    match kind {
        Kind::Ten => Names {
            folder: "cifar-10-batches-py",
            train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
            test: "test_batch",
            meta: "batches.meta",
            keys: ["labels", "label_names"],
        },
        Kind::Hundred => Names {
            folder: "cifar-100-python",
            train: &["train"],
            test: "test",
            meta: "meta",
            keys: ["fine_labels", "fine_label_names"],
        },
    }
}

impl Names {
    /// The files with samples.
    fn samples(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().copied().chain([self.test])
    }
}

/// Which kind has a file of this name and content. CIFAR-100's names are everybody's: there the content has to be a pickle.
pub(super) fn naming(name: &str, content: &mut dyn Read) -> Option<Kind> {
    let kind = Kind::BOTH.into_iter().find(|&kind| names(kind).samples().any(|usual| usual == name))?;
    (kind == Kind::Ten || is_pickle(content)).then_some(kind)
}

fn is_pickle(content: &mut dyn Read) -> bool {
    let mut head = Vec::new();
    content.take(HEAD).read_to_end(&mut head).is_ok() && Found::of(&head) == Some(Found::Pickle)
}

/// Where the files with this kind's names lie: in the folder, which has these entries, or in its usual sub-folder.
pub(super) fn home(kind: Kind, folder: &Path, entries: &[Entry]) -> Result<Option<PathBuf>, Error> {
    let names = names(kind);
    if holds(kind, folder, entries) {
        return Ok(Some(folder.to_owned()));
    }
    if !entries.iter().any(|entry| entry.is_folder && entry.name == names.folder) {
        return Ok(None);
    }
    let inner = folder.join(names.folder);
    let entries = listing(&inner)?;
    Ok(holds(kind, &inner, &entries).then_some(inner))
}

fn holds(kind: Kind, folder: &Path, entries: &[Entry]) -> bool {
    let has = |name: &str| entries.iter().any(|entry| !entry.is_folder && entry.name == name);
    let names = names(kind);
    match kind {
        Kind::Ten => names.samples().any(has),
        Kind::Hundred => {
            let is_one = |name: &str| File::open(folder.join(name)).is_ok_and(|mut file| is_pickle(&mut file));
            names.samples().any(|name| has(name) && (has(names.meta) || is_one(name)))
        }
    }
}

/// Reads a folder with these entries, with the labels of `kind` or of the kind that the file names say; none where it holds
/// no such file.
pub(super) fn load_folder(folder: &Path, entries: &[Entry], kind: Option<Kind>) -> Result<Option<Dataset>, Error> {
    let preferred = kind.unwrap_or(Kind::Ten);
    let mut found = None;
    for naming in [preferred, preferred.other()] {
        found = found.or(home(naming, folder, entries)?.map(|home| (naming, home)));
    }
    let Some((naming, home)) = found else { return Ok(None) };
    let kind = kind.unwrap_or(naming);
    let mut parts = Parts { naming, kind, splits: BTreeMap::new(), class_names: Vec::new() };
    let names = names(naming);
    for name in names.samples().chain([names.meta]) {
        let path = home.join(name);
        match File::open(&path) {
            Ok(mut file) => parts.add(name, &path, &mut file)?,
            // Said at the end, by name; names of classes may be missing.
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io(path, source)),
        }
    }
    parts.finish(folder, &home).map(Some)
}

/// Reads an archive with files of the names of `naming`, with the labels of `kind`.
pub(super) fn load_archive(path: &Path, naming: Kind, kind: Kind) -> Result<Dataset, Error> {
    let usual = names(naming);
    let mut parts = Parts { naming, kind, splits: BTreeMap::new(), class_names: Vec::new() };
    each_file(path, |name, entry| {
        if !usual.samples().chain([usual.meta]).any(|usual| usual == name) {
            let other = names(naming.other()).samples().any(|other| naming == Kind::Hundred && other == name);
            let both = format!("holds files of {} and of {}", naming.title(), naming.other().title());
            return if other { Err(Error::file(path, both).with_hint(WHICH)) } else { Ok(()) };
        }
        if parts.splits.contains_key(&name) {
            return Err(Error::file(path, format!("holds {name} more than once")).with_hint(WHICH));
        }
        parts.add(&name, &place_in(path, &name), entry)
    })?;
    parts.finish(path, path)
}

/// What was read so far.
struct Parts {
    naming: Kind,
    kind: Kind,
    splits: BTreeMap<String, Split>,
    class_names: Vec<String>,
}

impl Parts {
    /// Reads a file with samples, or that with the names of classes.
    fn add(&mut self, name: &str, place: &Path, reader: &mut dyn Read) -> Result<(), Error> {
        let mut bytes = Vec::new();
        reader.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|source| damaged(place, source))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(Error::file(place, format!("has more than {LARGEST_FILE} bytes, which no file of CIFAR has")));
        }
        if bytes.is_empty() {
            return Err(Error::file(place, "is empty").at(0));
        }
        let pickle = Pickle::read(place, bytes)?;
        if name == names(self.naming).meta {
            self.class_names = class_names(self.kind, place, &pickle)?;
        } else {
            self.splits.insert(name.into(), samples(self.kind, place, &pickle)?);
        }
        Ok(())
    }

    fn take(&mut self, place: &Path, name: &str) -> Result<Split, Error> {
        let missing = || {
            let all = names(self.naming).samples().collect::<Vec<_>>().join(", ");
            let hint = format!("{}'s Python version has {all}", self.naming.title());
            Error::file(place, format!("{name} is missing")).with_hint(hint)
        };
        self.splits.remove(name).ok_or_else(missing)
    }

    /// The training files in order, and the test file.
    fn finish(mut self, source: &Path, place: &Path) -> Result<Dataset, Error> {
        let usual = names(self.naming);
        let mut train = Split::empty(IMAGE);
        for name in usual.train {
            let mut part = self.take(place, name)?;
            train.images.append(&mut part.images);
            train.labels.append(&mut part.labels);
        }
        let test = Arc::new(self.take(place, usual.test)?);
        Ok(Dataset {
            name: name_of(source),
            format: self.kind.format(),
            image: IMAGE,
            classes: self.kind.classes(),
            class_names: self.class_names,
            train: Arc::new(train),
            validation: None,
            test,
            notices: Vec::new(),
            summary: Vec::new(),
            view: None,
        })
    }
}

/// Pictures and labels of a file.
fn samples(kind: Kind, place: &Path, pickle: &Pickle<'_>) -> Result<Split, Error> {
    let [key, _] = names(kind).keys;
    let labels = pickle.integers(key).map_err(|error| {
        let [other, _] = names(kind.other()).keys;
        if pickle.get(key).is_none() && pickle.get(other).is_some() {
            error.with_hint(kind.other().hint())
        } else {
            error
        }
    })?;
    let ([rows, columns], mut images) = pickle.matrix("data")?;
    if columns != PIXELS {
        return Err(Error::file(place, format!("data has {columns} values for each picture, not {PIXELS}")));
    }
    if labels.len() != rows {
        return Err(Error::file(place, format!("{key} has {} labels for {rows} pictures", labels.len())));
    }
    interleave(&mut images, IMAGE);
    let classes = kind.classes();
    let label = |(row, &label): (usize, &i64)| {
        u32::try_from(label).ok().filter(|&label| (label as usize) < classes).ok_or_else(|| {
            Error::file(place, format!("label {label} of picture {row} ({key}) is not in 0..={}", classes - 1))
        })
    };
    let labels = labels.iter().enumerate().map(label).collect::<Result<_, _>>()?;
    Ok(Split { image: IMAGE, images, labels })
}

fn class_names(kind: Kind, place: &Path, pickle: &Pickle<'_>) -> Result<Vec<String>, Error> {
    let [_, key] = names(kind).keys;
    let found = pickle.texts(key)?;
    if found.len() != kind.classes() {
        let message = format!("{key} has {} names for {} classes", found.len(), kind.classes());
        return Err(Error::file(place, message));
    }
    Ok(found)
}
