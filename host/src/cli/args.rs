//! The command line. Parsing opens no file.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, StringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use sse_sam_core::Shape;

use crate::data::{Format, Rule};
use crate::opencl::{Class, Convolution, Precision};
use crate::run::checkpoint::Origin;

/// Train classifiers on long-tailed data with SSE-SAM, SAM, ImbSAM or SGD.
#[derive(Debug, Parser)]
#[command(name = "sse-sam", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network and report overall, balanced, many-, medium- and few-shot accuracy.
    #[command(allow_negative_numbers = true, args_override_self = true)]
    Train(Box<TrainArgs>),
    /// Continue a run that was interrupted
    #[command(allow_negative_numbers = true)]
    Resume(ResumeArgs),
    /// List runs and what became of them
    Runs(RunsArgs),
    /// Evaluate trained weights on their test set.
    #[command(allow_negative_numbers = true)]
    Eval(EvalArgs),
    /// List the devices that --device can name
    Devices(DevicesArgs),
    /// Replay reference trajectories and compare every update: does this machine compute right?
    Verify(VerifyArgs),
    /// Measure what a training step costs on a device, beside what the device can do.
    #[command(allow_negative_numbers = true)]
    Bench(BenchArgs),
    /// Find out which forms of convolutions are fastest on a device, and keep that for all that follows
    #[command(allow_negative_numbers = true)]
    Tune(TuneArgs),
    /// Say how much memory training takes on a chip, and the size of its arena.
    #[command(allow_negative_numbers = true)]
    Footprint(FootprintArgs),
    /// Write trained weights and their network as constants for firmware
    Export(ExportArgs),
    /// Read weights back that firmware printed
    Import(ImportArgs),
}

impl Cli {
    /// The command line, and which options of `train` were typed.
    ///
    /// # Errors
    /// What is wrong with the words, or the help that they ask for.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (Command::Train(args), Some((_, matches))) = (&mut cli.command, matches.subcommand()) {
            args.typed = typed(matches);
        }
        Ok(cli)
    }
}

/// The names of the options that were typed.
fn typed(matches: &ArgMatches) -> Vec<String> {
    let is_typed = |id: &clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    matches.ids().filter(|id| is_typed(id)).map(|id| id.as_str().replace('_', "-")).collect()
}

/// A path: not empty, `~/` at its beginning is the user's home where no shell has said so.
fn paths() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new()
        .try_map(|path| if path.as_os_str().is_empty() { Err("is empty") } else { Ok(at_home(path)) })
}

/// A path that stands in `config.toml`.
fn stored_paths() -> impl TypedValueParser<Value = PathBuf> {
    let text = |path: PathBuf| path.into_os_string().into_string().map(PathBuf::from).map_err(|_| NOT_UTF_8);
    paths().try_map(text)
}

/// Where data are: a path that stands in `config.toml`.
fn places() -> impl TypedValueParser<Value = String> {
    paths().try_map(|path| path.into_os_string().into_string().map_err(|_| NOT_UTF_8))
}

/// A device as it is named everywhere: no name depends on the case.
fn device_names() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().map(|name| name.trim().to_lowercase())
}

const NOT_UTF_8: &str = "a path that is not UTF-8 cannot stand in config.toml; name it through a symbolic link";

/// The path with `~` or `~/` at its beginning replaced by the user's home, where there is one.
pub(crate) fn at_home(path: PathBuf) -> PathBuf {
    let home =
        |rest: &Path| env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(rest));
    path.strip_prefix("~").ok().and_then(home).unwrap_or(path)
}

impl Command {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Train(_) => "train",
            Self::Resume(_) => "resume",
            Self::Runs(_) => "runs",
            Self::Eval(_) => "eval",
            Self::Devices(_) => "devices",
            Self::Verify(_) => "verify",
            Self::Bench(_) => "bench",
            Self::Tune(_) => "tune",
            Self::Footprint(_) => "footprint",
            Self::Export(_) => "export",
            Self::Import(_) => "import",
        }
    }

    /// How the command is told on standard error.
    pub fn log_format(&self) -> LogFormat {
        match self {
            Self::Train(args) => args.log_format,
            Self::Resume(args) => args.log_format,
            _ => LogFormat::Text,
        }
    }
}

/// A loss by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LossName {
    /// Softmax cross-entropy
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    /// Plain stochastic gradient descent
    Sgd,
    /// One perturbation for all samples
    Sam,
    /// Perturbs the tail only
    Imbsam,
    /// Perturbs head and tail, in the second stage the tail only
    SseSam,
    /// Perturbs a share of every sample's loss: the rarer its class, the more of it
    FocalSam,
}

/// How many vectors a step works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MemoryName {
    /// A vector for the gradient, and a point for each group that is perturbed
    Full,
    /// Gradients are added to the velocity
    Lean,
    /// As lean, and one point serves both groups, by another forward pass
    Recompute,
}

/// A learning-rate schedule by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScheduleName {
    /// The same rate throughout
    Constant,
    /// Half a cosine down to zero
    Cosine,
    /// A tenth of the rate from each of --milestones on
    MultiStep,
}

/// How training images are varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Augment {
    /// Not at all
    None,
    /// Padded by 4 black pixels, cropped at random, mirrored at random
    CropFlip,
}

/// How the long tail falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LongTail {
    /// Exponentially from the first class to the last
    Exp,
    /// The second half of the classes is cut
    Step,
}

/// How a run is told on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: warnings, and a bar on a terminal
    #[default]
    Text,
    /// For programs: one JSON object a line, and nothing on standard output
    Json,
}

/// What happens when a loss, gradient or weight is no longer finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnNan {
    /// Training ends; the last good weights are kept
    Stop,
    /// Training goes back to the last checkpoint at an epoch's end, with half the learning rate
    Rollback,
}

/// Options of `train`. What is not given comes from the defaults of the data set.
#[derive(Clone, Debug, Args)]
pub struct TrainArgs {
    /// `digits` (built in) or a path: a folder with IDX files, or CIFAR-10/100 in binary form (folder or .tar.gz)
    #[arg(long, default_value = "digits", value_parser = places(), help_heading = "Data")]
    pub data: String,
    /// Insist on a format instead of recognising it
    #[arg(long, value_enum, help_heading = "Data")]
    pub dataset: Option<Format>,
    /// Cut the training set to this imbalance factor, largest class over smallest [digits: 50; else none]
    #[arg(long, value_name = "FACTOR", help_heading = "Data")]
    pub imbalance: Option<f64>,
    /// Shape of the cut
    #[arg(long, value_enum, default_value = "exp", help_heading = "Data")]
    pub long_tail: LongTail,
    /// Which samples of a class stay: the first in file order, or drawn by the seed
    #[arg(long, value_enum, default_value = "first", help_heading = "Data")]
    pub subset: Rule,
    /// Variation of the training images
    #[arg(long, value_enum, help_heading = "Data")]
    pub augment: Option<Augment>,
    /// `data` (mean and deviation of the training images), `none` (bytes / 255), or MEAN/STD such as
    /// `0.49,0.48,0.45/0.25,0.24,0.26` (of values in 0..1, one for all channels or one each)
    #[arg(long, default_value = "data", help_heading = "Data")]
    pub normalize: String,
    /// A class with more training samples is many-shot
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub many: Option<u32>,
    /// A class with fewer training samples is few-shot
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub few: Option<u32>,

    /// mlp:IN-HIDDEN-OUT, resnet8, resnet20, resnet32, resnet44, resnet56, resnet18, resnet34; resnets take :WIDTH
    #[arg(long, help_heading = "Model")]
    pub model: Option<String>,
    /// Start from these weights, or from the best of a run's folder; a last layer for other classes is drawn anew
    #[arg(long, value_name = "FILE.safetensors", value_parser = stored_paths(), help_heading = "Model")]
    pub init: Option<PathBuf>,
    /// Train the last layers alone, the others stay as --init has them: how many (with parameters), or the first one's
    /// name, such as fc or layer3
    #[arg(long, value_name = "K|LAYER", help_heading = "Model")]
    pub trainable_layers: Option<String>,

    /// Training method
    #[arg(long, value_enum, default_value = "sse-sam", help_heading = "Method")]
    pub method: MethodName,
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
    #[arg(long, default_value_t = 1.0, help_heading = "Method")]
    pub tail_weight: f64,
    /// Classes with fewer training samples are the tail
    #[arg(long, value_name = "N", help_heading = "Method")]
    pub eta: Option<u32>,
    /// Share of the epochs that form sse-sam's first stage
    #[arg(long, help_heading = "Method")]
    pub gamma: Option<f64>,
    /// Largest share of a loss that focal-sam perturbs, in 0..=1
    #[arg(long, help_heading = "Method")]
    pub focal_sam_lambda: Option<f64>,
    /// Exponent of focal-sam's share, lambda * (1 - n_c / N)^gamma: 0 for the same in every class
    #[arg(long, help_heading = "Method")]
    pub focal_sam_gamma: Option<f64>,

    /// Loss
    #[arg(long, value_enum, default_value = "ce", help_heading = "Loss")]
    pub loss: LossName,
    /// ldam: margin of the smallest class
    #[arg(long, default_value_t = 0.5, help_heading = "Loss")]
    pub ldam_margin: f64,
    /// ldam: factor of the margins
    #[arg(long, default_value_t = 30.0, help_heading = "Loss")]
    pub ldam_scale: f64,
    /// la, vs: factor of the log prior
    #[arg(long, default_value_t = 1.0, help_heading = "Loss")]
    pub tau: f64,
    /// vs: exponent of the scale
    #[arg(long, default_value_t = 0.3, help_heading = "Loss")]
    pub vs_gamma: f64,
    /// focal: exponent
    #[arg(long, default_value_t = 1.0, help_heading = "Loss")]
    pub focal_gamma: f64,
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
    #[arg(long, value_enum, default_value = "full", help_heading = "Optimizer")]
    pub memory: MemoryName,
    /// Base learning rate
    #[arg(long, help_heading = "Optimizer")]
    pub lr: Option<f64>,
    /// Momentum
    #[arg(long, default_value_t = 0.9, help_heading = "Optimizer")]
    pub momentum: f64,
    /// Nesterov momentum
    #[arg(long, help_heading = "Optimizer")]
    pub nesterov: bool,
    /// Weight decay
    #[arg(long, help_heading = "Optimizer")]
    pub weight_decay: Option<f64>,
    /// Learning-rate schedule
    #[arg(long, value_enum, default_value = "cosine", help_heading = "Optimizer")]
    pub schedule: ScheduleName,
    /// multi-step: epochs, from 0, from which the rate is a tenth [60 % and 80 % of the epochs]
    #[arg(long, value_delimiter = ',', help_heading = "Optimizer")]
    pub milestones: Vec<u32>,
    /// Epochs of linear warm-up
    #[arg(long, default_value_t = 0, help_heading = "Optimizer")]
    pub warmup: u32,

    /// Fixes initial weights, order and augmentation
    #[arg(long, default_value_t = 0, help_heading = "Run")]
    pub seed: u64,
    /// Report test accuracy with logits averaged over each image and its mirror image
    #[arg(long, help_heading = "Run")]
    pub flip: bool,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Folder for metrics and weights [runs/DATA-MODEL-METHOD, numbered when taken]
    #[arg(long, value_name = "FOLDER", value_parser = paths(), help_heading = "Run")]
    pub out: Option<PathBuf>,
    /// Take what is not given here from this file: an option's name without dashes = its value
    #[arg(long, value_name = "FILE.toml", value_parser = paths(), help_heading = "Run")]
    pub config: Option<PathBuf>,
    /// Write a checkpoint after every so many epochs
    #[arg(long, value_name = "EPOCHS", default_value_t = 1, help_heading = "Run",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub checkpoint_every: u32,
    /// Write a checkpoint in mid-epoch too, whenever so many minutes have passed since the last
    #[arg(long, value_name = "MINUTES", value_parser = minutes, help_heading = "Run")]
    pub checkpoint_minutes: Option<f64>,
    /// Keep so many checkpoints, the newest ones
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Run",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// What happens when a loss, gradient or weight is no longer finite
    #[arg(long, value_enum, default_value = "stop", help_heading = "Run")]
    pub on_nan: OnNan,
    /// Go back at most so many times
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Run",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub rollbacks: u32,
    /// Write a TensorBoard event file into the run's folder too
    #[arg(long, help_heading = "Run")]
    pub tensorboard: bool,
    /// Print warnings and errors only
    #[arg(long, help_heading = "Run")]
    pub quiet: bool,
    /// How the run is told on standard error
    #[arg(long, value_enum, default_value = "text", help_heading = "Run")]
    pub log_format: LogFormat,
    /// Fingerprint of the data that --config was made with.
    #[arg(skip)]
    pub fingerprint: Option<String>,
    /// What the numbers of the run came from that --config belongs to.
    #[arg(skip)]
    pub origin: Option<Origin>,
    /// The names of the options that were typed, and do not come from a file.
    #[arg(skip)]
    pub typed: Vec<String>,
}

impl TrainArgs {
    /// Whether the run is told in words, beside warnings and errors.
    pub fn talks(&self) -> bool {
        !self.quiet && self.log_format == LogFormat::Text
    }
}

/// Options of `resume`. All others come from the run's `config.toml`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run's folder
    #[arg(value_parser = paths())]
    pub run: PathBuf,
    /// Train for more epochs than the run was meant to have
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Another place of the same data
    #[arg(long, value_parser = places())]
    pub data: Option<String>,
    /// Another device; bits may differ then
    #[arg(long, value_parser = device_names())]
    pub device: Option<String>,
    /// Print warnings and errors only
    #[arg(long)]
    pub quiet: bool,
    /// How the run is told on standard error
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Options of `runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// A folder of runs
    #[arg(default_value = "runs", value_parser = paths())]
    pub folder: PathBuf,
}

/// Where to compute.
#[derive(Clone, Debug, Args)]
pub struct DeviceArgs {
    /// auto, cpu, opencl, opencl:P.D (see `sse-sam devices`), or a part of a device's name
    #[arg(long, default_value = "auto", value_parser = device_names(), help_heading = "Device")]
    pub device: String,
    /// Use at most so much of an OpenCL device's memory
    #[arg(long, value_name = "MIB", allow_negative_numbers = true, help_heading = "Device")]
    pub device_memory: Option<f64>,
    /// How an OpenCL device computes convolutions; auto: as was found fastest, with the tiles of a CPU by a timing at first
    /// use, with those of a GPU by `sse-sam tune`, else in the blocks that a rule picks. The others leave what was found
    /// aside [auto; verify: direct]
    #[arg(long, value_enum, help_heading = "Device")]
    pub conv: Option<Convolution>,
    /// The kind of device that an OpenCL device's kernels are made for, where it is not to be its own
    #[arg(long, value_enum, help_heading = "Device")]
    pub tiles: Option<Class>,
    /// How factors of convolutions are rounded: not (fp32), unless tf32 has a GPU's matrix instructions multiply them; never
    /// with verify
    #[arg(long, value_enum, help_heading = "Device")]
    pub precision: Option<Precision>,
    /// Whether these were recorded with another device: what this one cannot do is left out.
    #[arg(skip)]
    pub recorded: bool,
}

/// Options of `devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Build the kernels of a device, the one that --device names, and list what each takes of it
    #[arg(long)]
    pub kernels: bool,
    /// Which device
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Options of `eval`. What weights say about themselves has to agree with what is given here.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Weights, or the folder of a run, whose best ones are taken
    #[arg(value_parser = paths())]
    pub weights: PathBuf,
    /// Another place of the data than the one the weights were trained on
    #[arg(long, value_parser = places())]
    pub data: Option<String>,
    /// Average logits over each image and its mirror image
    #[arg(long)]
    pub flip: bool,
    /// Images a pass
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// The network, as in `train`
    #[arg(long, help_heading = "Weights that do not say what they are")]
    pub model: Option<String>,
    /// Insist on a format of the data
    #[arg(long, value_enum, help_heading = "Weights that do not say what they are")]
    pub dataset: Option<Format>,
    /// As in `train`: how bytes became numbers; `data` when not given
    #[arg(long, help_heading = "Weights that do not say what they are")]
    pub normalize: Option<String>,
    /// As in `train`: how the training set was cut
    #[arg(long, value_name = "FACTOR", help_heading = "Weights that do not say what they are")]
    pub imbalance: Option<f64>,
    /// As in `train`: the shape of that cut; `exp` when not given
    #[arg(long, value_enum, help_heading = "Weights that do not say what they are")]
    pub long_tail: Option<LongTail>,
    /// A class with more training samples is many-shot
    #[arg(long, value_name = "N", help_heading = "Weights that do not say what they are")]
    pub many: Option<u32>,
    /// A class with fewer training samples is few-shot
    #[arg(long, value_name = "N", help_heading = "Weights that do not say what they are")]
    pub few: Option<u32>,
    /// Classes with fewer training samples are the tail
    #[arg(long, value_name = "N", help_heading = "Weights that do not say what they are")]
    pub eta: Option<u32>,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Reference trajectories; each NAME.json has its NAME.safetensors beside it
    #[arg(required = true, value_name = "CASE.json", value_parser = paths())]
    pub cases: Vec<PathBuf>,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// A network with data of its size, as `bench` and `tune` run it.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// As in `train`
    #[arg(long, default_value = "resnet32")]
    pub model: String,
    /// Samples a step
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Number of classes [those of a perceptron's last layer, else 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub classes: Option<u16>,
    /// Size of an image [that of a perceptron's first layer, else 32x32x3]
    #[arg(long, value_name = "HxWxC", value_parser = image)]
    pub image: Option<Shape>,
}

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What is run
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Training method
    #[arg(long, value_enum, default_value = "sse-sam")]
    pub method: MethodName,
    /// Stage of sse-sam; the other methods have only one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub stage: u8,
    /// Steps that are timed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub steps: u32,
    /// Time every operation of a step as well
    #[arg(long)]
    pub kernels: bool,
    /// Print all numbers as one line of JSON, the last one
    #[arg(long)]
    pub json: bool,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Options of `tune`.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// What is tuned; what is found serves all batches of the same order
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Print all that was found as one line of JSON, the last one
    #[arg(long)]
    pub json: bool,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// The language of constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// A header for sse_sam.h
    C,
    /// A module for sse-sam-core
    Rust,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Weights written by `train`, or the folder of a run, whose best ones are taken
    #[arg(value_parser = paths())]
    pub weights: PathBuf,
    /// Language of the constants
    #[arg(long, value_enum)]
    pub format: Language,
    /// File to write [standard output]
    #[arg(long, value_name = "FILE", value_parser = paths())]
    pub out: Option<PathBuf>,
    /// What the names of C constants begin with; `network` when not given
    #[arg(long, value_parser = identifier)]
    pub name: Option<String>,
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What the firmware printed: lines of `weights` and numbers' bits, eight hexadecimal digits each. Other lines are
    /// passed over, and what a console puts in front of a line or colours it with
    #[arg(value_parser = paths())]
    pub dump: PathBuf,
    /// Weights of the same network, such as were exported, or a run's folder: what they say about their data is kept
    #[arg(long, value_name = "FILE.safetensors", value_parser = paths())]
    pub like: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE.safetensors", value_parser = paths())]
    pub out: PathBuf,
}

/// A time to wait.
fn minutes(text: &str) -> Result<f64, String> {
    let fits = |minutes: &f64| (0.0..=1e6).contains(minutes);
    text.parse().ok().filter(fits).ok_or_else(|| "a number of minutes is in 0..=1000000".into())
}

/// A name in C: letters, digits and underscores, no digit first.
fn identifier(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits && text.starts_with(|first: char| !first.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err("a name has letters, digits and underscores, and no digit first".into())
}

/// Options of `footprint`.
#[derive(Debug, Args)]
pub struct FootprintArgs {
    /// As in `train`
    #[arg(long)]
    pub model: String,
    /// Samples a step
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub batch: u32,
    /// Number of classes [those of a perceptron's last layer, else 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub classes: Option<u16>,
    /// Size of an image [that of a perceptron's first layer, grey, else 32x32x3]
    #[arg(long, value_name = "HxWxC", value_parser = image)]
    pub image: Option<Shape>,
    /// The method whose arena is printed as a constant
    #[arg(long, value_enum, default_value = "sse-sam")]
    pub method: MethodName,
    /// As in `train`
    #[arg(long, value_enum, default_value = "full")]
    pub memory: MemoryName,
    /// As in `train`
    #[arg(long, value_name = "SAMPLES", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub micro_batch: Option<u32>,
    /// As in `train`
    #[arg(long, value_name = "K|LAYER")]
    pub trainable_layers: Option<String>,
    /// Print all numbers as one line of JSON, the last one
    #[arg(long)]
    pub json: bool,
}

/// An image's size, written `HEIGHTxWIDTHxCHANNELS`.
fn image(text: &str) -> Result<Shape, String> {
    let sides: Option<Vec<usize>> = text.split('x').map(|side| side.parse().ok().filter(|&side| side > 0)).collect();
    match sides.as_deref() {
        Some(&[height, width, channels]) if height.max(width).max(channels) < 1 << 16 => {
            Ok(Shape::new(height, width, channels))
        }
        _ => Err("an image is HEIGHTxWIDTHxCHANNELS, such as 32x32x3".into()),
    }
}
