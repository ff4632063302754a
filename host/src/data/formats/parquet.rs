//! Hugging Face's Parquet files: a column of encoded pictures and a column of labels.
//!
//! A picture is the field `bytes` of a struct, or binary itself. All of them are kept in memory as long as they fit into what
//! may be used of it; of more, the pages are noted, and a page is read again for each picture.

mod header;
mod pages;
mod table;

use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::data_type::{ByteArray, ByteArrayType};

use crate::Error;
use crate::data::formats::shards::{Encoded, Files, Label, Labels, Part, Shards, Span, resolve};
use crate::data::found::Found;
use crate::data::{Entry, length_of, listing};
use pages::{Chunk, Place, Refusal};
use table::{Table, refused};

/// The folder of a repository that holds the files.
const DATA: &str = "data";

/// Whether a folder with these entries, its folder `data`, or a sub-folder of a split, holds Parquet files: by the content
/// of the first.
pub(crate) fn present(folder: &Path, entries: &[Entry]) -> bool {
    let first = |entries: &[Entry]| entries.iter().find(|entry| is_named(entry)).map(|entry| entry.name.clone());
    if let Some(name) = first(entries) {
        return is_one(&folder.join(name));
    }
    let is_usual = |entry: &&Entry| entry.is_folder && (entry.name == DATA || Part::of(&entry.name).is_some());
    entries.iter().filter(is_usual).any(|entry| {
        let inner = folder.join(&entry.name);
        listing(&inner).ok().and_then(|entries| first(&entries)).is_some_and(|name| is_one(&inner.join(name)))
    })
}

fn is_named(entry: &Entry) -> bool {
    !entry.is_folder && !entry.name.starts_with('.') && entry.name.to_ascii_lowercase().ends_with(".parquet")
}

/// Whether a file is a Parquet file by its content.
pub(crate) fn is_one(path: &Path) -> bool {
    Found::at(path) == Some(Found::Data("a Parquet file"))
}

/// Reads a folder of files, the copy of a repository, or one file. Up to `memory` bytes of pictures are kept.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read, [`Error::File`] when it is damaged, is compressed in a way that is not read,
/// lacks a column, or has a row without a picture or a label.
pub(crate) fn index(path: &Path, memory: u64) -> Result<Encoded, Error> {
    index_files(path, find(path)?, memory)
}

/// The files that a path names.
pub(crate) fn find(path: &Path) -> Result<Files, Error> {
    if path.is_dir() {
        return Files::find(path, ".parquet", &[DATA]);
    }
    length_of(path)?;
    Ok(Files::of(&[path.to_owned()]))
}

/// Reads these files; `source` is what messages call them together.
pub(crate) fn index_files(source: &Path, files: Files, memory: u64) -> Result<Encoded, Error> {
    let mut splits = Vec::new();
    let (mut left, mut names) = (memory, None);
    for (part, files) in files.parts() {
        let mut split = Split::new(left);
        for file in files {
            let table = Table::open(file)?;
            if part == Part::Train && names.is_none() {
                names.clone_from(&table.names);
            }
            split.add(table)?;
        }
        if split.shards.spans.is_empty() {
            return Err(Error::file(&files[0], "holds no row"));
        }
        let (shards, labels) = split.finish();
        left -= shards.packed.as_ref().map_or(0, |packed| packed.len() as u64);
        splits.push((part, shards, labels));
    }
    resolve(source, splits, names, files.notice.into_iter().collect())
}

/// What a split is made of so far.
struct Split {
    shards: Shards,
    labels: Labels,
    packed: Vec<u8>,
    /// Bytes that may be kept.
    memory: u64,
    paged: Paged,
}

impl Split {
    fn new(memory: u64) -> Self {
        let (shards, labels) = Default::default();
        Self { shards, labels, packed: Vec::new(), memory, paged: Paged::default() }
    }

    /// Adds the rows of a file.
    fn add(&mut self, table: Table) -> Result<(), Error> {
        let file = self.shards.add_file(&table.path);
        let first = self.shards.spans.len();
        for group in 0..table.groups() {
            let start = self.shards.spans.len();
            self.paged.chunks.push((file, table.pictures(group)?));
            table.each_page(group, |place, values| {
                let before = self.shards.spans.len();
                self.paged.add(before, place);
                values.each::<ByteArrayType>(|picture| self.push(file, picture))?;
                Ok(self.shards.spans.len() - before)
            })?;
            let row = |index: usize| index - first;
            if let Some(at) = (start..self.shards.spans.len()).find(|&at| self.shards.spans[at].length == 0) {
                return Err(lacking(&table, group, row(at), at - start));
            }
            for (at, label) in (start..).zip(table.labels(group)?) {
                let label = named(label, table.names.as_deref());
                label
                    .and_then(|label| self.labels.push(label))
                    .map_err(|what| Error::file(&table.path, format!("row {} {what}", row(at))))?;
            }
        }
        Ok(())
    }

    /// Adds a picture; nothing for one that is not there.
    fn push(&mut self, file: u32, picture: Option<&ByteArray>) -> Result<(), Refusal> {
        let bytes = picture.map_or(&[][..], ByteArray::data);
        let length = u32::try_from(bytes.len()).map_err(|_| Refusal::Damaged)?;
        let is_kept = self.paged.is_used(self.packed.len() as u64 + u64::from(length), self.memory);
        if is_kept {
            self.shards.spans.push(Span { file, offset: self.packed.len() as u64, length });
            self.packed.extend_from_slice(bytes);
        } else {
            self.packed = Vec::new();
            self.shards.spans.push(Span { file, offset: 0, length });
        }
        Ok(())
    }

    fn finish(mut self) -> (Shards, Labels) {
        if self.paged.is_needed {
            self.paged.files.clone_from(&self.shards.files);
            self.shards.spans.iter_mut().for_each(|span| span.offset = 0);
            self.shards.paged = Some(self.paged);
        } else {
            self.shards.packed = Some(self.packed);
        }
        (self.shards, self.labels)
    }
}

/// A row's label, by name where its number has one, or what is wrong with it.
fn named(label: Option<Label>, names: Option<&[String]>) -> Result<Label, String> {
    match (label, names) {
        (None, _) => Err("has no label".into()),
        (Some(Label::Index(index)), Some(names)) if index >= 0 => {
            let name = usize::try_from(index).ok().and_then(|index| names.get(index));
            let unknown = || format!("has label {index}, but the file names {} classes", names.len());
            name.cloned().map(Label::Name).ok_or_else(unknown)
        }
        (Some(label), _) => Ok(label),
    }
}

/// Why a row has no picture.
fn lacking(table: &Table, group: usize, row: usize, in_group: usize) -> Error {
    match table.named(group, in_group) {
        Some(name) => {
            Error::file(&table.path, format!("row {row} names the file {name} and does not hold the picture"))
                .with_hint(
                    "Hugging Face's datasets writes pictures into the file with push_to_hub(embed_external_files=True)",
                )
        }
        None => Error::file(&table.path, format!("row {row} has no picture")),
    }
}

/// Pictures in the pages of files, read again whenever one is wanted.
#[derive(Debug, Default)]
pub(crate) struct Paged {
    files: Vec<PathBuf>,
    /// The pictures of each row group, with the index of its file.
    chunks: Vec<(u32, Chunk)>,
    /// The first sample of each page, the index of its row group, and where it is.
    pages: Vec<(usize, usize, Place)>,
    is_needed: bool,
}

/// The page that was read last: one for each thread.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    file: Option<(u32, File)>,
    page: Option<usize>,
    pictures: Vec<ByteArray>,
}

impl Paged {
    fn add(&mut self, first: usize, place: Place) {
        self.pages.push((first, self.chunks.len() - 1, place));
    }

    /// Whether so many bytes of pictures are kept still; once they are not, they never are.
    fn is_used(&mut self, bytes: u64, memory: u64) -> bool {
        self.is_needed |= bytes > memory;
        !self.is_needed
    }

    /// The encoded picture of a sample.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::File`] when it is not as it was.
    pub(crate) fn picture<'c>(&self, index: usize, cache: &'c mut Cache) -> Result<&'c [u8], Error> {
        let page = self.pages.partition_point(|(first, ..)| *first <= index).saturating_sub(1);
        let &(first, chunk, place) = self.pages.get(page).ok_or_else(|| Error::file("", "has no sample"))?;
        let (file, chunk) = &self.chunks[chunk];
        let path = &self.files[*file as usize];
        if cache.page != Some(page) {
            cache.page = None;
            if cache.file.as_ref().is_none_or(|(open, _)| open != file) {
                cache.file = Some((*file, File::open(path).map_err(|source| Error::io(path, source))?));
            }
            cache.pictures.clear();
            if let Some((_, open)) = &cache.file {
                let push = |picture: Option<&ByteArray>| {
                    cache.pictures.push(picture.cloned().ok_or(Refusal::Damaged)?);
                    Ok(())
                };
                let read = chunk.at(open, place).and_then(|values| values.each::<ByteArrayType>(push));
                read.map_err(|refusal| refused(path, refusal))?;
            }
            cache.page = Some(page);
        }
        let picture = cache.pictures.get(index - first).ok_or_else(|| refused(path, Refusal::Damaged))?;
        Ok(picture.data())
    }
}
