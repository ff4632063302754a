//! Batch normalisation on the device.

use sse_sam_core::Span;

use crate::opencl::Error;
use crate::opencl::arguments::{self, expect, streams, whole_rows};
use crate::opencl::runtime::launch::arguments;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;
use crate::opencl::runtime::tiles::{Columns, Tiles};

/// How work-groups lie over a row of channels.
fn columns(tiles: &Tiles, channels: usize) -> Columns {
    tiles.columns(channels.div_ceil(tiles.columns * tiles.width))
}

/// Parts in which the statistics of `rows` are taken.
fn parts(tiles: &Tiles, rows: usize, columns: Columns) -> usize {
    (rows / tiles.part_rows.max(tiles.rows * columns.strands)).clamp(1, tiles.row_parts)
}

/// Parts in which `rows` are visited.
fn visits(tiles: &Tiles, rows: usize, columns: Columns) -> usize {
    (tiles.visitors / tiles.group / columns.blocks).clamp(1, rows.div_ceil(columns.strands).max(1))
}

/// Normalisation with the batch's own statistics.
pub(crate) fn forward(
    cl: &mut OpenCl,
    y: Span,
    saved: Span,
    running: Option<Span>,
    x: Span,
    weight: Span,
    bias: Span,
    residual: Option<Span>,
    relu: bool,
) -> Result<(), Error> {
    let absent = Span::work(0, 0);
    arguments::batch_norm(y.length, x.length, weight.length, bias.length, saved.length)?;
    expect("residual", x.length, residual.map_or(x.length, |residual| residual.length))?;
    cl.admit(&[&[y, saved, running.unwrap_or(absent)]], &[&[x, weight, bias, residual.unwrap_or(absent)]])?;
    statistics(cl, saved, running, x, weight)?;
    apply(cl, Name::BatchNormForward, y, x, weight, bias, saved, residual, relu)
}

/// The batch's statistics into `saved`, and the running ones on their way.
fn statistics(cl: &mut OpenCl, saved: Span, running: Option<Span>, x: Span, weight: Span) -> Result<(), Error> {
    let channels = weight.length;
    let rows = whole_rows("x", x.length, channels)?;
    expect("statistics", 2 * channels, saved.length)?;
    expect("running", 2 * channels, running.map_or(2 * channels, |running| running.length))?;
    cl.admit(&[&[saved, running.unwrap_or(Span::work(0, 0))]], &[&[x, weight]])?;
    let left = cl.take_statistics(x, channels);
    let (mut launch, memory) = cl.split();
    let columns = columns(launch.tiles, channels);
    let (at, parts) = left.map_or((0, parts(launch.tiles, rows, columns)), |left| (left.at, left.parts));
    let partial = memory.scratch(at, parts * 3 * channels)?;
    let (saved, keep) = (memory.written(saved)?, running.is_some());
    let running = running.map(|running| memory.written(running)).transpose()?.unwrap_or(saved);
    if left.is_none() {
        let arguments = arguments![rows, channels, parts, partial, memory.read(x)?];
        launch.groups(Name::BatchNormForwardTiles, parts * columns.blocks, arguments)?;
    }
    let arguments = arguments![rows, channels, parts, keep, saved, running, partial];
    launch.groups(Name::BatchNormForwardMerge, channels.div_ceil(launch.tiles.width), arguments)
}

/// The normalisation itself, with the `statistics` that the kernel called `name` takes.
pub(crate) fn apply(
    cl: &mut OpenCl,
    name: Name,
    y: Span,
    x: Span,
    weight: Span,
    bias: Span,
    statistics: Span,
    residual: Option<Span>,
    relu: bool,
) -> Result<(), Error> {
    let channels = weight.length;
    let rows = arguments::batch_norm(y.length, x.length, channels, bias.length, statistics.length)?;
    expect("residual", x.length, residual.map_or(x.length, |residual| residual.length))?;
    cl.admit(&[&[y]], &[&[x, weight, bias, statistics, residual.unwrap_or(Span::work(0, 0))]])?;
    let (mut launch, memory) = cl.split();
    let columns = columns(launch.tiles, channels);
    let parts = visits(launch.tiles, rows, columns);
    let stream = launch.tiles.streams(y, channels);
    launch.groups(
        name,
        parts * columns.blocks,
        arguments![
            rows,
            channels,
            parts,
            relu,
            residual.is_some(),
            stream,
            memory.written(y)?,
            memory.read(x)?,
            memory.read(weight)?,
            memory.read(bias)?,
            memory.read(statistics)?,
            memory.read(residual.unwrap_or(x))?,
        ],
    )
}

/// The gradients; `outputs` are `dx`, `dweight`, `dbias` and `dy` of each stream.
pub(crate) fn backward(
    cl: &mut OpenCl,
    outputs: [&[Span]; 4],
    [y, x, weight, bias, saved]: [Span; 5],
    [relu, residual, accumulate]: [bool; 3],
) -> Result<(), Error> {
    let channels = weight.length;
    let rows = arguments::batch_norm(y.length, x.length, channels, bias.length, saved.length)?;
    for stream in 0..streams(&outputs)? {
        let [dx, dweight, dbias, dy] = outputs.map(|spans| spans[stream]);
        expect("dx", x.length, dx.length)?;
        expect("dy", x.length, dy.length)?;
        expect("dweight", channels, dweight.length)?;
        expect("dbias", channels, dbias.length)?;
    }
    let [dx, dweight, dbias, dy] = outputs;
    cl.admit(&[dx, dweight, dbias, dy], &[&[y, x, weight, bias, saved]])?;
    for stream in 0..dx.len() {
        let [dx, dweight, dbias, dy] = outputs.map(|spans| spans[stream]);
        let (mut launch, memory) = cl.split();
        let columns = columns(launch.tiles, channels);
        let parts = parts(launch.tiles, rows, columns);
        let partial = memory.scratch(0, parts * 2 * channels)?;
        let sums = memory.scratch(parts * 2 * channels, 2 * channels)?;
        let (dx, dy, dweight, dbias) =
            (memory.written(dx)?, memory.written(dy)?, memory.written(dweight)?, memory.written(dbias)?);
        let (y, x, weight, bias) = (memory.read(y)?, memory.read(x)?, memory.read(weight)?, memory.read(bias)?);
        let saved = memory.read(saved)?;
        launch.groups(
            Name::BatchNormBackwardTiles,
            parts * columns.blocks,
            arguments![rows, channels, parts, relu, residual, partial, dy, y, x, weight, bias, saved],
        )?;
        launch.groups(
            Name::BatchNormBackwardMerge,
            channels.div_ceil(launch.tiles.width),
            arguments![channels, parts, dweight, dbias, sums, partial, saved],
        )?;
        let parts = visits(launch.tiles, rows, columns);
        let relu = relu && !residual;
        launch.groups(
            Name::BatchNormBackward,
            parts * columns.blocks,
            arguments![rows, channels, parts, relu, accumulate, dx, dy, x, weight, bias, saved, sums],
        )?;
    }
    Ok(())
}
