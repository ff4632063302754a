//! Operations on flat vectors.

use sse_sam_core::Sgd;

/// `y + alpha * x`.
pub fn axpy(y: &[f64], alpha: f64, x: &[f64]) -> Vec<f64> {
    y.iter().zip(x).map(|(y, x)| y + alpha * x).collect()
}

/// `sum_i x_i^2`.
pub fn squared_norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

/// `params + radius * gradient / (||gradient||_2 + 1e-16)`.
pub fn ascend(gradient: &[f64], params: &[f64], radius: f64) -> Vec<f64> {
    axpy(params, radius / (squared_norm(gradient).sqrt() + 1e-16), gradient)
}

/// Parameters and velocity after one update.
pub fn sgd(params: &[f64], velocity: &[f64], gradient: &[f64], sgd: &Sgd) -> (Vec<f64>, Vec<f64>) {
    let [rate, momentum, decay] = [sgd.learning_rate, sgd.momentum, sgd.weight_decay].map(f64::from);
    let d = axpy(gradient, decay, params);
    let velocity: Vec<f64> = velocity.iter().zip(&d).map(|(v, d)| momentum * v + d).collect();
    let step = if sgd.nesterov { axpy(&d, momentum, &velocity) } else { velocity.clone() };
    (axpy(params, -rate, &step), velocity)
}
