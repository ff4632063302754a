//! Encoded pictures: where their bytes lie, and the class of each.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::data::formats::parquet::Cache;
use crate::data::formats::shards::{Shards, Span};
use crate::data::pictures::names::{Names, bytes_of};

/// The encoded pictures of a split in a fixed order.
#[derive(Debug)]
pub struct Samples {
    /// Where they lie.
    store: Store,
    /// The class of each.
    labels: Vec<u32>,
    /// Which pictures of the store they are, where some were left out.
    kept: Option<Vec<u32>>,
    /// A checksum of the lengths of their files, once they were looked at.
    lengths: u32,
    /// Pages of Parquet that no thread uses at the moment.
    caches: Mutex<Vec<Cache>>,
}

/// Where encoded pictures lie.
#[derive(Debug)]
pub(crate) enum Store {
    /// A file each.
    Files {
        /// What names that are no absolute paths begin at.
        root: PathBuf,
        /// The files.
        names: Names,
    },
    /// Stretches of larger files, or of memory.
    Shards(Shards),
}

impl Samples {
    /// The pictures of a store with a class each.
    pub(crate) fn new(store: Store, labels: Vec<u32>) -> Self {
        Self { store, labels, kept: None, lengths: 0, caches: Mutex::default() }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class of each sample.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Which picture of the store sample `index` is.
    fn stored(&self, index: usize) -> usize {
        self.kept.as_ref().and_then(|kept| kept.get(index)).map_or(index, |&stored| stored as usize)
    }

    /// The file of sample `index`, where it has one of its own; else the one that it is a part of.
    pub fn file(&self, index: usize) -> PathBuf {
        let stored = self.stored(index);
        match &self.store {
            Store::Files { root, names } => root.join(names.path(stored)),
            Store::Shards(shards) => {
                let file = shards.spans.get(stored).and_then(|span| shards.files.get(span.file as usize));
                file.cloned().unwrap_or_default()
            }
        }
    }

    /// The place of sample `index`, for messages.
    pub fn place(&self, index: usize) -> String {
        match &self.store {
            Store::Files { .. } => self.file(index).display().to_string(),
            Store::Shards(shards) => shards.name(self.stored(index)),
        }
    }

    /// Puts the encoded bytes of sample `index` into `to`.
    ///
    /// # Errors
    /// What the system says of its file, and one that is too short.
    pub fn read(&self, index: usize, to: &mut Vec<u8>) -> Result<(), Error> {
        to.clear();
        let count = self.open(index)?.read_to_end(to).map_err(|source| Error::io(self.file(index), source))?;
        match self.length(index) {
            Some(length) if length != count as u64 => {
                Err(Error::file(self.file(index), "is shorter than it was when it was looked at"))
            }
            _ => Ok(()),
        }
    }

    /// The encoded bytes of sample `index` as a stream.
    ///
    /// # Errors
    /// What the system says of its file.
    pub fn open(&self, index: usize) -> Result<Box<dyn Encoded + '_>, Error> {
        /// Enough for most headers.
        const BUFFER: usize = 1 << 12;
        let open = || {
            let path = self.file(index);
            // Opening a pipe would wait for somebody to write.
            if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
                return Err(Error::file(path, "is no file"));
            }
            File::open(&path).map_err(|source| Error::io(path, source))
        };
        let Store::Shards(shards) = &self.store else {
            return Ok(Box::new(BufReader::with_capacity(BUFFER, open()?)));
        };
        let Span { offset, length, .. } = self.span(index);
        if let Some(paged) = &shards.paged {
            let caches = || self.caches.lock().unwrap_or_else(PoisonError::into_inner);
            let mut cache = caches().pop().unwrap_or_default();
            let picture = paged.picture(self.stored(index), &mut cache).map(<[u8]>::to_vec);
            caches().push(cache);
            return Ok(Box::new(Cursor::new(picture?)));
        }
        Ok(match &shards.packed {
            Some(bytes) => {
                let start = offset as usize;
                Box::new(Cursor::new(bytes.get(start..start.saturating_add(length as usize)).unwrap_or_default()))
            }
            None => Box::new(BufReader::with_capacity(BUFFER, Part { file: open()?, start: offset, length, at: 0 })),
        })
    }

    /// The stretch of sample `index`; an empty one of a file of its own.
    fn span(&self, index: usize) -> Span {
        let nothing = Span { file: 0, offset: 0, length: 0 };
        match &self.store {
            Store::Files { .. } => nothing,
            Store::Shards(shards) => shards.spans.get(self.stored(index)).copied().unwrap_or(nothing),
        }
    }

    /// Encoded bytes of sample `index`, unless it has a file of its own, whose length only the system knows.
    fn length(&self, index: usize) -> Option<u64> {
        matches!(self.store, Store::Shards(_)).then(|| self.span(index).length.into())
    }

    /// Leaves out the samples at these indices, which are in ascending order.
    pub fn leave_out(&mut self, out: &[usize]) {
        if out.is_empty() {
            return;
        }
        let rest: Vec<usize> = (0..self.len()).filter(|index| out.binary_search(index).is_err()).collect();
        let kept = rest.iter().map(|&index| self.stored(index) as u32).collect();
        self.labels = rest.iter().map(|&index| self.labels[index]).collect();
        self.kept = Some(kept);
    }

    /// Notes how long the files of the samples are.
    pub fn set_lengths(&mut self, lengths: impl Iterator<Item = u64>) {
        let mut crc = crc32fast::Hasher::new();
        lengths.for_each(|length| crc.update(&length.to_le_bytes()));
        self.lengths = crc.finalize();
    }

    /// A checksum of the lengths of their files.
    pub fn lengths(&self) -> u32 {
        self.lengths
    }

    /// Adds what tells sample `index` from others: its name without the folder that all lie in, length and class.
    pub fn identity(&self, index: usize, to: &mut Vec<u8>) {
        match &self.store {
            Store::Files { names, .. } => to.extend_from_slice(names.bytes(self.stored(index))),
            Store::Shards(_) => {
                let Span { offset, length, .. } = self.span(index);
                to.extend_from_slice(&bytes_of(self.file(index).file_name().unwrap_or_default()));
                to.extend_from_slice(&offset.to_le_bytes());
                to.extend_from_slice(&length.to_le_bytes());
            }
        }
        to.push(0);
        to.extend_from_slice(&self.labels[index].to_le_bytes());
    }
}

/// Encoded bytes that can be looked at from anywhere.
pub trait Encoded: BufRead + Seek {}

impl<T: BufRead + Seek> Encoded for T {}

/// A stretch of a file as a file.
struct Part {
    file: File,
    start: u64,
    length: u32,
    at: u64,
}

impl Read for Part {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let left = u64::from(self.length).saturating_sub(self.at).min(to.len() as u64) as usize;
        self.file.seek(SeekFrom::Start(self.start.saturating_add(self.at)))?;
        let count = self.file.read(&mut to[..left])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.length.into(), by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
