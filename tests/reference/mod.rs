//! Every operation once more: naive, in f64, images NCHW and weights as PyTorch orders them, straight from the formula.
//!
//! Slow and plain on purpose. `gradients.rs` proves each backward here by central differences of the forward beside it.

pub mod batch_norm;
pub mod conv2d;
pub mod cross_entropy;
pub mod gather;
pub mod layout;
pub mod linear;
pub mod network;
pub mod pointwise;
pub mod pooling;
pub mod step;
pub mod vectors;

/// The same numbers in f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// The same numbers rounded to f32.
pub fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// `||a - b||_2 / ||b||_2`; 0 when both are zero, infinite when they differ in length, when there are none, or when one is
/// not finite.
pub fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || a.len() != b.len() || a.iter().chain(b).any(|value| !value.is_finite()) {
        return f64::INFINITY;
    }
    let difference = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    if difference == 0.0 { 0.0 } else { difference / vectors::squared_norm(b).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_of_nothing_is_no_agreement() {
        assert_eq!(relative_error(&[], &[]), f64::INFINITY);
        assert_eq!(relative_error(&[1.0], &[1.0, 2.0]), f64::INFINITY);
        assert_eq!(relative_error(&[f64::NAN], &[f64::NAN]), f64::INFINITY);
        assert_eq!(relative_error(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!([relative_error(&[0.0], &[0.0]), relative_error(&[3.0], &[2.0])], [0.0, 0.5]);
    }
}
