//! Training: what is trained, by which method, in which memory, step by step.

pub mod method;
pub mod problem;
pub mod rule;
pub mod schedule;
pub mod session;
pub mod step;
pub mod vectors;
