//! What turns bytes into numbers around zero.

use crate::Error;
use crate::data::{Picture, Source};

/// The mean of each channel's bytes over these samples, and one over their standard deviation.
///
/// With `n` bytes a channel, `mean = sum b / n` and `deviation = sqrt(n * sum b^2 - (sum b)^2) / n` (the population's):
/// sums exact in integers, the rest in `f64`, rounded once. A channel that is constant, or has no samples, gets 1 for
/// its deviation. Indices past the end are left out.
///
/// | argument   | shape                                   | meaning                    |
/// |------------|-----------------------------------------|----------------------------|
/// | `source`   | samples                                 | their pictures are read    |
/// | `indices`  | list                                    | which samples count        |
/// | `channels` | scalar                                  | values a pixel             |
///
/// # Errors
/// What keeps a picture from being read.
pub fn normalization(source: &dyn Source, indices: &[u32], channels: usize) -> Result<(Vec<f32>, Vec<f32>), Error> {
    let (mut histograms, mut picture) = (vec![[0_u64; 256]; channels], Picture::new());
    for index in indices.iter().map(|&index| index as usize).filter(|&index| index < source.len()) {
        source.picture(index, &mut picture)?;
        for pixel in picture.bytes.chunks_exact(channels.max(1)) {
            for (histogram, &byte) in histograms.iter_mut().zip(pixel) {
                histogram[usize::from(byte)] += 1;
            }
        }
    }
    Ok(histograms.iter().map(moments).unzip())
}

/// Mean and inverse deviation of the bytes a histogram counts.
fn moments(histogram: &[u64; 256]) -> (f32, f32) {
    let (mut n, mut sum, mut squares) = (0_u128, 0_u128, 0_u128);
    for (byte, &count) in (0_u128..).zip(histogram) {
        let count = u128::from(count);
        n += count;
        sum += byte * count;
        squares += byte * byte * count;
    }
    let spread = n * squares - sum * sum;
    let mean = if n == 0 { 0.0 } else { sum as f64 / n as f64 };
    let inverse = if spread == 0 { 1.0 } else { n as f64 / (spread as f64).sqrt() };
    (mean as f32, inverse as f32)
}

#[cfg(test)]
mod tests {
    use sse_sam_core::Shape;

    use super::*;
    use crate::data::Split;

    #[test]
    fn mean_and_deviation_are_those_of_the_chosen_samples_by_channel() {
        let (image, images) = (Shape::new(1, 2, 2), vec![0, 10, 2, 10, 200, 9, 200, 9, 4, 10, 6, 10]);
        let split = Split { image, images, labels: vec![0, 0, 1] };
        let (mean, inverse) = normalization(&split, &[0, 2], 2).unwrap();
        assert_eq!(mean, [3.0, 10.0]);
        assert_eq!(inverse, [(1.0 / 5.0_f64.sqrt()) as f32, 1.0]);
    }

    #[test]
    fn no_samples_leave_bytes_as_they_are() {
        let image = Shape::new(1, 1, 1);
        for (split, indices) in
            [(Split::empty(image), &[][..]), (Split { image, images: vec![5, 6], labels: vec![0, 0] }, &[7])]
        {
            assert_eq!(normalization(&split, indices, 1).unwrap(), (vec![0.0], vec![1.0]));
        }
    }

    #[test]
    fn extreme_bytes_in_large_numbers_do_not_overflow() {
        let mut histogram = [0; 256];
        histogram[0] = 1 << 50;
        histogram[255] = 1 << 50;
        assert_eq!(moments(&histogram), (127.5, (1.0_f64 / 127.5) as f32));
    }
}
