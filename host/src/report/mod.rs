//! What people and programs are told.

pub mod classes;
pub mod confusion;
pub mod metrics;
pub mod progress;
