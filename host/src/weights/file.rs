//! Files of named tensors: safetensors, read and written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::header::{self, Entry, Header, Kind};
use crate::Error;
use crate::files::write_whole;

/// The numbers of a tensor, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 64-bit integers, as PyTorch's `num_batches_tracked`.
    I64(Vec<i64>),
}

impl Data {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::I64(_) => "I64",
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::F32(_) => 4,
            Self::I64(_) => 8,
        }
    }
}

/// A named array.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// As PyTorch names it: `layer1.0.conv1.weight`.
    pub name: String,
    /// Sizes from the slowest index to the fastest; empty for a scalar.
    pub shape: Vec<usize>,
    /// `[product of shape]`.
    pub data: Data,
}

impl Tensor {
    /// A tensor of `f32`.
    pub fn f32(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), data: Data::F32(values) }
    }

    /// A scalar of `i64`.
    pub fn i64(name: impl Into<String>, value: i64) -> Self {
        Self { name: name.into(), shape: Vec::new(), data: Data::I64(vec![value]) }
    }

    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        match &self.data {
            Data::F32(values) => values.iter().all(|value| value.is_finite()),
            Data::I64(_) => true,
        }
    }
}

/// Writes tensors and metadata: the same bytes for the same input, and never half a file under this name.
///
/// # Errors
/// [`Error::Weights`] when two tensors share a name or a shape does not fit its values, [`Error::Io`] when the file
/// system refuses.
pub fn write(path: &Path, tensors: &[Tensor], metadata: &BTreeMap<String, String>) -> Result<(), Error> {
    let encoded = Encoded::new(path, tensors, metadata)?;
    write_whole(path, |file| encoded.write(file))
}

/// Tensors and metadata as they stand in a file.
#[derive(Debug)]
pub struct Encoded<'a> {
    header: Vec<u8>,
    order: Vec<&'a Tensor>,
}

impl<'a> Encoded<'a> {
    /// Their bytes, for the file at `path`.
    ///
    /// # Errors
    /// [`Error::Weights`] when two tensors share a name or a shape does not fit its values.
    pub fn new(path: &Path, tensors: &'a [Tensor], metadata: &BTreeMap<String, String>) -> Result<Self, Error> {
        // Wider values first: every tensor is then aligned to its own width, as readers that map the file like it.
        let mut order: Vec<&Tensor> = tensors.iter().collect();
        order.sort_by_key(|tensor| std::cmp::Reverse(tensor.data.width()));
        Ok(Self { header: header(path, &order, metadata)?, order })
    }

    /// Writes them.
    ///
    /// # Errors
    /// What the file says.
    pub fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        file.write_all(&(self.header.len() as u64).to_le_bytes())?;
        file.write_all(&self.header)?;
        self.order.iter().try_for_each(|tensor| write_values(file, &tensor.data))
    }
}

/// The JSON header, padded with spaces to a multiple of 8 bytes.
fn header(path: &Path, tensors: &[&Tensor], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, Error> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    let mut offset = 0;
    for Tensor { name, shape, data } in tensors {
        if shape.iter().product::<usize>() != data.len() {
            return Err(Error::weights(
                path,
                format!("{name}: {} values do not fill a shape of {shape:?}", data.len()),
            ));
        }
        let end = offset + data.len() * data.width();
        let entry = json!({ "dtype": data.dtype(), "shape": shape, "data_offsets": [offset, end] });
        if entries.insert(name.clone(), entry).is_some() {
            return Err(Error::weights(path, format!("{name}: two tensors with this name")));
        }
        offset = end;
    }
    let mut bytes = Value::Object(entries).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

fn write_values(file: &mut dyn Write, data: &Data) -> io::Result<()> {
    match data {
        Data::F32(values) => values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes())),
        Data::I64(values) => values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes())),
    }
}

/// Reads every tensor, in the order of the file's data, and the metadata. `F64` is rounded to `f32`, `F16` and
/// `BF16` widened, integers to `i64`. Takes as much memory as the tensors and the header, whatever the header says.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Weights`] when it is damaged or holds another type.
pub fn read(path: &Path) -> Result<(Vec<Tensor>, BTreeMap<String, String>), Error> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (length, file) = opened.map_err(|source| Error::io(path, source))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let Header { tensors, metadata } = header::read(path, &mut reader, length)?;
    let tensors = tensors.into_iter().map(|entry| tensor(path, &mut reader, entry));
    Ok((tensors.collect::<Result<_, _>>()?, metadata))
}

fn tensor(path: &Path, reader: &mut impl Read, entry: Entry) -> Result<Tensor, Error> {
    let Entry { name, shape, kind, count, .. } = entry;
    let data = match kind {
        Kind::F16 => values(reader, count, |bytes| from_f16(u16::from_le_bytes(bytes))).map(Data::F32),
        Kind::Bf16 => values(reader, count, |[low, high]| f32::from_le_bytes([0, 0, low, high])).map(Data::F32),
        Kind::F32 => values(reader, count, f32::from_le_bytes).map(Data::F32),
        Kind::F64 => values(reader, count, |bytes| f64::from_le_bytes(bytes) as f32).map(Data::F32),
        Kind::I64 => values(reader, count, i64::from_le_bytes).map(Data::I64),
        Kind::Integer { width, is_signed } => integers(reader, count, width, is_signed).map(Data::I64),
    };
    Ok(Tensor { name, shape, data: data.map_err(|source| Error::io(path, source))? })
}

/// A half-precision number, exactly.
fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        // Subnormal, or zero: so many times 2^-24.
        0 => f32::from_bits((fraction as f32 / (1_u32 << 24) as f32).to_bits() | sign),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Little-endian integers of `width` bytes; those beyond `i64` are its largest.
fn integers(reader: &mut impl Read, count: usize, width: usize, is_signed: bool) -> io::Result<Vec<i64>> {
    let mut values = Vec::with_capacity(count);
    let mut bytes = [0; 8];
    for _ in 0..count {
        let value = &mut bytes[..width.min(8)];
        reader.read_exact(value)?;
        let is_negative = is_signed && value.last().is_some_and(|&last| last >= 0x80);
        bytes[width.min(8)..].fill(if is_negative { 0xff } else { 0 });
        values.push(if is_signed {
            i64::from_le_bytes(bytes)
        } else {
            i64::try_from(u64::from_le_bytes(bytes)).unwrap_or(i64::MAX)
        });
    }
    Ok(values)
}

/// Little-endian values of `N` bytes each.
fn values<const N: usize, T>(
    reader: &mut impl Read,
    count: usize,
    convert: impl Fn([u8; N]) -> T,
) -> io::Result<Vec<T>> {
    let mut values = Vec::with_capacity(count);
    let mut bytes = [0; N];
    for _ in 0..count {
        reader.read_exact(&mut bytes)?;
        values.push(convert(bytes));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn example() -> (Vec<Tensor>, BTreeMap<String, String>) {
        let tensors = vec![
            Tensor::f32("fc.weight", &[2, 3], vec![1.0, -0.0, f32::MIN_POSITIVE, f32::INFINITY, 4.5, 1e-45]),
            Tensor::i64("bn1.num_batches_tracked", -7),
            Tensor::f32("fc.bias", &[2], vec![0.25, 0.5]),
            Tensor::f32("empty", &[0, 4], vec![]),
        ];
        let metadata = ["model", "classes", "eta", "a \"quoted\" key"].map(|key| (key.to_owned(), format!("{key} é")));
        (tensors, metadata.into())
    }

    fn written() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let (tensors, metadata) = example();
        write(&path, &tensors, &metadata).unwrap();
        (folder, path)
    }

    fn refused(bytes: &[u8]) -> Error {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.safetensors");
        fs::write(&path, bytes).unwrap();
        read(&path).unwrap_err()
    }

    fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (_folder, path) = written();
        let (mut tensors, metadata) = read(&path).unwrap();
        let (mut expected, expected_metadata) = example();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        expected.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(tensors, expected);
        assert_eq!(metadata, expected_metadata);
    }

    #[test]
    fn the_same_tensors_give_the_same_bytes_and_leave_one_file() {
        let (folder, path) = written();
        let first = fs::read(&path).unwrap();
        let (tensors, metadata) = example();
        write(&path, &tensors, &metadata).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!((8 + u64::from_le_bytes(first[..8].try_into().unwrap())) % 8, 0);
    }

    #[test]
    fn a_failed_write_leaves_the_file_before_it() {
        let (folder, path) = written();
        let before = fs::read(&path).unwrap();
        let failed = write_whole(&path, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.unwrap_err().to_string().ends_with("no space left on the disk"));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("none/last.safetensors"), &[], &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().ends_with("none/last.safetensors: no such file or folder"), "{error}");
    }

    #[test]
    fn every_truncation_is_refused() {
        let (_folder, path) = written();
        let bytes = fs::read(&path).unwrap();
        for end in 0..bytes.len() {
            assert!(matches!(refused(&bytes[..end]), Error::Weights { .. }), "{end}");
        }
        assert!(matches!(refused(&[&bytes[..], &[0]].concat()), Error::Weights { .. }));
        let last = refused(&bytes[..bytes.len() - 1]);
        assert!(last.to_string().contains(&format!("ends at byte {}", bytes.len() - 1)), "{last}");
    }

    #[test]
    fn garbage_is_refused() {
        assert!(refused(&[b'x'; 100]).to_string().contains("no JSON header at byte 8"));
        let pickle = refused(b"PK\x03\x04archive/data.pkl");
        assert!(pickle.hint().unwrap().contains("torch.save"), "{pickle}");
    }

    /// The only tensor of a file with these bytes.
    fn only(dtype: &str, shape: &str, data: &[u8]) -> Result<Tensor, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.safetensors");
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{}]}}}}"#, data.len());
        fs::write(&path, with_header(&header, data)).unwrap();
        Ok(read(&path)?.0.remove(0))
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        let floats = |dtype, data: &[u8]| only(dtype, "[1]", data).unwrap();
        assert_eq!(floats("F64", &0.1_f64.to_le_bytes()), Tensor::f32("w", &[1], vec![0.1]));
        assert_eq!(floats("BF16", &[0x80, 0xbf]), Tensor::f32("w", &[1], vec![-1.0]));
        assert_eq!(floats("F16", &[0x00, 0xc2]), Tensor::f32("w", &[1], vec![-3.0]));
        let integer = |dtype, data: &[u8]| only(dtype, "[]", data).unwrap().data;
        for (dtype, data, value) in [
            ("I64", &(-7_i64).to_le_bytes()[..], -7),
            ("U64", &u64::MAX.to_le_bytes(), i64::MAX),
            ("I32", &(-7_i32).to_le_bytes(), -7),
            ("U32", &u32::MAX.to_le_bytes(), i64::from(u32::MAX)),
            ("I16", &[0xf9, 0xff], -7),
            ("U16", &[0xf9, 0xff], 0xfff9),
            ("I8", &[0xf9], -7),
            ("U8", &[0xf9], 0xf9),
            ("BOOL", &[1], 1),
        ] {
            assert_eq!(integer(dtype, data), Data::I64(vec![value]), "{dtype}");
        }
    }

    #[test]
    fn halves_are_widened_exactly() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x0001, 2.0_f32.powi(-24)),
            (0x03ff, 1023.0 * 2.0_f32.powi(-24)),
            (0x0400, 2.0_f32.powi(-14)),
            (0x3555, 0.333_251_95),
            (0x7bff, 65_504.0),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(from_f16(bits).to_bits(), value.to_bits(), "{bits:04x}");
            assert_eq!(from_f16(bits | 0x8000).to_bits(), (-value).to_bits(), "{bits:04x}");
        }
        assert!(from_f16(0x7e00).is_nan());
    }

    #[test]
    fn types_that_are_not_read_are_named() {
        let error = only("F8_E4M3", "[1]", &[0]).unwrap_err();
        assert!(
            error.to_string().ends_with("w: F8_E4M3 values; only F16, BF16, F32, F64 and integers are read"),
            "{error}"
        );
        let error = only("U8", "[65537]", &vec![0; 65_537]).unwrap_err();
        assert!(error.to_string().ends_with("w: 65537 values of type U8 are no weights"), "{error}");
    }

    #[test]
    fn files_of_other_formats_say_what_they_are_and_what_to_do() {
        for (bytes, what, hint) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..],
                "is a git-LFS pointer",
                "git lfs pull",
            ),
            (
                b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0data.pkl",
                "is a PyTorch file",
                "save_file",
            ),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "is a PyTorch file", "save_file"),
            (b"\x80\x04\x95", "is a Python pickle", "save_file"),
            (b"\x89HDF\r\n\x1a\n", "is an HDF5 file", "safetensors alone"),
            (b"GGUF\x03\0\0\0", "is a GGUF file", "safetensors alone"),
            (b"\x08\x07\x12\x07pytorch", "is an ONNX file", "safetensors alone"),
            (b"PK\x03\x04", "is a zip archive", "torch.save"),
            (b"BZh9", "is a bzip2 archive", "unpack it"),
            (b"{\"weight_map\": {}}", "is a JSON text", "one file"),
            (b"<!doctype html>", "is a web page", "fetch it once more"),
        ] {
            let error = refused(bytes);
            assert!(
                error.to_string().contains(what) && error.to_string().ends_with("not a safetensors file"),
                "{error}"
            );
            assert!(error.hint().unwrap().contains(hint), "{error}: {:?}", error.hint());
        }
    }

    #[test]
    fn a_header_as_long_as_a_pickles_first_bytes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("640.safetensors");
        let header = format!("{:640}", r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#);
        fs::write(&path, with_header(&header, &1.0_f32.to_le_bytes())).unwrap();
        assert_eq!(read(&path).unwrap().0, [Tensor::f32("w", &[1], vec![1.0])]);
    }

    #[test]
    fn shapes_that_do_not_fit_and_repeated_names_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let wrong = [Tensor::f32("w", &[2, 2], vec![0.0; 3])];
        assert!(write(&path, &wrong, &BTreeMap::new()).is_err());
        let twice = [Tensor::i64("n", 1), Tensor::i64("n", 2)];
        assert!(write(&path, &twice, &BTreeMap::new()).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
