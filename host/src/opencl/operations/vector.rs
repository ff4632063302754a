//! Copies and vectors on the device.

use sse_sam_core::ops::{Ascend, Axpy, Copy, Decay, Descend, Fill, Gather, SgdUpdate};
use sse_sam_core::{Outcome, Run, Sgd};

use crate::opencl::runtime::buffers::{At, Buffers};
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::{Argument, Launch, arguments};
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;

impl Run<Fill> for OpenCl {
    fn run(&mut self, operation: &Fill) -> Result<(), Error> {
        self.admit(operation)?;
        let Fill { to, value } = *operation;
        let (mut launch, buffers) = self.split();
        let items = to.length.div_ceil(launch.tiles.width);
        launch.each(Name::Fill, items, arguments![to.length, buffers.written(to)?, value])
    }
}

impl Run<Copy> for OpenCl {
    fn run(&mut self, operation: &Copy) -> Result<(), Error> {
        self.admit(operation)?;
        let Copy { to, from } = *operation;
        let (mut launch, buffers) = self.split();
        let items = to.length.div_ceil(launch.tiles.width);
        launch.each(Name::Copy, items, arguments![to.length, buffers.written(to)?, buffers.read(from)?])
    }
}

impl Run<Gather<'_>> for OpenCl {
    fn run(&mut self, operation: &Gather<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let Gather { batch, rows, samples } = *operation;
        let (image, [head, tail]) = (samples.image, batch.weights);
        let count = batch.labels.length;
        let (mut launch, buffers) = self.split();
        let arguments: &[Argument<'_>] = arguments![
            count,
            image.height,
            image.width,
            image.channels,
            samples.count()?,
            buffers.written(batch.images)?,
            buffers.written(batch.labels)?,
            buffers.written(head)?,
            buffers.written(tail)?,
            buffers.read(rows)?,
            Argument::Samples(buffers.bytes(samples.images)?),
            buffers.read(samples.normalization)?,
        ];
        let lanes = launch.tiles.spread(image.width * image.channels);
        launch.each(Name::Gather, count * image.height * lanes, arguments)
    }
}

impl Run<Axpy> for OpenCl {
    fn run(&mut self, operation: &Axpy) -> Result<(), Error> {
        self.admit(operation)?;
        let Axpy { y, alpha, x } = *operation;
        let (mut launch, buffers) = self.split();
        let items = y.length.div_ceil(launch.tiles.width);
        launch.each(Name::Axpy, items, arguments![y.length, buffers.written(y)?, alpha, buffers.read(x)?])
    }
}

impl Run<Ascend> for OpenCl {
    fn run(&mut self, operation: &Ascend) -> Result<(), Error> {
        self.admit(operation)?;
        let Ascend { point, squared_norm, params, radius } = *operation;
        let (mut launch, buffers) = self.split();
        let n = point.length;
        let parts = launch.tiles.parts_of_sum(n);
        let (partial, scale) = (buffers.scratch(0, parts)?, buffers.scratch(parts, 1)?);
        let (point, norm, params) = (buffers.written(point)?, buffers.written(squared_norm)?, buffers.read(params)?);
        launch.groups(Name::AscendNorm, parts, arguments![n, parts, partial, point])?;
        launch.groups(Name::AscendMerge, 1, arguments![parts, scale, norm, partial, radius])?;
        launch.each(Name::Ascend, n.div_ceil(launch.tiles.width), arguments![n, point, params, scale])
    }
}

impl Run<SgdUpdate<'_>> for OpenCl {
    fn run(&mut self, operation: &SgdUpdate<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let SgdUpdate { params, velocity, outcome, gradient, sgd } = *operation;
        let (mut launch, buffers) = self.split();
        let (n, gradient) = (params.length, buffers.read(gradient)?);
        let norm = norm(&mut launch, buffers, n, gradient, outcome)?;
        let (params, velocity) = (buffers.written(params)?, buffers.written(velocity)?);
        let Sgd { learning_rate, momentum, weight_decay, nesterov } = *sgd;
        let arguments =
            arguments![n, params, velocity, gradient, norm, learning_rate, momentum, weight_decay, nesterov];
        launch.each(Name::Sgd, n.div_ceil(launch.tiles.width), arguments)?;
        // The step is queued: flush, so that the device works while the next one is being queued.
        launch.flush()
    }
}

impl Run<Decay<'_>> for OpenCl {
    fn run(&mut self, operation: &Decay<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let Decay { velocity, params, sgd } = *operation;
        let (mut launch, buffers) = self.split();
        let (n, velocity, params) = (velocity.length, buffers.written(velocity)?, buffers.read(params)?);
        let arguments = arguments![n, velocity, params, sgd.momentum, sgd.weight_decay];
        launch.each(Name::Decay, n.div_ceil(launch.tiles.width), arguments)
    }
}

impl Run<Descend<'_>> for OpenCl {
    fn run(&mut self, operation: &Descend<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let Descend { params, velocity, outcome, learning_rate } = *operation;
        let (mut launch, buffers) = self.split();
        let n = params.length;
        let norm = norm(&mut launch, buffers, n, buffers.written(velocity)?, outcome)?;
        let (params, velocity) = (buffers.written(params)?, buffers.written(velocity)?);
        let arguments = arguments![n, params, velocity, norm, learning_rate];
        launch.each(Name::Descend, n.div_ceil(launch.tiles.width), arguments)?;
        launch.flush()
    }
}

/// The squared norm of `n` numbers from `of`, in the outcome's slot; and the step's number in the other when it is not
/// finite.
fn norm<'m>(
    launch: &mut Launch<'_>,
    buffers: &'m Buffers,
    n: usize,
    of: At<'m>,
    outcome: &Outcome,
) -> Result<At<'m>, Error> {
    let parts = launch.tiles.parts_of_sum(n);
    let partial = buffers.scratch(0, parts)?;
    let (norm, failure) = (buffers.written(outcome.squared_norm)?, buffers.written(outcome.failure)?);
    launch.groups(Name::SgdNorm, parts, arguments![n, parts, partial, of])?;
    launch.groups(Name::SgdMerge, 1, arguments![parts, norm, failure, partial, outcome.number])?;
    Ok(norm)
}
