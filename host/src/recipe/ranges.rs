//! Numbers out of their range, refused by the option that set them.

use sse_sam_core::{Error as CoreError, Loss, Quantity};

use crate::error::Error;

/// Refuses a number that is not finite as `f32`.
pub fn positive(option: &str, number: f64) -> Result<f64, Error> {
    if number >= 0.0 && (number as f32).is_finite() {
        Ok(number)
    } else {
        Err(Error::Usage(format!("{option} must be in 0..=3.4e38, got {number:?}")))
    }
}

/// The options that set the numbers which the core checks.
const OPTIONS: [(Quantity, &str); 13] = [
    (Quantity::Rho, "--rho"),
    (Quantity::HeadRho, "--head-rho"),
    (Quantity::TailRho, "--tail-rho"),
    (Quantity::Gamma, "--gamma"),
    (Quantity::FocalSamLambda, "--focal-sam-lambda"),
    (Quantity::FocalSamGamma, "--focal-sam-gamma"),
    (Quantity::LdamMargin, "--ldam-margin"),
    (Quantity::LdamScale, "--ldam-scale"),
    (Quantity::Tau, "--tau"),
    (Quantity::VectorScalingGamma, "--vs-gamma"),
    (Quantity::FocalGamma, "--focal-gamma"),
    (Quantity::LearningRate, "--lr"),
    (Quantity::Imbalance, "--imbalance"),
];

/// The same error; for a number out of its range one that names the option to change.
pub fn by_option(error: impl Into<Error>) -> Error {
    let error = error.into();
    let Error::Core(core @ CoreError::Range { what, .. }) = &error else { return error };
    match OPTIONS.iter().find(|(quantity, _)| quantity == what) {
        Some((_, option)) => Error::Usage(core.to_string().replacen(&what.to_string(), option, 1)),
        None => error,
    }
}

/// A table that is not finite comes from the loss's options.
pub fn by_loss(error: CoreError, loss: &Loss) -> Error {
    let CoreError::Range { what, .. } = error else { return error.into() };
    if OPTIONS.iter().any(|(quantity, _)| *quantity == what) {
        return by_option(error);
    }
    let options = match loss {
        Loss::LogitAdjustment { .. } => "--tau",
        Loss::VectorScaling { .. } => "--vs-gamma or --tau",
        Loss::Ldam { .. } => "--ldam-margin or --ldam-scale",
        _ => return by_option(error),
    };
    Error::Usage(format!("{options}: {error}"))
}
