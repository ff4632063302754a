//! Timings and checks of algorithms, made before they are used.

pub mod check;
pub mod trial;
