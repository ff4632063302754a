//! What an array is: the dictionary at its front.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::{MAGIC, unread};
use crate::Error;

/// A header is a few dozen bytes, and some thousand where it names fields, which are not read.
const LONGEST: usize = 1 << 16;

/// More dimensions than an array of pictures has.
const MOST_DIMENSIONS: usize = 32;

/// The type of an array's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Type {
    /// NumPy's letter: `b'u'` unsigned, `b'i'` signed, `b'f'` float, `b'O'` objects, `b'V'` records, ...
    pub(crate) kind: u8,
    /// Bytes of a value.
    pub(crate) width: usize,
    /// Whether the first byte is the highest.
    pub(crate) big: bool,
}

impl Type {
    /// By NumPy's name: `<i8`, `|u1`; the order of bytes may be missing.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (order, rest) = match name.as_bytes() {
            [order @ (b'<' | b'>' | b'=' | b'|'), rest @ ..] => (*order, rest),
            rest => (b'<', rest),
        };
        let (&kind, digits) = rest.split_first()?;
        let digits = std::str::from_utf8(digits).ok()?;
        let width = if digits.is_empty() { 1 } else { digits.parse().ok()? };
        Some(Self { kind, width, big: order == b'>' })
    }

    pub(crate) const fn is_integer(self) -> bool {
        matches!((self.kind, self.width), (b'u' | b'i', 1 | 2 | 4 | 8))
    }

    /// The value that these bytes hold, of an integer of at most eight bytes.
    pub(crate) fn integer(self, bytes: &[u8]) -> i128 {
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let bits = if self.big { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) };
        if self.kind == b'u' {
            return i128::from(bits);
        }
        let unused = 64 - 8 * bytes.len().min(8) as u32;
        i128::from(bits.unbounded_shl(unused).cast_signed().unbounded_shr(unused))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.width.saturating_mul(8);
        match self.kind {
            b'u' => write!(f, "uint{bits}"),
            b'i' => write!(f, "int{bits}"),
            b'f' => write!(f, "float{bits}"),
            b'c' => write!(f, "complex{bits}"),
            b'b' => f.write_str("bool"),
            b'O' => f.write_str("object"),
            b'U' | b'S' | b'a' => f.write_str("text"),
            b'V' => f.write_str("record"),
            other => write!(f, "{}{}", char::from(other), self.width),
        }
    }
}

/// An array without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) of: Type,
    /// Whether the first index runs fastest.
    pub(crate) fortran: bool,
    pub(crate) shape: Vec<usize>,
    /// The byte at which values begin.
    pub(crate) start: u64,
}

impl Header {
    /// Reads a header, and nothing behind it.
    pub(super) fn read(place: &Path, reader: &mut dyn Read) -> Result<Self, Error> {
        let mut bytes = |length: usize| -> Result<Vec<u8>, Error> {
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes).map_err(|source| unread(place, source))?;
            Ok(bytes)
        };
        let front = bytes(MAGIC.len() + 2)?;
        if !front.starts_with(MAGIC) {
            return Err(Error::file(place, "does not begin as a NumPy array does").at(0));
        }
        // Version 1 counts in two bytes, 2 and 3 in four.
        let width = match front[MAGIC.len()] {
            1 => 2,
            2 | 3 => 4,
            version => {
                return Err(Error::file(place, format!("is version {version} of NumPy's format, not 1, 2 or 3")));
            }
        };
        let length = bytes(width)?.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte));
        if length > LONGEST {
            return Err(Error::file(place, format!("has a header of {length} bytes, more than any array of pictures")));
        }
        let text = bytes(length)?;
        let start = (front.len() + width + length) as u64;
        let text = String::from_utf8_lossy(&text);
        Words { rest: &text }.header(start).ok_or_else(|| {
            let error = Error::file(place, "has a header that is not read");
            if text.contains("'descr': [") {
                return error.with_hint("it holds records of several fields; in NumPy: x[FIELD] is an array of one");
            }
            error.with_hint("NumPy's save and savez write what is read")
        })
    }

    /// Bytes of all values; none where they are more than there are addresses.
    pub(super) fn length(&self) -> Option<u64> {
        let product = |product: u64, &side: &usize| product.checked_mul(side as u64);
        self.shape.iter().try_fold(self.of.width as u64, product).filter(|&length| length <= isize::MAX as u64)
    }

    /// The dimensions, for messages.
    pub(super) fn by(&self) -> String {
        by(&self.shape)
    }
}

/// Dimensions, for messages.
pub(super) fn by(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// The rest of a Python dictionary of texts, truth values and tuples of integers.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// `{'descr': '|u1', 'fortran_order': False, 'shape': (6, 4, 4, 3), }` in any order, each once.
    fn header(&mut self, start: u64) -> Option<Header> {
        let (mut of, mut fortran, mut shape) = (None, None, None);
        self.take("{")?;
        while self.take("}").is_none() {
            let key = self.text()?;
            self.take(":")?;
            let is_new = match key {
                "descr" => of.replace(Type::of(self.text()?)?).is_none(),
                "fortran_order" => fortran.replace(self.truth()?).is_none(),
                "shape" => shape.replace(self.tuple()?).is_none(),
                _ => false,
            };
            if !is_new || (self.take(",").is_none() && !self.rest.trim_start().starts_with('}')) {
                return None;
            }
        }
        let is_end = self.rest.trim().is_empty();
        is_end.then_some(Header { of: of?, fortran: fortran?, shape: shape?, start })
    }

    /// Goes behind this word, where it is next.
    fn take(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(word)?;
        Some(())
    }

    fn text(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (text, rest) = rest[1..].split_once(quote)?;
        self.rest = rest;
        Some(text)
    }

    fn truth(&mut self) -> Option<bool> {
        if self.take("True").is_some() {
            return Some(true);
        }
        self.take("False").map(|()| false)
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        self.take("(")?;
        let (inner, rest) = self.rest.split_once(')')?;
        self.rest = rest;
        let sides = inner.split(',').map(str::trim).filter(|side| !side.is_empty());
        // Python 2 wrote long integers with an L.
        let sides: Option<Vec<usize>> = sides.map(|side| side.trim_end_matches('L').parse().ok()).collect();
        sides.filter(|sides| sides.len() <= MOST_DIMENSIONS)
    }
}
