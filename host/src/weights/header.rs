//! The header of a safetensors file: its length as a `u64`, then JSON with the type, shape and place of each tensor.
//!
//! A file may come from anywhere: nothing is believed before it is checked against the file's length, and no two
//! tensors may share bytes, leave bytes out, or have the same name.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Read};
use std::path::Path;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::Error;
use crate::data::found::Found;

/// The longest header, as in the format's own reader.
const LONGEST: u64 = 100_000_000;

/// A type of numbers that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    I64,
    /// Integers of other widths, as counters are stored.
    Integer {
        width: usize,
        is_signed: bool,
    },
}

/// Values of a tensor of narrow integers: what is larger is no counter, and is not made eight times as large as its file.
const MOST_INTEGERS: usize = 1 << 16;

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
pub(super) fn read(path: &Path, reader: &mut impl BufRead, length: u64) -> Result<Header, Error> {
    let head = reader.fill_buf().map_err(|source| Error::io(path, source))?;
    if let Some(found) = Found::of(head).filter(|found| *found != Found::Safetensors) {
        return Err(other_format(path, found));
    }
    let mut first = Vec::new();
    reader.take(8).read_to_end(&mut first).map_err(|source| Error::io(path, source))?;
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
        if matches!(kind, Kind::Integer { .. }) && count > MOST_INTEGERS {
            return Err(Error::weights(path, format!("{name}: {count} values of type {dtype} are no weights")));
        }
        end = stop;
        entries.push(Entry { name, shape, kind, count });
    }
    Ok((entries, end))
}

/// A type, and the bytes of one of its values.
fn kind(path: &Path, name: &str, dtype: &str) -> Result<(Kind, u64), Error> {
    let integer = |width, is_signed| Ok((Kind::Integer { width, is_signed }, width as u64));
    match dtype {
        "F16" => Ok((Kind::F16, 2)),
        "BF16" => Ok((Kind::Bf16, 2)),
        "F32" => Ok((Kind::F32, 4)),
        "F64" => Ok((Kind::F64, 8)),
        "I64" => Ok((Kind::I64, 8)),
        "U64" => integer(8, false),
        "I32" => integer(4, true),
        "U32" => integer(4, false),
        "I16" => integer(2, true),
        "U16" => integer(2, false),
        "I8" => integer(1, true),
        "U8" | "BOOL" => integer(1, false),
        other => {
            Err(Error::weights(path, format!("{name}: {other} values; only F16, BF16, F32, F64 and integers are read"))
                .with_hint("save it as float32: {k: v.float() for k, v in state_dict.items()}"))
        }
    }
}

/// What a file is that is no safetensors file, and how it becomes one.
fn other_format(path: &Path, found: Found) -> Error {
    const SAVE: &str = "safetensors.torch.save_file(model.state_dict(), \"FILE.safetensors\")";
    let hint = match found {
        // Any zip may be one of torch.save's: the name of its first file is not always the same.
        Found::Torch | Found::Pickle | Found::Archive("a zip archive") => {
            format!("this looks like torch.save; in Python: {SAVE}, where the model has taken torch.load's state_dict")
        }
        Found::LfsPointer => "git lfs pull, in the repository, fetches the file".into(),
        Found::WebPage => "the download went wrong: fetch it once more".into(),
        Found::Archive(_) => "unpack it and give the .safetensors file in it".into(),
        Found::Json => "an index of weights in several files is not read: give one file with all of them".into(),
        Found::Network(_) | Found::Hdf5 | Found::Data(_) => {
            format!("weights are read from safetensors alone; from PyTorch: {SAVE}")
        }
        Found::Safetensors | Found::Picture(_) | Found::Other(_) => {
            "weights are read from safetensors, as train writes them".into()
        }
    };
    Error::weights(path, format!("is {}, not a safetensors file", found.name())).with_hint(hint)
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
