//! Training steps and small networks for long-tailed classification: SGD, SAM, ImbSAM and SSE-SAM.
#![no_std]
#![forbid(unsafe_code)]

pub mod backend;
mod cpu;
mod error;
pub mod ops;

pub use backend::{Backend, Batch, Conv2d, Outcome, Row, Samples, Sgd, Shape, Space, Span, Terms};
pub use cpu::Cpu;
pub use error::Error;
