//! Output for people and for programs.

pub mod calibration;
pub mod chart;
pub mod classes;
pub mod confusion;
pub mod console;
pub mod evaluation;
pub mod metrics;
pub mod observer;
pub(crate) mod progress;
pub mod statistics;

pub use observer::{Event, Observer, Silent};
