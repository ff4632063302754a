//! Checks blocks against the general kernel, once a process, before they are used.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use sse_sam_core::ops::{
    BatchNormForward, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dBatchNormForward, Conv2dForward,
};
use sse_sam_core::{Arena, Conv2d, Machine, Run, Shape, Span};

use crate::opencl::algorithm::{Algorithm, Block, Direction, Matrix, Selection};
use crate::opencl::runtime::device::DeviceInfo;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::program::Built;
use crate::opencl::runtime::verdict::{BOUND, Fault, Refusal};

impl OpenCl {
    /// Refuses those of these blocks that this device cannot launch or computes wrongly, and says which and why. What an
    /// earlier call in this process found is taken over.
    ///
    /// # Errors
    /// [`Error::Memory`] and [`Error::Call`] when the device has no room for small problems, or fails with the general
    /// kernels.
    pub fn check(&mut self, blocks: impl IntoIterator<Item = (Direction, Block)>) -> Result<Vec<Refusal>, Error> {
        let (mut refusals, built) = (Vec::new(), Arc::clone(&self.built));
        let mut verdicts = built.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        for (direction, block) in blocks {
            let known = verdicts.get(&(direction, block)).cloned();
            let first = known.is_none();
            let fault = known.map_or_else(|| find(self.device(), direction, block), Ok)?;
            verdicts.insert((direction, block), fault.clone());
            if let Some(fault) = fault {
                refusals.push(Refusal { direction, algorithm: Algorithm::Block(block), fault, first });
                self.refuse([(direction, block)]);
            }
        }
        Ok(refusals)
    }

    /// As [`OpenCl::check`] for every block that these operations are computed in with up to so many images; a block that
    /// takes over from a refused one is checked too.
    ///
    /// # Errors
    /// As [`OpenCl::check`].
    pub fn check_operations(
        &mut self,
        directions: &[(Direction, Conv2d)],
        images: usize,
    ) -> Result<Vec<Refusal>, Error> {
        let (mut refusals, mut checked) = (Vec::new(), BTreeSet::new());
        loop {
            let algorithms = directions.iter().flat_map(|(direction, conv)| {
                // A smaller batch, such as an epoch's last one, may take another block.
                let algorithm = |images| (*direction, self.algorithm(*direction, conv, images, true));
                (1..=images).map(algorithm)
            });
            let blocks =
                algorithms.filter_map(|(direction, algorithm)| algorithm.block().map(|block| (direction, block)));
            let open: BTreeSet<_> = blocks.filter(|block| !checked.contains(block)).collect();
            if open.is_empty() {
                return Ok(refusals);
            }
            refusals.extend(self.check(open.iter().copied())?);
            checked.extend(open);
        }
    }
}

/// What is wrong with a block on a device, if anything is.
fn find(device: &DeviceInfo, direction: Direction, block: Block) -> Result<Option<Fault>, Error> {
    for probe in Probe::all(direction, block, device.multiplier())? {
        let mut cl = OpenCl::new(device, probe.words, &[], &[])?;
        cl.reserve_convolution(&probe.conv, probe.images)?;
        cl.set_selection(Selection::of(&probe.conv, probe.images, Algorithm::Block(block)));
        probe.prepare(&mut cl)?;
        let found = match probe.run(&mut cl) {
            Err(error @ Error::Call { .. }) => return Ok(Some(Fault::Fails(error))),
            found => falsified(direction, block, found?),
        };
        cl.refuse(Block::ALL.into_iter().flat_map(|block| Direction::ALL.map(|direction| (direction, block))));
        probe.prepare(&mut cl)?;
        let expected = probe.run(&mut cl)?;
        for (found, expected) in found.iter().zip(&expected) {
            let error = relative_error(found, expected);
            if !is_rounding(error) {
                return Ok(Some(Fault::Wrong(error)));
            }
        }
    }
    Ok(None)
}

/// Whether an error can be that of sums in another order; one that is no number cannot.
fn is_rounding(error: f64) -> bool {
    error <= BOUND
}

/// `||found - expected|| / ||expected||`.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let difference = found.iter().zip(expected).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    let size = expected.iter().map(|&value| f64::from(value).powi(2));
    (difference.sum::<f64>() / size.sum::<f64>()).sqrt()
}

/// A small operation, somewhat larger than a block in both directions.
struct Probe {
    direction: Direction,
    conv: Conv2d,
    images: usize,
    /// What is written, and the two things that are read.
    target: Span,
    sources: [Span; 2],
    /// Output, scale, shift and statistics of the batch norm that follows a forward pass.
    normalized: [Span; 4],
    words: usize,
}

impl Probe {
    /// One whose sum is split, with stride 1, and one whose sum is too short for that, with stride 2.
    fn all(direction: Direction, block: Block, multiplier: Matrix) -> Result<[Self; 2], Error> {
        let columns = block.sizes(multiplier).block[1];
        let (long, short, columns) = if block == Block::Any { (19, 3, columns + 1) } else { (20, 4, columns + 4) };
        // A weight gradient sums over pixels, the others over one side's channels.
        let (short, images) = if direction == Direction::BackwardWeight { (long, 2) } else { (short, 7) };
        let probe = |summed: usize, stride: usize, images: usize| {
            let (channels, filters) =
                if direction == Direction::BackwardInput { (columns, summed) } else { (summed, columns) };
            let conv = Conv2d::new(Shape::new(9, 7, channels), filters, 3, stride, 1)?;
            Self::new(direction, conv, images)
        };
        Ok([probe(long, 1, 3)?, probe(short, 2, images)?])
    }

    fn new(direction: Direction, conv: Conv2d, images: usize) -> Result<Self, Error> {
        let mut arena = Arena::new(OpenCl::alignment());
        let (x, y, weight) = (images * conv.input.len(), images * conv.output.len(), conv.weights());
        let (target, [first, second]) = match direction {
            Direction::Forward => (y, [x, weight]),
            Direction::BackwardInput => (x, [y, weight]),
            Direction::BackwardWeight => (weight, [x, y]),
        };
        let filters = conv.output.channels;
        let mut span = |length| arena.allocate(length);
        let (target, sources) = (span(target)?, [span(first)?, span(second)?]);
        let normalized = [span(y)?, span(filters)?, span(filters)?, span(2 * filters)?];
        Ok(Self { direction, conv, images, target, sources, normalized, words: arena.len() })
    }

    /// Writes all that is read, and numbers where the result goes: gradients are added to them.
    fn prepare(&self, cl: &mut OpenCl) -> Result<(), Error> {
        let [_, scale, shift, _] = self.normalized;
        let [first, second] = self.sources;
        for (seed, span) in (1..).zip([self.target, first, second, scale, shift]) {
            cl.write(span, &numbers(seed, span.length))?;
        }
        cl.finish()
    }

    /// Runs the operation and returns its result; of a forward pass also the statistics that it leaves for batch norm.
    fn run(&self, cl: &mut OpenCl) -> Result<Vec<Vec<f32>>, Error> {
        let Self { direction, ref conv, target, sources: [first, second], .. } = *self;
        let mut left = Vec::new();
        match direction {
            Direction::Forward => {
                let [normalized, scale, shift, saved] = self.normalized;
                let norm = BatchNormForward {
                    y: normalized,
                    saved,
                    running: None,
                    x: target,
                    weight: scale,
                    bias: shift,
                    residual: None,
                    relu: false,
                };
                let convolution = Conv2dForward { y: target, x: first, weight: second, conv };
                cl.run(&Conv2dBatchNormForward { convolution, norm })?;
                left.push(saved);
            }
            // Where the sum is split, adding is the merging kernel's part.
            Direction::BackwardInput => {
                cl.run(&Conv2dBackwardInput {
                    dx: &[target],
                    dy: &[first],
                    weight: second,
                    conv,
                    accumulate: conv.stride > 1,
                })?;
            }
            Direction::BackwardWeight => {
                cl.run(&Conv2dBackwardWeight { dweight: &[target], x: first, dy: &[second], conv })?
            }
        }
        let values = |span: Span| {
            let mut values = vec![0.0; span.length];
            cl.read(&mut values, span).map(|()| values)
        };
        [target].into_iter().chain(left).map(values).collect()
    }
}

/// Numbers in -0.5..0.5, the same every time; of so few digits that rounding to TF32 changes none.
fn numbers(seed: u32, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        // Marsaglia's xorshift (2003).
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 22) as f32 / (1 << 10) as f32 - 0.5
    };
    (0..length).map(|_| next()).collect()
}

static FALSIFIED: Mutex<Vec<(Direction, Block, f32)>> = Mutex::new(Vec::new());

/// Makes a check of `block` find this number in place of the first, for tests of what follows.
#[doc(hidden)]
pub fn falsify(direction: Direction, block: Block, number: f32) {
    FALSIFIED.lock().unwrap_or_else(PoisonError::into_inner).push((direction, block, number));
}

fn falsified(direction: Direction, block: Block, mut found: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let orders = FALSIFIED.lock().unwrap_or_else(PoisonError::into_inner);
    let order = orders.iter().find(|order| (order.0, order.1) == (direction, block));
    if let (Some((.., number)), Some(first)) = (order, found.first_mut().and_then(|values| values.first_mut())) {
        *first = *number;
    }
    found
}

/// Forgets what was found about the blocks of a device, for tests.
///
/// # Errors
/// [`Error::Build`] when a kernel does not build for it.
#[doc(hidden)]
pub fn forget_checks(device: &DeviceInfo) -> Result<(), Error> {
    Built::of(device)?.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opencl::convolution::block::Product;
    use crate::opencl::runtime::device::Tiling;
    use crate::opencl::runtime::tiles::Tiles;

    #[test]
    fn a_block_is_checked_with_a_split_sum_and_with_a_whole_one_and_past_its_edges() {
        let tiles = Tiles::of(Tiling::Gpu);
        let kinds = [Matrix::Absent, Matrix::Instructions].into_iter();
        let blocks = kinds.flat_map(|multiplier| Block::ALL.map(|block| (block, multiplier)));
        for ((block, multiplier), direction) in
            blocks.flat_map(|block| Direction::ALL.map(|direction| (block, direction)))
        {
            let (probes, sizes) = (Probe::all(direction, block, multiplier).unwrap(), block.sizes(multiplier));
            let products = probes.each_ref().map(|p| Product::of(&p.conv, direction, p.images));
            let splits = products.map(|product| product.splits(&tiles, &sizes, None));
            assert!(splits[0] > 1 && splits[1] == 1, "{block} {direction}: {splits:?}");
            for (Probe { conv, .. }, product) in probes.iter().zip(products) {
                assert!(block.takes(conv, true), "{block} {direction}");
                // Two blocks at least in each direction, of each product.
                let turned = direction == Direction::BackwardInput;
                let width = if turned { conv.input } else { conv.output }.channels;
                let (across, count) =
                    (width.div_ceil(sizes.block[1]), if turned { conv.stride * conv.stride } else { 1 });
                assert!(across > 1 && product.blocks(&sizes) / across / count > 1, "{block} {direction}");
            }
        }
    }

    #[test]
    fn rounding_to_tf32_changes_no_number_of_a_check() {
        let rounded = |value: &f32| f32::from_bits((value.to_bits() + 0x1000) & 0xffff_e000);
        let numbers = numbers(3, 10_000);
        assert!(numbers.iter().all(|value| rounded(value) == *value));
        assert!(numbers.iter().any(|value| *value < -0.4) && numbers.iter().any(|value| *value > 0.4));
    }

    #[test]
    fn only_close_numbers_are_close() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((relative_error(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-9);
        for number in [f32::NAN, f32::INFINITY] {
            assert!(!is_rounding(relative_error(&[3.0, number], &[3.0, 4.0])));
        }
        assert!(!is_rounding(relative_error(&[0.0], &[0.0])), "nothing is no result");
    }
}
