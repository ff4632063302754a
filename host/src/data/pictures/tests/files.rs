//! Small files of every kind.

use std::fs;

use super::super::decode::{Channels, Decoding, Exif, Grey16, decode};
use super::super::header::{self, Header, Kind, Refused};
use super::{assert_near, decoded, folder, table};
use crate::data::Picture;
use sse_sam_core::Shape;

const CLIP: Decoding =
    Decoding { channels: Channels::Rgb, exif: Exif::Ignore, grey16: Grey16::Clip, max_pixels: Decoding::MAX_PIXELS };

fn bytes(file: &str) -> Vec<u8> {
    fs::read(folder().join("files").join(file)).unwrap()
}

#[test]
fn every_kind_has_pillows_pixels() {
    let (rows, mut reused) = (table(&folder().join("answers.csv")), Picture::new());
    assert_eq!(rows.len(), 44);
    for row in rows {
        let [file, bound, width, height, crc] = &row[..] else { panic!("{row:?}") };
        decode(&bytes(file), &CLIP, &mut reused).unwrap_or_else(|why| panic!("{file} {why}"));
        assert_eq!(reused.shape, Shape::new(height.parse().unwrap(), width.parse().unwrap(), 3), "{file}");
        if bound == "0" {
            assert_eq!(format!("{:08x}", crc32fast::hash(&reused.bytes)), *crc, "{file}");
            continue;
        }
        let right = decoded(&folder().join("answers").join(format!("{file}.png")), &Decoding::default());
        assert_eq!(format!("{:08x}", crc32fast::hash(&right.bytes)), *crc, "{file}");
        assert_near(&reused.bytes, &right.bytes, file);
    }
}

#[test]
fn grey_is_pillows_l() {
    let how = Decoding { channels: Channels::Grey, ..CLIP };
    let grey = decoded(&folder().join("files/grey.png"), &how);
    assert_eq!(grey.shape, Shape::new(30, 41, 1));
    // The file was made of the others by Pillow's `convert("L")`.
    for file in ["rgb.png", "rgba.png", "24.bmp", "rgb.ppm", "lossless.webp", "lzw.tif"] {
        assert_eq!(decoded(&folder().join("files").join(file), &how), grey, "{file}");
    }
}

#[test]
fn headers_tell_what_is_in_a_file() {
    let of = |file: &str| header::of(&bytes(file)).unwrap();
    let plain = Header {
        kind: Kind::Png,
        width: 41,
        height: 30,
        channels: 3,
        orientation: 1,
        grey16: false,
        alpha: false,
        animated: false,
    };
    for (file, right) in [
        ("rgb.png", plain),
        ("grey.png", Header { channels: 1, ..plain }),
        ("16.png", Header { channels: 1, grey16: true, ..plain }),
        ("palette.png", plain),
        ("palette-transparent.png", Header { alpha: true, ..plain }),
        ("rgba.png", Header { alpha: true, ..plain }),
        ("animated.png", Header { animated: true, ..plain }),
        ("turned.png", Header { orientation: 3, ..plain }),
        ("420.jpg", Header { kind: Kind::Jpeg, ..plain }),
        ("cmyk.jpg", Header { kind: Kind::Jpeg, ..plain }),
        ("grey.jpg", Header { kind: Kind::Jpeg, channels: 1, ..plain }),
        ("turned.jpg", Header { kind: Kind::Jpeg, orientation: 6, ..plain }),
        ("two.mpo", Header { kind: Kind::Jpeg, ..plain }),
        ("lossy.webp", Header { kind: Kind::WebP, ..plain }),
        ("alpha.webp", Header { kind: Kind::WebP, alpha: true, ..plain }),
        ("animated.webp", Header { kind: Kind::WebP, animated: true, ..plain }),
        ("palette.gif", Header { kind: Kind::Gif, ..plain }),
        ("animated.gif", Header { kind: Kind::Gif, animated: true, ..plain }),
        ("place.gif", Header { kind: Kind::Gif, width: 60, height: 40, ..plain }),
        ("beyond.gif", Header { kind: Kind::Gif, ..plain }),
        ("8.bmp", Header { kind: Kind::Bmp, ..plain }),
        ("16.tif", Header { kind: Kind::Tiff, channels: 1, grey16: true, ..plain }),
        ("turned.tif", Header { kind: Kind::Tiff, orientation: 8, ..plain }),
        ("grey.pgm", Header { kind: Kind::Pnm, channels: 1, ..plain }),
        ("1000.ppm", Header { kind: Kind::Pnm, width: 2, height: 1, ..plain }),
    ] {
        assert_eq!(of(file), right, "{file}");
    }
}

#[test]
fn pictures_are_turned_only_where_that_is_asked_for() {
    let apply = Decoding { exif: Exif::Apply, ..Decoding::default() };
    let (upright, turned) = (folder().join("files/420.jpg"), folder().join("files/turned.jpg"));
    assert_eq!(decoded(&turned, &Decoding::default()), decoded(&upright, &Decoding::default()));
    let turned = decoded(&turned, &apply);
    assert_eq!(turned.shape, Shape::new(41, 30, 3));
    let upright = decoded(&upright, &apply);
    // Orientation 6: the first row lies in the last column.
    assert_eq!(turned.bytes[29 * 3..30 * 3], upright.bytes[..3]);
}

#[test]
fn grey_of_16_bits_becomes_bytes_as_asked() {
    let value = |index: u32| (index * 53) as u16;
    for (grey16, right) in [
        (Grey16::Shift, (|v| (v >> 8) as u8) as fn(u16) -> u8),
        (Grey16::Clip, |v| v.min(255) as u8),
        (Grey16::Stretch, |v| (f64::from(v) * 255.0 / 65_137.0).round() as u8),
    ] {
        let how = Decoding { grey16, channels: Channels::Grey, ..Decoding::default() };
        let right: Vec<u8> = (0..41 * 30).map(|index| right(value(index))).collect();
        for file in ["16.png", "16.tif"] {
            assert_eq!(decoded(&folder().join("files").join(file), &how).bytes, right, "{file} {grey16:?}");
        }
    }
}

#[test]
fn what_is_no_picture_is_refused_by_what_it_is() {
    for (bytes, why) in [
        (&b""[..], "has no byte"),
        (b"\0\0\0\0\0", "begins with zeros: it was not stored whole"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page, not a picture"),
        (b"\0\0\0\x20ftypavif", "is AVIF, which is not supported: convert it to JPEG or PNG"),
        (b"\0\0\0\x20ftypheic", "is HEIF, which is not supported: convert it to JPEG or PNG"),
        (b"PK\x03\x04", "is a zip archive, not a picture"),
        (b"hello", "is not a picture of a kind that is read (JPEG, PNG, WebP, GIF, BMP, TIFF and PNM are)"),
        (b"\xff\xd8\xff\xe0", "is JPEG that is cut off in its header"),
        (b"\x89PNG\r\n\x1a\n\0", "is PNG that is cut off in its header"),
    ] {
        assert_eq!(header::of(bytes), Err(Refused(why.into())));
        assert_eq!(decode(bytes, &CLIP, &mut Picture::new()), Err(Refused(why.into())));
    }
}

#[test]
fn a_picture_that_is_cut_off_is_never_half_a_picture() {
    // A number of a text that lacks its last digits is still a number.
    for file in table(&folder().join("answers.csv")).iter().map(|row| &row[0]).filter(|file| *file != "text.ppm") {
        let (whole, how) = (bytes(file), Decoding::default());
        let right = decoded(&folder().join("files").join(file), &how);
        let mut cut = Picture::new();
        for end in 0..whole.len() {
            if decode(&whole[..end], &how, &mut cut).is_ok() {
                assert_eq!(cut, right, "{file} cut at {end} of {}", whole.len());
            }
        }
    }
}

#[test]
fn the_limit_of_pixels_is_asked_before_memory_is_taken() {
    let how = Decoding { max_pixels: 41 * 30 - 1, ..Decoding::default() };
    for row in table(&folder().join("answers.csv")).iter().filter(|row| row[2] == "41") {
        let why = decode(&bytes(&row[0]), &how, &mut Picture::new()).unwrap_err();
        assert_eq!(why.0, "has 41 x 30 pixels, more than the limit of 1229 (--max-pixels)", "{}", row[0]);
    }
}

#[test]
fn a_frame_that_a_jpeg_decoder_does_not_know_is_named() {
    let mut jpeg = bytes("420.jpg");
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    for (marker, bits, why) in [
        (0xc9, 8, "in arithmetic codes"),
        (0xc3, 8, "without loss"),
        (0xc5, 8, "in several resolutions"),
        (0xc0, 12, "of 12 bits a value"),
    ] {
        (jpeg[frame + 1], jpeg[frame + 4]) = (marker, bits);
        let found = header::of(&jpeg).unwrap_err();
        assert_eq!(found.0, format!("is JPEG {why}, which is not supported: convert it to PNG"));
    }
}

#[test]
fn a_jpeg_says_how_many_rows_are_there() {
    let jpeg = bytes("444.jpg");
    let why = |bytes: &[u8]| decode(bytes, &CLIP, &mut Picture::new()).unwrap_err().0;
    assert_eq!(why(&jpeg[..jpeg.len() - 2]), "is JPEG that is cut off: its end marker is missing");
    let half = [&jpeg[..jpeg.len() - 300], &[0xff, 0xd9]].concat();
    let (cut, ended) = (why(&jpeg[..jpeg.len() - 300]), why(&half));
    assert!(cut.starts_with("is JPEG that is cut off: at most ") && cut.ends_with(" of 30 rows are there"), "{cut}");
    assert!(ended.starts_with("is JPEG with damage in its data: at most "), "{ended}");
}
