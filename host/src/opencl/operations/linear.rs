//! Linear layers on the device.

use sse_sam_core::Run;
use sse_sam_core::ops::{LinearBackwardInput, LinearBackwardWeight, LinearForward};

use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::arguments;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;

impl Run<LinearForward> for OpenCl {
    fn run(&mut self, operation: &LinearForward) -> Result<(), Error> {
        self.admit(operation)?;
        let LinearForward { y, x, weight, bias } = *operation;
        let outputs = bias.length;
        let (inputs, rows) = (weight.length / outputs, y.length / outputs);
        let (mut launch, buffers) = self.split();
        let groups = rows.div_ceil(launch.tiles.linear_rows) * launch.tiles.blocks(outputs);
        let (y, x) = (buffers.written(y)?, buffers.read(x)?);
        let (weight, bias) = (buffers.read(weight)?, buffers.read(bias)?);
        launch.groups(Name::LinearForward, groups, arguments![rows, inputs, outputs, y, x, weight, bias])
    }
}

impl Run<LinearBackwardInput<'_>> for OpenCl {
    fn run(&mut self, operation: &LinearBackwardInput<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let LinearBackwardInput { dx, dy, weight, outputs, accumulate } = *operation;
        let inputs = weight.length / outputs;
        let (mut launch, buffers) = self.split();
        for (&dx, &dy) in dx.iter().zip(dy) {
            let rows = dy.length / outputs;
            let items = inputs * rows.div_ceil(launch.tiles.rows);
            let (dx, dy, weight) = (buffers.written(dx)?, buffers.read(dy)?, buffers.read(weight)?);
            let arguments = arguments![rows, inputs, outputs, accumulate, dx, dy, weight];
            launch.each(Name::LinearBackwardInput, items, arguments)?;
        }
        Ok(())
    }
}

impl Run<LinearBackwardWeight<'_>> for OpenCl {
    fn run(&mut self, operation: &LinearBackwardWeight<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let LinearBackwardWeight { dweight, dbias, x, dy } = *operation;
        let (mut launch, buffers) = self.split();
        for ((&dweight, &dbias), &dy) in dweight.iter().zip(dbias).zip(dy) {
            let outputs = dbias.length;
            let (inputs, rows) = (dweight.length / outputs, dy.length / outputs);
            let groups = (inputs + 1) * launch.tiles.blocks(outputs);
            let (dweight, dbias) = (buffers.written(dweight)?, buffers.written(dbias)?);
            let (x, dy) = (buffers.read(x)?, buffers.read(dy)?);
            let arguments = arguments![rows, inputs, outputs, dweight, dbias, x, dy];
            launch.groups(Name::LinearBackwardWeight, groups, arguments)?;
        }
        Ok(())
    }
}
