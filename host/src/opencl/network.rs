//! Linear layers, the rectifier, shortcuts, pooling and the loss on the device.

use sse_sam_core::{Shape, Span, Terms};

use super::Error;
use super::arguments::{self, expect, streams, whole_rows};
use super::backend::OpenCl;
use super::launch::arguments;
use super::program::Name;
use super::tiles::Tiles;

/// Work-groups that lie side by side over a row of `numbers`.
fn blocks(tiles: &Tiles, numbers: usize) -> usize {
    tiles.columns(numbers.div_ceil(tiles.width)).blocks
}

pub(super) fn linear_forward(cl: &mut OpenCl, y: Span, x: Span, weight: Span, bias: Span) -> Result<(), Error> {
    let outputs = bias.length;
    let inputs = whole_rows("weight", weight.length, outputs)?;
    let rows = whole_rows("x", x.length, inputs)?;
    expect("y", rows * outputs, y.length)?;
    cl.admit(&[&[y]], &[&[x, weight, bias]])?;
    let (mut launch, memory) = cl.split();
    let groups = rows.div_ceil(launch.tiles.linear_rows) * blocks(launch.tiles, outputs);
    let (y, x) = (memory.written(y)?, memory.read(x)?);
    let (weight, bias) = (memory.read(weight)?, memory.read(bias)?);
    launch.groups(Name::LinearForward, groups, arguments![rows, inputs, outputs, y, x, weight, bias])
}

pub(super) fn linear_backward_input(
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

pub(super) fn linear_backward_weight(
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
        let groups = (inputs + 1) * blocks(launch.tiles, outputs);
        let (dweight, dbias) = (memory.written(dweight)?, memory.written(dbias)?);
        let (x, dy) = (memory.read(x)?, memory.read(dy)?);
        let arguments = arguments![rows, inputs, outputs, dweight, dbias, x, dy];
        launch.groups(Name::LinearBackwardWeight, groups, arguments)?;
    }
    Ok(())
}

pub(super) fn relu_forward(cl: &mut OpenCl, y: Span, x: Span) -> Result<(), Error> {
    expect("x", y.length, x.length)?;
    cl.admit(&[&[y]], &[&[x]])?;
    let (mut launch, memory) = cl.split();
    let items = y.length.div_ceil(launch.tiles.width);
    launch.each(Name::ReluForward, items, arguments![y.length, memory.written(y)?, memory.read(x)?])
}

pub(super) fn relu_backward(cl: &mut OpenCl, dx: &[Span], dy: &[Span], y: Span, accumulate: bool) -> Result<(), Error> {
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

pub(super) fn shortcut_forward(cl: &mut OpenCl, y: Span, x: Span, input: Shape, output: Shape) -> Result<(), Error> {
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

pub(super) fn shortcut_backward(
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

pub(super) fn pool_forward(cl: &mut OpenCl, y: Span, x: Span, input: Shape) -> Result<(), Error> {
    let images = whole_rows("x", x.length, input.len())?;
    expect("y", images * input.channels, y.length)?;
    cl.admit(&[&[y]], &[&[x]])?;
    let (mut launch, memory) = cl.split();
    let groups = images * blocks(launch.tiles, input.channels);
    let (pixels, y, x) = (input.height * input.width, memory.written(y)?, memory.read(x)?);
    launch.groups(Name::GlobalAveragePoolForward, groups, arguments![images, pixels, input.channels, y, x])
}

pub(super) fn pool_backward(
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
        let groups = images * blocks(launch.tiles, input.channels);
        let (pixels, dx, dy) = (input.height * input.width, memory.written(dx)?, memory.read(dy)?);
        let arguments = arguments![images, pixels, input.channels, accumulate, dx, dy];
        launch.groups(Name::GlobalAveragePoolBackward, groups, arguments)?;
    }
    Ok(())
}

/// The loss; `outputs` are `dlogits`, `losses` and `weights` of each group.
pub(super) fn cross_entropy(
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
