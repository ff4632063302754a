//! Defaults.

use std::num::NonZero;

use sse_sam_core::Shape;
use sse_sam_core::longtail::classes::Shots;

use crate::data::pictures::load::LARGE;
use crate::data::{Format, Rule, split};
use crate::recipe::normalize::Normalize;
use crate::recipe::options::{DeviceOptions, Options};
use crate::recipe::words::{Augment, LongTail, LossName, MemoryName, MethodName, OnNan, ScheduleName};

/// Radius of sam, imbsam and focal-sam.
pub const RHO: f64 = 0.05;
/// Radius of the head in sse-sam.
pub const HEAD_RHO: f64 = 0.05;
/// Radius of the tail in sse-sam.
pub const TAIL_RHO: f64 = 0.1;
/// Share of the epochs that form sse-sam's first stage.
pub const GAMMA: f64 = 0.5;
/// Largest share of a loss that focal-sam perturbs; ours, as is the next: all of it, where a class is rare enough.
pub const FOCAL_SAM_LAMBDA: f64 = 1.0;
/// Exponent of focal-sam's share.
pub const FOCAL_SAM_GAMMA: f64 = 1.0;
/// Factor of the tail's loss.
pub const TAIL_WEIGHT: f64 = 1.0;
/// ldam: margin of the smallest class.
pub const LDAM_MARGIN: f64 = 0.5;
/// ldam: factor of the margins.
pub const LDAM_SCALE: f64 = 30.0;
/// la, vs: factor of the log prior.
pub const TAU: f64 = 1.0;
/// vs: exponent of the scale.
pub const VS_GAMMA: f64 = 0.3;
/// focal: exponent.
pub const FOCAL_GAMMA: f64 = 1.0;
/// Momentum.
pub const MOMENTUM: f64 = 0.9;
/// Epochs from one checkpoint to the next.
pub const CHECKPOINT_EVERY: NonZero<u32> = NonZero::<u32>::MIN;
/// Checkpoints that are kept.
pub const KEEP: NonZero<u32> = NonZero::new(3).unwrap();
/// How often a run goes back.
pub const ROLLBACKS: NonZero<u32> = NonZero::new(3).unwrap();

/// The defaults that help shows: those that are the same for every data set.
pub fn shown() -> Options {
    Options {
        data: Some(Format::Digits.word().into()),
        long_tail: Some(LongTail::default()),
        subset: Some(Rule::default()),
        normalize: Some(Normalize::default().to_string()),
        method: Some(MethodName::default()),
        tail_weight: Some(TAIL_WEIGHT),
        loss: Some(LossName::default()),
        ldam_margin: Some(LDAM_MARGIN),
        ldam_scale: Some(LDAM_SCALE),
        tau: Some(TAU),
        vs_gamma: Some(VS_GAMMA),
        focal_gamma: Some(FOCAL_GAMMA),
        memory: Some(MemoryName::default()),
        momentum: Some(MOMENTUM),
        schedule: Some(ScheduleName::default()),
        warmup: Some(0),
        seed: Some(0),
        device: device(),
        checkpoint_every: Some(CHECKPOINT_EVERY),
        keep: Some(KEEP),
        on_nan: Some(OnNan::default()),
        rollbacks: Some(ROLLBACKS),
        ..Options::default()
    }
}

/// The device that is taken where none is named.
pub const DEVICE: &str = "auto";

/// The default that help shows of the options of a device.
pub fn device() -> DeviceOptions {
    DeviceOptions { device: Some(DEVICE.into()), ..DeviceOptions::default() }
}

/// Defaults that depend on the data set.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Network; perceptrons take their input and output sizes from the data.
    pub model: &'static str,
    /// Largest class over smallest, where the training set is cut.
    pub imbalance: Option<f64>,
    /// Classes with fewer training samples are the tail: usually, see [`split::eta`].
    pub eta: u32,
    /// Bounds of many and few shots: usually, see [`split::shots`].
    pub shots: Shots,
    /// Number of epochs.
    pub epochs: u32,
    /// Samples a step.
    pub batch: usize,
    /// Base learning rate.
    pub learning_rate: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Variation of the training images.
    pub augment: Augment,
}

impl Defaults {
    /// The defaults for a data set of this format.
    pub fn of(format: Format) -> Self {
        let cifar = Self {
            model: "resnet32",
            imbalance: None,
            eta: 100,
            shots: Shots { many: 100, few: 20 },
            epochs: 200,
            batch: 128,
            learning_rate: 0.1,
            weight_decay: 5e-4,
            augment: Augment::CropFlip,
        };
        match format {
            Format::Digits => Self {
                model: "resnet8:8",
                imbalance: Some(50.0),
                eta: 60,
                shots: Shots { many: 100, few: 30 },
                epochs: 30,
                batch: 64,
                augment: Augment::None,
                ..cifar
            },
            Format::Cifar100 => cifar,
            Format::Cifar10 => Self { eta: 400, shots: Shots { many: 1000, few: 200 }, ..cifar },
            Format::Idx | Format::Npz => Self {
                model: "resnet20",
                eta: 400,
                shots: Shots { many: 1000, few: 200 },
                epochs: 30,
                augment: Augment::None,
                ..cifar
            },
            Format::Folder | Format::List | Format::Coco | Format::WebDataset | Format::Parquet => {
                Self { model: "resnet20", eta: 100, epochs: 90, batch: 64, learning_rate: 0.05, ..cifar }
            }
        }
    }

    /// The same for pictures of this size: where they are encoded, large ones are cut out at random for a network with
    /// ImageNet's stem.
    #[must_use]
    pub fn sized(self, format: Format, image: Shape) -> Self {
        if format.is_encoded() && image.height >= LARGE {
            return Self { model: "resnet18", augment: Augment::Imagenet, ..self };
        }
        self
    }

    /// The same for a training set with so many samples in each class.
    #[must_use]
    pub fn divided(self, format: Format, counts: &[u32]) -> Self {
        // What many and few are is part of the reports on digits and CIFAR; all others may hold anything.
        let is_known = matches!(format, Format::Digits | Format::Cifar10 | Format::Cifar100);
        let shots = if is_known { self.shots } else { split::shots(counts, self.shots) };
        Self { eta: split::eta(counts, self.eta), shots, ..self }
    }
}
