//! The steps of an epoch: which samples in which order, varied and weighed how, and by how much they move the weights.

use sse_sam_core::training::method::Present;
use sse_sam_core::{Row, Sgd};

use crate::data::random;
use crate::device::layout::Layout;
use crate::error::Error;
use crate::recipe::Recipe;
use crate::recipe::words::Augment;
use crate::run::position::Position;
use crate::train::feed::Feed;
use crate::train::prepare::Prepared;
use crate::train::start::Weighing;

/// An epoch as it is planned before its first step.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Its samples in order; in each batch the head comes first where batches pass in pieces.
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
    /// Samples of the first column.
    pub heads: usize,
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
        let weighing = weighing(prepared, position)?;
        let mut order = random::permutation(recipe.seed, epoch, feed.source.len() as u32);
        if layout.session.piece.is_some() {
            let column = |index: &u32| weighing.column(feed.source.label(*index as usize));
            order.chunks_mut(layout.batch).for_each(|batch| batch.sort_by_key(column));
        }
        let (mut words, mut steps) = (Vec::new(), Vec::new());
        for (number, indices) in order.chunks(layout.batch).enumerate() {
            let first_row = words.len() / Row::WORDS;
            let labels: Vec<u32> = indices.iter().map(|&index| feed.source.label(index as usize)).collect();
            for (row, (&index, &label)) in indices.iter().zip(&labels).enumerate() {
                let (top, left, flip) = match recipe.augment {
                    Augment::None => (0, 0, false),
                    Augment::CropFlip => random::augmentation(recipe.seed, epoch, index),
                };
                let weights = weighing.weights(label, labels.len());
                let index = feed.index(number, row, index);
                words.extend(Row { index, label, top, left, flip, weights }.encode());
            }
            let heads = labels.iter().filter(|&&label| weighing.column(label) == 0).count();
            steps.push(Step { first_row, rows: labels.len(), heads, present: weighing.present(&labels) });
        }
        Ok(Self { order, words, steps })
    }
}

/// What the samples of each class count in an epoch.
fn weighing(prepared: &Prepared, position: &Position) -> Result<Weighing, Error> {
    let (recipe, epoch) = (&prepared.recipe, position.epoch);
    let groups = recipe.method.groups(epoch, position.epochs)?;
    let deferred = recipe.drw_epoch.is_some_and(|first| epoch >= first);
    let tail_weight = if recipe.method.splits() { recipe.tail_weight } else { 1.0 };
    Weighing::new(&prepared.description.counts, recipe.eta, tail_weight, deferred, groups)
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
