//! How far an f32 result may lie from the f64 reference: `||a - b||_2 / ||b||_2` of a whole tensor.
//!
//! A bound is about four times the worst error of a correct computation that sums in f32, on the sizes tested; the CPU
//! backend, whose sums are f64, stays further below. What is not in the
//! table is made of `+ - *` and comparison alone and agrees bit for bit.

/// The bound of one operation's results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Which results.
    pub operation: &'static str,
    /// Largest relative error.
    pub bound: f64,
    /// Why so much.
    pub reason: &'static str,
}

const fn row(operation: &'static str, bound: f64, reason: &'static str) -> Tolerance {
    Tolerance { operation, bound, reason }
}

/// Every bound there is.
pub const TOLERANCES: &[Tolerance] = &[
    row("gather", 2e-7, "a difference and a product, each rounded once"),
    row("ascend", 1e-6, "one root, one division, a product and a sum a number"),
    row("squared_norm", 2e-6, "a sum of up to 70,001 positive squares, whose errors do not cancel"),
    row("dots", 1e-6, "sums of up to 70,001 products of either sign, relative to the terms"),
    row("combine", 2e-6, "sums of up to 80 products of either sign"),
    row("linear_forward", 2e-6, "sums of up to 257 products"),
    row("linear_backward_input", 2e-6, "sums of up to 101 products"),
    row("linear_backward_weight", 2e-6, "sums over up to 33 samples"),
    row("conv2d_forward", 3e-6, "sums of up to 9 * 64 products"),
    row("conv2d_backward_input", 2e-6, "sums of up to 9 * 64 products"),
    row("conv2d_backward_weight", 2e-6, "sums over up to 5 * 17 * 19 pixels"),
    row("batch_norm_forward", 2e-6, "mean and variance in two passes, one root, then two products and two sums"),
    row("batch_norm_far", 1e-5, "a mean of 30 is rounded to 1e-6 of the deviations"),
    row("batch_norm_saved", 2e-6, "mean and variance in two passes"),
    row("batch_norm_running", 2e-6, "a tenth of the batch's statistics"),
    row("batch_norm_inference", 1e-6, "one root, then two products and two sums"),
    row("batch_norm_backward", 2e-6, "two sums over up to 5 * 17 * 13 pixels, relative to the terms of dx"),
    row("batch_norm_weight", 4e-6, "sums over up to 5 * 17 * 13 pixels of either sign"),
    row("global_average_pool_forward", 1e-6, "sums of up to 17 * 13 numbers of either sign"),
    row("global_average_pool_backward", 5e-7, "one division and a sum a number"),
    row("max_pool_backward", 5e-7, "a sum of the gradients of up to 9 windows"),
    row("loss", 4e-6, "exp and log to a few ulp, and 1 - p in the focal factor"),
    row("dlogits", 4e-6, "exp and log to a few ulp, and 1 - p in the focal factor"),
    row("dlogits_tangent", 4e-6, "exp and log to a few ulp, and differences of a direction's numbers"),
];

/// The bound of an operation.
///
/// # Panics
/// When the table has no row for it.
pub fn tolerance(operation: &str) -> f64 {
    let row = TOLERANCES.iter().find(|row| row.operation == operation);
    row.unwrap_or_else(|| panic!("no tolerance for {operation}")).bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tolerance_is_looser_than_1e_5_and_each_has_a_reason() {
        for row in TOLERANCES {
            assert!(row.bound <= 1e-5 && row.bound >= f64::from(f32::EPSILON) && !row.reason.is_empty(), "{row:?}");
        }
    }
}
