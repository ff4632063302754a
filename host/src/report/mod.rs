//! What people and programs are told.

pub mod console;
pub mod metrics;
pub mod observer;
mod progress;

pub use observer::{Event, Observer, Silent};
