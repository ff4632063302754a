//! What a file is, by how it begins: for files that are not what was asked for.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes that tell what a file is: a tar archive says so behind byte 257.
const HEAD: u64 = 512;

/// A kind of file that is taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A picture.
    Picture(&'static str),
    /// Files in one, to be unpacked.
    Archive(&'static str),
    /// What `torch.save` writes, in either form.
    Torch,
    /// Python objects.
    Pickle,
    /// Weights in safetensors.
    Safetensors,
    /// Another format of weights or networks.
    Network(&'static str),
    /// HDF5: weights of Keras as well as data.
    Hdf5,
    /// Another format of data.
    Data(&'static str),
    /// What git leaves in place of a large file.
    LfsPointer,
    /// What a server answers instead of a file.
    WebPage,
    /// JSON text.
    Json,
    /// A document or the like.
    Other(&'static str),
}

impl Found {
    /// What it is, with its article.
    pub fn name(self) -> String {
        match self {
            Self::Picture(name) => format!("a {name} picture"),
            Self::Archive(name) | Self::Network(name) | Self::Data(name) | Self::Other(name) => name.into(),
            Self::Torch => "a PyTorch file (torch.save)".into(),
            Self::Pickle => "a Python pickle".into(),
            Self::Safetensors => "a safetensors file".into(),
            Self::Hdf5 => "an HDF5 file".into(),
            Self::LfsPointer => "a git-LFS pointer, not the file that it stands for".into(),
            Self::WebPage => "a web page".into(),
            Self::Json => "a JSON text".into(),
        }
    }

    /// Whether it is neither a text nor JSON.
    pub fn is_no_text(self) -> bool {
        self != Self::Json
    }

    /// What a file that begins with these bytes is, where that is known.
    pub fn of(head: &[u8]) -> Option<Self> {
        let fixed = FIRST.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
        match fixed {
            Some((_, b"PK\x03\x04", _)) => Some(zip(head)),
            Some((_, b"RIFF", _)) => (head.get(8..12) == Some(b"WEBP")).then_some(Self::Picture("WebP")),
            Some(&(_, _, found)) => Some(found),
            None => by_content(head),
        }
    }

    /// What the file at `path` is, where it can be read and that is known.
    pub fn at(path: &Path) -> Option<Self> {
        let mut head = Vec::new();
        File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
        Self::of(&head)
    }
}

/// Where a file has which bytes, and what it is then.
const FIRST: [(usize, &[u8], Found); 39] = [
    (0, b"PK\x03\x04", Found::Archive("a zip archive")),
    (0, b"version https://git-lfs", Found::LfsPointer),
    (0, b"\x89HDF\r\n\x1a\n", Found::Hdf5),
    (0, b"GGUF", Found::Network("a GGUF file")),
    (4, b"TFL3", Found::Network("a TensorFlow Lite file")),
    (0, b"\x93NUMPY", Found::Data("a NumPy array (.npy)")),
    (0, b"MATLAB 5.0", Found::Data("a MATLAB file (.mat)")),
    (0, b"PAR1", Found::Data("a Parquet file")),
    (0, b"ARROW1", Found::Data("an Arrow file")),
    (0, b"FEA1", Found::Data("a Feather file")),
    (0, b"SQLite format 3", Found::Data("an SQLite database")),
    (0, b"Obj\x01", Found::Data("an Avro file")),
    (0, b"ORC", Found::Data("an ORC file")),
    (128, b"DICM", Found::Picture("DICOM")),
    (0, b"\x89PNG", Found::Picture("PNG")),
    (0, b"\xff\xd8\xff", Found::Picture("JPEG")),
    (0, b"GIF8", Found::Picture("GIF")),
    (0, b"II*\0", Found::Picture("TIFF")),
    (0, b"MM\0*", Found::Picture("TIFF")),
    (0, b"RIFF", Found::Picture("WebP")),
    (4, b"ftypavif", Found::Picture("AVIF")),
    (4, b"ftyphei", Found::Picture("HEIF")),
    (4, b"ftypmif1", Found::Picture("HEIF")),
    (4, b"ftyp", Found::Other("a film")),
    (0, b"P5\n", Found::Picture("PGM")),
    (0, b"P6\n", Found::Picture("PPM")),
    (0, b"\xfd7zXZ\0", Found::Archive("an xz archive")),
    (0, b"BZh", Found::Archive("a bzip2 archive")),
    (0, b"\x28\xb5\x2f\xfd", Found::Archive("a zstd archive")),
    (0, b"7z\xbc\xaf\x27\x1c", Found::Archive("a 7z archive")),
    (0, b"Rar!\x1a\x07", Found::Archive("a RAR archive")),
    (0, b"\x1f\x8b", Found::Archive("a gzip file")),
    (257, b"ustar", Found::Archive("a tar archive")),
    (0, b"%PDF", Found::Other("a PDF document")),
    (0, b"\x7fELF", Found::Other("a program")),
    // torch.save before 1.6: the number that its first pickle holds.
    (0, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", Found::Torch),
    // Protocol 0: a dictionary or a list at the front of the memo.
    (0, b"(dp", Found::Pickle),
    (0, b"(lp", Found::Pickle),
    (0, b"ccopy_reg", Found::Pickle),
];

/// What a zip archive is for, by the name of its first file.
fn zip(head: &[u8]) -> Found {
    let length = head.get(26..28).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes));
    let name = head.get(30..).unwrap_or_default();
    let name = String::from_utf8_lossy(&name[..name.len().min(length.into())]);
    match &*name {
        name if name.ends_with(".npy") => Found::Data("a NumPy archive (.npz)"),
        name if name.ends_with("data.pkl") => Found::Torch,
        "metadata.json" | "config.json" => Found::Network("a Keras file"),
        _ => Found::Archive("a zip archive"),
    }
}

fn by_content(head: &[u8]) -> Option<Found> {
    if head.get(8) == Some(&b'{')
        && head[..8].first_chunk().is_some_and(|size| u64::from_le_bytes(*size) <= 100_000_000)
    {
        return Some(Found::Safetensors);
    }
    match head {
        [0x80, 2..=5, ..] => return Some(Found::Pickle),
        // ONNX is a protocol buffer: the version of its format, then who wrote it, or of which operators.
        [8, 1..=20, b'\x12' | b'\x3a' | b'\x42', ..] => return Some(Found::Network("an ONNX file")),
        _ => {}
    }
    if head.starts_with(b"BM") && head.get(6..10) == Some(&[0; 4]) {
        return Some(Found::Picture("BMP"));
    }
    let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Some(Found::WebPage);
    }
    (text.starts_with('{') || text.starts_with("[{")).then_some(Found::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_how_they_begin() {
        for (head, name) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:"[..],
                "a git-LFS pointer, not the file that it stands for",
            ),
            (
                b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl",
                "a PyTorch file (torch.save)",
            ),
            (b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0x.npyAAAA", "a NumPy archive (.npz)"),
            (b"PK\x03\x04", "a zip archive"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch file (torch.save)"),
            (b"\x80\x04\x95", "a Python pickle"),
            (b"(dp1\nS'data'", "a Python pickle"),
            (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
            (b"\x08\x07\x12\x07pytorch", "an ONNX file"),
            (b"\xff\xd8\xff\xe0", "a JPEG picture"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture"),
            (b"\x10\0\0\0\0\0\0\0{}", "a safetensors file"),
            (b"\n<!DOCTYPE HTML><html>", "a web page"),
            (b" {\"a\": 1}", "a JSON text"),
        ] {
            assert_eq!(Found::of(head).map(Found::name).as_deref(), Some(name));
        }
        for head in [&b""[..], b"\x80", b"P", b"RIFF", b"\0\0\x08\x03", b"0,1,2\n", b"\x08", b"a/b.jpg 0\n"] {
            assert_eq!(Found::of(head), None, "{head:?}");
        }
    }

    #[test]
    fn a_header_of_640_bytes_is_no_pickle() {
        assert_eq!(Found::of(b"\x80\x02\0\0\0\0\0\0{\"w\""), Some(Found::Safetensors));
    }
}
