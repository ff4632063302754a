//! Python's pickles, as far as data sets are made of them: texts, numbers, lists, dictionaries and NumPy arrays.
//!
//! A pickle is a program for a small machine with a stack (Python's pickletools describes it). This reader knows the
//! instructions that build such values and the five names that NumPy's arrays need; every other name is refused before
//! anything is made of it, and nothing is ever called. Memory is bounded by the file's length and by [`MOST_VALUES`];
//! values lie in one list, so that depth costs no stack.

mod machine;

use std::path::Path;

use crate::Error;
use crate::data::formats::npy::{Type, to_c_order};

/// More values than a data set's file has: one for each label and each name.
const MOST_VALUES: usize = 2 << 20;

/// A value of a pickle. Where it has parts, it is the number of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A number that nothing here is made of.
    Float,
    /// A text or bytes: where they lie. Python 2 does not tell them apart.
    Bytes(Bytes),
    Global(Global),
    Object(u32),
}

/// Where bytes lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bytes {
    /// In the file, from here on, so many.
    File(usize, usize),
    /// By number among those that were made from a text.
    Made(u32),
}

/// The names that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    /// `numpy.core.multiarray._reconstruct`: an array without a shape.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`: an array of bytes, a type and a shape.
    FromBuffer,
    /// `numpy.ndarray`.
    Array,
    /// `numpy.dtype`.
    Type,
    /// `_codecs.encode`: bytes as a text of letters below 256.
    Encode,
}

/// What a value with parts is.
#[derive(Clone, Debug)]
enum Object {
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Type(Option<Type>),
    /// None until its content is known.
    Array(Option<Box<Array>>),
}

/// An array as it lies in the file.
#[derive(Clone, Debug)]
struct Array {
    shape: Vec<usize>,
    of: Type,
    fortran: bool,
    bytes: Bytes,
}

/// A pickle that was read.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    place: &'a Path,
    file: Vec<u8>,
    made: Vec<Vec<u8>>,
    objects: Vec<Object>,
    top: Value,
}

impl<'a> Pickle<'a> {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`Error::File`] when it is cut off, damaged, names anything but what arrays need, or is no dictionary.
    pub(crate) fn read(place: &'a Path, file: Vec<u8>) -> Result<Self, Error> {
        let (objects, made, top) = machine::run(place, &file)?;
        let pickle = Self { place, file, made, objects, top };
        match pickle.object(top) {
            Some(Object::Dict(_)) => Ok(pickle),
            _ => Err(Error::file(place, "is a pickle of something else than a dictionary")),
        }
    }

    /// What the dictionary has under this key.
    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        let Some(Object::Dict(pairs)) = self.object(self.top) else { return None };
        let is_key = |value: &Value| matches!(value, Value::Bytes(bytes) if self.bytes(*bytes) == key.as_bytes());
        pairs.iter().rev().find(|(found, _)| is_key(found)).map(|&(_, value)| value)
    }

    /// What the dictionary has under this key.
    ///
    /// # Errors
    /// [`Error::File`] when it has nothing there.
    pub(crate) fn wanted(&self, key: &str) -> Result<Value, Error> {
        self.get(key).ok_or_else(|| Error::file(self.place, format!("holds no {key}")))
    }

    /// A list of texts.
    ///
    /// # Errors
    /// [`Error::File`] when it is something else.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>, Error> {
        let text = |value: &Value| match value {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(self.bytes(*bytes)).into_owned()),
            _ => None,
        };
        let texts = self.items(self.wanted(key)?).and_then(|items| items.iter().map(text).collect());
        texts.ok_or_else(|| Error::file(self.place, format!("{key} is no list of texts")))
    }

    /// A list or a one-dimensional array of integers.
    ///
    /// # Errors
    /// [`Error::File`] when it is something else.
    pub(crate) fn integers(&self, key: &str) -> Result<Vec<i64>, Error> {
        let refuse = || Error::file(self.place, format!("{key} is no list of integers"));
        let value = self.wanted(key)?;
        if let Some(items) = self.items(value) {
            let integer = |item: &Value| if let Value::Int(integer) = item { Some(*integer) } else { None };
            return items.iter().map(integer).collect::<Option<_>>().ok_or_else(refuse);
        }
        let array = self.array(value).ok_or_else(refuse)?;
        if !array.of.is_integer() || array.shape.len() != 1 {
            return Err(refuse());
        }
        let values = self.whole(key, array)?.chunks_exact(array.of.width).map(|bytes| array.of.integer(bytes));
        values.map(|value| i64::try_from(value).map_err(|_| refuse())).collect()
    }

    /// The dimensions of a matrix of unsigned bytes, and its values row by row.
    ///
    /// # Errors
    /// [`Error::File`] when it is something else, or has fewer or more bytes than its shape says.
    pub(crate) fn matrix(&self, key: &str) -> Result<([usize; 2], Vec<u8>), Error> {
        let refuse = || Error::file(self.place, format!("{key} is no NumPy array of two dimensions of unsigned bytes"));
        let array = self.array(self.wanted(key)?).ok_or_else(refuse)?;
        let (&[rows, columns], Type { kind: b'u', width: 1, .. }) = (&array.shape[..], array.of) else {
            return Err(refuse());
        };
        let bytes = self.whole(key, array)?;
        let ordered = if array.fortran { to_c_order(bytes, &array.shape, 1) } else { bytes.to_vec() };
        Ok(([rows, columns], ordered))
    }

    /// An array's bytes, as many as its shape says.
    fn whole(&self, key: &str, array: &Array) -> Result<&[u8], Error> {
        let bytes = self.bytes(array.bytes);
        let wanted = array.shape.iter().try_fold(array.of.width, |product, &side| product.checked_mul(side));
        if wanted == Some(bytes.len()) {
            return Ok(bytes);
        }
        let sides = array.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        Err(Error::file(self.place, format!("{key} has {} bytes for {sides} values of {}", bytes.len(), array.of)))
    }

    fn object(&self, value: Value) -> Option<&Object> {
        if let Value::Object(index) = value { self.objects.get(index as usize) } else { None }
    }

    fn items(&self, value: Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::List(items) | Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn array(&self, value: Value) -> Option<&Array> {
        if let Object::Array(array) = self.object(value)? { array.as_deref() } else { None }
    }

    fn bytes(&self, bytes: Bytes) -> &[u8] {
        bytes_of(&self.file, &self.made, bytes)
    }
}

fn bytes_of<'b>(file: &'b [u8], made: &'b [Vec<u8>], bytes: Bytes) -> &'b [u8] {
    match bytes {
        Bytes::File(start, length) => file.get(start..start.saturating_add(length)).unwrap_or_default(),
        Bytes::Made(index) => made.get(index as usize).map_or(&[], Vec::as_slice),
    }
}
