//! Packs the UCI optical digits into the asset that the program embeds: `pack_digits TRAIN TEST OUTPUT`.
//!
//! TRAIN and TEST are `optdigits.tra` and `optdigits.tes`: lines of 64 values 0 to 16 and the class. OUTPUT is the gzip
//! of training labels, test labels, training images and test images, the same bytes every time.

use std::error::Error;
use std::io::Write;
use std::{env, fs};

use flate2::{Compression, GzBuilder};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [train, test, output] = &arguments[..] else {
        return Err("usage: pack_digits TRAIN TEST OUTPUT".into());
    };
    let (train_images, train_labels) = read(train)?;
    let (test_images, test_labels) = read(test)?;
    let mut packed = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    for part in [train_labels, test_labels, train_images, test_images] {
        packed.write_all(&part)?;
    }
    let bytes = packed.finish()?;
    fs::write(output, &bytes)?;
    println!("{output}: {} bytes", bytes.len());
    Ok(())
}

fn read(path: &str) -> Result<(Vec<u8>, Vec<u8>), Box<dyn Error>> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(fs::read_to_string(path)?.lines()) {
        let values = line.split(',').map(|value| value.trim().parse()).collect::<Result<Vec<u8>, _>>()?;
        match values.split_last() {
            Some((&label, pixels)) if pixels.len() == 64 && label < 10 && pixels.iter().all(|&pixel| pixel <= 16) => {
                images.extend_from_slice(pixels);
                labels.push(label);
            }
            _ => return Err(format!("{path}: line {number} is not 64 values up to 16 and a digit").into()),
        }
    }
    Ok((images, labels))
}
