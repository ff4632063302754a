//! Batch normalisation of NCHW images, with the optional residual and ReLU that follow it in a residual block.

/// Added to the variance.
pub const EPSILON: f64 = 1e-5;
/// Share of the batch's statistics in the new running ones.
pub const MOMENTUM: f64 = 0.1;

/// What one training pass leaves.
pub struct Normalized {
    /// `relu?(w * (x - mean) / sqrt(var + EPSILON) + b + residual?)`.
    pub y: Vec<f64>,
    /// Mean of each channel.
    pub mean: Vec<f64>,
    /// `1 / sqrt(var + EPSILON)` of each channel, with the biased variance.
    pub inv_std: Vec<f64>,
    /// Running mean after the pass.
    pub running_mean: Vec<f64>,
    /// Running (unbiased) variance after the pass.
    pub running_var: Vec<f64>,
}

/// The gradients of one training pass.
pub struct Gradients {
    /// With respect to `x`.
    pub dx: Vec<f64>,
    /// With respect to `w`.
    pub dw: Vec<f64>,
    /// With respect to `b`.
    pub db: Vec<f64>,
    /// With respect to the residual: `dy` where the ReLU let through.
    pub dresidual: Vec<f64>,
}

/// Indices of channel `c`'s values in `[n][channels][pixels]`.
fn channel(c: usize, channels: usize, pixels: usize, len: usize) -> impl Iterator<Item = usize> + Clone {
    (0..len / (channels * pixels)).flat_map(move |n| (0..pixels).map(move |pixel| (n * channels + c) * pixels + pixel))
}

/// Mean and biased variance of the values at `indices`.
fn moments(x: &[f64], indices: impl Iterator<Item = usize> + Clone) -> (f64, f64, f64) {
    let count = indices.clone().count() as f64;
    let mean = indices.clone().map(|at| x[at]).sum::<f64>() / count;
    let var = indices.map(|at| (x[at] - mean) * (x[at] - mean)).sum::<f64>() / count;
    (count, mean, var)
}

/// Training pass over images of `pixels` pixels; `running` is mean and variance before it.
pub fn forward(
    x: &[f64],
    w: &[f64],
    b: &[f64],
    running: (&[f64], &[f64]),
    residual: Option<&[f64]>,
    relu: bool,
    pixels: usize,
) -> Normalized {
    let (mut mean, mut inv_std, mut var) = (vec![0.0; w.len()], vec![0.0; w.len()], vec![0.0; w.len()]);
    let (mut running_mean, mut running_var) = (running.0.to_vec(), running.1.to_vec());
    for c in 0..w.len() {
        let (count, batch_mean, batch_var) = moments(x, channel(c, w.len(), pixels, x.len()));
        (mean[c], var[c], inv_std[c]) = (batch_mean, batch_var, 1.0 / (batch_var + EPSILON).sqrt());
        if count > 1.0 {
            let unbiased = batch_var * count / (count - 1.0);
            running_mean[c] = (1.0 - MOMENTUM) * running_mean[c] + MOMENTUM * batch_mean;
            running_var[c] = (1.0 - MOMENTUM) * running_var[c] + MOMENTUM * unbiased;
        }
    }
    let y = inference(x, w, b, (&mean, &var), residual, relu, pixels);
    Normalized { y, mean, inv_std, running_mean, running_var }
}

/// The same with given mean and variance.
pub fn inference(
    x: &[f64],
    w: &[f64],
    b: &[f64],
    running: (&[f64], &[f64]),
    residual: Option<&[f64]>,
    relu: bool,
    pixels: usize,
) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for c in 0..w.len() {
        for at in channel(c, w.len(), pixels, x.len()) {
            y[at] = w[c] * (x[at] - running.0[c]) / (running.1[c] + EPSILON).sqrt() + b[c];
            y[at] += residual.map_or(0.0, |residual| residual[at]);
            if relu && y[at] <= 0.0 {
                y[at] = 0.0;
            }
        }
    }
    y
}

/// Gradients of [`forward`]; `y` is its output.
pub fn backward(dy: &[f64], y: &[f64], x: &[f64], w: &[f64], relu: bool, pixels: usize) -> Gradients {
    let moments_of = |c: usize| moments(x, channel(c, w.len(), pixels, x.len()));
    let (mean, inv_std): (Vec<f64>, Vec<f64>) =
        (0..w.len()).map(moments_of).map(|(_, mean, var)| (mean, 1.0 / (var + EPSILON).sqrt())).unzip();
    backward_from(dy, y, x, w, (&mean, &inv_std), relu, pixels)
}

/// The same from the mean and inverse deviation that the forward pass saved.
pub fn backward_from(
    dy: &[f64],
    y: &[f64],
    x: &[f64],
    w: &[f64],
    (mean, inv_std): (&[f64], &[f64]),
    relu: bool,
    pixels: usize,
) -> Gradients {
    let dresidual: Vec<f64> = dy.iter().zip(y).map(|(dy, y)| if relu && *y <= 0.0 { 0.0 } else { *dy }).collect();
    let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; w.len()]);
    for c in 0..w.len() {
        let indices = channel(c, w.len(), pixels, x.len());
        let count = indices.clone().count() as f64;
        for at in indices.clone() {
            db[c] += dresidual[at];
            dw[c] += dresidual[at] * (x[at] - mean[c]) * inv_std[c];
        }
        for at in indices {
            let xhat = (x[at] - mean[c]) * inv_std[c];
            dx[at] = w[c] * inv_std[c] * (dresidual[at] - db[c] / count - xhat * dw[c] / count);
        }
    }
    Gradients { dx, dw, db, dresidual }
}

/// Gradients of [`inference`], whose mean and variance are constants; `y` is its output.
pub fn inference_backward(
    dy: &[f64],
    y: &[f64],
    x: &[f64],
    w: &[f64],
    running: (&[f64], &[f64]),
    relu: bool,
    pixels: usize,
) -> Gradients {
    let dresidual: Vec<f64> = dy.iter().zip(y).map(|(dy, y)| if relu && *y <= 0.0 { 0.0 } else { *dy }).collect();
    let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; w.len()]);
    for c in 0..w.len() {
        let inv_std = 1.0 / (running.1[c] + EPSILON).sqrt();
        for at in channel(c, w.len(), pixels, x.len()) {
            db[c] += dresidual[at];
            dw[c] += dresidual[at] * (x[at] - running.0[c]) * inv_std;
            dx[at] = w[c] * inv_std * dresidual[at];
        }
    }
    Gradients { dx, dw, db, dresidual }
}
