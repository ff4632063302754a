//! Linear layers on the device.

use sse_sam_core::Span;

use crate::opencl::Error;
use crate::opencl::arguments::{expect, streams, whole_rows};
use crate::opencl::runtime::launch::arguments;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;

pub(crate) fn linear_forward(cl: &mut OpenCl, y: Span, x: Span, weight: Span, bias: Span) -> Result<(), Error> {
    let outputs = bias.length;
    let inputs = whole_rows("weight", weight.length, outputs)?;
    let rows = whole_rows("x", x.length, inputs)?;
    expect("y", rows * outputs, y.length)?;
    cl.admit(&[&[y]], &[&[x, weight, bias]])?;
    let (mut launch, memory) = cl.split();
    let groups = rows.div_ceil(launch.tiles.linear_rows) * launch.tiles.blocks(outputs);
    let (y, x) = (memory.written(y)?, memory.read(x)?);
    let (weight, bias) = (memory.read(weight)?, memory.read(bias)?);
    launch.groups(Name::LinearForward, groups, arguments![rows, inputs, outputs, y, x, weight, bias])
}

pub(crate) fn linear_backward_input(
    cl: &mut OpenCl,
    dx: &[Span],
    dy: &[Span],
    weight: Span,
    outputs: usize,
    accumulate: bool,
) -> Result<(), Error> {
    let inputs = whole_rows("weight", weight.length, outputs)?;
    streams(&[dx, dy])?;
    for (dx, dy) in dx.iter().zip(dy) {
        let rows = whole_rows("dy", dy.length, outputs)?;
        expect("dx", rows * inputs, dx.length)?;
    }
    cl.admit(&[dx], &[dy, &[weight]])?;
    for (&dx, &dy) in dx.iter().zip(dy) {
        let rows = dy.length / outputs;
        let (mut launch, memory) = cl.split();
        let items = inputs * rows.div_ceil(launch.tiles.rows);
        let (dx, dy, weight) = (memory.written(dx)?, memory.read(dy)?, memory.read(weight)?);
        let arguments = arguments![rows, inputs, outputs, accumulate, dx, dy, weight];
        launch.each(Name::LinearBackwardInput, items, arguments)?;
    }
    Ok(())
}

pub(crate) fn linear_backward_weight(
    cl: &mut OpenCl,
    dweight: &[Span],
    dbias: &[Span],
    x: Span,
    dy: &[Span],
) -> Result<(), Error> {
    for stream in 0..streams(&[dweight, dbias, dy])? {
        let inputs = whole_rows("dweight", dweight[stream].length, dbias[stream].length)?;
        let rows = whole_rows("dy", dy[stream].length, dbias[stream].length)?;
        expect("x", rows * inputs, x.length)?;
    }
    cl.admit(&[dweight, dbias], &[dy, &[x]])?;
    for ((&dweight, &dbias), &dy) in dweight.iter().zip(dbias).zip(dy) {
        let outputs = dbias.length;
        let (inputs, rows) = (dweight.length / outputs, dy.length / outputs);
        let (mut launch, memory) = cl.split();
        let groups = (inputs + 1) * launch.tiles.blocks(outputs);
        let (dweight, dbias) = (memory.written(dweight)?, memory.written(dbias)?);
        let (x, dy) = (memory.read(x)?, memory.read(dy)?);
        let arguments = arguments![rows, inputs, outputs, dweight, dbias, x, dy];
        launch.groups(Name::LinearBackwardWeight, groups, arguments)?;
    }
    Ok(())
}
