//! What a spectrum is of: weights, and the training samples and the loss that they were trained with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sse_sam_core::{Arena, Loss};

use crate::data::pictures::options::PictureOptions;
use crate::data::{self, Dataset, Request, Split};
use crate::device::layout::{Layout, Needs};
use crate::error::Error;
use crate::recipe::words::{LossName, word};
use crate::recipe::{Options, Recipe, file, resolved};
use crate::report::{Observer, Silent};
use crate::run::folder;
use crate::run::origin::Origin;
use crate::shown;
use crate::spectrum::groups::{Classes, Group};
use crate::train::prepare::{Prepared, prepare};
use crate::weights::{self, Data, Description, Tensor, Weights};

/// Weights with the training set and the loss that they belong to.
#[derive(Debug)]
pub struct Source {
    /// The weights.
    pub weights: Weights,
    /// The run's folder, where they lie in one.
    pub run: Option<PathBuf>,
    /// The data; of the training set what was trained on, and no test set.
    pub dataset: Dataset,
    /// Samples of each class that were trained on.
    pub counts: Vec<u32>,
    /// The same with those that were set aside to validate on.
    pub sizes: Vec<u32>,
    /// The loss.
    pub loss: Loss,
    /// What it is called.
    pub loss_name: String,
    /// What was trained: the Hessian is that of these parameters.
    pub trained: Trained,
}

/// Which layers were trained.
#[derive(Clone, Debug, Default)]
pub struct Trained {
    /// Number of the first one.
    pub first: usize,
    /// `--trainable-layers` as it was given, where it was.
    pub layers: Option<String>,
}

impl Trained {
    /// Those of a training.
    pub fn of(prepared: &Prepared) -> Self {
        Self { first: prepared.needs.first, layers: prepared.recipe.trainable_layers.clone() }
    }

    /// How many parameters they have in a network.
    ///
    /// # Errors
    /// [`Error::Core`] when the model does not fit the images or classes.
    pub fn parameters(&self, description: &Description) -> Result<usize, Error> {
        let Description { model, image, counts, .. } = description;
        let needs = Needs { first: self.first, ..Needs::new(*image, counts.len(), 1) };
        Ok(Layout::new(model, &needs, Arena::new(1))?.plan.trainable())
    }
}

impl Source {
    /// Opens weights, or the best ones of a run. The run's own settings say what was trained on and by which loss; of weights
    /// outside a run their own description, the first samples of each class, all layers, and cross-entropy. `data` is another place of the
    /// data, `loss` another loss.
    ///
    /// # Errors
    /// [`Error::Weights`] when the weights are damaged, say too little, or belong to other data, else what is wrong with the
    /// run or the data.
    pub fn open(
        path: &Path,
        data: Option<&str>,
        loss: Option<LossName>,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let path = weights::find(path, observer)?;
        let (tensors, metadata) = weights::read(&path)?;
        let weights = Weights::new(&path, tensors, &metadata)?;
        let home = folder::folder_of(&path);
        let source = if home != path && folder::is_run(&home) {
            of_run(weights, home, data, loss, observer)?
        } else {
            alone(weights, data, loss, observer)?
        };
        source.check(&path)?;
        // What was frozen came from elsewhere, whose counters may say nothing.
        if source.trained.layers.is_none() {
            is_evaluated(&path, source.weights.tensors())?;
        }
        Ok(source)
    }

    /// The classes of the training set.
    pub fn classes(&self) -> Classes<'_> {
        let Description { counts, eta, .. } = &self.weights.description;
        Classes { counts: &self.counts, sizes: counts, eta: *eta }
    }

    /// Refuses data that the weights were not trained on.
    fn check(&self, path: &Path) -> Result<(), Error> {
        let Description { image, counts, .. } = &self.weights.description;
        if (self.dataset.image, &self.sizes) == (*image, counts) {
            return Ok(());
        }
        Err(others(path, &self.dataset))
    }
}

fn others(path: &Path, dataset: &Dataset) -> Error {
    let message = format!("was trained on other images or classes than those of {}", dataset.name);
    Error::weights(path, message).with_hint("--data says where the data of these weights are")
}

/// Refuses a network that has only been in training mode: without running statistics there is no loss to look at.
fn is_evaluated(path: &Path, tensors: &[Tensor]) -> Result<(), Error> {
    let counts = tensors.iter().filter(|tensor| tensor.name.ends_with("num_batches_tracked"));
    let seen: Vec<i64> = counts
        .filter_map(|tensor| if let Data::I64(values) = &tensor.data { values.first().copied() } else { None })
        .collect();
    if seen.is_empty() || seen.iter().any(|&seen| seen > 0) {
        return Ok(());
    }
    let message = "its batch norms have seen no batch (num_batches_tracked is 0): a Hessian is that of a network in evaluation \
                   mode, by running statistics that training has moved";
    Err(Error::weights(path, message).with_hint("take weights from after the first epoch"))
}

/// Weights of a run: its settings say everything.
fn of_run(
    weights: Weights,
    run: PathBuf,
    data: Option<&str>,
    loss: Option<LossName>,
    observer: &dyn Observer,
) -> Result<Source, Error> {
    let (mut options, origin) = file::read::<Origin>(&folder::configuration(&run))?;
    if let Some(data) = data {
        options.data = Some(data.into());
    }
    if let Some(loss) = loss.filter(|loss| *loss != options.loss.unwrap_or_default()) {
        options = with_loss(options, loss);
    }
    let place = options.place().to_owned();
    let dataset = data::read(&options.request()).map_err(|error| match data {
        None if !Path::new(&place).exists() => error.with_hint("--data PLACE says where this run's data lie now"),
        _ => error,
    })?;
    let recipe = Recipe::resolve(&options, &dataset)?;
    if recipe.drw_epoch.is_some() {
        observer.warn("the class weights of deferred re-weighting are left out: every sample of a group counts alike");
    }
    let (loss, loss_name) = (recipe.loss, word(&options.loss.unwrap_or_default()));
    let prepared = prepare(recipe, dataset, &Silent)?;
    if origin.is_some_and(|origin| origin.fingerprint != prepared.fingerprint) {
        let message = format!("was trained on other data than those of {}", prepared.dataset.name);
        let hint = format!("{} says which: --data says where they are now", shown::path(&run.join("config.toml")));
        return Err(Error::weights(weights.path(), message).with_hint(hint));
    }
    let (trained, counts, sizes) = (Trained::of(&prepared), prepared.dataset.counts(), prepared.description.counts);
    let dataset = training(prepared.dataset);
    Ok(Source { weights, run: Some(run), dataset, counts, sizes, loss, loss_name, trained })
}

/// Weights outside of a run: the first samples of each class, as many as they say.
fn alone(
    weights: Weights,
    data: Option<&str>,
    loss: Option<LossName>,
    observer: &dyn Observer,
) -> Result<Source, Error> {
    let description = &weights.description;
    let place = data.unwrap_or(&description.data);
    // Pictures come to the network's size as those that it was trained on.
    let pictures = description.pictures.clone().unwrap_or_default();
    let data_root = pictures.data_root.clone().filter(|_| data.is_none());
    let pictures = PictureOptions { test: None, data_root, ..pictures };
    let format = Some(description.format).filter(|_| data.is_none());
    let mut dataset =
        data::read(&Request { place, format, pictures: &pictures, cut_out: None }).map_err(|error| match data {
            None if !Path::new(place).exists() => {
                error.with_hint("there it was when these weights were trained: --data says where it is now")
            }
            _ => error,
        })?;
    if (dataset.image, dataset.classes) != (description.image, description.counts.len()) {
        return Err(others(weights.path(), &dataset));
    }
    let chosen = first(&dataset, &description.counts);
    dataset.keep(&chosen);
    if loss.is_none() {
        observer.warn("these weights do not lie in a run: taking cross-entropy for the loss; --loss says another");
    }
    let options = Options { loss, ..Options::default() };
    let (loss, loss_name) = (resolved::loss(&options), word(&loss.unwrap_or_default()));
    let (trained, counts) = (Trained::default(), dataset.counts());
    let (dataset, sizes) = (training(dataset), counts.clone());
    Ok(Source { weights, run: None, dataset, counts, sizes, loss, loss_name, trained })
}

/// Another loss, with its own numbers.
fn with_loss(options: Options, loss: LossName) -> Options {
    let numbers = (None, None, None, None, None);
    let (ldam_margin, ldam_scale, tau, vs_gamma, focal_gamma) = numbers;
    Options { loss: Some(loss), ldam_margin, ldam_scale, tau, vs_gamma, focal_gamma, ..options }
}

/// A data set without its validation and test sets.
fn training(dataset: Dataset) -> Dataset {
    Dataset { validation: None, test: Arc::new(Split::empty(dataset.image)), ..dataset }
}

/// The first samples of each class in file order, so many as `counts` says.
pub fn first(dataset: &Dataset, counts: &[u32]) -> Vec<u32> {
    let mut left = counts.to_vec();
    let labels = (0_u32..).zip(dataset.train.labels());
    let is_taken = |label: u32, left: &mut Vec<u32>| match left.get_mut(label as usize) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    labels.filter(|&(_, label)| is_taken(label, &mut left)).map(|(index, _)| index).collect()
}

/// Keeps what some groups take of a training set, and says which samples of the rest each has.
pub fn keep(dataset: &mut Dataset, classes: &Classes<'_>, groups: &[Group], most: usize) -> Vec<Vec<u32>> {
    let taken: Vec<Vec<u32>> = groups.iter().map(|&group| classes.taken(group, most)).collect();
    let union = |class: usize| taken.iter().map(|taken| taken[class]).max().unwrap_or(0);
    let union: Vec<u32> = (0..classes.counts.len()).map(union).collect();
    let chosen = first(dataset, &union);
    dataset.keep(&chosen);
    taken
}
