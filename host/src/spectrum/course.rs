//! A training that begins at the weights of a spectrum, on the landscape that was measured.

use sse_sam_core::training::problem::Target;
use sse_sam_core::{Backend, Losses, Method, Problem, Row, Samples, Sgd, Span, Statistics, Tail, Tally, Vectors, step};

use crate::data::random;
use crate::device::machine::Machine;
use crate::error::Error;
use crate::spectrum::escape::Course;
use crate::spectrum::groups::{Classes, Group};
use crate::spectrum::hessian::{Engine, Hessian, Stored};
use crate::spectrum::layout::Layout;
use crate::train::feed::Feed;

/// A network whose batch norms normalise by running statistics in every pass: the loss whose spectrum was measured.
struct Evaluated<'n, 'a> {
    engine: &'n mut Engine<'a>,
    /// The batch's rows, and the samples that they name.
    batch: (Span, &'n Samples),
    losses: Losses,
}

impl<B: Backend> Problem<B> for Evaluated<'_, '_> {
    fn forward(&mut self, backend: &mut B, params: Span, _: Statistics) -> Result<(), B::Error> {
        // Where layers are frozen, a pass leaves nothing of the batch's images.
        self.engine.gather(backend, self.batch.0, self.batch.1, self.losses)?;
        self.engine.forward(backend, params, Statistics::Running)
    }

    fn backward(&mut self, backend: &mut B, params: Span, targets: &[Target]) -> Result<(), B::Error> {
        self.engine.backward(backend, params, targets)
    }
}

/// What steps are taken on.
#[derive(Clone, Debug)]
pub struct Stepped<'a> {
    /// The classes of the training set.
    pub classes: Classes<'a>,
    /// The samples that steps are taken on.
    pub indices: Vec<u32>,
    /// What a sample of each class counts, where the set was cut; 1 where it was not.
    pub class_weights: Vec<f64>,
    /// Samples of a step.
    pub batch: usize,
    /// Fixes the order of the samples.
    pub seed: u64,
}

impl<'a> Stepped<'a> {
    /// All samples of which so many of each class were `taken`, these.
    pub fn new(classes: Classes<'a>, (indices, taken): (Vec<u32>, &[u32]), batch: usize, seed: u64) -> Self {
        let all = indices.len() as f64;
        let class_weights = classes.factors(Group::All, taken).iter().map(|factor| factor * all).collect();
        Self { classes, batch: batch.clamp(1, indices.len().max(1)), indices, class_weights, seed }
    }
}

/// Steps on batches of a training set, while the loss of a group is watched.
pub struct Training<'h, 'a> {
    hessian: &'h mut Hessian<'a, Stored<'a>>,
    engine: Engine<'a>,
    layout: &'a Layout,
    feed: Feed<'a>,
    stepped: &'h Stepped<'a>,
    /// The order of an epoch, and its number.
    order: (usize, Vec<u32>),
}

impl<'h, 'a> Training<'h, 'a> {
    /// A training of the network of `hessian`, whose group's samples are arranged, with the focal exponent of its loss.
    ///
    /// # Errors
    /// [`Error::Core`] when the plan does not fit.
    pub fn new(
        hessian: &'h mut Hessian<'a, Stored<'a>>,
        feed: Feed<'a>,
        focal: f32,
        stepped: &'h Stepped<'a>,
    ) -> Result<Self, Error> {
        let layout = hessian.parts().1;
        Ok(Self { hessian, engine: layout.network.network(focal)?, layout, feed, stepped, order: (usize::MAX, vec![]) })
    }

    /// The samples of step `number`.
    fn indices(&mut self, number: usize) -> Vec<u32> {
        let Stepped { indices, batch, seed, .. } = self.stepped;
        let (per_epoch, all) = (indices.len().div_ceil(*batch).max(1), indices.len());
        let (epoch, first) = (number / per_epoch, number % per_epoch * batch);
        if self.order.0 != epoch {
            self.order = (epoch, random::permutation(*seed, epoch as u32, all as u32));
        }
        self.order.1[first..(first + batch).min(all)].iter().map(|&at| indices[at as usize]).collect()
    }
}

impl<B: Machine> Course<B> for Training<'_, '_>
where
    Error: From<B::Error>,
{
    fn vectors(&self) -> Vectors {
        let own = self.layout.network.session.vectors;
        let ([gradient, first], second) = (self.layout.scratch(), self.layout.room.spare());
        Vectors { gradient, points: [Some(first), Some(second)], ..own }
    }

    fn batches(&self) -> usize {
        self.stepped.indices.len().div_ceil(self.stepped.batch)
    }

    fn step(&mut self, backend: &mut B, method: &Method, number: usize, sgd: &Sgd) -> Result<(), Error> {
        let (indices, vectors) = (self.indices(number), Course::<B>::vectors(self));
        let Self { engine, layout, feed, stepped, .. } = self;
        let Classes { sizes, eta, .. } = stepped.classes;
        let rule = method.rule(sizes, Tail { eta, weight: 1.0 }, 0, 1)?;
        let (mut words, mut tally) = (Vec::new(), Tally::default());
        for (row, &index) in indices.iter().enumerate() {
            let label = feed.source.label(index as usize);
            let weights = rule.factors(label as usize, stepped.class_weights[label as usize], indices.len());
            tally.add(weights);
            let index = feed.index(0, row, index);
            words.extend(Row { index, label, top: 0, left: 0, flip: false, weights }.encode());
        }
        let session = &layout.network.session;
        // Behind the rows of the group, which stay there.
        let rows = session.table.part(session.table.length - words.len(), words.len())?;
        backend.write(rows, &words)?;
        let (present, outcome) = (rule.groups.present(tally.present()), session.outcome(0)?);
        feed.each(backend, &[&indices[..]], 0, |backend, _| {
            let mut problem = Evaluated { engine, batch: (rows, &feed.samples), losses: session.losses(0)? };
            Ok(step(backend, &mut problem, &vectors, &present, sgd, &outcome)?)
        })
    }

    fn loss(&mut self, backend: &mut B) -> Result<f64, Error> {
        let params = self.hessian.params();
        Ok(self.hessian.fit(backend, params)?.loss)
    }
}
