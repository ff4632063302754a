//! What is tried on a device before it is relied on.

pub mod check;
pub mod matrix;
pub mod trial;
