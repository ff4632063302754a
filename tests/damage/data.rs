//! Data sets: IDX, CIFAR, gzip and tar.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sse_sam::Error;
use sse_sam::data::{self, Dataset};
use sse_sam_tests::random::Numbers;
use tempfile::{TempDir, tempdir};

use super::memory::peak;
use super::{SLACK, is_content, program, stderr};

const RECORD: usize = 3073;

pub const NAMES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let sides = dimensions.iter().flat_map(|side| side.to_be_bytes());
    [0, 0, 8, dimensions.len() as u8].into_iter().chain(sides).chain(values.iter().copied()).collect()
}

/// Four good files: three training images of 2 x 2, two test images.
pub fn four() -> [Vec<u8>; 4] {
    let images: Vec<u8> = (0..12).collect();
    [idx(&[3, 2, 2], &images), idx(&[3], &[0, 2, 1]), idx(&[2, 2, 2], &images[4..]), idx(&[2], &[2, 0])]
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The six files of CIFAR-10, two records each.
fn batches() -> Vec<(String, Vec<u8>)> {
    let record =
        |label: u8| [vec![label], (0..RECORD - 1).map(|at| (at * 7 + usize::from(label)) as u8).collect()].concat();
    let names = (1..=5).map(|number| format!("data_batch_{number}.bin")).chain(["test_batch.bin".into()]);
    (0..).zip(names).map(|(number, name)| (name, [record(number), record(9 - number)].concat())).collect()
}

/// A tar header with any size, name and type.
fn header(name: &str, size: u64, kind: u8) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn entry(name: &str, bytes: &[u8]) -> Vec<u8> {
    let rest = bytes.len().next_multiple_of(512) - bytes.len();
    [header(name, bytes.len() as u64, b'0'), bytes.to_vec(), vec![0; rest]].concat()
}

/// An archive of the six files, with this in front of them.
pub fn archive(first: &[u8]) -> Vec<u8> {
    let files = batches().iter().flat_map(|(name, bytes)| entry(&format!("cifar/{name}"), bytes)).collect::<Vec<_>>();
    [first, &files, &[0; 1024]].concat()
}

/// Reads what is at `path`, in no more memory than `content` bytes ask for.
#[track_caller]
fn read(path: &Path, content: usize, what: &str) -> Result<Dataset, Error> {
    let (result, bytes) = peak(|| data::load(path.to_str().unwrap(), None));
    let most = 4 * content + SLACK;
    assert!(bytes <= most, "{what}: {bytes} bytes of memory for {content} bytes of data");
    result
}

/// Counts refusals; anything that is not refused by a typed error fails.
struct Cases {
    folder: TempDir,
    refused: usize,
}

impl Cases {
    fn new() -> Self {
        Self { folder: tempdir().unwrap(), refused: 0 }
    }

    #[track_caller]
    fn refuse(&mut self, path: &Path, content: usize, what: &str) {
        match read(path, content, what) {
            Err(error) if is_content(&error) => self.refused += 1,
            Err(error) => panic!("{what}: {error:?}"),
            Ok(_) => panic!("{what} is not noticed"),
        }
    }

    /// The four IDX files with one of them replaced.
    #[track_caller]
    fn idx(&mut self, at: usize, bytes: &[u8], content: usize, what: &str) {
        let folder = self.folder.path().to_owned();
        let files = four();
        (0..4).for_each(|file| {
            fs::write(folder.join(NAMES[file]), if file == at { bytes } else { &files[file] }).unwrap()
        });
        self.refuse(&folder, content, &format!("{}, {what}", NAMES[at]));
    }

    /// CIFAR's six files with one of them replaced.
    #[track_caller]
    fn cifar(&mut self, at: usize, bytes: &[u8], what: &str) {
        let folder = self.folder.path().to_owned();
        for (file, (name, good)) in batches().iter().enumerate() {
            fs::write(folder.join(name), if file == at { bytes } else { good }).unwrap();
        }
        self.refuse(&folder, 12 * RECORD, &format!("file {at} of CIFAR, {what}"));
    }

    #[track_caller]
    fn archive(&mut self, bytes: &[u8], content: usize, what: &str) {
        let path = self.folder.path().join("archive");
        fs::write(&path, bytes).unwrap();
        self.refuse(&path, content, what);
    }
}

#[test]
fn damaged_idx_files_are_refused() {
    let mut cases = Cases::new();
    for (at, whole) in four().iter().enumerate() {
        (0..whole.len()).for_each(|end| cases.idx(at, &whole[..end], 64, &format!("cut at {end}")));
        cases.idx(at, &[&whole[..], &[0]].concat(), 64, "a byte too long");
        let header = 4 + 4 * usize::from(whole[3]);
        for (byte, value) in (0..header).flat_map(|byte| [1, 0x7f, 0xff].map(|value| (byte, value))) {
            let mut changed = whole.clone();
            changed[byte] ^= value;
            cases.idx(at, &changed, 64, &format!("byte {byte} xor {value}"));
        }
        let packed = gzip(whole);
        (2..packed.len()).for_each(|end| cases.idx(at, &packed[..end], 64, &format!("gzip cut at {end}")));
        // Eight bytes of checksum and length.
        for byte in packed.len() - 8..packed.len() {
            let mut changed = packed.clone();
            changed[byte] ^= 0x10;
            cases.idx(at, &changed, 64, &format!("gzip's byte {byte}"));
        }
    }
    (3..=255).for_each(|label| cases.idx(3, &idx(&[2], &[2, label]), 64, &format!("label {label}")));
    println!("{} refusals", cases.refused);
    assert!(cases.refused >= 500, "{}", cases.refused);
}

#[test]
fn damaged_cifar_files_are_refused() {
    let mut cases = Cases::new();
    let (files, mut random) = (batches(), Numbers::new(3));
    for (at, (_, whole)) in files.iter().enumerate() {
        for _ in 0..20 {
            let end = loop {
                let end = random.below(whole.len());
                if end == 0 || !end.is_multiple_of(RECORD) {
                    break end;
                }
            };
            cases.cifar(at, &whole[..end], &format!("cut at {end}"));
        }
        cases.cifar(at, &[&whole[..], &[0]].concat(), "a byte too long");
        for label in (10..=255).step_by(5) {
            let mut changed = whole.clone();
            changed[RECORD] = label;
            cases.cifar(at, &changed, &format!("label {label}"));
        }
    }
    println!("{} refusals", cases.refused);
    assert!(cases.refused >= 300, "{}", cases.refused);
}

#[test]
fn damaged_archives_are_refused() {
    let mut cases = Cases::new();
    let (whole, mut random) = (archive(&[]), Numbers::new(4));
    let packed = gzip(&whole);
    for _ in 0..100 {
        // What comes after the last file is padding.
        let end = random.below(whole.len() - 2048);
        cases.archive(&whole[..end], whole.len(), &format!("tar cut at {end}"));
        let end = random.below(packed.len());
        cases.archive(&packed[..end], whole.len(), &format!("tar.gz cut at {end}"));
    }
    for byte in (0..512).filter(|byte| !(257..512).contains(byte)) {
        let mut changed = whole.clone();
        changed[byte] ^= 0x02;
        cases.archive(&changed, whole.len(), &format!("byte {byte} of a tar header"));
    }
    println!("{} refusals", cases.refused);
}

#[test]
fn names_links_and_sizes_that_lie_are_refused() {
    let mut cases = Cases::new();
    let good = &batches()[0].1;
    for name in ["../data_batch_1.bin", "/data_batch_1.bin", "cifar/../../x", "..", "/", "a/b/../../../etc/passwd"] {
        cases.archive(&archive(&entry(name, good)), 16 * RECORD, name);
        cases.archive(&gzip(&archive(&entry(name, good))), 16 * RECORD, name);
    }
    // A link, a device and a folder are no data; nobody follows them.
    for kind in *b"12345678S" {
        let mut files = Vec::new();
        for (name, bytes) in batches() {
            let mut head = header(&name, 0, if name == "data_batch_3.bin" { kind } else { b'0' });
            head[157..168].copy_from_slice(b"/etc/passwd");
            let mut head = tar::Header::from_byte_slice(&head).clone();
            head.set_cksum();
            let regular = name != "data_batch_3.bin";
            files.extend(if regular { entry(&name, &bytes) } else { head.as_bytes().to_vec() });
        }
        if kind != b'7' {
            cases.archive(&files, 16 * RECORD, &format!("type {}", char::from(kind)));
        }
    }
    let record = RECORD as u64;
    for size in [2 * record, 1 << 20, record << 23, 1 << 33, record << 40, u64::MAX / record * record, u64::MAX] {
        // The data end after a record.
        let lie = [header("cifar/data_batch_1.bin", size, b'0'), good[..RECORD].to_vec()].concat();
        cases.archive(&lie, 16 << 20, &format!("a file that says it has {size} bytes"));
        for kind in *b"LKxg" {
            let lie = [header("x", size, kind), vec![b'a'; 2048]].concat();
            cases.archive(&lie, 64 << 10, &format!("a {} entry that says it has {size} bytes", char::from(kind)));
        }
    }
    println!("{} refusals", cases.refused);
}

/// `count` zeros as gzip, made without ever holding them.
fn zeros(before: &[u8], count: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(before).unwrap();
    (0..count >> 20).for_each(|_| encoder.write_all(&[0; 1 << 20]).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn a_gzip_bomb_is_refused_in_bounded_memory() {
    let mut cases = Cases::new();
    let size = 1 << 28;
    let images = [0, 0, 8, 3].into_iter().chain([1_u32 << 8, 1 << 10, 1 << 10].into_iter().flat_map(u32::to_be_bytes));
    let bomb = zeros(&images.collect::<Vec<_>>(), size);
    let bound = bomb.len() * 100;
    assert!(bound < size, "the bomb is none");
    cases.idx(0, &bomb, bound, "a bomb that says how large it is");
    let small = zeros(&four()[0], size);
    cases.idx(0, &small, 64, "a bomb behind a small header");
    for name in ["cifar/data_batch_1.bin", "readme"] {
        let count = size as u64 / RECORD as u64 * RECORD as u64;
        cases.archive(&zeros(&header(name, count, b'0'), size), bound, &format!("a bomb in {name}"));
    }
    for kind in *b"LKxg" {
        cases.archive(&zeros(&header("x", size as u64, kind), size), bound, &format!("a bomb as a name, {kind}"));
    }
}

/// The names of everything under a folder.
fn tree(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.flat_map(|path| if path.is_dir() { tree(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

#[test]
fn a_refused_data_set_leaves_nothing_behind_and_the_process_small() {
    let folder = tempdir().unwrap();
    let evil = entry("../../escaped.bin", &batches()[0].1);
    let bomb = zeros(&header("data_batch_1.bin", (1 << 28) / 3073 * 3073, b'0'), 1 << 28);
    let link = [header("cifar", 0, b'2'), archive(&[])[..2000].to_vec()].concat();
    for (name, bytes) in [("evil.tar", archive(&evil)), ("bomb.tar.gz", bomb), ("cut.tar", link)] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let inner = folder.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    let before = tree(folder.path());
    for name in ["evil.tar", "bomb.tar.gz", "cut.tar"] {
        let data = format!("../../{name}");
        let output = program(&inner, &["train", "--device", "cpu", "--out", "out", "--data", &data]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with(&format!("sse-sam: ../../{name}: ")) && !text.contains("panicked"), "{text}");
        assert_eq!(tree(folder.path()), before, "{name}");
    }
    limited(&inner);
}

/// The bomb once more, in a process that the system lets have no more than 512 MiB of addresses.
#[cfg(target_os = "linux")]
fn limited(folder: &Path) {
    let command = format!(
        "ulimit -v 524288 && exec {} train --device cpu --out out --data ../../bomb.tar.gz",
        env!("CARGO_BIN_EXE_sse-sam")
    );
    let output = std::process::Command::new("sh").args(["-c", &command]).current_dir(folder).output().unwrap();
    let text = stderr(&output);
    assert!(output.status.code() == Some(1) && text.contains("the gzip data grow to more than"), "{text}");
}

#[cfg(not(target_os = "linux"))]
fn limited(_: &Path) {}
