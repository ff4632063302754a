//! Data sets as NumPy arrays: MedMNIST's and Keras' npz archives, or a folder of npy files of the same names.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sse_sam_core::Shape;

use crate::Error;
use crate::data::formats::npy::{self, Content, Pictures};
use crate::data::formats::zip::{Archive, Member};
use crate::data::found::Found;
use crate::data::{Dataset, Entry, Format, Source, Split, length_of, listing, name_of};

/// What arrays are called: pictures and labels of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// `train_images`, `train_labels`, as MedMNIST has them.
    Medmnist,
    /// `x_train`, `y_train`, as Keras has them.
    Keras,
    /// `images`, `labels`: a training set alone.
    Plain,
}

const TRAIN: &[&str] = &["train"];
const VALIDATION: &[&str] = &["val", "valid", "validation"];
const TEST: &[&str] = &["test"];

/// What is read, for hints.
const READ: &str = "read are train_images, train_labels, test_images, test_labels (MedMNIST), or x_train, y_train, x_test, \
     y_test (Keras), with val_... or ..._val beside them";

impl Naming {
    const ALL: [Self; 3] = [Self::Medmnist, Self::Keras, Self::Plain];

    /// The names of a split's pictures and labels.
    fn names(self, split: &str) -> [String; 2] {
        match self {
            Self::Medmnist => [format!("{split}_images"), format!("{split}_labels")],
            Self::Keras => [format!("x_{split}"), format!("y_{split}")],
            Self::Plain => ["images".into(), "labels".into()],
        }
    }
}

/// Arrays with names.
#[derive(Debug)]
enum Store {
    Zip(PathBuf, Archive),
    Folder(PathBuf, Vec<String>),
}

impl Store {
    fn open(path: &Path) -> Result<Self, Error> {
        if !path.is_dir() {
            return Ok(Self::Zip(path.to_owned(), Archive::open(path)?));
        }
        let files: Vec<String> =
            listing(path)?.into_iter().filter(|entry| !entry.is_folder).map(|entry| entry.name).collect();
        let archives: Vec<&String> = files.iter().filter(|name| is_archive(name)).collect();
        match archives[..] {
            [one] if !files.iter().any(|name| is_array_of_a_set(name)) => Self::open(&path.join(one)),
            [first, second, ..] => Err(Error::file(path, format!("holds several NumPy archives: {first}, {second}"))
                .with_hint("give one of them")),
            _ => Ok(Self::Folder(path.to_owned(), files)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Zip(path, _) | Self::Folder(path, _) => path,
        }
    }

    /// The names of all arrays, without `.npy`.
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Zip(_, archive) => archive.members.iter().map(|member| stem(&member.name)).collect(),
            Self::Folder(_, files) => files.iter().filter(|name| is_array(name)).map(|name| stem(name)).collect(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names().iter().any(|found| found.eq_ignore_ascii_case(name))
    }

    /// Calls `read` with the content of an array.
    fn read<T>(&self, name: &str, read: impl FnOnce(Content<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let missing = || Error::file(self.path(), format!("{name} is missing")).with_hint(READ);
        let is_it = |found: &str| stem(found).eq_ignore_ascii_case(name);
        match self {
            Self::Zip(path, archive) => {
                let found: Vec<&Member> = archive.members.iter().filter(|member| is_it(&member.name)).collect();
                match found[..] {
                    [member] => {
                        let (place, mut reader) = (archive.place(member), archive.reader(member)?);
                        read(Content { place: &place, reader: &mut reader, length: member.size })
                    }
                    [] => Err(missing()),
                    _ => Err(Error::file(path, format!("holds {name} more than once"))),
                }
            }
            Self::Folder(folder, files) => {
                let file = files.iter().find(|file| is_array(file) && is_it(file)).ok_or_else(missing)?;
                let place = folder.join(file);
                let opened = File::open(&place).map_err(|source| Error::io(&place, source))?;
                let mut reader = BufReader::with_capacity(1 << 16, opened);
                read(Content { place: &place, reader: &mut reader as &mut dyn Read, length: length_of(&place)? })
            }
        }
    }
}

fn is_archive(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".npz") && !name.starts_with('.')
}

fn is_array(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".npy") && !name.starts_with('.')
}

/// Whether a file has the name of a training set's pictures.
fn is_array_of_a_set(name: &str) -> bool {
    let is_one = |naming: Naming| naming.names(TRAIN[0])[0].eq_ignore_ascii_case(stem(name));
    is_array(name) && Naming::ALL.into_iter().any(is_one)
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').filter(|(_, ending)| ending.eq_ignore_ascii_case("npy")).map_or(name, |(stem, _)| stem)
}

/// Whether a folder with these entries holds an archive, or arrays of a known name.
pub(crate) fn present(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| !entry.is_folder && (is_archive(&entry.name) || is_array_of_a_set(&entry.name)))
}

/// Whether a file is a NumPy archive by its content.
pub(crate) fn is_one(path: &Path) -> bool {
    Found::at(path) == Some(Found::Data("a NumPy archive (.npz)"))
}

/// Why a single array is no data set.
pub(crate) fn alone(path: &Path) -> Option<Error> {
    (Found::at(path) == Some(Found::Data("a NumPy array (.npy)"))).then(|| {
        Error::file(path, "is one NumPy array, not a data set").with_hint(
            "give the folder that holds train_images.npy, train_labels.npy, test_images.npy and test_labels.npy",
        )
    })
}

/// Reads an archive or a folder of arrays. The classes are those up to the largest training label.
pub(crate) fn load(path: &Path) -> Result<Dataset, Error> {
    if let Some(error) = alone(path) {
        return Err(error);
    }
    let store = Store::open(path)?;
    let naming = naming(&store)?;
    let (image, notice, train) = split(&store, naming.names(TRAIN[0]), None)?;
    let classes = train.labels.iter().max().map_or(0, |&label| label as usize + 1);
    let beside = |names: &[&str]| -> Result<Option<Arc<dyn Source>>, Error> {
        // A training set alone has nothing beside it.
        let names = names.iter().filter(|_| naming != Naming::Plain).map(|name| naming.names(name));
        let Some(names) = names.into_iter().find(|names| names.iter().any(|name| store.has(name))) else {
            return Ok(None);
        };
        let (_, _, split) = split(&store, names, Some((image, classes)))?;
        Ok(Some(Arc::new(split)))
    };
    let mut notices: Vec<String> = notice.into_iter().collect();
    let (validation, test) = match (beside(VALIDATION)?, beside(TEST)?) {
        (Some(validation), None) => {
            notices.push("the validation set is taken for the test set, for there is no other".into());
            (None, validation)
        }
        (validation, test) => (validation, test.unwrap_or_else(|| Arc::new(Split::empty(image)))),
    };
    let (name, class_names) = (name_of(path), Vec::new());
    Ok(Dataset {
        name,
        format: Format::Npz,
        image,
        classes,
        class_names,
        train: Arc::new(train),
        validation,
        test,
        notices,
        summary: Vec::new(),
        view: None,
    })
}

fn naming(store: &Store) -> Result<Naming, Error> {
    let has_train = |naming: &Naming| naming.names(TRAIN[0]).iter().any(|name| store.has(name));
    Naming::ALL.into_iter().find(has_train).ok_or_else(|| {
        let names = store.names();
        let shown = names.iter().take(6).copied().collect::<Vec<_>>().join(", ");
        let more = if names.len() > 6 { ", ..." } else { "" };
        let what = if shown.is_empty() { "no array".into() } else { format!("arrays of other names: {shown}{more}") };
        Error::file(store.path(), format!("holds {what}")).with_hint(READ)
    })
}

/// Pictures and labels of these names; with the training set's picture and number of classes, those are kept to.
fn split(
    store: &Store,
    [images, labels]: [String; 2],
    train: Option<(Shape, usize)>,
) -> Result<(Shape, Option<String>, Split), Error> {
    let Pictures { image, bytes, notice } = store.read(&images, npy::pictures)?;
    let place = |name: &str| format!("{}: {name}", store.path().display());
    if let Some((expected, _)) = train.filter(|(expected, _)| *expected != image) {
        let sides = |shape: Shape| format!("{} x {} x {}", shape.height, shape.width, shape.channels);
        let message = format!("pictures are {}, but those to train on are {}", sides(image), sides(expected));
        return Err(Error::file(place(&images), message));
    }
    let values = store.read(&labels, |content| npy::labels(content, bytes.len() / image.len()))?;
    let unknown = |classes: usize| values.iter().position(|&label| label as usize >= classes);
    if let Some((row, classes)) = train.and_then(|(_, classes)| Some((unknown(classes)?, classes))) {
        let message = format!("label {} in row {row} is not below {classes}", values[row]);
        return Err(Error::file(place(&labels), message)
            .with_hint(format!("the largest label to train on is {}", classes.saturating_sub(1))));
    }
    let notice = notice.map(|notice| format!("{}: {notice}", place(&images)));
    Ok((image, notice, Split { image, images: bytes, labels: values }))
}
