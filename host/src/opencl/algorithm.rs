//! How a convolution can be computed, and what decides it: plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sse_sam_core::Conv2d;

/// How convolutions are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Convolution {
    /// What was found fastest for each shape and operation on a device
    #[default]
    Auto,
    /// As the formula says; with the tiles of a GPU in the blocks that a rule picks
    Direct,
    /// In tiles of 4 x 4 pixels where there are such kernels (3 x 3 pixels, stride 1, tiles of a CPU), else directly: fewer
    /// products, a few more rounding errors
    Winograd,
}

/// How a convolution or a gradient of it is computed: what users read of as its form. Written `direct`, `winograd`, or as the
/// block is called, with the number of parts behind a stroke: `128x64/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Algorithm {
    /// As the formula says; in a device of blocks, in the one that a rule finds.
    Direct,
    /// In tiles of 4 x 4 pixels.
    Winograd,
    /// In this block, the sum in so many parts as a rule finds.
    Block(Block),
    /// In this block, the sum in this many parts, or as many as it has.
    Split(Block, u16),
}

impl Algorithm {
    /// The word for it.
    pub fn name(self) -> String {
        match self {
            Self::Direct => "direct".into(),
            Self::Winograd => "winograd".into(),
            Self::Block(block) => block.name().into(),
            Self::Split(block, parts) => format!("{block}/{parts}"),
        }
    }

    /// The block, where it is one.
    pub fn block(self) -> Option<Block> {
        match self {
            Self::Block(block) | Self::Split(block, _) => Some(block),
            Self::Direct | Self::Winograd => None,
        }
    }

    /// The parts of the sum, where they do not follow from a rule.
    pub(crate) fn parts(self) -> Option<usize> {
        if let Self::Split(_, parts) = self { Some(parts.into()) } else { None }
    }
}

impl From<Block> for Algorithm {
    fn from(block: Block) -> Self {
        Self::Block(block)
    }
}

impl From<Algorithm> for String {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.name()
    }
}

impl TryFrom<String> for Algorithm {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "direct" => Ok(Self::Direct),
            "winograd" => Ok(Self::Winograd),
            name => match name.split_once('/') {
                None => name.parse().map(Self::Block),
                Some((block, parts)) => {
                    let parts = parts.parse().map_err(|_| format!("{parts} is not a number of parts"))?;
                    block.parse().map(|block| Self::Split(block, parts))
                }
            },
        }
    }
}

/// The algorithms of a convolution, of its gradient with respect to the input, and with respect to the weights.
pub type Algorithms = [Algorithm; 3];

/// Which of a convolution's operations, by its place in [`Algorithms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The forward pass.
    Forward,
    /// The gradient with respect to the input.
    BackwardInput,
    /// The gradient with respect to the weights.
    BackwardWeight,
}

impl Direction {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::BackwardInput, Self::BackwardWeight];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward pass",
            Self::BackwardInput => "input gradient",
            Self::BackwardWeight => "weight gradient",
        })
    }
}

/// Convolutions that share their algorithms; written `128x32x32x16x16`, in the order of its fields, and behind it `k1s2p0`
/// for kernel, stride and padding where these are not 3, 1 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ConvProblem {
    /// Images of the largest batch, rounded up to a power of two.
    images: usize,
    height: usize,
    width: usize,
    channels: usize,
    filters: usize,
    /// Kernel, stride and padding.
    window: [usize; 3],
}

/// The usual kernel, stride and padding, which are not written.
const USUAL: [usize; 3] = [3, 1, 1];

impl ConvProblem {
    /// The problem of `conv`, where the largest batch is of so many images.
    pub fn new(conv: &Conv2d, images: usize) -> Self {
        let Conv2d { input, output, kernel, stride, padding } = *conv;
        Self {
            images: images.next_power_of_two(),
            height: input.height,
            width: input.width,
            channels: input.channels,
            filters: output.channels,
            window: [kernel, stride, padding],
        }
    }
}

impl fmt::Display for ConvProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, height, width, channels, filters, window } = self;
        write!(f, "{images}x{height}x{width}x{channels}x{filters}")?;
        match window {
            &USUAL => Ok(()),
            [kernel, stride, padding] => write!(f, "k{kernel}s{stride}p{padding}"),
        }
    }
}

impl From<ConvProblem> for String {
    fn from(problem: ConvProblem) -> Self {
        problem.to_string()
    }
}

impl TryFrom<String> for ConvProblem {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numbers = |text: &str, marks: &[char]| -> Option<Vec<usize>> {
            text.split(marks).map(|size| size.parse().ok()).collect()
        };
        let (sizes, window) = match text.split_once('k') {
            Some((sizes, window)) => (sizes, numbers(window, &['s', 'p'])),
            None => (text.as_str(), Some(USUAL.to_vec())),
        };
        match (numbers(sizes, &['x']).as_deref(), window.as_deref()) {
            (Some(&[images, height, width, channels, filters]), Some(&[kernel, stride, padding])) => {
                Ok(Self { images, height, width, channels, filters, window: [kernel, stride, padding] })
            }
            _ => Err(format!("{text} is not IMAGESxHEIGHTxWIDTHxCHANNELSxFILTERS")),
        }
    }
}

/// Algorithms by problem.
pub type AlgorithmTable = BTreeMap<ConvProblem, Algorithms>;

/// The algorithms in force on a backend under [`Convolution::Auto`]; what is missing takes the shipped ones.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    images: usize,
    table: AlgorithmTable,
}

impl Selection {
    /// A selection for batches of at most this many images.
    pub fn new(images: usize, table: AlgorithmTable) -> Self {
        Self { images, table }
    }

    /// One algorithm for all operations of a convolution.
    pub fn of(conv: &Conv2d, images: usize, algorithm: Algorithm) -> Self {
        Self::new(images, AlgorithmTable::from([(ConvProblem::new(conv, images), [algorithm; 3])]))
    }

    /// The algorithms of a convolution.
    pub(crate) fn algorithms(&self, conv: &Conv2d) -> Option<Algorithms> {
        self.table.get(&ConvProblem::new(conv, self.images)).copied()
    }

    /// All of them.
    pub fn table(&self) -> &AlgorithmTable {
        &self.table
    }
}

/// What decides the algorithms of a machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// How convolutions are computed.
    pub convolution: Convolution,
    /// What is in force under [`Convolution::Auto`].
    pub selection: Selection,
    /// Blocks that the device cannot launch, or computes wrongly.
    pub refused: Vec<(Direction, Block)>,
}

/// `PAD` of convolution_block.cl.
const PAD: usize = 4;

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

/// Rows x columns of a result that a work-group computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Block {
    /// 128 x 128.
    B128x128,
    /// 128 x 64.
    B128x64,
    /// 64 x 64.
    B64x64,
    /// 128 x 32.
    B128x32,
    /// 64 x 32.
    B64x32,
    /// 128 x 16.
    B128x16,
    /// 64 x 16.
    B64x16,
    /// 64 x 32 of any number of channels and filters, at any address.
    Any,
}

/// What a block is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Rows and columns of the block.
    pub block: [usize; 2],
    /// Rows and columns of a work-item.
    pub item: [usize; 2],
    /// Terms of the sum in a slab.
    pub depth: usize,
    /// Whether matrix instructions multiply it.
    pub matrix: bool,
    /// What a product costs beside one of the largest block, by the share of other instructions in its inner loop and
    /// the readings of memory that its numbers share.
    pub cost: f64,
}

impl Sizes {
    /// Work-items.
    pub const fn items(&self) -> usize {
        let ([rows, columns], [item_rows, item_columns]) = (self.block, self.item);
        rows / item_rows * (columns / item_columns)
    }

    /// Bytes of local memory: two slabs of each matrix, with padded rows but for matrix instructions.
    pub const fn local_bytes(&self) -> usize {
        let ([rows, columns], padding) = (self.block, if self.matrix { 0 } else { PAD });
        2 * 4 * self.depth * (rows + padding + columns + padding)
    }
}

impl Block {
    /// Every block.
    pub const ALL: [Self; 8] = [
        Self::B128x128,
        Self::B128x64,
        Self::B64x64,
        Self::B128x32,
        Self::B64x32,
        Self::B128x16,
        Self::B64x16,
        Self::Any,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::B128x128 => "128x128",
            Self::B128x64 => "128x64",
            Self::B64x64 => "64x64",
            Self::B128x32 => "128x32",
            Self::B64x32 => "64x32",
            Self::B128x16 => "128x16",
            Self::B64x16 => "64x16",
            Self::Any => "any",
        }
    }

    /// What it is made of: the table of blocks, as convolution_block.cl builds them.
    pub(crate) const fn sizes(self, multiplier: Matrix) -> Sizes {
        let instructions = !matches!(multiplier, Matrix::Absent);
        let (block, item, depth, cost) = match self {
            Self::B128x128 if instructions => ([128, 128], [8, 8], 16, 0.3),
            Self::B128x64 if instructions => ([128, 64], [8, 8], 16, 0.33),
            Self::B64x64 if instructions => ([64, 64], [8, 8], 16, 0.4),
            Self::B128x32 if instructions => ([128, 32], [8, 8], 16, 0.45),
            Self::B128x128 => ([128, 128], [8, 8], 8, 1.0),
            Self::B128x64 => ([128, 64], [8, 4], 16, 1.1),
            Self::B64x64 => ([64, 64], [4, 4], 16, 1.25),
            Self::B128x32 => ([128, 32], [8, 4], 16, 1.3),
            Self::B64x32 => ([64, 32], [4, 4], 16, 1.45),
            Self::B128x16 => ([128, 16], [4, 4], 16, 1.6),
            Self::B64x16 => ([64, 16], [4, 4], 16, 1.7),
            Self::Any => ([64, 32], [4, 4], 16, 1.5),
        };
        let matrix = instructions && matches!(self, Self::B128x128 | Self::B128x64 | Self::B64x64 | Self::B128x32);
        Sizes { block, item, depth, matrix, cost }
    }

    /// Whether it takes a convolution of these channels and filters, in memory that lies at `whole` quads.
    pub(crate) fn takes(self, conv: &Conv2d, whole: bool) -> bool {
        let (channels, filters) = (conv.input.channels, conv.output.channels);
        self == Self::Any || (whole && channels.is_multiple_of(4) && filters.is_multiple_of(4))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|block| block.name() == text);
        found.ok_or_else(|| format!("{text} is not a block of a convolution"))
    }
}

#[cfg(test)]
mod tests {
    use sse_sam_core::Shape;

    use super::*;

    fn conv(side: usize, channels: usize) -> Conv2d {
        Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1).unwrap()
    }

    #[test]
    fn batches_of_the_same_order_share_a_case() {
        let conv = conv(32, 16);
        assert_eq!(ConvProblem::new(&conv, 100), ConvProblem::new(&conv, 128));
        assert_ne!(ConvProblem::new(&conv, 128), ConvProblem::new(&conv, 129));
        assert_eq!(ConvProblem::new(&conv, 100).to_string(), "128x32x32x16x16");
    }

    #[test]
    fn a_case_survives_the_way_through_its_text() {
        let halving = Conv2d::new(Shape::new(7, 9, 48), 96, 1, 2, 0).unwrap();
        for problem in [ConvProblem::new(&conv(7, 48), 3), ConvProblem::new(&halving, 3)] {
            assert_eq!(ConvProblem::try_from(problem.to_string()), Ok(problem));
        }
        assert_eq!(ConvProblem::new(&halving, 3).to_string(), "4x7x9x48x96k1s2p0");
        for text in ["", "1x2x3x4", "1x2x3x4x5x6", "1x2x3x4x-5", "1x2x3x4xfive", "1x2x3x4x5k1s2", "1x2x3x4x5k1s2p0s1"] {
            assert!(ConvProblem::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_form_survives_the_way_through_its_text() {
        let split = Algorithm::Split(Block::B128x64, 12);
        assert_eq!(split.name(), "128x64/12");
        for algorithm in
            [Algorithm::Direct, Algorithm::Winograd, split].into_iter().chain(Block::ALL.map(Algorithm::Block))
        {
            assert_eq!(Algorithm::try_from(String::from(algorithm)), Ok(algorithm));
        }
        for text in ["96x96", "128x64/", "128x64/many", "direct/2", "128x64/65536"] {
            assert!(Algorithm::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
