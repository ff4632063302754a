//! The words that options take, on the command line and in `config.toml`, and what each of them means.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sse_sam_core::longtail::classes::Profile;
use sse_sam_core::network::models::Stem;
use sse_sam_core::{Economy, Method};

/// A loss by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// Softmax cross-entropy
    #[default]
    Ce,
    /// Label-distribution-aware margins
    Ldam,
    /// Logit adjustment
    La,
    /// Vector scaling
    Vs,
    /// Balanced softmax
    BalancedSoftmax,
    /// Focal loss
    Focal,
}

/// A training method by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// Plain stochastic gradient descent
    Sgd,
    /// One perturbation for all samples
    Sam,
    /// Perturbs the tail only
    Imbsam,
    /// Perturbs head and tail, in the second stage the tail only
    #[default]
    SseSam,
    /// Perturbs a share of every sample's loss: the rarer its class, the more of it
    FocalSam,
}

impl MethodName {
    /// The name of a method.
    pub fn of(method: &Method) -> Self {
        match method {
            Method::Sgd => Self::Sgd,
            Method::Sam { .. } => Self::Sam,
            Method::ImbSam { .. } => Self::Imbsam,
            Method::SseSam { .. } => Self::SseSam,
            Method::FocalSam { .. } => Self::FocalSam,
        }
    }
}

/// How many vectors a step works with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryName {
    /// A vector for the gradient, and a point for each group that is perturbed
    #[default]
    Full,
    /// Gradients are added to the velocity
    Lean,
    /// As lean, and one point serves both groups, by another forward pass
    Recompute,
}

impl MemoryName {
    /// The name of a form of the step.
    pub fn of(economy: Economy) -> Self {
        match economy {
            Economy::Full => Self::Full,
            Economy::Lean => Self::Lean,
            Economy::Recompute => Self::Recompute,
        }
    }

    /// The form of the step.
    pub fn economy(self) -> Economy {
        match self {
            Self::Full => Economy::Full,
            Self::Lean => Economy::Lean,
            Self::Recompute => Economy::Recompute,
        }
    }
}

/// A learning-rate schedule by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// The same rate throughout
    Constant,
    /// Half a cosine down to zero
    #[default]
    Cosine,
    /// A tenth of the rate from each of --milestones on
    MultiStep,
}

/// What comes before the stages of a residual network with four of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StemName {
    /// A 7x7 convolution of stride 2 and a max-pool
    Imagenet,
    /// A 3x3 convolution
    Cifar,
}

impl StemName {
    /// The name of a stem.
    pub fn of(stem: Stem) -> Self {
        match stem {
            Stem::Small => Self::Cifar,
            Stem::ImageNet => Self::Imagenet,
        }
    }

    /// The stem.
    pub fn stem(self) -> Stem {
        match self {
            Self::Imagenet => Stem::ImageNet,
            Self::Cifar => Stem::Small,
        }
    }
}

/// How training images are varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Not at all
    None,
    /// Padded by 4 black pixels, cropped at random, mirrored at random
    CropFlip,
    /// A part of random size and shape, resized (torchvision's RandomResizedCrop), mirrored at random
    Imagenet,
}

/// How the long tail falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LongTail {
    /// Exponentially from the first class to the last
    #[default]
    Exp,
    /// The second half of the classes is cut
    Step,
}

impl LongTail {
    /// The name of a shape.
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Exponential => Self::Exp,
            Profile::Step => Self::Step,
        }
    }

    /// The shape.
    pub fn profile(self) -> Profile {
        match self {
            Self::Exp => Profile::Exponential,
            Self::Step => Profile::Step,
        }
    }
}

/// What happens when a loss, gradient or weight is no longer finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNan {
    /// Training ends; the last good weights are kept
    #[default]
    Stop,
    /// Training goes back to the last checkpoint at an epoch's end, with half the learning rate
    Rollback,
}

/// The word of a value.
pub fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
}
