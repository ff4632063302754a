//! The command line. Parsing opens no file.

mod comparison;
mod recipe;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use sse_sam_core::Shape;

use crate::data::Format;
use crate::paths::{paths, places};
use crate::recipe::imbalance::Imbalance;
use crate::recipe::options::device_names;
use crate::recipe::words::{LongTail, LossName, MemoryName, MethodName, StemName};
use crate::recipe::{DeviceOptions, Options, defaults};
use crate::report::console::{Console, LogFormat};
use crate::spectrum::groups::Word;
use crate::spectrum::lanczos::Basis;

use comparison::{COMPARISON_OUT, only_of_train};
pub use comparison::{CompareArgs, ReportArgs, ReportFormat};
use recipe::RecipeName;

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
    /// Train methods, losses and other settings over several seeds and say what can be told from chance; or compare runs
    /// that exist
    #[command(
        allow_negative_numbers = true,
        args_override_self = true,
        mut_args(only_of_train),
        mut_arg("out", |arg| arg.help(COMPARISON_OUT))
    )]
    Compare(Box<CompareArgs>),
    /// Write a report on runs or a comparison: tables, learning curves, classes, confusion, spectra; one file for a browser
    Report(ReportArgs),
    /// Continue a run that was interrupted
    #[command(allow_negative_numbers = true)]
    Resume(ResumeArgs),
    /// List runs and what became of them
    Runs(RunsArgs),
    /// List the recipes that --recipe can name, or print one
    Recipes(RecipesArgs),
    /// Evaluate trained weights on their test set.
    #[command(allow_negative_numbers = true)]
    Eval(EvalArgs),
    /// Say which class trained weights take pictures for
    Predict(PredictArgs),
    /// Say how the loss of head, tail and each class curves at trained weights: eigenvalues of their Hessians, with bounds
    #[command(allow_negative_numbers = true)]
    Spectrum(Box<SpectrumArgs>),
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
    /// Write trained weights and their network as an ONNX model, or as constants for firmware
    Export(ExportArgs),
    /// Read weights back that firmware printed
    Import(ImportArgs),
}

impl Cli {
    /// The command line: every option of a training that was not typed is left open.
    ///
    /// # Errors
    /// What is wrong with the words, or the help that they ask for.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        // Help shows defaults, which what is parsed must not hold.
        with_defaults(Self::command()).try_get_matches_from(&words)?;
        Self::try_parse_from(words)
    }
}

/// The same commands, with the defaults of a training and of a device as values of their options.
fn with_defaults(command: clap::Command) -> clap::Command {
    let training = |command| shown(command, &defaults::shown());
    let command = command.mut_subcommand("train", training).mut_subcommand("compare", training);
    ["eval", "predict", "spectrum", "devices", "verify", "bench", "tune"].into_iter().fold(command, |command, name| {
        let device = Options { device: defaults::device(), ..Options::default() };
        command.mut_subcommand(name, |command| shown(command, &device))
    })
}

/// A command whose options have these values when they are not typed.
fn shown(command: clap::Command, values: &Options) -> clap::Command {
    let text = |value: toml::Value| match value {
        toml::Value::String(text) => text,
        toml::Value::Float(number) => number.to_string(),
        other => other.to_string(),
    };
    let values = values.table().unwrap_or_default().into_iter().map(|(name, value)| (name, text(value)));
    values.fold(command, |command, (name, text)| {
        command.mut_args(|arg| if arg.get_long() == Some(&name) { arg.default_value(text.clone()) } else { arg })
    })
}

impl Command {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Train(_) => "train",
            Self::Compare(_) => "compare",
            Self::Report(_) => "report",
            Self::Resume(_) => "resume",
            Self::Runs(_) => "runs",
            Self::Recipes(_) => "recipes",
            Self::Eval(_) => "eval",
            Self::Predict(_) => "predict",
            Self::Spectrum(_) => "spectrum",
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
    pub fn console(&self) -> Console {
        match self {
            Self::Train(args) => Console::new(args.log_format, args.quiet),
            Self::Compare(args) => Console::new(args.train.log_format, args.train.quiet),
            Self::Resume(args) => Console::new(args.log_format, args.quiet),
            _ => Console::new(LogFormat::Text, false),
        }
    }
}

/// Options of `train`: those of the training, and of this call.
#[derive(Clone, Debug, Args)]
pub struct TrainArgs {
    /// The training.
    #[command(flatten)]
    pub options: Options,
    /// Folder for metrics and weights [runs/DATA-MODEL-METHOD, numbered when taken]
    // Help lists these after the first options of a run, which are counted from 0.
    #[arg(long, value_name = "FOLDER", value_parser = paths(), help_heading = "Run", display_order = 67)]
    pub out: Option<PathBuf>,
    /// Take what is not given here from this file: an option's name without dashes = its value
    #[arg(long, value_name = "FILE.toml", value_parser = paths(), help_heading = "Run", display_order = 68)]
    pub config: Option<PathBuf>,
    /// Take what is not given here from this recipe: see `sse-sam recipes`
    #[arg(long, value_name = "NAME", value_parser = RecipeName, help_heading = "Run", display_order = 69)]
    #[arg(conflicts_with = "config")]
    pub recipe: Option<String>,
    /// Print warnings and errors only
    #[arg(long, help_heading = "Run")]
    pub quiet: bool,
    /// How the run is told on standard error
    #[arg(long, value_enum, default_value = "text", help_heading = "Run")]
    pub log_format: LogFormat,
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

/// Options of `recipes`.
#[derive(Debug, Args)]
pub struct RecipesArgs {
    /// The one to print
    #[arg(value_parser = RecipeName)]
    pub name: Option<String>,
}

/// Options of `devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Build the kernels of a device, the one that --device names, and list what each takes of it
    #[arg(long)]
    pub kernels: bool,
    /// Which device
    #[command(flatten)]
    pub device: DeviceOptions,
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
    /// The folder that paths in lists begin at [that of the training, else the list's]
    #[arg(long, value_name = "FOLDER", value_parser = places())]
    pub data_root: Option<String>,
    /// Average logits over each image and its mirror image
    #[arg(long)]
    pub flip: bool,
    /// Write which class was taken for which to a CSV file: label, prediction and how often, a line for each pair
    #[arg(long, value_name = "FILE", value_parser = paths())]
    pub confusion: Option<PathBuf>,
    /// Print all of it as one line of JSON instead of tables
    #[arg(long)]
    pub json: bool,
    /// Images a pass
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// The network, as in `train`
    #[arg(long, help_heading = "Weights that do not say what they are")]
    pub model: Option<String>,
    /// As in `train`
    #[arg(long, value_enum, requires = "model", help_heading = "Weights that do not say what they are")]
    pub stem: Option<StemName>,
    /// Insist on a format of the data
    #[arg(long, value_enum, help_heading = "Weights that do not say what they are")]
    pub dataset: Option<Format>,
    /// As in `train`: how bytes became numbers; `data` when not given
    #[arg(long, help_heading = "Weights that do not say what they are")]
    pub normalize: Option<String>,
    /// As in `train`: how the training set was cut
    #[arg(long, value_name = "FACTOR", help_heading = "Weights that do not say what they are")]
    pub imbalance: Option<Imbalance>,
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
    pub device: DeviceOptions,
}

/// Options of `predict`. How pictures come to the network's size is what the weights were trained with.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Weights, or the folder of a run, whose best ones are taken
    #[arg(value_parser = paths())]
    pub weights: PathBuf,
    /// Pictures, folders of pictures, or lists of them (.txt, .csv, .tsv)
    #[arg(required = true, value_name = "PATH", value_parser = paths())]
    pub paths: Vec<PathBuf>,
    /// The folder that paths in lists begin at [the list's]
    #[arg(long, value_name = "FOLDER", value_parser = paths())]
    pub data_root: Option<PathBuf>,
    /// Say so many classes for each picture
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: u32,
    /// How each picture is told, in a line of its own
    #[arg(long, value_enum, default_value = "table")]
    pub format: PredictFormat,
    /// Average logits over each picture and its mirror image
    #[arg(long)]
    pub flip: bool,
    /// Pictures a pass
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceOptions,
}

impl PredictArgs {
    /// How many of so many classes are said.
    pub fn top_k(&self, classes: usize) -> usize {
        (self.top_k as usize).min(classes)
    }
}

/// The form of `predict`'s lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PredictFormat {
    /// For people
    Table,
    /// With commas, and a line of names first
    Csv,
    /// An object of JSON each
    Json,
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, &'static str> {
    let value = text.parse().ok().filter(|value: &f64| *value > 0.0 && (*value as f32).is_finite());
    value.ok_or("it must be a number above 0")
}

/// Options of `spectrum`.
#[derive(Debug, Args)]
pub struct SpectrumArgs {
    /// Weights, or the folder of a run, whose best ones are taken
    #[arg(value_parser = paths())]
    pub weights: PathBuf,
    /// Whose losses: all, head, tail, classes (each by itself), or one class, such as class9
    #[arg(long, value_delimiter = ',', default_value = "all,head,tail", value_name = "GROUPS")]
    pub groups: Vec<Word>,
    /// Products with the Hessian from each start vector
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: u32,
    /// Start vectors; from 2 on, densities and traces have standard errors
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub vectors: u32,
    /// Cut a group that has more samples, but no tail class, to so many
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: u32,
    /// Another loss than that of the training
    #[arg(long, value_enum)]
    pub loss: Option<LossName>,
    /// Which of Lanczos's vectors are kept
    #[arg(long, value_enum, default_value = "full")]
    pub basis: Basis,
    /// Fixes the start vectors, and the order of samples for --escape
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Count the steps that sgd, sam, imbsam and sse-sam take away from these weights, moved along u, the vector of
    /// lambda_min, until the group's loss has fallen as far as it does along u
    #[arg(long, help_heading = "Escape")]
    pub escape: bool,
    /// Give up after so many steps
    #[arg(long, value_name = "N", default_value_t = 500, requires = "escape", help_heading = "Escape")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub escape_steps: u32,
    /// How far the weights are moved along u, both ways
    #[arg(long, value_name = "LENGTH", default_value_t = 1e-3, requires = "escape", help_heading = "Escape")]
    #[arg(value_parser = positive)]
    pub escape_length: f64,
    /// Learning rate of the steps, which know neither momentum nor weight decay
    #[arg(long, value_name = "RATE", default_value_t = 0.1, requires = "escape", help_heading = "Escape")]
    #[arg(value_parser = positive)]
    pub escape_lr: f64,
    /// Samples of a step
    #[arg(long, value_name = "N", default_value_t = 64, requires = "escape", help_heading = "Escape")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub escape_batch: u32,
    /// Samples a pass
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Another place of the data than the one the weights were trained on
    #[arg(long, value_parser = places())]
    pub data: Option<String>,
    /// File of lines with nodes and weights, one a group; what it has is not measured again, and a picture lies beside it
    /// [beside the weights]
    #[arg(long, value_name = "FILE.jsonl", value_parser = paths())]
    pub out: Option<PathBuf>,
    /// Print the lines instead of a table
    #[arg(long)]
    pub json: bool,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceOptions,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Reference trajectories; each NAME.json has its NAME.safetensors beside it
    #[arg(required = true, value_name = "CASE.json", value_parser = paths())]
    pub cases: Vec<PathBuf>,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceOptions,
}

/// A network with data of its size, as `bench` and `tune` run it.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// As in `train`
    #[arg(long, default_value = "resnet32")]
    pub model: String,
    /// As in `train`
    #[arg(long, value_enum)]
    pub stem: Option<StemName>,
    /// Samples a step
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Number of classes [those of a perceptron's last layer, else 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=32767))]
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
    /// Time a product with the Hessian as well, as `spectrum` takes eighty, beside a gradient of the same batch
    #[arg(long)]
    pub hessian: bool,
    /// Print all numbers as one line of JSON, the last one
    #[arg(long)]
    pub json: bool,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceOptions,
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
    pub device: DeviceOptions,
}

/// What weights are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A header for sse_sam.h
    C,
    /// A module for sse-sam-core
    Rust,
    /// A model for ONNX Runtime and others
    Onnx,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Weights written by `train`, or the folder of a run, whose best ones are taken
    #[arg(value_parser = paths())]
    pub weights: PathBuf,
    /// What is written
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// File to write [constants: standard output; onnx: beside the weights]
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
    /// As in `train`
    #[arg(long, value_enum)]
    pub stem: Option<StemName>,
    /// Samples a step
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub batch: u32,
    /// Number of classes [those of a perceptron's last layer, else 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=32767))]
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
