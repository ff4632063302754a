//! Batch normalisation on the device.

use sse_sam_core::ops::{BatchNormBackward, BatchNormForward, BatchNormInference, BatchNormInferenceBackward};
use sse_sam_core::{Run, Span};

use crate::opencl::runtime::error::Error;
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

/// Count, mean and squared deviations of the values of each channel in `parts` of the rows, in scratch memory from `at`:
/// `[parts][3][channels]`.
///
/// They hold the machine until the normalisation takes them: nothing can come between that would use scratch memory, or
/// write what they are of.
pub(crate) struct Moments<'c> {
    pub cl: &'c mut OpenCl,
    pub at: usize,
    pub parts: usize,
}

impl<'c> Moments<'c> {
    /// Takes those of `x`.
    fn of(cl: &'c mut OpenCl, x: Span, channels: usize) -> Result<Self, Error> {
        let (mut launch, buffers) = cl.split();
        let (rows, columns) = (x.length / channels, columns(launch.tiles, channels));
        let parts = parts(launch.tiles, rows, columns);
        let partial = buffers.scratch(0, parts * 3 * channels)?;
        let arguments = arguments![rows, channels, parts, partial, buffers.read(x)?];
        launch.groups(Name::BatchNormForwardTiles, parts * columns.blocks, arguments)?;
        Ok(Self { cl, at: 0, parts })
    }

    /// Normalises what they are of.
    pub fn normalize(self, norm: &BatchNormForward) -> Result<(), Error> {
        let Self { cl, at, parts } = self;
        let BatchNormForward { saved, running, x, weight, .. } = *norm;
        let channels = weight.length;
        let (mut launch, buffers) = cl.split();
        let partial = buffers.scratch(at, parts * 3 * channels)?;
        let (to, keep) = (buffers.written(saved)?, running.is_some());
        let running = buffers.written(running.unwrap_or(saved))?;
        let arguments = arguments![x.length / channels, channels, parts, keep, to, running, partial];
        launch.groups(Name::BatchNormForwardMerge, channels.div_ceil(launch.tiles.width), arguments)?;
        apply(cl, Name::BatchNormForward, norm, saved)
    }
}

impl Run<BatchNormForward> for OpenCl {
    fn run(&mut self, operation: &BatchNormForward) -> Result<(), Error> {
        self.admit(operation)?;
        Moments::of(self, operation.x, operation.weight.length)?.normalize(operation)
    }
}

impl Run<BatchNormInference> for OpenCl {
    fn run(&mut self, operation: &BatchNormInference) -> Result<(), Error> {
        self.admit(operation)?;
        let BatchNormInference { y, x, weight, bias, running, residual, relu } = *operation;
        let norm = BatchNormForward { y, saved: running, running: None, x, weight, bias, residual, relu };
        apply(self, Name::BatchNormInference, &norm, running)
    }
}

/// The normalisation itself, with the `statistics` that the kernel called `name` takes.
fn apply(cl: &mut OpenCl, name: Name, norm: &BatchNormForward, statistics: Span) -> Result<(), Error> {
    let BatchNormForward { y, x, weight, bias, residual, relu, .. } = *norm;
    let channels = weight.length;
    let (mut launch, buffers) = cl.split();
    let (rows, columns) = (x.length / channels, columns(launch.tiles, channels));
    let parts = visits(launch.tiles, rows, columns);
    let arguments = arguments![
        rows,
        channels,
        parts,
        relu,
        residual.is_some(),
        launch.tiles.streams(y, channels),
        buffers.written(y)?,
        buffers.read(x)?,
        buffers.read(weight)?,
        buffers.read(bias)?,
        buffers.read(statistics)?,
        buffers.read(residual.unwrap_or(x))?,
    ];
    launch.groups(name, parts * columns.blocks, arguments)
}

impl Run<BatchNormBackward<'_>> for OpenCl {
    fn run(&mut self, operation: &BatchNormBackward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let BatchNormBackward { dx, dweight, dbias, dy, .. } = *operation;
        let streams = dx.iter().zip(dweight).zip(dbias).zip(dy);
        for (((&dx, &dweight), &dbias), &dy) in streams {
            backward(self, operation, [dx, dweight, dbias, dy])?;
        }
        Ok(())
    }
}

/// The gradients of one stream.
fn backward(
    cl: &mut OpenCl,
    operation: &BatchNormBackward<'_>,
    [dx, dweight, dbias, dy]: [Span; 4],
) -> Result<(), Error> {
    let BatchNormBackward { y, x, weight, bias, saved, relu, residual, accumulate, .. } = *operation;
    let channels = weight.length;
    let rows = x.length / channels;
    let (mut launch, buffers) = cl.split();
    let columns = columns(launch.tiles, channels);
    let parts = parts(launch.tiles, rows, columns);
    let partial = buffers.scratch(0, parts * 2 * channels)?;
    let sums = buffers.scratch(parts * 2 * channels, 2 * channels)?;
    let (dx, dy, dweight, dbias) =
        (buffers.written(dx)?, buffers.written(dy)?, buffers.written(dweight)?, buffers.written(dbias)?);
    let (y, x, weight, bias) = (buffers.read(y)?, buffers.read(x)?, buffers.read(weight)?, buffers.read(bias)?);
    let saved = buffers.read(saved)?;
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
    )
}

impl Run<BatchNormInferenceBackward<'_>> for OpenCl {
    fn run(&mut self, operation: &BatchNormInferenceBackward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let BatchNormInferenceBackward { dx, dweight, dbias, dy, y, x, weight, running, relu, accumulate } = *operation;
        let channels = weight.length;
        let rows = x.length / channels;
        let (mut launch, buffers) = self.split();
        let columns = columns(launch.tiles, channels);
        let parts = parts(launch.tiles, rows, columns);
        let partial = buffers.scratch(0, parts * 2 * channels)?;
        let (y, x) = (buffers.read(y)?, buffers.read(x)?);
        let (weight, running) = (buffers.read(weight)?, buffers.read(running)?);
        for (((&dx, &dweight), &dbias), &dy) in dx.iter().zip(dweight).zip(dbias).zip(dy) {
            let (dx, dy) = (buffers.written(dx)?, buffers.written(dy)?);
            let (dweight, dbias) = (buffers.written(dweight)?, buffers.written(dbias)?);
            launch.groups(
                Name::BatchNormInferenceBackward,
                parts * columns.blocks,
                arguments![rows, channels, parts, relu, accumulate, partial, dx, dy, y, x, weight, running],
            )?;
            launch.groups(
                Name::BatchNormInferenceBackwardMerge,
                channels.div_ceil(launch.tiles.width),
                arguments![channels, parts, dweight, dbias, partial, running],
            )?;
        }
        Ok(())
    }
}
