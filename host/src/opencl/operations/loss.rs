//! The loss on the device.

use sse_sam_core::ops::{CrossEntropy, CrossEntropyTangent};
use sse_sam_core::{Run, Terms};

use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::arguments;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;

impl Run<CrossEntropy<'_>> for OpenCl {
    fn run(&mut self, operation: &CrossEntropy<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let CrossEntropy { dlogits, losses, logits, labels, weights, terms } = *operation;
        let Terms { scale, shift, margin, focal } = terms;
        let classes = scale.length;
        let rows = logits.length / classes;
        let (mut launch, buffers) = self.split();
        let partial = buffers.scratch(0, rows)?;
        for ((&dlogits, &loss), &weights) in dlogits.iter().zip(losses).zip(weights) {
            let loss = buffers.written(loss)?;
            let arguments = arguments![
                rows,
                classes,
                buffers.written(dlogits)?,
                partial,
                buffers.read(logits)?,
                buffers.read(labels)?,
                buffers.read(weights)?,
                buffers.read(scale)?,
                buffers.read(shift)?,
                buffers.read(margin)?,
                focal,
            ];
            launch.groups(Name::CrossEntropy, rows, arguments)?;
            launch.groups(Name::CrossEntropyMerge, 1, arguments![rows, loss, partial])?;
        }
        Ok(())
    }
}

impl Run<CrossEntropyTangent> for OpenCl {
    fn run(&mut self, operation: &CrossEntropyTangent) -> Result<(), Error> {
        self.admit(operation)?;
        let CrossEntropyTangent { dlogits, logits, tangent, labels, weights, terms } = *operation;
        let Terms { scale, shift, margin, focal } = terms;
        let classes = scale.length;
        let rows = logits.length / classes;
        let (mut launch, buffers) = self.split();
        let arguments = arguments![
            rows,
            classes,
            buffers.written(dlogits)?,
            buffers.read(logits)?,
            buffers.read(tangent)?,
            buffers.read(labels)?,
            buffers.read(weights)?,
            buffers.read(scale)?,
            buffers.read(shift)?,
            buffers.read(margin)?,
            focal,
        ];
        launch.groups(Name::CrossEntropyTangent, rows, arguments)
    }
}
