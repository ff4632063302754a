//! Winograd's algorithm: which shapes it takes, and its launches.

use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward};
use sse_sam_core::{Conv2d, Shape, Span};

use crate::opencl::operations::batch_norm::Moments;
use crate::opencl::runtime::buffers::{At, Buffers};
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::{Launch, arguments};
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Name;
use crate::opencl::runtime::tiles::Tiles;

/// `FREQUENCIES`, `CELL` and `APART` of winograd.cl.
const FREQUENCIES: usize = 36;
const CELL: usize = FREQUENCIES * 16 + 16;
const APART: usize = 80;

/// Most channels, or filters, whose weights are few.
const FEW: usize = 64;
/// Blocks of tiles that a work-item of a weight gradient should sum at least.
const BLOCKS: usize = 4;
/// Most products of channels and filters whose sums a work-item keeps to itself.
const SUMS: usize = 64 * 64;
/// Most channels, or filters, for which one reading of the input serves two output gradients.
const SHARED: usize = 32;
/// Work-items that transform tiles for weight gradients of many channels.
const TRANSFORMERS: usize = 64;

/// Whether `conv` can be computed by this algorithm.
pub(crate) fn fits(tiles: &Tiles, conv: &Conv2d) -> bool {
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    tiles.winograd_block > 0
        && (kernel, stride, padding) == (3, 1, 1)
        && input.channels.is_multiple_of(16)
        && output.channels.is_multiple_of(16)
}

/// Whether this algorithm should be faster for a convolution that it fits.
pub(crate) fn pays(conv: &Conv2d) -> bool {
    let output = conv.output;
    // A tile costs 36 products and gives up to 16 pixels that cost 9 each: it must be two thirds full.
    3 * output.height * output.width >= 2 * 16 * pieces(output, 1)
}

/// Tiles of 4 x 4 pixels in `images` images.
fn pieces(image: Shape, images: usize) -> usize {
    images * image.height.div_ceil(4) * image.width.div_ceil(4)
}

/// `f32` of transformed weights.
fn transformed(inputs: usize, outputs: usize) -> usize {
    FREQUENCIES * (inputs * outputs + outputs / 16 * APART)
}

/// How the work of a forward pass is shared out, which changes no bit of the result.
#[derive(Clone, Copy)]
struct Forward {
    /// Tiles that are transformed at once.
    block: usize,
    /// Work-items.
    groups: usize,
    /// Shares of the filters, where tiles alone would leave units of the device idle.
    splits: usize,
}

impl Forward {
    fn of(tiles: &Tiles, units: usize, image: Shape, [inputs, filters]: [usize; 2], images: usize) -> Self {
        // Where weights are few, tiles that stay in the first cache; where they are many, fewer readings of them.
        let few = inputs.max(filters) <= FEW;
        let block = if few { tiles.winograd_block / 2 } else { tiles.winograd_block };
        let blocks = pieces(image, images).div_ceil(block).max(1);
        let splits = units.div_ceil(blocks).min(filters / 16);
        Self { block, groups: tiles.winograd_groups.max(units).min(blocks * splits), splits }
    }

    /// `f32` of scratch memory.
    fn scratch(self, tiles: &Tiles, inputs: usize) -> usize {
        let block = tiles.winograd_block;
        self.groups * (inputs / 16 * block * CELL + FREQUENCIES * (block * 16 + 16) + inputs)
    }
}

/// How a weight gradient is summed; the number of work-items is part of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BackwardWeight {
    /// Each work-item transforms and sums its own tiles, for `streams` output gradients at once.
    Fused { groups: usize, streams: usize },
    /// Transformed tiles go through memory.
    Wide,
}

impl BackwardWeight {
    fn of(tiles: &Tiles, conv: &Conv2d, images: usize, streams: usize) -> Self {
        let (channels, filters) = (conv.input.channels, conv.output.channels);
        if channels * filters > SUMS {
            return Self::Wide;
        }
        let blocks = pieces(conv.output, images).div_ceil(tiles.winograd_block);
        let streams = if channels.max(filters) <= SHARED { streams } else { 1 };
        Self::Fused { groups: (blocks / BLOCKS).clamp(1, tiles.winograd_groups), streams }
    }
}

/// `f32` of one sum, or of as many of them as there are work-items and output gradients.
fn sums(conv: &Conv2d) -> usize {
    FREQUENCIES * (conv.input.channels * conv.output.channels + APART)
}

/// `f32` of the transformed tiles of one side of a wide weight gradient, with zeros for each work-item.
fn wide_side(channels: usize, tiles: usize) -> usize {
    FREQUENCIES * (channels * tiles + APART) + TRANSFORMERS * channels
}

/// `f32` of tiles that the work-items of a fused weight gradient keep.
fn fused_tiles(tiles: &Tiles, conv: &Conv2d, groups: usize) -> usize {
    let (channels, filters) = (conv.input.channels, conv.output.channels);
    groups * ((channels + filters) / 16 * tiles.winograd_block * CELL + channels.max(filters))
}

/// `f32` of scratch memory that `conv` and its gradients need by this algorithm.
pub(crate) fn scratch(tiles: &Tiles, units: usize, conv: &Conv2d, images: usize) -> usize {
    if !fits(tiles, conv) {
        return 0;
    }
    let (channels, filters) = (conv.input.channels, conv.output.channels);
    let one_way = |inputs: usize, outputs: usize| {
        let forward = Forward::of(tiles, units, conv.output, [inputs, outputs], images);
        let parts = pieces(conv.output, images).div_ceil(forward.block);
        transformed(inputs, outputs) + forward.scratch(tiles, inputs) + 3 * parts * outputs
    };
    let weight = match BackwardWeight::of(tiles, conv, images, 2) {
        BackwardWeight::Fused { groups, streams } => groups * streams * sums(conv) + fused_tiles(tiles, conv, groups),
        BackwardWeight::Wide => {
            let tiles = pieces(conv.output, images);
            sums(conv) + wide_side(channels, tiles) + wide_side(filters, tiles)
        }
    };
    weight.max(one_way(channels, filters)).max(one_way(filters, channels))
}

/// The forward pass from `inputs` channels to `outputs`, both of the same height and width, with weights transformed.
struct Pass<'a> {
    launch: Launch<'a>,
    buffers: &'a Buffers,
    units: usize,
    image: Shape,
    inputs: usize,
    outputs: usize,
    weights: At<'a>,
}

impl<'a> Pass<'a> {
    /// Transforms the weights; `turned` for the gradient with respect to the input.
    fn new(cl: &'a mut OpenCl, weight: Span, conv: &Conv2d, turned: bool) -> Result<Self, Error> {
        let units = cl.device().compute_units as usize;
        let (mut launch, buffers) = cl.split();
        let (channels, filters) = (conv.input.channels, conv.output.channels);
        let (inputs, outputs) = if turned { (filters, channels) } else { (channels, filters) };
        let weights = buffers.scratch(0, transformed(inputs, outputs))?;
        let items = inputs / 16 * (outputs / 16);
        let arguments = arguments![inputs, outputs, turned, weights, buffers.read(weight)?];
        launch.looped(Name::Conv2dForwardWinogradWeights, items, arguments)?;
        Ok(Self { launch, buffers, units, image: conv.output, inputs, outputs, weights })
    }

    /// Where the moments of `y` begin in scratch memory, and of how many parts of it.
    fn run(&mut self, y: Span, x: Span, images: usize, accumulate: bool) -> Result<(usize, usize), Error> {
        let Self { ref mut launch, buffers, units, image, inputs, outputs, weights } = *self;
        let Shape { height, width, .. } = image;
        let forward = Forward::of(launch.tiles, units, image, [inputs, outputs], images);
        let (before, own) = (transformed(inputs, outputs), forward.scratch(launch.tiles, inputs));
        let tiles = buffers.scratch(before, own)?;
        let parts = pieces(image, images).div_ceil(forward.block);
        let moments = buffers.scratch(before + own, 3 * parts * outputs)?;
        let stream = launch.tiles.streams(y, outputs);
        let (y, x) = (buffers.written(y)?, buffers.read(x)?);
        let Forward { block, groups, splits } = forward;
        let arguments = arguments![
            images, height, width, inputs, outputs, block, groups, splits, accumulate, stream, y, tiles, moments, x,
            weights
        ];
        launch.looped(Name::Conv2dForwardWinograd, groups, arguments)?;
        Ok((before + own, parts))
    }
}

/// `y` from `x`, and the moments of `y`.
pub(crate) fn forward<'c>(
    cl: &'c mut OpenCl,
    operation: &Conv2dForward<'_>,
    images: usize,
) -> Result<Option<Moments<'c>>, Error> {
    let Conv2dForward { y, x, weight, conv } = *operation;
    if images == 0 {
        return Ok(None);
    }
    let (at, parts) = Pass::new(cl, weight, conv, false)?.run(y, x, images, false)?;
    Ok(Some(Moments { cl, at, parts }))
}

/// Each `dx` from its `dy`.
pub(crate) fn backward_input(cl: &mut OpenCl, operation: &Conv2dBackwardInput<'_>) -> Result<(), Error> {
    let Conv2dBackwardInput { dx, dy, weight, conv, accumulate } = *operation;
    let mut pass = Pass::new(cl, weight, conv, true)?;
    for (dx, dy) in dx.iter().zip(dy).filter(|(dx, _)| dx.length > 0) {
        pass.run(*dx, *dy, dx.length / conv.input.len(), accumulate)?;
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
    if images == 0 || dy.is_empty() {
        return Ok(());
    }
    let (launch, buffers) = cl.split();
    let mut pass = WeightPass { launch, buffers, conv, images };
    match BackwardWeight::of(pass.launch.tiles, conv, images, dy.len()) {
        BackwardWeight::Wide => pass.wide(dweight, x, dy),
        BackwardWeight::Fused { groups, streams } => dweight
            .chunks(streams)
            .zip(dy.chunks(streams))
            .try_for_each(|(dweight, dy)| pass.fused(dweight, x, dy, groups)),
    }
}

/// A weight gradient under way.
struct WeightPass<'a> {
    launch: Launch<'a>,
    buffers: &'a Buffers,
    conv: &'a Conv2d,
    images: usize,
}

impl WeightPass<'_> {
    fn fused(&mut self, dweight: &[Span], x: Span, dy: &[Span], groups: usize) -> Result<(), Error> {
        let Self { ref mut launch, buffers, conv: &Conv2d { input, output, .. }, images } = *self;
        let (streams, size) = (dy.len(), groups * dy.len() * sums(self.conv));
        let sums = buffers.scratch(0, size)?;
        let tiles = buffers.scratch(size, fused_tiles(launch.tiles, self.conv, groups))?;
        let (x, [dy_first, dy_second]) = (buffers.read(x)?, ends(dy));
        let (dy_first, dy_second) = (buffers.read(dy_first)?, buffers.read(dy_second)?);
        let (height, width, channels, filters) = (input.height, input.width, input.channels, output.channels);
        let arguments =
            arguments![images, height, width, channels, filters, groups, streams, sums, tiles, x, dy_first, dy_second];
        launch.looped(Name::Conv2dBackwardWeightWinograd, groups, arguments)?;
        self.merge(dweight, sums, groups)
    }

    fn wide(&mut self, dweight: &[Span], x: Span, dy: &[Span]) -> Result<(), Error> {
        let Self { ref mut launch, buffers, conv: &Conv2d { input, output, .. }, images } = *self;
        let (height, width, channels, filters) = (input.height, input.width, input.channels, output.channels);
        let tiles = pieces(output, images);
        let groups = tiles.min(TRANSFORMERS);
        let size = sums(self.conv);
        let sums = buffers.scratch(0, size)?;
        let windows = buffers.scratch(size, wide_side(channels, tiles))?;
        let gradients = buffers.scratch(size + wide_side(channels, tiles), wide_side(filters, tiles))?;
        let arguments = arguments![images, height, width, channels, filters, groups, windows, buffers.read(x)?];
        launch.looped(Name::Conv2dBackwardWeightWinogradWindows, groups, arguments)?;
        for (dweight, dy) in dweight.iter().zip(dy) {
            let launch = &mut self.launch;
            let arguments = arguments![images, height, width, channels, filters, groups, gradients, buffers.read(*dy)?];
            launch.looped(Name::Conv2dBackwardWeightWinogradGradients, groups, arguments)?;
            let arguments = arguments![images, height, width, channels, filters, sums, windows, gradients];
            launch.looped(Name::Conv2dBackwardWeightWinogradWide, FREQUENCIES * channels / 16, arguments)?;
            self.merge(&[*dweight], sums, 1)?;
        }
        Ok(())
    }

    fn merge(&mut self, dweight: &[Span], sums: At<'_>, groups: usize) -> Result<(), Error> {
        let Self { ref mut launch, buffers, conv: &Conv2d { input, output, .. }, .. } = *self;
        let (channels, filters, streams) = (input.channels, output.channels, dweight.len());
        let [first, second] = ends(dweight);
        let (first, second) = (buffers.written(first)?, buffers.written(second)?);
        let arguments = arguments![channels, filters, groups, streams, first, second, sums];
        launch.launch(Name::Conv2dBackwardWeightWinogradMerge, streams * channels * filters / 16, 16, arguments)
    }
}

/// The first and the last of one or two spans; kernels of two streams get the only one twice.
fn ends(spans: &[Span]) -> [Span; 2] {
    let nothing = Span::work(0, 0);
    [spans.first(), spans.last()].map(|span| span.copied().unwrap_or(nothing))
}
