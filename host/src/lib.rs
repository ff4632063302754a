//! Long-tailed classification with SSE-SAM, SAM, ImbSAM and SGD.
//!
//! The program is `sse-sam`; this library is what it is made of.

pub mod cli;
pub mod data;
pub mod device;
mod error;
pub mod opencl;
pub mod recipe;
pub mod report;
pub mod run;
pub mod shown;
pub mod train;
pub mod weights;

pub use error::Error;
