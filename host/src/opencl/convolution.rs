//! Convolutions on the device: which kernel takes which shape.

use sse_sam_core::{Conv2d, Span};

use super::Error;
use super::arguments::{self, disjoint, streams};
use super::backend::{Argument, OpenCl, arguments};
use super::program::Name;
use super::tiles::Tiles;

/// Work-items that a weight gradient in register tiles should have at least, by splitting the batch.
const SHARES: usize = 192;
/// Most parts of a batch whose weight gradients are summed apart.
const PARTS: usize = 64;

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
    /// The forward kernel on flipped and turned weights.
    Forward(Name),
    /// A kernel for stride 2 on turned weights.
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
    /// Work-items of one part.
    shares: usize,
}

fn backward_weight_tile(tiles: &Tiles, conv: &Conv2d, rows: usize) -> BackwardWeight {
    let (channels, filters, kernel) = (conv.input.channels, conv.output.channels, conv.kernel);
    let lines = (rows * conv.output.height).max(1);
    if tiles.groups == 0 {
        let parts = (tiles.visitors / conv.weights().max(1)).clamp(1, PARTS.min(lines));
        return BackwardWeight { name: Name::Conv2dBackwardWeight, parts, shares: conv.weights() };
    }
    let (name, taps, depth) = match kernel {
        3 if channels.is_multiple_of(8) => (Name::Conv2dBackwardWeight3Taps8Deep, 3, 8),
        3 if channels.is_multiple_of(4) => (Name::Conv2dBackwardWeight3Taps4Deep, 3, 4),
        3 if channels.is_multiple_of(3) => (Name::Conv2dBackwardWeight3Taps3Deep, 3, 3),
        3 => (Name::Conv2dBackwardWeight3Taps1Deep, 3, 1),
        _ if channels.is_multiple_of(16) => (Name::Conv2dBackwardWeight1Tap16Deep, 1, 16),
        _ => (Name::Conv2dBackwardWeight1Tap1Deep, 1, 1),
    };
    let shares = kernel * (kernel / taps) * (channels / depth) * filters.div_ceil(16);
    let parts = SHARES.div_ceil(shares).clamp(1, PARTS.min(lines));
    BackwardWeight { name, parts, shares }
}

/// `f32` of scratch memory that the gradients of `conv` need.
pub(super) fn scratch(tiles: &Tiles, conv: &Conv2d, rows: usize) -> usize {
    backward_weight_tile(tiles, conv, rows).parts * conv.weights()
}

/// The sizes that every kernel takes first: those of `input`, then those of `output`.
macro_rules! sizes {
    ($images:expr, $input:expr, $output:expr $(, $more:expr)* $(,)?) => {
        arguments![
            $images, $input.height, $input.width, $input.channels, $output.height, $output.width, $output.channels
            $(, $more)*
        ]
    };
}

pub(super) fn forward(cl: &mut OpenCl, y: Span, x: Span, weight: Span, conv: &Conv2d) -> Result<(), Error> {
    let images = arguments::convolution(y.length, x.length, weight.length, conv)?;
    disjoint(&[y], &[x, weight])?;
    let (mut launch, memory) = cl.split();
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    let (items, y, x, weight) = (y.length, memory.written(y)?, memory.read(x)?, memory.read(weight)?);
    match forward_tile(launch.tiles, kernel, stride, output.height, output.width) {
        Some(name) => {
            let groups = launch.tiles.groups;
            let arguments: &[Argument<'_>] = sizes![images, input, output, padding, groups, false, y, x, weight];
            launch.looped(name, groups, arguments)
        }
        None => {
            let arguments: &[Argument<'_>] = sizes![images, input, output, kernel, stride, padding, y, x, weight];
            launch.each(Name::Conv2dForward, items, arguments)
        }
    }
}

pub(super) fn backward_input(
    cl: &mut OpenCl,
    dx: &[Span],
    dy: &[Span],
    weight: Span,
    conv: &Conv2d,
    accumulate: bool,
) -> Result<(), Error> {
    let count = streams(&[dx, dy])?;
    for (dx, dy) in dx.iter().zip(dy) {
        arguments::convolution(dy.length, dx.length, weight.length, conv)?;
        disjoint(&[*dx], &[*dy, weight])?;
    }
    let (mut launch, memory) = cl.split();
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    let (groups, weight) = (launch.tiles.groups, memory.read(weight)?);
    let way = backward_input_tile(launch.tiles, conv);
    let turned = match way {
        BackwardInput::General => memory.scratch(0, 0)?,
        BackwardInput::Forward(_) | BackwardInput::Step2(_) => {
            let turned = memory.scratch(0, conv.weights())?;
            let flip = matches!(way, BackwardInput::Forward(_));
            let items = kernel * kernel * output.channels * input.channels.div_ceil(launch.tiles.width);
            let arguments = arguments![kernel, input.channels, output.channels, flip, turned, weight];
            launch.each(Name::Conv2dBackwardInputTurn, items, arguments)?;
            turned
        }
    };
    for stream in 0..count {
        let (items, images) = (dx[stream].length, dx[stream].length / input.len());
        let (dx, dy) = (memory.written(dx[stream])?, memory.read(dy[stream])?);
        match way {
            BackwardInput::Forward(name) => {
                let padding = kernel - 1 - padding;
                let arguments: &[Argument<'_>] =
                    sizes![images, output, input, padding, groups, accumulate, dx, dy, turned];
                launch.looped(name, groups, arguments)?;
            }
            BackwardInput::Step2(name) => {
                let arguments: &[Argument<'_>] =
                    sizes![images, input, output, padding, groups, accumulate, dx, dy, turned];
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

pub(super) fn backward_weight(
    cl: &mut OpenCl,
    dweight: &[Span],
    x: Span,
    dy: &[Span],
    conv: &Conv2d,
) -> Result<(), Error> {
    for stream in 0..streams(&[dweight, dy])? {
        let (dweight, dy) = (dweight[stream], dy[stream]);
        let images = arguments::convolution(dy.length, x.length, dweight.length, conv)?;
        disjoint(&[dweight], &[x, dy])?;
        let (mut launch, memory) = cl.split();
        let Conv2d { input, output, kernel, stride, padding } = *conv;
        let BackwardWeight { name, parts, shares } = backward_weight_tile(launch.tiles, conv, images);
        let partial = memory.scratch(0, parts * conv.weights())?;
        let (dweight, x, dy) = (memory.written(dweight)?, memory.read(x)?, memory.read(dy)?);
        if name == Name::Conv2dBackwardWeight {
            let arguments: &[Argument<'_>] =
                sizes![images, input, output, kernel, stride, padding, parts, partial, x, dy];
            launch.each(name, parts * shares, arguments)?;
        } else {
            let groups = parts * shares;
            let arguments: &[Argument<'_>] =
                sizes![images, input, output, padding, groups, kernel, stride, parts, partial, x, dy];
            launch.looped(name, groups, arguments)?;
        }
        let items = conv.weights().div_ceil(launch.tiles.width);
        let arguments = arguments![conv.weights(), parts, dweight, partial];
        launch.each(Name::Conv2dBackwardWeightMerge, items, arguments)?;
    }
    Ok(())
}
