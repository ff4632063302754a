//! Named tensors in safetensors files, with PyTorch's names and layouts.

mod header;
mod layout;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Error;
use header::{Entry, Header, Kind};

pub use layout::{hwio_to_oihw, linear_from_chw, linear_to_chw, nchw_to_nhwc, oihw_to_hwio, transpose};

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
    // Wider values first: every tensor is then aligned to its own width, as readers that map the file like it.
    let mut order: Vec<&Tensor> = tensors.iter().collect();
    order.sort_by_key(|tensor| std::cmp::Reverse(tensor.data.width()));
    let header = header(path, &order, metadata)?;
    write_whole(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        order.iter().try_for_each(|tensor| write_values(file, &tensor.data))
    })
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

/// Puts a file in place whole or not at all: written under another name in the same folder, synchronised, renamed.
///
/// # Errors
/// [`Error::Io`] when the file system refuses; what lay at `path` before is still there then.
pub fn write_whole(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let result = write_synchronised(&partial, content)
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| synchronise_folder(path.parent()));
    result.map_err(|source| {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        Error::io(path, source)
    })
}

fn write_synchronised(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    content(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes a new name in a folder last through a loss of power, where the system can.
fn synchronise_folder(folder: Option<&Path>) -> io::Result<()> {
    let folder = folder.filter(|folder| cfg!(unix) && !folder.as_os_str().is_empty());
    match folder.map_or(Ok(()), |folder| File::open(folder)?.sync_all()) {
        Err(error) if [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported].contains(&error.kind()) => Ok(()),
        other => other,
    }
}

/// Reads every tensor, in the order of the file's data, and the metadata. `F64` is rounded to `f32`. Takes as much memory
/// as the tensors and the header, whatever the header says.
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
        Kind::F32 => values(reader, count, f32::from_le_bytes).map(Data::F32),
        Kind::F64 => values(reader, count, |bytes| f64::from_le_bytes(bytes) as f32).map(Data::F32),
        Kind::I64 => values(reader, count, i64::from_le_bytes).map(Data::I64),
    };
    Ok(Tensor { name, shape, data: data.map_err(|source| Error::io(path, source))? })
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

    #[test]
    fn doubles_are_rounded_and_other_types_are_named() {
        let header = r#"{"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f64.safetensors");
        fs::write(&path, with_header(header, &0.1_f64.to_le_bytes())).unwrap();
        assert_eq!(read(&path).unwrap().0, [Tensor::f32("w", &[1], vec![0.1])]);
        let header = r#"{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}"#;
        let error = refused(&with_header(header, &[0, 0]));
        assert!(error.to_string().ends_with("w: BF16 values; only F32, F64 and I64 are read"), "{error}");
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
