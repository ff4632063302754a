use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use sse_sam_core::Shape;
use tempfile::{TempDir, tempdir};

use super::*;

mod difficult;
mod elsewhere;
mod npz;
mod parquet;
mod pickle;
mod webdataset;

fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|side| bytes.extend(side.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// Writes a file in the place of another one: some file systems wait for the disk where one is cut and written again.
fn anew(path: &Path, bytes: &[u8]) {
    drop(fs::remove_file(path));
    fs::write(path, bytes).unwrap();
}

const NAMES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// Four good files: three training images of 2 x 2, two test images.
fn four() -> Vec<(&'static str, Vec<u8>)> {
    let files = [
        idx(&[3, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        idx(&[3], &[0, 2, 1]),
        idx(&[2, 2, 2], &[20, 21, 22, 23, 24, 25, 26, 27]),
        idx(&[2], &[2, 0]),
    ];
    NAMES.into_iter().zip(files).collect()
}

/// The four good files with one replaced.
fn four_but(name: &str, bytes: Vec<u8>) -> TempDir {
    let mut files = four();
    files.iter_mut().find(|(found, _)| *found == name).unwrap().1 = bytes;
    folder(&files)
}

fn open(folder: &TempDir) -> Result<Dataset, Error> {
    load(folder.path().to_str().unwrap(), None)
}

/// The training set in memory.
fn train(data: &Dataset) -> &Split {
    data.train.resident().unwrap()
}

/// The test set in memory.
fn test(data: &Dataset) -> &Split {
    data.test.resident().unwrap()
}

/// The message after the folder, the byte, and the hint of what a folder is refused for.
fn refusal(folder: &TempDir, format: Option<Format>) -> (String, Option<u64>, String) {
    let error = load(folder.path().to_str().unwrap(), format).unwrap_err();
    let message =
        error.to_string().replace(folder.path().to_str().unwrap(), "").trim_start_matches(['/', ':', ' ']).into();
    let byte = if let Error::File { byte, .. } = &error { *byte } else { None };
    (message, byte, error.hint().unwrap_or_default())
}

#[test]
fn the_digits_are_built_in() {
    let data = load("digits", None).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.classes, data.image), (3823, 1797, 10, Shape::new(8, 8, 1)));
    assert_eq!(data.counts(), [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]);
    assert_eq!(data.test.counts(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    assert_eq!(train(&data).images[..8], [0, 1, 6, 15, 12, 1, 0, 0]);
    assert_eq!(test(&data).images[..8], [0, 0, 5, 13, 9, 1, 0, 0]);
    assert_eq!(train(&data).images.len() + test(&data).images.len(), 64 * 5620);
    assert_eq!(train(&data).images.iter().chain(&test(&data).images).max(), Some(&16));
    let again = load("digits", Some(Format::Digits)).unwrap();
    assert_eq!((train(&again), test(&again)), (train(&data), test(&data)));
}

#[test]
fn a_format_that_contradicts_the_source_is_a_usage_error() {
    for (source, format) in [("digits", Format::Idx), (".", Format::Digits)] {
        assert_eq!(load(source, Some(format)).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn a_missing_source_and_an_unknown_folder_say_what_data_may_be() {
    let error = load("no/such/folder", None).unwrap_err();
    assert_eq!(error.to_string(), "no/such/folder: no such file or folder");
    assert!(error.hint().unwrap().starts_with("data is digits, pictures"));
    let (message, _, hint) = refusal(&folder(&[("notes.txt", vec![])]), None);
    assert_eq!(message, "holds no file of a known data set");
    assert!(hint.starts_with("data is digits, pictures"));
}

#[test]
fn idx_files_are_read() {
    let data = open(&folder(&four())).unwrap();
    assert_eq!((data.format, data.image, data.classes), (Format::Idx, Shape::new(2, 2, 1), 3));
    assert_eq!(train(&data).images, (0..12).collect::<Vec<_>>());
    assert_eq!(train(&data).labels, [0, 2, 1]);
    assert_eq!(*test(&data), Split { image: data.image, images: (20..28).collect(), labels: vec![2, 0] });
    assert_eq!((data.counts(), data.empty_classes()), (vec![1, 1, 1], vec![]));
}

#[test]
fn gzip_is_told_by_content_and_other_usual_names_are_found() {
    let plain = open(&folder(&four())).unwrap();
    let [a, b, c, d] = four().try_into().unwrap();
    let other = folder(&[
        ("train-images.idx3-ubyte", gzip(&a.1)),
        ("train-labels.idx1-ubyte.gz", b.1),
        ("test-images-idx3-ubyte.gz", gzip(&c.1)),
        ("test-labels.idx1-ubyte", d.1),
    ]);
    let other = open(&other).unwrap();
    assert_eq!((train(&other), test(&other)), (train(&plain), test(&plain)));
}

#[test]
fn channels_may_come_last_or_first_and_last_wins() {
    let read = |sides: [u32; 3]| {
        let mut files = four();
        files[0].1 = idx(&[3, sides[0], sides[1], sides[2]], &(0..72).collect::<Vec<_>>());
        files[2].1 = idx(&[2, sides[0], sides[1], sides[2]], &[0; 48]);
        let data = open(&folder(&files)).unwrap();
        (data.image, train(&data).images[..4].to_vec())
    };
    assert_eq!(read([2, 4, 3]), (Shape::new(2, 4, 3), vec![0, 1, 2, 3]));
    assert_eq!(read([3, 2, 4]), (Shape::new(3, 2, 4), vec![0, 1, 2, 3]));
    assert_eq!(read([3, 4, 2]), (Shape::new(4, 2, 3), vec![0, 8, 16, 1]));
}

#[test]
fn planes_become_pixels() {
    let mut files = four();
    files[0].1 = idx(&[3, 3, 2, 5], &(0..90).collect::<Vec<_>>());
    files[2].1 = idx(&[2, 3, 2, 5], &[0; 60]);
    let data = open(&folder(&files)).unwrap();
    assert_eq!(data.image, Shape::new(2, 5, 3));
    assert_eq!(train(&data).images[..6], [0, 10, 20, 1, 11, 21]);
    assert_eq!(train(&data).images[30..33], [30, 40, 50]);
}

#[test]
fn a_class_without_training_images_is_allowed_and_reported() {
    let data = open(&four_but(NAMES[1], idx(&[3], &[0, 4, 2]))).unwrap();
    assert_eq!((data.classes, data.empty_classes()), (5, vec![1, 3]));
}

#[test]
fn bad_idx_files_are_refused_at_the_byte() {
    let cases: [(&str, Vec<u8>, &str, u64); 13] = [
        (NAMES[0], vec![], "ends at byte 0, inside its header", 0),
        (NAMES[0], vec![0, 0, 8, 3, 0, 0], "ends at byte 6, inside its header", 6),
        (NAMES[0], b"PNG\0abc".to_vec(), "begins with 50 4e 47 00 at byte 0, which is not an IDX file's", 0),
        (NAMES[0], vec![0, 0, 13, 3, 0, 0, 0, 1], "holds f32 values by byte 2, not unsigned bytes", 2),
        (NAMES[0], idx(&[3], &[0, 2, 1]), "has 1 dimensions by byte 3, not 3 or 4", 3),
        (NAMES[0], idx(&[3, 2, 2], &[0; 11]), "ends at byte 27, but 3 x 2 x 2 values need 28", 27),
        (NAMES[0], idx(&[3, 2, 2], &[0; 13]), "goes on after byte 28, where its 3 x 2 x 2 values end", 28),
        (NAMES[0], idx(&[3, 0, 2], &[]), "dimensions 3 x 0 x 2 at byte 4 hold nothing", 4),
        (
            NAMES[0],
            idx(&[u32::MAX; 4], &[]),
            "dimensions 4294967295 x 4294967295 x 4294967295 x 4294967295 at byte 4 are too large",
            4,
        ),
        (NAMES[0], idx(&[3, 2, 2, 2], &[0; 24]), "dimensions 3 x 2 x 2 x 2 at byte 4 have no place for channels", 4),
        (NAMES[1], idx(&[4], &[0; 4]), "4 labels by byte 4 for the 3 images of train-images-idx3-ubyte", 4),
        (NAMES[3], idx(&[2], &[2, 3]), "label 3 at byte 9 is not below 3", 9),
        (
            NAMES[2],
            idx(&[2, 1, 4], &[0; 8]),
            "images are 1 x 4 x 1 by the header at byte 8, but those of train-images-idx3-ubyte are 2 x 2 x 1",
            8,
        ),
    ];
    for (name, bytes, expected, at) in cases {
        let (message, byte, _) = refusal(&four_but(name, bytes), None);
        assert_eq!((message, byte), (format!("{name}: {expected}"), Some(at)));
    }
}

#[test]
fn a_header_that_promises_more_than_memory_is_refused_without_asking_for_it() {
    let (message, byte, _) = refusal(&four_but(NAMES[0], idx(&[u32::MAX, 1 << 14, 1 << 14], &[7; 9])), None);
    assert!(message.contains("ends at byte 25, but"), "{message}");
    assert_eq!(byte, Some(25));
}

#[test]
fn a_missing_idx_file_is_named() {
    for (skipped, name) in NAMES.into_iter().enumerate() {
        let mut files = four();
        files.remove(skipped);
        assert_eq!(refusal(&folder(&files), None).0, format!("{name} is missing"));
    }
}

#[test]
fn damaged_gzip_is_refused() {
    let whole = gzip(&four()[0].1);
    let (cut, _, hint) = refusal(&four_but(NAMES[0], whole[..whole.len() - 9].to_vec()), None);
    assert!(cut.contains("is cut off after byte") && hint.contains("again"), "{cut}");
    let mut flipped = whole.clone();
    let checksum = flipped.len() - 6;
    flipped[checksum] ^= 1;
    let (damaged, ..) = refusal(&four_but(NAMES[0], flipped), None);
    assert!(damaged.contains("the gzip data is damaged"), "{damaged}");
}

/// Records of CIFAR: labels, then planes of 1, 2 and 3 plus the record's number.
fn cifar(labels: &[&[u8]]) -> Vec<u8> {
    let record = |(number, labels): (u8, &&[u8])| {
        let planes = (1..=3).flat_map(move |plane| [plane * 10 + number; 1024]);
        labels.iter().copied().chain(planes).collect::<Vec<_>>()
    };
    (0..).zip(labels).flat_map(record).collect()
}

fn cifar10(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let batch = |number: u8| (format!("{prefix}data_batch_{number}.bin"), cifar(&[&[number], &[9]]));
    let test = (format!("{prefix}test_batch.bin"), cifar(&[&[7]]));
    // As in the published archive, not in order.
    [2, 1, 5, 4, 3].map(batch).into_iter().chain([test]).collect()
}

fn borrowed(files: &[(String, Vec<u8>)]) -> Vec<(&str, Vec<u8>)> {
    files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect()
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ::tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn check_cifar10(data: &Dataset) {
    assert_eq!((data.format, data.image, data.classes), (Format::Cifar10, Shape::new(32, 32, 3), 10));
    assert_eq!(train(data).labels, [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
    assert_eq!(train(data).images[..6], [10, 20, 30, 10, 20, 30]);
    assert_eq!(train(data).images[3072..3075], [11, 21, 31]);
    assert_eq!((test(data).labels.as_slice(), test(data).images.len()), (&[7][..], 3072));
}

#[test]
fn cifar10_is_read_from_a_folder_its_parent_and_an_archive() {
    check_cifar10(&open(&folder(&borrowed(&cifar10("")))).unwrap());
    let nested = cifar10("cifar-10-batches-bin/");
    check_cifar10(&open(&folder(&borrowed(&nested))).unwrap());
    let archive = folder(&[("c.tar.gz", gzip(&tar(&nested))), ("c.tar", tar(&nested))]);
    for name in ["c.tar.gz", "c.tar"] {
        let path = archive.path().join(name);
        check_cifar10(&load(path.to_str().unwrap(), None).unwrap());
    }
}

#[test]
fn cifar100_takes_the_fine_label() {
    let files = [("train.bin", cifar(&[&[19, 99], &[0, 3]])), ("test.bin", cifar(&[&[1, 42]]))];
    let data = open(&folder(&files)).unwrap();
    assert_eq!((data.format, data.classes), (Format::Cifar100, 100));
    assert_eq!((&train(&data).labels, &test(&data).labels), (&vec![99, 3], &vec![42]));
    assert_eq!(train(&data).images[..3], [10, 20, 30]);
}

#[test]
fn the_other_kind_of_cifar_is_recognised_and_can_be_insisted_on() {
    let files = folder(&[("train.bin", cifar(&[&[1], &[9]])), ("test.bin", cifar(&[&[7]]))]);
    let (message, byte, hint) = refusal(&files, None);
    assert_eq!(message, "train.bin: ends at byte 6146, inside the record of 3074 bytes that starts at byte 3074");
    assert_eq!((byte, hint.as_str()), (Some(6146), "this looks like a CIFAR-10 file; try --dataset cifar10"));
    let data = load(files.path().to_str().unwrap(), Some(Format::Cifar10)).unwrap();
    assert_eq!((data.format, &train(&data).labels), (Format::Cifar10, &vec![1, 9]));
}

#[test]
fn bad_cifar_labels_are_refused_at_the_byte() {
    let test = cifar(&[&[0, 0]]);
    let fine = folder(&[("train.bin", cifar(&[&[0, 0], &[3, 117]])), ("test.bin", test.clone())]);
    assert_eq!(refusal(&fine, None).0, "train.bin: label 117 at byte 3075 is not below 100");
    let coarse = folder(&[("train.bin", cifar(&[&[0, 0], &[20, 1]])), ("test.bin", test)]);
    let (message, byte, _) = refusal(&coarse, None);
    assert_eq!((message.as_str(), byte), ("train.bin: coarse label 20 at byte 3074 is not below 20", Some(3074)));
    let mut files = cifar10("");
    files[0].1 = cifar(&[&[10]]);
    assert_eq!(refusal(&folder(&borrowed(&files)), None).0, "data_batch_2.bin: label 10 at byte 0 is not below 10");
}

#[test]
fn missing_empty_and_cut_cifar_files_are_named() {
    let mut files = cifar10("");
    files.retain(|(name, _)| name != "data_batch_3.bin");
    let (message, _, hint) = refusal(&folder(&borrowed(&files)), None);
    assert_eq!(message, "data_batch_3.bin is missing");
    assert!(hint.contains("test_batch.bin"));
    let archive = folder(&[("c.tar.gz", gzip(&tar(&files)))]);
    let path = archive.path().join("c.tar.gz");
    let error = load(path.to_str().unwrap(), None).unwrap_err();
    assert!(error.to_string().ends_with("c.tar.gz: data_batch_3.bin is missing"), "{error}");
    let empty = folder(&[("train.bin", vec![]), ("test.bin", vec![])]);
    assert_eq!(refusal(&empty, None).0, "train.bin: is empty");
    let cut = folder(&[("train.bin", cifar(&[&[0, 0]])[..3000].to_vec()), ("test.bin", vec![])]);
    let (message, _, hint) = refusal(&cut, None);
    assert!(message.ends_with("ends at byte 3000, inside the record of 3074 bytes that starts at byte 0"), "{message}");
    assert_eq!(hint, "copy or download it again");
}

#[test]
fn every_cut_of_an_archive_is_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("cifar.tar.gz");
    let whole = gzip(&tar(&cifar10("cifar-10-batches-bin/")));
    for end in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..end]).unwrap();
        let error = load(path.to_str().unwrap(), None).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{end}: {error:?}");
    }
    fs::write(&path, whole).unwrap();
    assert!(load(path.to_str().unwrap(), None).is_ok());
}

#[test]
fn folders_of_two_formats_get_a_hint() {
    let mut files =
        borrowed(&cifar10("")).into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect::<Vec<_>>();
    files.extend(four().into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
    let both = folder(&borrowed(&files));
    let (message, _, hint) = refusal(&both, None);
    assert_eq!(
        (message.as_str(), hint.as_str()),
        ("holds files of idx and of cifar10", "--dataset says which to read")
    );
    check_cifar10(&load(both.path().to_str().unwrap(), Some(Format::Cifar10)).unwrap());
}

#[test]
fn a_single_file_is_refused_with_the_folder_as_hint() {
    let files = folder(&four());
    for format in [None, Some(Format::Idx), Some(Format::Cifar10)] {
        let error = load(files.path().join(NAMES[0]).to_str().unwrap(), format).unwrap_err();
        assert!(error.hint().unwrap().contains("give the folder that holds"), "{error}");
    }
}

/// A folder of data that is too large to keep with the source.
fn large(name: &str) -> Option<PathBuf> {
    let found = env::var_os("SSE_SAM_DATA").map(|folder| Path::new(&folder).join(name)).filter(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: SSE_SAM_DATA names no folder with {name}");
    }
    found
}

#[test]
fn fashion_mnist_is_read_whole() {
    let Some(path) = large("fashion-mnist") else { return };
    let data = load(path.to_str().unwrap(), None).unwrap();
    assert_eq!((data.format, data.image, data.classes), (Format::Idx, Shape::new(28, 28, 1), 10));
    assert_eq!((data.counts(), data.test.counts(10)), (vec![6000; 10], vec![1000; 10]));
    let all: Vec<u32> = (0..60_000).collect();
    let (mean, inverse) = normalization(&*data.train, &all, 1).unwrap();
    assert!((mean[0] / 255.0 - 0.2860).abs() < 1e-4 && (1.0 / inverse[0] / 255.0 - 0.3530).abs() < 1e-4);
}

#[test]
fn the_long_tail_of_cifar100_is_read_whole() {
    let Some(path) = large("cifar-100-lt100") else { return };
    let data = load(path.to_str().unwrap(), None).unwrap();
    assert_eq!((data.format, data.train.len(), data.test.counts(100)), (Format::Cifar100, 10_847, vec![100; 100]));
    let counts = data.counts();
    assert_eq!((counts[0], counts[99], counts.is_sorted_by(|a, b| a >= b)), (500, 5, true));
}
