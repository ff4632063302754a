//! The operations of a network on the device, in files named as the kernels are.

pub mod basis;
pub mod batch_norm;
pub mod linear;
pub mod loss;
pub mod merge;
pub mod pointwise;
pub mod vector;
