use core::fmt;

use crate::space::Space;

/// A number that has a range; a refusal begins with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)] // Whole words, as in an error.
pub enum Quantity {
    /// Radius of SAM, of ImbSAM's tail, of Focal-SAM's second group.
    Rho,
    /// SSE-SAM's radius of the head.
    HeadRho,
    /// SSE-SAM's radius of the tail.
    TailRho,
    /// SSE-SAM's share of the first stage.
    Gamma,
    /// Focal-SAM's largest share.
    FocalSamLambda,
    /// Focal-SAM's exponent.
    FocalSamGamma,
    /// LDAM's largest margin.
    LdamMargin,
    /// LDAM's scale.
    LdamScale,
    /// Factor of the logarithm of a class's share.
    Tau,
    /// Exponent of vector scaling.
    VectorScalingGamma,
    /// Exponent of a focal loss.
    FocalGamma,
    /// Learning rate.
    LearningRate,
    /// The largest class over the smallest.
    Imbalance,
    /// Number of classes.
    Classes,
    /// An entry of a loss's tables.
    LossTable,
    /// A group's radius.
    Radius,
    /// The second group's radius.
    TailRadius,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Rho => "rho",
            Self::HeadRho => "head_rho",
            Self::TailRho => "tail_rho",
            Self::Gamma => "gamma",
            Self::FocalSamLambda => "lambda",
            Self::FocalSamGamma => "Focal-SAM gamma",
            Self::LdamMargin => "LDAM margin",
            Self::LdamScale => "LDAM scale",
            Self::Tau => "tau",
            Self::VectorScalingGamma => "vector scaling gamma",
            Self::FocalGamma => "focal gamma",
            Self::LearningRate => "learning rate",
            Self::Imbalance => "imbalance",
            Self::Classes => "the number of classes",
            Self::LossTable => "an entry of the loss's tables",
            Self::Radius => "radius",
            Self::TailRadius => "tail radius",
        })
    }
}

/// Everything that can go wrong in this crate, with the offending values.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[repr(u32)] // Whole words, which a chip copies in one go.
pub enum Error {
    /// A slice or span has another length than the operation needs.
    Length {
        /// Which argument.
        what: &'static str,
        /// Elements the operation needs.
        expected: usize,
        /// Elements it was given.
        found: usize,
    },
    /// A class index is not below the number of classes.
    Label {
        /// The index found.
        label: f32,
        /// Number of classes.
        classes: usize,
    },
    /// A row of the epoch's table names a sample that does not exist.
    Sample {
        /// The index found.
        index: usize,
        /// Number of samples.
        samples: usize,
    },
    /// A span reaches past the memory that was lent.
    Bounds {
        /// Which memory.
        space: Space,
        /// First element of the span.
        offset: usize,
        /// Elements in the span.
        length: usize,
        /// Elements lent.
        available: usize,
    },
    /// Two arguments of one operation share memory.
    Overlap,
    /// A span lies in a space that the operation cannot use.
    Space {
        /// The space found.
        found: Space,
    },
    /// A plan needs more than 2^32 `f32`.
    TooLarge,
    /// One span is longer than the largest buffer of the device.
    Segment {
        /// Elements in the span.
        length: usize,
        /// Elements of the largest buffer.
        segment: usize,
    },
    /// A fixed-capacity list is full.
    Capacity {
        /// Which list.
        what: &'static str,
        /// How many it holds.
        capacity: usize,
    },
    /// A batch is larger than the plan was made for, or empty.
    Batch {
        /// Samples asked for.
        found: usize,
        /// Samples planned for.
        largest: usize,
    },
    /// A number lies outside its range.
    Range {
        /// Which number.
        what: Quantity,
        /// Its lower bound.
        low: f32,
        /// Its upper bound.
        high: f32,
        /// The number found.
        found: f32,
    },
    /// A layer cannot take an image of this shape.
    Image {
        /// Which layer or model.
        what: &'static str,
        /// Height, width and channels found.
        found: (usize, usize, usize),
    },
    /// A long-tail profile leaves a class without samples.
    EmptyClass {
        /// The first class left without samples.
        class: usize,
    },
    /// A graph has a layer that is not of the network's set.
    Layer {
        /// The layer's number.
        index: usize,
    },
    /// A backward pass through batch normalisation followed a forward pass by the running statistics, in a network whose
    /// set of layers has no gradients of that.
    Evaluated,
    /// Nesterov momentum was asked for where gradients are added to the velocity: it needs them by themselves.
    Nesterov,
    /// A network that normalises by its batch was to take it in pieces.
    Pieces,
    /// A batch was to pass through frozen layers once more after its images had made room for what they became.
    Consumed,
    /// Something of training was asked for of a plan that has no room for it.
    Inference,
    /// A model's name could not be read.
    Model,
    /// Layers, or a graph and its plan, do not belong together.
    Graph,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { what, expected, found } => write!(f, "{what} must hold {expected} elements, got {found}"),
            Self::Label { label, classes } => write!(f, "label {label} is not below {classes}"),
            Self::Sample { index, samples } => write!(f, "sample {index} is not below {samples}"),
            Self::Bounds { space, offset, length, available } => {
                write!(f, "{length} elements at {offset} reach past the {available} lent as {space} memory")
            }
            Self::Overlap => f.write_str("two arguments of one operation share memory"),
            Self::Space { found } => write!(f, "an operation cannot use a span of {found} memory here"),
            Self::TooLarge => f.write_str("the plan needs more than 2^32 numbers"),
            Self::Segment { length, segment } => {
                write!(f, "a span of {length} numbers does not fit the largest buffer of {segment}")
            }
            Self::Capacity { what, capacity } => write!(f, "more than {capacity} {what}"),
            Self::Batch { found, largest } => write!(f, "a batch must have 1 to {largest} samples, got {found}"),
            Self::Range { what, low: f32::MIN_POSITIVE, found, .. } => {
                write!(f, "{what} must be a finite number above 0, got {found}")
            }
            Self::Range { what, low: f32::MIN, found, .. } => write!(f, "{what} must be a finite number, got {found}"),
            Self::Range { what, low, high, found } if high == f32::INFINITY => {
                write!(f, "{what} must be a finite number, at least {low}, got {found}")
            }
            Self::Range { what, low, high, found } => write!(f, "{what} must be in {low}..={high}, got {found}"),
            Self::Image { what, found: (height, width, channels) } => {
                write!(f, "{what} cannot take images of {height} x {width} x {channels}")
            }
            Self::EmptyClass { class } => write!(f, "class {class} is left without a sample"),
            Self::Layer { index } => write!(f, "layer {index} is not of the set of layers that this network was made for"),
            Self::Evaluated => f.write_str("a pass by running statistics has no gradient in this set of layers: batch normalisation keeps none of its own"),
            Self::Nesterov => f.write_str("lean memory keeps no gradient, which nesterov momentum needs"),
            Self::Pieces => f.write_str("batch normalisation needs the whole batch at once, not pieces of it"),
            Self::Consumed => f.write_str("the batch's images have made room for activations: gather it once more"),
            Self::Inference => f.write_str("the plan is for inference and has no room for training"),
            Self::Graph => f.write_str("the layers, or a graph and its plan, do not belong together"),
            Self::Model => {
                f.write_str("unknown model; there are mlp:IN-HIDDEN-OUT, resnet8/20/32/44/56, resnet10/18/34/50/101 and the last five with -imagenet, each resnet with :WIDTH")
            }
        }
    }
}

impl core::error::Error for Error {}
