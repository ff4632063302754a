//! The rectifier, shortcuts and pooling on the device.

use sse_sam_core::Run;
use sse_sam_core::ops::{
    GlobalAveragePoolBackward, GlobalAveragePoolForward, MaxPoolBackward, MaxPoolForward, MaxPoolTangent, Pool2d,
    ReluBackward, ReluForward, ShortcutBackward, ShortcutForward,
};

use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::arguments;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;

impl Run<ReluForward> for OpenCl {
    fn run(&mut self, operation: &ReluForward) -> Result<(), Error> {
        self.admit(operation)?;
        let ReluForward { y, x } = *operation;
        let (mut launch, buffers) = self.split();
        let items = y.length.div_ceil(launch.tiles.width);
        launch.each(Name::ReluForward, items, arguments![y.length, buffers.written(y)?, buffers.read(x)?])
    }
}

impl Run<ReluBackward<'_>> for OpenCl {
    fn run(&mut self, operation: &ReluBackward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let ReluBackward { dx, dy, y, accumulate } = *operation;
        let (mut launch, buffers) = self.split();
        let (n, items) = (y.length, y.length.div_ceil(launch.tiles.width));
        for (&dx, &dy) in dx.iter().zip(dy) {
            let (dx, dy, y) = (buffers.written(dx)?, buffers.read(dy)?, buffers.read(y)?);
            launch.each(Name::ReluBackward, items, arguments![n, accumulate, dx, dy, y])?;
        }
        Ok(())
    }
}

impl Run<ShortcutForward> for OpenCl {
    fn run(&mut self, operation: &ShortcutForward) -> Result<(), Error> {
        self.admit(operation)?;
        let ShortcutForward { y, x, input, output } = *operation;
        let images = x.length / input.len();
        let (mut launch, buffers) = self.split();
        let arguments = arguments![
            images,
            input.height,
            input.width,
            input.channels,
            output.height,
            output.width,
            output.channels,
            buffers.written(y)?,
            buffers.read(x)?,
        ];
        let items = images * output.height * output.width * launch.tiles.spread(output.channels);
        launch.each(Name::ShortcutForward, items, arguments)
    }
}

impl Run<ShortcutBackward<'_>> for OpenCl {
    fn run(&mut self, operation: &ShortcutBackward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let ShortcutBackward { dx, dy, input, output, accumulate } = *operation;
        let (mut launch, buffers) = self.split();
        for (&dx, &dy) in dx.iter().zip(dy) {
            let images = dx.length / input.len();
            let arguments = arguments![
                images,
                input.height,
                input.width,
                input.channels,
                output.height,
                output.width,
                output.channels,
                accumulate,
                buffers.written(dx)?,
                buffers.read(dy)?,
            ];
            let items = images * input.height * input.width * launch.tiles.spread(input.channels);
            launch.each(Name::ShortcutBackward, items, arguments)?;
        }
        Ok(())
    }
}

impl Run<GlobalAveragePoolForward> for OpenCl {
    fn run(&mut self, operation: &GlobalAveragePoolForward) -> Result<(), Error> {
        self.admit(operation)?;
        let GlobalAveragePoolForward { y, x, input } = *operation;
        let images = x.length / input.len();
        let (mut launch, buffers) = self.split();
        let groups = images * launch.tiles.blocks(input.channels);
        let (pixels, y, x) = (input.height * input.width, buffers.written(y)?, buffers.read(x)?);
        launch.groups(Name::GlobalAveragePoolForward, groups, arguments![images, pixels, input.channels, y, x])
    }
}

impl Run<GlobalAveragePoolBackward<'_>> for OpenCl {
    fn run(&mut self, operation: &GlobalAveragePoolBackward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let GlobalAveragePoolBackward { dx, dy, input, accumulate } = *operation;
        let (mut launch, buffers) = self.split();
        for (&dx, &dy) in dx.iter().zip(dy) {
            let images = dx.length / input.len();
            let groups = images * launch.tiles.blocks(input.channels);
            let (pixels, dx, dy) = (input.height * input.width, buffers.written(dx)?, buffers.read(dy)?);
            let arguments = arguments![images, pixels, input.channels, accumulate, dx, dy];
            launch.groups(Name::GlobalAveragePoolBackward, groups, arguments)?;
        }
        Ok(())
    }
}

impl Run<MaxPoolForward<'_>> for OpenCl {
    fn run(&mut self, operation: &MaxPoolForward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let MaxPoolForward { y, x, pool: Pool2d { input, output, kernel, stride, padding } } = *operation;
        let images = x.length / input.len();
        let (mut launch, buffers) = self.split();
        let arguments = arguments![
            images,
            input.height,
            input.width,
            input.channels,
            output.height,
            output.width,
            *kernel,
            *stride,
            *padding,
            buffers.written(y)?,
            buffers.read(x)?,
        ];
        let items = images * output.height * output.width * launch.tiles.spread(output.channels);
        launch.each(Name::MaxPoolForward, items, arguments)
    }
}

impl Run<MaxPoolBackward<'_>> for OpenCl {
    fn run(&mut self, operation: &MaxPoolBackward<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let MaxPoolBackward { dx, dy, x, pool: Pool2d { input, output, kernel, stride, padding }, accumulate } =
            *operation;
        let images = x.length / input.len();
        let (mut launch, buffers) = self.split();
        for (&dx, &dy) in dx.iter().zip(dy) {
            let arguments = arguments![
                images,
                input.height,
                input.width,
                input.channels,
                output.height,
                output.width,
                *kernel,
                *stride,
                *padding,
                accumulate,
                buffers.written(dx)?,
                buffers.read(dy)?,
                buffers.read(x)?,
            ];
            let items = images * input.height * input.width * launch.tiles.spread(input.channels);
            launch.each(Name::MaxPoolBackward, items, arguments)?;
        }
        Ok(())
    }
}

impl Run<MaxPoolTangent<'_>> for OpenCl {
    fn run(&mut self, operation: &MaxPoolTangent<'_>) -> Result<(), Error> {
        self.admit(operation)?;
        let MaxPoolTangent { y, tangent, x, pool: Pool2d { input, output, kernel, stride, padding } } = *operation;
        let images = x.length / input.len();
        let (mut launch, buffers) = self.split();
        let arguments = arguments![
            images,
            input.height,
            input.width,
            input.channels,
            output.height,
            output.width,
            *kernel,
            *stride,
            *padding,
            buffers.written(y)?,
            buffers.read(tangent)?,
            buffers.read(x)?,
        ];
        let items = images * output.height * output.width * launch.tiles.spread(output.channels);
        launch.each(Name::MaxPoolTangent, items, arguments)
    }
}
