//! Convolutions on the device: [`pick`] says which algorithm one takes, and each algorithm launches its kernels in a file of
//! its own.

pub(crate) mod block;
pub mod pick;
mod tile;
mod winograd;

use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dBatchNormForward, Conv2dForward};
use sse_sam_core::{Run, Span};

use crate::opencl::algorithm::{Algorithm, Direction};
use crate::opencl::operations::batch_norm::Moments;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::machine::OpenCl;

/// Whether spans start at whole quads of numbers.
fn whole(spans: &[Span]) -> bool {
    spans.iter().all(|span| span.offset.is_multiple_of(4))
}

/// Runs a convolution that was admitted; returns what it learns of its output on the way.
fn forward<'c>(cl: &'c mut OpenCl, operation: &Conv2dForward<'_>) -> Result<Option<Moments<'c>>, Error> {
    let Conv2dForward { y, x, weight, conv } = *operation;
    let images = y.length / conv.output.len();
    let algorithm = cl.algorithm(Direction::Forward, conv, images, whole(&[y, x, weight]));
    match algorithm {
        Algorithm::Direct => tile::forward(cl, operation, images).map(|()| None),
        Algorithm::Winograd => winograd::forward(cl, operation, images),
        Algorithm::Block(block) | Algorithm::Split(block, _) => {
            block::forward(cl, (block, algorithm.parts()), operation, images)
        }
    }
}

impl Run<Conv2dForward<'_>> for OpenCl {
    fn run(&mut self, operation: &Conv2dForward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        forward(self, operation).map(drop)
    }
}

impl Run<Conv2dBatchNormForward<'_>> for OpenCl {
    fn run(&mut self, operation: &Conv2dBatchNormForward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let Conv2dBatchNormForward { convolution, norm } = operation;
        match forward(self, convolution)? {
            Some(moments) => moments.normalize(norm),
            None => self.run(norm),
        }
    }
}

impl Run<Conv2dBackwardInput<'_>> for OpenCl {
    fn run(&mut self, operation: &Conv2dBackwardInput<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let Conv2dBackwardInput { dx, dy, weight, conv, .. } = *operation;
        let images = dx.first().map_or(0, |dx| dx.length / conv.input.len());
        let algorithm =
            self.algorithm(Direction::BackwardInput, conv, images, whole(dx) && whole(dy) && whole(&[weight]));
        match algorithm {
            Algorithm::Direct => tile::backward_input(self, operation, images),
            Algorithm::Winograd => winograd::backward_input(self, operation),
            Algorithm::Block(block) | Algorithm::Split(block, _) => {
                block::backward_input(self, (block, algorithm.parts()), operation, images)
            }
        }
    }
}

impl Run<Conv2dBackwardWeight<'_>> for OpenCl {
    fn run(&mut self, operation: &Conv2dBackwardWeight<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let Conv2dBackwardWeight { dweight, x, dy, conv } = *operation;
        let images = x.length / conv.input.len();
        let algorithm =
            self.algorithm(Direction::BackwardWeight, conv, images, whole(dweight) && whole(dy) && whole(&[x]));
        match algorithm {
            Algorithm::Direct => tile::backward_weight(self, operation, images),
            Algorithm::Winograd => winograd::backward_weight(self, operation, images),
            Algorithm::Block(block) | Algorithm::Split(block, _) => {
                block::backward_weight(self, (block, algorithm.parts()), operation, images)
            }
        }
    }
}
