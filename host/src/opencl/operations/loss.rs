//! The loss on the device.

use sse_sam_core::{Span, Terms};

use crate::opencl::Error;
use crate::opencl::arguments::{expect, streams, whole_rows};
use crate::opencl::runtime::launch::arguments;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;

/// The loss; `outputs` are `dlogits`, `losses` and `weights` of each group.
pub(crate) fn cross_entropy(
    cl: &mut OpenCl,
    outputs: [&[Span]; 3],
    logits: Span,
    labels: Span,
    terms: &Terms,
) -> Result<(), Error> {
    let Terms { scale, shift, margin, focal } = *terms;
    let classes = scale.length;
    let rows = whole_rows("logits", logits.length, classes)?;
    expect("shift", classes, shift.length)?;
    expect("margin", classes, margin.length)?;
    expect("labels", rows, labels.length)?;
    for stream in 0..streams(&outputs)? {
        let [dlogits, loss, weights] = outputs.map(|spans| spans[stream]);
        expect("dlogits", logits.length, dlogits.length)?;
        expect("losses", 1, loss.length)?;
        expect("weights", rows, weights.length)?;
    }
    let [dlogits, losses, weights] = outputs;
    cl.admit(&[dlogits, losses], &[weights, &[logits, labels, scale, shift, margin]])?;
    cl.split().1.scratch(0, rows)?;
    for ((&dlogits, &loss), &weights) in dlogits.iter().zip(losses).zip(weights) {
        let (mut launch, memory) = cl.split();
        let (partial, loss) = (memory.scratch(0, rows)?, memory.written(loss)?);
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
