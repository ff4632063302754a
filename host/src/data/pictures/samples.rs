//! Encoded pictures: where their bytes lie, and the class of each.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::data::pictures::names::{Names, bytes_of};

/// The encoded pictures of a split in a fixed order.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Where they lie.
    pub store: Store,
    /// The class of each.
    pub labels: Vec<u32>,
}

/// Where encoded pictures lie.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file each.
    Files {
        /// What names that are no absolute paths begin at.
        root: PathBuf,
        /// The files.
        names: Names,
    },
    /// Stretches of larger files.
    Stretches {
        /// The larger files.
        files: Vec<PathBuf>,
        /// A stretch each.
        stretches: Vec<Stretch>,
    },
    /// Bytes in memory.
    Memory {
        /// What they came from.
        files: Vec<PathBuf>,
        /// All of them.
        bytes: Vec<u8>,
        /// A stretch each, of `bytes`.
        stretches: Vec<Stretch>,
    },
}

/// A part of a larger file, or of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which of the files.
    pub file: u32,
    /// Its first byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// What the picture is called in that file, such as its row.
    pub row: u32,
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The place of sample `index`, for messages and for tables.
    pub fn place(&self, index: usize) -> Place<'_> {
        Place { samples: self, index }
    }

    /// The file of sample `index`, where it has one of its own; else the one that it is a part of.
    pub fn file(&self, index: usize) -> PathBuf {
        let of = |files: &[PathBuf], stretches: &[Stretch]| {
            stretches.get(index).and_then(|stretch| files.get(stretch.file as usize)).cloned().unwrap_or_default()
        };
        match &self.store {
            Store::Files { root, names } => root.join(names.path(index)),
            Store::Stretches { files, stretches } | Store::Memory { files, stretches, .. } => of(files, stretches),
        }
    }

    /// Puts the encoded bytes of sample `index` into `to`.
    ///
    /// # Errors
    /// What the system says of its file, and one that is too short.
    pub fn read(&self, index: usize, to: &mut Vec<u8>) -> Result<(), Error> {
        to.clear();
        let failed = |source| Error::io(self.file(index), source);
        match &self.store {
            Store::Files { .. } => {
                let mut file = File::open(self.file(index)).map_err(failed)?;
                file.read_to_end(to).map_err(failed)?;
            }
            Store::Stretches { .. } => {
                let mut stretch = self.open(index)?;
                stretch.read_to_end(to).map_err(failed)?;
                if to.len() as u64 != self.length(index) {
                    return Err(failed(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            Store::Memory { .. } => to.extend_from_slice(self.memory(index)),
        }
        Ok(())
    }

    /// The encoded bytes of sample `index` as a stream.
    ///
    /// # Errors
    /// What the system says of its file.
    pub fn open(&self, index: usize) -> Result<Box<dyn Encoded + '_>, Error> {
        let open = || {
            let path = self.file(index);
            File::open(&path).map_err(|source| Error::io(path, source))
        };
        Ok(match &self.store {
            Store::Files { .. } => Box::new(BufReader::with_capacity(1 << 12, open()?)),
            Store::Stretches { stretches, .. } => {
                let Stretch { offset, length, .. } = stretches[index];
                Box::new(BufReader::with_capacity(1 << 12, Part { file: open()?, start: offset, length, at: 0 }))
            }
            Store::Memory { .. } => Box::new(Cursor::new(self.memory(index))),
        })
    }

    /// Its bytes, where they lie in memory.
    fn memory(&self, index: usize) -> &[u8] {
        let Store::Memory { bytes, stretches, .. } = &self.store else { return &[] };
        let Stretch { offset, length, .. } = stretches[index];
        let start = offset as usize;
        bytes.get(start..start.saturating_add(length as usize)).unwrap_or_default()
    }

    /// Encoded bytes of sample `index`: none of a file of its own, whose length only the system knows.
    fn length(&self, index: usize) -> u64 {
        match &self.store {
            Store::Files { .. } => 0,
            Store::Stretches { stretches, .. } | Store::Memory { stretches, .. } => stretches[index].length.into(),
        }
    }

    /// Leaves out the samples at these indices, which are in ascending order.
    pub fn leave_out(&mut self, out: &[usize]) {
        if out.is_empty() {
            return;
        }
        let kept = || (0..self.labels.len()).filter(|index| out.binary_search(index).is_err());
        let labels = kept().map(|index| self.labels[index]).collect();
        match &mut self.store {
            Store::Files { names, .. } => {
                *names = names.part((0..names.len()).filter(|i| out.binary_search(i).is_err()))
            }
            Store::Stretches { stretches, .. } | Store::Memory { stretches, .. } => {
                let mut index = 0..;
                stretches.retain(|_| index.next().is_none_or(|index| out.binary_search(&index).is_err()));
            }
        }
        self.labels = labels;
    }

    /// What tells these samples from others: names without the folder that they lie in, lengths and labels.
    pub fn identity(&self, index: usize, to: &mut Vec<u8>) {
        match &self.store {
            Store::Files { names, .. } => to.extend_from_slice(names.bytes(index)),
            Store::Stretches { files, stretches } | Store::Memory { files, stretches, .. } => {
                let Stretch { file, row, length, .. } = stretches[index];
                let name = files.get(file as usize).and_then(|path| path.file_name()).unwrap_or_default();
                to.extend_from_slice(&bytes_of(name));
                to.extend_from_slice(&row.to_le_bytes());
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

/// Where a sample lies, as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    samples: &'a Samples,
    index: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.samples.file(self.index);
        let path: &Path = &path;
        match &self.samples.store {
            Store::Files { .. } => write!(f, "{}", path.display()),
            Store::Stretches { stretches, .. } | Store::Memory { stretches, .. } => {
                write!(f, "{}, picture {}", path.display(), stretches[self.index].row)
            }
        }
    }
}
