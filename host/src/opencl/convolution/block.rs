//! Convolutions in blocks, for GPUs: which block takes which shape, how its sum is split, and the launches.

use sse_sam_core::Conv2d;
use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward};

use crate::opencl::algorithm::{Block, Direction, Matrix, Sizes};
use crate::opencl::operations::batch_norm::Moments;
use crate::opencl::operations::merge::merge;
use crate::opencl::runtime::device::DeviceInfo;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::{Argument, sizes};
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;
use crate::opencl::runtime::tiles::Tiles;

/// Slabs that a part of a split sum has at least.
const SLABS: usize = 4;
/// Most work-groups of a split sum, in multiples of those that there should be: scratch memory has room for so many.
const LARGEST: usize = 4;
/// Largest stride: an input gradient has as many phases as its square.
const STRIDE: usize = 8;
/// What pixels are counted below: they are told apart by a product.
const PIXELS: usize = 1 << 31;

/// The kernel of convolution_block.cl that computes in a block.
fn kernel_of(block: Block, direction: Direction) -> Name {
    let [forward, backward_input, backward_weight] = match block {
        Block::B128x128 => {
            [Name::Conv2dForward128x128, Name::Conv2dBackwardInput128x128, Name::Conv2dBackwardWeight128x128]
        }
        Block::B128x64 => {
            [Name::Conv2dForward128x64, Name::Conv2dBackwardInput128x64, Name::Conv2dBackwardWeight128x64]
        }
        Block::B64x64 => [Name::Conv2dForward64x64, Name::Conv2dBackwardInput64x64, Name::Conv2dBackwardWeight64x64],
        Block::B128x32 => {
            [Name::Conv2dForward128x32, Name::Conv2dBackwardInput128x32, Name::Conv2dBackwardWeight128x32]
        }
        Block::B64x32 => [Name::Conv2dForward64x32, Name::Conv2dBackwardInput64x32, Name::Conv2dBackwardWeight64x32],
        Block::B128x16 => {
            [Name::Conv2dForward128x16, Name::Conv2dBackwardInput128x16, Name::Conv2dBackwardWeight128x16]
        }
        Block::B64x16 => [Name::Conv2dForward64x16, Name::Conv2dBackwardInput64x16, Name::Conv2dBackwardWeight64x16],
        Block::Any => [Name::Conv2dForwardAny, Name::Conv2dBackwardInputAny, Name::Conv2dBackwardWeightAny],
    };
    match direction {
        Direction::Forward => forward,
        Direction::BackwardInput => backward_input,
        Direction::BackwardWeight => backward_weight,
    }
}

/// A convolution or a gradient of it as a product of matrices: rows x sums by sums x columns, `count` of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    rows: usize,
    columns: usize,
    /// Terms of the longest sum.
    sums: usize,
    count: usize,
}

impl Product {
    pub fn of(conv: &Conv2d, direction: Direction, images: usize) -> Self {
        let Conv2d { input, output, kernel, stride, .. } = *conv;
        let (channels, filters) = (input.channels, output.channels);
        let pixels = images * output.height * output.width;
        match direction {
            Direction::Forward => Self { rows: pixels, columns: filters, sums: kernel * kernel * channels, count: 1 },
            // Pixels that agree in their remainders by the stride are a product of their own.
            Direction::BackwardInput => {
                let rows = images * input.height.div_ceil(stride) * input.width.div_ceil(stride);
                let taps = kernel.div_ceil(stride);
                Self { rows, columns: channels, sums: taps * taps * filters, count: stride * stride }
            }
            Direction::BackwardWeight => {
                Self { rows: kernel * kernel * channels, columns: filters, sums: pixels, count: 1 }
            }
        }
    }

    /// Work-groups without a split.
    pub fn blocks(&self, sizes: &Sizes) -> usize {
        let [rows, columns] = sizes.block;
        self.rows.div_ceil(rows) * self.columns.div_ceil(columns) * self.count
    }

    /// Parts of the sum: as many as are `wanted`, else the fewest that give every unit two work-groups and all of them the
    /// same, or nearly: the unit that has one more is waited for.
    pub fn splits(&self, tiles: &Tiles, sizes: &Sizes, wanted: Option<usize>) -> usize {
        let (slabs, blocks) = (self.sums.div_ceil(sizes.depth), self.blocks(sizes).max(1));
        let most = (slabs / SLABS).min(LARGEST * tiles.block_groups / blocks).max(1);
        if let Some(wanted) = wanted {
            return wanted.clamp(1, most);
        }
        let fewest = tiles.block_groups.div_ceil(blocks).min(most);
        let time = |parts: usize| tiles.rounds(parts * blocks) as f64 / parts as f64;
        // Asked for at every launch: of the numbers of parts only those that fill two, three or four rounds are looked at.
        let full = (2..=4).map(|rounds| rounds * tiles.units() / blocks);
        let even = full.filter(|parts| (fewest..=(2 * fewest).min(most)).contains(parts));
        [fewest].into_iter().chain(even).min_by(|a, b| time(*a).total_cmp(&time(*b))).unwrap_or(fewest)
    }
}

/// The parts of a sum in a block that follow from the rule.
pub(crate) fn splits(device: &DeviceInfo, block: Block, direction: Direction, conv: &Conv2d, images: usize) -> usize {
    let product = Product::of(conv, direction, images);
    product.splits(&Tiles::for_device(device), &block.sizes(device.multiplier()), None)
}

/// Whether a device with these tiles can compute `conv` in blocks: it must be able to tell its pixels apart, and a stride
/// must leave something of an input gradient's phases.
pub(crate) fn fits(tiles: &Tiles, conv: &Conv2d, images: usize) -> bool {
    let largest = (conv.output.height * conv.output.width).max(conv.input.height * conv.input.width);
    tiles.block_groups > 0 && conv.stride <= STRIDE && images.saturating_mul(largest).saturating_add(1 << 10) < PIXELS
}

/// What a second launch costs, in multiply-adds that a large device does meanwhile, and a number on its way through memory:
/// 3 us at 3e13 a second, and 8 bytes at 4e12. Assumptions, for a rule that `tune` can overrule.
const LAUNCH: f64 = 1e8;
const NUMBER: f64 = 60.0;

/// The block of those that `takes` allows that should be fastest. What has not enough work-groups to keep every unit busy
/// comes last.
pub(crate) fn shipped(
    tiles: &Tiles,
    conv: &Conv2d,
    direction: Direction,
    images: usize,
    multiplier: Matrix,
    takes: impl Fn(Block) -> bool,
) -> Option<Block> {
    let product = Product::of(conv, direction, images);
    let cost = |block: Block| {
        let sizes @ Sizes { block: [rows, columns], cost, .. } = block.sizes(multiplier);
        let padded = product.rows.next_multiple_of(rows) * product.columns.next_multiple_of(columns) * product.count;
        let splits = product.splits(tiles, &sizes, None);
        let groups = (product.blocks(&sizes) * splits).max(1);
        let few = groups < tiles.block_groups;
        // The unit that has most work-groups is waited for.
        let uneven = (tiles.rounds(groups) * tiles.units()) as f64 / groups as f64;
        let merge = LAUNCH + NUMBER * (splits * product.rows * product.columns * product.count) as f64;
        let multiply = padded as f64 * product.sums as f64 * cost * uneven;
        (few, multiply + if splits > 1 { merge } else { 0.0 })
    };
    let costs = Block::ALL.into_iter().filter(|block| takes(*block)).map(|block| (block, cost(block)));
    let least = costs.min_by(|(_, a), (_, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    least.map(|(block, _)| block)
}

/// The blocks in which a device can compute `conv`.
pub(crate) fn candidates(device: &DeviceInfo, conv: &Conv2d) -> impl Iterator<Item = Block> {
    Block::ALL.into_iter().filter(|block| block.takes(conv, true) && block.is_within(device))
}

/// `f32` of scratch memory that `conv` and its gradients need in any block, with at most so many images.
pub(crate) fn scratch(device: &DeviceInfo, conv: &Conv2d, images: usize) -> usize {
    let tiles = Tiles::for_device(device);
    if tiles.block_groups == 0 {
        return 0;
    }
    let needs = Direction::ALL.into_iter().flat_map(|direction| {
        let product = Product::of(conv, direction, images);
        let length = match direction {
            Direction::Forward => images * conv.output.len(),
            Direction::BackwardInput => images * conv.input.len(),
            Direction::BackwardWeight => conv.weights(),
        };
        Block::ALL.into_iter().map(move |block| {
            let sizes = block.sizes(device.multiplier());
            let [rows, columns] = sizes.block;
            let parts = (product.sums.div_ceil(sizes.depth) / SLABS).max(1);
            // Fewer images, whose numbers fill their blocks less well, may be split into more parts.
            let split = (length * parts).min(LARGEST * tiles.block_groups * rows * columns);
            split.max(length).max(3 * product.rows.div_ceil(rows) * product.columns)
        })
    });
    needs.max().unwrap_or(0)
}

/// `y` from `x`, and the moments of `y` where its sums are whole.
pub(crate) fn forward<'c>(
    cl: &'c mut OpenCl,
    (block, wanted): (Block, Option<usize>),
    operation: &Conv2dForward<'_>,
    images: usize,
) -> Result<Option<Moments<'c>>, Error> {
    let Conv2dForward { y, x, weight, conv } = *operation;
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    let sizes = block.sizes(cl.device().multiplier());
    let (mut launch, buffers) = cl.split();
    let product = Product::of(conv, Direction::Forward, images);
    let splits = product.splits(launch.tiles, &sizes, wanted);
    let parts = product.rows.div_ceil(sizes.block[0]);
    let moments = 3 * parts * product.columns;
    let partial = buffers.scratch(0, if splits > 1 { splits * y.length } else { moments })?;
    let to = if splits > 1 { partial } else { buffers.written(y)? };
    let (x, weight) = (buffers.read(x)?, buffers.read(weight)?);
    let (items, groups) = (sizes.items(), splits * product.blocks(&sizes));
    let arguments: &[Argument<'_>] =
        sizes![images, input, output, kernel, stride, padding, splits, to, partial, x, weight];
    launch.launch(kernel_of(block, Direction::Forward), groups * items, items, arguments)?;
    if images == 0 {
        return Ok(None);
    }
    if splits > 1 {
        let to = buffers.written(y)?;
        merge(&mut launch, Name::Conv2dForwardMerge, y.length, splits, false, to, partial)?;
        return Ok(None);
    }
    Ok(Some(Moments { cl, at: 0, parts }))
}

/// Each `dx` from its `dy`.
pub(crate) fn backward_input(
    cl: &mut OpenCl,
    (block, parts): (Block, Option<usize>),
    operation: &Conv2dBackwardInput<'_>,
    images: usize,
) -> Result<(), Error> {
    let Conv2dBackwardInput { dx, dy, weight, conv, accumulate } = *operation;
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    let sizes = block.sizes(cl.device().multiplier());
    let (mut launch, buffers) = cl.split();
    let product = Product::of(conv, Direction::BackwardInput, images);
    let splits = product.splits(launch.tiles, &sizes, parts);
    let (items, groups) = (sizes.items(), splits * product.blocks(&sizes));
    let added = accumulate && splits == 1;
    for (&dx, &dy) in dx.iter().zip(dy) {
        let partial = buffers.scratch(0, if splits > 1 { splits * dx.length } else { 0 })?;
        let (own, dy, weight) = (buffers.written(dx)?, buffers.read(dy)?, buffers.read(weight)?);
        let to = if splits > 1 { partial } else { own };
        let arguments: &[Argument<'_>] =
            sizes![images, input, output, kernel, stride, padding, splits, added, to, dy, weight];
        launch.launch(kernel_of(block, Direction::BackwardInput), groups * items, items, arguments)?;
        if splits > 1 {
            merge(&mut launch, Name::Conv2dBackwardInputMerge, dx.length, splits, accumulate, own, partial)?;
        }
    }
    Ok(())
}

/// Adds to each `dweight` what its `dy` gives.
pub(crate) fn backward_weight(
    cl: &mut OpenCl,
    (block, parts): (Block, Option<usize>),
    operation: &Conv2dBackwardWeight<'_>,
    images: usize,
) -> Result<(), Error> {
    let Conv2dBackwardWeight { dweight, x, dy, conv } = *operation;
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    let sizes = block.sizes(cl.device().multiplier());
    let (mut launch, buffers) = cl.split();
    let product = Product::of(conv, Direction::BackwardWeight, images);
    let splits = product.splits(launch.tiles, &sizes, parts);
    let [(row, row_shift), (image, image_shift)] = [output.width, output.height * output.width].map(divisor);
    let (items, groups) = (sizes.items(), splits * product.blocks(&sizes));
    for (&dweight, &dy) in dweight.iter().zip(dy) {
        let partial = buffers.scratch(0, splits * dweight.length)?;
        let (to, x, dy) = (buffers.written(dweight)?, buffers.read(x)?, buffers.read(dy)?);
        let arguments: &[Argument<'_>] = sizes![
            images,
            input,
            output,
            kernel,
            stride,
            padding,
            splits,
            row,
            row_shift,
            image,
            image_shift,
            partial,
            x,
            dy
        ];
        launch.launch(kernel_of(block, Direction::BackwardWeight), groups * items, items, arguments)?;
        merge(&mut launch, Name::Conv2dBackwardWeightMerge, dweight.length, splits, true, to, partial)?;
    }
    Ok(())
}

/// Factor and shift by which `divide` of convolution_block.cl divides numbers below 2^31 by `by`.
fn divisor(by: usize) -> (usize, usize) {
    let shift = by.max(1).next_power_of_two().trailing_zeros();
    let by = by.max(1) as u64;
    (((((1u64 << shift) - by) << 32) / by + 1) as usize, shift as usize)
}

#[cfg(test)]
mod tests {
    use sse_sam_core::Shape;

    use super::*;
    use crate::opencl::runtime::device::Tiling;

    #[test]
    fn a_product_and_a_shift_divide() {
        let numbers = || (0..1000).chain((1 << 31) - 1000..1 << 31).chain((0..1 << 31).step_by(999_983));
        for by in (1..200usize).chain([255, 256, 257, 1023, 1024, 1025, 65_535, 65_536, 1 << 20, (1 << 30) + 1]) {
            let (factor, shift) = divisor(by);
            let factor = u32::try_from(factor).unwrap();
            for n in numbers() {
                let high = ((u64::from(n) * u64::from(factor)) >> 32) as u32;
                assert_eq!((high.checked_add(n).unwrap() >> shift) as usize, n as usize / by, "{n} / {by}");
            }
        }
    }

    /// Convolutions of ResNet-34 on pictures of 32 x 32 pixels.
    fn resnet34() -> Vec<Conv2d> {
        let conv = |side, channels, filters, kernel, stride| {
            Conv2d::new(Shape::new(side, side, channels), filters, kernel, stride, kernel / 2).unwrap()
        };
        let stage = |side, channels| [conv(side, channels, channels, 3, 1), conv(side, channels, 2 * channels, 3, 2)];
        let stages = [stage(32, 64), stage(16, 128), stage(8, 256)].concat();
        stages.into_iter().chain([conv(4, 512, 512, 3, 1), conv(32, 3, 64, 3, 1), conv(32, 64, 128, 1, 2)]).collect()
    }

    /// Registers of a work-item: its numbers, their factors, the quads on their way, and some 40 for addresses and counters.
    fn registers(sizes: &Sizes) -> usize {
        let ([rows, columns], [item_rows, item_columns]) = (sizes.block, sizes.item);
        let staged: usize = [rows, columns].map(|side| (side * sizes.depth / 4).div_ceil(sizes.items())).iter().sum();
        item_rows * item_columns + item_rows + item_columns + 4 * staged + 40
    }

    #[test]
    fn convolutions_that_blocks_cannot_count_are_left_to_the_general_kernel() {
        let tiles = Tiles::of(Tiling::Gpu);
        let strided = |stride| Conv2d::new(Shape::new(4, 4, 4), 4, 3, stride, 1).unwrap();
        assert!(fits(&tiles, &strided(8), 1) && !fits(&tiles, &strided(9), 1) && !fits(&tiles, &strided(1 << 16), 1));
        let large = Conv2d::new(Shape::new(1 << 10, 1 << 10, 1), 1, 1, 1, 0).unwrap();
        assert!(fits(&tiles, &large, 2047) && !fits(&tiles, &large, 2048));
        assert!(!fits(&Tiles::of(Tiling::Cpu), &strided(1), 1));
    }

    const MULTIPLIERS: [Matrix; 2] = [Matrix::Absent, Matrix::Instructions];

    #[test]
    fn every_block_fits_a_multiprocessor() {
        for (multiplier, block) in MULTIPLIERS.into_iter().flat_map(|matrix| Block::ALL.map(|block| (matrix, block))) {
            let sizes = block.sizes(multiplier);
            assert!(sizes.local_bytes() <= 32 << 10, "{block}: {} bytes of local buffers", sizes.local_bytes());
            assert!(sizes.items() <= 256 && sizes.items().is_multiple_of(32), "{block}: {} work-items", sizes.items());
            // Two groups of 256 or four of 128 at a time; of the largest matrices one, which keeps its units busy alone.
            let most = registers(&sizes) * sizes.items().max(128) * if sizes.matrix { 1 } else { 2 };
            assert!(most <= 1 << 16, "{block}: {} registers a work-item", registers(&sizes));
        }
    }

    /// Multiprocessors of cards, small and large.
    const UNITS: [usize; 6] = [10, 24, 46, 80, 108, 132];

    #[test]
    fn a_gpu_has_two_work_groups_a_unit_at_batch_64_and_splits_evenly() {
        let cases = resnet34().into_iter().flat_map(|conv| Direction::ALL.map(|direction| (conv, direction)));
        let cases = cases.flat_map(|case| MULTIPLIERS.map(|matrix| (case, matrix)));
        for (((conv, direction), multiplier), units) in cases.flat_map(|case| UNITS.map(|units| (case, units))) {
            let tiles = Tiles::of(Tiling::Gpu).for_units(units);
            let block = shipped(&tiles, &conv, direction, 64, multiplier, |block| block.takes(&conv, true)).unwrap();
            let (product, sizes) = (Product::of(&conv, direction, 64), block.sizes(multiplier));
            let splits = product.splits(&tiles, &sizes, None);
            let groups = product.blocks(&sizes) * splits;
            let what = format!("{units} units, {conv:?} {direction:?}, {block}");
            assert!(groups >= 2 * units, "{what}: {groups} groups");
            // Of the time that the sum would take one unit alone, what the unit with most groups takes.
            let share = |parts: usize| (product.blocks(&sizes) * parts).div_ceil(units) as f64 / parts as f64;
            let fewest = (2 * units).div_ceil(product.blocks(&sizes));
            assert!(share(splits) <= share(fewest), "{what}: {groups} groups are dealt out unevenly");
            assert!(splits <= 2 * fewest, "{what}: {splits} parts where {fewest} are enough");
        }
    }

    #[test]
    fn blocks_are_as_large_as_leaves_every_unit_its_work() {
        let conv = Conv2d::new(Shape::new(8, 8, 256), 256, 3, 1, 1).unwrap();
        let block = |units| {
            let tiles = Tiles::of(Tiling::Gpu).for_units(units);
            shipped(&tiles, &conv, Direction::Forward, 64, Matrix::Absent, |block| block.takes(&conv, true)).unwrap()
        };
        assert_eq!([10, 132, 512].map(block), [Block::B128x128, Block::B128x128, Block::B128x64]);
    }
}
