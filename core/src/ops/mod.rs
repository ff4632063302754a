//! The operations of a network and of an optimiser: slices in, slices out.
//!
//! Images are NHWC, convolution weights `[kernel][kernel][in][out]`, linear weights `[in][out]`. Outputs come first.
//! Weight gradients always add to what is there; input gradients add when `accumulate` is set and overwrite
//! otherwise. Lengths are checked before anything is written, and sums run in an order that the lengths alone fix: the
//! same bits on every architecture.
//!
//! Beside each function lies its [`Operation`]: the same by spans of a machine's memory, for whatever machine runs it.

mod activation;
mod basis;
mod batch_norm;
mod batch_norm_gradient;
mod convolution;
mod convolution_weight;
pub(crate) mod gather;
mod inference_gradient;
#[cfg(feature = "wide")]
mod input_gradient;
pub mod lent;
mod linear;
pub(crate) mod loss;
pub(crate) mod math;
mod normalized;
pub mod operation;
pub mod parts;
mod pooling;
mod shortcut;
pub(crate) mod vector;
pub mod workers;

pub use activation::*;
pub use basis::*;
pub use batch_norm::*;
pub use batch_norm_gradient::*;
pub use convolution::*;
pub use convolution_weight::*;
pub use gather::*;
pub use inference_gradient::*;
pub use linear::*;
pub use loss::*;
pub use normalized::*;
pub use operation::Operation;
pub use pooling::*;
pub use shortcut::*;
pub use vector::*;

#[cfg(test)]
mod testing;
