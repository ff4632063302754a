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

/// `sum_i basis[j][i] * x[i]` for every row `j` of a basis.
pub fn dots(basis: &[f64], x: &[f64]) -> Vec<f64> {
    basis.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

/// `y - sum_j coefficients[j] * basis[j]`.
pub fn combine(y: &[f64], coefficients: &[f64], basis: &[f64]) -> Vec<f64> {
    let rows = coefficients.iter().zip(basis.chunks_exact(y.len()));
    rows.fold(y.to_vec(), |y, (c, row)| axpy(&y, -c, row))
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
