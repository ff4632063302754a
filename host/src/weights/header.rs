//! The header of a safetensors file: its length as a `u64`, then JSON with the type, shape and place of each tensor.
//!
//! A file may come from anywhere: nothing is believed before it is checked against the file's length, and no two
//! tensors may share bytes, leave bytes out, or have the same name.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::Error;

/// The longest header, as in the format's own reader.
const LONGEST: u64 = 100_000_000;

/// A type of numbers that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F64,
    I64,
}

/// A tensor as the header tells of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// Number of values.
    pub count: usize,
}

/// All tensors in the order of their data, which follow each other without a gap up to the file's end.
#[derive(Debug)]
pub(super) struct Header {
    pub tensors: Vec<Entry>,
    pub metadata: BTreeMap<String, String>,
}

/// Reads the header of a file of `length` bytes; the data begin where `reader` is left.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Weights`] when the header contradicts itself or the file.
pub(super) fn read(path: &Path, reader: &mut impl Read, length: u64) -> Result<Header, Error> {
    let mut first = Vec::new();
    reader.take(8).read_to_end(&mut first).map_err(|source| Error::io(path, source))?;
    if let Some(hint) = other_format(&first) {
        return Err(Error::weights(path, "is not a safetensors file").with_hint(hint));
    }
    let cut = |message: String| Error::weights(path, message).with_hint("copy or download it again");
    let Some(size) = first.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(cut(format!("ends at byte {}, inside the header's length", first.len())));
    };
    if size > LONGEST {
        return Err(no_header(path));
    }
    let Some(data) = length.checked_sub(8 + size) else {
        return Err(cut(format!("ends at byte {length}, but its header needs {size} after byte 8")));
    };
    let mut text = Vec::with_capacity(size as usize);
    reader.take(size).read_to_end(&mut text).map_err(|source| Error::io(path, source))?;
    let Raw { tensors, metadata } = serde_json::from_slice(&text).map_err(|error| match error.classify() {
        Category::Data => Error::weights(path, format!("its header is wrong: {error}")),
        _ => no_header(path),
    })?;
    let (tensors, end) = in_order(path, tensors)?;
    if end != data {
        return Err(cut(format!("ends at byte {length}, which is not where its header says that the data end")));
    }
    Ok(Header { tensors, metadata })
}

fn no_header(path: &Path) -> Error {
    Error::weights(path, "is not a safetensors file: there is no JSON header at byte 8")
}

/// The tensors in the order of their data, and where the data end.
fn in_order(path: &Path, tensors: BTreeMap<String, Info>) -> Result<(Vec<Entry>, u64), Error> {
    let mut tensors: Vec<(String, Info)> = tensors.into_iter().collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let (mut entries, mut end) = (Vec::with_capacity(tensors.len()), 0);
    for (name, Info { dtype, shape, data_offsets: [start, stop] }) in tensors {
        if start != end {
            let message = format!("{name}: the header places it where the tensor before does not end");
            return Err(Error::weights(path, message));
        }
        let (kind, width) = kind(path, &name, &dtype)?;
        let count = shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side));
        let bytes = count.and_then(|count| (count as u64).checked_mul(width));
        let (Some(count), true) = (count, bytes.is_some() && bytes == stop.checked_sub(start)) else {
            let message = format!("{name}: {dtype} values of shape {shape:?} do not fill bytes {start} to {stop}");
            return Err(Error::weights(path, message));
        };
        end = stop;
        entries.push(Entry { name, shape, kind, count });
    }
    Ok((entries, end))
}

/// A type, and the bytes of one of its values.
fn kind(path: &Path, name: &str, dtype: &str) -> Result<(Kind, u64), Error> {
    match dtype {
        "F32" => Ok((Kind::F32, 4)),
        "F64" => Ok((Kind::F64, 8)),
        "I64" => Ok((Kind::I64, 8)),
        other => Err(Error::weights(path, format!("{name}: {other} values; only F32, F64 and I64 are read"))
            .with_hint("save it as float32: {k: v.float() for k, v in state_dict.items()}")),
    }
}

/// A hint for the formats that are mistaken for safetensors.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    let pytorch = bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80, 2]);
    pytorch.then_some(
        "this looks like torch.save; in Python: safetensors.torch.save_file(model.state_dict(), \"FILE.safetensors\")",
    )
}

/// What stands in the header for a tensor.
#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// The header as it stands in the file, each name once.
struct Raw {
    tensors: BTreeMap<String, Info>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let (mut tensors, mut metadata) = (BTreeMap::new(), None);
                while let Some(name) = map.next_key::<String>()? {
                    let repeated = if name == "__metadata__" {
                        metadata.replace(map.next_value()?).is_some()
                    } else {
                        tensors.insert(name.clone(), map.next_value()?).is_some()
                    };
                    if repeated {
                        return Err(A::Error::custom(format!("two tensors are named {name}")));
                    }
                }
                Ok(Raw { tensors, metadata: metadata.unwrap_or_default() })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
