//! Which file of a folder is which: MNIST's names, with what data sets of its kind put in front.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::data::input::Input;
use crate::data::{Entry, listing, name_of};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Validation,
    Test,
}

/// Images or labels of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    part: Part,
    is_labels: bool,
}

impl Role {
    pub(crate) const fn images(part: Part) -> Self {
        Self { part, is_labels: false }
    }

    pub(crate) const fn labels(part: Part) -> Self {
        Self { part, is_labels: true }
    }

    /// Its usual name, for messages.
    const fn usual(self) -> &'static str {
        match (self.part, self.is_labels) {
            (Part::Train, false) => "train-images-idx3-ubyte",
            (Part::Train, true) => "train-labels-idx1-ubyte",
            (Part::Validation, false) => "val-images-idx3-ubyte",
            (Part::Validation, true) => "val-labels-idx1-ubyte",
            (Part::Test, false) => "t10k-images-idx3-ubyte",
            (Part::Test, true) => "t10k-labels-idx1-ubyte",
        }
    }
}

/// What stands in front of a file's name, with the dash behind it, and its role: `train-images-idx3-ubyte`,
/// `t10k-labels.idx1-ubyte.gz`, `emnist-letters-test-images-idx3-ubyte`, `qmnist-train-labels-idx2-int.gz`, `train-images.idx`.
fn parse(whole: &str) -> Option<(&str, Role)> {
    let name = &*whole.to_ascii_lowercase();
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    let (front, kind) = stem.split_at_checked(stem.rfind("idx")?)?;
    let known = ["idx", "idx1-ubyte", "idx1-short", "idx1-int", "idx2-int", "idx3-ubyte", "idx4-ubyte"];
    let front = front.strip_suffix(['-', '.']).filter(|_| known.contains(&kind) && !name.starts_with('.'))?;
    let (front, is_labels) = match front.strip_suffix("-labels") {
        Some(front) => (front, true),
        None => (front.strip_suffix("-images")?, false),
    };
    let parts = [
        ("train", Part::Train),
        ("val", Part::Validation),
        ("valid", Part::Validation),
        ("validation", Part::Validation),
        ("t10k", Part::Test),
        ("test", Part::Test),
    ];
    let (prefix, part) = parts.iter().find_map(|&(name, part)| Some((front.strip_suffix(name)?, part)))?;
    (prefix.is_empty() || prefix.ends_with('-')).then_some((&whole[..prefix.len()], Role { part, is_labels }))
}

/// Whether a file of this name is one of an IDX data set.
pub(crate) fn is_named(name: &str) -> bool {
    parse(name).is_some()
}

/// The folder that `path` names and how the names of its files begin. Where nothing lies at `path` itself, its last
/// component may be a beginning: `FOLDER/emnist-letters`.
pub(crate) fn split_prefix(path: &Path) -> Option<(PathBuf, String)> {
    let prefix = format!("{}-", path.file_name()?.to_str()?);
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    let names = listing(&folder).ok().filter(|_| !path.exists())?;
    names.iter().any(|entry| parse(&entry.name).is_some_and(|(found, _)| found == prefix)).then_some((folder, prefix))
}

/// The IDX files of one data set.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    prefix: String,
    found: Vec<(Role, PathBuf)>,
}

impl Files {
    /// Whether any file of the folder is named as one of an IDX data set.
    pub(crate) fn present(names: &[Entry]) -> bool {
        names.iter().any(|entry| !entry.is_folder && parse(&entry.name).is_some())
    }

    /// The files of a folder, or of a folder and a prefix. Those without a prefix go before those with one, raw before `.gz`.
    pub(crate) fn find(path: &Path) -> Result<Self, Error> {
        let (folder, chosen) = split_prefix(path).map_or((path.to_owned(), None), |(folder, p)| (folder, Some(p)));
        let names = listing(&folder)?;
        let mut parsed: Vec<(&str, Role, &str)> = names
            .iter()
            .filter(|entry| !entry.is_folder)
            .filter_map(|entry| parse(&entry.name).map(|(prefix, role)| (prefix, role, entry.name.as_str())))
            .collect();
        parsed.sort_by_key(|&(prefix, _, name)| (prefix, name.ends_with(".gz"), name));
        let mut prefixes: Vec<&str> = parsed.iter().map(|&(prefix, ..)| prefix).collect();
        prefixes.dedup();
        let prefix = match (chosen, &prefixes[..]) {
            (Some(chosen), _) => chosen,
            (None, [] | ["", ..]) => String::new(),
            (None, [one]) => (*one).to_owned(),
            (None, several) => return Err(undecided(&folder, several)),
        };
        let own = parsed.iter().filter(|(found, ..)| *found == prefix);
        let found = own.map(|&(_, role, name)| (role, folder.join(name))).collect();
        Ok(Self { folder, prefix, found })
    }

    /// Whether there is any file of a part.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.found.iter().any(|(role, _)| role.part == part)
    }

    /// The file that plays a role. Several may, such as a raw one and a `.gz`, where they are the same.
    pub(crate) fn open(&self, role: Role) -> Result<PathBuf, Error> {
        let mut found = self.found.iter().filter(|(found, _)| *found == role).map(|(_, path)| path);
        let first = found.next();
        if let Some((first, other)) = first.and_then(|first| Some((first, found.find(|other| differ(first, other))?))) {
            let message = format!("{} and {} are both there and differ", name_of(first), name_of(other));
            return Err(Error::file(&self.folder, message).with_hint("move the one away that is not meant"));
        }
        first.cloned().ok_or_else(|| {
            Error::file(&self.folder, format!("{}{} is missing", self.prefix, role.usual())).with_hint(
                "a folder of IDX files holds images and labels to train (train-) and to test (t10k- or test-), raw or .gz",
            )
        })
    }
}

/// Whether two files have other content: one that cannot be read has.
fn differ(one: &Path, other: &Path) -> bool {
    const PIECE: u64 = 1 << 20;
    let same = || -> Result<bool, Error> {
        let (mut one, mut other) = (Input::open(one)?, Input::open(other)?);
        loop {
            let (piece, twin) = (one.up_to(PIECE)?, other.up_to(PIECE)?);
            if piece != twin || piece.is_empty() {
                return Ok(piece == twin);
            }
        }
    };
    !same().unwrap_or(false)
}

fn undecided(folder: &Path, prefixes: &[&str]) -> Error {
    let names: Vec<&str> = prefixes.iter().map(|prefix| prefix.trim_end_matches('-')).collect();
    let example = folder.join(names.first().unwrap_or(&""));
    Error::file(folder, format!("holds IDX files of several data sets: {}", names.join(", ")))
        .with_hint(format!("name one of them, such as {}", example.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let read = |name: &'static str| parse(name).map(|(prefix, role)| (prefix, role.usual()));
        for (name, prefix, usual) in [
            ("train-images-idx3-ubyte", "", "train-images-idx3-ubyte"),
            ("t10k-labels.idx1-ubyte.gz", "", "t10k-labels-idx1-ubyte"),
            ("test-images-idx4-ubyte", "", "t10k-images-idx3-ubyte"),
            ("emnist-letters-train-labels-idx1-ubyte.gz", "emnist-letters-", "train-labels-idx1-ubyte"),
            ("emnist-letters-test-images-idx3-ubyte", "emnist-letters-", "t10k-images-idx3-ubyte"),
            ("val-images-idx3-ubyte", "", "val-images-idx3-ubyte"),
            ("own-valid-labels.idx.gz", "own-", "val-labels-idx1-ubyte"),
            ("validation-images.idx1-ubyte", "", "val-images-idx3-ubyte"),
            ("qmnist-test-labels-idx2-int.gz", "qmnist-", "t10k-labels-idx1-ubyte"),
            ("TRAIN-IMAGES-IDX3-UBYTE", "", "train-images-idx3-ubyte"),
            ("Own-Test-Labels.IDX.GZ", "Own-", "t10k-labels-idx1-ubyte"),
            ("train-images.idx", "", "train-images-idx3-ubyte"),
            ("my-own-set-train-labels-idx1-short", "my-own-set-", "train-labels-idx1-ubyte"),
        ] {
            assert_eq!(read(name), Some((prefix, usual)), "{name}");
        }
        for name in [
            "",
            "idx",
            "train-images",
            "._train-images-idx3-ubyte",
            "strain-images-idx3-ubyte",
            "interval-images-idx3-ubyte",
            "train-images-idx3",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
    }
}
