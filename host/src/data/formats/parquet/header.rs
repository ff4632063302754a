//! Headers of pages: structs in Thrift's compact protocol, of which parquet.thrift says the fields.
//!
//! The crate for Parquet reads them only together with the pages, whose compressors it takes from C.

use std::io::{self, Read};

/// Bytes of a header at most: it may hold the smallest and the largest picture of its page.
const LONGEST: u64 = 64 << 20;
/// Structs in structs, at most.
const DEEPEST: usize = 16;

/// The kinds of pages.
pub(super) const DATA: i64 = 0;
pub(super) const DICTIONARY: i64 = 2;
pub(super) const DATA_V2: i64 = 3;

/// What a header says, with numbers as they stand there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: i64,
    /// Bytes of the page as it is used, and as it lies in the file.
    pub(super) unpacked: i64,
    pub(super) packed: i64,
    pub(super) values: i64,
    pub(super) encoding: i64,
    /// Encodings of levels, of pages of version 1.
    pub(super) definition: i64,
    pub(super) repetition: i64,
    /// Of pages of version 2: values that are null, rows, bytes of levels, and whether what follows them is compressed.
    pub(super) nulls: i64,
    pub(super) rows: i64,
    pub(super) definition_bytes: i64,
    pub(super) repetition_bytes: i64,
    pub(super) is_plain: bool,
}

impl Header {
    /// Reads a header, and how many bytes it takes.
    pub(super) fn read(reader: &mut dyn Read) -> io::Result<(Self, u64)> {
        let mut words = Words { reader, read: 0 };
        let mut header = Self::default();
        words.fields(&mut |words, field, kind| {
            match (field, kind) {
                (1, _) => header.kind = words.integer(kind)?,
                (2, _) => header.unpacked = words.integer(kind)?,
                (3, _) => header.packed = words.integer(kind)?,
                (5, STRUCT) => header.data(words, [1, 2, 3, 4])?,
                (7, STRUCT) => header.data(words, [1, 2, 0, 0])?,
                (8, STRUCT) => header.data_v2(words)?,
                _ => words.skip(kind, 0)?,
            }
            Ok(())
        })?;
        Ok((header, words.read))
    }

    /// The header of a page of version 1, or of a dictionary: fields of values, encoding and the encodings of levels.
    fn data(&mut self, words: &mut Words<'_>, fields: [i64; 4]) -> io::Result<()> {
        words.fields(&mut |words, field, kind| {
            match fields.iter().position(|&wanted| wanted == field) {
                Some(0) => self.values = words.integer(kind)?,
                Some(1) => self.encoding = words.integer(kind)?,
                Some(2) => self.definition = words.integer(kind)?,
                Some(3) => self.repetition = words.integer(kind)?,
                _ => words.skip(kind, 0)?,
            }
            Ok(())
        })
    }

    fn data_v2(&mut self, words: &mut Words<'_>) -> io::Result<()> {
        words.fields(&mut |words, field, kind| {
            match field {
                1 => self.values = words.integer(kind)?,
                2 => self.nulls = words.integer(kind)?,
                3 => self.rows = words.integer(kind)?,
                4 => self.encoding = words.integer(kind)?,
                5 => self.definition_bytes = words.integer(kind)?,
                6 => self.repetition_bytes = words.integer(kind)?,
                7 => self.is_plain = kind == FALSE,
                _ => words.skip(kind, 0)?,
            }
            Ok(())
        })
    }
}

/// Types of fields.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const INT64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// Thrift's compact protocol.
struct Words<'a> {
    reader: &'a mut dyn Read,
    read: u64,
}

fn damaged() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

impl Words<'_> {
    /// Calls `take` with number and type of each field of a struct; it has to read the value.
    fn fields(&mut self, take: &mut dyn FnMut(&mut Self, i64, u8) -> io::Result<()>) -> io::Result<()> {
        let mut field = 0_i64;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            let (step, kind) = (i64::from(byte >> 4), byte & 15);
            field = if step == 0 { self.zigzag()? } else { field.checked_add(step).ok_or_else(damaged)? };
            take(self, field, kind)?;
        }
    }

    /// An integer of any width.
    fn integer(&mut self, kind: u8) -> io::Result<i64> {
        match kind {
            BYTE => self.byte().map(|byte| i64::from(byte.cast_signed())),
            4..=INT64 => self.zigzag(),
            _ => Err(damaged()),
        }
    }

    /// Goes behind a value.
    fn skip(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        match kind {
            _ if depth > DEEPEST => Err(damaged()),
            TRUE | FALSE => Ok(()),
            BYTE..=INT64 => self.integer(kind).map(drop),
            DOUBLE => self.bytes(8),
            BINARY => {
                let length = self.varint()?;
                self.bytes(length)
            }
            LIST | SET => {
                let byte = self.byte()?;
                let count = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
                (0..count).try_for_each(|_| self.skip_item(byte & 15, depth + 1))
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_item(kinds >> 4, depth + 1)?;
                    self.skip_item(kinds & 15, depth + 1)
                })
            }
            STRUCT => self.fields(&mut |words, _, kind| words.skip(kind, depth + 1)),
            _ => Err(damaged()),
        }
    }

    /// Goes behind an item: there a truth value takes a byte.
    fn skip_item(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        if matches!(kind, TRUE | FALSE) { self.byte().map(drop) } else { self.skip(kind, depth) }
    }

    fn zigzag(&mut self) -> io::Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.count(1)?;
        Ok(byte[0])
    }

    /// Goes behind so many bytes.
    fn bytes(&mut self, length: u64) -> io::Result<()> {
        self.count(length)?;
        let copied = io::copy(&mut (&mut *self.reader).take(length), &mut io::sink())?;
        if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn count(&mut self, length: u64) -> io::Result<()> {
        self.read = self.read.saturating_add(length);
        if self.read > LONGEST { Err(damaged()) } else { Ok(()) }
    }
}
