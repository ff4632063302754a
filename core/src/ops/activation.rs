//! The rectifier.

use crate::error::Error;
use crate::ops::math::rows::{expect, put};

/// Rectifier: `y[i] = x[i] > 0 ? x[i] : 0`.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
pub fn relu_forward(y: &mut [f32], x: &[f32]) -> Result<(), Error> {
    expect("x", y.len(), x.len())?;
    for (y, x) in y.iter_mut().zip(x) {
        *y = rectified(*x);
    }
    Ok(())
}

/// The gradient of [`relu_forward`]: `dx[i] = y[i] > 0 ? dy[i] : 0`, added to `dx` when `accumulate` is set.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
pub fn relu_backward(dx: &mut [f32], dy: &[f32], y: &[f32], accumulate: bool) -> Result<(), Error> {
    expect("dy", dx.len(), dy.len())?;
    expect("y", dx.len(), y.len())?;
    for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
        put(dx, if *y > 0.0 { *dy } else { 0.0 }, accumulate);
    }
    Ok(())
}

/// `x > 0 ? x : 0`.
#[inline(always)]
pub(super) fn rectified(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rectifier_passes_what_is_positive() {
        let (mut y, mut dx) = ([9.0; 3], [1.0; 3]);
        relu_forward(&mut y, &[-1.0, 0.0, 2.0]).unwrap();
        assert_eq!(y, [0.0, 0.0, 2.0]);
        relu_backward(&mut dx, &[3.0, 4.0, 5.0], &y, true).unwrap();
        assert_eq!(dx, [1.0, 1.0, 6.0]);
        relu_backward(&mut dx, &[3.0, 4.0, 5.0], &y, false).unwrap();
        assert_eq!(dx, [0.0, 0.0, 5.0]);
        assert!(relu_forward(&mut y, &[1.0]).is_err());
    }
}
