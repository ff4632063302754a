//! The operations of a network and of an optimiser: slices in, slices out.
//!
//! Images are NHWC, convolution weights `[kernel][kernel][in][out]`, linear weights `[in][out]`. Outputs come first.
//! Weight gradients always add to what is there; input gradients add when `accumulate` is set and overwrite
//! otherwise. Lengths are checked before anything is written, and sums run in an order that the lengths alone fix: the
//! same bits on every architecture.
//!
//! Beside each function lies its [`Operation`]: the same by spans of a machine's memory, for whatever machine runs it.

mod activation;
mod batch_norm;
mod convolution;
pub(crate) mod gather;
mod linear;
pub(crate) mod loss;
pub(crate) mod math;
mod normalized;
pub mod operation;
mod pooling;
mod shortcut;
pub(crate) mod vector;

pub use activation::{ReluBackward, ReluForward, relu_backward, relu_forward};
pub use batch_norm::{
    BatchNormBackward, BatchNormForward, BatchNormInference, batch_norm_backward, batch_norm_forward,
    batch_norm_inference,
};
pub use convolution::{
    Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward, conv2d_backward_input, conv2d_backward_weight,
    conv2d_forward,
};
pub use gather::{Batch, Gather, Row, Samples, gather};
pub use linear::{
    LinearBackwardInput, LinearBackwardWeight, LinearForward, linear_backward_input, linear_backward_weight,
    linear_forward,
};
pub use loss::{CrossEntropy, LossTables, Terms, cross_entropy};
pub use normalized::Conv2dBatchNormForward;
pub use operation::Operation;
pub use pooling::{
    GlobalAveragePoolBackward, GlobalAveragePoolForward, global_average_pool_backward, global_average_pool_forward,
};
pub use shortcut::{ShortcutBackward, ShortcutForward, shortcut_backward, shortcut_forward};
pub use vector::{
    Ascend, Axpy, Copy, Decay, Descend, Fill, Outcome, Sgd, SgdUpdate, ascend, axpy, decay, descend, sgd, squared_norm,
};

#[cfg(test)]
mod testing;
