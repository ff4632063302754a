//! Tar shards as WebDataset has them: files of the same name up to its first dot are one sample.
//!
//! A picture is a .jpg, .jpeg, .png or .webp file, its label a .cls file (a number, or a class's name) or the field `label`,
//! `cls` or `class` of a .json file. Names of classes may stand in a `classnames.txt` beside the shards, one a line. One
//! pass over the headers of each shard finds where the pictures are; they are read later, by position.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::data::formats::shards::{Encoded, Files, Label, Labels, Part, Shards, Span, resolve};
use crate::data::{Entry, length_of, listing, name_of};

/// Ends of pictures' names, behind the first dot.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Bytes of a text that is read as a label: a number, a name, or what a crawler found out about a picture.
const LONGEST_LABEL: u64 = 1 << 20;

/// Members that are looked at to tell what a tar file is.
const FIRST: usize = 64;

/// The names of classes.
const NAMES: &str = "classnames.txt";
/// Bytes of such a file, at most.
const LONGEST_NAMES: u64 = 16 << 20;

/// Whether a folder with these entries, or a sub-folder of a split, holds shards: by the content of its first tar file.
pub(crate) fn present(folder: &Path, entries: &[Entry]) -> bool {
    let first = |entries: &[Entry]| entries.iter().find(|entry| is_tar(entry)).map(|entry| entry.name.clone());
    if let Some(name) = first(entries) {
        return is_shard(&folder.join(name));
    }
    entries.iter().filter(|entry| entry.is_folder && Part::of(&entry.name).is_some()).any(|entry| {
        let inner = folder.join(&entry.name);
        listing(&inner).ok().and_then(|entries| first(&entries)).is_some_and(|name| is_shard(&inner.join(name)))
    })
}

fn is_tar(entry: &Entry) -> bool {
    !entry.is_folder && !entry.name.starts_with('.') && entry.name.to_ascii_lowercase().ends_with(".tar")
}

/// Whether a path names several shards, as `NAME-{000000..000146}.tar` does.
pub(crate) fn is_pattern(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.contains('{') && name.to_ascii_lowercase().ends_with(".tar") && !path.exists()
}

/// Whether a file is a tar archive with a picture that has a label among its first members.
pub(crate) fn is_shard(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut archive = tar::Archive::new(BufReader::new(file));
    let Ok(members) = archive.entries_with_seek() else { return false };
    let names = members.take(FIRST).map_while(Result::ok);
    let names: Vec<String> = names.map(|member| String::from_utf8_lossy(&member.path_bytes()).into_owned()).collect();
    let is_label = |ending: &str| matches!(ending, "cls" | "json");
    let keys = |is: &dyn Fn(&str) -> bool| {
        let key = |name: &String| parts(name).filter(|(_, ending)| is(ending)).map(|(key, _)| key.to_owned());
        names.iter().filter_map(key).collect::<Vec<_>>()
    };
    let labelled = keys(&is_label);
    keys(&|ending| PICTURES.contains(&ending)).iter().any(|key| labelled.contains(key))
}

/// Where the pictures of a folder of shards are, of one shard, or of `NAME-{000000..000146}.tar`.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read, [`Error::File`] when a shard is missing, damaged or compressed, or a sample
/// has no label, two pictures, or a class that the training set does not have.
pub(crate) fn index(path: &Path) -> Result<Encoded, Error> {
    index_files(path, find(path)?)
}

/// The shards that a path names.
pub(crate) fn find(path: &Path) -> Result<Files, Error> {
    if path.is_dir() {
        return Files::find(path, ".tar", &[]);
    }
    let files = expand(path)?;
    for file in &files {
        length_of(file)?;
    }
    Ok(Files::of(&files))
}

/// Where the pictures of these shards are; `source` is what messages call them together.
pub(crate) fn index_files(source: &Path, files: Files) -> Result<Encoded, Error> {
    let mut splits = Vec::new();
    let mut notices: Vec<String> = files.notice.iter().cloned().collect();
    for (part, files) in files.parts() {
        let (mut split, mut lone) = (Split::default(), Lone::default());
        for file in files {
            split.add(file, &mut lone)?;
        }
        notices.extend(lone.notices());
        if split.shards.spans.is_empty() {
            return Err(Error::file(&files[0], "holds no picture (.jpg, .jpeg, .png or .webp)"));
        }
        splits.push((part, split.shards, split.labels));
    }
    let folder = if source.is_dir() { Some(source) } else { source.parent() };
    resolve(source, splits, folder.map(class_names).transpose()?.flatten(), notices)
}

/// The names in a folder's `classnames.txt`.
fn class_names(folder: &Path) -> Result<Option<Vec<String>>, Error> {
    let path = folder.join(NAMES);
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    let opened = File::open(&path).map_err(|source| Error::io(&path, source))?;
    let read = opened.take(LONGEST_NAMES).read_to_string(&mut text);
    read.map_err(|_| Error::file(&path, "is no text in UTF-8 with a class's name a line"))?;
    let names: Vec<String> = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(Into::into)
        .collect();
    Ok((!names.is_empty()).then_some(names))
}

/// A path with `{000..123}` as the paths that it stands for; any other path as itself.
fn expand(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let text = path.to_string_lossy();
    let braces = text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (range, after))) = braces.filter(|_| fs::metadata(path).is_err()) else {
        return Ok(vec![path.to_owned()]);
    };
    let wrong = || Error::file(path, format!("{{{range}}} is no range of numbers, such as {{000000..000146}}"));
    let (first, last) = range.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    let (from, to, width) = (number(first)?, number(last)?, first.len());
    if from > to {
        return Err(wrong());
    }
    Ok((from..=to).map(|number| PathBuf::from(format!("{before}{number:0width$}{after}"))).collect())
}

/// What a split is made of so far.
#[derive(Default)]
struct Split {
    shards: Shards,
    labels: Labels,
}

/// A sample of which not all was seen yet.
#[derive(Default)]
struct Sample {
    /// The picture's name and where it is.
    picture: Option<(String, u64, u32)>,
    cls: Option<Label>,
    /// Or why the text has none.
    json: Option<Result<Label, String>>,
}

/// Samples that are left out, and shards that may lack some.
#[derive(Default)]
struct Lone {
    count: usize,
    first: String,
    open: Option<PathBuf>,
}

impl Lone {
    fn notices(self) -> impl Iterator<Item = String> {
        let count = (self.count > 0).then(|| format!("{} has no picture, as {} in all", self.first, self.count));
        let open = self.open.map(|path| format!("{} has no end mark: it may be cut off", path.display()));
        count.into_iter().chain(open)
    }
}

impl Split {
    /// Adds the samples of a shard, in order of their first members.
    fn add(&mut self, path: &Path, lone: &mut Lone) -> Result<(), Error> {
        let file = self.shards.add_file(path);
        let mut samples: Vec<Sample> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        each_member(path, lone, |name, span, content| {
            let Some((key, ending)) = parts(name) else { return Ok(()) };
            let index = *known.entry(key.to_owned()).or_insert_with(|| {
                samples.push(Sample::default());
                samples.len() - 1
            });
            samples[index].add(&ending, name, span, content).map_err(|what| Error::file(place(path, name), what))
        })?;
        let lacks = |index: usize| samples[index].picture.is_none() && samples[index].has_label();
        for (key, _) in known.iter().filter(|(_, index)| lacks(**index)) {
            lone.count += 1;
            if lone.count == 1 {
                lone.first = format!("{}: {key}", path.display());
            }
        }
        samples.into_iter().try_for_each(|sample| self.push(path, file, sample))
    }

    fn push(&mut self, path: &Path, file: u32, sample: Sample) -> Result<(), Error> {
        let Some((name, offset, length)) = sample.picture else { return Ok(()) };
        let refuse = |what: String| {
            let hint = "a sample's label is KEY.cls, or the field label, cls or class of KEY.json";
            Error::file(place(path, &name), what).with_hint(hint)
        };
        let label = sample.cls.map(Ok).or(sample.json).unwrap_or_else(|| Err("has no label".into()));
        self.labels.push(label.map_err(refuse)?).map_err(refuse)?;
        self.shards.members.push(&name);
        self.shards.spans.push(Span { file, offset, length });
        Ok(())
    }
}

impl Sample {
    const fn has_label(&self) -> bool {
        self.cls.is_some() || self.json.is_some()
    }

    /// Takes a member of a sample, or says what is wrong with it.
    fn add(
        &mut self,
        ending: &str,
        name: &str,
        (at, length): (u64, u64),
        content: &mut dyn Read,
    ) -> Result<(), String> {
        if PICTURES.contains(&ending) {
            let length = u32::try_from(length).map_err(|_| "has more than 4 GiB, which no picture has")?;
            return match self.picture.replace((name.to_owned(), at, length)) {
                Some((other, ..)) => Err(format!("is a second picture of a sample that has {other}")),
                None => Ok(()),
            };
        }
        if !matches!(ending, "cls" | "json") {
            return Ok(());
        }
        let mut text = String::new();
        let read = content.take(LONGEST_LABEL).read_to_string(&mut text);
        if ending == "json" {
            self.json = Some(read.map_err(|error| error.to_string()).and_then(|_| of_json(&text)));
            return Ok(());
        }
        read.map_err(|_| "is no text")?;
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty".into());
        }
        self.cls = Some(text.parse().map_or_else(|_| Label::Name(text.into()), Label::Index));
        Ok(())
    }
}

/// The label in a JSON text.
fn of_json(text: &str) -> Result<Label, String> {
    #[derive(serde::Deserialize)]
    struct Fields {
        label: Option<serde_json::Value>,
        cls: Option<serde_json::Value>,
        class: Option<serde_json::Value>,
    }
    let fields: Fields = serde_json::from_str(text).map_err(|_| "has no label in its .json, which is damaged")?;
    match fields.label.or(fields.cls).or(fields.class) {
        Some(serde_json::Value::String(name)) => Ok(Label::Name(name)),
        Some(serde_json::Value::Number(number)) if number.is_i64() => Ok(Label::Index(number.as_i64().unwrap_or(-1))),
        Some(other) => Err(format!("has label {other} in its .json, neither a class's number nor its name")),
        None => Err("has no label".into()),
    }
}

/// Key and ending (in small letters) of a member: parted at the first dot of the file's name. None of hidden files.
fn parts(name: &str) -> Option<(&str, String)> {
    let file = name.rsplit_once('/').map_or(0, |(folder, _)| folder.len() + 1);
    let dot = name[file..].find('.').filter(|&dot| dot > 0)?;
    let (key, ending) = name.split_at(file + dot);
    (!name.starts_with("__MACOSX/")).then(|| (key, ending[1..].to_ascii_lowercase()))
}

fn place(shard: &Path, member: &str) -> PathBuf {
    PathBuf::from(format!("{}: {member}", shard.display()))
}

/// Calls `read` with name, first byte, length and content of every file in a shard.
fn each_member(
    path: &Path,
    lone: &mut Lone,
    mut read: impl FnMut(&str, (u64, u64), &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    let damaged = |at: u64| {
        Error::file(path, format!("is damaged or cut off behind byte {at}"))
            .at(at)
            .with_hint("copy or download it again")
    };
    let length = length_of(path)?;
    let mut file = File::open(path).map_err(|source| Error::io(path, source))?;
    refuse_compressed(path, &mut file)?;
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut end = 0;
    for member in archive.entries_with_seek().map_err(|_| damaged(0))? {
        let mut member = member.map_err(|_| damaged(end))?;
        let (at, size) = (member.raw_file_position(), member.size());
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        if at.checked_add(size).is_none_or(|end| end > length) {
            return Err(Error::file(place(path, &name), format!("ends behind the shard, which has {length} bytes"))
                .with_hint("the shard is cut off; copy or download it again"));
        }
        end = (at + size).next_multiple_of(512);
        if member.header().entry_type().is_file() {
            read(&name, (at, size), &mut member)?;
        }
    }
    if end >= length && lone.open.is_none() {
        lone.open = Some(path.to_owned());
    }
    Ok(())
}

fn refuse_compressed(path: &Path, file: &mut File) -> Result<(), Error> {
    let mut head = [0; 4];
    let what = match file.read(&mut head).map(|_| head) {
        Ok([0x1f, 0x8b, ..]) => "gzip",
        Ok([0x28, 0xb5, 0x2f, 0xfd]) => "zstd",
        Ok(_) => return Ok(()),
        Err(source) => return Err(Error::io(path, source)),
    };
    Err(Error::file(path, format!("is compressed by {what}; pictures are read by their position in a shard"))
        .with_hint(format!("{} has to be decompressed; pictures do not get smaller by it anyway", name_of(path))))
}
