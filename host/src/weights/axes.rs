//! Between PyTorch's orders and the ones computed in: these exist only where weights are read and written.
//!
//! Every function panics when a slice does not fill its sizes: check shapes first.

use sse_sam_core::Shape;

/// Convolution weights from PyTorch's `[out][in][height][width]` to `[height][width][in][out]`; `sizes` is PyTorch's.
pub fn oihw_to_hwio(values: &[f32], sizes: [usize; 4]) -> Vec<f32> {
    permute(values, sizes, [2, 3, 1, 0])
}

/// Convolution weights from `[height][width][in][out]` to PyTorch's `[out][in][height][width]`; `sizes` is PyTorch's.
pub fn hwio_to_oihw(values: &[f32], sizes: [usize; 4]) -> Vec<f32> {
    let [out, input, height, width] = sizes;
    permute(values, [height, width, input, out], [3, 2, 0, 1])
}

/// Images from `[n][channels][height][width]` to `[n][height][width][channels]`; `sizes` is the former's.
pub fn nchw_to_nhwc(values: &[f32], sizes: [usize; 4]) -> Vec<f32> {
    permute(values, sizes, [0, 2, 3, 1])
}

/// A matrix `[rows][columns]` as `[columns][rows]`: linear weights between PyTorch's `[out][in]` and `[in][out]`.
pub fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    permute(values, [1, 1, rows, columns], [0, 1, 3, 2])
}

/// Weights of the linear layer after an image, from PyTorch's `[out][channels * height * width]` to
/// `[height * width * channels][out]`.
pub fn linear_from_chw(values: &[f32], outputs: usize, image: Shape) -> Vec<f32> {
    let Shape { height, width, channels } = image;
    permute(values, [outputs, channels, height, width], [2, 3, 1, 0])
}

/// The inverse of [`linear_from_chw`].
pub fn linear_to_chw(values: &[f32], outputs: usize, image: Shape) -> Vec<f32> {
    let Shape { height, width, channels } = image;
    permute(values, [height, width, channels, outputs], [3, 2, 0, 1])
}

/// The values with their axes in another order: axis `k` of the result is axis `axes[k]` of the input.
fn permute(values: &[f32], sizes: [usize; 4], axes: [usize; 4]) -> Vec<f32> {
    assert_eq!(values.len(), sizes.iter().product::<usize>(), "values must fill {sizes:?}");
    let strides = [sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1];
    let ([a, b, c, d], [p, q, r, s]) = (axes.map(|axis| sizes[axis]), axes.map(|axis| strides[axis]));
    let mut permuted = Vec::with_capacity(values.len());
    for i in 0..a {
        for j in 0..b {
            for k in 0..c {
                permuted.extend((0..d).map(|l| values[i * p + j * q + k * r + l * s]));
            }
        }
    }
    permuted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(length: usize) -> Vec<f32> {
        (0..length).map(|value| value as f32).collect()
    }

    #[test]
    fn convolution_weights_go_there_and_back() {
        let sizes = [5, 2, 3, 4];
        let torch = numbered(120);
        let ours = oihw_to_hwio(&torch, sizes);
        // o = 4, i = 1, y = 2, x = 3.
        assert_eq!(ours[((2 * 4 + 3) * 2 + 1) * 5 + 4], torch[((4 * 2 + 1) * 3 + 2) * 4 + 3]);
        assert_eq!(ours[1], torch[24]);
        assert_eq!(hwio_to_oihw(&ours, sizes), torch);
    }

    #[test]
    fn linear_weights_go_there_and_back() {
        assert_eq!(transpose(&numbered(6), 2, 3), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(transpose(&transpose(&numbered(35), 5, 7), 7, 5), numbered(35));
    }

    #[test]
    fn a_linear_layer_sees_the_same_image_in_either_order() {
        let (outputs, image) = (3, Shape::new(2, 3, 4));
        let torch = numbered(outputs * image.len());
        let ours = linear_from_chw(&torch, outputs, image);
        let planes = numbered(image.len());
        let pixels = nchw_to_nhwc(&planes, [1, 4, 2, 3]);
        for output in 0..outputs {
            let row = &torch[output * image.len()..][..image.len()];
            let expected: f32 = row.iter().zip(&planes).map(|(weight, value)| weight * value).sum();
            let column = ours.iter().skip(output).step_by(outputs);
            let found: f32 = column.zip(&pixels).map(|(weight, value)| weight * value).sum();
            assert_eq!(found, expected);
        }
        assert_eq!(linear_to_chw(&ours, outputs, image), torch);
    }

    #[test]
    fn a_single_channel_needs_no_reordering_but_the_transpose() {
        let image = Shape::new(4, 5, 1);
        let torch = numbered(7 * 20);
        assert_eq!(linear_from_chw(&torch, 7, image), transpose(&torch, 7, 20));
    }
}
