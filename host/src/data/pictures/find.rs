//! Where the sets of a data set of pictures are: in class folders, lists, annotations or shards.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::formats::shards::{Encoded, Files, Shards};
use crate::data::formats::{parquet, webdataset};
use crate::data::pictures::binding::{Classes, Numbering, renumber};
use crate::data::pictures::coco::{self, Annotations};
use crate::data::pictures::folder::{Passed, Splits, Tree, holds_pictures, split_of, sub_folders};
use crate::data::pictures::names::bytes_of;
use crate::data::pictures::options::PictureOptions;
use crate::data::pictures::samples::{Samples, Store};
use crate::data::pictures::table::{self, List, Root, leads_out};
use crate::data::{Format, listing, name_of};
use crate::error::Error;

/// The sets of a data set before they are looked at: encoded pictures with the numbers of their classes.
#[derive(Debug)]
pub struct Found {
    /// How it was stored.
    pub format: Format,
    /// The classes.
    pub classes: Classes,
    /// Training, validation and test pictures.
    pub sets: [Option<Set>; 3],
    /// What is odd.
    pub notices: Vec<String>,
    /// What numbers in lists begin with, where there are any.
    pub label_base: Option<u32>,
}

/// A set of a data set.
#[derive(Debug)]
pub struct Set {
    /// Where it was found.
    pub place: PathBuf,
    /// Its pictures.
    pub samples: Samples,
    /// What was passed over beside them.
    pub passed: Passed,
}

/// What sets are called.
pub const SETS: [&str; 3] = ["training", "validation", "test"];

/// What a place holds, where it is pictures in a form that is known.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn recognise(path: &Path) -> Result<Option<Format>, Error> {
    if !path.is_dir() {
        if parquet::is_one(path) {
            return Ok(Some(Format::Parquet));
        }
        if webdataset::is_pattern(path) || webdataset::is_shard(path) {
            return Ok(Some(Format::WebDataset));
        }
        return Ok(list_format(path));
    }
    if !Splits::of(path)?.is_empty() || wrapped(path)?.is_some() {
        return Ok(holds_pictures(path, 3).then_some(Format::Folder));
    }
    if has_class_folders(path)? {
        return Ok(Some(Format::Folder));
    }
    Ok(lists_in(path)?.into_iter().flatten().find_map(|file| list_format(&file)))
}

/// Whether some sub-folder holds pictures, or the folder itself does: then an error says what is missing.
fn has_class_folders(path: &Path) -> Result<bool, Error> {
    Ok(holds_pictures(path, 0) || sub_folders(path)?.iter().any(|name| holds_pictures(&path.join(name), 2)))
}

/// The only sub-folder, where the splits lie in that one.
fn wrapped(path: &Path) -> Result<Option<PathBuf>, Error> {
    match &sub_folders(path)?[..] {
        [only] => {
            let inner = path.join(only);
            Ok((Splits::of(&inner)?.train.is_some()).then_some(inner))
        }
        _ => Ok(None),
    }
}

/// The kind of list that a file is, by its name's ending.
fn list_format(path: &Path) -> Option<Format> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "txt" | "lst" | "csv" | "tsv" => Some(Format::List),
        "json" => Some(Format::Coco),
        _ => None,
    }
}

/// Lists of training, validation and test pictures in a folder, by the words in their names.
fn lists_in(folder: &Path) -> Result<[Vec<PathBuf>; 3], Error> {
    let mut lists: [Vec<PathBuf>; 3] = Default::default();
    let failed = |source| Error::io(folder, source);
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
        .map_err(failed)?;
    paths.sort();
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| bytes_of(name).starts_with(b"."));
    for path in paths.into_iter().filter(|path| list_format(path).is_some() && path.is_file() && !is_hidden(path)) {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let words = stem.split(|letter: char| !letter.is_alphabetic());
        if let Some(split) = words.filter_map(split_of).next() {
            lists[split].push(path);
        }
    }
    Ok(lists)
}

/// How sets are found.
pub struct How<'a> {
    /// Options about pictures.
    pub options: &'a PictureOptions,
    /// The classes, where they are known beforehand.
    pub map: Option<Classes>,
}

impl How<'_> {
    /// What classes are known from.
    fn whose(&self) -> &'static str {
        if self.options.class_map.is_some() { "the class map" } else { "the training set" }
    }

    /// The sets that the options or a place have.
    pub fn find(&self, path: &Path, format: Option<Format>) -> Result<Found, Error> {
        let options = self.options;
        if let Some(train) = &options.train {
            return self.named([Some(train), options.val.as_ref(), options.test.as_ref()]);
        }
        if let Some(option) =
            [("--val", &options.val), ("--test", &options.test)].iter().find(|(_, path)| path.is_some())
        {
            return Err(Error::Usage(format!("{} needs --train, which names what is trained on", option.0)));
        }
        let format = match format {
            Some(format) => format,
            None => recognise(path)?.unwrap_or(Format::Folder),
        };
        match format {
            Format::List | Format::Coco if path.is_dir() => {
                let mut one = [None, None, None];
                for (place, files) in one.iter_mut().zip(lists_in(path)?) {
                    let mut files = files.into_iter().filter(|file| list_format(file) == Some(format));
                    *place = files.next();
                    if let (Some(first), Some(second)) = (&place, files.next()) {
                        let what = format!("holds {} and {}", first.display(), name_of(&second));
                        return Err(Error::file(path, what).with_hint("--train, --val and --test say which to read"));
                    }
                }
                if one[0].is_none() {
                    return Err(Error::file(path, "holds no list of training pictures")
                        .with_hint("--train FILE names it; a list's name says its split, as in train.txt"));
                }
                self.lists(one, format)
            }
            Format::List | Format::Coco => self.lists([Some(path.to_owned()), None, None], format),
            Format::WebDataset => self.shards(webdataset::index(path)?, path, format),
            Format::Parquet => self.shards(parquet::index(path, memory())?, path, format),
            _ => self.folders(path),
        }
    }

    /// The test set of a place, or all that it has.
    pub fn find_test(&self, path: &Path) -> Result<Found, Error> {
        let entries = if path.is_dir() { listing(path)? } else { Vec::new() };
        if parquet::is_one(path) || parquet::present(path, &entries) {
            return self.test_shards(parquet::index(path, memory())?, path, Format::Parquet);
        }
        let is_tar = !path.is_dir() && (webdataset::is_pattern(path) || webdataset::is_shard(path));
        if is_tar || webdataset::present(path, &entries) {
            return self.test_shards(webdataset::index(path)?, path, Format::WebDataset);
        }
        if !path.is_dir() {
            fs::metadata(path).map_err(|source| Error::io(path, source))?;
            let format = list_format(path).ok_or_else(|| {
                Error::file(path, "is no list of pictures").with_hint("a list is .txt, .csv, .tsv or .json")
            })?;
            return self.lists([None, None, Some(path.to_owned())], format);
        }
        let inner = wrapped(path)?;
        let path = inner.as_deref().unwrap_or(path);
        let splits = Splits::of(path)?;
        let lists = lists_in(path)?;
        let test = match (splits.test.or(splits.validation), splits.train) {
            (Some(test), _) => test,
            (None, Some(_)) => {
                return Err(Error::file(path, "has no test set, only one to train on")
                    .with_hint("give that folder itself to take it"));
            }
            (None, None) if !has_class_folders(path)? => {
                let [_, validation, test] = lists;
                match test.into_iter().chain(validation).next() {
                    Some(list) => return self.find_test(&list),
                    None => path.to_owned(),
                }
            }
            (None, None) => path.to_owned(),
        };
        self.trees(Splits { test: Some(test), ..Splits::default() }, Vec::new())
    }

    /// Sets that the options name, folders or lists.
    fn named(&self, places: [Option<&String>; 3]) -> Result<Found, Error> {
        let places = places.map(|place| place.map(PathBuf::from));
        for place in places.iter().flatten().filter(|place| !webdataset::is_pattern(place)) {
            fs::metadata(place).map_err(|source| Error::io(place, source))?;
        }
        if let Some(found) = self.named_shards(&places)? {
            return Ok(found);
        }
        let is_folder = |place: &PathBuf| place.is_dir();
        if places.iter().flatten().all(is_folder) {
            let [train, validation, test] = places;
            return self.trees(Splits { train, validation, test }.within()?, Vec::new());
        }
        if places.iter().flatten().any(is_folder) {
            return Err(Error::Usage(
                "--train, --val and --test are all class folders, all lists or all shards".into(),
            ));
        }
        let formats: Vec<Option<Format>> = places.iter().flatten().map(|place| list_format(place)).collect();
        match formats[..] {
            [Some(first), ..] if formats.iter().all(|format| *format == Some(first)) => self.lists(places, first),
            _ => Err(Error::Usage(
                "--train, --val and --test take lists of one kind: .txt, .csv and .tsv, or .json".into(),
            )),
        }
    }

    /// Sets that the options name, where the first is of Parquet files or of tar shards.
    fn named_shards(&self, places: &[Option<PathBuf>; 3]) -> Result<Option<Found>, Error> {
        let Some(train) = &places[0] else { return Ok(None) };
        let entries = if train.is_dir() { listing(train)? } else { Vec::new() };
        let files = |find: fn(&Path) -> Result<Files, Error>| {
            let [train, validation, test] = places.each_ref().map(|place| place.as_deref().map(find).transpose());
            Ok::<_, Error>(Files::named([train?, validation?, test?]))
        };
        if parquet::is_one(train) || parquet::present(train, &entries) {
            let encoded = parquet::index_files(train, files(parquet::find)?, memory())?;
            return self.shards(encoded, train, Format::Parquet).map(Some);
        }
        let is_tar = !train.is_dir() && (webdataset::is_pattern(train) || webdataset::is_shard(train));
        if is_tar || webdataset::present(train, &entries) {
            let encoded = webdataset::index_files(train, files(webdataset::find)?)?;
            return self.shards(encoded, train, Format::WebDataset).map(Some);
        }
        Ok(None)
    }

    /// Class folders below a place.
    fn folders(&self, path: &Path) -> Result<Found, Error> {
        let inner = wrapped(path)?;
        let path = inner.as_deref().unwrap_or(path);
        let splits = Splits::of(path)?;
        if splits.is_empty() {
            return self.trees(Splits { train: Some(path.to_owned()), ..Splits::default() }, Vec::new());
        }
        if splits.train.is_none() {
            return Err(Error::file(path, "holds folders of splits, but none to train on")
                .with_hint("it is called train, or --train names it"));
        }
        let mut notices = Vec::new();
        if lists_in(path)?.iter().any(|lists| !lists.is_empty()) {
            notices.push(format!("{}: the folders of splits are read, and not the lists beside them", path.display()));
        }
        let others = sub_folders(path)?.len()
            - [&splits.train, &splits.validation, &splits.test].iter().filter(|split| split.is_some()).count();
        if others > 0 {
            notices.push(format!("{}: {others} folders beside those of the splits are not read", path.display()));
        }
        self.trees(splits, notices)
    }

    /// Class folders of each split.
    fn trees(&self, splits: Splits, mut notices: Vec<String>) -> Result<Found, Error> {
        let read = |path: Option<PathBuf>| path.map(|path| Tree::read(&path)).transpose();
        let trees = [read(splits.train)?, read(splits.validation)?, read(splits.test)?];
        let shown =
            |tree: &Tree| tree.classes.iter().map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>();
        let own = trees[0].as_ref().map(shown).unwrap_or_default();
        let classes = self.map.clone().unwrap_or(Classes { names: own });
        let mut sets = [None, None, None];
        for ((set, tree), split) in sets.iter_mut().zip(trees).zip(SETS) {
            let Some(tree) = tree else { continue };
            let extra = self.options.extra_classes.unwrap_or_default();
            let numbers = classes.of(&shown(&tree), &tree.root, extra, self.whose())?;
            if split == SETS[0] {
                notices.extend(empty(&tree));
            }
            let (names, labels) = renumber(&tree.names, &tree.labels, &numbers);
            let samples = Samples::new(Store::Files { root: tree.root.clone(), names }, labels);
            *set = Some(Set { place: tree.root, samples, passed: tree.passed });
        }
        Ok(Found { format: Format::Folder, classes, sets, notices, label_base: None })
    }

    /// Lists or annotations of each split; those of a table that has a column for it are in one file.
    fn lists(&self, places: [Option<PathBuf>; 3], format: Format) -> Result<Found, Error> {
        if format == Format::Coco { self.annotations(places) } else { self.tables(places) }
    }

    /// Shards of each split.
    fn shards(&self, encoded: Encoded, place: &Path, format: Format) -> Result<Found, Error> {
        let Encoded { classes, train, validation, test, notices } = encoded;
        let own = Classes { names: classes };
        let set = |shards: Option<Shards>| shards.map(|shards| self.of_shards(shards, &own, place)).transpose();
        let sets = [set(Some(train))?, set(validation)?, set(test)?];
        let classes = self.map.clone().unwrap_or(own);
        Ok(Found { format, classes, sets, notices, label_base: None })
    }

    /// The test set of shards, or what they have in its place.
    fn test_shards(&self, encoded: Encoded, place: &Path, format: Format) -> Result<Found, Error> {
        let Encoded { classes, train, validation, test, notices } = encoded;
        let own = Classes { names: classes };
        let set = self.of_shards(test.or(validation).unwrap_or(train), &own, place)?;
        let classes = self.map.clone().unwrap_or(own);
        Ok(Found { format, classes, sets: [None, None, Some(set)], notices, label_base: None })
    }

    /// The pictures of shards with the numbers that their classes have here: by name where they have names.
    fn of_shards(&self, mut shards: Shards, own: &Classes, place: &Path) -> Result<Set, Error> {
        let (mut labels, mut out) = (std::mem::take(&mut shards.labels), Vec::new());
        let is_named = own.names.iter().enumerate().any(|(class, name)| *name != class.to_string());
        match &self.map {
            Some(map) if is_named => {
                let numbers =
                    map.of(&own.names, place, self.options.extra_classes.unwrap_or_default(), self.whose())?;
                for (index, label) in labels.iter_mut().enumerate() {
                    match numbers.get(*label as usize).copied().flatten() {
                        Some(number) => *label = number,
                        None => out.push(index),
                    }
                }
            }
            Some(map) if map.names.len() < own.names.len() => {
                let what = format!("has {} classes, and {} are known", own.names.len(), map.names.len());
                return Err(Error::file(place, what));
            }
            _ => {}
        }
        let mut samples = Samples::new(Store::Shards(shards), labels);
        samples.leave_out(&out);
        Ok(Set { place: place.to_owned(), samples, passed: Passed::default() })
    }

    /// Where names in a list begin.
    fn root_of(&self, list: &Path) -> PathBuf {
        self.options.data_root.as_ref().map_or_else(|| list.parent().unwrap_or(Path::new("")).to_owned(), PathBuf::from)
    }

    /// Lists of each split.
    fn tables(&self, places: [Option<PathBuf>; 3]) -> Result<Found, Error> {
        let (mut read, mut which) = (Vec::new(), Vec::new());
        for (split, place) in places.into_iter().enumerate() {
            let Some(place) = place else { continue };
            let folder = self.root_of(&place);
            let root = Root { folder: &folder, outside: self.options.allow_outside.unwrap_or_default() };
            read.push(table::read(&place, root)?);
            which.push(split);
        }
        let extra = self.options.extra_classes.unwrap_or_default();
        let numbering = Numbering { map: self.map.as_ref(), base: self.options.label_base, extra };
        let numbered = numbering.number(&read)?;
        let mut notices = numbered.notices;
        let mut sets = [None, None, None];
        for ((list, labels), split) in read.into_iter().zip(numbered.labels).zip(which) {
            notices.extend(list.notices.iter().cloned());
            let root = self.root_of(&list.file);
            if list.splits.is_empty() {
                sets[split] = Some(whole_list(list, &labels, root));
                continue;
            }
            for (part, set) in sets.iter_mut().enumerate() {
                if list.splits.iter().any(|&split| usize::from(split) == part) {
                    *set = Some(of_list(&list, &labels, &root, |index| usize::from(list.splits[index]) == part));
                }
            }
        }
        Ok(Found { format: Format::List, classes: numbered.classes, sets, notices, label_base: numbered.base })
    }

    /// Annotations of each split.
    fn annotations(&self, places: [Option<PathBuf>; 3]) -> Result<Found, Error> {
        let read = |place: Option<PathBuf>| place.map(|place| coco::read(&place)).transpose();
        let [train, validation, test] = places;
        let read: [Option<Annotations>; 3] = [read(train)?, read(validation)?, read(test)?];
        let own = || Classes { names: read[0].as_ref().map(|read| read.classes.clone()).unwrap_or_default() };
        let classes = self.map.clone().unwrap_or_else(own);
        let (mut sets, mut notices) = ([None, None, None], Vec::new());
        for (set, read) in sets.iter_mut().zip(read) {
            let Some(read) = read else { continue };
            let root = self.root_of(&read.file);
            missing(&read, &root, self.options.allow_outside.unwrap_or_default())?;
            // A class that no picture has is no extra one.
            let mut used = vec![false; read.classes.len()];
            read.labels.iter().for_each(|&label| used[label as usize] = true);
            let names: Vec<String> =
                read.classes.iter().zip(&used).filter(|(_, used)| **used).map(|(name, _)| name.clone()).collect();
            let known = classes.of(&names, &read.file, self.options.extra_classes.unwrap_or_default(), self.whose())?;
            let mut known = known.into_iter();
            let numbers: Vec<Option<u32>> =
                used.iter().map(|&used| if used { known.next().flatten() } else { None }).collect();
            let (names, labels) = renumber(&read.names, &read.labels, &numbers);
            let samples = Samples::new(Store::Files { root, names }, labels);
            notices.extend(read.notices);
            *set = Some(Set { place: read.file, samples, passed: Passed::default() });
        }
        Ok(Found { format: Format::Coco, classes, sets, notices, label_base: None })
    }
}

/// What to say about names that are shown alike.
fn empty(tree: &Tree) -> Option<String> {
    let odd = tree.classes.iter().find(|name| std::str::from_utf8(&bytes_of(name)).is_err())?;
    Some(format!("the name of class folder {} is no UTF-8: it is shown with \u{fffd}", odd.to_string_lossy()))
}

/// All pictures of a list that have a class.
fn whole_list(list: List, labels: &[Option<u32>], root: PathBuf) -> Set {
    if labels.iter().any(Option::is_none) {
        return of_list(&list, labels, &root, |_| true);
    }
    let samples = Samples::new(Store::Files { root, names: list.names }, labels.iter().flatten().copied().collect());
    Set { place: list.file, samples, passed: Passed::default() }
}

/// Some pictures of a list.
fn of_list(list: &List, labels: &[Option<u32>], root: &Path, which: impl Fn(usize) -> bool) -> Set {
    let kept = || (0..labels.len()).filter(|&index| labels[index].is_some() && which(index));
    let samples = Samples::new(
        Store::Files { root: root.to_owned(), names: list.names.part(kept()) },
        kept().filter_map(|index| labels[index]).collect(),
    );
    Set { place: list.file.clone(), samples, passed: Passed::default() }
}

/// Refuses annotations whose files are not there, or lie outside of the root.
fn missing(read: &Annotations, root: &Path, outside: bool) -> Result<(), Error> {
    let paths = || (0..read.names.len()).map(|index| read.names.path(index));
    if let Some(path) = paths().find(|path| leads_out(path) && !outside) {
        let what = format!("names a file outside of {}: {}", root.display(), path.display());
        return Err(Error::file(&read.file, what).with_hint("--allow-outside lets it do that"));
    }
    let is_missing = |&index: &usize| !root.join(read.names.path(index)).exists();
    let mut absent = (0..read.names.len()).filter(is_missing);
    let Some(first) = absent.next() else { return Ok(()) };
    let what = format!(
        "names files that are not there: {} of {}, first {}",
        absent.count() + 1,
        read.names.len(),
        String::from_utf8_lossy(read.names.bytes(first))
    );
    let hint = format!("its paths begin at {}: --data-root names another folder", root.display());
    Err(Error::file(&read.file, what).with_hint(hint))
}

/// Bytes of encoded pictures that are held in memory: a quarter of what is available, as far as the system says.
fn memory() -> u64 {
    const USUAL: u64 = 2 << 30;
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map_or(USUAL, |kilobytes| 1024 * kilobytes / 4)
}
