//! Sums that several work-groups have computed parts of.

use crate::opencl::runtime::buffers::At;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::{Launch, arguments};
use crate::opencl::runtime::program::Name;

/// Adds `parts` of a sum of `length` numbers in their order.
pub(crate) fn merge(
    launch: &mut Launch<'_>,
    name: Name,
    length: usize,
    parts: usize,
    accumulate: bool,
    to: At<'_>,
    partial: At<'_>,
) -> Result<(), Error> {
    let group = launch.tiles.merging();
    let groups = length.div_ceil(launch.tiles.width * launch.tiles.add_vectors);
    launch.launch(name, groups * group, group, arguments![length, parts, accumulate, to, partial])
}
