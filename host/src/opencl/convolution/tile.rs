//! Convolutions as the formula says: which shape has a kernel in register tiles, and the launches of these and of the general
//! kernels.

use sse_sam_core::Conv2d;
use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward};

use crate::opencl::operations::merge::merge;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::{Argument, arguments, sizes};
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;
use crate::opencl::runtime::tiles::Tiles;

/// Work-items of a weight gradient, and with one subset of filters the parts of a batch that are summed apart.
const PARTS: usize = 32;
/// `f32` of sums that a work-item of a weight gradient should not exceed: about half of a second-level cache.
const SUMS: usize = 1 << 16;
/// `BLOCKS`, `PIECE` and `PIECE_PATCH` of convolution_tile.cl.
const BLOCKS: usize = 4;
const PIECE: usize = 128;
const PIECE_PATCH: usize = 640;

/// The widths of a register tile of 16 pixels, and the kernels of each.
#[derive(Clone, Copy)]
enum Tile {
    Wide,
    Middle,
    Narrow,
}

impl Tile {
    /// The tile that wastes the fewest of its pixels on `height x width`.
    fn of(height: usize, width: usize) -> Self {
        let tiles = |across: usize, down: usize| width.div_ceil(across) * height.div_ceil(down);
        let (wide, middle, narrow) = (tiles(16, 1), tiles(8, 2), tiles(4, 4));
        if wide <= middle && wide <= narrow {
            Self::Wide
        } else if middle <= narrow {
            Self::Middle
        } else {
            Self::Narrow
        }
    }

    fn pick(self, [wide, middle, narrow]: [Name; 3]) -> Name {
        match self {
            Self::Wide => wide,
            Self::Middle => middle,
            Self::Narrow => narrow,
        }
    }
}

/// The kernel in register tiles for a convolution onto `height x width`, where there is one.
fn forward_tile(tiles: &Tiles, kernel: usize, stride: usize, height: usize, width: usize) -> Option<Name> {
    let names = match (kernel, stride) {
        _ if tiles.groups == 0 => return None,
        (3, 1) => [Name::Conv2dForward3x3Wide, Name::Conv2dForward3x3Middle, Name::Conv2dForward3x3Narrow],
        (3, 2) => {
            [Name::Conv2dForward3x3Step2Wide, Name::Conv2dForward3x3Step2Middle, Name::Conv2dForward3x3Step2Narrow]
        }
        (1, 2) => {
            [Name::Conv2dForward1x1Step2Wide, Name::Conv2dForward1x1Step2Middle, Name::Conv2dForward1x1Step2Narrow]
        }
        _ => return None,
    };
    Some(Tile::of(height, width).pick(names))
}

/// How the gradient with respect to the input is taken.
enum BackwardInput {
    /// The forward kernel on flipped and packed weights.
    Forward(Name),
    /// A kernel for stride 2 on packed weights.
    Step2(Name),
    General,
}

fn backward_input_tile(tiles: &Tiles, conv: &Conv2d) -> BackwardInput {
    let Conv2d { input, kernel, stride, padding, .. } = *conv;
    if stride == 1 && padding < kernel {
        let forward = forward_tile(tiles, kernel, 1, input.height, input.width);
        return forward.map_or(BackwardInput::General, BackwardInput::Forward);
    }
    let names = match (kernel, stride) {
        _ if tiles.groups == 0 => return BackwardInput::General,
        (3, 2) => [
            Name::Conv2dBackwardInput3x3Step2Wide,
            Name::Conv2dBackwardInput3x3Step2Middle,
            Name::Conv2dBackwardInput3x3Step2Narrow,
        ],
        (1, 2) => [
            Name::Conv2dBackwardInput1x1Step2Wide,
            Name::Conv2dBackwardInput1x1Step2Middle,
            Name::Conv2dBackwardInput1x1Step2Narrow,
        ],
        _ => return BackwardInput::General,
    };
    let tile = Tile::of(input.height.div_ceil(2), input.width.div_ceil(2));
    BackwardInput::Step2(tile.pick(names))
}

/// How the gradient with respect to the weights is taken.
struct BackwardWeight {
    name: Name,
    /// Parts of the batch that are summed apart.
    parts: usize,
    /// Blocks of 16 filters of a work-item.
    blocks: usize,
    /// Work-items of one part.
    subsets: usize,
    /// Images, lines and columns of the output that are taken at once.
    piece: [usize; 3],
}

fn backward_weight_tile(tiles: &Tiles, conv: &Conv2d, images: usize) -> BackwardWeight {
    let Conv2d { input, output, kernel, .. } = *conv;
    let name = match kernel {
        _ if tiles.groups == 0 => Name::Conv2dBackwardWeight,
        3 if input.channels <= 4 => Name::Conv2dBackwardWeight3x3Shallow,
        3 => Name::Conv2dBackwardWeight3x3Deep,
        1 => Name::Conv2dBackwardWeight1x1,
        _ => Name::Conv2dBackwardWeight,
    };
    if name == Name::Conv2dBackwardWeight {
        let lines = (images * output.height).max(1);
        let parts = (tiles.visitors / conv.weights().max(1)).clamp(1, PARTS.min(lines));
        return BackwardWeight { name, parts, blocks: 0, subsets: conv.weights(), piece: [0; 3] };
    }
    let block = 16 * kernel * kernel * input.channels;
    let blocks = (SUMS / block).clamp(1, BLOCKS);
    let subsets = output.channels.div_ceil(16).div_ceil(blocks);
    let piece @ [count, lines, columns] = piece(conv, images);
    let pieces = images.div_ceil(count) * output.height.div_ceil(lines) * output.width.div_ceil(columns);
    let parts = PARTS.div_ceil(subsets).clamp(1, pieces.max(1));
    BackwardWeight { name, parts, blocks, subsets, piece }
}

/// The largest piece of the output, images x lines x columns, that fits the tile kernel's memory.
fn piece(conv: &Conv2d, images: usize) -> [usize; 3] {
    let Conv2d { output, kernel, stride, .. } = *conv;
    let patch = |lines: usize, columns: usize| ((lines - 1) * stride + kernel) * ((columns - 1) * stride + kernel);
    let largest = |limit: usize, fits: &dyn Fn(usize) -> bool| (1..=limit).rev().find(|size| fits(*size)).unwrap_or(1);
    let columns = largest(output.width.min(PIECE), &|columns| columns <= 32 && patch(1, columns) <= PIECE_PATCH);
    let lines =
        largest(output.height.min(PIECE), &|lines| lines * columns <= PIECE && patch(lines, columns) <= PIECE_PATCH);
    let whole = lines == output.height && columns == output.width;
    let count = largest(images.clamp(1, PIECE), &|count| {
        count * lines * columns <= PIECE && count * patch(lines, columns) <= PIECE_PATCH && (whole || count == 1)
    });
    [count, lines, columns]
}

/// `f32` of weights packed by 16 of `outputs`.
fn packed(conv: &Conv2d, inputs: usize, outputs: usize) -> usize {
    conv.kernel * conv.kernel * inputs * outputs.next_multiple_of(16)
}

/// `f32` of scratch memory that `conv` and its gradients need.
pub(crate) fn scratch(tiles: &Tiles, conv: &Conv2d, rows: usize) -> usize {
    let (channels, filters) = (conv.input.channels, conv.output.channels);
    let sums = backward_weight_tile(tiles, conv, rows).parts * conv.weights();
    sums.max(packed(conv, channels, filters)).max(packed(conv, filters, channels))
}

/// `y` from `x`.
pub(crate) fn forward(cl: &mut OpenCl, operation: &Conv2dForward<'_>, images: usize) -> Result<(), Error> {
    let Conv2dForward { y, x, weight, conv: &Conv2d { input, output, kernel, stride, padding } } = *operation;
    let (mut launch, buffers) = cl.split();
    let (items, y, x, weight) = (y.length, buffers.written(y)?, buffers.read(x)?, buffers.read(weight)?);
    match forward_tile(launch.tiles, kernel, stride, output.height, output.width) {
        Some(name) => {
            let (groups, taps) = (launch.tiles.groups, kernel * kernel);
            let size = packed(operation.conv, input.channels, output.channels);
            let packed = buffers.scratch(0, size)?;
            let arguments = arguments![taps, input.channels, output.channels, packed, weight];
            launch.each(Name::Conv2dForwardPack, size / 16, arguments)?;
            let arguments: &[Argument<'_>] = sizes![images, input, output, padding, groups, false, y, x, packed];
            launch.looped(name, groups, arguments)
        }
        None => {
            let arguments: &[Argument<'_>] = sizes![images, input, output, kernel, stride, padding, y, x, weight];
            launch.each(Name::Conv2dForward, items, arguments)
        }
    }
}

/// Each `dx` from its `dy`.
pub(crate) fn backward_input(cl: &mut OpenCl, operation: &Conv2dBackwardInput<'_>, images: usize) -> Result<(), Error> {
    let Conv2dBackwardInput { dx, dy, weight, conv, accumulate } = *operation;
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    let (mut launch, buffers) = cl.split();
    let (groups, weight) = (launch.tiles.groups, buffers.read(weight)?);
    let way = backward_input_tile(launch.tiles, conv);
    let size = packed(conv, output.channels, input.channels);
    let packed = match way {
        BackwardInput::General => buffers.scratch(0, 0)?,
        BackwardInput::Forward(_) | BackwardInput::Step2(_) => {
            let packed = buffers.scratch(0, size)?;
            let (taps, flip) = (kernel * kernel, matches!(way, BackwardInput::Forward(_)));
            let arguments = arguments![taps, input.channels, output.channels, flip, packed, weight];
            launch.each(Name::Conv2dBackwardInputPack, size / 16, arguments)?;
            packed
        }
    };
    for (&dx, &dy) in dx.iter().zip(dy) {
        let (items, dx, dy) = (dx.length, buffers.written(dx)?, buffers.read(dy)?);
        match way {
            BackwardInput::Forward(name) => {
                let padding = kernel - 1 - padding;
                let arguments: &[Argument<'_>] =
                    sizes![images, output, input, padding, groups, accumulate, dx, dy, packed];
                launch.looped(name, groups, arguments)?;
            }
            BackwardInput::Step2(name) => {
                let arguments: &[Argument<'_>] =
                    sizes![images, input, output, padding, groups, accumulate, dx, dy, packed];
                launch.looped(name, groups, arguments)?;
            }
            BackwardInput::General => {
                let arguments: &[Argument<'_>] =
                    sizes![images, input, output, kernel, stride, padding, accumulate, dx, dy, weight];
                launch.each(Name::Conv2dBackwardInput, items, arguments)?;
            }
        }
    }
    Ok(())
}

/// Adds to each `dweight` what its `dy` gives.
pub(crate) fn backward_weight(
    cl: &mut OpenCl,
    operation: &Conv2dBackwardWeight<'_>,
    images: usize,
) -> Result<(), Error> {
    let Conv2dBackwardWeight { dweight, x, dy, conv } = *operation;
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    let (mut launch, buffers) = cl.split();
    let BackwardWeight { name, parts, blocks, subsets, piece } = backward_weight_tile(launch.tiles, conv, images);
    let (partial, x) = (buffers.scratch(0, parts * conv.weights())?, buffers.read(x)?);
    for (&dweight, &dy) in dweight.iter().zip(dy) {
        let (dweight, dy) = (buffers.written(dweight)?, buffers.read(dy)?);
        if name == Name::Conv2dBackwardWeight {
            let arguments: &[Argument<'_>] =
                sizes![images, input, output, kernel, stride, padding, parts, partial, x, dy];
            launch.each(name, parts * subsets, arguments)?;
        } else {
            let (groups, [count, lines, columns]) = (parts * subsets, piece);
            let arguments: &[Argument<'_>] = sizes![
                images, input, output, padding, groups, stride, parts, blocks, count, lines, columns, partial, x, dy
            ];
            launch.looped(name, groups, arguments)?;
        }
        merge(&mut launch, Name::Conv2dBackwardWeightMerge, conv.weights(), parts, true, dweight, partial)?;
    }
    Ok(())
}
