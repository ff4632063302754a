//! A convolution and the batch normalisation of its output.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::batch_norm::BatchNormForward;
use crate::ops::convolution::Conv2dForward;
use crate::ops::lent::{Compute, Lent};
use crate::ops::operation::{Access, Extent, Operation, disjoint};
use crate::ops::workers::Workers;

/// A convolution, then a normalisation of what it gives.
///
/// Both in turn are the same. As one call a machine can keep what the convolution learns of its output's mean and variance
/// until the normalisation needs it, with nothing between the two. One that gains nothing from it runs one after the
/// other; an operand of the normalisation that lies outside of memory is then noticed when the convolution is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dBatchNormForward<'a> {
    /// The convolution.
    pub convolution: Conv2dForward<'a>,
    /// The normalisation; its `x` is the convolution's `y`, a channel a filter.
    pub norm: BatchNormForward,
}

impl Operation for Conv2dBatchNormForward<'_> {
    const NAME: &'static str = "conv2d_batch_norm_forward";

    fn extent(&self) -> Result<Extent, Error> {
        let Self { convolution, norm } = self;
        if (norm.x, norm.weight.length) != (convolution.y, convolution.conv.output.channels) {
            return Err(Error::Graph);
        }
        norm.extent()?;
        convolution.extent()
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

impl Compute for Conv2dBatchNormForward<'_> {
    // One after the other: what is added may be what the convolution reads.
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, workers: &W) -> Result<(), Error> {
        self.extent()?;
        disjoint(self)?;
        self.convolution.compute(lent, workers)?;
        self.norm.compute(lent, workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{Conv2d, Shape};

    #[test]
    fn a_normalisation_is_of_what_the_convolution_gives() {
        let conv = Conv2d::new(Shape::new(2, 2, 1), 4, 1, 1, 0).unwrap();
        let span = |number: usize, length| Span::work(32 * number, length);
        let check = |y, x, channels| {
            let convolution = Conv2dForward { y, x: span(0, 4), weight: span(1, 4), conv: &conv };
            let [weight, bias] = [5, 6].map(|number| span(number, channels));
            let (saved, running, residual) = (span(4, 2 * channels), None, None);
            let norm = BatchNormForward { y: span(3, 16), saved, running, x, weight, bias, residual, relu: false };
            Conv2dBatchNormForward { convolution, norm }.extent()
        };
        assert_eq!(check(span(2, 16), span(2, 16), 4), Ok(Extent::Conv2d(1, conv)));
        assert_eq!(check(span(2, 16), span(7, 16), 4), Err(Error::Graph), "other numbers");
        assert_eq!(check(span(2, 16), span(2, 16), 2), Err(Error::Graph), "other channels");
    }
}
