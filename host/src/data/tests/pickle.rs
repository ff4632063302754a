//! CIFAR's Python version.

use super::difficult::difficult;
use super::*;
use crate::data::formats::pickle::Pickle;

/// A text as Python 2 pickles it.
fn text(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b'T'];
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    bytes
}

fn number(number: u8) -> Vec<u8> {
    vec![b'K', number]
}

fn list(items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    [b"](", &*items.collect::<Vec<_>>().concat(), b"e"].concat()
}

/// A dictionary in protocol 2.
fn dictionary(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<u8> = pairs.iter().flat_map(|(key, value)| [text(key.as_bytes()), value.clone()].concat()).collect();
    [b"\x80\x02}(", &*pairs, b"u."].concat()
}

/// An array of unsigned bytes with so many columns.
fn matrix(rows: u8, columns: u16, fortran: bool, values: &[u8]) -> Vec<u8> {
    let mut bytes = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K".to_vec();
    bytes.push(rows);
    bytes.push(b'M');
    bytes.extend(columns.to_le_bytes());
    bytes.extend(b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb");
    bytes.push(if fortran { 0x88 } else { 0x89 });
    bytes.extend(text(values));
    bytes.extend(b"tb");
    bytes
}

/// A file of one picture of three colours for each label, with another label beside it.
fn batch(key: &str, labels: &[u8]) -> Vec<u8> {
    let numbers = |offset: u8| list(labels.iter().map(move |&label| number((label + offset) % 20)));
    let planes = |&label: &u8| [10, 20, 30].into_iter().flat_map(move |value| vec![value + label; 1024]);
    let pixels: Vec<u8> = labels.iter().flat_map(planes).collect();
    dictionary(&[
        ("filenames", list(labels.iter().map(|_| text(b"a.png")))),
        ("coarse_labels", numbers(1)),
        (key, list(labels.iter().map(|&label| number(label)))),
        ("data", matrix(labels.len() as u8, 3072, false, &pixels)),
    ])
}

fn names(key: &str, classes: usize) -> Vec<u8> {
    dictionary(&[(key, list((0..classes).map(|class| text(format!("class {class}").as_bytes()))))])
}

/// The Python version of both sets, and the binary one.
fn hundred() -> [Vec<(String, Vec<u8>)>; 2] {
    let python = [("train", batch("fine_labels", &[99, 3])), ("test", batch("fine_labels", &[42]))];
    let python = python.into_iter().chain([("meta", names("fine_label_names", 100))]);
    let record = |labels: &[u8]| {
        let planes = |&label: &u8| {
            let pixels = [10, 20, 30].into_iter().flat_map(move |value| vec![value + label; 1024]);
            [0, label].into_iter().chain(pixels)
        };
        labels.iter().flat_map(planes).collect()
    };
    let binary = [("train.bin", record(&[99, 3])), ("test.bin", record(&[42]))];
    let owned = |(name, bytes): (&str, Vec<u8>)| (name.to_owned(), bytes);
    [python.map(owned).collect(), binary.into_iter().map(owned).collect()]
}

fn ten() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> =
        (1..=5).map(|part| (format!("data_batch_{part}"), batch("labels", &[part, 9 - part]))).collect();
    files.push(("test_batch".into(), batch("labels", &[7])));
    files.push(("batches.meta".into(), names("label_names", 10)));
    files
}

/// The files in a sub-folder.
fn below(folder: &str, files: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    files.iter().map(|(name, bytes)| (format!("{folder}/{name}"), bytes.clone())).collect()
}

fn same(python: &Dataset, binary: &Dataset) {
    assert_eq!((python.format, python.image, python.classes), (binary.format, binary.image, binary.classes));
    assert_eq!((&train(python).labels, &test(python).labels), (&train(binary).labels, &test(binary).labels));
    assert!(train(python).images == train(binary).images && test(python).images == test(binary).images);
    assert_eq!(python.fingerprint(), binary.fingerprint());
}

#[test]
fn both_versions_of_cifar100_are_the_same_data() {
    let [python, binary] = hundred();
    let binary = open(&folder(&borrowed(&binary))).unwrap();
    let nested = below("cifar-100-python", &python);
    let archive = folder(&[("c.tar.gz", gzip(&tar(&nested))), ("c.tar", tar(&nested))]);
    let flat = folder(&borrowed(&python));
    let above = folder(&borrowed(&nested));
    for path in [flat.path().into(), above.path().into(), archive.path().join("c.tar.gz"), archive.path().join("c.tar")]
    {
        for format in [None, Some(Format::Cifar100)] {
            let data = load(path.to_str().unwrap(), format).unwrap();
            same(&data, &binary);
            assert_eq!((data.class_names.len(), data.class_names[42].as_str()), (100, "class 42"));
        }
    }
    // Names of classes may be missing.
    fs::remove_file(flat.path().join("meta")).unwrap();
    let data = open(&flat).unwrap();
    same(&data, &binary);
    assert!(data.class_names.is_empty());
}

#[test]
fn cifar10_is_read_batch_after_batch() {
    let nested = below("cifar-10-batches-py", &ten());
    let archive = folder(&[("c.tar.gz", gzip(&tar(&nested)))]);
    for path in [folder(&borrowed(&ten())), folder(&borrowed(&nested))]
        .iter()
        .map(|folder| load(folder.path().to_str().unwrap(), None))
        .chain([load(archive.path().join("c.tar.gz").to_str().unwrap(), Some(Format::Cifar10))])
    {
        let data = path.unwrap();
        assert_eq!((data.format, data.classes, data.class_names[3].as_str()), (Format::Cifar10, 10, "class 3"));
        assert_eq!(train(&data).labels, [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]);
        assert_eq!(train(&data).images[..6], [11, 21, 31, 11, 21, 31]);
        assert_eq!((test(&data).labels.as_slice(), &test(&data).images[3069..]), (&[7][..], &[17, 27, 37][..]));
    }
}

#[test]
fn folders_and_archives_that_lack_a_file_or_have_two_are_refused() {
    let mut files = ten();
    files.retain(|(name, _)| name != "data_batch_3");
    let (message, _, hint) = refusal(&folder(&borrowed(&files)), None);
    assert_eq!(message, "data_batch_3 is missing");
    assert!(hint.ends_with(
        "Python version has data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch"
    ));
    let refused = |files: &[(String, Vec<u8>)], expected: &str| {
        let archive = folder(&[("c.tar", tar(files))]);
        let error = load(archive.path().join("c.tar").to_str().unwrap(), None).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
    };
    refused(&files, "c.tar: data_batch_3 is missing");
    let [hundred, _] = hundred();
    refused(&[below("a", &hundred), below("b", &hundred)].concat(), "c.tar: holds train more than once");
    refused(&[hundred.clone(), ten()].concat(), "c.tar: holds files of CIFAR-100 and of CIFAR-10");
    let both = [below("cifar-10-batches-py", &ten()), below("cifar-100-python", &hundred)].concat();
    assert_eq!(refusal(&folder(&borrowed(&both)), None).0, "holds files of cifar10 and of cifar100");
    let (message, _, hint) = refusal(&folder(&borrowed(&hundred)), Some(Format::Cifar10));
    assert_eq!(message, "train: holds no labels");
    assert!(hint.ends_with("try --dataset cifar100"), "{hint}");
    for (files, expected) in [
        (vec![("train", vec![]), ("test", vec![]), ("meta", vec![])], "train: is empty"),
        (vec![("cifar-10-batches-py/data_batch_1", vec![])], "cifar-10-batches-py/data_batch_1: is empty"),
    ] {
        assert_eq!(refusal(&folder(&files), None).0, expected);
    }
}

#[test]
fn bad_pictures_and_labels_are_refused() {
    let good = matrix(1, 3072, false, &[7; 3072]);
    let one = |label: Vec<u8>, data: Vec<u8>| dictionary(&[("fine_labels", list([label].into_iter())), ("data", data)]);
    let refused = |train: Vec<u8>, expected: &str| {
        let test = batch("fine_labels", &[1]);
        assert_eq!(refusal(&folder(&[("train", train), ("test", test)]), None).0, format!("train: {expected}"));
    };
    refused(one(number(100), good.clone()), "label 100 of picture 0 (fine_labels) is not in 0..=99");
    refused(one(b"J\xff\xff\xff\xff".to_vec(), good.clone()), "label -1 of picture 0 (fine_labels) is not in 0..=99");
    refused(one(text(b"cat"), good.clone()), "fine_labels is no list of integers");
    refused(one(number(1), number(1)), "data is no NumPy array of two dimensions of unsigned bytes");
    refused(one(number(1), matrix(1, 3072, false, &[7; 3071])), "data has 3071 bytes for 1 x 3072 values of uint8");
    refused(one(number(1), matrix(1, 784, false, &[7; 784])), "data has 784 values for each picture, not 3072");
    refused(one(number(1), matrix(2, 3072, false, &[7; 6144])), "fine_labels has 1 labels for 2 pictures");
    refused(dictionary(&[("fine_labels", list([number(1)].into_iter()))]), "holds no data");
    let mut files = hundred()[0].clone();
    files[2].1 = names("fine_label_names", 20);
    assert_eq!(refusal(&folder(&borrowed(&files)), None).0, "meta: fine_label_names has 20 names for 100 classes");
}

#[test]
fn a_matrix_whose_columns_lie_one_after_the_other_is_turned() {
    let values: Vec<u8> = (0..6144).map(|at| (at % 251) as u8).collect();
    let turned: Vec<u8> = (0..3072).flat_map(|column| [values[column], values[3072 + column]]).collect();
    let read = |bytes| Pickle::read(Path::new("x"), dictionary(&[("data", bytes)])).unwrap().matrix("data").unwrap();
    assert_eq!(read(matrix(2, 3072, true, &turned)), read(matrix(2, 3072, false, &values)));
}

#[test]
fn values_of_every_protocol_are_read() {
    for integers in [
        &b"](I3\nI-4\nL5L\ne"[..],
        b"(K\x03J\xfc\xff\xff\xffM\x05\x00l",
        b"\x8a\x01\x03\x8a\x02\xfc\xff\x8a\x08\x05\0\0\0\0\0\0\0\x87",
        b"]q\x00K\x03aJ\xfc\xff\xff\xffaK\x05a",
        b"]\x94K\x03\x94aJ\xfc\xff\xff\xffaK\x05a0h\x00",
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x03\x85\
          cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R(K\x03U\x01>NNNK\0K\0K\x00tb\x89U\x06\x00\x03\xff\xfc\x00\x05tb",
    ] {
        let bytes = [b"}U\x01a", integers, b"s."].concat();
        let pickle = Pickle::read(Path::new("x"), bytes).unwrap();
        assert_eq!(pickle.integers("a").unwrap(), [3, -4, 5], "{integers:?}");
    }
    for texts in [
        &b"](S'\\xe9\\'a'\nS\"b\"\ne"[..],
        b"(U\x03\xe9'aU\x01bl",
        b"(c_codecs\nencode\nX\x04\0\0\0\xc3\xa9'aX\x06\0\0\0latin1\x86RC\x01bt",
    ] {
        let bytes = [b"\x80\x03}q\x01(X\x01\0\0\0a", texts, b"u."].concat();
        let pickle = Pickle::read(Path::new("x"), bytes).unwrap();
        assert_eq!(pickle.texts("a").unwrap(), ["\u{fffd}'a", "b"], "{texts:?}");
    }
    let unicode = b"\x80\x04\x95\0\0\0\0\0\0\0\0(\x8c\x01a](V\xc3\xa9\n\x8d\x01\0\0\0\0\0\0\0bed.".to_vec();
    assert_eq!(Pickle::read(Path::new("x"), unicode).unwrap().texts("a").unwrap(), ["é", "b"]);
}

#[test]
fn every_name_but_those_of_arrays_is_refused_and_nothing_is_called() {
    for (program, name) in [
        (&b"cos\nsystem\n(S'touch pwned'\ntR."[..], "os.system"),
        (b"\x80\x02cbuiltins\neval\nU\x011\x85R.", "builtins.eval"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "posix.system"),
        (b"cnumpy.core.multiarray\nscalar\n.", "numpy.core.multiarray.scalar"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"c_codecs\ndecode\n.", "_codecs.decode"),
    ] {
        let error = Pickle::read(Path::new("x"), program.to_vec()).unwrap_err();
        assert!(error.to_string().contains(&format!("{name}, which is no part of a data set, is called")), "{error}");
        assert!(error.hint().unwrap().contains("nothing was run"));
    }
    // Instructions that make objects of classes.
    for program in [&b"(i__main__\nX\n."[..], b"\x80\x02)\x81.", b"\x80\x04)}\x92.", b"P1\n.", b"K\x01Q.", b"\x82\x01."]
    {
        let error = Pickle::read(Path::new("x"), program.to_vec()).unwrap_err();
        assert!(error.to_string().contains("which no data set needs"), "{error}");
    }
}

#[test]
fn no_cut_and_no_flipped_bit_breaks_the_reader() {
    let whole = batch("fine_labels", &[99, 3]);
    for end in (0..whole.len()).filter(|end| *end < 400 || *end > whole.len() - 40) {
        assert!(Pickle::read(Path::new("x"), whole[..end].to_vec()).is_err(), "{end}");
    }
    for at in (0..whole.len()).filter(|at| *at < 400 || *at > whole.len() - 40) {
        for flip in 1..=255 {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            if let Ok(pickle) = Pickle::read(Path::new("x"), bytes) {
                drop((pickle.integers("fine_labels"), pickle.texts("filenames"), pickle.matrix("data")));
            }
        }
    }
}

#[test]
fn a_text_that_is_made_again_and_again_takes_no_memory() {
    let once = [b"c_codecs\nencode\nX\xe8\x03\0\0".as_slice(), &[b'a'; 1000], b"q\x00U\x06latin1\x86q\x01R0"].concat();
    let again = b"c_codecs\nencode\nh\x01R0".repeat(1000);
    let error = Pickle::read(Path::new("x"), [once, again, b"}.".to_vec()].concat()).unwrap_err();
    assert!(error.to_string().contains("a text that is used more than once"), "{error}");
    let many = [b"]".repeat(3 << 20), b".".to_vec()].concat();
    let error = Pickle::read(Path::new("x"), many).unwrap_err();
    assert!(error.to_string().contains("more than 2097152 values"), "{error}");
}

#[test]
fn difficult_folders_are_the_binary_version_of_their_pixels() {
    let Some(root) = difficult().map(|root| root.join("pickle")) else { return };
    let pixels = fs::read(root.join("P.npy")).unwrap()[128..].to_vec();
    let records = |labels: &dyn Fn(usize) -> Vec<u8>| {
        let record = |(row, planes): (usize, &[u8])| [labels(row), planes.to_vec()].concat();
        pixels.chunks_exact(3072).enumerate().flat_map(record).collect::<Vec<u8>>()
    };
    let fine = |first: usize| records(&|row| vec![0, (first + row * 7) as u8]);
    let binary = open(&folder(&[("train.bin", fine(0)), ("test.bin", fine(1))])).unwrap();
    for name in ["python", "protocol2", "protocol3", "protocol4", "protocol5"] {
        let data = load(root.join(format!("cifar-100-{name}")).to_str().unwrap(), None).unwrap();
        same(&data, &binary);
        assert_eq!((data.class_names.len(), data.class_names[99].as_str()), (100, "class99"), "{name}");
    }
    let mut files: Vec<_> = (1..=5)
        .map(|part| (format!("data_batch_{part}.bin"), records(&|row| vec![((row + part) % 10) as u8])))
        .collect();
    files.push(("test_batch.bin".into(), records(&|row| vec![((row + 9) % 10) as u8])));
    let data = load(root.join("cifar-10-batches-py").to_str().unwrap(), None).unwrap();
    assert_eq!((data.class_names.len(), data.class_names[9].as_str()), (10, "truck"));
    same(&data, &open(&folder(&borrowed(&files))).unwrap());
}

#[test]
fn difficult_pickles_are_refused() {
    let Some(root) = difficult().map(|root| root.join("pickle")) else { return };
    for (name, message) in [
        ("evil_os_system", "os.system, which is no part of a data set, is called at byte 0"),
        ("evil_reduce", "builtins.eval, which is no part of a data set, is called at byte 2"),
        ("truncated", "ends at byte 500, inside the pickle"),
        ("recursive", "is a pickle of something else than a dictionary"),
        ("deep", "is a pickle of something else than a dictionary"),
        ("long_string", "ends at byte 11, inside the pickle"),
    ] {
        let place = root.join(format!("{name}.pkl"));
        let error = Pickle::read(&place, fs::read(&place).unwrap()).unwrap_err();
        assert!(error.to_string().ends_with(message), "{error}");
        // In the place of a data set's file, too.
        let meta = names("fine_label_names", 100);
        let files = [("train", fs::read(&place).unwrap()), ("test", batch("fine_labels", &[1])), ("meta", meta)];
        assert!(refusal(&folder(&files), None).0.starts_with("train: "), "{name}");
    }
}
