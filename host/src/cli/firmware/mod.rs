//! Weights on the way to a chip and back.

pub mod export;
pub mod import;
pub mod numbers;
