//! The executor: runs a planned network on any backend.

use core::marker::PhantomData;

use heapless::Vec;

use crate::error::{Error, Quantity};
use crate::machine::backend::Backend;
use crate::memory::{Place, Span};
use crate::network::graph::Graph;
use crate::network::layer::{All, Forward, Layer, Layers, Node, Op};
use crate::network::plan::{Plan, Residual, Slot};
use crate::ops::gather::{Batch, Row, Samples};
use crate::ops::loss::Terms;
use crate::ops::{
    Axpy, BatchNormBackward, BatchNormForward, BatchNormInference, BatchNormInferenceBackward, Conv2dBatchNormForward,
    Conv2dForward, CrossEntropy, Gather,
};
use crate::training::problem::{Problem, Statistics, Target};
use crate::training::session::Losses;

/// Spans of one or two streams.
pub(crate) type Streams = Vec<Span, 2>;

/// A planned network at work on one batch, of the layers of a set.
///
/// `L` names them: [`All`] of them ([`Network::new`]), or fewer ([`Network::of`]), which computes the same in less flash.
#[derive(Clone, Debug)]
pub struct Network<'a, const N: usize, L = All> {
    pub(crate) graph: &'a Graph<N>,
    pub(crate) plan: &'a Plan<N>,
    focal: f32,
    losses: Losses,
    rows: usize,
    statistics: Statistics,
    /// Layers whose outputs for this batch are there already: frozen ones after its first pass, whose memory it reused.
    done: usize,
    layers: PhantomData<L>,
}

impl<'a, const N: usize> Network<'a, N> {
    /// A network of any layers that leaves its losses in `losses`; `focal` is the focal exponent of its loss.
    pub fn new(graph: &'a Graph<N>, plan: &'a Plan<N>, focal: f32, losses: Losses) -> Self {
        Self::unchecked(graph, plan, focal, losses)
    }
}

impl<'a, const N: usize, L: Layers> Network<'a, N, L> {
    /// As [`Network::new`], of the layers of `L` alone.
    ///
    /// # Errors
    /// [`Error::Layer`] when a layer is not of the set, [`Error::Range`] when it has no focal exponent and `focal` is not 0.
    pub fn of(graph: &'a Graph<N>, plan: &'a Plan<N>, focal: f32, losses: Losses) -> Result<Self, Error> {
        if !L::FOCAL && focal != 0.0 {
            return Err(Error::Range { what: Quantity::FocalGamma, low: 0.0, high: 0.0, found: focal });
        }
        match graph.layers().iter().position(|layer| !L::has(layer)) {
            Some(index) => Err(Error::Layer { index }),
            None => Ok(Self::unchecked(graph, plan, focal, losses)),
        }
    }

    fn unchecked(graph: &'a Graph<N>, plan: &'a Plan<N>, focal: f32, losses: Losses) -> Self {
        let (rows, statistics) = (plan.max_batch(), Statistics::Running);
        Self { graph, plan, focal, losses, rows, statistics, done: 0, layers: PhantomData }
    }

    /// Rows of its batch.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// Its plan.
    pub const fn plan(&self) -> &'a Plan<N> {
        self.plan
    }

    /// Sets the size of the batch that comes next, and where its losses go.
    ///
    /// # Errors
    /// [`Error::Batch`] when there are no rows or more than planned.
    pub fn set_batch(&mut self, rows: usize, losses: Losses) -> Result<(), Error> {
        if rows == 0 || rows > self.plan.max_batch() {
            return Err(Error::Batch { found: rows, largest: self.plan.max_batch() });
        }
        self.rows = rows;
        self.losses = losses;
        self.done = 0;
        Ok(())
    }

    /// Where the batch's images, labels and group weights belong.
    ///
    /// # Errors
    /// [`Error::Length`] when plan and graph do not belong together.
    pub fn batch(&self) -> Result<Batch, Error> {
        let [head, tail] = self.plan.weights;
        Ok(Batch {
            images: self.activation(0)?,
            labels: self.plan.labels.part(0, self.rows)?,
            weights: [head.part(0, self.rows)?, tail.part(0, self.rows)?],
        })
    }

    /// The logits of the last forward pass, `[rows][classes]`.
    ///
    /// # Errors
    /// As [`Network::batch`].
    pub fn logits(&self) -> Result<Span, Error> {
        self.activation(self.graph.layers().len().saturating_sub(1))
    }

    /// Cuts a batch out of the samples by `rows` of an epoch's table and makes it the network's batch.
    ///
    /// # Errors
    /// What the backend reports; [`Error::Batch`] when the batch is empty or too large.
    pub fn gather<B: Backend>(
        &mut self,
        backend: &mut B,
        rows: Span,
        samples: &Samples,
        losses: Losses,
    ) -> Result<(), B::Error> {
        self.set_batch(rows.length / Row::WORDS, losses)?;
        backend.run(&Gather { batch: &self.batch()?, rows, samples })
    }

    pub(crate) fn activation(&self, index: usize) -> Result<Span, Error> {
        let layer = self.graph.layers().get(index).ok_or(Error::Graph)?;
        self.plan.slot_at(index)?.activation.part(0, self.rows.saturating_mul(layer.output.len()))
    }

    /// The tables and the exponent of its loss.
    #[inline(always)]
    pub(crate) fn terms(&self) -> Terms {
        self.plan.terms(if L::FOCAL { self.focal } else { 0.0 })
    }

    /// The gradient of a layer's output, a span for each stream.
    pub(crate) fn gradient(&self, index: usize, streams: usize) -> Result<Streams, Error> {
        let layer = self.graph.layers().get(index).ok_or(Error::Graph)?;
        let block = self.plan.slot_at(index)?.gradient.ok_or(Error::Inference)?;
        let length = self.rows.saturating_mul(layer.output.len());
        collect(self.plan.block(block)?.into_iter().take(streams).map(|span| span.part(0, length)))
    }

    #[inline(never)]
    fn forward_layer<B: Backend>(
        &self,
        backend: &mut B,
        (params, statistics): (Span, Statistics),
        layer: &Layer,
        slot: &Slot,
        y: Span,
    ) -> Result<(), B::Error> {
        let x = self.activation(layer.input.index())?;
        let (weight, bias) = (slot.weight.of(params)?, slot.bias.of(params)?);
        let input = self.graph.shape(layer.input)?;
        match layer.op {
            Op::BatchNorm { residual, relu } if L::RESIDUAL && statistics == Statistics::Running => {
                let running = slot.running.ok_or(Error::Graph)?;
                let residual = residual.map(|node| self.activation(node.index())).transpose()?;
                backend.run(&BatchNormInference { y, x, weight, bias, running, residual, relu })
            }
            Op::BatchNorm { .. } if L::RESIDUAL => backend.run(&self.norm((params, statistics), layer, slot, y)?),
            _ => layer.forward::<B, L>(backend, &Forward { y, x, weight, bias, input }),
        }
    }

    /// A convolution numbered `index`, whose weights lie in `weights`, and the batch norm that follows it.
    #[inline(never)]
    fn forward_normalized<B: Backend>(
        &self,
        backend: &mut B,
        weights: Span,
        source: (Span, Statistics),
        index: usize,
    ) -> Result<(), B::Error> {
        let ((layer, slot), (next, next_slot)) = (self.layer(index)?, self.layer(index.saturating_add(1))?);
        let Op::Conv2d(conv) = layer.op else { return Err(Error::Graph.into()) };
        let (x, y) = (self.activation(layer.input.index())?, self.activation(index)?);
        let norm = self.norm(source, next, next_slot, self.activation(index.saturating_add(1))?)?;
        let convolution = Conv2dForward { y, x, weight: slot.weight.of(weights)?, conv: &conv };
        backend.run(&Conv2dBatchNormForward { convolution, norm })
    }

    /// A batch norm by its batch's statistics.
    #[inline(never)]
    fn norm(
        &self,
        (params, statistics): (Span, Statistics),
        layer: &Layer,
        slot: &Slot,
        y: Span,
    ) -> Result<BatchNormForward, Error> {
        let Op::BatchNorm { residual, relu } = layer.op else { return Err(Error::Graph) };
        let x = self.activation(layer.input.index())?;
        let (weight, bias) = (slot.weight.of(params)?, slot.bias.of(params)?);
        let residual = residual.map(|node| self.activation(node.index())).transpose()?;
        let saved = slot.saved.ok_or(Error::Inference)?;
        let running = if statistics == Statistics::Update { slot.running } else { None };
        Ok(BatchNormForward { y, saved, running, x, weight, bias, residual, relu })
    }

    pub(crate) fn layer(&self, index: usize) -> Result<(&'a Layer, &'a Slot), Error> {
        Ok((self.graph.layers().get(index).ok_or(Error::Graph)?, self.plan.slot_at(index)?))
    }

    /// Whether a layer is a convolution that the next one normalises.
    fn is_normalized(&self, index: usize) -> bool {
        let mut layers = self.graph.layers().iter().skip(index);
        let is_convolution = layers.next().is_some_and(|layer| matches!(layer.op, Op::Conv2d(_)));
        is_convolution && layers.next().is_some_and(|next| next.normalises() && next.input.index() == index)
    }

    /// The losses of the batch and the gradients of its logits.
    // `inline(never)`, here and below: the two never need stack at the same time.
    #[inline(never)]
    pub(crate) fn backward_loss<B: Backend>(&self, backend: &mut B, targets: &[Target]) -> Result<(), B::Error> {
        let Batch { labels, weights, .. } = self.batch()?;
        let losses = if self.statistics == Statistics::Keep { self.losses.perturbed } else { self.losses.plain };
        let (losses, weights) = (columns(&losses, targets)?, columns(&weights, targets)?);
        let dlogits = self.gradient(self.graph.layers().len().saturating_sub(1), targets.len())?;
        let terms = self.terms();
        backend.run(&CrossEntropy {
            dlogits: &dlogits,
            losses: &losses,
            logits: self.logits()?,
            labels,
            weights: &weights,
            terms,
        })
    }

    #[inline(never)]
    fn backward_layer<B: Backend>(
        &self,
        backend: &mut B,
        params: Span,
        targets: &[Target],
        index: usize,
    ) -> Result<(), B::Error> {
        let (layer, slot) = self.layer(index)?;
        if slot.gradient.is_none() {
            return Ok(());
        }
        if L::FIXED_STATISTICS && layer.normalises() && self.statistics == Statistics::Running {
            return self.backward_fixed_norm(backend, params, targets, index);
        }
        if L::RESIDUAL && layer.normalises() {
            return self.backward_norm(backend, params, targets, index);
        }
        self.backward_weight(backend, targets, index)?;
        let Some(accumulate) = slot.backward_input else { return Ok(()) };
        let (x, y) = (self.activation(layer.input.index())?, self.activation(index)?);
        let (weight, bias) = (slot.weight.of(params)?, slot.bias.of(params)?);
        let forward = Forward { y, x, weight, bias, input: self.graph.shape(layer.input)? };
        let dx = self.gradient(layer.input.index(), targets.len())?;
        let dy = self.gradient(index, targets.len())?;
        layer.backward_input::<B, L>(backend, (&dx, accumulate), &forward, &dy)
    }

    fn backward_weight<B: Backend>(&self, backend: &mut B, targets: &[Target], index: usize) -> Result<(), B::Error> {
        let (layer, slot) = self.layer(index)?;
        let (dweight, dbias) = (places(slot.weight, targets)?, places(slot.bias, targets)?);
        let (x, dy) = (self.activation(layer.input.index())?, self.gradient(index, targets.len())?);
        layer.backward_weight::<B, L>(backend, (&dweight, &dbias), x, &dy)
    }

    #[inline(never)]
    fn backward_norm<B: Backend>(
        &self,
        backend: &mut B,
        params: Span,
        targets: &[Target],
        index: usize,
    ) -> Result<(), B::Error> {
        let (layer, slot) = self.layer(index)?;
        let Op::BatchNorm { residual, relu } = layer.op else { return Err(Error::Graph.into()) };
        let dx = self.gradient(layer.input.index(), targets.len())?;
        let (dweight, dbias) = (places(slot.weight, targets)?, places(slot.bias, targets)?);
        let dy = self.gradient(index, targets.len())?;
        backend.run(&BatchNormBackward {
            dx: &dx,
            dweight: &dweight,
            dbias: &dbias,
            dy: &dy,
            y: self.activation(index)?,
            x: self.activation(layer.input.index())?,
            weight: slot.weight.of(params)?,
            bias: slot.bias.of(params)?,
            saved: slot.saved.ok_or(Error::Graph)?,
            relu,
            residual: slot.residual != Residual::None,
            accumulate: slot.backward_input.unwrap_or(false),
        })?;
        if let (Some(node), Residual::Adds) = (residual, slot.residual) {
            let sum = self.gradient(node.index(), targets.len())?;
            for (&sum, &masked) in sum.iter().zip(&dy) {
                backend.run(&Axpy { y: sum, alpha: 1.0, x: masked })?;
            }
        }
        Ok(())
    }

    /// [`Network::backward_norm`] after a pass by running statistics. By itself: a chip links none of it.
    #[inline(never)]
    fn backward_fixed_norm<B: Backend>(
        &self,
        backend: &mut B,
        params: Span,
        targets: &[Target],
        index: usize,
    ) -> Result<(), B::Error> {
        let (layer, slot) = self.layer(index)?;
        let Op::BatchNorm { residual, relu } = layer.op else { return Err(Error::Graph.into()) };
        let dy = self.gradient(index, targets.len())?;
        backend.run(&BatchNormInferenceBackward {
            dx: &self.gradient(layer.input.index(), targets.len())?,
            dweight: &places(slot.weight, targets)?,
            dbias: &places(slot.bias, targets)?,
            dy: &dy,
            y: self.activation(index)?,
            x: self.activation(layer.input.index())?,
            weight: slot.weight.of(params)?,
            running: slot.running.ok_or(Error::Graph)?,
            relu,
            accumulate: slot.backward_input.unwrap_or(false),
        })?;
        match (residual, slot.residual) {
            (Some(node), Residual::Adds) => self.add_residual(backend, node, &dy),
            _ => Ok(()),
        }
    }

    /// Adds masked gradients to those of a residual.
    pub(crate) fn add_residual<B: Backend>(
        &self,
        backend: &mut B,
        node: Node,
        masked: &[Span],
    ) -> Result<(), B::Error> {
        let sum = self.gradient(node.index(), masked.len())?;
        for (&sum, &masked) in sum.iter().zip(masked) {
            backend.run(&Axpy { y: sum, alpha: 1.0, x: masked })?;
        }
        Ok(())
    }
}

impl<B: Backend, const N: usize, L: Layers> Problem<B> for Network<'_, N, L> {
    fn forward(&mut self, backend: &mut B, params: Span, statistics: Statistics) -> Result<(), B::Error> {
        self.statistics = statistics;
        // Frozen layers compute the same at every point.
        let another = matches!(statistics, Statistics::Repeat | Statistics::Keep);
        let done = if another { self.done } else { 0 };
        if self.done > done && !self.plan.keeps_images() {
            return Err(Error::Consumed.into());
        }
        let (frozen, first) = (self.plan.frozen(), self.plan.first_trained());
        let source = |index| if index < first { (frozen, Statistics::Running) } else { (params, statistics) };
        let layers = self.graph.layers().iter().zip(self.plan.slots()).enumerate();
        let mut paired = false;
        for (index, (layer, slot)) in layers.skip(done) {
            // A norm that ran with its convolution.
            if core::mem::take(&mut paired) {
                continue;
            }
            let (own, next) = (source(index), source(index.saturating_add(1)));
            paired = L::RESIDUAL && backend.pairs_norms() && next.1 != Statistics::Running && self.is_normalized(index);
            if paired {
                self.forward_normalized(backend, own.0, next, index)?;
            } else {
                self.forward_layer(backend, own, layer, slot, self.activation(index)?)?;
            }
        }
        self.done = first;
        Ok(())
    }

    fn backward(&mut self, backend: &mut B, params: Span, targets: &[Target]) -> Result<(), B::Error> {
        // What batch norms saved belongs to an earlier batch.
        let refuses = L::RESIDUAL && !L::FIXED_STATISTICS;
        if refuses && self.statistics == Statistics::Running && !self.plan.is_separable() {
            return Err(Error::Evaluated.into());
        }
        self.backward_loss(backend, targets)?;
        let layers = self.graph.layers().len();
        // A frozen layer's gradient may have a place all the same: batch norm gives its input's with the others.
        for index in (self.plan.first_trained()..layers).rev() {
            self.backward_layer(backend, params, targets, index)?;
        }
        Ok(())
    }
}

/// One place in the gradient of each target.
// `inline(never)`, here and below: inlined, they would need more stack than the rest of a backward pass.
#[inline(never)]
fn places(place: Place, targets: &[Target]) -> Result<Streams, Error> {
    collect(targets.iter().map(|target| place.of(target.gradient)))
}

/// Each target's group's span.
#[inline(never)]
fn columns(spans: &[Span; 2], targets: &[Target]) -> Result<Streams, Error> {
    let column =
        |target: &Target| spans.get(target.column).copied().ok_or(Error::Capacity { what: "groups", capacity: 2 });
    collect(targets.iter().map(column))
}

fn collect(spans: impl Iterator<Item = Result<Span, Error>>) -> Result<Streams, Error> {
    let mut streams = Streams::new();
    for span in spans {
        streams.push(span?).map_err(|_| Error::Capacity { what: "groups", capacity: 2 })?;
    }
    Ok(streams)
}
