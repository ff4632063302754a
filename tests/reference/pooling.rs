//! Pooling of NCHW images.

use sse_sam_core::ops::Pool2d;

/// `y[n][c] = (1 / pixels) * sum of x[n][c]`.
pub fn forward(x: &[f64], pixels: usize) -> Vec<f64> {
    x.chunks_exact(pixels).map(|plane| plane.iter().sum::<f64>() / pixels as f64).collect()
}

/// `dx[n][c][..] = dy[n][c] / pixels`.
pub fn backward(dy: &[f64], pixels: usize) -> Vec<f64> {
    dy.iter().flat_map(|dy| vec![dy / pixels as f64; pixels]).collect()
}

/// Which pixel is the largest of each window, the first of several: for each of `planes` of `height * width`, `None` for
/// none. Output `(i, j)` sees rows `i * stride - padding ..` and as many columns, `kernel` each.
fn largest(x: &[f64], pool: &Pool2d) -> Vec<usize> {
    let Pool2d { input, output, kernel, stride, padding } = *pool;
    let mut found = Vec::new();
    for (number, plane) in x.chunks_exact(input.height * input.width).enumerate() {
        for i in 0..output.height {
            for j in 0..output.width {
                let mut best = None;
                for a in 0..kernel {
                    for b in 0..kernel {
                        let (row, column) = (i * stride + a, j * stride + b);
                        let inside = row >= padding && column >= padding;
                        if !inside || row - padding >= input.height || column - padding >= input.width {
                            continue;
                        }
                        let at = (row - padding) * input.width + column - padding;
                        if best.is_none_or(|best: usize| plane[at] > plane[best]) {
                            best = Some(at);
                        }
                    }
                }
                found.push(number * plane.len() + best.expect("every window has a pixel"));
            }
        }
    }
    found
}

/// `y =` the largest `x` of each window.
pub fn max_forward(x: &[f64], pool: &Pool2d) -> Vec<f64> {
    largest(x, pool).into_iter().map(|at| x[at]).collect()
}

/// `dx =` the sum of the `dy` of the windows whose largest pixel it is.
pub fn max_backward(dy: &[f64], x: &[f64], pool: &Pool2d) -> Vec<f64> {
    let mut dx = vec![0.0; x.len()];
    largest(x, pool).into_iter().zip(dy).for_each(|(at, dy)| dx[at] += dy);
    dx
}

/// `y =` of each window the `tangent` of its largest `x`.
pub fn max_tangent(tangent: &[f64], x: &[f64], pool: &Pool2d) -> Vec<f64> {
    largest(x, pool).into_iter().map(|at| tangent[at]).collect()
}
