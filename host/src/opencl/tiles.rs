//! The one table of tile sizes: device class -> tiles.

use super::{DeviceInfo, DeviceType};

/// Sizes that kernels are compiled with, and how many work-items share a reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Numbers in a vector: `WIDTH`.
    pub width: usize,
    /// Whether neighbouring work-items take neighbouring pieces, `INTERLEAVED`, or long runs of their own.
    pub interleaved: bool,
    /// Work-items that merge partial sums: `MERGE`.
    pub merge: usize,
    /// Work-items in a group of kernels without a loop.
    pub local: usize,
    /// Work-items in a group of kernels with a loop.
    pub looped: usize,
    /// Parts of a sum over a vector.
    pub sum_parts: usize,
    /// Parts of a sum over the rows of an activation.
    pub row_parts: usize,
    /// Fewest rows in such a part.
    pub part_rows: usize,
    /// Work-items of a kernel that visits an activation by rows.
    pub visitors: usize,
    /// Work-items of a convolution in register tiles; 0 where there are none.
    pub groups: usize,
}

const CPU: Tiles = Tiles {
    width: 16,
    interleaved: false,
    merge: 1,
    local: 256,
    looped: 1,
    sum_parts: 64,
    row_parts: 64,
    part_rows: 64,
    visitors: 256,
    groups: 128,
};

const GPU: Tiles = Tiles {
    width: 4,
    interleaved: true,
    merge: 256,
    local: 256,
    looped: 64,
    sum_parts: 8192,
    row_parts: 512,
    part_rows: 16,
    visitors: 65536,
    groups: 0,
};

impl Tiles {
    /// The table. `SSE_SAM_OPENCL_TILES`, `cpu` or `gpu`, picks another class, for tests.
    pub fn of(device: &DeviceInfo) -> Self {
        match std::env::var("SSE_SAM_OPENCL_TILES").as_deref() {
            Ok("cpu") => return CPU,
            Ok("gpu") => return GPU,
            _ => {}
        }
        match device.kind {
            DeviceType::Cpu => CPU,
            DeviceType::Gpu | DeviceType::Accelerator | DeviceType::Other => GPU,
        }
    }

    /// The compiler options that say the sizes.
    pub fn options(&self, fma: bool) -> String {
        let Self { width, merge, .. } = self;
        let (interleaved, fma) = (u8::from(self.interleaved), u8::from(fma));
        format!("-cl-std=CL1.2 -DWIDTH={width} -DINTERLEAVED={interleaved} -DMERGE={merge} -DFMA={fma}")
    }
}
