//! Data of formats that are not read: what they are, and what to do.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::data::formats::idx::names::is_named;
use crate::data::found::Found;
use crate::data::input::Input;
use crate::data::{Entry, SOURCES, detect_in, length_of, listing};

/// How arrays get into a format that is read.
const CONVERT: &str = "read are pictures (class folders, lists, CSV, COCO's JSON, Parquet, tar shards), NumPy's npz, IDX files and \
    CIFAR; NumPy writes an npz of uint8 pictures (N, height, width, 3) by np.savez('data.npz', x_train=.., y_train=.., x_test=.., \
    y_test=..)";

const UNPACK: &str = "unpack it and give the folder that it makes";

const PYTHON: &str = "give the folder that holds it and the other files of CIFAR's Python version";

/// What a file is that has a data set's name and another content, and what to do; for hints.
pub(super) fn advice(path: &Path) -> Option<String> {
    let found = Found::at(path)?;
    let then = match found {
        Found::LfsPointer => ": git lfs pull, in the repository, fetches that",
        Found::WebPage => ": the download went wrong, fetch it once more",
        Found::Archive(_) => ": unpack it first",
        _ => "",
    };
    Some(format!("it is {}{then}", found.name()))
}

/// Why a single file is no data set, where its content or its name says what it is.
pub(super) fn file(path: &Path) -> Option<Error> {
    let found = match Found::at(path) {
        Some(Found::Archive("a gzip file" | "a tar archive")) => Found::of(&Input::open(path).ok()?.up_to(512).ok()?)
            .filter(|found| *found != Found::Archive("a tar archive")),
        found => found,
    };
    let error = |what: String, hint: &str| Some(Error::file(path, format!("is {what}")).with_hint(hint));
    if length_of(path).ok()? == 0 {
        return error("empty".into(), "copy or download it again");
    }
    let Some(found) = found else {
        let (what, hint) = by_name(path)?;
        return error(what.into(), hint);
    };
    let name = found.name();
    match found {
        Found::Archive(_) => error(format!("{name}, which is not read"), UNPACK),
        Found::LfsPointer => error(name, "git lfs pull, in the repository, fetches the file"),
        Found::WebPage => error(format!("{name}, not data"), "the download went wrong: fetch it once more"),
        Found::Torch | Found::Safetensors | Found::Network(_) => {
            error(format!("{name}, not data"), "weights to start from go to --init, as safetensors")
        }
        Found::Picture(_) | Found::Other(_) => error(format!("{name}, not a data set"), CONVERT),
        Found::Pickle | Found::Hdf5 | Found::Data(_) | Found::Json => {
            let python = ["data_batch", "test_batch"].iter().any(|part| path.to_string_lossy().contains(part));
            error(format!("{name}, which is not read"), if python { PYTHON } else { CONVERT })
        }
    }
}

/// What files are called that have no first bytes of their own.
fn by_name(path: &Path) -> Option<(&'static str, &'static str)> {
    let (_, what) = group(&path.file_name()?.to_string_lossy())?;
    Some(match what {
        "lists" => ("a list of files or a text, which is not read", CONVERT),
        "tables" => ("a table, which is not read", CONVERT),
        "Python pickles" => ("a Python pickle, which is not read", CONVERT),
        "TFRecord files" => ("a TFRecord file, which is not read", CONVERT),
        _ => return None,
    })
}

/// Endings of files that people have, and what such files are together.
const GROUPS: [(&[&str], &str); 14] = [
    (
        &[
            "jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "heic",
            "avif", "dcm",
        ],
        "pictures",
    ),
    (&["csv", "tsv", "tra", "tes", "arff", "xlsx"], "tables"),
    (&["parquet", "arrow", "feather", "orc", "avro"], "Parquet or Arrow files"),
    (&["npz", "npy"], "NumPy files"),
    (&["h5", "hdf5"], "HDF5 files"),
    (&["mat"], "MATLAB files"),
    (&["tfrecord", "tfrecords", "tfrec"], "TFRecord files"),
    (&["pkl", "pickle", "pt", "pth"], "Python pickles"),
    (&["tar", "tgz"], "tar archives"),
    (&["zip", "7z", "rar", "xz", "bz2", "zst"], "archives"),
    (&["mdb", "db", "sqlite"], "databases"),
    (&["json", "jsonl", "ndjson", "xml", "yaml", "yml"], "annotations"),
    (&["txt", "lst", "list"], "lists"),
    (&["safetensors", "onnx", "gguf"], "weights"),
];

/// The group of a file's name: its rank and what such files are.
fn group(name: &str) -> Option<(usize, &'static str)> {
    if name.starts_with('.') {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").map_or(&*name, |stem| if stem.ends_with(".tar") { stem } else { &name });
    // TensorFlow's shards: NAME.tfrecord-00000-of-00010.
    let ending = match name.rsplit_once('.')?.1 {
        ending if ending.starts_with("tfrecord") => "tfrecord",
        ending => ending,
    };
    GROUPS.iter().position(|(endings, _)| endings.contains(&ending)).map(|rank| (rank, GROUPS[rank].1))
}

/// Files that are looked at before a folder is judged, and how deep.
const MOST: usize = 2000;
const DEEPEST: usize = 3;

/// The first file of each group in a folder and its sub-folders: depth, rank, group, path within the folder.
#[derive(Default)]
struct Survey {
    seen: usize,
    found: Vec<(usize, usize, &'static str, PathBuf)>,
    /// A sub-folder with files of a known data set.
    home: Option<PathBuf>,
}

impl Survey {
    fn add(&mut self, root: &Path, within: &Path, entries: &[Entry], depth: usize) {
        for entry in entries {
            self.seen += 1;
            let place = within.join(&entry.name);
            if let Some((rank, what)) = group(&entry.name).filter(|_| !entry.is_folder)
                && !self.found.iter().any(|(_, known, ..)| *known == rank)
            {
                self.found.push((depth, rank, what, place));
            }
        }
        for folder in entries.iter().filter(|entry| entry.is_folder && !entry.name.starts_with('.')) {
            if self.seen > MOST || depth == DEEPEST {
                return;
            }
            let place = within.join(&folder.name);
            let Ok(inner) = listing(&root.join(&place)) else { continue };
            if self.home.is_none() && detect_in(&root.join(&place), &inner).is_ok_and(|found| !found.is_empty()) {
                self.home = Some(root.join(&place));
            }
            self.add(root, &place, &inner, depth + 1);
        }
    }
}

/// Whether these are the files of a run.
pub(super) fn is_run(entries: &[Entry]) -> bool {
    ["config.toml", "metrics.jsonl"].iter().all(|name| entries.iter().any(|entry| entry.name == *name))
}

/// Why a folder is no data set.
pub(super) fn folder(path: &Path, entries: &[Entry]) -> Error {
    let unknown = |message: &str, hint: &str| Error::file(path, message).with_hint(hint);
    if is_run(entries) {
        return unknown(
            "is the folder of a run, not data",
            "sse-sam resume continues it, train --config FOLDER/config.toml repeats it",
        );
    }
    let mut survey = Survey::default();
    survey.add(path, Path::new(""), entries, 0);
    if let Some(home) = survey.home {
        let hint = format!("{} does: give that", home.display());
        return unknown("holds no file of a known data set itself", &hint);
    }
    if entries.is_empty() {
        return unknown("is an empty folder", SOURCES);
    }
    survey.found.sort();
    let groups: Vec<String> =
        survey.found.iter().take(3).map(|(.., what, place)| format!("{what} ({})", place.display())).collect();
    // Any folder may have a text in it.
    if survey.found.iter().all(|(.., what, _)| *what == "lists") {
        return unknown("holds no file of a known data set", SOURCES);
    }
    let is_packed = survey.found.iter().all(|(.., what, _)| what.contains("archives"));
    unknown(
        &format!("holds {}, which are not read", groups.join(", ")),
        if is_packed {
            "unpack them, or give the archive if it is CIFAR's; pictures in them are not read"
        } else {
            CONVERT
        },
    )
}

/// Why an archive is no data set, by the names in it.
pub(super) fn archive(path: &Path, names: &[String]) -> Error {
    if let Some(name) = names.iter().find(|name| is_named(name)) {
        return Error::file(path, format!("is an archive of IDX files ({name}), which are read from a folder"))
            .with_hint(UNPACK);
    }
    let error = Error::file(path, "is an archive without a file of CIFAR's binary version");
    if let Some(found) = names.iter().filter_map(|name| Some((group(name)?, name))).min() {
        let ((_, what), name) = found;
        return Error::file(
            path,
            format!("is an archive of {what} ({name}), without a file of CIFAR's binary version"),
        )
        .with_hint(CONVERT);
    }
    error.with_hint(SOURCES)
}
