//! A convolution and the batch normalisation of its output.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::batch_norm::BatchNormForward;
use crate::ops::convolution::Conv2dForward;
use crate::ops::operation::{Access, Extent, Operation};

/// A convolution, then a normalisation of what it gives.
///
/// Both in turn are the same. As one call a machine can keep what the convolution learns of its output's mean and variance
/// until the normalisation needs it, with nothing between the two. An operand of the normalisation that lies outside of
/// memory may be noticed when the convolution is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dBatchNormForward<'a> {
    /// The convolution.
    pub convolution: Conv2dForward<'a>,
    /// The normalisation; its `x` is the convolution's `y`.
    pub norm: BatchNormForward,
}

impl Operation for Conv2dBatchNormForward<'_> {
    const NAME: &'static str = "conv2d_batch_norm_forward";

    fn extent(&self) -> Result<Extent, Error> {
        self.norm.extent()?;
        self.convolution.extent()
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.convolution.operands(&mut see);
        let mut shown = false;
        self.norm.operands(|access, span| {
            // Its input is the convolution's output, and no operand of its own.
            let is_input = !shown && access == Access::Read && span == self.convolution.y;
            shown |= is_input;
            see(if is_input { Access::Again } else { access }, span);
        });
    }
}
