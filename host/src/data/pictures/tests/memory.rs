//! Files that promise more than they hold: memory stays small.

use std::process::Command;
use std::{env, fs};

use super::super::decode::{Decoding, decode};
use super::folder;
use crate::data::Picture;

/// Set in the process that has little memory.
const INSIDE: &str = "SSE_SAM_LITTLE_MEMORY";

fn bytes(file: &str) -> Vec<u8> {
    fs::read(folder().join("files").join(file)).unwrap()
}

/// Files whose headers say some 60,000 x 60,000 pixels.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let patched = |file: &str, at: usize, with: &[u8]| {
        let mut bytes = bytes(file);
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    let behind =
        |file: &str, marker: &[u8]| bytes(file).windows(marker.len()).position(|found| found == marker).unwrap();
    let mut png = patched("rgb.png", 16, &[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let sum = crc32fast::hash(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    let gif = behind("palette.gif", b"\x2c\0\0\0\0\x29\0\x1e\0");
    let (width, height) =
        (behind("raw.tif", &[0, 1, 4, 0, 1, 0, 0, 0, 41]), behind("raw.tif", &[1, 1, 4, 0, 1, 0, 0, 0, 30]));
    let mut tiff = patched("raw.tif", width + 8, &[0x60, 0xea]);
    tiff[height + 8..height + 10].copy_from_slice(&[0x60, 0xea]);
    vec![
        ("JPEG", patched("420.jpg", behind("420.jpg", &[0xff, 0xc0]) + 5, &[0xff, 0xdc, 0xff, 0xdc])),
        (
            "progressive JPEG",
            patched("progressive.jpg", behind("progressive.jpg", &[0xff, 0xc2]) + 5, &[0xff, 0xdc, 0xff, 0xdc]),
        ),
        ("PNG", png),
        ("GIF", patched("palette.gif", gif + 5, &[0x60, 0xea, 0x60, 0xea])),
        ("WebP", patched("lossless.webp", 21, &[0xfe, 0xbf, 0xff, 0x0f])),
        ("BMP", patched("24.bmp", 18, &[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0])),
        ("TIFF", tiff),
        ("PPM", [b"P6 60000 60000 255\n", &[7; 30][..]].concat()),
        ("text", b"P3 60000 60000 255\n1 2 3".to_vec()),
    ]
}

#[test]
fn a_header_that_promises_too_much_takes_no_memory() {
    for (kind, bytes) in bombs() {
        let why = decode(&bytes, &Decoding::default(), &mut Picture::new()).unwrap_err().0;
        // TIFF's own decoder compares the sizes of its strips first.
        let expected = if kind == "TIFF" { "inconsistent sizes" } else { "more than the limit of 178956970" };
        assert!(why.contains(expected), "{kind} {why}");
    }
}

/// All files again, and what their headers promise within a limit that memory for does not exist, in 1 GiB of addresses.
#[test]
#[cfg(target_os = "linux")]
fn files_that_lie_do_not_fill_memory() {
    if env::var_os(INSIDE).is_none() {
        let test = "data::pictures::tests::memory::files_that_lie_do_not_fill_memory";
        let script = format!("ulimit -v 1048576 && exec \"$0\" --exact {test} --test-threads 1");
        let ran = Command::new("sh").args(["-c", &script]).arg(env::current_exe().unwrap()).env(INSIDE, "1").output();
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        return;
    }
    let little = Decoding { max_pixels: 1 << 22, ..Decoding::default() };
    for (kind, bytes) in bombs() {
        assert!(decode(&bytes, &little, &mut Picture::new()).is_err(), "{kind}");
    }
    for row in super::table(&folder().join("answers.csv")) {
        decode(&bytes(&row[0]), &little, &mut Picture::new()).unwrap();
    }
}
