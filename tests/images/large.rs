//! A list as large as iNaturalist's: what it takes of memory and time to open it.

use std::fmt::Write as _;
use std::time::Instant;

use sse_sam::data::pictures::options::PictureOptions;
use sse_sam::data::{Request, read};

use super::*;

/// Training pictures and classes of iNaturalist 2018.
const PICTURES: usize = 437_513;
const CLASSES: usize = 8142;
/// Links that an inode may have, with some to spare.
const LINKS: usize = 60_000;

/// Bytes of this process that lie in memory.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    4096 * text.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
}

/// Takes a minute and half a million names on the disk: `SSE_SAM_CACHE=FOLDER cargo test -p sse-sam --test images -- --ignored --nocapture`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "makes 437,513 files"]
fn a_list_of_437_513_pictures_takes_little_memory_and_opens_in_seconds() {
    let home = tempdir().unwrap();
    let (mut list, picture) = (String::new(), picture("444.jpg"));
    for index in 0..PICTURES {
        let class = index % CLASSES;
        let folder = format!("train_val2018/Plantae/{class}");
        let name = format!(
            "{folder}/{:032x}.jpg",
            (index as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        );
        if index < CLASSES {
            fs::create_dir_all(home.path().join(&folder)).unwrap();
        }
        let original = home.path().join(format!("{}.jpg", index / LINKS));
        if index % LINKS == 0 {
            fs::write(&original, &picture).unwrap();
        }
        fs::hard_link(&original, home.path().join(&name)).unwrap();
        writeln!(list, "{name} {class}").unwrap();
    }
    fs::write(home.path().join("train.txt"), list).unwrap();
    let train = home.path().join("train.txt").display().to_string();
    let pictures = PictureOptions { train: Some(train.clone()), image_size: Some(64), ..PictureOptions::default() };
    let open = || {
        let start = Instant::now();
        let dataset = read(&Request { place: &train, format: None, pictures: &pictures, cut_out: None }).unwrap();
        (dataset, start.elapsed().as_secs_f64())
    };
    let before = resident();
    let (first, cold) = open();
    assert_eq!((first.train.len(), first.classes), (PICTURES, CLASSES));
    let held = resident() - before;
    drop(first);
    let (_, warm) = open();
    println!("headers read: {cold:.2} s; kept: {warm:.2} s; {} MB held", held / 1_000_000);
    assert!(held < 100_000_000, "{held} bytes");
    assert!(warm < 5.0, "{warm} s");
}
