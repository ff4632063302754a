//! Long-tailed classification with SSE-SAM, SAM, ImbSAM and SGD.

pub mod data;
mod error;
pub mod order;
pub mod weights;

pub use error::Error;
