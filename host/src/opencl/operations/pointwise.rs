//! The rectifier, shortcuts and pooling on the device.

use sse_sam_core::{Shape, Span};

use crate::opencl::Error;
use crate::opencl::arguments::{self, expect, streams, whole_rows};
use crate::opencl::runtime::launch::arguments;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;

pub(crate) fn relu_forward(cl: &mut OpenCl, y: Span, x: Span) -> Result<(), Error> {
    expect("x", y.length, x.length)?;
    cl.admit(&[&[y]], &[&[x]])?;
    let (mut launch, memory) = cl.split();
    let items = y.length.div_ceil(launch.tiles.width);
    launch.each(Name::ReluForward, items, arguments![y.length, memory.written(y)?, memory.read(x)?])
}

pub(crate) fn relu_backward(cl: &mut OpenCl, dx: &[Span], dy: &[Span], y: Span, accumulate: bool) -> Result<(), Error> {
    let n = y.length;
    streams(&[dx, dy])?;
    for (dx, dy) in dx.iter().zip(dy) {
        expect("dx", n, dx.length)?;
        expect("dy", n, dy.length)?;
    }
    cl.admit(&[dx], &[dy, &[y]])?;
    for (&dx, &dy) in dx.iter().zip(dy) {
        let (mut launch, memory) = cl.split();
        let (dx, dy, y) = (memory.written(dx)?, memory.read(dy)?, memory.read(y)?);
        let items = n.div_ceil(launch.tiles.width);
        launch.each(Name::ReluBackward, items, arguments![n, accumulate, dx, dy, y])?;
    }
    Ok(())
}

pub(crate) fn shortcut_forward(cl: &mut OpenCl, y: Span, x: Span, input: Shape, output: Shape) -> Result<(), Error> {
    let images = arguments::shortcut(y.length, x.length, input, output)?;
    cl.admit(&[&[y]], &[&[x]])?;
    let (mut launch, memory) = cl.split();
    let arguments = arguments![
        images,
        input.height,
        input.width,
        input.channels,
        output.height,
        output.width,
        output.channels,
        memory.written(y)?,
        memory.read(x)?,
    ];
    let items = images * output.height * output.width * launch.tiles.spread(output.channels);
    launch.each(Name::ShortcutForward, items, arguments)
}

pub(crate) fn shortcut_backward(
    cl: &mut OpenCl,
    dx: &[Span],
    dy: &[Span],
    input: Shape,
    output: Shape,
    accumulate: bool,
) -> Result<(), Error> {
    streams(&[dx, dy])?;
    for (dx, dy) in dx.iter().zip(dy) {
        arguments::shortcut(dy.length, dx.length, input, output)?;
    }
    cl.admit(&[dx], &[dy])?;
    for (&dx, &dy) in dx.iter().zip(dy) {
        let images = dx.length / input.len();
        let (mut launch, memory) = cl.split();
        let arguments = arguments![
            images,
            input.height,
            input.width,
            input.channels,
            output.height,
            output.width,
            output.channels,
            accumulate,
            memory.written(dx)?,
            memory.read(dy)?,
        ];
        let items = images * input.height * input.width * launch.tiles.spread(input.channels);
        launch.each(Name::ShortcutBackward, items, arguments)?;
    }
    Ok(())
}

pub(crate) fn pool_forward(cl: &mut OpenCl, y: Span, x: Span, input: Shape) -> Result<(), Error> {
    let images = whole_rows("x", x.length, input.len())?;
    expect("y", images * input.channels, y.length)?;
    cl.admit(&[&[y]], &[&[x]])?;
    let (mut launch, memory) = cl.split();
    let groups = images * launch.tiles.blocks(input.channels);
    let (pixels, y, x) = (input.height * input.width, memory.written(y)?, memory.read(x)?);
    launch.groups(Name::GlobalAveragePoolForward, groups, arguments![images, pixels, input.channels, y, x])
}

pub(crate) fn pool_backward(
    cl: &mut OpenCl,
    dx: &[Span],
    dy: &[Span],
    input: Shape,
    accumulate: bool,
) -> Result<(), Error> {
    streams(&[dx, dy])?;
    for (dx, dy) in dx.iter().zip(dy) {
        let images = whole_rows("dx", dx.length, input.len())?;
        expect("dy", images * input.channels, dy.length)?;
    }
    cl.admit(&[dx], &[dy])?;
    for (&dx, &dy) in dx.iter().zip(dy) {
        let images = dx.length / input.len();
        let (mut launch, memory) = cl.split();
        let groups = images * launch.tiles.blocks(input.channels);
        let (pixels, dx, dy) = (input.height * input.width, memory.written(dx)?, memory.read(dy)?);
        let arguments = arguments![images, pixels, input.channels, accumulate, dx, dy];
        launch.groups(Name::GlobalAveragePoolBackward, groups, arguments)?;
    }
    Ok(())
}
