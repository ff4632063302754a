//! Between PyTorch's orders and the ones used inside: NCHW and NHWC, OIHW and HWIO, `[out][in]` and `[in][out]`.

use sse_sam_core::Shape;

/// `[n][h][w][c]` to `[n][c][h][w]`.
pub fn nhwc_to_nchw<T: Copy + Default>(values: &[T], image: Shape) -> Vec<T> {
    let Shape { height, width, channels } = image;
    let mut moved = vec![T::default(); values.len()];
    for (at, value) in values.iter().enumerate() {
        let (n, rest) = (at / image.len(), at % image.len());
        let (pixel, c) = (rest / channels, rest % channels);
        moved[(n * channels + c) * height * width + pixel] = *value;
    }
    moved
}

/// `[n][c][h][w]` to `[n][h][w][c]`.
pub fn nchw_to_nhwc<T: Copy + Default>(values: &[T], image: Shape) -> Vec<T> {
    let Shape { height, width, channels } = image;
    let mut moved = vec![T::default(); values.len()];
    for (at, value) in values.iter().enumerate() {
        let (n, rest) = (at / image.len(), at % image.len());
        let (c, pixel) = (rest / (height * width), rest % (height * width));
        moved[n * image.len() + pixel * channels + c] = *value;
    }
    moved
}

/// `[h][w][in][out]` to `[out][in][h][w]`.
pub fn hwio_to_oihw<T: Copy + Default>(values: &[T], kernel: usize, inputs: usize, outputs: usize) -> Vec<T> {
    let mut moved = vec![T::default(); values.len()];
    for tap in 0..kernel * kernel {
        for i in 0..inputs {
            for o in 0..outputs {
                moved[(o * inputs + i) * kernel * kernel + tap] = values[(tap * inputs + i) * outputs + o];
            }
        }
    }
    moved
}

/// `[out][in][h][w]` to `[h][w][in][out]`.
pub fn oihw_to_hwio<T: Copy + Default>(values: &[T], kernel: usize, inputs: usize, outputs: usize) -> Vec<T> {
    let mut moved = vec![T::default(); values.len()];
    for tap in 0..kernel * kernel {
        for i in 0..inputs {
            for o in 0..outputs {
                moved[(tap * inputs + i) * outputs + o] = values[(o * inputs + i) * kernel * kernel + tap];
            }
        }
    }
    moved
}

/// `[rows][columns]` to `[columns][rows]`.
pub fn transpose<T: Copy + Default>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut moved = vec![T::default(); values.len()];
    for row in 0..rows {
        for column in 0..columns {
            moved[column * rows + row] = values[row * columns + column];
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_is_undone_by_its_inverse() {
        let values: Vec<u32> = (0..2 * 3 * 4 * 5).collect();
        let image = Shape::new(3, 4, 5);
        assert_eq!(nchw_to_nhwc(&nhwc_to_nchw(&values, image), image), values);
        assert_eq!(nhwc_to_nchw(&nchw_to_nhwc(&values, image), image), values);
        let values: Vec<u32> = (0..9 * 4 * 5).collect();
        assert_eq!(oihw_to_hwio(&hwio_to_oihw(&values, 3, 4, 5), 3, 4, 5), values);
        assert_eq!(hwio_to_oihw(&oihw_to_hwio(&values, 3, 4, 5), 3, 4, 5), values);
        assert_eq!(transpose(&transpose(&values, 9, 20), 20, 9), values);
    }

    #[test]
    fn channels_of_a_pixel_lie_together_in_nhwc() {
        // One image of 1 x 2 pixels and 3 channels: pixel a is 1 2 3, pixel b is 4 5 6.
        assert_eq!(nhwc_to_nchw(&[1, 2, 3, 4, 5, 6], Shape::new(1, 2, 3)), [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn outputs_of_a_tap_lie_together_in_hwio() {
        // One tap, 2 inputs, 3 outputs.
        assert_eq!(hwio_to_oihw(&[1, 2, 3, 4, 5, 6], 1, 2, 3), [1, 4, 2, 5, 3, 6]);
        // A 2 x 2 kernel of one input and two outputs.
        assert_eq!(hwio_to_oihw(&[1, 2, 3, 4, 5, 6, 7, 8], 2, 1, 2), [1, 3, 5, 7, 2, 4, 6, 8]);
    }
}
