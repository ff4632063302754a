//! The networks, each one function that fills a graph.

use core::fmt;
use core::str::FromStr;

use heapless::Vec;

use crate::error::Error;
use crate::network::graph::Graph;
use crate::network::layer::{Initializer, Name, Node, Op, Part};
use crate::ops::Pool2d;
use crate::shape::Shape;

/// Layers of the largest network here; a graph for one particular network may be smaller.
pub const MAX_LAYERS: usize = 224;

/// Most layers of neurons in a multi-layer perceptron, input and output included.
const MAX_WIDTHS: usize = 12;

/// A network by name.
///
/// | name                             | network                                                                       |
/// |----------------------------------|-------------------------------------------------------------------------------|
/// | `mlp:IN-HIDDEN-...-OUT`          | linear layers `fc1`, `fc2`, ... with ReLU between                             |
/// | `resnet8`, `20`, `32`, `44`, `56` | three stages of 16, 32 and 64 channels, parameter-free shortcuts              |
/// | `resnet10`, `18`, `34`           | four stages of 64 to 512 channels, 1x1-convolution shortcuts, no max-pool     |
/// | `resnet50`, `101`                | four stages of bottleneck blocks with 256 to 2048 channels, shortcuts likewise |
/// | `resnet10-imagenet`, `18`, ..    | these with a 7x7 stem of stride 2 and a max-pool, as for images of 224        |
/// | `NAME:WIDTH`                     | the same residual network with `WIDTH` channels in its first stage            |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// Sizes of the layers from the input to the output.
    Mlp(Vec<u32, MAX_WIDTHS>),
    /// Residual network with `6 * depth + 2` weighted layers.
    Cifar {
        /// Blocks a stage.
        depth: u8,
        /// Channels of the first stage.
        width: u32,
    },
    /// Residual network with four stages and projection shortcuts.
    Projected {
        /// Blocks in each stage.
        blocks: [u8; 4],
        /// Channels of the first stage.
        width: u32,
        /// What comes before the stages.
        stem: Stem,
    },
    /// Residual network with four stages of bottleneck blocks and projection shortcuts.
    Bottleneck {
        /// Blocks in each stage.
        blocks: [u8; 4],
        /// Channels of the stem; a stage's blocks have four times the channels inside them.
        width: u32,
        /// What comes before the stages.
        stem: Stem,
    },
}

/// What comes before the stages of a residual network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// A 3x3 convolution, for small images.
    Small,
    /// A 7x7 convolution of stride 2 and a 3x3 max-pool of stride 2, as torchvision's networks for ImageNet have it.
    ImageNet,
}

/// Stands behind the name of a network with the stem for ImageNet.
const IMAGENET: &str = "-imagenet";

const PROJECTED: [(&str, [u8; 4]); 3] =
    [("resnet10", [1, 1, 1, 1]), ("resnet18", [2, 2, 2, 2]), ("resnet34", [3, 4, 6, 3])];
const BOTTLENECK: [(&str, [u8; 4]); 2] = [("resnet50", [3, 4, 6, 3]), ("resnet101", [3, 4, 23, 3])];
const CIFAR: [(&str, u8); 5] = [("resnet8", 1), ("resnet20", 3), ("resnet32", 5), ("resnet44", 7), ("resnet56", 9)];

impl FromStr for Model {
    type Err = Error;

    // Closures as patterns: searching for a `char` has a panic path.
    #[allow(clippy::manual_pattern_char_comparison)]
    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, size) =
            text.split_once(|letter| letter == ':').map_or((text, None), |(name, size)| (name, Some(size)));
        if name == "mlp" {
            let mut widths = Vec::new();
            for width in size.ok_or(Error::Model)?.split(|letter| letter == '-') {
                widths.push(number(width)?).map_err(|_| Error::Capacity { what: "widths", capacity: MAX_WIDTHS })?;
            }
            return if widths.len() > 1 { Ok(Self::Mlp(widths)) } else { Err(Error::Model) };
        }
        let width = size.map(number).transpose()?;
        if let Some(&(_, depth)) = CIFAR.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Cifar { depth, width: width.unwrap_or(16) });
        }
        let (name, stem) = name.strip_suffix(IMAGENET).map_or((name, Stem::Small), |name| (name, Stem::ImageNet));
        let width = width.unwrap_or(64);
        if let Some(&(_, blocks)) = BOTTLENECK.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Bottleneck { blocks, width, stem });
        }
        let (_, blocks) = *PROJECTED.iter().find(|(known, _)| *known == name).ok_or(Error::Model)?;
        Ok(Self::Projected { blocks, width, stem })
    }
}

fn number(text: &str) -> Result<u32, Error> {
    text.parse().ok().filter(|&number| number > 0 && number < 1 << 24).ok_or(Error::Model)
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, width, usual) = match self {
            Self::Mlp(widths) => {
                f.write_str("mlp")?;
                for (index, width) in widths.iter().enumerate() {
                    write!(f, "{}{width}", if index == 0 { ':' } else { '-' })?;
                }
                return Ok(());
            }
            Self::Cifar { depth, width } => (CIFAR.iter().find(|known| known.1 == *depth).map(|k| k.0), *width, 16),
            Self::Projected { blocks, width, .. } => {
                (PROJECTED.iter().find(|known| known.1 == *blocks).map(|k| k.0), *width, 64)
            }
            Self::Bottleneck { blocks, width, .. } => {
                (BOTTLENECK.iter().find(|known| known.1 == *blocks).map(|k| k.0), *width, 64)
            }
        };
        f.write_str(name.unwrap_or("resnet"))?;
        if self.stem() == Some(Stem::ImageNet) {
            f.write_str(IMAGENET)?;
        }
        if width == usual { Ok(()) } else { write!(f, ":{width}") }
    }
}

impl Model {
    /// What comes before the stages, of a network that may have either.
    pub const fn stem(&self) -> Option<Stem> {
        match self {
            Self::Projected { stem, .. } | Self::Bottleneck { stem, .. } => Some(*stem),
            Self::Mlp(_) | Self::Cifar { .. } => None,
        }
    }

    /// The same with this stem, where the network may have either.
    #[must_use]
    pub fn with_stem(mut self, new: Stem) -> Self {
        if let Self::Projected { stem, .. } | Self::Bottleneck { stem, .. } = &mut self {
            *stem = new;
        }
        self
    }

    /// Fills `graph` with the network for images of shape `image` and `classes` classes; returns the logits.
    ///
    /// # Errors
    /// [`Error::Length`] when a perceptron's first or last size does not fit the images or classes,
    /// [`Error::Capacity`] when the graph is too small, [`Error::Image`] when an image is empty.
    pub fn build<const N: usize>(&self, graph: &mut Graph<N>, image: Shape, classes: usize) -> Result<Node, Error> {
        match self {
            Self::Mlp(widths) => mlp(graph, image, classes, widths),
            Self::Cifar { depth, width } => cifar_resnet(graph, *depth, *width as usize, image, classes),
            Self::Projected { blocks, width, stem } => {
                projected_resnet(graph, blocks, *width as usize, *stem, image, classes)
            }
            Self::Bottleneck { blocks, width, stem } => {
                bottleneck_resnet(graph, blocks, *width as usize, *stem, image, classes)
            }
        }
    }
}

/// Linear layers with ReLU between; the image is flattened.
// `inline(never)`: its stack is free again in training.
#[inline(never)]
pub fn mlp<const N: usize>(graph: &mut Graph<N>, image: Shape, classes: usize, widths: &[u32]) -> Result<Node, Error> {
    let (Some((&inputs, rest)), Some(&outputs)) = (widths.split_first(), widths.last()) else {
        return Err(Error::Model);
    };
    let expect =
        |what, expected, found| if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) };
    expect("the model's input", image.len(), inputs as usize)?;
    expect("the model's output", classes, outputs as usize)?;
    let mut x = graph.input(image)?;
    for (number, &width) in (1..).zip(rest) {
        x = graph.linear(Name::Linear(number), x, width as usize, Initializer::Uniform)?;
        if usize::from(number) < rest.len() {
            x = graph.apply(Op::Relu, x)?;
        }
    }
    Ok(x)
}

/// ResNet for small images with `6 * depth + 2` weighted layers (He et al. 2016, section 4.2).
pub fn cifar_resnet<const N: usize>(
    graph: &mut Graph<N>,
    depth: u8,
    width: usize,
    image: Shape,
    classes: usize,
) -> Result<Node, Error> {
    let initializer = Initializer::KaimingFanIn;
    let image = graph.input(image)?;
    let stem = graph.conv2d(Name::Stem, image, width, (3, 1, 1), initializer)?;
    let mut x = graph.batch_norm(Name::StemNorm, stem, None, true)?;
    for (stage, width) in [(1, width), (2, 2 * width), (3, 4 * width)] {
        for index in 0..depth {
            let halves = stage > 1 && index == 0;
            let shortcut = if halves { graph.shortcut(x, width)? } else { x };
            let stride = if halves { 2 } else { 1 };
            x = basic_block(graph, (stage, index), x, shortcut, width, stride, initializer)?;
        }
    }
    let pooled = graph.apply(Op::GlobalAveragePool, x)?;
    graph.linear(Name::Classifier, pooled, classes, initializer)
}

/// ResNet with four stages and projection shortcuts (He et al. 2016, section 4.1); with the small stem as SSE-SAM's
/// authors use it on small images.
pub fn projected_resnet<const N: usize>(
    graph: &mut Graph<N>,
    blocks: &[u8; 4],
    width: usize,
    stem: Stem,
    image: Shape,
    classes: usize,
) -> Result<Node, Error> {
    let initializer = Initializer::KaimingFanOut;
    let mut x = stem_of(graph, stem, width, image)?;
    for ((stage, factor), &depth) in [(1, 1), (2, 2), (3, 4), (4, 8)].into_iter().zip(blocks) {
        for index in 0..depth {
            let projects = stage > 1 && index == 0;
            let stride = if projects { 2 } else { 1 };
            let width = width * factor;
            let shortcut = if projects { projection(graph, (stage, index), x, width, stride)? } else { x };
            x = basic_block(graph, (stage, index), x, shortcut, width, stride, initializer)?;
        }
    }
    let pooled = graph.apply(Op::GlobalAveragePool, x)?;
    graph.linear(Name::Classifier, pooled, classes, Initializer::Uniform)
}

/// ResNet with four stages of bottleneck blocks and projection shortcuts (He et al. 2016, section 4.1), the stride in the
/// 3x3 convolution as torchvision has it.
pub fn bottleneck_resnet<const N: usize>(
    graph: &mut Graph<N>,
    blocks: &[u8; 4],
    width: usize,
    stem: Stem,
    image: Shape,
    classes: usize,
) -> Result<Node, Error> {
    let mut x = stem_of(graph, stem, width, image)?;
    for ((stage, factor), &depth) in [(1, 1), (2, 2), (3, 4), (4, 8)].into_iter().zip(blocks) {
        let width = width.saturating_mul(factor);
        for index in 0..depth {
            let stride = if stage > 1 && index == 0 { 2 } else { 1 };
            // The first block has other channels than what it reads, also where it keeps the sides.
            let outputs = width.saturating_mul(EXPANSION);
            let shortcut = if index == 0 { projection(graph, (stage, index), x, outputs, stride)? } else { x };
            x = bottleneck(graph, (stage, index), x, shortcut, width, stride)?;
        }
    }
    let pooled = graph.apply(Op::GlobalAveragePool, x)?;
    graph.linear(Name::Classifier, pooled, classes, Initializer::Uniform)
}

/// Channels of a bottleneck's output over those inside it.
const EXPANSION: usize = 4;

/// What comes before the stages: convolution, batch norm with ReLU, and for large images a max-pool.
fn stem_of<const N: usize>(graph: &mut Graph<N>, stem: Stem, width: usize, image: Shape) -> Result<Node, Error> {
    let image = graph.input(image)?;
    let (size, drawn) = match stem {
        Stem::Small => ((3, 1, 1), Initializer::Uniform),
        Stem::ImageNet => ((7, 2, 3), Initializer::KaimingFanOut),
    };
    let conv = graph.conv2d(Name::Stem, image, width, size, drawn)?;
    let x = graph.batch_norm(Name::StemNorm, conv, None, true)?;
    match stem {
        Stem::Small => Ok(x),
        Stem::ImageNet => graph.apply(Op::MaxPool(Pool2d::new(graph.shape(x)?, 3, 2, 1)?), x),
    }
}

/// The shortcut that changes shape: `norm(conv(x))` with a 1x1 convolution.
fn projection<const N: usize>(
    graph: &mut Graph<N>,
    (stage, index): (u8, u8),
    x: Node,
    width: usize,
    stride: usize,
) -> Result<Node, Error> {
    let name = |part| Name::Block(stage, index, part);
    let conv = graph.conv2d(name(Part::DownsampleConv), x, width, (1, stride, 0), Initializer::KaimingFanOut)?;
    graph.batch_norm(name(Part::DownsampleNorm), conv, None, false)
}

/// `relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut)`: 1x1 to `width` channels, 3x3 with the stride, 1x1
/// to four times the channels.
fn bottleneck<const N: usize>(
    graph: &mut Graph<N>,
    (stage, index): (u8, u8),
    x: Node,
    shortcut: Node,
    width: usize,
    stride: usize,
) -> Result<Node, Error> {
    let (name, initializer) = (|part| Name::Block(stage, index, part), Initializer::KaimingFanOut);
    let y = graph.conv2d(name(Part::Conv1), x, width, (1, 1, 0), initializer)?;
    let y = graph.batch_norm(name(Part::Bn1), y, None, true)?;
    let y = graph.conv2d(name(Part::Conv2), y, width, (3, stride, 1), initializer)?;
    let y = graph.batch_norm(name(Part::Bn2), y, None, true)?;
    let y = graph.conv2d(name(Part::Conv3), y, width.saturating_mul(EXPANSION), (1, 1, 0), initializer)?;
    graph.batch_norm(name(Part::Bn3), y, Some(shortcut), true)
}

/// `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut)`.
fn basic_block<const N: usize>(
    graph: &mut Graph<N>,
    (stage, index): (u8, u8),
    x: Node,
    shortcut: Node,
    width: usize,
    stride: usize,
    initializer: Initializer,
) -> Result<Node, Error> {
    let name = |part| Name::Block(stage, index, part);
    let y = graph.conv2d(name(Part::Conv1), x, width, (3, stride, 1), initializer)?;
    let y = graph.batch_norm(name(Part::Bn1), y, None, true)?;
    let y = graph.conv2d(name(Part::Conv2), y, width, (3, 1, 1), initializer)?;
    graph.batch_norm(name(Part::Bn2), y, Some(shortcut), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quantity;
    use crate::memory::Arena;
    use crate::network::plan::Plan;

    fn trainable(name: &str, image: Shape, classes: usize) -> usize {
        let mut graph = Graph::<MAX_LAYERS>::new();
        name.parse::<Model>().unwrap().build(&mut graph, image, classes).unwrap();
        Plan::new(&graph, 2, 2, &mut Arena::new(1)).unwrap().trainable()
    }

    #[test]
    fn models_have_the_published_parameter_counts() {
        let image = Shape::new(32, 32, 3);
        assert_eq!(trainable("resnet32", image, 100), 470_004);
        assert_eq!(trainable("resnet34", image, 100), 21_328_292);
        assert_eq!(trainable("resnet18-imagenet", Shape::new(224, 224, 3), 1000), 11_689_512);
        // torchvision's counts.
        assert_eq!(trainable("resnet50-imagenet", Shape::new(224, 224, 3), 1000), 25_557_032);
        assert_eq!(trainable("resnet101-imagenet", Shape::new(224, 224, 3), 1000), 44_549_160);
        assert_eq!(trainable("mlp:64-32-10", Shape::new(8, 8, 1), 10), 2410);
    }

    #[test]
    fn a_network_is_trained_for_no_more_classes_than_rows_can_name() {
        let plan = |classes| {
            let mut graph = Graph::<MAX_LAYERS>::new();
            Model::Cifar { depth: 1, width: 1 }.build(&mut graph, Shape::new(1, 1, 1), classes).unwrap();
            Plan::new(&graph, 1, 1, &mut Arena::new(1)).map(|_| ())
        };
        assert_eq!(plan(32_767), Ok(()));
        let refused = plan(32_768).unwrap_err();
        assert!(matches!(refused, Error::Range { what: Quantity::Classes, found: 32_768.0, .. }), "{refused:?}");
    }

    #[test]
    fn every_residual_network_plans_for_odd_images() {
        for (name, _) in CIFAR {
            trainable(name, Shape::new(7, 5, 1), 3);
        }
        for (name, _) in PROJECTED.into_iter().chain(BOTTLENECK) {
            trainable(name, Shape::new(1, 9, 2), 3);
        }
    }

    #[test]
    fn names_read_back_as_written() {
        extern crate std;
        use std::string::ToString;
        for name in [
            "mlp:64-32-10",
            "resnet8",
            "resnet20:8",
            "resnet34",
            "resnet18:8",
            "resnet18-imagenet",
            "resnet34-imagenet:8",
            "resnet50",
            "resnet101:8",
            "resnet50-imagenet",
            "resnet101-imagenet:8",
        ] {
            assert_eq!(name.parse::<Model>().unwrap().to_string(), name);
        }
        for name in ["", "mlp", "mlp:3", "mlp:3-x", "resnet9", "resnet8:0", "resnet8-imagenet", "resnet152", "vgg"] {
            assert!(name.parse::<Model>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_perceptron_must_fit_images_and_classes() {
        let build = |image, classes| {
            "mlp:64-32-10".parse::<Model>().unwrap().build(&mut Graph::<8>::new(), image, classes).map(|_| ())
        };
        assert!(build(Shape::new(8, 8, 1), 10).is_ok());
        assert!(matches!(build(Shape::new(8, 8, 3), 10), Err(Error::Length { expected: 192, found: 64, .. })));
        assert!(matches!(build(Shape::new(8, 8, 1), 9), Err(Error::Length { expected: 9, found: 10, .. })));
    }
}
