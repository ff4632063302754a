//! Damaged files: whatever stands in them, no decoder panics or takes more memory than its limit.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::decode::{Decoding, decode_unguarded};
use super::{folder, table};
use crate::data::Picture;

fn files() -> Vec<Vec<u8>> {
    table(&folder().join("answers.csv"))
        .iter()
        .map(|row| fs::read(folder().join("files").join(&row[0])).unwrap())
        .collect()
}

/// A limit that lets every file of the tests through, and little more.
const SMALL: Decoding = Decoding { max_pixels: 1 << 14, ..DEFAULT };
const DEFAULT: Decoding = Decoding {
    channels: super::super::decode::Channels::Rgb,
    exif: super::super::decode::Exif::Apply,
    grey16: super::super::decode::Grey16::Stretch,
    max_pixels: Decoding::MAX_PIXELS,
};

/// Memory for every decoding in turn is kept: it must not have grown beyond what the limit allows.
fn survives(bytes: &[u8], picture: &mut Picture) {
    let decoded = decode_unguarded(bytes, &SMALL, picture);
    assert!(picture.bytes.capacity() <= 64 << 14, "{}", picture.bytes.capacity());
    if decoded.is_ok() {
        assert_eq!(picture.bytes.len(), picture.shape.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_refused_or_decoded(
        end in 0.0..1.5_f64,
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut picture = Picture::new();
        for mut bytes in files() {
            let length = bytes.len();
            bytes.truncate(if end < 1.0 { (length as f64 * end) as usize } else { length });
            for (at, byte) in flips.iter().filter(|_| length > 0 && !bytes.is_empty()).collect::<Vec<_>>() {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            survives(&bytes, &mut picture);
        }
    }

    #[test]
    fn damaged_headers_are_refused_or_decoded(flips in vec((0_usize..200, any::<u8>()), 1..4)) {
        let mut picture = Picture::new();
        for mut bytes in files() {
            for &(at, byte) in &flips {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            survives(&bytes, &mut picture);
        }
    }
}

/// More where `SSE_SAM_FUZZ` says so.
fn cases() -> u32 {
    std::env::var("SSE_SAM_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(60)
}
