//! The data of every trial: a long-tailed subset of the handwritten digits, and the order in which it is used.

use sse_sam_core::Shape;
use sse_sam_core::longtail::classes;

/// One picture.
pub const IMAGE: Shape = Shape::new(8, 8, 1);
/// Number of classes.
pub const CLASSES: usize = 10;
/// Training samples of each class: exponential, imbalance 30.
pub const COUNTS: [u32; CLASSES] = [53, 36, 24, 17, 11, 8, 5, 3, 2, 1];
/// Number of training samples.
pub const TRAIN: usize = 160;
/// Number of test samples, as many of each class.
pub const TEST: usize = 100;
/// Training labels, test labels, training images, test images: a byte a value.
pub const BYTES: &[u8; (TRAIN + TEST) * (1 + IMAGE.len())] = include_bytes!("../../assets/digits.bin");
/// Mean of the bytes and one over their deviation, roughly.
pub const NORMALIZATION: [f32; 2] = [5.0, 1.0 / 6.0];
/// Classes with fewer training samples than this are the tail.
const ETA: u32 = 20;

/// The training sample at a position of an epoch: every sample once in `TRAIN` positions, well mixed.
pub fn sample(epoch: u32, position: usize) -> usize {
    (position * 63 + epoch as usize * 29) % TRAIN
}

/// Whether a label belongs to the tail.
pub fn is_tail(label: u8) -> bool {
    COUNTS.get(usize::from(label)).is_some_and(|&count| classes::is_tail(count, ETA))
}

/// What of a sample counts in the second group where that is the tail's: all or nothing.
pub fn tail_share(label: u8) -> f32 {
    if is_tail(label) { 1.0 } else { 0.0 }
}

/// The same in Focal-SAM.
pub fn focal_share(label: u8) -> f32 {
    let count = COUNTS.get(usize::from(label)).copied().unwrap_or_default();
    classes::focal_share(count, TRAIN as u64, 1.0, 0.5) as f32
}

/// The next number of a random stream that `counter` counts.
pub fn draw(counter: &mut u32) -> u32 {
    *counter = counter.wrapping_add(1);
    let mut mixed = counter.wrapping_mul(0x9E37_79B9);
    mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85EB_CA6B);
    mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xC2B2_AE35);
    mixed ^ (mixed >> 16)
}

/// The largest of some numbers, by its place.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, &value) in values.iter().enumerate() {
        if value > best.1 {
            best = (class, value);
        }
    }
    best.0
}
