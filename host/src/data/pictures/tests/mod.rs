//! Pictures against what Pillow and torchvision make of the same files.

mod difficult;
mod files;
mod fuzz;
mod memory;
mod transforms;

use std::path::{Path, PathBuf};
use std::{env, fs};

use super::decode::{Decoding, decode};
use crate::data::Picture;

/// The folder of small files that come with the tests.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/pictures")
}

/// The lines of a table behind its first, cut at commas; what is quoted has none that matter.
fn table(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// A set of pictures that is too large for the repository, unpacked; none where `SSE_SAM_IMAGES` does not say where it is.
fn unpacked(archive: &str) -> Option<tempfile::TempDir> {
    let Some(home) = env::var_os("SSE_SAM_IMAGES") else {
        println!("skipped: SSE_SAM_IMAGES does not name a folder with {archive}");
        return None;
    };
    let (file, folder) = (fs::File::open(Path::new(&home).join(archive)).unwrap(), tempfile::tempdir().unwrap());
    let bytes: Box<dyn std::io::Read> = match archive.ends_with(".gz") {
        true => Box::new(flate2::read::GzDecoder::new(file)),
        false => Box::new(file),
    };
    tar::Archive::new(bytes).unpack(folder.path()).unwrap();
    Some(folder)
}

/// The picture in a file that can be decoded.
fn decoded(path: &Path, how: &Decoding) -> Picture {
    let mut picture = Picture::new();
    decode(&fs::read(path).unwrap(), how, &mut picture).unwrap_or_else(|why| panic!("{} {why}", path.display()));
    picture
}

/// Whether each byte is within 4 of the right one, and 99.9 of 100 within 2; small pictures may have two that are not.
fn assert_near(found: &[u8], right: &[u8], what: &str) {
    assert_eq!(found.len(), right.len(), "{what}");
    let beyond = |bound: u8| found.iter().zip(right).filter(|(a, b)| a.abs_diff(**b) > bound).count();
    assert!(beyond(4) == 0 && beyond(2) <= (found.len() / 1000).max(2), "{what}: {} {}", beyond(4), beyond(2));
}
