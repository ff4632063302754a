//! What a run does: the command line joined with the defaults of its data set, checked before any work.

use std::path::{self, Path, PathBuf};

use sse_sam_core::longtail::classes::{Profile, Shots};
use sse_sam_core::{Economy, Error as CoreError, Loss, Method, Model, Schedule};

use crate::cli::args::{Augment, LongTail, LossName, MemoryName, MethodName, ScheduleName, TrainArgs};
use crate::cli::unused;
use crate::data::{self, Dataset, Format, Rule, split};
use crate::error::Error;

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
            Format::Idx => Self {
                model: "resnet20",
                eta: 400,
                shots: Shots { many: 1000, few: 200 },
                epochs: 30,
                augment: Augment::None,
                ..cifar
            },
        }
    }

    /// The same for a training set with so many samples in each class.
    #[must_use]
    pub fn divided(self, format: Format, counts: &[u32]) -> Self {
        // What many and few are is part of the reports on digits and CIFAR; IDX files may hold anything.
        let shots = if format == Format::Idx { split::shots(counts, self.shots) } else { self.shots };
        Self { eta: split::eta(counts, self.eta), shots, ..self }
    }
}

/// How bytes become numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Normalize {
    /// By mean and deviation of each channel of the training images.
    Data,
    /// Divided by 255.
    None,
    /// By these means and deviations of values in 0..1, one for all channels or one for each.
    Given(Vec<f64>, Vec<f64>),
}

/// A learning-rate schedule with its own list of milestones.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// How the rate falls.
    pub name: ScheduleName,
    /// Epochs from which it is a tenth, where it falls in steps; the usual ones when empty.
    milestones: Vec<u32>,
    /// Base learning rate.
    pub base: f64,
    /// Epochs of linear warm-up.
    pub warmup: u32,
    epochs: u32,
}

impl Rates {
    /// The milestones that were given, where they are used.
    pub fn given_milestones(&self) -> Option<&[u32]> {
        (self.name == ScheduleName::MultiStep && !self.milestones.is_empty()).then_some(&self.milestones)
    }

    /// The same for a run of so many epochs.
    #[must_use]
    pub fn over(&self, epochs: u32) -> Self {
        Self { epochs, ..self.clone() }
    }

    /// The learning rate of an epoch.
    pub fn at(&self, epoch: u32) -> Result<f64, Error> {
        // Not the first epoch: the base rate is that of some epoch.
        let share = |fifths: u32| ((u64::from(self.epochs) * u64::from(fifths) / 5) as u32).max(1);
        let milestones = if self.milestones.is_empty() { &[share(3), share(4)][..] } else { &self.milestones };
        let schedule = match self.name {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Cosine => Schedule::Cosine,
            ScheduleName::MultiStep => Schedule::MultiStep { milestones, factor: 0.1 },
        };
        Ok(schedule.learning_rate(self.base, epoch, self.epochs, self.warmup)?)
    }
}

/// Everything that decides what a run computes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the data came from.
    pub data: String,
    /// Its format.
    pub format: Format,
    /// Largest class over smallest, where the training set is cut.
    pub imbalance: Option<f64>,
    /// Shape of the cut.
    pub profile: Profile,
    /// Which samples of a class stay.
    pub rule: Rule,
    /// Variation of the training images.
    pub augment: Augment,
    /// How bytes become numbers.
    pub normalize: Normalize,
    /// Bounds of many and few shots.
    pub shots: Shots,
    /// Network.
    pub model: Model,
    /// Initial weights.
    pub init: Option<PathBuf>,
    /// Which layers are trained, where not all are.
    pub trainable_layers: Option<String>,
    /// Training method.
    pub method: Method,
    /// Factor of the tail's loss.
    pub tail_weight: f64,
    /// Classes with fewer training samples are the tail.
    pub eta: u32,
    /// Loss.
    pub loss: Loss,
    /// First epoch with class weights.
    pub drw_epoch: Option<u32>,
    /// Number of epochs.
    pub epochs: u32,
    /// Samples a step.
    pub batch: usize,
    /// Samples that pass through the network at once, where a batch passes in pieces.
    pub micro_batch: Option<usize>,
    /// The form of the step.
    pub memory: Economy,
    /// Learning rates.
    pub rates: Rates,
    /// Momentum.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// Fixes initial weights, order and augmentation.
    pub seed: u64,
    /// Whether evaluation averages over mirror images.
    pub flip: bool,
}

impl Config {
    /// Joins the command line with the defaults for `dataset` and checks every number.
    ///
    /// # Errors
    /// [`Error::Usage`] for what the command line must change, [`Error::Core`] for numbers the core refuses.
    pub fn new(args: &TrainArgs, dataset: &Dataset) -> Result<Self, Error> {
        let defaults = Defaults::of(dataset.format);
        let imbalance = args.imbalance.or(defaults.imbalance);
        let profile = profile(args.long_tail);
        let counts = data::counts_after(dataset, imbalance, profile).map_err(by_option)?;
        let defaults = defaults.divided(dataset.format, &counts);
        let epochs = args.epochs.unwrap_or(defaults.epochs);
        let batch = args.batch.unwrap_or(defaults.batch);
        for (option, number) in [("--epochs", epochs as usize), ("--batch", batch)] {
            if number == 0 {
                return Err(Error::Usage(format!("{option} must be at least 1")));
            }
        }
        let config = Self {
            data: lasting("--data", Path::new(&args.data), args.data == Format::Digits.word())?,
            format: dataset.format,
            imbalance,
            profile,
            rule: args.subset,
            augment: args.augment.unwrap_or(defaults.augment),
            normalize: normalize(&args.normalize, dataset.image.channels)?,
            shots: shots((args.many, args.few), defaults)?,
            model: model(args.model.as_deref().unwrap_or(defaults.model))?,
            init: args.init.as_ref().map(|path| lasting("--init", path, false)).transpose()?.map(PathBuf::from),
            trainable_layers: args.trainable_layers.clone(),
            method: method(args),
            tail_weight: positive("--tail-weight", args.tail_weight)?,
            eta: args.eta.unwrap_or(defaults.eta),
            loss: loss(args),
            drw_epoch: args.drw_epoch,
            epochs,
            batch,
            micro_batch: args.micro_batch.map(|rows| rows.min(batch)),
            memory: memory(args.memory),
            rates: rates(args, defaults, epochs)?,
            momentum: positive("--momentum", args.momentum)?,
            nesterov: args.nesterov,
            weight_decay: positive("--weight-decay", args.weight_decay.unwrap_or(defaults.weight_decay))?,
            seed: args.seed,
            flip: args.flip,
        };
        let refuse = |message: &str| Err(Error::Usage(message.into()));
        if config.nesterov && config.memory != Economy::Full {
            return refuse("--memory lean and recompute keep no gradient, which --nesterov needs");
        }
        if config.micro_batch == Some(0) {
            return refuse("--micro-batch must be at least 1");
        }
        if config.trainable_layers.is_some() && config.init.is_none() {
            return refuse("--trainable-layers needs weights to start from: --init FILE.safetensors");
        }
        // The core is asked about numbers as `f32`, and would call these infinite.
        let numbers = [
            ("--rho", args.rho),
            ("--head-rho", args.head_rho),
            ("--tail-rho", args.tail_rho),
            ("--focal-sam-gamma", args.focal_sam_gamma),
        ];
        let more = [("--ldam-margin", args.ldam_margin), ("--ldam-scale", args.ldam_scale), ("--tau", args.tau)];
        let more = more.into_iter().chain([("--vs-gamma", args.vs_gamma), ("--focal-gamma", args.focal_gamma)]);
        let numbers = numbers.into_iter().filter_map(|(option, number)| Some((option, number?))).chain(more);
        for (option, number) in numbers.filter(|(_, number)| number.is_finite() && *number > 0.0) {
            positive(option, number)?;
        }
        config.method.groups(0, epochs).map_err(by_option)?;
        config.loss.terms(&[1], 0).map_err(|error| by_loss(error, &config.loss))?;
        unused::check(args, &config)?;
        Ok(config)
    }
}

/// The path as it stays true wherever the program is started next.
fn lasting(option: &str, path: &Path, is_name: bool) -> Result<String, Error> {
    let path =
        if is_name { path.to_owned() } else { path::absolute(path).map_err(|source| Error::io(path, source))? };
    path.into_os_string().into_string().map_err(|path| {
        let path = Path::new(&path).display();
        Error::Usage(format!("{option} lies in {path}, which is not UTF-8 and cannot stand in config.toml"))
    })
}

/// The shape of `--long-tail`.
pub(crate) fn profile(name: LongTail) -> Profile {
    match name {
        LongTail::Exp => Profile::Exponential,
        LongTail::Step => Profile::Step,
    }
}

/// A number that is still one as `f32`.
fn positive(option: &str, number: f64) -> Result<f64, Error> {
    if number >= 0.0 && (number as f32).is_finite() {
        Ok(number)
    } else {
        Err(Error::Usage(format!("{option} must be in 0..=3.4e38, got {number:?}")))
    }
}

/// The options that set the numbers which the core checks.
const OPTIONS: [(&str, &str); 13] = [
    ("rho", "--rho"),
    ("head_rho", "--head-rho"),
    ("tail_rho", "--tail-rho"),
    ("gamma", "--gamma"),
    ("lambda", "--focal-sam-lambda"),
    ("Focal-SAM gamma", "--focal-sam-gamma"),
    ("LDAM margin", "--ldam-margin"),
    ("LDAM scale", "--ldam-scale"),
    ("tau", "--tau"),
    ("vector scaling gamma", "--vs-gamma"),
    ("focal gamma", "--focal-gamma"),
    ("learning rate", "--lr"),
    ("imbalance", "--imbalance"),
];

/// The same error; for a number out of its range one that names the option to change.
pub fn by_option(error: impl Into<Error>) -> Error {
    let error = error.into();
    let Error::Core(CoreError::Range { what, low, high, found }) = error else { return error };
    match OPTIONS.iter().find(|(name, _)| *name == what) {
        Some(&(_, option)) => Error::Usage(CoreError::Range { what: option, low, high, found }.to_string()),
        None => error,
    }
}

/// A table that is not finite is the matter of the loss's options.
pub(crate) fn by_loss(error: CoreError, loss: &Loss) -> Error {
    let CoreError::Range { what, .. } = error else { return error.into() };
    if OPTIONS.iter().any(|(name, _)| *name == what) {
        return by_option(error);
    }
    let options = match loss {
        Loss::LogitAdjustment { .. } => "--tau",
        Loss::VectorScaling { .. } => "--vs-gamma or --tau",
        Loss::Ldam { .. } => "--ldam-margin or --ldam-scale",
        _ => return by_option(error),
    };
    Error::Usage(format!("{options}: {error}"))
}

/// The model of `--model`.
pub(crate) fn model(name: &str) -> Result<Model, Error> {
    name.parse().map_err(|error| match name.split_once(':') {
        Some((_, sizes)) if is_out_of_range(sizes) => {
            Error::Usage(format!("--model {name}: sizes of layers are in 1..2^24"))
        }
        _ => Error::Usage(format!("--model {name}: {error}")),
    })
}

/// Whether these are numbers that are sizes of layers, but for their range.
fn is_out_of_range(sizes: &str) -> bool {
    let is_number = |size: &str| !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |size: &str| size.parse().is_ok_and(|size: u32| size > 0 && size < 1 << 24);
    sizes.split('-').all(is_number) && !sizes.split('-').all(fits)
}

/// The form of the step by its name.
pub(crate) fn memory(name: MemoryName) -> Economy {
    match name {
        MemoryName::Full => Economy::Full,
        MemoryName::Lean => Economy::Lean,
        MemoryName::Recompute => Economy::Recompute,
    }
}

fn method(args: &TrainArgs) -> Method {
    let rho = args.rho.unwrap_or(0.05);
    match args.method {
        MethodName::Sgd => Method::Sgd,
        MethodName::Sam => Method::Sam { rho },
        MethodName::Imbsam => Method::ImbSam { rho },
        MethodName::SseSam => Method::SseSam {
            head_rho: args.head_rho.unwrap_or(0.05),
            tail_rho: args.tail_rho.unwrap_or(0.1),
            gamma: args.gamma.unwrap_or(0.5),
        },
        MethodName::FocalSam => Method::FocalSam {
            rho,
            lambda: args.focal_sam_lambda.unwrap_or(1.0),
            gamma: args.focal_sam_gamma.unwrap_or(1.0),
        },
    }
}

fn loss(args: &TrainArgs) -> Loss {
    match args.loss {
        LossName::Ce => Loss::CrossEntropy,
        LossName::Ldam => Loss::Ldam { max_m: args.ldam_margin, scale: args.ldam_scale },
        LossName::La => Loss::LogitAdjustment { tau: args.tau },
        LossName::Vs => Loss::VectorScaling { gamma: args.vs_gamma, tau: args.tau },
        LossName::BalancedSoftmax => Loss::BalancedSoftmax,
        LossName::Focal => Loss::Focal { gamma: args.focal_gamma },
    }
}

fn rates(args: &TrainArgs, defaults: Defaults, epochs: u32) -> Result<Rates, Error> {
    Ok(Rates {
        name: args.schedule,
        milestones: args.milestones.clone(),
        base: positive("--lr", args.lr.unwrap_or(defaults.learning_rate))?,
        warmup: args.warmup,
        epochs,
    })
}

/// The bounds of many and few shots; `given` are `--many` and `--few`. Where one is given, the other gives way.
pub(crate) fn shots(given: (Option<u32>, Option<u32>), defaults: Defaults) -> Result<Shots, Error> {
    let usual = defaults.shots;
    let shots = match given {
        (None, None) => usual,
        (Some(many), None) => Shots { many, few: usual.few.min(many.saturating_add(1)) },
        (None, Some(few)) => Shots { many: usual.many.max(few.saturating_sub(1)), few },
        (Some(many), Some(few)) => Shots { many, few },
    };
    if shots.few > shots.many.saturating_add(1) {
        let message = format!("--few {} must not be above --many {} plus 1", shots.few, shots.many);
        return Err(Error::Usage(message));
    }
    Ok(shots)
}

pub(crate) fn normalize(text: &str, channels: usize) -> Result<Normalize, Error> {
    let (mean, deviation) = match text {
        "data" => return Ok(Normalize::Data),
        "none" => return Ok(Normalize::None),
        _ => text.split_once('/').ok_or_else(|| {
            Error::Usage(format!("--normalize takes data, none or MEAN/STD such as 0.5/0.25, got {text}"))
        })?,
    };
    let list = |part: &str| -> Result<Vec<f64>, Error> {
        let numbers: Result<Vec<f64>, _> = part.split(',').map(|number| number.trim().parse()).collect();
        let numbers = numbers.map_err(|_| Error::Usage(format!("--normalize: {part} is not a list of numbers")))?;
        let fits = numbers.len() == 1 || numbers.len() == channels;
        if fits && numbers.iter().all(|number: &f64| number.is_finite()) {
            return Ok(numbers);
        }
        Err(Error::Usage(format!("--normalize needs one finite number or {channels}, one a channel, got {part}")))
    };
    let (mean, deviation) = (list(mean)?, list(deviation)?);
    if deviation.iter().any(|&deviation| deviation <= 0.0) {
        return Err(Error::Usage("--normalize: deviations must be above 0".into()));
    }
    if !mean.iter().all(|&mean| deviation.iter().all(|&deviation| stays_finite(mean, deviation))) {
        return Err(Error::Usage(format!("--normalize {text} makes numbers of bytes that no 32-bit float holds")));
    }
    Ok(Normalize::Given(mean, deviation))
}

/// Whether bytes become finite numbers, and not all the same, by this mean and deviation of values in 0..1.
fn stays_finite(mean: f64, deviation: f64) -> bool {
    let (mean, inverse) = ((mean * 255.0) as f32, (1.0 / (deviation * 255.0)) as f32);
    inverse.is_normal() && [0.0, 255.0].iter().all(|byte: &f32| ((byte - mean) * inverse).is_finite())
}
