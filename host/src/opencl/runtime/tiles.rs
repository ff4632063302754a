//! The one table of tile sizes: whose tiles a device takes -> sizes.

use sse_sam_core::{Row, Span};

use crate::opencl::algorithm::Matrix;
use crate::opencl::runtime::device::{DeviceInfo, DeviceType, Tiling};

/// Sizes that kernels are compiled with, and how many work-items share a reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    /// Numbers in a vector: `WIDTH`.
    pub width: usize,
    /// Whether neighbouring work-items take neighbouring pieces, `INTERLEAVED`, or long runs of their own.
    pub interleaved: bool,
    /// Most vectors of channels that a work-item takes side by side: `COLUMNS`.
    pub columns: usize,
    /// Fewest `f32` of a result that is stored past the caches.
    pub stream: usize,
    /// Work-items that sum together: `GROUP`.
    pub group: usize,
    /// Rows that a work-item has under way at once: `ROWS`.
    pub rows: usize,
    /// Vectors of sums that a convolution in registers multiplies at once: `TILE_ROWS`.
    pub tile_rows: usize,
    /// Numbers of a register: `LANES`.
    pub lanes: usize,
    /// Rows of a work-item of `linear_forward`: `LINEAR_ROWS`.
    pub linear_rows: usize,
    /// Work-items in a group of kernels without a loop.
    pub local: usize,
    /// Work-items in a group of kernels with a loop.
    pub looped: usize,
    /// Vectors side by side of a group that adds parts of a sum: `ADD_VECTORS`.
    pub add_vectors: usize,
    /// Its work-items for each of them: `ADDERS`.
    pub adders: usize,
    /// Most parts of a sum over a vector, a work-group each.
    pub sum_parts: usize,
    /// Most parts of a sum over the rows of an activation, a work-group each.
    pub row_parts: usize,
    /// Fewest rows in such a part.
    pub part_rows: usize,
    /// Work-items of a kernel that visits an activation by rows.
    pub visitors: usize,
    /// Work-items of a convolution in register tiles; 0 where there are none.
    pub groups: usize,
    /// Tiles of 4 x 4 pixels that Winograd's algorithm takes at once: `WINOGRAD_BLOCK`; 0 where there are none.
    pub winograd_block: usize,
    /// Work-items of such a convolution: the least of one, the most of a weight gradient.
    pub winograd_groups: usize,
    /// Fewest work-groups of a convolution in blocks, two for each unit of the device, whose sum is split until there are so
    /// many; 0 where there are none. The number is part of the result.
    pub block_groups: usize,
}

/// Work-groups over pieces side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Groups that share the pieces.
    pub blocks: usize,
    /// Work-items of a group that share the sum of a piece.
    pub strands: usize,
}

/// 32 registers of 16 numbers: one vector each.
const CPU16: Tiles = Tiles {
    width: 16,
    interleaved: false,
    columns: 4,
    stream: 1 << 18,
    group: 1,
    rows: 1,
    tile_rows: 16,
    lanes: 16,
    linear_rows: 8,
    local: 256,
    looped: 1,
    add_vectors: 32,
    adders: 1,
    sum_parts: 64,
    row_parts: 64,
    part_rows: 64,
    visitors: 256,
    groups: 128,
    winograd_block: 32,
    winograd_groups: 16,
    block_groups: 0,
};

/// 16 registers of 8 numbers: two a vector.
const CPU8: Tiles = Tiles { tile_rows: 4, lanes: 8, linear_rows: 4, columns: 1, ..CPU16 };

/// 32 registers of 4 numbers: four a vector.
const CPU4: Tiles = Tiles { lanes: 4, ..CPU8 };

const GPU: Tiles = Tiles {
    width: 4,
    interleaved: true,
    columns: 1,
    stream: usize::MAX,
    group: 256,
    rows: 4,
    tile_rows: 16,
    lanes: 16,
    linear_rows: 4,
    local: 256,
    looped: 64,
    add_vectors: 32,
    adders: 8,
    sum_parts: 1024,
    row_parts: 512,
    part_rows: 16,
    visitors: 1 << 17,
    groups: 0,
    winograd_block: 0,
    winograd_groups: 0,
    block_groups: groups_of(UNITS),
};

/// Units of a device whose own number must not matter: the multiprocessors of a large card.
const UNITS: usize = 132;

/// Work-groups of convolutions in blocks that keep so many units busy: each has one to compute while another one waits for its
/// numbers.
const fn groups_of(units: usize) -> usize {
    2 * units
}

/// Units that convolutions in blocks are dealt out to: a device's own, but for a CPU that is made to take a GPU's tiles: there
/// they would be its cores, and results would depend on how many of them the machine has or the process may use.
fn units_of(kind: DeviceType, compute_units: u32) -> usize {
    match kind {
        DeviceType::Cpu => UNITS,
        DeviceType::Gpu | DeviceType::Accelerator | DeviceType::Other => (compute_units as usize).max(1),
    }
}

impl Tiles {
    /// Work-groups that lie side by side over a row of `numbers`.
    pub fn blocks(&self, numbers: usize) -> usize {
        self.columns(numbers.div_ceil(self.width)).blocks
    }

    /// The table; without a device that says how wide its registers are, they are taken to be the widest.
    pub const fn of(tiling: Tiling) -> Self {
        match tiling {
            Tiling::Cpu | Tiling::Cpu16 => CPU16,
            Tiling::Cpu8 => CPU8,
            Tiling::Cpu4 => CPU4,
            Tiling::Gpu => GPU,
        }
    }

    /// The table's sizes for a device, in groups that it has, and as many groups of blocks as its units want.
    pub fn for_device(device: &DeviceInfo) -> Self {
        let units = units_of(device.kind, device.compute_units);
        Self::of(device.tiling()).for_units(units).within(device.largest_group, device.local_memory)
    }

    /// The same for so many units.
    #[must_use]
    pub fn for_units(self, units: usize) -> Self {
        Self { block_groups: if self.block_groups == 0 { 0 } else { groups_of(units) }, ..self }
    }

    /// The same in groups of at most so many work-items, with so many bytes of local memory: halved until they are.
    #[must_use]
    pub fn within(self, items: usize, local_memory: u64) -> Self {
        let halved = |mut size: usize, bytes_each: usize| {
            while size > 1 && (size > items || (size * bytes_each) as u64 > local_memory) {
                size /= 2;
            }
            size
        };
        let vector = 4 * self.width;
        let merging = halved(self.add_vectors * self.adders, vector);
        let add_vectors = self.add_vectors.min(merging);
        Self {
            // What batch normalisation has of local memory: a count and two vectors of each work-item.
            group: halved(self.group, 4 + 2 * vector),
            local: halved(self.local, 0),
            looped: halved(self.looped, 0),
            add_vectors,
            adders: merging / add_vectors,
            ..self
        }
    }

    /// Work-items of a group that adds parts of a sum.
    pub const fn merging(&self) -> usize {
        self.add_vectors * self.adders
    }

    /// Units that work-groups of convolutions in blocks are dealt out to.
    pub const fn units(&self) -> usize {
        self.block_groups / 2
    }

    /// Work-groups that the unit with most of them has.
    pub fn rounds(&self, groups: usize) -> usize {
        groups.div_ceil(self.units().max(1))
    }

    /// Whether a result of whole `channels` is stored past the caches: one that is larger than these, so that they keep
    /// what is read next, and whose vectors are aligned.
    pub fn streams(&self, result: Span, channels: usize) -> bool {
        result.length >= self.stream && channels.is_multiple_of(self.width) && result.offset.is_multiple_of(self.width)
    }

    /// Parts of a sum over a vector of `n`: no more groups than have work, where that changes no bit.
    pub fn parts_of_sum(&self, n: usize) -> usize {
        if self.interleaved { self.sum_parts.min(n.div_ceil(self.width * self.group)).max(1) } else { self.sum_parts }
    }

    /// How work-groups lie over `pieces` side by side: `columns` of common.h.
    pub fn columns(&self, pieces: usize) -> Columns {
        let blocks = pieces.div_ceil(self.group).max(1);
        Columns { blocks, strands: self.group / pieces.div_ceil(blocks).max(1) }
    }

    /// Work-items that share a run of `n` numbers: `SPREAD` of common.h.
    pub fn spread(&self, n: usize) -> usize {
        if self.interleaved { n } else { 1 }
    }

    /// The compiler options that say the sizes, what multiplies matrices, and how long a row of an epoch's table is.
    pub fn options(&self, fma: bool, matrix: Matrix) -> String {
        let Self {
            width,
            columns,
            group,
            rows,
            tile_rows,
            lanes,
            linear_rows,
            add_vectors,
            adders,
            winograd_block,
            ..
        } = self;
        let (interleaved, fma, matrix, row_words) =
            (u8::from(self.interleaved), u8::from(fma), matrix as u8, Row::WORDS);
        format!(
            "-cl-std=CL1.2 -DWIDTH={width} -DINTERLEAVED={interleaved} -DCOLUMNS={columns} -DGROUP={group} -DROWS={rows} \
             -DTILE_ROWS={tile_rows} -DLANES={lanes} -DLINEAR_ROWS={linear_rows} -DADD_VECTORS={add_vectors} -DADDERS={adders} -DFMA={fma} -DWINOGRAD_BLOCK={winograd_block} -DMATRIX={matrix} \
             -DROW_WORDS={row_words}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILINGS: [Tiling; 4] = [Tiling::Cpu4, Tiling::Cpu8, Tiling::Cpu16, Tiling::Gpu];

    #[test]
    fn registers_hold_the_sums_of_a_tile() {
        // AVX-512, AVX2 and NEON: registers, and the vectors of sums, of weights and of one factor that lie in them.
        for (tiling, registers) in [(Tiling::Cpu16, 32), (Tiling::Cpu8, 16), (Tiling::Cpu4, 32)] {
            let Tiles { width, lanes, tile_rows, linear_rows, .. } = Tiles::of(tiling);
            for rows in [tile_rows, linear_rows, tile_rows * 3 / 2] {
                assert!((rows + 1) * (width / lanes) < registers, "{tiling:?}: {rows} vectors");
            }
        }
    }

    #[test]
    fn groups_of_the_usual_size_are_those_of_the_table() {
        for tiling in TILINGS {
            for (items, local_memory) in [(256, 32 << 10), (1024, 48 << 10), (usize::MAX, u64::MAX)] {
                assert_eq!(Tiles::of(tiling).within(items, local_memory), Tiles::of(tiling), "{tiling:?} {items}");
            }
        }
    }

    #[test]
    fn no_group_is_larger_than_a_device_has_them_and_all_are_powers_of_two() {
        for tiling in TILINGS {
            for items in (1..=300).chain([1000]) {
                let tiles = Tiles::of(tiling).within(items, 32 << 10);
                for size in [tiles.group, tiles.local, tiles.looped, tiles.merging(), tiles.adders] {
                    assert!(size <= items && size.is_power_of_two(), "{tiling:?} {items}: {tiles:?}");
                }
            }
        }
    }

    #[test]
    fn a_gpu_has_two_groups_of_blocks_a_unit_and_a_cpu_as_many_whatever_its_cores() {
        let groups = |kind, units| Tiles::of(Tiling::Gpu).for_units(units_of(kind, units)).block_groups;
        for kind in [DeviceType::Gpu, DeviceType::Accelerator, DeviceType::Other] {
            assert_eq!([0, 1, 46, 132].map(|units| groups(kind, units)), [2, 2, 92, 264]);
        }
        assert_eq!([1, 2, 64].map(|units| groups(DeviceType::Cpu, units)), [264; 3]);
        assert_eq!(Tiles::of(Tiling::Cpu).for_units(46), Tiles::of(Tiling::Cpu), "no blocks, no groups");
    }

    #[test]
    fn local_memory_bounds_what_lies_in_it() {
        for (local_memory, tiling) in
            [0, 1 << 10, 4 << 10, 16 << 10].into_iter().flat_map(|n| [(n, Tiling::Cpu), (n, Tiling::Gpu)])
        {
            let tiles = Tiles::of(tiling).within(256, local_memory);
            let vector = 4 * tiles.width;
            for (size, bytes) in [(tiles.group, 4 + 2 * vector), (tiles.merging(), vector)] {
                assert!(size == 1 || (size * bytes) as u64 <= local_memory, "{local_memory}: {tiles:?}");
            }
            assert_eq!(tiles.local, 256, "kernels without local memory keep their groups");
        }
    }
}
