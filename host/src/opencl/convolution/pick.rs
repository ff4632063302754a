//! Which algorithm a convolution takes.

use std::collections::BTreeMap;

use sse_sam_core::Conv2d;

use crate::opencl::algorithm::{Algorithm, Algorithms, Block, ConvProblem, Convolution, Direction, Selection};
use crate::opencl::convolution::{block, tile, winograd};
use crate::opencl::runtime::device::{DeviceInfo, Tiling};
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::tiles::Tiles;

/// Fewer multiply-adds than this are not timed: they take some 50 us on a CPU.
const SMALL: usize = 1 << 22;

impl OpenCl {
    /// Chooses how 3 x 3 convolutions of stride 1 are computed from now on.
    pub fn set_convolution(&mut self, convolution: Convolution) {
        self.policy.convolution = convolution;
    }

    /// How they are.
    pub fn convolution(&self) -> Convolution {
        self.policy.convolution
    }

    /// Puts this selection in force under [`Convolution::Auto`].
    pub fn set_selection(&mut self, selection: Selection) {
        self.policy.selection = selection;
    }

    /// The selection in force under [`Convolution::Auto`].
    pub fn selection(&self) -> &Selection {
        &self.policy.selection
    }

    /// The algorithms by which `conv` and its gradients with so many images are computed.
    pub fn algorithms(&self, conv: &Conv2d, images: usize) -> Algorithms {
        Direction::ALL.map(|direction| self.algorithm(direction, conv, images, true))
    }

    /// The algorithm of one of them, where its memory lies at `whole` quads.
    pub(crate) fn algorithm(&self, direction: Direction, conv: &Conv2d, images: usize, whole: bool) -> Algorithm {
        let chosen = match self.policy.convolution {
            Convolution::Direct => Algorithm::Direct,
            Convolution::Winograd => Algorithm::Winograd,
            Convolution::Auto => {
                let algorithms = self.policy.selection.algorithms(conv).unwrap_or_else(|| shipped(self.device(), conv));
                algorithms[direction as usize]
            }
        };
        self.resolve(direction, chosen, conv, images, whole)
    }

    /// What an algorithm comes to: the blocks of a device that has them go before the direct algorithm.
    pub(crate) fn resolve(
        &self,
        direction: Direction,
        algorithm: Algorithm,
        conv: &Conv2d,
        images: usize,
        whole: bool,
    ) -> Algorithm {
        let takes = |block: Block| self.can(direction, block) && block.takes(conv, whole);
        match algorithm {
            Algorithm::Winograd if winograd::fits(self.tiles(), conv) => algorithm,
            _ if !block::fits(self.tiles(), conv, images) => Algorithm::Direct,
            Algorithm::Block(block) | Algorithm::Split(block, _) if takes(block) => algorithm,
            _ => block::shipped(self.tiles(), conv, direction, images, self.device().multiplier(), takes)
                .map_or(Algorithm::Direct, Algorithm::Block),
        }
    }

    /// Whether the device computes in this block.
    pub(crate) fn can(&self, direction: Direction, block: Block) -> bool {
        !self.policy.refused.contains(&(direction, block))
    }

    /// Computes nothing in these blocks from now on.
    pub(crate) fn refuse(&mut self, blocks: impl IntoIterator<Item = (Direction, Block)>) {
        self.policy.refused.extend(blocks);
    }

    /// `f32` of scratch memory that `conv` and its gradients with `rows` images need on `device`, by any algorithm.
    pub fn scratch(device: &DeviceInfo, conv: &Conv2d, rows: usize) -> usize {
        let (tiles, units) = (Tiles::for_device(device), device.compute_units as usize);
        let other = block::scratch(device, conv, rows).max(winograd::scratch(&tiles, units, conv, rows));
        tile::scratch(&tiles, conv, rows).max(other)
    }

    /// Makes room for `conv` and its gradients with `rows` images; to be called before training.
    ///
    /// # Errors
    /// [`Error::Memory`] when the device has no room.
    pub fn reserve_convolution(&mut self, conv: &Conv2d, rows: usize) -> Result<(), Error> {
        self.reserve_scratch(Self::scratch(self.device(), conv, rows))
    }
}

/// The convolutions among these that a device has several algorithms for, by problem.
pub fn problems(
    device: &DeviceInfo,
    images: usize,
    convolutions: impl Iterator<Item = Conv2d>,
) -> BTreeMap<ConvProblem, Conv2d> {
    let several = convolutions.filter(|conv| candidates(device, conv).len() > 1);
    several.map(|conv| (ConvProblem::new(&conv, images), conv)).collect()
}

/// The algorithms that a device has for a convolution: those that come with its tiles and that it can launch.
pub(crate) fn candidates(device: &DeviceInfo, conv: &Conv2d) -> Vec<Algorithm> {
    match device.tiles {
        Tiling::Gpu => block::candidates(device, conv).map(Algorithm::Block).collect(),
        _ if winograd::fits(&Tiles::for_device(device), conv) => vec![Algorithm::Direct, Algorithm::Winograd],
        _ => vec![Algorithm::Direct],
    }
}

/// The algorithms that a convolution takes until faster ones are found.
pub fn shipped(device: &DeviceInfo, conv: &Conv2d) -> Algorithms {
    let tiled = winograd::fits(&Tiles::for_device(device), conv) && winograd::pays(conv);
    [if tiled { Algorithm::Winograd } else { Algorithm::Direct }; 3]
}

/// Whether so little is to be done that the shipped algorithms are taken without a timing.
pub fn is_small(conv: &Conv2d, images: usize) -> bool {
    let pixels = images.saturating_mul(conv.output.height * conv.output.width);
    pixels.saturating_mul(conv.weights()) < SMALL
}

#[cfg(test)]
mod tests {
    use sse_sam_core::Shape;

    use super::*;

    fn conv(side: usize, channels: usize) -> Conv2d {
        Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1).unwrap()
    }

    #[test]
    fn the_digits_are_small_and_cifars_layers_are_not() {
        assert!(is_small(&conv(4, 16), 64) && is_small(&conv(2, 32), 64));
        for (side, channels) in [(32, 16), (16, 32), (8, 64)] {
            assert!(!is_small(&conv(side, channels), 128));
        }
    }
}
