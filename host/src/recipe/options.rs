//! Options of a training as they are typed, stand in `config.toml`, or are named by a program: each may be left out.

use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::{StringValueParser, TypedValueParser};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sse_sam_core::Model;
use toml::Table;

use crate::data::pictures::options::PictureOptions;
use crate::data::{Format, Request, Rule};
use crate::device::threads::Level;
use crate::error::Error;
use crate::opencl::{Convolution, Precision, Tiling};
use crate::paths::{places, stored_paths};
use crate::recipe::imbalance::Imbalance;
use crate::recipe::moments::Moment;
use crate::recipe::words::{Augment, LongTail, LossName, MemoryName, MethodName, OnNan, ScheduleName, StemName};

/// Options of a training. What is not given comes from [`defaults`](crate::recipe::defaults) and the data set.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Options {
    /// `digits` (built in) or a path: class folders, a list of pictures (`path label`, CSV), COCO's JSON, a folder with IDX
    /// files, or CIFAR-10/100 (folder or .tar.gz)
    #[arg(long, value_parser = places(), help_heading = "Data")]
    pub data: Option<String>,
    /// Insist on a format instead of recognising it
    #[arg(long, value_enum, help_heading = "Data")]
    pub dataset: Option<Format>,
    /// Cut the training set to this imbalance factor, largest class over smallest; none takes it as it is [digits: 50; else
    /// none]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true, help_heading = "Data")]
    pub imbalance: Option<Imbalance>,
    /// Shape of the cut
    #[arg(long, value_enum, help_heading = "Data")]
    pub long_tail: Option<LongTail>,
    /// Which samples of a class stay: the first in file order, or drawn by the seed
    #[arg(long, value_enum, help_heading = "Data")]
    pub subset: Option<Rule>,
    /// Variation of the training images
    #[arg(long, value_enum, help_heading = "Data")]
    pub augment: Option<Augment>,
    /// `data` (mean and deviation of the training images), `none` (bytes / 255), or MEAN/STD such as
    /// `0.49,0.48,0.45/0.25,0.24,0.26` (of values in 0..1, one for all channels or one each)
    #[arg(long, help_heading = "Data")]
    pub normalize: Option<String>,
    /// Set this share of each class's training samples aside to choose the best epoch by; which ones the seed says [none: it is
    /// chosen on the test set, unless the data have a validation set of their own]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    pub validation: Option<f64>,
    /// A class with more training samples is many-shot
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub many: Option<u32>,
    /// A class with fewer training samples is few-shot
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub few: Option<u32>,

    /// Where pictures are, and how they are read
    #[command(flatten)]
    #[serde(flatten)]
    pub pictures: PictureOptions,

    /// mlp:IN-HIDDEN-OUT, resnet8, resnet20, resnet32, resnet44, resnet56, resnet10, resnet18, resnet34, resnet50, resnet101; resnets take :WIDTH
    #[arg(long, help_heading = "Model")]
    pub model: Option<String>,
    /// What resnet10, 18, 34, 50 and 101 begin with [imagenet for pictures above 64 pixels, else cifar]
    #[arg(long, value_enum, help_heading = "Model")]
    pub stem: Option<StemName>,
    /// Start from these weights, or from the best of a run's folder; a last layer for other classes is drawn anew
    #[arg(long, value_name = "FILE.safetensors", value_parser = stored_paths(), help_heading = "Model")]
    pub init: Option<PathBuf>,
    /// Train the last layers alone, the others stay as --init has them: how many (with parameters), or the first one's
    /// name, such as fc or layer3
    #[arg(long, value_name = "K|LAYER", help_heading = "Model")]
    #[serde(deserialize_with = "text_or_number")]
    pub trainable_layers: Option<String>,

    /// Training method
    #[arg(long, value_enum, help_heading = "Method")]
    pub method: Option<MethodName>,
    /// Radius of sam, imbsam and focal-sam
    #[arg(long, help_heading = "Method")]
    pub rho: Option<f64>,
    /// Radius of the head in sse-sam's first stage
    #[arg(long, help_heading = "Method")]
    pub head_rho: Option<f64>,
    /// Radius of the tail in sse-sam
    #[arg(long, help_heading = "Method")]
    pub tail_rho: Option<f64>,
    /// Factor of the tail's loss in imbsam and sse-sam
    #[arg(long, help_heading = "Method")]
    pub tail_weight: Option<f64>,
    /// Classes with fewer training samples are the tail
    #[arg(long, value_name = "N", help_heading = "Method")]
    pub eta: Option<u32>,
    /// Share of the epochs that form sse-sam's first stage
    #[arg(long, help_heading = "Method")]
    pub gamma: Option<f64>,
    /// Largest share of a loss that focal-sam perturbs, in 0..=1
    #[arg(long, help_heading = "Method")]
    pub focal_sam_lambda: Option<f64>,
    /// Exponent of focal-sam's share, lambda * (1 - n_c / N)^gamma; 0 for the same in every class
    #[arg(long, help_heading = "Method")]
    pub focal_sam_gamma: Option<f64>,

    /// Loss
    #[arg(long, value_enum, help_heading = "Loss")]
    pub loss: Option<LossName>,
    /// ldam: margin of the smallest class
    #[arg(long, help_heading = "Loss")]
    pub ldam_margin: Option<f64>,
    /// ldam: factor of the margins
    #[arg(long, help_heading = "Loss")]
    pub ldam_scale: Option<f64>,
    /// la, vs: factor of the log prior
    #[arg(long, help_heading = "Loss")]
    pub tau: Option<f64>,
    /// vs: exponent of the scale
    #[arg(long, help_heading = "Loss")]
    pub vs_gamma: Option<f64>,
    /// focal: exponent
    #[arg(long, help_heading = "Loss")]
    pub focal_gamma: Option<f64>,
    /// Weigh classes by their effective number from this epoch on (deferred re-weighting)
    #[arg(long, value_name = "EPOCH", help_heading = "Loss")]
    pub drw_epoch: Option<u32>,

    /// Number of epochs
    #[arg(long, help_heading = "Optimizer")]
    pub epochs: Option<u32>,
    /// Samples a step
    #[arg(long, help_heading = "Optimizer")]
    pub batch: Option<usize>,
    /// Pass a batch through the network so many samples at a time, head and tail by themselves; not with batch norm
    #[arg(long, value_name = "SAMPLES", help_heading = "Optimizer")]
    pub micro_batch: Option<usize>,
    /// Vectors that a step works with, besides the same mathematics
    #[arg(long, value_enum, help_heading = "Optimizer")]
    pub memory: Option<MemoryName>,
    /// Base learning rate
    #[arg(long, help_heading = "Optimizer")]
    pub lr: Option<f64>,
    /// Base learning rate of the last layer, where it is to have another one than the rest
    #[arg(long, value_name = "RATE", help_heading = "Optimizer")]
    pub lr_head: Option<f64>,
    /// Momentum
    #[arg(long, help_heading = "Optimizer")]
    pub momentum: Option<f64>,
    /// Nesterov momentum
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Optimizer")]
    pub nesterov: Option<bool>,
    /// Weight decay
    #[arg(long, help_heading = "Optimizer")]
    pub weight_decay: Option<f64>,
    /// Learning-rate schedule
    #[arg(long, value_enum, help_heading = "Optimizer")]
    pub schedule: Option<ScheduleName>,
    /// multi-step: epochs, from 0, from which the rate is a tenth [60 % and 80 % of the epochs]
    #[arg(long, value_delimiter = ',', help_heading = "Optimizer")]
    pub milestones: Option<Vec<u32>>,
    /// Epochs of linear warm-up
    #[arg(long, help_heading = "Optimizer")]
    pub warmup: Option<u32>,

    /// Fixes initial weights, order and augmentation
    #[arg(long, help_heading = "Run")]
    #[serde(serialize_with = "number_or_text", deserialize_with = "any_number")]
    pub seed: Option<u64>,
    /// Report test accuracy with logits averaged over each image and its mirror image
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Run")]
    pub flip: Option<bool>,
    /// Stop when the balanced accuracy on the validation set was not better for so many epochs
    #[arg(long, value_name = "EPOCHS", help_heading = "Run")]
    pub patience: Option<NonZero<u32>>,
    /// Where to compute
    #[command(flatten)]
    #[serde(flatten)]
    pub device: DeviceOptions,
    /// Write a checkpoint after every so many epochs
    #[arg(long, value_name = "EPOCHS", help_heading = "Run")]
    pub checkpoint_every: Option<NonZero<u32>>,
    /// Write a checkpoint in mid-epoch too, whenever so many minutes have passed since the last
    #[arg(long, value_name = "MINUTES", help_heading = "Run")]
    pub checkpoint_minutes: Option<Minutes>,
    /// Keep so many checkpoints, the newest ones
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub keep: Option<NonZero<u32>>,
    /// Measure the Hessian's spectrum of all, head and tail after every so many epochs, into spectrum.jsonl
    #[arg(long, value_name = "EPOCHS", help_heading = "Run")]
    pub spectrum_every: Option<NonZero<u32>>,
    /// The same after these epochs, from 0; `switch` is the last one of stage 1, `last` that of the run
    #[arg(long, value_delimiter = ',', value_name = "EPOCH|switch|last", help_heading = "Run")]
    pub spectrum_at: Option<Vec<Moment>>,
    /// What happens when a loss, gradient or weight is no longer finite
    #[arg(long, value_enum, help_heading = "Run")]
    pub on_nan: Option<OnNan>,
    /// Go back at most so many times
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub rollbacks: Option<NonZero<u32>>,
    /// Write a TensorBoard event file into the run's folder too
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Run")]
    pub tensorboard: Option<bool>,
}

/// Where to compute, and how.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct DeviceOptions {
    /// auto, cpu, opencl, opencl:P.D (see `sse-sam devices`), or a part of a device's name
    #[arg(long, value_parser = device_names(), help_heading = "Device")]
    pub device: Option<String>,
    /// Use at most so much of an OpenCL device's memory
    #[arg(long, value_name = "MIB", allow_negative_numbers = true, help_heading = "Device")]
    pub device_memory: Option<f64>,
    /// How an OpenCL device computes convolutions; auto: as was found fastest, with the tiles of a CPU by a timing at first
    /// use, with those of a GPU by `sse-sam tune`, else in the blocks that a rule picks. The others leave what was found
    /// aside [auto; verify: direct]
    #[arg(long, value_enum, help_heading = "Device")]
    pub conv: Option<Convolution>,
    /// The kind of device that an OpenCL device's kernels are made for, where it is not to be its own; cpu: with registers
    /// as wide as it says
    #[arg(long, value_enum, help_heading = "Device")]
    pub tiles: Option<Tiling>,
    /// How factors of convolutions are rounded: not (fp32), unless tf32 has a GPU's matrix instructions multiply them; never
    /// with verify
    #[arg(long, value_enum, help_heading = "Device")]
    pub precision: Option<Precision>,
    /// Threads of the CPU core; no result depends on it [all cores]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Device")]
    pub threads: Option<u32>,
    /// The vectors that the CPU core computes with; no result depends on it [the widest]
    #[arg(long, value_enum, value_name = "LEVEL", help_heading = "Device")]
    pub simd: Option<Level>,
    /// Whether these were recorded with another device: what this one cannot do is left out.
    #[arg(skip)]
    #[serde(skip)]
    pub recorded: bool,
}

impl Options {
    /// These options, and those of `other` where nothing is said here.
    ///
    /// # Errors
    /// [`Error::Usage`] for a path that is not UTF-8.
    pub fn or(&self, other: &Self) -> Result<Self, Error> {
        let mut table = other.table()?;
        table.extend(self.table()?);
        table.try_into().map_err(|error: toml::de::Error| Error::Usage(error.message().into()))
    }

    /// Where the data are: the digits where nobody says anything, and what is trained on where only that is named.
    pub fn place(&self) -> &str {
        self.data.as_deref().or(self.pictures.train.as_deref()).unwrap_or(Format::Digits.word())
    }

    /// The data that are asked for.
    pub fn request(&self) -> Request<'_> {
        Request {
            place: self.place(),
            format: self.dataset,
            pictures: &self.pictures,
            cut_out: self.augment.map(|augment| augment == Augment::Imagenet),
        }
    }

    /// What is given, by name.
    ///
    /// # Errors
    /// [`Error::Usage`] for a path that is not UTF-8.
    pub fn table(&self) -> Result<Table, Error> {
        Table::try_from(self).map_err(|error| Error::Usage(format!("options that no file can hold: {error}")))
    }

    /// The same on the device of this name, without what only other devices can do.
    #[must_use]
    pub fn on(mut self, device: &str) -> Self {
        if device == "cpu" {
            (self.device.precision, self.device.tiles) = (None, None);
        }
        self.device.device = Some(device.into());
        self
    }
}

impl DeviceOptions {
    /// Whether `--conv` asks for a form of convolutions that the model has none of.
    pub fn is_pointless(&self, model: &Model) -> bool {
        self.conv == Some(Convolution::Winograd) && matches!(model, Model::Mlp(_))
    }

    /// Refuses a form of convolutions for a model without any.
    ///
    /// # Errors
    /// [`Error::Usage`] with what the option needs.
    pub fn check(&self, model: &Model) -> Result<(), Error> {
        if self.is_pointless(model) {
            return Err(Error::Usage("--conv does nothing here: it needs a model with convolutions".into()));
        }
        Ok(())
    }
}

/// A device as it is named everywhere: no name depends on the case.
pub fn device_names() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().map(|name| name.trim().to_lowercase())
}

/// A time to wait.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Minutes(f64);

impl Minutes {
    /// In seconds.
    pub fn seconds(self) -> f64 {
        60.0 * self.0
    }
}

impl TryFrom<f64> for Minutes {
    type Error = &'static str;

    fn try_from(minutes: f64) -> Result<Self, Self::Error> {
        if (0.0..=1e6).contains(&minutes) { Ok(Self(minutes)) } else { Err("a number of minutes is in 0..=1000000") }
    }
}

impl From<Minutes> for f64 {
    fn from(minutes: Minutes) -> Self {
        minutes.0
    }
}

impl FromStr for Minutes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().unwrap_or(f64::NAN).try_into()
    }
}

/// A number, or the same as text: TOML's numbers end at 2^63.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

fn text_or_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Some(match NumberOrText::deserialize(from)? {
        NumberOrText::Number(number) => number.to_string(),
        NumberOrText::Text(text) => text,
    }))
}

fn any_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    match NumberOrText::deserialize(from)? {
        NumberOrText::Number(number) => Ok(Some(number)),
        NumberOrText::Text(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

fn number_or_text<S: Serializer>(number: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    match number.map(|number| i64::try_from(number).map_err(|_| number.to_string())) {
        None => to.serialize_none(),
        Some(Ok(number)) => to.serialize_i64(number),
        Some(Err(text)) => to.serialize_str(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way_through_a_file() {
        for lr in [0.1, 1e-300, 5.0, 1.0 / 3.0, f64::MAX] {
            for seed in [0, i64::MAX as u64, u64::MAX] {
                let options = Options { lr: Some(lr), seed: Some(seed), ..Options::default() };
                let text = options.table().unwrap().to_string();
                assert_eq!(toml::from_str::<Options>(&text).unwrap(), options, "{text}");
            }
        }
    }

    #[test]
    fn what_is_said_first_wins_and_the_rest_is_taken_over() {
        let typed = Options { lr: Some(0.5), nesterov: Some(true), ..Options::default() };
        let device = DeviceOptions { device: Some("cpu".into()), ..DeviceOptions::default() };
        let file = Options { lr: Some(0.1), epochs: Some(3), device: device.clone(), ..Options::default() };
        let expected = Options { epochs: Some(3), device, ..typed.clone() };
        assert_eq!(typed.or(&file).unwrap(), expected);
    }
}
