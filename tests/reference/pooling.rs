//! Global average pooling of NCHW images.

/// `y[n][c] = (1 / pixels) * sum of x[n][c]`.
pub fn forward(x: &[f64], pixels: usize) -> Vec<f64> {
    x.chunks_exact(pixels).map(|plane| plane.iter().sum::<f64>() / pixels as f64).collect()
}

/// `dx[n][c][..] = dy[n][c] / pixels`.
pub fn backward(dy: &[f64], pixels: usize) -> Vec<f64> {
    dy.iter().flat_map(|dy| vec![dy / pixels as f64; pixels]).collect()
}
