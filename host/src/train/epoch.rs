//! The steps of an epoch: which samples in which order, varied and weighed how, and by how much they move the weights.

use sse_sam_core::training::method::Present;
use sse_sam_core::{Row, Rule, Sgd, Tail, Tally};

use crate::data::random;
use crate::device::layout::Layout;
use crate::error::Error;
use crate::recipe::Recipe;
use crate::recipe::words::Augment;
use crate::run::position::Position;
use crate::train::feed::Feed;
use crate::train::prepare::Prepared;
use crate::train::start::class_weights;

/// An epoch as it is planned before its first step.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Its samples in order; in each batch those of a group lie together where batches pass in pieces.
    pub order: Vec<u32>,
    /// Their rows, as the device reads them.
    pub words: Vec<f32>,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A step of an epoch.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its first row of the epoch's table.
    pub first_row: usize,
    /// Samples.
    pub rows: usize,
    /// How many of them count in which group.
    pub tally: Tally,
    /// The groups that have samples in it.
    pub present: Present,
}

impl Epoch {
    /// The epoch in which a run stands.
    ///
    /// # Errors
    /// [`Error::Core`] when the method does not take its numbers.
    pub fn new(prepared: &Prepared, layout: &Layout, feed: &Feed<'_>, position: &Position) -> Result<Self, Error> {
        let (recipe, epoch) = (&prepared.recipe, position.epoch);
        let rule = rule(prepared, position)?;
        let deferred = recipe.drw_epoch.is_some_and(|first| epoch >= first);
        let class_weights = class_weights(&prepared.description.counts, deferred);
        let label = |index: u32| feed.source.label(index as usize) as usize;
        let factors = |class: usize, rows: usize| rule.factors(class, class_weights[class], rows);
        let mut order = random::permutation(recipe.seed, epoch, feed.source.len() as u32);
        if layout.session.piece().is_some() {
            let place = |index: &u32| Tally::place(factors(label(*index), 1));
            order.chunks_mut(layout.batch).for_each(|batch| batch.sort_by_key(place));
        }
        let (mut words, mut steps) = (Vec::new(), Vec::new());
        for (number, indices) in order.chunks(layout.batch).enumerate() {
            let first_row = words.len() / Row::WORDS;
            let mut tally = Tally::default();
            for (row, &index) in indices.iter().enumerate() {
                let (top, left, flip) = match recipe.augment {
                    // What is cut out is mirrored when it is read.
                    Augment::None | Augment::Imagenet => (0, 0, false),
                    Augment::CropFlip => random::augmentation(recipe.seed, epoch, index),
                };
                let class = label(index);
                let weights = factors(class, indices.len());
                tally.add(weights);
                let index = feed.index(number, row, index);
                words.extend(Row { index, label: class as u32, top, left, flip, weights }.encode());
            }
            let present = rule.groups.present(tally.present());
            steps.push(Step { first_row, rows: indices.len(), tally, present });
        }
        Ok(Self { order, words, steps })
    }
}

/// What the samples of each class count in an epoch, and how far they perturb.
fn rule<'a>(prepared: &'a Prepared, position: &Position) -> Result<Rule<'a>, Error> {
    let recipe = &prepared.recipe;
    let tail = Tail { eta: recipe.eta, weight: recipe.tail_weight };
    Ok(recipe.method.rule(&prepared.description.counts, tail, position.epoch, position.epochs)?)
}

/// What the steps of an epoch do with their gradient.
///
/// # Errors
/// [`Error::Core`] when the schedule does not take its numbers.
pub fn sgd(recipe: &Recipe, position: &Position) -> Result<Sgd, Error> {
    Ok(Sgd {
        learning_rate: learning_rate(recipe, position)? as f32,
        momentum: recipe.momentum as f32,
        weight_decay: recipe.weight_decay as f32,
        nesterov: recipe.nesterov,
    })
}

/// The schedule's rate, halved each time the run went back.
///
/// # Errors
/// As [`sgd`].
pub fn learning_rate(recipe: &Recipe, position: &Position) -> Result<f64, Error> {
    Ok(recipe.rates.over(position.epochs).at(position.epoch)? * 0.5_f64.powi(position.rollbacks as i32))
}
