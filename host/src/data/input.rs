//! Files as streams of bytes that know where they are, decompressed when their content is gzip.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use crate::Error;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Gzip content may be as much larger than its file: pictures are 2 to 30 times, a bomb of zeros 1000 times.
const LARGEST_RATIO: u64 = 100;
/// Content that is always allowed, in bytes.
const ALLOWED: u64 = 16 << 20;

/// A file being read. Offsets count bytes of its content: of the decompressed one where it is gzip.
pub(super) struct Input {
    path: PathBuf,
    reader: Box<dyn Read>,
    compressed: bool,
    at: u64,
}

impl Input {
    /// Opens a file; whether it is gzip is told by its first two bytes, whatever its name.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let length = file.metadata().map_err(|source| Error::io(path, source))?.len();
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let compressed = reader.fill_buf().map_err(|source| Error::io(path, source))?.starts_with(&GZIP_MAGIC);
        let reader: Box<dyn Read> = if compressed {
            let left = length.saturating_mul(LARGEST_RATIO).max(ALLOWED);
            Box::new(BufReader::new(Bounded { reader: Members::new(reader), left }))
        } else {
            Box::new(reader)
        };
        Ok(Self { path: path.to_owned(), reader, compressed, at: 0 })
    }

    /// Up to `length` bytes: fewer only where the content ends.
    pub(super) fn up_to(&mut self, length: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let result = self.reader.by_ref().take(length).read_to_end(&mut bytes);
        self.at += bytes.len() as u64;
        result.map_err(|source| self.failed(source))?;
        Ok(bytes)
    }

    /// Whether the content ends here. Consumes a byte where it does not.
    pub(super) fn at_end(&mut self) -> Result<bool, Error> {
        Ok(self.up_to(1)?.is_empty())
    }

    /// The error for a failed read: damaged gzip data is the file's fault, the rest the system's.
    fn failed(&self, source: io::Error) -> Error {
        read_failed(&self.path, self.compressed, self.at, source)
    }

    /// The stream itself, and whether it was compressed.
    pub(super) fn into_reader(self) -> (Box<dyn Read>, bool) {
        (self.reader, self.compressed)
    }
}

/// The content of a gzip file: that of its members one after the other. Zeros behind a member are padding, as tapes and
/// some file systems add; anything else is none.
struct Members<R> {
    /// None at the end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(bytes)?;
            if count > 0 || bytes.is_empty() {
                return Ok(count);
            }
            let rest = self.member.take().map(GzDecoder::into_inner);
            self.member = rest.map(skip_zeros).transpose()?.flatten().map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// The reader behind the zeros that it begins with, unless there is nothing behind them.
fn skip_zeros<R: BufRead>(mut reader: R) -> io::Result<Option<R>> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let (length, zeros) = (buffer.len(), buffer.iter().take_while(|&&byte| byte == 0).count());
        reader.consume(zeros);
        if zeros < length {
            return Ok(Some(reader));
        }
    }
}

/// A stream that fails where its content goes on for too long.
struct Bounded<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(bytes)?;
        self.left = self.left.checked_sub(count as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(count)
    }
}

/// The error for a read of `path` that failed after `at` bytes of content.
pub(super) fn read_failed(path: &Path, compressed: bool, at: u64, source: io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, UnexpectedEof};
    match source.kind() {
        FileTooLarge => Error::file(path, format!("the gzip data grow to more than {LARGEST_RATIO} times the file"))
            .with_hint("pictures do not; if these do, decompress the file"),
        UnexpectedEof => Error::file(path, format!("is cut off after byte {at} of its content"))
            .at(at)
            .with_hint("copy or download it again"),
        InvalidData | InvalidInput if compressed => {
            Error::file(path, format!("the gzip data is damaged after byte {at} of its content"))
                .at(at)
                .with_hint("copy or download it again")
        }
        _ => Error::io(path, source),
    }
}
