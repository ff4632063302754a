//! Lists of files with labels: `path label` in each line, or a table with columns (CSV, TSV).

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};
use sse_sam_core::Row;

use crate::Error;
use crate::data::pictures::folder::{is_picture, split_of};
use crate::data::pictures::names::{Names, path_of};

/// The lines of a list, a picture each.
#[derive(Debug, Default)]
pub struct List {
    /// The file.
    pub file: PathBuf,
    /// Names as they stand there, below the root.
    pub names: Names,
    /// What stands for the class of each.
    pub labels: Labels,
    /// The line of each picture, from 1.
    pub lines: Vec<u32>,
    /// The split of each, where the table has a column for it: 0 train, 1 validation, 2 test.
    pub splits: Vec<u8>,
    /// What is odd about it.
    pub notices: Vec<String>,
}

/// What stands for classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Numbers.
    Numbers(Vec<u32>),
    /// Names.
    Names(Vec<Box<str>>),
}

impl Default for Labels {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

/// Where names of a list begin, and how far they may lead.
#[derive(Clone, Copy, Debug)]
pub struct Root<'a> {
    /// The folder that they are relative to.
    pub folder: &'a Path,
    /// Whether `..` may lead out of it.
    pub outside: bool,
}

/// Reads a list: a table where its first line has a separator of columns and no picture's name before it, else lines of a path and a
/// label.
///
/// # Errors
/// [`Error::Io`] when it cannot be read; [`Error::File`] for a line without a label, a label that is no class, a name that leads out
/// of the root, and files that are missing: with the line.
pub fn read(file: &Path, root: Root<'_>) -> Result<List, Error> {
    let bytes = fs::read(file).map_err(|source| Error::io(file, source))?;
    let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let rows = match separator(file, content) {
        Some(separator) => columns(file, content, separator, Some(root))?,
        None => lines(file, content, root)?,
    };
    drop(bytes);
    if rows.lines.is_empty() {
        return Err(Error::file(file, "names no picture").with_hint("a line of it is a path and a label"));
    }
    finish(file, rows, root)
}

/// Whether a file is called as lists and tables are.
pub fn is_list(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["txt", "lst", "csv", "tsv"].iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// The files that a list names, a line each, below the root or its folder: what stands behind a path that is no file without it, such as a
/// label, is left out.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::File`] when it names nothing.
pub fn names(file: &Path, root: Option<&Path>) -> Result<Vec<PathBuf>, Error> {
    let bytes = fs::read(file).map_err(|source| Error::io(file, source))?;
    let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let folder = root.unwrap_or_else(|| file.parent().unwrap_or(Path::new("")));
    let rows = match separator(file, content) {
        Some(separator) => {
            let names = columns(file, content, separator, None)?.names;
            (0..names.len()).map(|index| folder.join(names.path(index))).collect()
        }
        None => {
            let lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            let path = |line: &[u8]| {
                let whole = folder.join(path_of(line));
                let blank = line.iter().rposition(|&byte| byte == b' ' || byte == b'\t').filter(|_| !whole.exists());
                blank.map_or(whole, |at| folder.join(path_of(line[..at].trim_ascii_end())))
            };
            lines.map(path).collect::<Vec<_>>()
        }
    };
    if rows.is_empty() { Err(Error::file(file, "names no picture")) } else { Ok(rows) }
}

/// Lines as they are read: names go straight into one piece of memory.
#[derive(Default)]
struct Rows {
    names: Names,
    lines: Vec<u32>,
    labels: Names,
    splits: Vec<u8>,
    has_splits: bool,
    notices: Vec<String>,
}

impl Rows {
    fn push(&mut self, line: u32, name: &[u8], label: &[u8], split: u8) {
        self.names.push_bytes(name);
        self.lines.push(line);
        self.labels.push_bytes(label);
        self.splits.push(split);
    }
}

fn wrong(file: &Path, line: u32, what: impl std::fmt::Display) -> Error {
    Error::file(file, format!("line {line} {what}"))
}

/// The separator of a table's columns: none of a list of paths and labels.
fn separator(file: &Path, content: &[u8]) -> Option<u8> {
    let first = content.split(|&byte| byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    let count = |separator| first.iter().filter(|&&byte| byte == separator).count();
    let ending = file.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "csv" => [b',', b';', b'\t'].into_iter().max_by_key(|&separator| (count(separator), separator == b',')),
        "tsv" => Some(b'\t'),
        _ => [b',', b';']
            .into_iter()
            .find(|&separator| count(separator) > 0 && !first.iter().any(|&byte| byte == b' ' || byte == b'\t')),
    }
}

/// Lines of a path and a label behind the last blank.
fn lines(file: &Path, content: &[u8], root: Root<'_>) -> Result<Rows, Error> {
    let (mut rows, mut comments) = (Rows::default(), 0);
    for (number, line) in (1..).zip(content.split(|&byte| byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let blank = line.iter().rposition(|&byte| byte == b' ' || byte == b'\t');
        let (name, label) = blank.map_or((line, &b""[..]), |at| (line[..at].trim_ascii_end(), line[at..].trim_ascii()));
        if line.starts_with(b"#") && !root.folder.join(path_of(name)).exists() {
            comments += 1;
            continue;
        }
        if label.is_empty() {
            return Err(wrong(file, number, "has no label").with_hint("a line is a path, a blank and a label"));
        }
        rows.push(number, &within(file, number, name, root)?, label, 0);
    }
    if comments > 0 {
        rows.notices.push(format!("{}: {comments} lines that begin with # were left out", file.display()));
    }
    Ok(rows)
}

/// What columns are called.
const NAMES: [&str; 12] = [
    "file_name",
    "filename",
    "file",
    "path",
    "filepath",
    "file_path",
    "image",
    "img",
    "image_path",
    "img_path",
    "image_id",
    "name",
];
const LABELS: [&str; 10] = [
    "label",
    "labels",
    "class",
    "class_name",
    "classname",
    "category",
    "category_id",
    "target",
    "species",
    "fine_label",
];
const SPLITS: [&str; 4] = ["split", "set", "subset", "partition"];

/// Which columns count.
struct Columns {
    name: usize,
    label: Option<usize>,
    split: Option<usize>,
}

/// A table: with a header whose columns are known by their names, or of a path and a label.
fn columns(file: &Path, content: &[u8], separator: u8, root: Option<Root<'_>>) -> Result<Rows, Error> {
    let mut reader = ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(content);
    let (mut record, mut rows, mut known) = (ByteRecord::new(), Rows::default(), None);
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(rows),
            Ok(true) => {}
            Err(error) => return Err(Error::file(file, format!("is no table: {error}"))),
        }
        let number = record.position().map_or(0, |position| position.line() as u32);
        if record.iter().all(|field| field.trim_ascii().is_empty()) {
            continue;
        }
        let columns = match &known {
            Some(columns) => columns,
            None => {
                let (columns, is_header) = head(file, &record, root.is_some())?;
                rows.has_splits = columns.split.is_some();
                let columns = known.insert(columns);
                if is_header {
                    continue;
                }
                columns
            }
        };
        let field = |column: usize| record.get(column).map(<[u8]>::trim_ascii).filter(|field| !field.is_empty());
        let name = field(columns.name).ok_or_else(|| wrong(file, number, "names no file"))?;
        let label = match columns.label.map(field) {
            Some(label) => label.ok_or_else(|| wrong(file, number, "has no label"))?,
            None => b"",
        };
        let split = columns.split.map(|column| {
            let name = String::from_utf8_lossy(field(column).unwrap_or_default()).into_owned();
            split_of(&name).ok_or_else(|| {
                wrong(file, number, format!("has the split {name:?}")).with_hint("splits are train, val and test")
            })
        });
        let split = split.transpose()?.unwrap_or(0) as u8;
        let name = root.map_or_else(|| Ok(name.to_vec()), |root| within(file, number, name, root))?;
        rows.push(number, &name, label, split);
    }
}

/// The columns by a table's first line, and whether that is a header.
fn head(file: &Path, record: &ByteRecord, labelled: bool) -> Result<(Columns, bool), Error> {
    let fields: Vec<String> =
        record.iter().map(|field| String::from_utf8_lossy(field.trim_ascii()).to_ascii_lowercase()).collect();
    let of = |names: &[&str]| names.iter().find_map(|name| fields.iter().position(|field| field == name));
    if let (Some(name), Some(label)) = (of(&NAMES), of(&LABELS)) {
        return Ok((Columns { name, label: Some(label), split: of(&SPLITS) }, true));
    }
    if let (Some(name), false) = (of(&NAMES), labelled) {
        return Ok((Columns { name, label: None, split: None }, true));
    }
    let has_picture = fields.first().is_some_and(|field| is_picture(Path::new(field)));
    if has_picture && (fields.len() == 2 || !labelled) {
        return Ok((Columns { name: 0, label: labelled.then_some(1), split: None }, false));
    }
    let what = if has_picture {
        format!("has {} columns and no header that says which is the label", fields.len())
    } else {
        format!("has the columns {}: which is the path and which the label is not clear", fields.join(", "))
    };
    Err(Error::file(file, what).with_hint("its first line should name them, such as file_name,label"))
}

/// Labels as numbers or as names, and files that are there.
fn finish(file: &Path, mut rows: Rows, root: Root<'_>) -> Result<List, Error> {
    let labels = labels(file, &rows)?;
    rows.labels = Names::default();
    let (mut seen, mut repeated, mut missing) = (HashSet::with_capacity(rows.lines.len()), 0_usize, 0_usize);
    let mut first = None;
    for (index, &line) in rows.lines.iter().enumerate() {
        let name = rows.names.bytes(index);
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        repeated += usize::from(!seen.insert(hasher.finish()));
        if !root.folder.join(path_of(name)).exists() {
            missing += 1;
            first.get_or_insert_with(|| (line, String::from_utf8_lossy(name).into_owned()));
        }
    }
    if let Some((line, name)) = first {
        let all = rows.lines.len();
        let what = format!("names files that are not there: {missing} of {all}, first in line {line}: {name}");
        let hint = format!("its paths begin at {}: --data-root names another folder", root.folder.display());
        return Err(Error::file(file, what).with_hint(hint));
    }
    if repeated > 0 {
        rows.notices.push(format!(
            "{}: {} an earlier one has",
            file.display(),
            match repeated {
                1 => "a line names a file that".to_owned(),
                many => format!("{many} lines name files that"),
            }
        ));
    }
    Ok(List {
        file: file.to_owned(),
        names: rows.names,
        labels,
        lines: rows.lines,
        splits: if rows.has_splits { rows.splits } else { Vec::new() },
        notices: rows.notices,
    })
}

/// A name without `./`, with `/` for `\` where only that is a file, and not out of the root.
fn within(file: &Path, line: u32, name: &[u8], root: Root<'_>) -> Result<Vec<u8>, Error> {
    let mut name = name.to_vec();
    if name.contains(&b'\\') && !root.folder.join(path_of(&name)).exists() {
        name.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest.to_vec();
    }
    let path = PathBuf::from(path_of(&name));
    if leads_out(&path) && !root.outside {
        return Err(wrong(file, line, format!("leads out of {}: {}", root.folder.display(), path.display()))
            .with_hint("--allow-outside lets lists do that"));
    }
    Ok(name)
}

/// Whether a path leads out of the folder that it begins at.
pub fn leads_out(path: &Path) -> bool {
    let mut depth = 0_i64;
    path.components().any(|component| {
        match component {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
        depth < 0
    })
}

/// All labels as numbers, or all as names.
fn labels(file: &Path, rows: &Rows) -> Result<Labels, Error> {
    let label = |index: usize| String::from_utf8_lossy(rows.labels.bytes(index));
    let lines = || rows.lines.iter().enumerate().map(|(index, line)| (line, label(index)));
    if !lines().any(|(_, label)| label.parse::<i128>().is_ok()) {
        if let Some((line, label)) = lines().find(|(_, label)| label.parse::<f64>().is_ok()) {
            return Err(wrong(file, *line, format!("has the label {label}, which is no whole number")));
        }
        return Ok(Labels::Names(lines().map(|(_, label)| label.into()).collect()));
    }
    let number = |(&line, label): (&u32, Cow<'_, str>)| match label.parse::<i128>() {
        Ok(label) if (0..Row::CLASSES as i128).contains(&label) => Ok(label as u32),
        Ok(-1) => Err(wrong(file, line, "has the label -1, which means none")),
        Ok(label) => Err(wrong(file, line, format!("has the label {label}; they are in 0..{}", Row::CLASSES))),
        Err(_) => Err(wrong(file, line, format!("has the label {label}, where others have numbers"))
            .with_hint("a line is a path, a blank and a label")),
    };
    lines().map(number).collect::<Result<_, _>>().map(Labels::Numbers)
}
