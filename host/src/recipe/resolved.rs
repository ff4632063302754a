//! What a training does: options joined with the defaults of their data set, checked before any work.

use std::num::NonZero;
use std::path::{self, Path, PathBuf};

use sse_sam_core::longtail::classes::{Profile, Shots};
use sse_sam_core::network::models::Stem;
use sse_sam_core::{Economy, Loss, Method, Model, Shape};

use crate::data::pictures::options::PictureOptions;
use crate::data::pictures::transform::RandomCrop;
use crate::data::{self, Dataset, Format, Rule};
use crate::error::Error;
use crate::recipe::defaults::{self, Defaults};
use crate::recipe::imbalance::Imbalance;
use crate::recipe::moments::Moment;
use crate::recipe::normalize::Normalize;
use crate::recipe::options::{DeviceOptions, Minutes, Options};
use crate::recipe::ranges::{by_loss, by_option, positive};
use crate::recipe::rates::Rates;
use crate::recipe::words::{Augment, LongTail, LossName, MemoryName, MethodName, OnNan, StemName};

/// Everything that decides what a training does.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
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
    /// Where pictures are, and how they are read.
    pub pictures: PictureOptions,
    /// Variation of the training images.
    pub augment: Augment,
    /// How they are cut out at random, where they are.
    pub cut: Option<RandomCrop>,
    /// The share of the training samples that is set aside to validate on.
    pub validation: Option<f64>,
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
    pub economy: Economy,
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
    /// After how many epochs without a better validation accuracy a run stops.
    pub patience: Option<u32>,
    /// Where it is to be computed.
    pub device: DeviceOptions,
    /// Epochs from one checkpoint to the next.
    pub checkpoint_every: u32,
    /// After what time there is one in mid-epoch too.
    pub checkpoint_minutes: Option<Minutes>,
    /// Checkpoints that are kept.
    pub keep: u32,
    /// Epochs from one spectrum to the next, where they are measured.
    pub spectrum_every: Option<u32>,
    /// After which epochs they are measured beside that.
    pub spectrum_at: Vec<Moment>,
    /// What happens when numbers are no longer finite.
    pub on_nan: OnNan,
    /// How often a run goes back then.
    pub rollbacks: u32,
    /// Whether there is an event file for TensorBoard.
    pub tensorboard: bool,
}

impl Recipe {
    /// Joins the options with the defaults for `dataset` and checks every number.
    ///
    /// # Errors
    /// [`Error::Usage`] for what the options must change, [`Error::Core`] for numbers the core refuses.
    pub fn resolve(options: &Options, dataset: &Dataset) -> Result<Self, Error> {
        let defaults = Defaults::of(dataset.format);
        let imbalance = options.imbalance.map_or(defaults.imbalance, |given| given.0);
        let profile = options.long_tail.unwrap_or_default().profile();
        let counts = data::counts_after(dataset, imbalance, profile).map_err(by_option)?;
        let defaults = defaults.divided(dataset.format, &counts).sized(dataset.format, dataset.image);
        let augment = options.augment.unwrap_or(defaults.augment);
        let epochs = at_least_one("--epochs", options.epochs.unwrap_or(defaults.epochs))?;
        let batch = at_least_one("--batch", options.batch.unwrap_or(defaults.batch))?;
        let data = options.place();
        // Errors show the path as it was typed; config.toml will hold the one that lasts.
        options.init.as_deref().map(|path| lasting("--init", path, false)).transpose()?;
        let recipe = Self {
            data: lasting("--data", Path::new(data), data == Format::Digits.word())?,
            format: dataset.format,
            imbalance,
            profile,
            rule: options.subset.unwrap_or_default(),
            pictures: pictures(options, dataset, augment == Augment::Imagenet)?,
            augment,
            cut: cut(options, augment, dataset)?,
            validation: validation(options, dataset)?,
            normalize: match &options.normalize {
                None if dataset.format.is_encoded() && augment == Augment::Imagenet => {
                    Normalize::imagenet(dataset.image)
                }
                given => normalize(given.as_deref(), dataset)?,
            },
            shots: shots((options.many, options.few), defaults)?,
            model: with_stem(model(options.model.as_deref().unwrap_or(defaults.model))?, options.stem, dataset.image),
            init: options.init.clone(),
            trainable_layers: options.trainable_layers.clone(),
            method: method(options),
            tail_weight: positive("--tail-weight", options.tail_weight.unwrap_or(defaults::TAIL_WEIGHT))?,
            eta: options.eta.unwrap_or(defaults.eta),
            loss: loss(options),
            drw_epoch: options.drw_epoch,
            epochs,
            batch,
            micro_batch: options.micro_batch.map(|rows| rows.min(batch)),
            economy: options.memory.unwrap_or_default().economy(),
            rates: Rates::new(options, defaults.learning_rate, epochs)?,
            momentum: positive("--momentum", options.momentum.unwrap_or(defaults::MOMENTUM))?,
            nesterov: options.nesterov.unwrap_or_default(),
            weight_decay: positive("--weight-decay", options.weight_decay.unwrap_or(defaults.weight_decay))?,
            seed: options.seed.unwrap_or_default(),
            flip: options.flip.unwrap_or_default(),
            patience: options.patience.map(NonZero::get),
            device: options.device.clone(),
            checkpoint_every: options.checkpoint_every.unwrap_or(defaults::CHECKPOINT_EVERY).get(),
            checkpoint_minutes: options.checkpoint_minutes,
            keep: options.keep.unwrap_or(defaults::KEEP).get(),
            spectrum_every: options.spectrum_every.map(NonZero::get),
            spectrum_at: options.spectrum_at.clone().unwrap_or_default(),
            on_nan: options.on_nan.unwrap_or_default(),
            rollbacks: options.rollbacks.unwrap_or(defaults::ROLLBACKS).get(),
            tensorboard: options.tensorboard.unwrap_or_default(),
        };
        are_finite(options)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Whether spectra are measured at the end of an epoch of a run of so many.
    pub fn measures_spectra(&self, epoch: u32, epochs: u32) -> bool {
        let is_round = self.spectrum_every.is_some_and(|every| (epoch + 1).is_multiple_of(every));
        is_round || self.spectrum_at.iter().any(|moment| moment.epoch(&self.method, epochs) == Some(epoch))
    }

    /// Refuses what contradicts itself, and numbers that the core does not take.
    fn check(&self) -> Result<(), Error> {
        let refuse = |message: &str| Err(Error::Usage(message.into()));
        if self.nesterov && self.economy != Economy::Full {
            return refuse("--memory lean and recompute keep no gradient, which --nesterov needs");
        }
        if self.micro_batch == Some(0) {
            return refuse("--micro-batch must be at least 1");
        }
        if self.trainable_layers.is_some() && self.init.is_none() {
            return refuse("--trainable-layers needs weights to start from: --init FILE.safetensors");
        }
        self.method.groups(0, self.epochs).map_err(by_option)?;
        self.loss.terms(&[1], 0).map(drop).map_err(|error| by_loss(error, &self.loss))
    }
}

/// Every setting of a recipe, defaults included; what its method or loss does not use is left out.
impl From<&Recipe> for Options {
    fn from(recipe: &Recipe) -> Self {
        let is_cut = recipe.imbalance.is_some();
        let is_cut_by_default = is_cut || Defaults::of(recipe.format).imbalance.is_some();
        let options = Self {
            data: Some(recipe.data.clone()),
            dataset: Some(recipe.format),
            // None is said where the data set would be cut without a word.
            imbalance: is_cut_by_default.then_some(Imbalance(recipe.imbalance)),
            long_tail: is_cut.then(|| LongTail::of(recipe.profile)),
            subset: is_cut.then_some(recipe.rule),
            pictures: recipe.pictures.clone(),
            augment: Some(recipe.augment),
            validation: recipe.validation,
            normalize: Some(recipe.normalize.to_string()),
            many: Some(recipe.shots.many),
            few: Some(recipe.shots.few),
            model: Some(recipe.model.to_string()),
            // The other one stands in the model's name.
            stem: recipe.model.stem().filter(|&stem| stem == Stem::Small).map(StemName::of),
            init: recipe.init.as_ref().map(|path| path::absolute(path).unwrap_or_else(|_| path.clone())),
            trainable_layers: recipe.trainable_layers.clone(),
            tail_weight: recipe.method.has_tail().then_some(recipe.tail_weight),
            eta: Some(recipe.eta),
            drw_epoch: recipe.drw_epoch,
            epochs: Some(recipe.epochs),
            batch: Some(recipe.batch),
            micro_batch: recipe.micro_batch,
            memory: Some(MemoryName::of(recipe.economy)).filter(|&memory| memory != MemoryName::Full),
            lr: Some(recipe.rates.base),
            lr_head: recipe.rates.head,
            momentum: Some(recipe.momentum),
            nesterov: Some(recipe.nesterov),
            weight_decay: Some(recipe.weight_decay),
            schedule: Some(recipe.rates.name),
            milestones: recipe.rates.given_milestones().map(<[u32]>::to_vec),
            warmup: Some(recipe.rates.warmup),
            seed: Some(recipe.seed),
            flip: Some(recipe.flip),
            patience: recipe.patience.and_then(NonZero::new),
            device: DeviceOptions { conv: Some(recipe.device.conv.unwrap_or_default()), ..recipe.device.clone() },
            checkpoint_every: NonZero::new(recipe.checkpoint_every),
            checkpoint_minutes: recipe.checkpoint_minutes,
            keep: NonZero::new(recipe.keep),
            spectrum_every: recipe.spectrum_every.and_then(NonZero::new),
            spectrum_at: Some(recipe.spectrum_at.clone()).filter(|moments| !moments.is_empty()),
            on_nan: Some(recipe.on_nan),
            rollbacks: NonZero::new(recipe.rollbacks).filter(|_| recipe.on_nan == OnNan::Rollback),
            tensorboard: Some(recipe.tensorboard),
            ..Self::default()
        };
        with_loss(with_method(options, &recipe.method), &recipe.loss)
    }
}

/// The options about pictures as they last: places in whichever folder the program is started next, and the size that was found.
fn pictures(options: &Options, dataset: &Dataset, is_cut: bool) -> Result<PictureOptions, Error> {
    let mut given = options.pictures.clone();
    if !is_cut {
        (given.crop_scale, given.crop_ratio, given.jitter) = (None, None, None);
    }
    if !dataset.format.is_encoded() {
        let PictureOptions { crop_scale, crop_ratio, jitter, interpolation, workers, .. } = given;
        let cut =
            PictureOptions { crop_scale, crop_ratio, jitter, interpolation, workers, ..PictureOptions::default() };
        return Ok(if is_cut { cut } else { PictureOptions::default() });
    }
    let place = |option: &str, path: &Option<String>| {
        path.as_ref().map(|path| lasting(option, Path::new(path), false)).transpose()
    };
    Ok(PictureOptions {
        train: place("--train", &given.train)?,
        val: place("--val", &given.val)?,
        test: place("--test", &given.test)?,
        data_root: place("--data-root", &given.data_root)?,
        class_map: place("--class-map", &given.class_map)?,
        image_size: given.image_size.or_else(|| dataset.view?.evaluation.map(|evaluation| evaluation.crop)),
        ..given
    })
}

/// How training images are cut out, where they are.
fn cut(options: &Options, augment: Augment, dataset: &Dataset) -> Result<Option<RandomCrop>, Error> {
    let Shape { height, width, .. } = dataset.image;
    match augment {
        Augment::Imagenet if height == width => options.pictures.random_crop(height as u32).map(Some),
        Augment::Imagenet => Err(Error::Usage(format!(
            "--augment imagenet cuts squares, and the images are {height} x {width}: --image-size says how large"
        ))),
        _ => Ok(None),
    }
}

/// The share of `--validation`, where it is one that these data can give; `--patience` needs a set to look at.
fn validation(options: &Options, dataset: &Dataset) -> Result<Option<f64>, Error> {
    let refuse = |message: String| Err(Error::Usage(message));
    match options.validation {
        Some(share) if !(share > 0.0 && share < 1.0) => {
            refuse(format!("--validation must be above 0 and below 1, got {share:?}"))
        }
        Some(_) if dataset.validation.is_some() => {
            refuse(format!("--validation does nothing here: {} has a validation set of its own", dataset.name))
        }
        None if options.patience.is_some() && dataset.validation.is_none() => refuse(
            "--patience needs a validation set to look at: --validation 0.1 sets a tenth of each class aside".into(),
        ),
        share => Ok(share),
    }
}

/// The method that options ask for.
pub fn method(options: &Options) -> Method {
    let rho = options.rho.unwrap_or(defaults::RHO);
    match options.method.unwrap_or_default() {
        MethodName::Sgd => Method::Sgd,
        MethodName::Sam => Method::Sam { rho },
        MethodName::Imbsam => Method::ImbSam { rho },
        MethodName::SseSam => Method::SseSam {
            head_rho: options.head_rho.unwrap_or(defaults::HEAD_RHO),
            tail_rho: options.tail_rho.unwrap_or(defaults::TAIL_RHO),
            gamma: options.gamma.unwrap_or(defaults::GAMMA),
        },
        MethodName::FocalSam => Method::FocalSam {
            rho,
            lambda: options.focal_sam_lambda.unwrap_or(defaults::FOCAL_SAM_LAMBDA),
            gamma: options.focal_sam_gamma.unwrap_or(defaults::FOCAL_SAM_GAMMA),
        },
    }
}

/// The options that ask for a method, beside the other options.
fn with_method(options: Options, method: &Method) -> Options {
    let options = Options { method: Some(MethodName::of(method)), ..options };
    match *method {
        Method::Sgd => options,
        Method::Sam { rho } | Method::ImbSam { rho } => Options { rho: Some(rho), ..options },
        Method::SseSam { head_rho, tail_rho, gamma } => {
            Options { head_rho: Some(head_rho), tail_rho: Some(tail_rho), gamma: Some(gamma), ..options }
        }
        Method::FocalSam { rho, lambda, gamma } => {
            let (focal_sam_lambda, focal_sam_gamma) = (Some(lambda), Some(gamma));
            Options { rho: Some(rho), focal_sam_lambda, focal_sam_gamma, ..options }
        }
    }
}

/// The loss that options ask for.
pub fn loss(options: &Options) -> Loss {
    let tau = options.tau.unwrap_or(defaults::TAU);
    match options.loss.unwrap_or_default() {
        LossName::Ce => Loss::CrossEntropy,
        LossName::Ldam => Loss::Ldam {
            max_m: options.ldam_margin.unwrap_or(defaults::LDAM_MARGIN),
            scale: options.ldam_scale.unwrap_or(defaults::LDAM_SCALE),
        },
        LossName::La => Loss::LogitAdjustment { tau },
        LossName::Vs => Loss::VectorScaling { gamma: options.vs_gamma.unwrap_or(defaults::VS_GAMMA), tau },
        LossName::BalancedSoftmax => Loss::BalancedSoftmax,
        LossName::Focal => Loss::Focal { gamma: options.focal_gamma.unwrap_or(defaults::FOCAL_GAMMA) },
    }
}

/// The options that ask for a loss, beside the other options.
fn with_loss(options: Options, loss: &Loss) -> Options {
    let named = |name| Options { loss: Some(name), ..options };
    match *loss {
        Loss::CrossEntropy => named(LossName::Ce),
        Loss::Ldam { max_m, scale } => {
            Options { ldam_margin: Some(max_m), ldam_scale: Some(scale), ..named(LossName::Ldam) }
        }
        Loss::LogitAdjustment { tau } => Options { tau: Some(tau), ..named(LossName::La) },
        Loss::VectorScaling { gamma, tau } => Options { vs_gamma: Some(gamma), tau: Some(tau), ..named(LossName::Vs) },
        Loss::BalancedSoftmax => named(LossName::BalancedSoftmax),
        Loss::Focal { gamma } => Options { focal_gamma: Some(gamma), ..named(LossName::Focal) },
    }
}

/// Refuses numbers of methods and losses that are infinite as `f32`, as the core takes them.
fn are_finite(options: &Options) -> Result<(), Error> {
    let numbers = [
        ("--rho", options.rho),
        ("--head-rho", options.head_rho),
        ("--tail-rho", options.tail_rho),
        ("--focal-sam-gamma", options.focal_sam_gamma),
        ("--ldam-margin", options.ldam_margin),
        ("--ldam-scale", options.ldam_scale),
        ("--tau", options.tau),
        ("--vs-gamma", options.vs_gamma),
        ("--focal-gamma", options.focal_gamma),
    ];
    let given = numbers.into_iter().filter_map(|(option, number)| Some((option, number?)));
    let mut above_zero = given.filter(|(_, number)| number.is_finite() && *number > 0.0);
    above_zero.try_for_each(|(option, number)| positive(option, number).map(drop))
}

fn at_least_one<T: Default + PartialEq>(option: &str, number: T) -> Result<T, Error> {
    if number == T::default() {
        return Err(Error::Usage(format!("{option} must be at least 1")));
    }
    Ok(number)
}

/// What `--normalize` says, if anything.
pub fn normalize(text: Option<&str>, dataset: &Dataset) -> Result<Normalize, Error> {
    text.map_or(Ok(Normalize::default()), |text| Normalize::new(text, dataset.image.channels))
}

/// The absolute path, which holds in whichever folder the program is started next.
fn lasting(option: &str, path: &Path, is_name: bool) -> Result<String, Error> {
    let path =
        if is_name { path.to_owned() } else { path::absolute(path).map_err(|source| Error::io(path, source))? };
    path.into_os_string().into_string().map_err(|path| {
        let path = Path::new(&path).display();
        Error::Usage(format!("{option} lies in {path}, which is not UTF-8 and cannot stand in config.toml"))
    })
}

/// The model of `--model`.
pub fn model(name: &str) -> Result<Model, Error> {
    name.parse().map_err(|error| match name.split_once(':') {
        Some((_, sizes)) if is_out_of_range(sizes) => {
            Error::Usage(format!("--model {name}: sizes of layers are in 1..2^24"))
        }
        _ => Error::Usage(format!("--model {name}: {error}")),
    })
}

/// Pictures whose sides are longer are large: a network that may have either stem gets the one for such.
const SMALL_PICTURE: usize = 64;

/// The model with the stem that `--stem` asks for, else with the one for pictures of this size; one whose name says which it
/// has (`resnet18-imagenet`) stays as it is.
pub fn with_stem(model: Model, stem: Option<StemName>, image: Shape) -> Model {
    let is_large = image.height.min(image.width) > SMALL_PICTURE;
    let stem = stem.map_or(if is_large { Stem::ImageNet } else { Stem::Small }, StemName::stem);
    if model.stem() == Some(Stem::ImageNet) { model } else { model.with_stem(stem) }
}

/// Whether these are numbers that are sizes of layers, but for their range.
fn is_out_of_range(sizes: &str) -> bool {
    let is_number = |size: &str| !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |size: &str| size.parse().is_ok_and(|size: u32| size > 0 && size < 1 << 24);
    sizes.split('-').all(is_number) && !sizes.split('-').all(fits)
}

/// The bounds of many and few shots; `given` are `--many` and `--few`. Where one is given, the other gives way.
pub fn shots(given: (Option<u32>, Option<u32>), defaults: Defaults) -> Result<Shots, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stem_follows_from_the_picture_unless_it_is_said() {
        let stem = |name: &str, stem, side| {
            let model = with_stem(model(name).unwrap(), stem, Shape::new(side, side, 3));
            model.to_string()
        };
        assert_eq!(stem("resnet18", None, 64), "resnet18");
        assert_eq!(stem("resnet18", None, 65), "resnet18-imagenet");
        assert_eq!(stem("resnet50:8", None, 224), "resnet50-imagenet:8");
        assert_eq!(stem("resnet50", Some(StemName::Cifar), 224), "resnet50");
        assert_eq!(stem("resnet101", Some(StemName::Imagenet), 32), "resnet101-imagenet");
        assert_eq!(stem("resnet34-imagenet", None, 32), "resnet34-imagenet");
        assert_eq!(stem("resnet32", None, 224), "resnet32");
        assert_eq!(stem("mlp:8-4", Some(StemName::Imagenet), 224), "mlp:8-4");
    }
}
