//! Layers: what each kind of them reads, has and computes.

use core::fmt;

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::memory::Span;
use crate::ops::{
    Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward, GlobalAveragePoolBackward, GlobalAveragePoolForward,
    LinearBackwardInput, LinearBackwardWeight, LinearForward, MaxPoolBackward, MaxPoolForward, Pool2d, ReluBackward,
    ReluForward, ShortcutBackward, ShortcutForward,
};
use crate::shape::{Conv2d, Shape};

/// The output of a layer, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(pub(super) u16);

impl Node {
    /// The layer's number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A layer's name in PyTorch's models: a template with a stage and an index, written out when printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A layer without parameters.
    Anonymous,
    /// `conv1`.
    Stem,
    /// `bn1`.
    StemNorm,
    /// `layer{stage}.{index}.{part}`.
    Block(u8, u8, Part),
    /// `fc{number}`.
    Linear(u8),
    /// `fc`.
    Classifier,
}

/// A layer inside a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `conv1`.
    Conv1,
    /// `bn1`.
    Bn1,
    /// `conv2`.
    Conv2,
    /// `bn2`.
    Bn2,
    /// `conv3`.
    Conv3,
    /// `bn3`.
    Bn3,
    /// `downsample.0`.
    DownsampleConv,
    /// `downsample.1`.
    DownsampleNorm,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Anonymous => f.write_str("-"),
            Self::Stem => f.write_str("conv1"),
            Self::StemNorm => f.write_str("bn1"),
            Self::Block(stage, index, part) => write!(f, "layer{stage}.{index}.{part}"),
            Self::Linear(number) => write!(f, "fc{number}"),
            Self::Classifier => f.write_str("fc"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conv1 => "conv1",
            Self::Bn1 => "bn1",
            Self::Conv2 => "conv2",
            Self::Bn2 => "bn2",
            Self::Conv3 => "conv3",
            Self::Bn3 => "bn3",
            Self::DownsampleConv => "downsample.0",
            Self::DownsampleNorm => "downsample.1",
        })
    }
}

/// How a layer's weights are drawn. Biases of linear layers are uniform in `+-1/sqrt(fan_in)`; batch norm starts at
/// weight 1 and bias 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initializer {
    /// Uniform in `+-1/sqrt(fan_in)`: PyTorch's default (Kaiming-uniform with a = sqrt 5).
    Uniform,
    /// Normal with standard deviation `sqrt(2 / fan_in)`.
    KaimingFanIn,
    /// Normal with standard deviation `sqrt(2 / fan_out)`.
    KaimingFanOut,
}

/// What a layer computes from its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The batch's images.
    Input,
    /// A fully connected layer over all values of its input.
    Linear,
    /// A convolution.
    Conv2d(Conv2d),
    /// Batch normalisation, then the residual added, then ReLU.
    BatchNorm {
        /// What is added after the normalisation.
        residual: Option<Node>,
        /// Whether negative values become 0.
        relu: bool,
    },
    /// Negative values become 0.
    Relu,
    /// Every second row and column, channels padded with zeros.
    Shortcut,
    /// The mean over all pixels.
    GlobalAveragePool,
    /// The largest pixel of each window.
    MaxPool(Pool2d),
}

impl Op {
    /// One image of the output from one of the input, of a kind that says it alone.
    pub(super) fn output(&self, input: Shape) -> Option<Shape> {
        match *self {
            Self::Relu => Some(input),
            Self::GlobalAveragePool => Some(Shape::new(1, 1, input.channels)),
            Self::MaxPool(pool) => (pool.input == input).then_some(pool.output),
            _ => None,
        }
    }
}

/// A set of kinds of layers: a program links of a [`Network`](crate::Network) what its set names, and nothing else.
pub trait Layers: 'static {
    /// Convolution, batch norm, shortcut, global average pooling, and normal initial values.
    const RESIDUAL: bool;
    /// Max-pooling.
    const MAX_POOL: bool;
    /// A loss with a focal exponent.
    const FOCAL: bool;
    /// Gradients after a pass by the running statistics of batch norm.
    const FIXED_STATISTICS: bool;

    /// Whether `layer` is of the set.
    fn has(layer: &Layer) -> bool {
        match layer.op {
            Op::Input | Op::Linear | Op::Relu => Self::RESIDUAL || layer.initializer == Initializer::Uniform,
            Op::MaxPool(_) => Self::MAX_POOL,
            _ => Self::RESIDUAL,
        }
    }
}

/// Every kind of layer and loss.
#[derive(Clone, Copy, Debug)]
pub struct All;

impl Layers for All {
    const RESIDUAL: bool = true;
    const MAX_POOL: bool = true;
    const FOCAL: bool = true;
    const FIXED_STATISTICS: bool = true;
}

/// Residual networks for small images: all but max-pooling and gradients by running statistics.
#[derive(Clone, Copy, Debug)]
pub struct Residual;

impl Layers for Residual {
    const RESIDUAL: bool = true;
    const MAX_POOL: bool = false;
    const FOCAL: bool = true;
    const FIXED_STATISTICS: bool = false;
}

/// Perceptrons: linear layers with uniform initial values, ReLU, losses without a focal exponent.
#[derive(Clone, Copy, Debug)]
pub struct Perceptron;

impl Layers for Perceptron {
    const RESIDUAL: bool = false;
    const MAX_POOL: bool = false;
    const FOCAL: bool = false;
    const FIXED_STATISTICS: bool = false;
}

/// One layer of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: Name,
    /// What it computes.
    pub op: Op,
    /// What it reads; itself for the input.
    pub input: Node,
    /// One image of its output.
    pub output: Shape,
    /// How its weights are drawn.
    pub initializer: Initializer,
}

/// A tensor that belongs to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tensor {
    /// `weight`, a parameter.
    Weight,
    /// `bias`, a parameter.
    Bias,
    /// `running_mean`, which training moves by itself.
    RunningMean,
    /// `running_var`, likewise.
    RunningVar,
}

impl Tensor {
    /// Its name in PyTorch, behind the layer's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::RunningMean => "running_mean",
            Self::RunningVar => "running_var",
        }
    }
}

impl Layer {
    /// Its tensors, in PyTorch's order; none for a layer that only computes.
    pub const fn tensors(&self) -> &'static [Tensor] {
        match self.op {
            Op::Linear => &[Tensor::Weight, Tensor::Bias],
            Op::Conv2d(_) => &[Tensor::Weight],
            Op::BatchNorm { .. } => &[Tensor::Weight, Tensor::Bias, Tensor::RunningMean, Tensor::RunningVar],
            _ => &[],
        }
    }

    /// Lengths of its weight and bias, 0 where it has none; `input` is one image of what it reads.
    pub const fn parameters(&self, input: Shape) -> (usize, usize) {
        let channels = self.output.channels;
        match self.op {
            Op::Linear => (input.len().saturating_mul(channels), channels),
            Op::Conv2d(conv) => (conv.weights(), 0),
            Op::BatchNorm { .. } => (channels, channels),
            _ => (0, 0),
        }
    }

    /// Multiply-adds of its inner products for one sample, products with padding among them; 0 where there are none.
    pub const fn products(&self, input: Shape) -> u64 {
        match self.op {
            Op::Linear => (input.len() as u64).saturating_mul(self.output.channels as u64),
            Op::Conv2d(conv) => {
                let pixels = (conv.output.height as u64).saturating_mul(conv.output.width as u64);
                pixels.saturating_mul(conv.weights() as u64)
            }
            _ => 0,
        }
    }

    /// What is added to its output before ReLU, besides what it reads.
    pub const fn residual(&self) -> Option<Node> {
        if let Op::BatchNorm { residual, .. } = self.op { residual } else { None }
    }

    /// Whether it reads the output of the layer numbered `index`.
    pub fn reads(&self, index: usize) -> bool {
        let residual = self.residual().is_some_and(|node| node.index() == index);
        residual || (!matches!(self.op, Op::Input) && self.input.index() == index)
    }

    /// Whether it normalises by statistics, which it keeps.
    pub const fn normalises(&self) -> bool {
        matches!(self.op, Op::BatchNorm { .. })
    }
}

/// What a layer works with in a forward pass.
pub(crate) struct Forward {
    /// Its output.
    pub y: Span,
    /// What it reads.
    pub x: Span,
    /// Its weight.
    pub weight: Span,
    /// Its bias.
    pub bias: Span,
    /// One image of what it reads.
    pub input: Shape,
}

impl Layer {
    /// Its output. Batch norm is not among these: its statistics are the executor's. Neither is a kind that the set `L`
    /// leaves out.
    #[inline(always)]
    pub(crate) fn forward<B: Backend, L: Layers>(
        &self,
        backend: &mut B,
        &Forward { y, x, weight, bias, input }: &Forward,
    ) -> Result<(), B::Error> {
        match self.op {
            Op::Input => Ok(()),
            Op::Linear => backend.run(&LinearForward { y, x, weight, bias }),
            Op::Relu => backend.run(&ReluForward { y, x }),
            _ if !L::RESIDUAL => Err(Error::Graph.into()),
            Op::Conv2d(conv) => backend.run(&Conv2dForward { y, x, weight, conv: &conv }),
            Op::Shortcut => backend.run(&ShortcutForward { y, x, input, output: self.output }),
            Op::GlobalAveragePool => backend.run(&GlobalAveragePoolForward { y, x, input }),
            Op::MaxPool(pool) if L::MAX_POOL => backend.run(&MaxPoolForward { y, x, pool: &pool }),
            Op::MaxPool(_) | Op::BatchNorm { .. } => Err(Error::Graph.into()),
        }
    }

    /// Adds the gradients of its weight and bias, where it has any.
    #[inline(always)]
    pub(crate) fn backward_weight<B: Backend, L: Layers>(
        &self,
        backend: &mut B,
        (dweight, dbias): (&[Span], &[Span]),
        x: Span,
        dy: &[Span],
    ) -> Result<(), B::Error> {
        match self.op {
            Op::Linear => backend.run(&LinearBackwardWeight { dweight, dbias, x, dy }),
            Op::Conv2d(conv) if L::RESIDUAL => backend.run(&Conv2dBackwardWeight { dweight, x, dy, conv: &conv }),
            _ => Ok(()),
        }
    }

    /// The gradients of what it reads.
    #[inline(always)]
    pub(crate) fn backward_input<B: Backend, L: Layers>(
        &self,
        backend: &mut B,
        (dx, accumulate): (&[Span], bool),
        &Forward { y, x, weight, input, .. }: &Forward,
        dy: &[Span],
    ) -> Result<(), B::Error> {
        let outputs = self.output.channels;
        match self.op {
            Op::Linear => backend.run(&LinearBackwardInput { dx, dy, weight, outputs, accumulate }),
            Op::Relu => backend.run(&ReluBackward { dx, dy, y, accumulate }),
            _ if !L::RESIDUAL => Ok(()),
            Op::Conv2d(conv) => backend.run(&Conv2dBackwardInput { dx, dy, weight, conv: &conv, accumulate }),
            Op::Shortcut => backend.run(&ShortcutBackward { dx, dy, input, output: self.output, accumulate }),
            Op::GlobalAveragePool => backend.run(&GlobalAveragePoolBackward { dx, dy, input, accumulate }),
            Op::MaxPool(pool) if L::MAX_POOL => backend.run(&MaxPoolBackward { dx, dy, x, pool: &pool, accumulate }),
            Op::Input | Op::MaxPool(_) | Op::BatchNorm { .. } => Ok(()),
        }
    }
}
