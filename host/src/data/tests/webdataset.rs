//! Tar shards.

use super::difficult::trash;
use super::*;
use crate::data::formats::shards::{Encoded, Files, Shards, Span};
use crate::data::formats::webdataset::{find, index, index_files, is_shard, present};

/// A shard of these members.
fn shard(members: &[(&str, &[u8])]) -> Vec<u8> {
    tar(&members.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect::<Vec<_>>())
}

/// The bytes of a split's picture.
fn bytes(shards: &Shards, index: usize) -> Vec<u8> {
    let Span { file, offset, length } = shards.spans[index];
    fs::read(&shards.files[file as usize]).unwrap()[offset as usize..][..length as usize].to_vec()
}

/// Labels, names behind the folder, and bytes of a split.
fn content(folder: &Path, shards: &Shards) -> Vec<(u32, String, Vec<u8>)> {
    let name = |index| shards.name(index).replace(&format!("{}/", folder.display()), "");
    (0..shards.spans.len()).map(|index| (shards.labels[index], name(index), bytes(shards, index))).collect()
}

fn read(files: &[(&str, Vec<u8>)]) -> (TempDir, Result<Encoded, Error>) {
    let folder = folder(files);
    let read = index(folder.path());
    (folder, read)
}

#[test]
fn members_up_to_the_first_dot_are_one_sample() {
    let train = shard(&[
        ("a/x.jpg", b"one"),
        ("a/x.cls", b"2\n"),
        ("b/x.seg.png", b"no picture"),
        ("b/x.PNG", b"two"),
        ("b/x.json", br#"{"label": 0, "text": [1, {"label": 7}]}"#),
        ("lone.cls", b"1"),
        ("v1.5.cls", b"1"),
        ("c.webp", b"three"),
        ("c.json", br#"{"cls": 9}"#),
        ("c.cls", b" 1"),
        ("._c.jpg", b"left by a finder"),
        ("__MACOSX/d.jpg", b"so"),
        ("readme", b"text"),
    ]);
    let test = shard(&[("x.jpeg", b"four"), ("x.json", br#"{"class": 2}"#)]);
    let (folder, read) = read(&[("s-train-000.tar", train), ("s-test-000.tar", test)]);
    let data = read.unwrap();
    assert_eq!(data.classes, ["0", "1", "2"]);
    let expected = [(2, "a/x.jpg", "one"), (0, "b/x.PNG", "two"), (1, "c.webp", "three")];
    let expected = expected.map(|(label, name, bytes)| (label, format!("s-train-000.tar: {name}"), bytes.into()));
    assert_eq!(content(folder.path(), &data.train), expected);
    assert_eq!(content(folder.path(), &data.test.unwrap()), [(2, "s-test-000.tar: x.jpeg".into(), b"four".to_vec())]);
    assert!(data.validation.is_none());
    let notice = format!("{}/s-train-000.tar: lone has no picture, as 1 in all", folder.path().display());
    assert_eq!(data.notices, [notice]);
}

#[test]
fn labels_may_be_names_in_order_of_their_letters() {
    let train = shard(&[("a.jpg", b"1"), ("a.cls", b"zebra"), ("b.jpg", b"2"), ("b.json", br#"{"label": "Ant"}"#)]);
    let of = |name: &'static str| shard(&[("a.jpg", b"1"), ("a.cls", name.as_bytes())]);
    let (_folder, data) = read(&[("train/0.tar", train.clone()), ("val/0.tar", of("zebra"))]);
    let data = data.unwrap();
    assert_eq!((data.classes, data.train.labels), (vec!["Ant".to_owned(), "zebra".into()], vec![1, 0]));
    assert_eq!(data.validation.unwrap().labels, [1]);
    let (folder, refused) = read(&[("train/0.tar", train.clone()), ("val/0.tar", of("lion"))]);
    let error = refused.unwrap_err().to_string().replace(folder.path().to_str().unwrap(), "");
    assert_eq!(error, "/val/0.tar: a.jpg: is of class \"lion\", which the training set does not have");
    // A file of names binds, for names and for numbers.
    let given = ("classnames.txt", b"zebra\r\nlion\nAnt\n".to_vec());
    let (_folder, data) = read(&[("train/0.tar", train), ("val/0.tar", of("lion")), given.clone()]);
    assert_eq!(data.unwrap().train.labels, [0, 2]);
    let (_folder, data) = read(&[("0.tar", of("1")), given.clone()]);
    assert_eq!(data.unwrap().classes, ["zebra", "lion", "Ant"]);
    let (_folder, refused) = read(&[("0.tar", of("3")), given]);
    assert!(refused.unwrap_err().to_string().ends_with("0.tar: a.jpg: has label 3, which no class has"));
}

#[test]
fn samples_without_a_single_picture_and_label_are_refused() {
    for (members, expected) in [
        (&[("a.jpg", &b"1"[..])][..], "a.jpg: has no label"),
        (&[("a.jpg", b"1"), ("a.json", b"{\"x\": 1}")], "a.jpg: has no label"),
        (&[("a.jpg", b"1"), ("a.json", b"{\"label\"")], "a.jpg: has no label in its .json, which is damaged"),
        (&[("a.jpg", b"1"), ("a.json", b"{\"label\": 1.5}")], "a.jpg: has label 1.5 in its .json, neither"),
        (&[("a.jpg", b"1"), ("a.cls", b" \n")], "a.cls: is empty"),
        (&[("a.jpg", b"1"), ("a.cls", b"-1")], "a.jpg: has label -1, which means that it has none"),
        (&[("a.jpg", b"1"), ("a.cls", b"32767")], "a.jpg: has label 32767, which is not in 0..=32766"),
        (&[("a.jpg", b"1"), ("a.cls", b"\xff")], "a.cls: is no text"),
        (&[("a.jpg", b"1"), ("a.png", b"1"), ("a.cls", b"1")], "a.png: is a second picture of a sample that has a.jpg"),
        (&[("a.jpg", b"1"), ("a.cls", b"1"), ("b.jpg", b"1"), ("b.cls", b"x")], "b.jpg: has label \"x\", but others"),
        (&[("a.jpg", b"1"), ("a.cls", b"x"), ("b.jpg", b"1"), ("b.cls", b"1")], "b.jpg: has label 1, but others"),
        (&[("a.txt", b"1")], "holds no picture (.jpg, .jpeg, .png or .webp)"),
    ] {
        let (_folder, refused) = read(&[("x.tar", shard(members))]);
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(&format!("x.tar: {expected}")), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn every_cut_of_a_shard_is_refused_or_said() {
    let whole = shard(&[("a.jpg", &[7; 700]), ("a.cls", b"0"), ("b.jpg", &[8; 600]), ("b.cls", b"1")]);
    let folder = folder(&[]);
    let path = folder.path().join("x.tar");
    for end in (0..whole.len()).step_by(64) {
        anew(&path, &whole[..end]);
        match index(&path) {
            Err(error) => assert!(matches!(error, Error::File { .. }), "{end}: {error:?}"),
            // The end mark is two blocks of zeros; one is enough.
            Ok(data) if end > whole.len() - 1024 => assert_eq!(data.train.spans.len(), 2),
            Ok(data) => assert!(data.notices[0].ends_with("has no end mark: it may be cut off"), "{end}"),
        }
    }
    fs::write(&path, gzip(&whole)).unwrap();
    let error = index(&path).unwrap_err();
    assert!(error.to_string().ends_with("is compressed by gzip; pictures are read by their position in a shard"));
}

#[test]
fn a_range_in_braces_stands_for_its_shards() {
    let one = |label: &[u8]| shard(&[("a.jpg", b"1"), ("a.cls", label)]);
    let folder = folder(&[("s-008.tar", one(b"0")), ("s-009.tar", one(b"1")), ("s-010.tar", one(b"2"))]);
    let at = |name: &str| folder.path().join(name);
    assert_eq!(index(&at("s-{008..010}.tar")).unwrap().train.labels, [0, 1, 2]);
    assert_eq!(find(&at("s-{008..009}.tar")).unwrap().train, [at("s-008.tar"), at("s-009.tar")]);
    let error = index(&at("s-{009..011}.tar")).unwrap_err();
    assert!(error.to_string().ends_with("s-011.tar: no such file or folder"), "{error}");
    for wrong in ["s-{9..8}.tar", "s-{a,b}.tar", "s-{1..-2}.tar"] {
        assert!(index(&at(wrong)).unwrap_err().to_string().contains("is no range of numbers"), "{wrong}");
    }
}

#[test]
fn splits_are_said_by_words_in_names_of_files_or_folders() {
    let empty = |name| (name, Vec::new());
    let folder = folder(&[
        empty("imagenet1k-train-0001.tar"),
        empty("imagenet1k-train-0000.tar"),
        empty("imagenet1k-validation-00.tar"),
        empty("test/3.tar"),
        empty("trainer_tests/0.tar"),
        empty(".hidden-train.tar"),
    ]);
    let found = find(folder.path()).unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(found.train, [at("imagenet1k-train-0000.tar"), at("imagenet1k-train-0001.tar")]);
    assert_eq!((found.validation, found.test), (vec![at("imagenet1k-validation-00.tar")], vec![at("test/3.tar")]));
    let nothing = find(&at("trainer_tests")).unwrap();
    assert_eq!((nothing.train.len(), nothing.notice), (1, None));
    assert!(find(super::folder(&[]).path()).unwrap_err().to_string().ends_with("holds no .tar file"));
    let error = index_files(folder.path(), Files { test: vec![at("test/3.tar")], ..Files::default() }).unwrap_err();
    assert!(error.to_string().contains("holds no picture"), "{error}");
}

#[test]
fn shards_are_told_from_other_archives() {
    let files = folder(&[
        ("s-0.tar", shard(&[("a.cls", b"1"), ("a.jpg", b"1")])),
        ("cifar.tar", shard(&[("cifar-10-batches-bin/data_batch_1.bin", b"1")])),
        ("pictures.tar", shard(&[("cat/a.jpg", b"1"), ("cat/b.json", b"1")])),
        ("x.tar", b"no archive".to_vec()),
    ]);
    for (name, expected) in [("s-0.tar", true), ("cifar.tar", false), ("pictures.tar", false), ("x.tar", false)] {
        assert_eq!(is_shard(&files.path().join(name)), expected, "{name}");
    }
    let is_present = |folder: &TempDir| present(folder.path(), &listing(folder.path()).unwrap());
    assert!(!is_present(&files), "the first tells");
    let one = shard(&[("a.cls", b"1"), ("a.jpg", b"1")]);
    assert!(is_present(&folder(&[("s-0.tar", one.clone())])));
    assert!(is_present(&folder(&[("train/0.tar", one.clone())])));
    assert!(!is_present(&folder(&[("elsewhere/0.tar", one)])));
}

#[test]
fn the_shards_of_the_shared_set_hold_its_files() {
    let Some(root) = trash() else { return };
    let data = index(&root.join("webdataset")).unwrap();
    assert_eq!(data.classes, ["0", "1", "2", "3", "4", "5"]);
    let names = fs::read_to_string(root.join("lists/classnames.txt")).unwrap();
    let classes: Vec<&str> = names.lines().collect();
    assert_eq!((data.train.spans.len(), data.train.files.len()), (72, 2));
    let mut files: Vec<(u32, Vec<u8>)> = Vec::new();
    for (label, class) in (0..).zip(classes) {
        for entry in fs::read_dir(root.join("trash/val").join(class)).unwrap() {
            files.push((label, fs::read(entry.unwrap().path()).unwrap()));
        }
    }
    let mut found: Vec<_> = (0..72).map(|index| (data.train.labels[index], bytes(&data.train, index))).collect();
    found.sort();
    files.sort();
    assert!(found == files);
    assert_eq!(data.notices, ["trash-val-000000.tar is trained on, since it is of the only set that is there"]);
    let pattern = root.join("webdataset/trash-val-{000000..000001}.tar");
    assert_eq!(index(&pattern).unwrap().train.spans, data.train.spans);
}
