//! Timings and checks of a device's kernels, made before they are used.

pub mod check;
pub mod matrix;
pub mod trial;
