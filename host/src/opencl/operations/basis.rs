//! Products of a vector with a basis on the device.

use sse_sam_core::Run;
use sse_sam_core::ops::{Combine, Dots};

use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::arguments;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;

/// Rows that a work-group of `dots_parts` takes: `DOT_ROWS` of basis.cl.
const DOT_ROWS: usize = 4;
/// Vectors that a work-item of `combine` takes on a CPU: `COMBINE_VECTORS` of basis.cl.
const COMBINE_VECTORS: usize = 64;

impl Run<Dots> for OpenCl {
    fn run(&mut self, operation: &Dots) -> Result<(), Error> {
        self.admit(operation)?;
        let Dots { to, basis, x } = *operation;
        let (n, rows) = (x.length, to.length);
        let (mut launch, buffers) = self.split();
        let parts = launch.tiles.parts_of_sum(n);
        let partial = buffers.scratch(0, rows * parts)?;
        let (to, basis, x) = (buffers.written(to)?, buffers.read(basis)?, buffers.read(x)?);
        let groups = rows.div_ceil(DOT_ROWS) * parts;
        launch.groups(Name::DotsParts, groups, arguments![n, rows, parts, partial, basis, x])?;
        launch.groups(Name::DotsMerge, rows, arguments![parts, to, partial])
    }
}

impl Run<Combine> for OpenCl {
    fn run(&mut self, operation: &Combine) -> Result<(), Error> {
        self.admit(operation)?;
        let Combine { y, coefficients, basis } = *operation;
        let (n, rows) = (y.length, coefficients.length);
        let (mut launch, buffers) = self.split();
        let vectors = if launch.tiles.interleaved { 1 } else { COMBINE_VECTORS };
        let items = n.div_ceil(launch.tiles.width * vectors);
        let (y, coefficients, basis) = (buffers.written(y)?, buffers.read(coefficients)?, buffers.read(basis)?);
        launch.looped(Name::Combine, items, arguments![n, rows, y, coefficients, basis])
    }
}
