//! Networks as lists of layers, each reading from earlier ones.

use heapless::Vec;

use crate::error::Error;
use crate::network::layer::{Initializer, Layer, Name, Node, Op};
use crate::shape::{Conv2d, Shape};

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

    /// A layer without parameters, whose output the kind alone says: ReLU, pooling.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the graph is full, [`Error::Graph`] for another kind, or pooling of other images.
    pub fn apply(&mut self, op: Op, x: Node) -> Result<Node, Error> {
        let output = op.output(self.shape(x)?).ok_or(Error::Graph)?;
        self.anonymous(op, x, output)
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
        let mut layers = self.layers.iter().enumerate().rev().filter(|(_, layer)| !layer.tensors().is_empty());
        match count.checked_sub(1) {
            None => self.layers.len(),
            Some(before) => layers.by_ref().nth(before).filter(|_| layers.next().is_some()).map_or(0, |(at, _)| at),
        }
    }
}
