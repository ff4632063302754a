//! NumPy's arrays: npz archives and npy files.

use super::difficult::{difficult, trash};
use super::*;
use crate::data::formats::npy::{self, Content};
use crate::data::formats::zip::Archive;

/// A file of one array.
fn npy(descr: &str, fortran: bool, shape: &str, values: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    versioned(1, &format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"), values)
}

fn versioned(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
    let length = (header.len() as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", &[version, 0][..], length, header.as_bytes(), values].concat()
}

/// A zip archive; a name that ends with `!` is stored, others are deflated.
fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let is_stored = name.ends_with('!');
        let name = name.trim_end_matches('!');
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
        deflate.write_all(content).unwrap();
        let packed = if is_stored { content.clone() } else { deflate.finish().unwrap() };
        let method = if is_stored { 0_u16 } else { 8 };
        let mut common = vec![20, 0, 0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc32fast::hash(content).to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((bytes.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend(name.as_bytes());
        bytes.extend(packed);
    }
    let (at, count) = (bytes.len() as u32, files.len() as u16);
    let size = directory.len() as u32;
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend([size.to_le_bytes(), at.to_le_bytes()].concat());
    bytes.extend([0; 2]);
    bytes
}

/// Three training pictures of 2 x 2, one to validate on and two to test, under MedMNIST's names.
fn six() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("train_images.npy", npy("|u1", false, "(3, 2, 2)", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])),
        ("train_labels.npy!", npy("|u1", false, "(3, 1)", &[0, 2, 1])),
        ("val_images.npy", npy("|u1", false, "(1, 2, 2)", &[30, 31, 32, 33])),
        ("val_labels.npy", npy("|u1", false, "(1, 1)", &[1])),
        ("test_images.npy", npy("|u1", false, "(2, 2, 2)", &[20, 21, 22, 23, 24, 25, 26, 27])),
        ("test_labels.npy", npy(">i4", false, "(2,)", &[0, 0, 0, 2, 0, 0, 0, 0])),
    ]
}

/// The six arrays with one replaced, as an archive.
fn six_but(name: &str, bytes: Vec<u8>) -> TempDir {
    let mut files = six();
    files.iter_mut().find(|(found, _)| found.trim_end_matches('!') == name).unwrap().1 = bytes;
    folder(&[("x.npz", zip(&files))])
}

fn open(folder: &TempDir) -> Result<Dataset, Error> {
    load(folder.path().join("x.npz").to_str().unwrap(), None)
}

fn check_six(data: &Dataset) {
    assert_eq!((data.format, data.image, data.classes), (Format::Npz, Shape::new(2, 2, 1), 3));
    assert_eq!((&train(data).images, &train(data).labels), (&(0..12).collect(), &vec![0, 2, 1]));
    let validation = data.validation.as_ref().unwrap().resident().unwrap();
    assert_eq!((&validation.images, &validation.labels), (&(30..34).collect(), &vec![1]));
    assert_eq!((&test(data).images, &test(data).labels), (&(20..28).collect(), &vec![2, 0]));
    assert_eq!((data.notices.len(), data.class_names.len()), (0, 0));
}

#[test]
fn an_archive_its_folder_and_a_folder_of_arrays_are_the_same_data() {
    let archive = folder(&[("x.npz", zip(&six()))]);
    check_six(&open(&archive).unwrap());
    check_six(&load(archive.path().to_str().unwrap(), None).unwrap());
    check_six(&load(archive.path().to_str().unwrap(), Some(Format::Npz)).unwrap());
    let arrays: Vec<_> = six().into_iter().map(|(name, bytes)| (name.trim_end_matches('!'), bytes)).collect();
    check_six(&load(folder(&arrays).path().to_str().unwrap(), None).unwrap());
}

#[test]
fn headers_of_every_version_order_of_keys_and_python_are_read() {
    let values: Vec<u8> = (0..12).collect();
    for (version, header) in [
        (1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2), }      \n"),
        (2, "{'shape': (3L, 2L, 2L), 'fortran_order': False, 'descr': '|u1'}"),
        (3, "{\"descr\":\"u1\",\"fortran_order\":False,\"shape\":(3,2,2,),}"),
    ] {
        check_six(&open(&six_but("train_images.npy", versioned(version, header, &values))).unwrap());
    }
    // The first index runs fastest.
    let fortran = npy("|u1", true, "(3, 2, 2)", &[0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7, 11]);
    check_six(&open(&six_but("train_images.npy", fortran)).unwrap());
}

#[test]
fn labels_of_every_integer_type_are_read() {
    for (descr, width, big) in
        [("<u2", 2, false), (">u4", 4, true), ("<i8", 8, false), (">i8", 8, true), ("|i1", 1, false), (">u8", 8, true)]
    {
        let value = |label: u8| {
            let mut bytes = vec![0; width];
            bytes[if big { width - 1 } else { 0 }] = label;
            bytes
        };
        let bytes: Vec<u8> = [0, 2, 1].into_iter().flat_map(value).collect();
        check_six(&open(&six_but("train_labels.npy", npy(descr, false, "(3,)", &bytes))).unwrap());
    }
}

#[test]
fn arrays_that_are_no_pictures_or_labels_are_refused() {
    let refused = |name: &str, bytes: Vec<u8>, message: &str| {
        let text = open(&six_but(name, bytes)).unwrap_err().to_string();
        assert!(
            text.replace(".npy", "").ends_with(&format!("x.npz: {}: {message}", name.replace(".npy", ""))),
            "{message:?} is not in {text:?}"
        );
    };
    let (images, labels) = ("train_images.npy", "train_labels.npy");
    refused(images, npy("<f4", false, "(3, 2, 2)", &[0; 48]), "holds float32 values, not unsigned bytes");
    refused(images, npy("|i1", false, "(3, 2, 2)", &[0; 12]), "holds int8 values, not unsigned bytes");
    refused(images, npy("|u1", false, "(3, 4)", &[0; 12]), "has 2 dimensions, not 3 or 4");
    refused(images, npy("|u1", false, "(0, 2, 2)", &[]), "dimensions 0 x 2 x 2 hold nothing");
    refused(images, npy("|u1", false, "(1, 2, 2, 2)", &[0; 8]), "dimensions 1 x 2 x 2 x 2 have no place for channels");
    refused(images, b"not an array".to_vec(), "does not begin as a NumPy array does");
    refused(images, b"\x93NUM".to_vec(), "is cut off or damaged");
    refused(images, versioned(4, "{}", &[]), "is version 4 of NumPy's format, not 1, 2 or 3");
    for header in ["", "{}", "{'descr': [('a', 'u1')], 'fortran_order': False, 'shape': (3, 2, 2)}", "{'descr': '|u1'"]
    {
        refused(images, versioned(1, header, &[0; 12]), "has a header that is not read");
    }
    let twice = "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2)}";
    refused(images, versioned(1, twice, &[0; 12]), "has a header that is not read");
    let short = "3 x 2 x 2 values of uint8 are 12 bytes, but 11 are there";
    refused(images, npy("|u1", false, "(3, 2, 2)", &[0; 11]), short);
    refused(images, npy("|u1", false, "(3, 2, 2)", &[0; 13]), &short.replace("11", "13"));
    refused(labels, npy("|u1", false, "(4,)", &[0; 4]), "4 labels for 3 pictures");
    refused(labels, npy("<f8", false, "(3,)", &[0; 24]), "holds float64 values, not integer labels");
    refused(labels, npy("|u1", false, "(3, 14)", &[0; 42]), "holds 3 x 14 labels, 14 for each picture");
    refused(labels, npy("|i1", false, "(3,)", &[0, 255, 1]), "label -1 in row 1 is not in 0..=32766");
    let wide = [[0; 8], [0, 0, 0, 0, 0, 0, 0, 128], [0; 8]].concat();
    refused(labels, npy("<u8", false, "(3,)", &wide), "label 9223372036854775808 in row 1 is not in 0..=32766");
    refused("test_labels.npy", npy("|u1", false, "(2,)", &[2, 3]), "label 3 in row 1 is not below 3");
    let other = "pictures are 1 x 4 x 1, but those to train on are 2 x 2 x 1";
    refused("test_images.npy", npy("|u1", false, "(2, 1, 4)", &[0; 8]), other);
}

#[test]
fn archives_of_other_arrays_say_what_they_hold() {
    let told = |files: &[(&str, Vec<u8>)], message: &str| {
        let error = open(&folder(&[("x.npz", zip(files))])).unwrap_err();
        assert!(error.to_string().ends_with(&format!("x.npz: {message}")), "{error}");
        assert!(error.hint().unwrap().contains("x_train"), "{error:?}");
    };
    let array = npy("|u1", false, "(1,)", &[0]);
    told(&[("a.npy", array.clone()), ("b/c.npy", array.clone())], "holds arrays of other names: a, b/c");
    told(&six()[..1], "train_labels is missing");
    let twice = open(&folder(&[("x.npz", zip(&[&six()[..], &six()[..1]].concat()))])).unwrap_err();
    assert!(twice.to_string().ends_with("x.npz: holds train_images more than once"), "{twice}");
    let (message, _, hint) = refusal(&folder(&[("a.npz", vec![]), ("b.npz", vec![])]), None);
    assert_eq!((message.as_str(), hint.as_str()), ("holds several NumPy archives: a.npz, b.npz", "give one of them"));
    let none = folder(&[("x.npy", array)]);
    let error = load(none.path().join("x.npy").to_str().unwrap(), None).unwrap_err();
    assert!(error.to_string().ends_with("is one NumPy array, not a data set"), "{error}");
}

#[test]
fn every_cut_and_every_flipped_bit_of_an_archive_is_refused_or_harmless() {
    let whole = zip(&six());
    let files = folder(&[("x.npz", vec![])]);
    let path = files.path().join("x.npz");
    for end in 0..whole.len() {
        anew(&path, &whole[..end]);
        assert!(matches!(load(path.to_str().unwrap(), Some(Format::Npz)), Err(Error::File { .. })), "{end}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        anew(&path, &bytes);
        if let Ok(data) = load(path.to_str().unwrap(), Some(Format::Npz)) {
            assert_eq!(train(&data).images, (0..12).collect::<Vec<_>>(), "{at}");
        }
    }
    // Times and comments do not matter, checksums do.
    let pixel = whole.windows(4).position(|bytes| bytes == [0, 2, 1, b'P']).unwrap();
    let mut bytes = whole;
    bytes[pixel + 1] = 0;
    fs::write(&path, bytes).unwrap();
    let error = load(path.to_str().unwrap(), None).unwrap_err();
    assert!(error.to_string().ends_with("train_labels.npy: is cut off or damaged"), "{error}");
}

#[test]
fn a_bomb_of_zeros_is_refused_before_memory_is_taken() {
    let mut bytes = zip(&six());
    let record = bytes.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
    bytes[record + 24..record + 28].copy_from_slice(&u32::MAX.to_le_bytes()[..]);
    bytes[record + 27] = 0x7f;
    let error = open(&folder(&[("x.npz", bytes)])).unwrap_err();
    assert!(error.to_string().contains("train_images.npy: promises 2147483647 bytes of content in"), "{error}");
}

/// What a file of the difficult ones gives.
fn answer(name: &str) -> Option<Result<Dataset, Error>> {
    Some(load(difficult()?.join("npz").join(name).to_str().unwrap(), None))
}

#[test]
fn difficult_archives_are_read() {
    for name in ["rgb", "stored", "grey", "fortran", "labels_int64_flat", "keras_x_y", "nchw"] {
        let Some(data) = answer(&format!("{name}.npz")) else { return };
        let data = data.unwrap();
        let channels = if matches!(name, "grey" | "keras_x_y") { 1 } else { 3 };
        assert_eq!((data.image, data.classes), (Shape::new(4, 4, channels), 3), "{name}");
        assert_eq!(train(&data).labels, [0, 1, 2, 0, 1, 2], "{name}");
        assert_eq!(test(&data).labels, [0, 1, 2], "{name}");
        assert_eq!(data.validation.is_some(), name != "keras_x_y", "{name}");
        let rgb = answer("rgb.npz").unwrap().unwrap();
        match name {
            "stored" | "fortran" | "labels_int64_flat" => assert_eq!(train(&data), train(&rgb), "{name}"),
            "nchw" => {
                assert_eq!(train(&data), train(&rgb), "the same pictures, plane after plane");
                let notice = &data.notices[0];
                assert!(
                    notice.ends_with("6 x 3 x 4 x 4 values are read as 4 x 4 pixels of 3 channels, plane after plane"),
                    "{notice}"
                );
            }
            _ => {}
        }
    }
}

#[test]
fn difficult_archives_are_refused_with_a_sentence() {
    for (name, message, hint) in [
        ("float01", "train_images.npy: holds float32 values, not unsigned bytes", "* 255"),
        ("multilabel", "train_labels.npy: holds 6 x 14 labels, 14 for each picture", "argmax"),
        ("three_d", "holds 6 x 4 x 4 x 3 x 3 values, pictures of three dimensions, which are not read", "slice"),
        ("objects", "train_images.npy: holds Python objects, which are not read: they would be unpickled", "np.stack"),
        ("truncated", "is no whole zip archive: the directory at its end is missing", "download it again"),
    ] {
        let Some(answer) = answer(&format!("{name}.npz")) else { return };
        let error = answer.unwrap_err();
        assert!(error.to_string().contains(message), "{name}: {error}");
        assert!(error.hint().unwrap().contains(hint), "{name}: {error:?}");
    }
}

#[test]
fn an_archive_without_a_test_set_is_for_one_that_is_set_aside() {
    let Some(answer) = answer("no_test.npz") else { return };
    let data = answer.unwrap();
    assert_eq!((train(&data).labels.len(), data.test.len(), data.validation.is_some()), (6, 0, false));
}

#[test]
fn difficult_arrays_are_read_or_refused() {
    let Some(root) = difficult() else { return };
    let content = |name: &str, read: &dyn Fn(Content<'_>) -> Result<Vec<u32>, Error>| {
        let place = root.join("npz").join(name);
        let bytes = fs::read(&place).unwrap();
        read(Content { place: &place, reader: &mut &bytes[..], length: bytes.len() as u64 })
    };
    for name in ["big_endian.npy", "labels.npy"] {
        assert_eq!(content(name, &|content| npy::labels(content, 6)).unwrap(), [0, 1, 2, 0, 1, 2], "{name}");
    }
    let pictures = |content: Content<'_>| Ok(npy::pictures(content)?.bytes.into_iter().map(u32::from).collect());
    let rgb = answer("rgb.npz").unwrap().unwrap();
    let expected: Vec<u32> = train(&rgb).images.iter().map(|&byte| byte.into()).collect();
    assert_eq!(content("images.npy", &pictures).unwrap(), expected);
    let error = content("lying_shape.npy", &|content| npy::labels(content, 1 << 40)).unwrap_err();
    assert!(error.to_string().contains("labels, 1048576 for each picture"), "{error}");
    let error = content("lying_shape.npy", &pictures).unwrap_err();
    assert!(error.to_string().ends_with("has 2 dimensions, not 3 or 4"), "{error}");
}

#[test]
fn a_set_of_the_real_size_is_read() {
    let Some(root) = trash() else { return };
    let data = load(root.join("trashmnist.npz").to_str().unwrap(), None).unwrap();
    assert_eq!((data.image, data.classes), (Shape::new(28, 28, 3), 6));
    assert_eq!(data.counts(), [30, 190, 58, 360, 104, 16]);
    assert_eq!(data.test.counts(6), [40; 6]);
    assert_eq!(data.validation.unwrap().counts(6), [12; 6]);
    assert_eq!(Archive::open(&root.join("trashmnist.npz")).unwrap().members.len(), 6);
}
