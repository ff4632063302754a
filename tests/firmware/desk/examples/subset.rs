//! Cuts the subset of the digits that the chips train on out of the packed ones.
//!
//!     cargo run --example subset -- ../../host/assets/digits.bin.gz assets/digits.bin
//!
//! Training labels, test labels, training images, test images, a byte a value: the first 53, 36, 24, 17, 11, 8, 5, 3,
//! 2 and 1 training images of each class (an exponential profile of imbalance 30), the first 10 test images of each.

use std::error::Error;
use std::io::Read;

const TRAIN: usize = 3823;
const TEST: usize = 1797;
const PIXELS: usize = 64;
const TRAIN_COUNTS: [usize; 10] = [53, 36, 24, 17, 11, 8, 5, 3, 2, 1];
const TEST_COUNTS: [usize; 10] = [10; 10];

/// The first `counts[class]` positions of each class, in the file's order.
fn first(labels: &[u8], counts: [usize; 10]) -> Vec<usize> {
    let mut left = counts;
    let mut taken = |label: u8| {
        let left = &mut left[usize::from(label)];
        let wanted = *left > 0;
        *left -= usize::from(wanted);
        wanted
    };
    labels.iter().enumerate().filter(|&(_, &label)| taken(label)).map(|(at, _)| at).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [packed, subset] = &*arguments else { return Err("usage: subset PACKED SUBSET".into()) };
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(packed)?).read_to_end(&mut bytes)?;
    let (labels, images) = bytes.split_at(TRAIN + TEST);
    let (train, test) = labels.split_at(TRAIN);
    let train = first(train, TRAIN_COUNTS);
    let test: Vec<usize> = first(test, TEST_COUNTS).into_iter().map(|at| at + TRAIN).collect();
    let chosen = || train.iter().chain(&test);
    let mut taken: Vec<u8> = chosen().map(|&at| labels[at]).collect();
    taken.extend(chosen().flat_map(|&at| &images[at * PIXELS..(at + 1) * PIXELS]));
    Ok(std::fs::write(subset, taken)?)
}
