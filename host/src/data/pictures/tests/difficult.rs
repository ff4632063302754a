//! Files that break loaders, each with its right answer.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use sse_sam_core::Shape;

use super::super::decode::{Decoding, Grey16, decode};
use super::{assert_near, decoded, folder, table, unpacked};
use crate::data::Picture;

/// Files that Pillow reads and a sentence may refuse.
const MAY_BE_REFUSED: [(&str, &str); 3] = [
    ("files/avif_named.jpg", "is AVIF, which is not supported: convert it to JPEG or PNG"),
    ("files/png_no_iend.png", "is PNG that is cut off"),
    ("pngsuite/xcsn0g01.png", "is PNG with damage in its data: a check sum is wrong"),
];

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn difficult_files_have_the_right_answers() {
    let Some(unpacked) = unpacked("difficult.tar.gz") else { return };
    let home = unpacked.path().join("difficult");
    let (mut ok, mut bad) = (0, 0);
    for row in table(&home.join("answers.csv")) {
        let [file, pillow, format, _, width, height, sum, ..] = &row[..] else { panic!("{row:?}") };
        // Pillow clips grey of 16 bits.
        let how = Decoding { grey16: Grey16::Clip, ..Decoding::default() };
        let mut picture = Picture::new();
        let found = decode(&fs::read(home.join(file)).unwrap(), &how, &mut picture);
        if pillow == "error" {
            let why = found.expect_err(file);
            println!("{file} {why}");
            bad += 1;
            continue;
        }
        if let Err(why) = found {
            let expected = MAY_BE_REFUSED.iter().find(|(name, _)| name == file).map(|(_, why)| *why);
            assert!(expected.is_some_and(|right| why.0.starts_with(right)), "{file} {why}");
            println!("{file} {why}");
            bad += 1;
            continue;
        }
        assert_eq!(picture.shape, Shape::new(height.parse().unwrap(), width.parse().unwrap(), 3), "{file}");
        if matches!(&format[..], "JPEG" | "MPO" | "WEBP") || file.ends_with("tiff_jpeg.tif") {
            assert_near(&picture.bytes, &answer(sum), file);
        } else {
            assert_eq!(hex(&picture.bytes), *sum, "{file}");
        }
        ok += 1;
    }
    assert_eq!(ok + bad, 75 + 175);
}

/// Pillow's pixels with this sum.
fn answer(sum: &str) -> Vec<u8> {
    let right = decoded(&folder().join("difficult").join(format!("{}.png", &sum[..8])), &Decoding::default());
    assert_eq!(hex(&right.bytes), sum);
    right.bytes
}

#[test]
fn grey_of_16_bits_is_not_white() {
    let Some(unpacked) = unpacked("difficult.tar.gz") else { return };
    let file = |name: &str| decoded(&unpacked.path().join("difficult/files").join(name), &Decoding::default());
    let ramp = file("png_grey16_ramp.png");
    assert_eq!((ramp.bytes[0], ramp.bytes[ramp.bytes.len() - 1]), (0, 255));
    assert!(ramp.bytes.iter().filter(|&&byte| byte == 255).count() < ramp.bytes.len() / 100);
    for other in ["pgm_16.pgm", "tiff_grey16.tif"] {
        assert_eq!(file(other), ramp, "{other}");
    }
}

#[test]
fn every_row_of_every_picture_of_a_set_is_decoded() {
    let Some(unpacked) = unpacked("trash-set.tar") else { return };
    let home = unpacked.path().join("trash-set");
    let sums = fs::read_to_string(home.join("SHA256SUMS")).unwrap();
    let files = sums.lines().filter_map(|line| line.split_once("  ")).map(|(_, file)| file.trim_start_matches("./"));
    let mut count = 0;
    for file in files.filter(|file| Path::new(file).starts_with("trash")) {
        let picture = decoded(&home.join(file), &Decoding::default());
        assert_eq!(picture.bytes.len(), picture.shape.len(), "{file}");
        count += 1;
    }
    assert_eq!(count, 1070);
}
