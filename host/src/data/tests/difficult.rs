//! Data sets of every format and files that break loaders, which are too large to keep with the source.

use std::fs::File;
use std::sync::OnceLock;

use super::*;

/// The folder of files that break loaders, unpacked once for all tests of this process.
pub(crate) fn difficult() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<TempDir>> = OnceLock::new();
    FOLDER.get_or_init(|| unpack("difficult.tar.gz")).as_ref().map(TempDir::path)
}

/// The folder of one data set in every format, unpacked once for all tests of this process.
pub(crate) fn trash() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<TempDir>> = OnceLock::new();
    FOLDER.get_or_init(|| unpack("trash-set.tar")).as_ref().map(TempDir::path)
}

fn unpack(name: &str) -> Option<TempDir> {
    let found = env::var_os("SSE_SAM_IMAGES").map(|folder| Path::new(&folder).join(name)).filter(|path| path.is_file());
    let Some(path) = found else {
        eprintln!("skipped: SSE_SAM_IMAGES names no folder with {name}");
        return None;
    };
    let folder = tempdir().unwrap();
    let file = File::open(path).unwrap();
    if name.ends_with(".gz") {
        ::tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(folder.path()).unwrap();
    } else {
        ::tar::Archive::new(file).unpack(folder.path()).unwrap();
    }
    let inner = folder.path().join(name.split('.').next().unwrap());
    if !inner.is_dir() {
        return Some(folder);
    }
    let flat = tempdir().unwrap();
    fs::rename(inner, flat.path().join("data")).unwrap();
    fs::read_dir(flat.path().join("data")).unwrap().for_each(|entry| {
        let path = entry.unwrap().path();
        fs::rename(&path, flat.path().join(path.file_name().unwrap())).unwrap();
    });
    Some(flat)
}
