//! Memory and vectors on the device.

use sse_sam_core::{Batch, Outcome, Row, Samples, Sgd, Span};

use crate::opencl::Error;
use crate::opencl::arguments::{expect, whole_rows};
use crate::opencl::runtime::launch::{Argument, Launch, arguments};
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::memory::{At, Memory};
use crate::opencl::runtime::program::Name;

pub(crate) fn fill(cl: &mut OpenCl, to: Span, value: f32) -> Result<(), Error> {
    let (mut launch, memory) = cl.split();
    let items = to.length.div_ceil(launch.tiles.width);
    launch.each(Name::Fill, items, arguments![to.length, memory.written(to)?, value])
}

pub(crate) fn copy(cl: &mut OpenCl, to: Span, from: Span) -> Result<(), Error> {
    expect("from", to.length, from.length)?;
    cl.admit(&[&[to]], &[&[from]])?;
    let (mut launch, memory) = cl.split();
    let items = to.length.div_ceil(launch.tiles.width);
    launch.each(Name::Copy, items, arguments![to.length, memory.written(to)?, memory.read(from)?])
}

pub(crate) fn gather(cl: &mut OpenCl, batch: &Batch, rows: Span, samples: &Samples) -> Result<(), Error> {
    let (image, [head, tail]) = (samples.image, batch.weights);
    let count = whole_rows("rows", rows.length, Row::WORDS)?;
    let available = whole_rows("the samples", samples.images.length, image.len())?;
    expect("images", count.saturating_mul(image.len()), batch.images.length)?;
    for written in [batch.labels, head, tail] {
        expect("labels and weights", count, written.length)?;
    }
    expect("normalization", 2 * image.channels, samples.normalization.length)?;
    cl.admit(&[&[batch.images, batch.labels, head, tail]], &[&[rows, samples.normalization]])?;
    let (mut launch, memory) = cl.split();
    let arguments: &[Argument<'_>] = arguments![
        count,
        image.height,
        image.width,
        image.channels,
        available,
        memory.written(batch.images)?,
        memory.written(batch.labels)?,
        memory.written(head)?,
        memory.written(tail)?,
        memory.read(rows)?,
        Argument::Samples(memory.bytes(samples.images)?),
        memory.read(samples.normalization)?,
    ];
    let lanes = launch.tiles.spread(image.width * image.channels);
    launch.each(Name::Gather, count * image.height * lanes, arguments)
}

pub(crate) fn axpy(cl: &mut OpenCl, y: Span, alpha: f32, x: Span) -> Result<(), Error> {
    expect("x", y.length, x.length)?;
    cl.admit(&[&[y]], &[&[x]])?;
    let (mut launch, memory) = cl.split();
    let items = y.length.div_ceil(launch.tiles.width);
    launch.each(Name::Axpy, items, arguments![y.length, memory.written(y)?, alpha, memory.read(x)?])
}

pub(crate) fn ascend(cl: &mut OpenCl, point: Span, squared_norm: Span, params: Span, radius: f32) -> Result<(), Error> {
    expect("params", point.length, params.length)?;
    expect("squared_norm", 1, squared_norm.length)?;
    cl.admit(&[&[point, squared_norm]], &[&[params]])?;
    let (mut launch, memory) = cl.split();
    let n = point.length;
    let parts = launch.tiles.parts_of_sum(n);
    let (partial, scale) = (memory.scratch(0, parts)?, memory.scratch(parts, 1)?);
    let (point, norm, params) = (memory.written(point)?, memory.written(squared_norm)?, memory.read(params)?);
    launch.groups(Name::AscendNorm, parts, arguments![n, parts, partial, point])?;
    launch.groups(Name::AscendMerge, 1, arguments![parts, scale, norm, partial, radius])?;
    launch.each(Name::Ascend, n.div_ceil(launch.tiles.width), arguments![n, point, params, scale])
}

pub(crate) fn sgd(
    cl: &mut OpenCl,
    params: Span,
    velocity: Span,
    outcome: &Outcome,
    gradient: Span,
    sgd: &Sgd,
) -> Result<(), Error> {
    expect("velocity", params.length, velocity.length)?;
    expect("gradient", params.length, gradient.length)?;
    expect("squared_norm", 1, outcome.squared_norm.length)?;
    expect("failure", 1, outcome.failure.length)?;
    cl.admit(&[&[params, velocity, outcome.squared_norm, outcome.failure]], &[&[gradient]])?;
    let (mut launch, memory) = cl.split();
    let (n, gradient) = (params.length, memory.read(gradient)?);
    let norm = norm(&mut launch, memory, n, gradient, outcome)?;
    let (params, velocity) = (memory.written(params)?, memory.written(velocity)?);
    let Sgd { learning_rate, momentum, weight_decay, nesterov } = *sgd;
    let arguments = arguments![n, params, velocity, gradient, norm, learning_rate, momentum, weight_decay, nesterov];
    launch.each(Name::Sgd, n.div_ceil(launch.tiles.width), arguments)?;
    // A step ends here. The device is busy with it while the next one is enqueued.
    launch.flush()
}

pub(crate) fn decay(cl: &mut OpenCl, velocity: Span, params: Span, sgd: &Sgd) -> Result<(), Error> {
    expect("params", velocity.length, params.length)?;
    cl.admit(&[&[velocity]], &[&[params]])?;
    let (mut launch, memory) = cl.split();
    let (n, velocity, params) = (velocity.length, memory.written(velocity)?, memory.read(params)?);
    let arguments = arguments![n, velocity, params, sgd.momentum, sgd.weight_decay];
    launch.each(Name::Decay, n.div_ceil(launch.tiles.width), arguments)
}

pub(crate) fn descend(
    cl: &mut OpenCl,
    params: Span,
    velocity: Span,
    outcome: &Outcome,
    learning_rate: f32,
) -> Result<(), Error> {
    expect("velocity", params.length, velocity.length)?;
    expect("squared_norm", 1, outcome.squared_norm.length)?;
    expect("failure", 1, outcome.failure.length)?;
    cl.admit(&[&[params, velocity, outcome.squared_norm, outcome.failure]], &[])?;
    let (mut launch, memory) = cl.split();
    let n = params.length;
    let norm = norm(&mut launch, memory, n, memory.written(velocity)?, outcome)?;
    let (params, velocity) = (memory.written(params)?, memory.written(velocity)?);
    let arguments = arguments![n, params, velocity, norm, learning_rate];
    launch.each(Name::Descend, n.div_ceil(launch.tiles.width), arguments)?;
    launch.flush()
}

/// The squared norm of `n` numbers from `of`, in the outcome's slot; and the step's number in the other when it is not
/// finite.
fn norm<'m>(
    launch: &mut Launch<'_>,
    memory: &'m Memory,
    n: usize,
    of: At<'m>,
    outcome: &Outcome,
) -> Result<At<'m>, Error> {
    let parts = launch.tiles.parts_of_sum(n);
    let partial = memory.scratch(0, parts)?;
    let (norm, failure) = (memory.written(outcome.squared_norm)?, memory.written(outcome.failure)?);
    launch.groups(Name::SgdNorm, parts, arguments![n, parts, partial, of])?;
    launch.groups(Name::SgdMerge, 1, arguments![parts, norm, failure, partial, outcome.number])?;
    Ok(norm)
}
