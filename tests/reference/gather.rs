//! Cutting a batch out of the samples.

use sse_sam_core::{Row, Shape};

/// One NHWC image of `bytes`, `[samples][height][width][channels]`: mirrored if `flip`, moved by `(top, left)`, black
/// (byte 0) outside, then `(byte - mean) * inverse deviation` for each channel, given as `[2][channels]`.
pub fn image(bytes: &[u8], shape: Shape, row: &Row, normalization: &[f64]) -> Vec<f64> {
    let Shape { height, width, channels } = shape;
    let (height, width) = (height as isize, width as isize);
    let mut image = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (from_y, mirrored_x) = (y + row.top as isize, x + row.left as isize);
            let inside = (0..height).contains(&from_y) && (0..width).contains(&mirrored_x);
            let from_x = if row.flip { width - 1 - mirrored_x } else { mirrored_x };
            for c in 0..channels {
                let byte = if inside {
                    let pixel = (from_y * width + from_x) as usize;
                    bytes[row.index as usize * shape.len() + pixel * channels + c]
                } else {
                    0
                };
                image.push((f64::from(byte) - normalization[c]) * normalization[channels + c]);
            }
        }
    }
    image
}
