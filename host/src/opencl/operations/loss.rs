//! The loss on the device.

use sse_sam_core::ops::CrossEntropy;
use sse_sam_core::{Run, Terms};

use crate::opencl::Error;
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
        let (mut launch, memory) = self.split();
        let partial = memory.scratch(0, rows)?;
        for ((&dlogits, &loss), &weights) in dlogits.iter().zip(losses).zip(weights) {
            let loss = memory.written(loss)?;
            let arguments = arguments![
                rows,
                classes,
                memory.written(dlogits)?,
                partial,
                memory.read(logits)?,
                memory.read(labels)?,
                memory.read(weights)?,
                memory.read(scale)?,
                memory.read(shift)?,
                memory.read(margin)?,
                focal,
            ];
            launch.groups(Name::CrossEntropy, rows, arguments)?;
            launch.groups(Name::CrossEntropyMerge, 1, arguments![rows, loss, partial])?;
        }
        Ok(())
    }
}
