//! Which algorithm a convolution takes.

use std::collections::BTreeMap;

use sse_sam_core::Conv2d;

use crate::opencl::algorithm::{Block, Case, Choices, Convolution, Form, Forms, Operation};
use crate::opencl::convolution::{block, tile, winograd};
use crate::opencl::runtime::device::{Class, DeviceInfo};
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

    /// Puts these choices in force under [`Convolution::Auto`].
    pub fn set_choices(&mut self, choices: Choices) {
        self.policy.choices = choices;
    }

    /// The choices in force under [`Convolution::Auto`].
    pub fn choices(&self) -> &Choices {
        &self.policy.choices
    }

    /// The forms in which `conv` and its gradients with so many images are computed.
    pub fn forms(&self, conv: &Conv2d, images: usize) -> Forms {
        Operation::ALL.map(|operation| self.form(operation, conv, images, true))
    }

    /// The form of one operation, where its memory lies at `whole` quads.
    pub(crate) fn form(&self, operation: Operation, conv: &Conv2d, images: usize, whole: bool) -> Form {
        let chosen = match self.policy.convolution {
            Convolution::Direct => Form::Direct,
            Convolution::Winograd => Form::Winograd,
            Convolution::Auto => {
                let forms = self.policy.choices.forms(conv).unwrap_or_else(|| shipped(self.device(), conv));
                forms[operation as usize]
            }
        };
        self.resolve(operation, chosen, conv, images, whole)
    }

    /// What a form comes to: the blocks of a device that has them go before the direct form.
    pub(crate) fn resolve(&self, operation: Operation, form: Form, conv: &Conv2d, images: usize, whole: bool) -> Form {
        let takes = |block: Block| self.can(operation, block) && block.takes(conv, whole);
        match form {
            Form::Winograd if winograd::fits(self.tiles(), conv) => form,
            _ if !block::fits(self.tiles(), conv, images) => Form::Direct,
            Form::Block(block) | Form::Split(block, _) if takes(block) => form,
            _ => block::shipped(conv, operation, images, self.device().multiplier(), takes)
                .map_or(Form::Direct, Form::Block),
        }
    }

    /// Whether the device computes an operation in this block.
    pub(crate) fn can(&self, operation: Operation, block: Block) -> bool {
        !self.policy.refused.contains(&(operation, block))
    }

    /// Computes nothing in these blocks from now on.
    pub(crate) fn refuse(&mut self, blocks: impl IntoIterator<Item = (Operation, Block)>) {
        self.policy.refused.extend(blocks);
    }

    /// `f32` of scratch memory that `conv` and its gradients with `rows` images need on `device`, in any form.
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

/// The convolutions among these that a device has several forms of, each case once.
pub fn cases(device: &DeviceInfo, images: usize, convolutions: impl Iterator<Item = Conv2d>) -> BTreeMap<Case, Conv2d> {
    let several = convolutions.filter(|conv| candidates(device, conv).len() > 1);
    several.map(|conv| (Case::new(&conv, images), conv)).collect()
}

/// The forms that a device has of a convolution: the ones that a table of tiles has and that it can launch.
pub(crate) fn candidates(device: &DeviceInfo, conv: &Conv2d) -> Vec<Form> {
    match device.tiles {
        Class::Cpu if winograd::fits(&Tiles::of(Class::Cpu), conv) => vec![Form::Direct, Form::Winograd],
        Class::Cpu => vec![Form::Direct],
        Class::Gpu => block::candidates(device, conv).map(Form::Block).collect(),
    }
}

/// The forms a convolution takes until something faster is found.
pub fn shipped(device: &DeviceInfo, conv: &Conv2d) -> Forms {
    let tiled = winograd::fits(&Tiles::for_device(device), conv) && winograd::pays(conv);
    [if tiled { Form::Winograd } else { Form::Direct }; 3]
}

/// Whether so little is to be done that the shipped forms are taken without a timing.
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
