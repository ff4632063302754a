//! Which blocks of convolutions a device has work-groups for.

use crate::opencl::algorithm::{Block, Direction};
use crate::opencl::runtime::device::DeviceInfo;

impl Block {
    /// Bytes of local memory that a work-group takes on a device.
    pub fn local_bytes(self, device: &DeviceInfo) -> u64 {
        self.sizes(device.multiplier()).local_bytes() as u64
    }

    /// Work-items of a work-group on a device.
    pub fn items(self, device: &DeviceInfo) -> usize {
        self.sizes(device.multiplier()).items()
    }

    /// Whether a device has such work-groups: enough work-items, and enough local memory.
    pub fn is_within(self, device: &DeviceInfo) -> bool {
        self.local_bytes(device) <= device.local_memory && self.items(device) <= device.largest_group
    }
}

/// The blocks that a device has no work-groups for.
pub(crate) fn too_large(device: &DeviceInfo) -> Vec<(Direction, Block)> {
    let large = Block::ALL.into_iter().filter(|block| !block.is_within(device));
    large.flat_map(|block| Direction::ALL.map(|direction| (direction, block))).collect()
}

/// The compiler options that leave these blocks out: some drivers build none of a file with a kernel that is too large.
pub(crate) fn options(device: &DeviceInfo) -> String {
    let large = Block::ALL.into_iter().filter(|block| !block.is_within(device));
    large.map(|block| format!(" -DWITHOUT_{block}")).collect()
}

/// The block that a kernel computes in, if it is one of convolution_block.cl.
pub(crate) fn of_kernel(kernel: &str) -> Option<Block> {
    let of = |block: &Block| kernel.strip_suffix(block.name()).is_some_and(|stage| stage.ends_with('_'));
    Block::ALL.into_iter().find(of)
}
