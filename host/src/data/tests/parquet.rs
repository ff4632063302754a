//! Parquet files as Hugging Face's libraries write them.

use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::difficult::{difficult, trash};
use super::*;
use crate::data::formats::parquet::{Cache, find, index, is_one, present};
use crate::data::formats::shards::{Encoded, Shards};

/// As much as no test needs.
const MEMORY: u64 = 1 << 30;

/// A file of pictures with labels, so many rows a group and a page, with names of classes.
fn file(rows: &[(&[u8], i64)], group: usize, page: usize, names: Option<&str>) -> Vec<u8> {
    let schema = "message schema { optional group image { optional binary bytes; optional binary path (UTF8); }
                  optional int64 label; }";
    let features = |names| format!(r#"{{"info": {{"features": {{"label": {{"names": {names}}}}}}}}}"#);
    let properties = WriterProperties::builder()
        .set_key_value_metadata(names.map(|names| vec![KeyValue::new("huggingface".into(), features(names))]))
        .set_data_page_row_count_limit(page)
        .set_write_batch_size(1)
        .set_dictionary_enabled(group > 2)
        .build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut part = writer.next_row_group().unwrap();
        let levels = |level: i16| vec![level; rows.len()];
        let mut column = part.next_column().unwrap().unwrap();
        let pictures: Vec<ByteArray> = rows.iter().map(|(bytes, _)| bytes.to_vec().into()).collect();
        column.typed::<ByteArrayType>().write_batch(&pictures, Some(&levels(2)), None).unwrap();
        column.close().unwrap();
        let mut column = part.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&levels(1)), None).unwrap();
        column.close().unwrap();
        let mut column = part.next_column().unwrap().unwrap();
        let labels: Vec<i64> = rows.iter().map(|&(_, label)| label).collect();
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels(1)), None).unwrap();
        column.close().unwrap();
        part.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// The pictures of a split, from memory or from pages, in an order that goes back and forth.
fn pictures(shards: &Shards) -> Vec<Vec<u8>> {
    let mut cache = Cache::default();
    let count = shards.spans.len();
    let mut found = vec![Vec::new(); count];
    for index in (0..count).step_by(2).chain((0..count).rev()) {
        let span = shards.spans[index];
        let bytes = match (&shards.packed, &shards.paged) {
            (Some(packed), None) => &packed[span.offset as usize..][..span.length as usize],
            (None, Some(paged)) => paged.picture(index, &mut cache).unwrap(),
            _ => panic!("either in memory or in pages"),
        };
        assert_eq!(bytes.len(), span.length as usize);
        found[index] = bytes.to_vec();
    }
    found
}

fn message(error: &Error, folder: &Path) -> String {
    error.to_string().replace(&format!("{}/", folder.display()), "")
}

#[test]
fn splits_and_names_of_a_repository_are_found() {
    let names = Some(r#"["owl", "cat", "ant"]"#);
    let folder = folder(&[
        ("data/train-00001-of-00002.parquet", file(&[(b"c", 2), (b"d", 0)], 9, 9, names)),
        ("data/train-00000-of-00002-5af744adb8610bf6.parquet", file(&[(b"a", 1), (b"bb", 0)], 9, 9, names)),
        ("data/validation-00000-of-00001.parquet", file(&[(b"v", 2)], 9, 9, names)),
        // Another order of the same names.
        ("data/test-00000-of-00001.parquet", file(&[(b"t", 1)], 9, 9, Some(r#"["ant", "owl"]"#))),
        ("README.md", vec![]),
    ]);
    let data = index(folder.path(), MEMORY).unwrap();
    assert_eq!(data.classes, ["owl", "cat", "ant"]);
    assert_eq!(pictures(&data.train), [b"a".to_vec(), b"bb".to_vec(), b"c".to_vec(), b"d".to_vec()]);
    assert_eq!(data.train.labels, [1, 0, 2, 0]);
    assert!(data.train.name(3).ends_with("data/train-00001-of-00002.parquet row 1"), "{}", data.train.name(3));
    let [validation, test] = [data.validation.unwrap(), data.test.unwrap()];
    assert_eq!((&validation.labels, &test.labels, pictures(&test)), (&vec![2], &vec![0], vec![b"t".to_vec()]));
    assert!(present(folder.path(), &listing(folder.path()).unwrap()));
    let data = folder.path().join("data");
    assert!(present(&data, &listing(&data).unwrap()) && !is_one(&folder.path().join("README.md")));
    assert_eq!(find(&data.join("test-00000-of-00001.parquet")).unwrap().train.len(), 1);
}

#[test]
fn a_class_that_the_training_set_does_not_have_is_refused_by_its_name() {
    let (names, other) = (Some(r#"["owl", "cat"]"#), Some(r#"["owl", "zebra"]"#));
    let folder = folder(&[
        ("train-0.parquet", file(&[(b"a", 1)], 9, 9, names)),
        ("test-0.parquet", file(&[(b"a", 0), (b"a", 1)], 9, 9, other)),
    ]);
    let error = index(folder.path(), MEMORY).unwrap_err();
    let expected = "test-0.parquet row 1: is of class \"zebra\", which the training set does not have";
    assert_eq!(message(&error, folder.path()), expected);
    let beyond = super::folder(&[("x.parquet", file(&[(b"a", 2)], 9, 9, names))]);
    let error = index(beyond.path(), MEMORY).unwrap_err();
    assert_eq!(message(&error, beyond.path()), "x.parquet: row 0 has label 2, but the file names 2 classes");
}

#[test]
fn pictures_that_do_not_fit_into_memory_are_read_from_their_pages() {
    let bytes: Vec<Vec<u8>> = (0..50_u8).map(|index| vec![index; 1 + usize::from(index) * 7 % 40]).collect();
    let rows: Vec<(&[u8], i64)> = bytes.iter().map(|bytes| (&bytes[..], i64::from(bytes[0] % 3))).collect();
    // With and without a dictionary; pages of one row, of a few, and of all.
    for (group, page) in [(2, 1), (20, 3), (20, 1000), (1000, 7)] {
        let folder = folder(&[
            ("train-0.parquet", file(&rows[..30], group, page, None)),
            ("train-1.parquet", file(&rows[30..], group, page, None)),
            ("test-0.parquet", file(&rows[..3], group, page, None)),
        ]);
        let total: u64 = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        for memory in [0, 1, total / 2, total - 1, total, MEMORY] {
            let data = index(folder.path(), memory).unwrap();
            assert_eq!(data.train.paged.is_some(), memory < total, "{memory} of {total}");
            assert!(pictures(&data.train) == bytes, "{memory} of {total}, groups of {group}");
            assert!(data.train.labels.iter().zip(&bytes).all(|(&label, bytes)| label == u32::from(bytes[0] % 3)));
            assert!(pictures(&data.test.unwrap()) == bytes[..3]);
        }
    }
}

#[test]
fn a_file_that_changes_under_a_run_is_an_error_with_its_name() {
    let folder = folder(&[("x.parquet", file(&[(&[1; 100], 0), (&[2; 100], 1)], 1, 1, None))]);
    let data = index(folder.path(), 0).unwrap();
    fs::write(folder.path().join("x.parquet"), [0; 100]).unwrap();
    let error = data.train.paged.unwrap().picture(1, &mut Cache::default()).unwrap_err();
    assert!(message(&error, folder.path()).starts_with("x.parquet: is damaged"), "{error}");
}

#[test]
fn no_cut_and_no_flipped_bit_breaks_the_reader() {
    let rows: [(&[u8], i64); 3] = [(b"one", 0), (b"two", 1), (b"two", 0)];
    for group in [1, 3] {
        let whole = file(&rows, group, 2, Some(r#"["owl", "cat"]"#));
        let folder = folder(&[]);
        let path = folder.path().join("x.parquet");
        for end in 0..whole.len() {
            anew(&path, &whole[..end]);
            assert!(matches!(index(&path, MEMORY), Err(Error::File { .. })), "{end}");
        }
        for at in 0..whole.len() {
            for flip in [1, 0x90] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                anew(&path, &bytes);
                drop(index(&path, MEMORY));
            }
        }
    }
}

/// What a file of the difficult ones gives.
fn answer(name: &str) -> Option<Result<Encoded, Error>> {
    Some(index(&difficult()?.join(format!("parquet/{name}.parquet")), MEMORY))
}

/// Width and height of a PNG, JPEG or lossy WebP picture by its header.
fn size(bytes: &[u8]) -> (u32, u32) {
    let word = |at: usize| u32::from(bytes[at]) << 8 | u32::from(bytes[at + 1]);
    if bytes.starts_with(b"\x89PNG") {
        return (word(18), word(22));
    }
    if bytes.starts_with(b"RIFF") {
        let word = |at: usize| u32::from(bytes[at]) | u32::from(bytes[at + 1]) << 8;
        return (word(26), word(28));
    }
    let mut at = 2;
    while !matches!(bytes[at + 1], 0xc0 | 0xc2) {
        at += 2 + word(at + 2) as usize;
    }
    (word(at + 7), word(at + 5))
}

#[test]
fn difficult_files_are_read() {
    let Some(first) = answer("none") else { return };
    let first = first.unwrap();
    let expected = pictures(&first.train);
    assert_eq!(expected.iter().map(|bytes| size(bytes)).collect::<Vec<_>>(), [(16, 12), (96, 72), (96, 72), (96, 72)]);
    for name in ["snappy", "gzip", "zstd", "row_groups_of_1", "v1_pages", "v2_pages", "uint8_label", "img_fine_label"] {
        let data = answer(name).unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((&data.classes, &data.train.labels), (&first.classes, &first.train.labels), "{name}");
        assert!(pictures(&data.train) == expected, "{name}");
        assert_eq!(data.classes, ["cat", "dog", "owl"], "{name}");
        let paged = index(&difficult().unwrap().join(format!("parquet/{name}.parquet")), 0).unwrap();
        assert!(pictures(&paged.train) == expected, "{name}");
    }
    for name in ["no_metadata", "binary_column", "large_binary"] {
        let data = answer(name).unwrap().unwrap();
        assert_eq!((data.classes.join(" ").as_str(), &data.train.labels), ("0 1 2", &vec![0, 1, 2, 0]), "{name}");
        assert!(pictures(&data.train) == expected, "{name}");
    }
    let data = answer("string_labels").unwrap().unwrap();
    assert_eq!((data.classes, data.train.labels), (["cat", "dog", "owl"].map(String::from).to_vec(), vec![1, 0, 2, 1]));
}

#[test]
fn difficult_files_are_refused() {
    for (name, expected) in [
        ("lz4", "is compressed by LZ4, which is not read"),
        ("brotli", "is compressed by Brotli, which is not read"),
        ("path_only", "row 0 names the file "),
        ("null_image", "row 1 has no picture"),
        ("null_label", "row 1 has no label"),
        ("label_minus_1", "row 1 has label -1, which means that it has none"),
        ("no_image", "has no column of pictures; its columns are "),
        ("truncated", "is no whole Parquet file"),
        ("zeros_at_end", "is no whole Parquet file"),
    ] {
        let Some(answer) = answer(name) else { return };
        let error = answer.err().unwrap_or_else(|| panic!("{name} is read"));
        assert!(error.to_string().contains(&format!("{name}.parquet: {expected}")), "{name}: {error}");
    }
}

#[test]
fn the_shared_set_is_read_from_all_its_files() {
    let Some(root) = trash() else { return };
    let data = index(&root.join("parquet"), MEMORY).unwrap();
    assert_eq!(data.classes, ["cardboard", "glass", "metal", "paper", "plastic", "trash"]);
    assert_eq!(data.notices.len(), 0);
    let splits =
        [("train", &data.train), ("val", data.validation.as_ref().unwrap()), ("test", data.test.as_ref().unwrap())];
    for (folder, shards) in splits {
        let mut known = Vec::new();
        for (label, class) in (0..).zip(&data.classes) {
            for entry in fs::read_dir(root.join("trash").join(folder).join(class)).unwrap() {
                known.push((label, fs::read(entry.unwrap().path()).unwrap()));
            }
        }
        let pictures = pictures(shards);
        let expected = if folder == "val" { known.len() } else { known.len().div_ceil(6) };
        assert_eq!(pictures.len(), expected, "{folder}");
        for (&label, bytes) in shards.labels.iter().zip(pictures) {
            assert!(known.iter().any(|known| known.0 == label && known.1 == bytes), "{folder}");
        }
    }
}
