//! Data as other people have it: names, types and orders that are read, and formats that are told apart.

use super::*;

/// An IDX file of another type, its values as they lie in the file.
fn typed(kind: u8, dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = idx(dimensions, values);
    bytes[2] = kind;
    bytes
}

#[test]
fn emnists_names_are_found_and_one_of_several_sets_can_be_named() {
    let names = |set: &str| NAMES.map(|name| format!("{set}-{}.gz", name.replace("t10k", "test")));
    let mut files = Vec::new();
    for set in ["emnist-letters", "emnist-digits"] {
        files.extend(names(set).into_iter().zip(four()).map(|(name, (_, bytes))| (name, gzip(&bytes))));
    }
    let both = folder(&borrowed(&files));
    let (message, _, hint) = refusal(&both, None);
    assert_eq!(message, "holds IDX files of several data sets: emnist-digits, emnist-letters");
    assert!(hint.ends_with("emnist-digits"), "{hint}");
    let path = both.path().join("emnist-letters");
    let chosen = load(path.to_str().unwrap(), None).unwrap();
    assert_eq!((chosen.name.as_str(), train(&chosen).labels.as_slice()), ("emnist-letters", &[0, 2, 1][..]));
    let again = load(path.to_str().unwrap(), Some(Format::Idx)).unwrap();
    assert_eq!((train(&again), test(&again)), (train(&chosen), test(&chosen)));
    assert!(load(both.path().join("emnist").to_str().unwrap(), None).is_err());
    let one = folder(&borrowed(&files[..4]));
    assert_eq!(*train(&open(&one).unwrap()), *train(&chosen));
    fs::remove_file(one.path().join(&files[3].0)).unwrap();
    assert_eq!(refusal(&one, None).0, "emnist-letters-t10k-labels-idx1-ubyte is missing");
}

#[test]
fn files_that_a_finder_left_behind_are_no_data() {
    let files = folder(&four());
    NAMES.iter().for_each(|name| fs::write(files.path().join(format!("._{name}")), b"Mac OS X").unwrap());
    assert_eq!(train(&open(&files).unwrap()).labels, [0, 2, 1]);
}

#[test]
fn labels_may_be_wider_integers_and_the_first_of_qmnists_columns() {
    for (kind, width) in [(11, 2), (12, 4)] {
        let wide =
            |labels: &[u8]| labels.iter().flat_map(|&l| [vec![0; width - 1], vec![l]].concat()).collect::<Vec<_>>();
        let mut files = four();
        files[1].1 = typed(kind, &[3], &wide(&[0, 255, 1]));
        files[3].1 = typed(kind, &[2], &wide(&[2, 0]));
        let data = open(&folder(&files)).unwrap();
        assert_eq!((&train(&data).labels, &test(&data).labels, data.classes), (&vec![0, 255, 1], &vec![2, 0], 256));
    }
    for (kind, last) in [(11, &[0x7f, 0xfe][..]), (12, &[0, 0, 0x7f, 0xfe])] {
        let zeros = vec![0; 2 * last.len()];
        let data = open(&four_but(NAMES[1], typed(kind, &[3], &[last, &zeros].concat()))).unwrap();
        assert_eq!((&train(&data).labels, data.classes), (&vec![32_766, 0, 0], 32_767));
    }
    let mut files = four();
    let columns =
        |labels: &[u8]| labels.iter().flat_map(|&l| [&[0, 0, 0, l], &[9; 28][..]].concat()).collect::<Vec<_>>();
    files[1] = ("qmnist-train-labels-idx2-int", typed(12, &[3, 8], &columns(&[0, 2, 1])));
    files[3] = ("qmnist-test-labels-idx2-int", typed(12, &[2, 8], &columns(&[2, 0])));
    files[0].0 = "qmnist-train-images-idx3-ubyte";
    files[2].0 = "qmnist-test-images-idx3-ubyte";
    let data = open(&folder(&files)).unwrap();
    assert_eq!((&train(&data).labels, &test(&data).labels), (&vec![0, 2, 1], &vec![2, 0]));
}

#[test]
fn labels_that_no_row_holds_are_refused_at_their_byte() {
    for (kind, values, label, at) in [
        (11, vec![0, 0, 0x7f, 0xff, 0, 2], "32767", 10),
        (11, vec![0, 0, 0xff, 0xff, 0, 2], "-1", 10),
        (12, vec![0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff], "2147483647", 16),
        (12, vec![0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], "-2147483648", 8),
    ] {
        let (message, byte, hint) = refusal(&four_but(NAMES[1], typed(kind, &[3], &values)), None);
        assert_eq!(message, format!("{}: label {label} at byte {at} is not in 0..=32766", NAMES[1]));
        assert!(byte == Some(at) && hint.contains("32767"), "{hint}");
    }
    let (message, byte, _) = refusal(&four_but(NAMES[3], typed(12, &[2], &[0, 0, 0, 2, 0, 0, 0, 3])), None);
    assert_eq!((message.as_str(), byte), ("t10k-labels-idx1-ubyte: label 3 at byte 12 is not below 3", Some(12)));
    let (message, ..) = refusal(&four_but(NAMES[1], typed(12, &[3], &[0; 11])), None);
    assert!(message.ends_with("ends at byte 19, but 3 values need 20"), "{message}");
    // A cast to bytes would make labels of these.
    let (message, _, hint) = refusal(&four_but(NAMES[1], typed(13, &[3], &[0; 12])), None);
    assert!(message.ends_with("holds f32 values by byte 2, not labels of u8, i16 or i32"), "{message}");
    assert!(hint.contains("labels.astype('uint8')"), "{hint}");
}

#[test]
fn labels_in_columns_are_not_read_as_their_first() {
    let rows = |width: usize, columns: &[&[u8]]| -> Vec<u8> {
        let big = |&value: &u8| [vec![0; width - 1], vec![value]].concat();
        columns.iter().flat_map(|row| row.iter().flat_map(big)).collect()
    };
    let one_hot: [&[u8]; 3] = [&[1, 0, 0, 0, 0, 0, 0, 0], &[0, 0, 1, 0, 0, 0, 0, 0], &[0, 1, 0, 0, 0, 0, 0, 0]];
    for (kind, width, columns, values) in [
        (8, 1, 3, rows(1, &one_hot.map(|row| &row[..3]))),
        (8, 1, 8, rows(1, &one_hot)),
        (11, 2, 3, rows(2, &one_hot.map(|row| &row[..3]))),
        (12, 4, 8, rows(4, &one_hot)),
        (12, 4, 2, rows(4, &[&[0, 9], &[2, 9], &[1, 9]])),
    ] {
        assert_eq!(values.len(), 3 * columns * width);
        let (message, byte, hint) = refusal(&four_but(NAMES[1], typed(kind, &[3, columns as u32], &values)), None);
        let expected = format!("{}: holds 3 x {columns} labels by byte 4, {columns} columns for each image", NAMES[1]);
        assert_eq!((message, byte), (expected, Some(4)));
        assert!(hint.contains("argmax(axis=1)"), "{hint}");
    }
    let column = open(&four_but(NAMES[1], typed(8, &[3, 1], &[0, 2, 1]))).unwrap();
    assert_eq!(train(&column).labels, [0, 2, 1]);
}

#[test]
fn names_in_other_letters_and_bare_endings_are_found() {
    let plain = open(&folder(&four())).unwrap();
    let [a, b, c, d] = <[_; 4]>::try_from(four()).unwrap().map(|(_, bytes)| bytes);
    let other = folder(&[
        ("TRAIN-IMAGES-IDX3-UBYTE", a),
        ("Train-Labels.idx", b),
        ("test-images.IDX.GZ", gzip(&c)),
        ("t10k-labels-idx1-ubyte", d),
    ]);
    let other = open(&other).unwrap();
    assert_eq!((train(&other), test(&other)), (train(&plain), test(&plain)));
}

#[test]
fn two_files_of_one_role_must_be_the_same() {
    let twin = format!("{}.gz", NAMES[0]);
    let with = |bytes: Vec<u8>| {
        let mut files = four().to_vec();
        files.push((&twin, bytes));
        folder(&files)
    };
    let mut other = four()[0].1.clone();
    assert_eq!(*train(&open(&with(gzip(&other))).unwrap()), *train(&open(&folder(&four())).unwrap()));
    *other.last_mut().unwrap() ^= 1;
    for bytes in [gzip(&other), other[..20].to_vec()] {
        let (message, _, hint) = refusal(&with(bytes), None);
        assert_eq!(message, format!("{} and {twin} are both there and differ", NAMES[0]));
        assert!(hint.contains("move the one away"), "{hint}");
    }
}

#[test]
fn archives_that_leave_open_which_file_is_meant_are_refused() {
    let refused = |files: &[(String, Vec<u8>)], expected: &str| {
        let archive = folder(&[("c.tar", tar(files))]);
        for format in [None, Some(Format::Cifar100)] {
            let error = load(archive.path().join("c.tar").to_str().unwrap(), format).unwrap_err();
            assert!(error.to_string().ends_with(expected), "{error}");
            assert!(error.hint().unwrap().contains("unpack it"), "{error}");
        }
    };
    let hundred =
        |prefix: &str| ["train.bin", "test.bin"].map(|name| (format!("{prefix}{name}"), cifar(&[&[1, 42]]))).to_vec();
    refused(&[hundred("a/"), hundred("b/")].concat(), "c.tar: holds train.bin more than once");
    refused(&[hundred("a/"), cifar10("b/")].concat(), "c.tar: holds files of CIFAR-100 and of CIFAR-10");
}

#[test]
fn what_a_data_sets_file_is_instead_says_what_to_do() {
    let (message, _, hint) = refusal(&four_but(NAMES[0], idx(&[3, 4], &[0; 12])), None);
    assert!(message.ends_with("has 2 dimensions by byte 3, not 3 or 4") && hint.contains("reshape"), "{hint}");
    let (message, _, hint) = refusal(&four_but(NAMES[0], typed(13, &[3, 2, 2], &[0; 48])), None);
    assert!(message.ends_with("not unsigned bytes") && hint.contains("pixels"), "{message}");
    let train = |bytes: Vec<u8>| refusal(&folder(&[("train.bin", bytes), ("test.bin", vec![])]), None).2;
    assert_eq!(train(gzip(&cifar(&[&[0, 0]]))), "it is a gzip file: unpack it first");
    assert!(
        train(b"version https://git-lfs.github.com/spec/v1\n".to_vec())
            .ends_with("git lfs pull, in the repository, fetches that")
    );
    let files: Vec<_> = four().into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    told(
        &[("m.tar.gz", gzip(&tar(&files)))],
        "m.tar.gz",
        "is an archive of IDX files (train-images-idx3-ubyte), which are read from a folder",
        "unpack it",
    );
    told(&[("shard-0.tar", vec![])], "", "holds tar archives", "pictures in them are not read");
}

#[test]
fn the_order_of_channels_is_that_in_which_pictures_are_square() {
    let read = |sides: [u32; 3]| {
        let mut files = four();
        let size = sides.iter().product::<u32>() as u8;
        files[0].1 = idx(&[3, sides[0], sides[1], sides[2]], &(0..3 * size).collect::<Vec<_>>());
        files[2].1 = idx(&[2, sides[0], sides[1], sides[2]], &vec![0; 2 * usize::from(size)]);
        let data = open(&folder(&files)).unwrap();
        (data.image, train(&data).images[..4].to_vec())
    };
    assert_eq!(read([3, 4, 4]), (Shape::new(4, 4, 3), vec![0, 16, 32, 1]), "PyTorch's order");
    assert_eq!(read([4, 4, 3]), (Shape::new(4, 4, 3), vec![0, 1, 2, 3]));
    assert_eq!(read([1, 4, 4]), (Shape::new(4, 4, 1), vec![0, 1, 2, 3]));
    assert_eq!(read([3, 1, 1]), (Shape::new(1, 1, 3), vec![0, 1, 2, 3]));
    assert_eq!(read([1, 5, 3]), (Shape::new(1, 5, 3), vec![0, 1, 2, 3]), "a row of a signal");
}

#[test]
fn what_is_said_of_an_order_tells_both_readings_apart() {
    let notice = |sides: [u32; 3]| {
        let files =
            folder(&[("x", idx(&[1, sides[0], sides[1], sides[2]], &vec![0; sides.iter().product::<u32>() as usize]))]);
        super::super::idx::read_images(&files.path().join("x")).unwrap().2
    };
    assert_eq!(notice([32, 32, 3]), None);
    assert_eq!(notice([28, 28, 1]), None);
    assert_eq!(notice([1, 28, 28]), None, "of one channel both orders are the same bytes");
    assert_eq!(
        notice([3, 32, 32]).unwrap(),
        "1 x 3 x 32 x 32 values are read as 32 x 32 pixels of 3 channels, plane after plane"
    );
    assert!(notice([3, 4, 4]).unwrap().contains("are read as 4 x 4 pixels of 3 channels; if that is wrong, "));
    assert!(notice([3, 9, 4]).unwrap().contains("are read as 3 x 9 pixels of 4 channels; if that is wrong, "));
}

#[test]
fn zeros_behind_gzip_are_padding_and_anything_else_is_not() {
    let whole = gzip(&four()[0].1);
    let plain = open(&folder(&four())).unwrap();
    for zeros in [1, 2, 511, 512, 70_000] {
        let padded = [&whole[..], &vec![0; zeros]].concat();
        assert_eq!(*train(&open(&four_but(NAMES[0], padded)).unwrap()), *train(&plain), "{zeros}");
    }
    let files = four();
    let (front, back) = files[0].1.split_at(9);
    let members = [gzip(front), vec![0; 3], gzip(back)].concat();
    assert_eq!(*train(&open(&four_but(NAMES[0], members)).unwrap()), *train(&plain));
    for garbage in [&b"x"[..], b"\0\0x", b"\x1f", b"\0\x1f\x8b\x08", b"\0\xff\0"] {
        let error = open(&four_but(NAMES[0], [&whole[..], garbage].concat())).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{garbage:?}: {error:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_read_is_not_called_empty() {
    use std::os::unix::fs::PermissionsExt;
    let files = folder(&borrowed(&cifar10("cifar-10-batches-bin/")));
    let lock = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let inner = files.path().join("cifar-10-batches-bin");
    for locked in [inner.as_path(), files.path()] {
        lock(locked, 0o000);
        let refused = fs::read_dir(locked).is_err().then(|| open(&files).unwrap_err());
        lock(locked, 0o755);
        let Some(error) = refused else {
            eprintln!("skipped: this user may read everything");
            return;
        };
        assert_eq!(error.to_string(), format!("{}: permission denied", locked.display()));
    }
}

/// What is said of files of other formats: the message, and whether the hint has this in it.
#[track_caller]
fn told(files: &[(&str, Vec<u8>)], source: &str, message: &str, hint: &str) {
    let files = folder(files);
    let path = files.path().join(source);
    let error = load(path.to_str().unwrap(), None).unwrap_err();
    let text = error.to_string().replace(files.path().to_str().unwrap(), "");
    assert!(text.contains(message), "{message:?} is not in {text:?}");
    assert!(error.hint().unwrap_or_default().contains(hint), "{hint:?} is not in {:?}", error.hint());
}

#[test]
fn folders_of_other_formats_say_what_they_hold_and_what_to_do() {
    let jpeg = b"\xff\xd8\xff\xe0".to_vec();
    let picture = |name| (name, jpeg.clone());
    told(
        &[picture("train/cat/1.jpg"), picture("train/dog/2.JPG")],
        "",
        "holds 2 pictures that cannot be used: /train/cat/1.jpg is JPEG that is cut off in its header; /train/dog/2.JPG",
        "--bad-images skip",
    );
    told(
        &[picture("cat/1.png"), ("train.csv", vec![])],
        "",
        "holds a picture that cannot be used: /cat/1.png is JPEG",
        "--bad-images skip",
    );
    told(&[("1.png", vec![])], "", "holds no class folder, but a picture", "is it a class itself?");
    told(&[("data/train-00000-of-00002.parquet", vec![])], "", "holds Parquet or Arrow files (data/train-00000", "npz");
    told(&[("x.npz", vec![])], "", "x.npz: is no whole zip archive", "download it again");
    told(&[("x.npy", vec![])], "", "holds NumPy files (x.npy)", "npz");
    told(&[("train_32x32.mat", vec![]), ("test_32x32.mat", vec![])], "", "holds MATLAB files (test_32x32.mat)", "npz");
    told(&[("a.tfrecord-00000-of-00010", vec![])], "", "holds TFRecord files", "npz");
    told(&[("data.mdb", vec![])], "", "holds databases (data.mdb)", "npz");
    told(&[("shard-000000.tar", vec![])], "", "holds tar archives", "unpack them");
    told(&[("mnist.zip", vec![])], "", "holds archives (mnist.zip)", "unpack them");
    told(&[("train2018.json", vec![])], "", "train2018.json: is no annotation file", "");
    told(&[("config.toml", vec![]), ("metrics.jsonl", vec![])], "", "is the folder of a run, not data", "resume");
    told(&[(".DS_Store", vec![])], "", "holds no file of a known data set", "data is digits");
    told(&[("a/b/readme", vec![])], "a/b/readme", "is empty", "again");
    let nested: Vec<_> = four().into_iter().map(|(name, bytes)| (format!("MNIST/raw/{name}"), bytes)).collect();
    told(&borrowed(&nested), "", "holds no file of a known data set itself", "MNIST/raw does: give that");
}

#[test]
fn an_empty_folder_is_called_that() {
    let (message, _, hint) = refusal(&folder(&[]), None);
    assert!(message.starts_with("is an empty folder") && hint.starts_with("data is digits"), "{message}");
}

#[test]
fn files_of_other_formats_say_what_they_are_and_what_to_do() {
    let one = |name: &'static str, bytes: &[u8], message: &str, hint: &str| {
        told(&[(name, bytes.to_vec())], name, message, hint)
    };
    one("a.jpg", b"\xff\xd8\xff\xe0", "is a JPEG picture, not a data set", "npz");
    one(
        "x.npz",
        b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0x.npy",
        "is no whole zip archive",
        "download it again",
    );
    one("x.zip", b"PK\x03\x04", "is a zip archive, which is not read", "unpack it");
    one("data_batch_1", b"\x80\x02}q\x01", "is a Python pickle, which is not read", "Python version");
    one("x.pkl", b"\x80\x04\x95", "is a Python pickle, which is not read", "npz");
    one("train_32x32.mat", b"MATLAB 5.0 MAT-file", "is a MATLAB file (.mat), which is not read", "npz");
    one("x.mat", b"\x89HDF\r\n\x1a\n", "is an HDF5 file, which is not read", "npz");
    one("x.parquet", b"PAR1", "is no whole Parquet file", "again");
    one("list.txt", b"a/b.jpg 0\n", "names files that are not there: 1 of 1, first in line 1: a/b.jpg", "--data-root");
    one("train.csv", b"file_name,label\n", "names no picture", "a path and a label");
    one("list.txt", b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer", "git lfs pull");
    one("list.txt", b"", "is empty", "again");
    one("x.tfrecord", &[1; 40], "is a TFRecord file", "npz");
    one("x.json", b"{\"images\": []}", "has no annotations", "--test");
    one("x.tar.xz", b"\xfd7zXZ\0", "is an xz archive, which is not read", "unpack it");
    one("x.tar.gz", &gzip(b"\x80\x02}q\x01"), "is a Python pickle", "npz");
    one("cifar.tar.gz", b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer", "git lfs pull");
    one("cifar.tar.gz", b"<!DOCTYPE html>", "is a web page, not data", "fetch it once more");
    one("best.safetensors", b"\x02\0\0\0\0\0\0\0{}", "is a safetensors file, not data", "--init");
    let shard = tar(&[("0.jpg".into(), vec![1]), ("0.cls".into(), vec![1])]);
    one("shard.tar", &shard, "holds a picture that cannot be used: /shard.tar: 0.jpg", "--bad-images skip");
}

#[test]
fn pointers_and_pages_under_a_data_sets_own_names_are_told_apart() {
    let (message, byte, hint) =
        refusal(&four_but(NAMES[0], b"version https://git-lfs.github.com/spec/v1\n".to_vec()), None);
    assert!(message.contains("which is not an IDX file's") && byte == Some(0), "{message}");
    assert!(hint.starts_with("it is a git-LFS pointer, not the file that it stands for: git lfs pull"), "{hint}");
    let page = folder(&[("train.bin", b"<html>404</html>".to_vec()), ("test.bin", vec![])]);
    assert_eq!(refusal(&page, None).2, "it is a web page: the download went wrong, fetch it once more");
}

#[test]
fn a_cut_that_no_factor_allows_is_not_answered_by_a_smaller_one() {
    let mut files = four();
    files[0].1 = idx(&[5, 2, 2], &[0; 20]);
    files[1].1 = idx(&[5], &[0, 0, 0, 2, 1]);
    let data = open(&folder(&files)).unwrap();
    let refused = counts_after(&data, Some(2.0), sse_sam_core::longtail::classes::Profile::Exponential).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.ends_with("has 3 to 1 training samples a class: --imbalance 2 of the smallest leaves a class without any"),
        "{text}"
    );
    assert_eq!(refused.hint().unwrap(), "without --imbalance the data is used as it is");
    assert_eq!(counts_after(&data, None, sse_sam_core::longtail::classes::Profile::Exponential).unwrap(), [3, 1, 1]);
}
