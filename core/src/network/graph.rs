//! Networks as lists of layers, each reading from earlier ones.

use core::fmt;

use heapless::Vec;

use crate::error::Error;
use crate::shape::{Conv2d, Shape};

/// The output of a layer, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(u16);

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

/// A network of at most `N` layers.
///
/// A layer reads only layers that stand before it. The last layer's output is the logits.
#[derive(Clone, Debug, Default)]
pub struct Graph<const N: usize> {
    layers: Vec<Layer, N>,
}

impl<const N: usize> Graph<N> {
    /// A network without layers.
    pub const fn new() -> Self {
        Self { layers: Vec::new() }
    }

    /// All layers in order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// One image of a node's output.
    ///
    /// # Errors
    /// [`Error::Length`] when the node belongs to another, longer graph.
    pub fn shape(&self, node: Node) -> Result<Shape, Error> {
        Ok(self.layer(node)?.output)
    }

    /// The layer a node is the output of.
    ///
    /// # Errors
    /// As [`Graph::shape`].
    pub fn layer(&self, node: Node) -> Result<&Layer, Error> {
        let error = Error::Length { what: "the graph", expected: node.index() + 1, found: self.layers.len() };
        self.layers.get(node.index()).ok_or(error)
    }

    /// The node that holds the images; the first layer of every network.
    ///
    /// # Errors
    /// [`Error::Image`] when a side is zero, [`Error::Capacity`] when the graph is full or has layers already.
    pub fn input(&mut self, image: Shape) -> Result<Node, Error> {
        if image.is_empty() {
            return Err(Error::Image { what: "a network", found: (image.height, image.width, image.channels) });
        }
        if !self.layers.is_empty() {
            return Err(Error::Capacity { what: "inputs of a graph", capacity: 1 });
        }
        self.push(Layer {
            name: Name::Anonymous,
            op: Op::Input,
            input: Node(0),
            output: image,
            initializer: Initializer::Uniform,
        })
    }

    /// A fully connected layer with bias, over all values of `x`.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the graph is full, [`Error::Length`] when `outputs` is zero.
    pub fn linear(&mut self, name: Name, x: Node, outputs: usize, initializer: Initializer) -> Result<Node, Error> {
        self.shape(x)?;
        if outputs == 0 {
            return Err(Error::Length { what: "the outputs of a linear layer", expected: 1, found: 0 });
        }
        self.push(Layer { name, op: Op::Linear, input: x, output: Shape::new(1, 1, outputs), initializer })
    }

    /// A convolution without bias.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the graph is full, else as [`Conv2d::new`].
    pub fn conv2d(
        &mut self,
        name: Name,
        x: Node,
        filters: usize,
        (kernel, stride, padding): (usize, usize, usize),
        initializer: Initializer,
    ) -> Result<Node, Error> {
        let conv = Conv2d::new(self.shape(x)?, filters, kernel, stride, padding)?;
        self.push(Layer { name, op: Op::Conv2d(conv), input: x, output: conv.output, initializer })
    }

    /// Batch normalisation of `x`, plus `residual` if there is one, then ReLU if asked for.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the graph is full, [`Error::Length`] when the residual has another shape.
    pub fn batch_norm(&mut self, name: Name, x: Node, residual: Option<Node>, relu: bool) -> Result<Node, Error> {
        let output = self.shape(x)?;
        if let Some(residual) = residual {
            let found = self.shape(residual)?;
            if found != output {
                return Err(Error::Length { what: "a residual", expected: output.len(), found: found.len() });
            }
        }
        let op = Op::BatchNorm { residual, relu };
        self.push(Layer { name, op, input: x, output, initializer: Initializer::Uniform })
    }

    /// ReLU.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the graph is full.
    pub fn relu(&mut self, x: Node) -> Result<Node, Error> {
        let output = self.shape(x)?;
        self.anonymous(Op::Relu, x, output)
    }

    /// The parameter-free shortcut to half the sides (rounded up) and `channels`.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the graph is full, [`Error::Image`] when `x` has more channels than that.
    pub fn shortcut(&mut self, x: Node, channels: usize) -> Result<Node, Error> {
        let input = self.shape(x)?;
        if channels < input.channels {
            return Err(Error::Image { what: "a shortcut", found: (input.height, input.width, input.channels) });
        }
        let output = Shape::new(input.height.div_ceil(2), input.width.div_ceil(2), channels);
        self.anonymous(Op::Shortcut, x, output)
    }

    /// The mean of each channel over all pixels.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the graph is full.
    pub fn global_average_pool(&mut self, x: Node) -> Result<Node, Error> {
        let output = Shape::new(1, 1, self.shape(x)?.channels);
        self.anonymous(Op::GlobalAveragePool, x, output)
    }

    fn anonymous(&mut self, op: Op, input: Node, output: Shape) -> Result<Node, Error> {
        self.push(Layer { name: Name::Anonymous, op, input, output, initializer: Initializer::Uniform })
    }

    fn push(&mut self, layer: Layer) -> Result<Node, Error> {
        let full = Error::Capacity { what: "layers of a graph", capacity: N };
        let node = Node(u16::try_from(self.layers.len()).map_err(|_| full)?);
        self.layers.push(layer).map_err(|_| full)?;
        Ok(node)
    }

    /// Number of the layer with which the last `count` layers with parameters begin: what [`Plan::fine_tuning`] takes to
    /// train them alone. 0, which trains everything, when there are no more than that.
    ///
    /// [`Plan::fine_tuning`]: crate::Plan::fine_tuning
    pub fn last_layers(&self, count: usize) -> usize {
        let weighted = |layer: &Layer| matches!(layer.op, Op::Linear | Op::Conv2d(_) | Op::BatchNorm { .. });
        let mut layers = self.layers.iter().enumerate().rev().filter(|(_, layer)| weighted(layer));
        match count.checked_sub(1) {
            None => self.layers.len(),
            Some(before) => layers.by_ref().nth(before).filter(|_| layers.next().is_some()).map_or(0, |(at, _)| at),
        }
    }

    /// Lengths of a layer's weight and bias, 0 where it has none.
    ///
    /// # Errors
    /// As [`Graph::shape`].
    pub fn parameters(&self, layer: &Layer) -> Result<(usize, usize), Error> {
        let channels = layer.output.channels;
        Ok(match layer.op {
            Op::Linear => (self.shape(layer.input)?.len().saturating_mul(channels), channels),
            Op::Conv2d(conv) => (conv.weights(), 0),
            Op::BatchNorm { .. } => (channels, channels),
            Op::Input | Op::Relu | Op::Shortcut | Op::GlobalAveragePool => (0, 0),
        })
    }
}
