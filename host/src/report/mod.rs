//! What people and programs are told.

pub mod metrics;
pub mod progress;
