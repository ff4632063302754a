//! Transforms, byte for byte.

use std::fs;

use serde_json::Value;
use sse_sam_core::Shape;

use super::super::decode::Decoding;
use super::super::jitter::{Jitter, Step, hue};
use super::super::resample::{Area, Filter, Scratch, resize};
use super::super::transform::{Drawn, Evaluation, RandomCrop, flip};
use super::{assert_near, decoded, folder, table, unpacked};
use crate::data::{Picture, random};

/// The picture of a formula, as `transforms.py` has it.
fn picture(channels: usize, width: usize, height: usize) -> Picture {
    let shape = Shape::new(height, width, channels);
    let byte = |i: u64| (i.wrapping_mul(i).wrapping_mul(2_654_435_761).wrapping_add(i) >> 13) as u8;
    Picture { shape, bytes: (0..shape.len() as u64).map(byte).collect() }
}

fn filter(kind: &str) -> Filter {
    if kind.ends_with("bicubic") { Filter::Bicubic } else { Filter::Bilinear }
}

#[test]
fn transforms_have_pillows_and_torchvisions_bytes() {
    let (mut scratch, mut to, mut count) = (Scratch::default(), Picture::new(), 0);
    for row in table(&folder().join("transforms.csv")) {
        let number = |index: usize| row[index].parse::<f64>().unwrap();
        let whole = |index: usize| number(index) as u32;
        let (kind, from) = (&row[0][..], picture(whole(1) as usize, whole(2) as usize, whole(3) as usize));
        match kind {
            "crop-bilinear" | "crop-bicubic" => {
                let area = Area { left: whole(4), top: whole(5), width: whole(6), height: whole(7) };
                resize(&from, area, (whole(8), whole(9)), filter(kind), &mut scratch, &mut to);
            }
            "evaluate-bilinear" | "evaluate-bicubic" => {
                let evaluation = Evaluation { resize: whole(4), crop: whole(5), filter: filter(kind) };
                evaluation.apply(&from, &mut scratch, &mut to);
            }
            "every-hue" => continue,
            _ => {
                to = from;
                match kind {
                    "flip" => flip(&mut to),
                    "brightness" => Step::Brightness(number(4)).apply(&mut to),
                    "contrast" => Step::Contrast(number(4)).apply(&mut to),
                    "saturation" => Step::Saturation(number(4)).apply(&mut to),
                    "hue" => Step::Hue(number(4)).apply(&mut to),
                    other => panic!("{other}"),
                }
            }
        }
        assert_eq!(format!("{:08x}", crc32fast::hash(&to.bytes)), *row.last().unwrap(), "{row:?}");
        count += 1;
    }
    assert_eq!(count, 120 + 2 * (1 + 3 * 9 + 7));
}

#[test]
fn every_colour_turns_as_in_torchvision() {
    let row = table(&folder().join("transforms.csv")).pop().unwrap();
    let bytes = (0..1_u32 << 24).flat_map(|color| [(color >> 16) as u8, (color >> 8) as u8, color as u8]).collect();
    let mut every = Picture { shape: Shape::new(4096, 4096, 3), bytes };
    hue(&mut every, 0.1);
    assert_eq!((&row[0][..], format!("{:08x}", crc32fast::hash(&every.bytes))), ("every-hue", row[5].clone()));
}

#[test]
fn photos_have_pillows_and_torchvisions_bytes() {
    let Some(unpacked) = unpacked("trash-set.tar") else { return };
    let home = unpacked.path().join("trash-set");
    let text = fs::read_to_string(home.join("references/references.json")).unwrap();
    let rows: Value = serde_json::from_str(&text).unwrap();
    let answer = |row: &Value| fs::read(home.join("references").join(row["file"].as_str().unwrap())).unwrap();
    let (mut scratch, mut photo, mut base, mut count) = (Scratch::default(), Picture::new(), Picture::new(), 0);
    for row in rows["rows"].as_array().unwrap() {
        let (kind, mut to) = (row["kind"].as_str().unwrap(), Picture::new());
        let factor = row["factor"].as_f64().unwrap_or_default();
        match kind {
            "decoded" => {
                let file = row["source"].as_str().unwrap();
                photo = decoded(&home.join(file), &Decoding::default());
                let right = answer(row);
                if file.ends_with(".png") {
                    assert_eq!(photo.bytes, right, "{file}");
                } else {
                    assert_near(&photo.bytes, &right, file);
                }
                // What follows was made from Pillow's pixels.
                photo.bytes = right;
                to = photo.clone();
            }
            "resize64-center56" => {
                let evaluation = Evaluation { resize: 64, crop: 56, filter: Filter::Bilinear };
                evaluation.apply(&photo, &mut scratch, &mut base);
                to = base.clone();
            }
            "resize64-bicubic" => {
                let size = (row["width"].as_u64().unwrap() as u32, row["height"].as_u64().unwrap() as u32);
                resize(&photo, Area::whole(photo.shape), size, Filter::Bicubic, &mut scratch, &mut to);
            }
            "resized-crop-48" | "hflip-of-resized-crop-48" => {
                let crop = |index: usize| row["crop"][index].as_u64().unwrap() as u32;
                let area = Area { top: crop(0), left: crop(1), height: crop(2), width: crop(3) };
                let drawn = Drawn { area, flip: kind.starts_with("hflip"), jitter: [None; 4] };
                random_crop(48).apply(&drawn, &photo, &mut scratch, &mut to);
            }
            "normalised" => continue, // Made of bytes by the device.
            _ => {
                to.set(base.shape, &base.bytes);
                match kind.split('-').next() {
                    Some("brightness") => Step::Brightness(factor),
                    Some("contrast") => Step::Contrast(factor),
                    Some("saturation") => Step::Saturation(factor),
                    Some("hue") => Step::Hue(factor),
                    _ => panic!("{kind}"),
                }
                .apply(&mut to);
            }
        }
        assert_eq!(to.bytes, answer(row), "{row}");
        count += 1;
    }
    assert_eq!(count, 8 * 9);
}

fn random_crop(size: u32) -> RandomCrop {
    RandomCrop {
        size,
        scale: (0.08, 1.0),
        ratio: (3.0 / 4.0, 4.0 / 3.0),
        filter: Filter::Bilinear,
        flip: true,
        jitter: None,
    }
}

#[test]
fn crops_lie_in_the_picture_and_have_allowed_shapes() {
    let crop = random_crop(224);
    let (mut flips, mut areas) = (0, 0.0);
    for index in 0..10_000 {
        let Drawn { area, flip, .. } = crop.draw(&random::crop(1, 2, index), 500, 375);
        assert!(area.width > 0 && area.height > 0, "{area:?}");
        assert!(area.left + area.width <= 500 && area.top + area.height <= 375, "{area:?}");
        let (share, ratio) = (f64::from(area.width * area.height), f64::from(area.width) / f64::from(area.height));
        assert!((0.074..1.34).contains(&(ratio / 1.01)) && share >= 0.079 * 187_500.0, "{area:?}");
        areas += share / 187_500.0;
        flips += u32::from(flip);
    }
    // torchvision's own mean of 10,000 crops of this size is 0.434, with a standard deviation of 0.0022.
    assert!((0.423..0.445).contains(&(areas / 10_000.0)) && flips.abs_diff(5000) < 250, "{areas} {flips}");
}

#[test]
fn long_pictures_are_cropped_in_the_middle() {
    let whole = |width, height| random_crop(8).draw(&[0; 32], width, height).area;
    // Every try of zeros is small and fits; ratios that never fit leave the middle.
    assert_eq!(whole(100, 100), Area { left: 0, top: 0, width: 24, height: 33 });
    let never = RandomCrop { scale: (2.0, 2.0), ..random_crop(8) };
    let middle = |width, height| never.draw(&[7; 32], width, height).area;
    assert_eq!(middle(1000, 30), Area { left: 480, top: 0, width: 40, height: 30 });
    assert_eq!(middle(30, 1000), Area { left: 0, top: 480, width: 30, height: 40 });
    assert_eq!(middle(30, 30), Area { left: 0, top: 0, width: 30, height: 30 });
    assert_eq!(middle(1, 1000), Area { left: 0, top: 499, width: 1, height: 1 });
}

#[test]
fn the_order_of_colours_is_one_of_24() {
    let jitter = Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
    let crop = RandomCrop { jitter: Some(jitter), ..random_crop(8) };
    let mut orders = std::collections::BTreeMap::new();
    for index in 0..24_000 {
        let steps = crop.draw(&random::crop(5, 0, index), 40, 40).jitter.map(Option::unwrap);
        let name = |step: &Step| match step {
            Step::Brightness(factor) => ((0.6..1.4).contains(factor), 'b'),
            Step::Contrast(factor) => ((0.6..1.4).contains(factor), 'c'),
            Step::Saturation(factor) => ((0.6..1.4).contains(factor), 's'),
            Step::Hue(factor) => ((-0.1..0.1).contains(factor), 'h'),
        };
        assert!(steps.iter().all(|step| name(step).0), "{steps:?}");
        *orders.entry(steps.iter().map(|step| name(step).1).collect::<String>()).or_insert(0_u32) += 1;
    }
    // Five standard deviations of a binomial count around its mean.
    assert!(orders.len() == 24 && orders.values().all(|count| count.abs_diff(1000) < 155), "{orders:?}");
    let some = RandomCrop { jitter: Some(Jitter { hue: 0.0, contrast: 0.0, ..jitter }), ..crop };
    assert_eq!(some.draw(&random::crop(5, 0, 0), 40, 40).jitter.iter().flatten().count(), 2);
}

#[test]
fn what_is_drawn_never_changes() {
    let jitter = Some(Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 });
    let drawn = RandomCrop { jitter, ..random_crop(224) }.draw(&random::crop(3, 1, u32::MAX), 512, 384);
    assert_eq!(format!("{drawn:?}"), GOLDEN);
}

// From `drawn.py`, which shares no code with this.
const GOLDEN: &str = "Drawn { area: Area { left: 7, top: 97, width: 229, height: 283 }, flip: false, jitter: \
    [Some(Hue(0.09177079341766706)), Some(Brightness(1.3887160708411437)), Some(Contrast(0.9405404289756161)), \
    Some(Saturation(1.1198558749923264))] }";

#[test]
fn nothing_is_too_small_to_be_resized() {
    let (mut scratch, mut to) = (Scratch::default(), Picture::new());
    for (width, height) in [(0, 0), (1, 0), (0, 1), (1, 1), (1, 9), (9, 1)] {
        let from = picture(3, width, height);
        Evaluation { resize: 4, crop: 3, filter: Filter::Bicubic }.apply(&from, &mut scratch, &mut to);
        assert_eq!((to.shape, to.bytes.len()), (Shape::new(3, 3, 3), 27), "{width} {height}");
        let outside = Area { left: 5, top: 5, width: 9, height: 9 };
        resize(&from, outside, (4, 2), Filter::Bilinear, &mut scratch, &mut to);
        assert_eq!((to.shape, to.bytes.len()), (Shape::new(2, 4, 3), 24));
        flip(&mut to);
    }
    assert_eq!(random_crop(4).draw(&[0; 32], 0, 0).area.width, 0);
}
