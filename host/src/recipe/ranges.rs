//! Numbers out of their range, refused by the option that set them.

use sse_sam_core::{Error as CoreError, Loss};

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
const OPTIONS: [(&str, &str); 13] = [
    ("rho", "--rho"),
    ("head_rho", "--head-rho"),
    ("tail_rho", "--tail-rho"),
    ("gamma", "--gamma"),
    ("lambda", "--focal-sam-lambda"),
    ("Focal-SAM gamma", "--focal-sam-gamma"),
    ("LDAM margin", "--ldam-margin"),
    ("LDAM scale", "--ldam-scale"),
    ("tau", "--tau"),
    ("vector scaling gamma", "--vs-gamma"),
    ("focal gamma", "--focal-gamma"),
    ("learning rate", "--lr"),
    ("imbalance", "--imbalance"),
];

/// The same error; for a number out of its range one that names the option to change.
pub fn by_option(error: impl Into<Error>) -> Error {
    let error = error.into();
    let Error::Core(CoreError::Range { what, low, high, found }) = error else { return error };
    match OPTIONS.iter().find(|(name, _)| *name == what) {
        Some(&(_, option)) => Error::Usage(CoreError::Range { what: option, low, high, found }.to_string()),
        None => error,
    }
}

/// A table that is not finite comes from the loss's options.
pub fn by_loss(error: CoreError, loss: &Loss) -> Error {
    let CoreError::Range { what, .. } = error else { return error.into() };
    if OPTIONS.iter().any(|(name, _)| *name == what) {
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
