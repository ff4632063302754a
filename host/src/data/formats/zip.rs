//! Zip archives as a directory of files, stored or deflated: what NumPy's npz is.
//!
//! The directory at the archive's end counts, as APPNOTE.TXT 6.3.10 (PKWARE) describes it, sections 4.3 to 4.5, with the
//! sizes of zip64. No file is unpacked to disk, and none is held whole.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::DeflateDecoder;

use crate::Error;

const END: [u8; 4] = *b"PK\x05\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const END_64: [u8; 4] = *b"PK\x06\x06";
const RECORD: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// Bytes of the end record without its comment, of zip64's locator before it and of a file's local header.
const END_LENGTH: u64 = 22;
const LOCATOR_LENGTH: u64 = 20;
const LOCAL_LENGTH: u64 = 30;
/// A comment behind the end record is no longer than that.
const LONGEST_COMMENT: u64 = 0xffff;
/// A directory of that many bytes has place for more than 100,000 files.
const LARGEST_DIRECTORY: u64 = 16 << 20;

/// Deflate makes of a byte at most as many; what promises more is a lie.
const LARGEST_RATIO: u64 = 1032;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// An open archive.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    file: File,
    length: u64,
    /// What is in it, in the directory's order.
    pub(crate) members: Vec<Member>,
}

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name, with folders.
    pub(crate) name: String,
    /// Bytes of its content.
    pub(crate) size: u64,
    packed: u64,
    method: u16,
    encrypted: bool,
    crc: u32,
    /// Where its local header is.
    at: u64,
}

impl Archive {
    /// Reads the directory of an archive.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::File`] when it is no whole zip archive.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::io(path, source);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut archive = Self { path: path.to_owned(), file, length, members: Vec::new() };
        let directory = archive.directory()?;
        archive.members = members(path, &directory)?;
        Ok(archive)
    }

    /// The content of a member, checked against its size and its checksum when its end is read.
    ///
    /// # Errors
    /// [`Error::File`] when it is encrypted, compressed in another way, or does not lie in the file.
    pub(crate) fn reader(&self, member: &Member) -> Result<impl Read + use<>, Error> {
        let refuse = |message: String, hint: &str| Err(Error::file(self.place(member), message).with_hint(hint));
        if member.encrypted {
            return refuse("is encrypted".into(), "unpack it with its password and pack it again without one");
        }
        if !matches!(member.method, STORED | DEFLATED) {
            let message = format!("is compressed by method {}, which is not read", member.method);
            return refuse(message, "NumPy's savez and savez_compressed write what is read: stored and deflated files");
        }
        let most = if member.method == STORED { member.packed } else { member.packed.saturating_mul(LARGEST_RATIO) };
        if member.size > most {
            let message = format!("promises {} bytes of content in {} of the archive", member.size, member.packed);
            return refuse(message, "copy or download it again");
        }
        let start = self.content(member)?;
        let mut file = self.file.try_clone().map_err(|source| Error::io(&self.path, source))?;
        file.seek(SeekFrom::Start(start)).map_err(|source| Error::io(&self.path, source))?;
        let packed = BufReader::with_capacity(1 << 16, file).take(member.packed);
        let content: Box<dyn Read> =
            if member.method == STORED { Box::new(packed) } else { Box::new(DeflateDecoder::new(packed)) };
        Ok(Checked { content, left: member.size, sum: crc32fast::Hasher::new(), expected: member.crc })
    }

    /// How messages call a member.
    pub(crate) fn place(&self, member: &Member) -> PathBuf {
        PathBuf::from(format!("{}: {}", self.path.display(), member.name))
    }

    /// The byte at which a member's content begins, which lies in the file as a whole.
    fn content(&self, member: &Member) -> Result<u64, Error> {
        let header = self.bytes(member.at, LOCAL_LENGTH)?;
        if !header.starts_with(&LOCAL) {
            return Err(self.damaged(member.at, "no header of a file is at"));
        }
        let names = u64::from(word16(&header, 26)) + u64::from(word16(&header, 28));
        let start = member.at + LOCAL_LENGTH + names;
        match start.checked_add(member.packed) {
            Some(end) if end <= self.length => Ok(start),
            _ => Err(self.damaged(start, "the archive ends inside the file that begins at")),
        }
    }

    /// The directory's records.
    fn directory(&self) -> Result<Vec<u8>, Error> {
        let tail_length = self.length.min(END_LENGTH + LONGEST_COMMENT);
        let tail_at = self.length - tail_length;
        let tail = self.bytes(tail_at, tail_length)?;
        let end = (0..tail.len().saturating_sub(END_LENGTH as usize - 1)).rev().find(|&at| {
            tail[at..].starts_with(&END) && at + END_LENGTH as usize + usize::from(word16(&tail, at + 20)) <= tail.len()
        });
        let Some(end) = end else {
            return Err(Error::file(&self.path, "is no whole zip archive: the directory at its end is missing")
                .with_hint("it is cut off or another file; copy or download it again"));
        };
        let (mut size, mut at) = (u64::from(word32(&tail, end + 12)), u64::from(word32(&tail, end + 16)));
        if size == u64::from(u32::MAX) || at == u64::from(u32::MAX) || word16(&tail, end + 10) == u16::MAX {
            (size, at) = self.directory_64(tail_at + end as u64)?.unwrap_or((size, at));
        }
        if size > LARGEST_DIRECTORY {
            return Err(self.damaged(at, &format!("a directory of {size} bytes is no data set's, at")));
        }
        self.bytes(at, size)
    }

    /// Size and place of the directory by zip64's end record, where there is one before the end record at this byte.
    fn directory_64(&self, end: u64) -> Result<Option<(u64, u64)>, Error> {
        let Some(at) = end.checked_sub(LOCATOR_LENGTH) else { return Ok(None) };
        let locator = self.bytes(at, LOCATOR_LENGTH)?;
        if !locator.starts_with(&LOCATOR_64) {
            return Ok(None);
        }
        let at = word64(&locator, 8);
        let record = self.bytes(at, 56)?;
        if !record.starts_with(&END_64) {
            return Err(self.damaged(at, "zip64's directory is not at"));
        }
        Ok(Some((word64(&record, 40), word64(&record, 48))))
    }

    /// So many bytes from `at` on, which the file must have.
    fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, Error> {
        if at.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(self.damaged(at, "the archive ends inside what begins at"));
        }
        let mut bytes = vec![0; length as usize];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| Error::io(&self.path, source))?;
        Ok(bytes)
    }

    fn damaged(&self, at: u64, what: &str) -> Error {
        Error::file(&self.path, format!("the zip archive is damaged: {what} byte {at}"))
            .at(at)
            .with_hint("copy or download it again")
    }
}

/// The members that the records of a directory describe, folders left out.
fn members(path: &Path, directory: &[u8]) -> Result<Vec<Member>, Error> {
    let mut members = Vec::new();
    let mut rest = directory;
    while !rest.is_empty() {
        let cut = || Error::file(path, "the zip archive's directory is damaged").with_hint("copy or download it again");
        if !rest.starts_with(&RECORD) || rest.len() < 46 {
            return Err(cut());
        }
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(word16(rest, at)));
        let (record, after) = rest.split_at_checked(46 + name + extra + comment).ok_or_else(cut)?;
        rest = after;
        let mut member = Member {
            name: String::from_utf8_lossy(&record[46..46 + name]).into_owned(),
            size: u64::from(word32(record, 24)),
            packed: u64::from(word32(record, 20)),
            method: word16(record, 10),
            encrypted: word16(record, 8) & 1 != 0,
            crc: word32(record, 16),
            at: u64::from(word32(record, 42)),
        };
        widen(&mut member, &record[46 + name..46 + name + extra]);
        if !member.name.ends_with('/') {
            members.push(member);
        }
    }
    Ok(members)
}

/// Takes the sizes that do not fit into 32 bits from zip64's extra field (section 4.5.3).
fn widen(member: &mut Member, mut extra: &[u8]) {
    while extra.len() >= 4 {
        let (kind, length) = (word16(extra, 0), usize::from(word16(extra, 2)));
        let Some(field) = extra.get(4..4 + length) else { return };
        extra = &extra[4 + length..];
        if kind != 1 {
            continue;
        }
        let mut words = field.chunks_exact(8).map(|word| word64(word, 0));
        for value in [&mut member.size, &mut member.packed, &mut member.at] {
            if *value == u64::from(u32::MAX) {
                *value = words.next().unwrap_or(*value);
            }
        }
    }
}

/// Content that has to have a size and a checksum.
struct Checked {
    content: Box<dyn Read>,
    left: u64,
    sum: crc32fast::Hasher,
    expected: u32,
}

impl Read for Checked {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let room = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room > 0 {
            let count = self.content.read(&mut bytes[..room])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.sum.update(&bytes[..count]);
            self.left -= count as u64;
            return Ok(count);
        }
        if self.left == 0 && !bytes.is_empty() && self.sum.clone().finalize() != self.expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "checksum"));
        }
        Ok(0)
    }
}

fn word16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u16::from_le_bytes(*word))
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_le_bytes(*word))
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_le_bytes(*word))
}
