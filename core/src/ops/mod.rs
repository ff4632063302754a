//! The operations of a network and of an optimiser: slices in, slices out.
//!
//! Images are NHWC, convolution weights `[kernel][kernel][in][out]`, linear weights `[in][out]`. Outputs come first.
//! Weight gradients always add to what is there; input gradients add when `accumulate` is set and overwrite
//! otherwise. Lengths are checked before anything is written, and sums run in an order that the lengths alone fix: the
//! same bits on every architecture.

mod activation;
mod batch_norm;
mod convolution;
pub(crate) mod gather;
mod linear;
pub(crate) mod loss;
pub(crate) mod math;
mod pooling;
mod shortcut;
pub(crate) mod vector;

pub use activation::{relu_backward, relu_forward};
pub use batch_norm::{batch_norm_backward, batch_norm_forward, batch_norm_inference};
pub use convolution::{conv2d_backward_input, conv2d_backward_weight, conv2d_forward};
pub use gather::{Batch, Row, Samples, gather};
pub use linear::{linear_backward_input, linear_backward_weight, linear_forward};
pub use loss::{LossTables, Terms, cross_entropy};
pub use pooling::{global_average_pool_backward, global_average_pool_forward};
pub use shortcut::{shortcut_backward, shortcut_forward};
pub use vector::{Outcome, Sgd, ascend, axpy, decay, descend, sgd, squared_norm};

#[cfg(test)]
mod testing;
