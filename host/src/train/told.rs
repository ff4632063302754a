//! What a training reports, in numbers and in words.

use std::path::Path;
use std::time::Instant;

use sse_sam_core::longtail::classes::{Shots, is_tail};
use sse_sam_core::training::method::Group;
use sse_sam_core::{Economy, Shape};

use crate::data::Dataset;
use crate::error::Error;
use crate::recipe::Recipe;
use crate::recipe::words::{MethodName, word};
use crate::report::metrics::table;
use crate::report::observer::{Advance, Line};
use crate::run::position::{Evaluated, Position};
use crate::shown::{self, shown};
use crate::train::epoch::learning_rate;
use crate::train::outcome::Outcome;
use crate::train::place::Placed;
use crate::weights::Choice;

/// When training began here, and with how many images done.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    begun: Instant,
    before: u64,
    /// Images of all epochs.
    all: u64,
}

impl Pace {
    /// Training begins now.
    pub fn new(before: u64, all: u64) -> Self {
        Self { begun: Instant::now(), before, all }
    }

    /// Until all images are done, when so many are, by the pace so far.
    pub fn seconds_left(&self, done: u64) -> f64 {
        let left = self.all.saturating_sub(done);
        self.begun.elapsed().as_secs_f64() * left as f64 / done.saturating_sub(self.before).max(1) as f64
    }
}

/// How far an epoch is.
///
/// # Errors
/// [`Error::Core`] when method or schedule do not take their numbers.
pub fn advance(recipe: &Recipe, position: &Position, seconds_left: f64) -> Result<Advance, Error> {
    let Position { epoch, totals, .. } = position;
    let (split, [head, tail]) = (splits(recipe, position)?, totals.losses.map(|loss| loss / totals.rows));
    Ok(Advance {
        epoch: *epoch,
        images: totals.rows as u64,
        learning_rate: learning_rate(recipe, position)?,
        loss: head + tail,
        loss_head: split.then_some(head),
        loss_tail: split.then_some(tail),
        seconds_left,
    })
}

/// An epoch's line of `metrics.jsonl`.
///
/// # Errors
/// As [`advance`].
pub fn line<'a>(recipe: &Recipe, position: &Position, measured: &'a Evaluated) -> Result<Line<'a>, Error> {
    let (totals, epoch) = (&position.totals, position.epoch);
    let [head, tail] = totals.losses.map(|loss| loss / totals.rows);
    let [head_point, tail_point] = totals.perturbed.map(|loss| loss / totals.rows);
    let (split, groups) = (splits(recipe, position)?, recipe.method.groups(epoch, position.epochs)?.all());
    let group_norm = |column| {
        let perturbed = split && groups.perturbed().any(|group| group.column == column);
        perturbed.then(|| totals.group_norms[column] / totals.steps)
    };
    let norm = totals.norm / totals.steps;
    Ok(Line {
        epoch,
        stage: recipe.method.stage(epoch, position.epochs),
        learning_rate: learning_rate(recipe, position)?,
        loss: head + tail,
        loss_head: split.then_some(head),
        loss_tail: split.then_some(tail),
        perturbed_loss_head: (split && head_point != 0.0).then_some(head_point),
        perturbed_loss_tail: (split && tail_point != 0.0).then_some(tail_point),
        gradient_norm: (recipe.economy == Economy::Full).then_some(norm),
        velocity_norm: (recipe.economy != Economy::Full).then_some(norm),
        gradient_norm_head: group_norm(0),
        gradient_norm_tail: group_norm(1),
        accuracy: &measured.accuracy,
        validation: measured.validation.as_ref(),
    })
}

/// Whether head and tail are groups of their own.
fn splits(recipe: &Recipe, position: &Position) -> Result<bool, Error> {
    let method = recipe.method;
    Ok(method.has_tail() && method.groups(position.epoch, position.epochs)?.count() == 2)
}

/// How far each group is perturbed in an epoch, for TensorBoard.
///
/// # Errors
/// As [`advance`].
pub fn radii(recipe: &Recipe, position: &Position) -> Result<Vec<(String, f64)>, Error> {
    let names = if recipe.method.has_tail() { ["radius_head", "radius_tail"] } else { ["radius"; 2] };
    let radius = |group: Group| (names[group.column].into(), f64::from(group.radius));
    Ok(recipe.method.groups(position.epoch, position.epochs)?.all().perturbed().map(radius).collect())
}

/// What a training is about, in two lines.
pub fn headline(placed: &Placed<'_>) -> String {
    let (prepared, dataset) = (placed.prepared, &placed.prepared.dataset);
    let (recipe, counts) = (&prepared.recipe, &prepared.description.counts);
    let tail = counts.iter().filter(|&&count| is_tail(count, recipe.eta)).count();
    let validation = dataset.validation.as_ref().map(|source| format!("{} validation and ", source.len()));
    let validation = validation.unwrap_or_default();
    let (largest, smallest) = (counts.iter().max().unwrap_or(&0), counts.iter().min().unwrap_or(&0));
    let (Shape { height, width, channels }, Shots { many, few }) = (dataset.image, recipe.shots);
    format!(
        "{}: {} training images in {} classes of {largest} to {smallest} ({} head, {tail} tail at eta {}), {}{} test images of \
         {height} x {width} x {channels}; many above {many}, few below {few}\n\
         {} by {}, {} epochs, batch {}, on {}{}\n",
        shown(&dataset.name),
        dataset.train.len(),
        counts.len(),
        counts.len() - tail,
        recipe.eta,
        validation,
        dataset.test.len(),
        recipe.model,
        word(&MethodName::of(&recipe.method)),
        recipe.epochs,
        recipe.batch,
        placed.device.name(),
        if placed.staged.is_some() { ", data staged batch by batch" } else { "" },
    )
}

/// What became of a training, whose files lie in this folder.
pub fn summary(outcome: &Outcome, dataset: &Dataset, folder: &Path) -> String {
    let Outcome { last, best, .. } = outcome;
    let (name, choice) = match &dataset.validation {
        Some(source) => {
            let images = source.len();
            ("best on validation", format!("best by balanced accuracy on {images} validation images"))
        }
        None => ("best on test", "best by balanced accuracy, chosen on these same images".into()),
    };
    let rows = [("last", last), (name, best)];
    let rows = rows.map(|(name, measured)| (format!("{name} (epoch {})", measured.epoch), &measured.accuracy));
    format!(
        "{}\naccuracy in % on {} test images; {choice}\nfiles in {}: metrics.jsonl, evaluation.json, last.safetensors, {}",
        table(&rows),
        dataset.test.len(),
        shown::path(folder),
        Choice::of(dataset).file()
    )
}
