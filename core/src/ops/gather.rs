//! From stored pictures to the network's input.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::math::rows::{expect, rows_mut};
use crate::shape::Shape;

/// Where the images and labels of a data set lie and how pixels become numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Bytes `[samples][height][width][channels]`.
    pub images: Span,
    /// Bytes `[samples]`, class indices.
    pub labels: Span,
    /// One image.
    pub image: Shape,
    /// `[2][channels]` in work memory: the mean of the bytes, and one over their standard deviation.
    pub normalization: Span,
}

/// Where [`Backend::gather`] puts a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[rows][height][width][channels]`.
    pub images: Span,
    /// `[rows]`, class indices as numbers.
    pub labels: Span,
    /// `[rows]` for each of the two groups: the factor of a sample's loss in that group.
    pub weights: [Span; 2],
}

/// One row of an epoch's table: which sample, how it is moved, and its factor in each group.
///
/// Pixel `(y, x)` of the batch is pixel `(y + top, x + left)` of the picture, mirrored left to right first if `flip`;
/// what lies outside the picture is black (byte 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Which sample.
    pub index: u32,
    /// Rows by which the crop starts below the picture's first; negative above.
    pub top: i8,
    /// Columns by which the crop starts right of the picture's first; negative left.
    pub left: i8,
    /// Whether the picture is mirrored left to right before the crop.
    pub flip: bool,
    /// Factors of the sample's loss in the two groups.
    pub weights: [f32; 2],
}

impl Row {
    /// Numbers a row takes in work memory.
    pub const WORDS: usize = 4;

    /// The row as it lies in work memory: the bits of the index, of the move (top, left, flip: a byte each from the
    /// lowest), and the two factors.
    pub fn encode(&self) -> [f32; Self::WORDS] {
        let moved = u32::from_le_bytes([self.top as u8, self.left as u8, u8::from(self.flip), 0]);
        [f32::from_bits(self.index), f32::from_bits(moved), self.weights[0], self.weights[1]]
    }

    /// The inverse of [`Row::encode`].
    pub fn decode(words: &[f32; Self::WORDS]) -> Self {
        let [index, moved, head, tail] = *words;
        let [top, left, flip, _] = moved.to_bits().to_le_bytes();
        Self { index: index.to_bits(), top: top as i8, left: left as i8, flip: flip != 0, weights: [head, tail] }
    }
}

/// Cuts one image out of a stored picture: crops, mirrors and normalises.
///
/// `image[y][x][c] = (byte - mean_c) * factor_c`, where `byte` is the picture's at row `y + top` and column
/// `x + left`, mirrored left to right first if `flip`, and 0 outside the picture.
///
/// | argument        | shape                       | meaning                                       |
/// |-----------------|-----------------------------|-----------------------------------------------|
/// | `image`         | `[height][width][channels]` | overwritten                                   |
/// | `picture`       | `[height][width][channels]` | bytes as stored                               |
/// | `shape`         |                             | of both                                       |
/// | `row`           |                             | `top`, `left` and `flip`; the rest is unused  |
/// | `normalization` | `[2][channels]`             | mean of the bytes, one over their deviation   |
///
/// # Errors
/// [`Error::Length`] when a slice does not fit `shape`.
pub fn gather(image: &mut [f32], picture: &[u8], shape: Shape, row: &Row, normalization: &[f32]) -> Result<(), Error> {
    let Shape { height, width, channels } = shape;
    expect("image", shape.len(), image.len())?;
    expect("picture", shape.len(), picture.len())?;
    expect("normalization", channels.saturating_mul(2), normalization.len())?;
    let pitch = width * channels;
    for (y, image) in rows_mut(image, pitch).enumerate() {
        let source = moved(y, row.top, height).and_then(|y| picture.get(y * pitch..(y + 1) * pitch));
        for (x, pixel) in rows_mut(image, channels).enumerate() {
            let column = moved(x, row.left, width).map(|x| if row.flip { width - 1 - x } else { x });
            let bytes = column.zip(source).and_then(|(x, row)| row.get(x * channels..(x + 1) * channels));
            normalize(pixel, bytes.unwrap_or_default(), normalization);
        }
    }
    Ok(())
}

/// `position + by` if that lies inside `size`.
fn moved(position: usize, by: i8, size: usize) -> Option<usize> {
    position.checked_add_signed(isize::from(by)).filter(|position| *position < size)
}

/// One pixel; black where `bytes` ends.
fn normalize(pixel: &mut [f32], bytes: &[u8], normalization: &[f32]) {
    let Some((means, factors)) = normalization.split_at_checked(pixel.len()) else { return };
    let bytes = bytes.iter().copied().chain(core::iter::repeat(0));
    for (((pixel, byte), mean), factor) in pixel.iter_mut().zip(bytes).zip(means).zip(factors) {
        *pixel = (f32::from(byte) - mean) * factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_come_after_the_mirror_and_black_is_normalised() {
        let (shape, picture) = (Shape::new(2, 3, 1), [1, 2, 3, 4, 5, 6]);
        let mut image = [f32::NAN; 6];
        let row = |top, left, flip| Row { index: 0, top, left, flip, weights: [0.0; 2] };
        let cases = [
            (row(0, 0, false), [1., 2., 3., 4., 5., 6.]),
            (row(0, 0, true), [3., 2., 1., 6., 5., 4.]),
            (row(1, -1, false), [0., 4., 5., 0., 0., 0.]),
            (row(-1, 1, true), [0., 0., 0., 2., 1., 0.]),
            (row(-128, 127, true), [0.; 6]),
        ];
        for (row, bytes) in cases {
            gather(&mut image, &picture, shape, &row, &[2.0, 0.5]).unwrap();
            assert_eq!(image, bytes.map(|byte: f32| (byte - 2.0) * 0.5));
        }
        assert!(gather(&mut image, &picture[1..], shape, &row(0, 0, false), &[2.0, 0.5]).is_err());
    }
}
