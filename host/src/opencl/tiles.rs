//! The one table of tile sizes: device class -> tiles.

use sse_sam_core::Span;

use super::DeviceType;

/// What kind of device kernels are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Class {
    /// A work-item has a tile in vector registers, and a core to itself
    Cpu,
    /// A work-group has a block in local memory
    Gpu,
}

/// How the factors of large products are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// Not at all
    #[default]
    Fp32,
    /// To 10 bits of fraction, for a device's matrix instructions
    Tf32,
}

/// How a device multiplies matrices beside its work-items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// Not at all.
    Absent,
    /// By NVIDIA's instructions.
    Instructions,
    /// By the same written out: `SSE_SAM_OPENCL_MATRIX=emulated`, for tests.
    Emulated,
}

impl Class {
    /// The class of a device of this kind; `SSE_SAM_OPENCL_TILES`, `cpu` or `gpu`, picks another, for tests.
    pub(super) fn of(kind: DeviceType) -> Self {
        match (std::env::var("SSE_SAM_OPENCL_TILES").as_deref(), kind) {
            (Ok("cpu"), _) => Self::Cpu,
            (Ok("gpu"), _) => Self::Gpu,
            (_, DeviceType::Cpu) => Self::Cpu,
            (_, DeviceType::Gpu | DeviceType::Accelerator | DeviceType::Other) => Self::Gpu,
        }
    }
}

/// Sizes that kernels are compiled with, and how many work-items share a reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Numbers in a vector: `WIDTH`.
    pub width: usize,
    /// Whether neighbouring work-items take neighbouring pieces, `INTERLEAVED`, or long runs of their own.
    pub interleaved: bool,
    /// Most vectors of channels that a work-item takes side by side: `COLUMNS`.
    pub columns: usize,
    /// Fewest `f32` of a result that is stored past the caches.
    pub stream: usize,
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
    /// Tiles of 4 x 4 pixels that Winograd's form takes at once: `WINOGRAD_BLOCK`; 0 where there are none.
    pub winograd_block: usize,
    /// Work-items of such a convolution: the least of one, the most of a weight gradient.
    pub winograd_groups: usize,
    /// Fewest work-groups of a convolution in blocks, whose sum is split until there are so many; 0 where there are none.
    pub block_groups: usize,
}

const CPU: Tiles = Tiles {
    width: 16,
    interleaved: false,
    columns: 4,
    stream: 1 << 18,
    merge: 1,
    local: 256,
    looped: 1,
    sum_parts: 64,
    row_parts: 64,
    part_rows: 64,
    visitors: 256,
    groups: 128,
    winograd_block: 32,
    winograd_groups: 16,
    block_groups: 0,
};

const GPU: Tiles = Tiles {
    width: 4,
    interleaved: true,
    columns: 1,
    stream: usize::MAX,
    merge: 256,
    local: 256,
    looped: 64,
    sum_parts: 8192,
    row_parts: 512,
    part_rows: 16,
    visitors: 65536,
    groups: 0,
    winograd_block: 0,
    winograd_groups: 0,
    // Two for each of the 132 multiprocessors of the largest cards.
    block_groups: 264,
};

impl Tiles {
    /// The table.
    pub const fn of(class: Class) -> Self {
        match class {
            Class::Cpu => CPU,
            Class::Gpu => GPU,
        }
    }

    /// Whether a result of whole `channels` is stored past the caches: one that is larger than these, so that they keep
    /// what is read next, and whose vectors are aligned.
    pub fn streams(&self, result: Span, channels: usize) -> bool {
        result.length >= self.stream && channels.is_multiple_of(self.width) && result.offset.is_multiple_of(self.width)
    }

    /// The compiler options that say the sizes, and what multiplies matrices.
    pub fn options(&self, fma: bool, matrix: Matrix) -> String {
        let Self { width, columns, merge, winograd_block, .. } = self;
        let (interleaved, fma, matrix) = (u8::from(self.interleaved), u8::from(fma), matrix as u8);
        format!(
            "-cl-std=CL1.2 -DWIDTH={width} -DINTERLEAVED={interleaved} -DCOLUMNS={columns} -DMERGE={merge} -DFMA={fma} \
             -DWINOGRAD_BLOCK={winograd_block} -DMATRIX={matrix}"
        )
    }
}
