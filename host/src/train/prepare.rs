//! A prepared training: its recipe and data, checked, without a device yet.

use sse_sam_core::Graph;

use crate::data::{self, Dataset, split, validation};
use crate::device::layout::{Needs, first_trained};
use crate::error::Error;
use crate::recipe::Recipe;
use crate::recipe::defaults::Defaults;
use crate::recipe::ranges::{by_loss, by_option};
use crate::report::Observer;
use crate::weights::Description;

/// A recipe with its data.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What is to be done.
    pub recipe: Recipe,
    /// What is trained on, cut as the recipe says, and what accuracy is measured on.
    pub dataset: Dataset,
    /// The fingerprint of the data before they were cut.
    pub fingerprint: String,
    /// What weights files say about themselves.
    pub description: Description,
    /// What it needs of memory.
    pub needs: Needs,
}

/// Cuts the data as the recipe says, sets samples aside to validate on, and checks that all fit. What is odd about their classes is warned of.
///
/// # Errors
/// [`Error::Usage`] for what the options must change, [`Error::Core`] when the model does not fit the data.
pub fn prepare(recipe: Recipe, mut dataset: Dataset, observer: &dyn Observer) -> Result<Prepared, Error> {
    let fingerprint = dataset.fingerprint();
    let before = dataset.counts();
    if let Some(imbalance) = recipe.imbalance {
        let chosen = data::subset(&dataset, imbalance, recipe.profile, recipe.rule, recipe.seed).map_err(by_option)?;
        dataset.keep(&chosen);
    }
    let counts = dataset.counts();
    let terms = |class| recipe.loss.terms(&counts, class).map(drop);
    (0..counts.len()).try_for_each(terms).map_err(|error| by_loss(error, &recipe.loss))?;
    if let Some(share) = recipe.validation {
        validation::set_aside(&mut dataset, share, recipe.seed);
    }
    let set_aside = measured_on(&mut dataset, observer)?;
    let cut = recipe.imbalance.map(|imbalance| (imbalance, &before[..]));
    let warnings = split::warnings(&dataset, &counts, cut, &recipe.method, recipe.eta);
    let unseen = dataset.validation.as_ref().map(|source| source.counts(dataset.classes));
    if unseen.as_ref().is_some_and(|counts| counts.iter().all(|&count| count == 0)) {
        return Err(Error::Usage(
            "--validation: no class has two training samples, so that none can be set aside".into(),
        ));
    }
    let unseen = unseen.and_then(|counts| {
        split::empty_classes("validation", &counts, &dataset.class_names, "the best epoch is that of the others")
    });
    let all = warnings.into_iter().chain(unseen).chain(large_batch(&recipe, dataset.train.len()));
    all.for_each(|warning| observer.warn(&format!("warning: {warning}")));
    let needs = needs(&recipe, &dataset)?;
    let chosen: Vec<u32> = (0..dataset.train.len() as u32).collect();
    let description = Description {
        model: recipe.model.clone(),
        data: recipe.data.clone(),
        format: recipe.format,
        image: dataset.image,
        counts,
        eta: recipe.eta,
        shots: recipe.shots,
        normalization: recipe.normalize.numbers(&dataset, &chosen)?,
        class_names: dataset.class_names.clone(),
        set_aside,
        pictures: recipe.format.is_encoded().then(|| recipe.pictures.for_weights(&dataset)),
    };
    Ok(Prepared { recipe, dataset, fingerprint, description, needs })
}

/// Where there is no test set, what was set aside is taken for it; whether that is so.
fn measured_on(dataset: &mut Dataset, observer: &dyn Observer) -> Result<bool, Error> {
    if !dataset.test.is_empty() {
        return Ok(false);
    }
    let what = format!("{} has no test set", dataset.name);
    match dataset.validation.take() {
        Some(validation) if validation.is_empty() => {
            Err(Error::Usage("--validation: no class has two training samples, so that none can be set aside".into()))
        }
        Some(validation) => {
            observer.warn(&format!("warning: {what}: accuracy is measured on the validation set"));
            dataset.test = validation;
            Ok(true)
        }
        None => Err(Error::Usage(format!("{what}: --validation 0.2 sets a fifth of each class aside to measure on"))),
    }
}

/// What a training needs of memory.
fn needs(recipe: &Recipe, dataset: &Dataset) -> Result<Needs, Error> {
    let mut graph = Graph::new();
    recipe.model.build(&mut graph, dataset.image, dataset.classes)?;
    let batch = recipe.batch.min(dataset.train.len());
    Ok(Needs {
        image: dataset.image,
        classes: dataset.classes,
        batch,
        piece: recipe.micro_batch.map(|rows| rows.min(batch)),
        groups: recipe.method.largest()?,
        economy: recipe.economy,
        first: first_trained(&graph, recipe.trainable_layers.as_deref())?,
        rows: dataset.train.len(),
    })
}

/// A batch that there are too few images for; the usual one of a data set is nobody's mistake.
fn large_batch(recipe: &Recipe, samples: usize) -> Option<String> {
    let batch = recipe.batch;
    (batch > samples && batch != Defaults::of(recipe.format).batch)
        .then(|| format!("--batch {batch} is more than the {samples} training images: every step takes all of them"))
}
