//! From stored pictures to the network's input.

use super::{expect, rows_mut};
use crate::backend::{Row, Shape};
use crate::error::Error;

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
