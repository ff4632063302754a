//! TensorBoard's event files: records of protocol-buffer messages, each with its length and two masked CRC-32C.
//!
//! A record is `length: u64, masked crc of it: u32, data, masked crc of data: u32`, little-endian, with
//! `mask(crc) = rotate_right(crc, 15) + 0xa282ead8`. The data are an `Event`: `1: wall_time (double), 2: step (int64),
//! 3: file_version (string), 5: summary`; a summary is a list of `1: {1: tag (string), 2: simple_value (float)}`.

use serde_json::Value;

/// The record that a file begins with.
pub fn header(time: f64) -> Vec<u8> {
    record(&[number(1, time), bytes(3, b"brain.Event:2")].concat())
}

/// A record of scalars at a step.
pub fn scalars(time: f64, step: u64, values: &[(String, f64)]) -> Vec<u8> {
    let value = |(tag, value): &(String, f64)| {
        let float = [&[2 << 3 | 5][..], &(*value as f32).to_le_bytes()].concat();
        bytes(1, &[bytes(1, tag.as_bytes()), float].concat())
    };
    let summary: Vec<u8> = values.iter().flat_map(value).collect();
    let step = [&[2 << 3][..], &varint(step)].concat();
    record(&[number(1, time), step, bytes(5, &summary)].concat())
}

/// How many bytes of a file hold its first whole records, up to one of step `end` or later; and the steps in them. 0 for
/// what is no such file.
pub fn whole(file: &[u8], end: u64) -> (usize, Vec<u64>) {
    let (mut length, mut steps) = (0, Vec::new());
    while let Some((data, size)) = first_record(&file[length..]) {
        match (length, step(data)) {
            (0, Some(_)) => break,
            (_, Some(step)) if step >= end => break,
            (_, step) => steps.extend(step),
        }
        length += size;
    }
    (length, steps)
}

/// The data of the record that these bytes begin with, and the bytes of the record, if it is whole.
fn first_record(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    let (data, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let fits = *check == masked(length) && *rest.first_chunk::<4>()? == masked(data);
    fits.then_some((data, data.len() + 16))
}

/// The step of an event, which follows its wall time where it has one.
fn step(event: &[u8]) -> Option<u64> {
    let value = event.get(9..)?.strip_prefix(&[2 << 3])?;
    let length = value.iter().position(|byte| byte & 0x80 == 0)?.min(9);
    Some(value[..=length].iter().rev().fold(0, |step, &byte| step << 7 | u64::from(byte & 0x7f)))
}

/// The numbers of a line of `metrics.jsonl`, named by their path; those of single classes are left out.
pub fn flatten(line: &Value) -> Vec<(String, f64)> {
    let Value::Object(fields) = line else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| *name != "epoch") {
        found.extend(value.as_f64().map(|value| (name.clone(), value)));
        found.extend(flatten(value).into_iter().map(|(inner, value)| (format!("{name}/{inner}"), value)));
    }
    found
}

fn number(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(value.len() as u64), value].concat()
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

fn masked(data: &[u8]) -> [u8; 4] {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Castagnoli's CRC-32 with the reflected polynomial 0x82f63b78.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_first_record_is_the_one_every_event_file_begins_with() {
        // Length, its masked checksum, wall time and version, as in files that TensorFlow wrote.
        let record = header(0.0);
        assert_eq!(record[..12], [24, 0, 0, 0, 0, 0, 0, 0, 163, 127, 75, 34]);
        assert_eq!(&record[12..22], [9, 0, 0, 0, 0, 0, 0, 0, 0, 26]);
    }

    #[test]
    fn whole_records_before_a_step_are_found() {
        let records = [header(1.0), scalars(2.0, 0, &[("loss".into(), 0.5)]), scalars(3.0, 300, &[])];
        let file = records.concat();
        let first = records[..2].concat().len();
        assert_eq!(whole(&file, 301), (file.len(), vec![0, 300]));
        assert_eq!(whole(&file, 300), (first, vec![0]));
        assert_eq!(whole(&file[..file.len() - 1], 301), (first, vec![0]), "the last record is cut off");
        assert_eq!(whole(&file, 0), (records[0].len(), Vec::new()));
        let mut damaged = file.clone();
        damaged[first - 5] ^= 1;
        assert!(whole(&damaged, 301).1.is_empty(), "nothing after a damaged record");
        assert_eq!(whole(b"no events", 9), (0, Vec::new()));
        assert_eq!(whole(&records[1], 9).0, 0, "a file begins with its version");
    }

    #[test]
    fn numbers_of_a_line_are_named_by_their_path() {
        let line =
            serde_json::json!({"epoch": 3, "loss": 0.5, "none": null, "accuracy": {"few": 2.0, "per_class": [1]}});
        let mut found = flatten(&line);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, [("accuracy/few".into(), 2.0), ("loss".into(), 0.5)]);
    }

    #[test]
    fn long_numbers_take_seven_bits_a_byte() {
        assert_eq!(varint(300), [0xac, 2]);
        assert_eq!(varint(0), [0]);
    }
}
