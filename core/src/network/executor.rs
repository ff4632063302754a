//! The executor: runs a planned network on any backend.

use heapless::Vec;

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::memory::{Place, Span};
use crate::network::graph::Graph;
use crate::network::layer::{Initializer, Layer, Op};
use crate::network::plan::{Plan, Residual, Slot};
use crate::ops::gather::{Batch, Row, Samples};
use crate::training::problem::{Problem, Statistics, Target};
use crate::training::session::Losses;

/// Spans of one or two streams.
type Streams = Vec<Span, 2>;

/// A planned network at work on one batch.
///
/// A `PERCEPTRON`, made by [`Network::perceptron`], computes the same and takes linear layers, ReLU and losses without a
/// focal exponent alone: a program that makes no other network links no convolution, batch norm, pooling, shortcut or
/// power.
#[derive(Clone, Debug)]
pub struct Network<'a, const N: usize, const PERCEPTRON: bool = false> {
    pub(super) graph: &'a Graph<N>,
    pub(super) plan: &'a Plan<N>,
    focal: f32,
    losses: Losses,
    rows: usize,
    statistics: Statistics,
    /// Layers whose outputs for this batch are there already: frozen ones after its first pass, whose memory it reused.
    done: usize,
}

impl<'a, const N: usize> Network<'a, N> {
    /// A network that leaves its losses in `losses`; `focal` is the focal exponent of its loss.
    pub fn new(graph: &'a Graph<N>, plan: &'a Plan<N>, focal: f32, losses: Losses) -> Self {
        Self { graph, plan, focal, losses, rows: plan.max_batch(), statistics: Statistics::Running, done: 0 }
    }
}

impl<'a, const N: usize> Network<'a, N, true> {
    /// As [`Network::new`], for a perceptron whose loss has no focal exponent.
    ///
    /// # Errors
    /// [`Error::Layer`] when a layer is neither linear, with uniform initial values, nor ReLU.
    pub fn perceptron(graph: &'a Graph<N>, plan: &'a Plan<N>, losses: Losses) -> Result<Self, Error> {
        let known = |layer: &Layer| {
            layer.initializer == Initializer::Uniform && matches!(layer.op, Op::Input | Op::Linear | Op::Relu)
        };
        match graph.layers().iter().position(|layer| !known(layer)) {
            Some(index) => Err(Error::Layer { index }),
            None => {
                let (rows, statistics) = (plan.max_batch(), Statistics::Running);
                Ok(Self { graph, plan, focal: 0.0, losses, rows, statistics, done: 0 })
            }
        }
    }
}

impl<'a, const N: usize, const PERCEPTRON: bool> Network<'a, N, PERCEPTRON> {
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
        backend.gather(&self.batch()?, rows, samples)
    }

    fn activation(&self, index: usize) -> Result<Span, Error> {
        let layer = self.graph.layers().get(index).ok_or(Error::Model)?;
        self.plan.slot_at(index)?.activation.part(0, self.rows.saturating_mul(layer.output.len()))
    }

    /// The gradient of a layer's output, a span for each stream.
    fn gradient(&self, index: usize, streams: usize) -> Result<Streams, Error> {
        let layer = self.graph.layers().get(index).ok_or(Error::Model)?;
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
            Op::Input => Ok(()),
            Op::Linear => backend.linear_forward(y, x, weight, bias),
            Op::Relu => backend.relu_forward(y, x),
            _ if PERCEPTRON => Err(Error::Model.into()),
            Op::Conv2d(conv) => backend.conv2d_forward(y, x, weight, &conv),
            Op::BatchNorm { residual, relu } => {
                let running = slot.running.ok_or(Error::Model)?;
                let residual = residual.map(|node| self.activation(node.index())).transpose()?;
                if statistics == Statistics::Running {
                    return backend.batch_norm_inference(y, x, weight, bias, running, residual, relu);
                }
                let saved = slot.saved.ok_or(Error::Inference)?;
                let moving = (statistics == Statistics::Update).then_some(running);
                backend.batch_norm_forward(y, saved, moving, x, weight, bias, residual, relu)
            }
            Op::Shortcut => backend.shortcut_forward(y, x, input, layer.output),
            Op::GlobalAveragePool => backend.global_average_pool_forward(y, x, input),
        }
    }

    /// The losses of the batch and the gradients of its logits.
    // A call, as the next one: what one takes of the stack is free again in the other.
    #[inline(never)]
    fn backward_loss<B: Backend>(&self, backend: &mut B, targets: &[Target]) -> Result<(), B::Error> {
        let Batch { labels, weights, .. } = self.batch()?;
        let losses = if self.statistics == Statistics::Keep { self.losses.perturbed } else { self.losses.plain };
        let (losses, weights) = (columns(&losses, targets)?, columns(&weights, targets)?);
        let dlogits = self.gradient(self.graph.layers().len().saturating_sub(1), targets.len())?;
        let terms = self.plan.terms(if PERCEPTRON { 0.0 } else { self.focal });
        backend.cross_entropy(&dlogits, &losses, self.logits()?, labels, &weights, &terms)
    }

    #[inline(never)]
    fn backward_layer<B: Backend>(
        &self,
        backend: &mut B,
        params: Span,
        targets: &[Target],
        index: usize,
    ) -> Result<(), B::Error> {
        let (layer, slot) = (self.graph.layers().get(index).ok_or(Error::Model)?, self.plan.slot_at(index)?);
        if slot.gradient.is_none() {
            return Ok(());
        }
        let (x, y) = (self.activation(layer.input.index())?, self.activation(index)?);
        let dy = self.gradient(index, targets.len())?;
        let dx = match slot.backward_input {
            Some(_) => self.gradient(layer.input.index(), targets.len())?,
            None => Streams::new(),
        };
        let accumulate = slot.backward_input.unwrap_or(false);
        let (dweight, dbias) = (places(slot.weight, targets)?, places(slot.bias, targets)?);
        let (weight, bias) = (slot.weight.of(params)?, slot.bias.of(params)?);
        let input = self.graph.shape(layer.input)?;
        let wanted = slot.backward_input.is_some();
        match layer.op {
            Op::Linear => {
                backend.linear_backward_weight(&dweight, &dbias, x, &dy)?;
                if wanted {
                    backend.linear_backward_input(&dx, &dy, weight, layer.output.channels, accumulate)?;
                }
            }
            Op::Relu if wanted => backend.relu_backward(&dx, &dy, y, accumulate)?,
            _ if PERCEPTRON => {}
            Op::Conv2d(conv) => {
                backend.conv2d_backward_weight(&dweight, x, &dy, &conv)?;
                if wanted {
                    backend.conv2d_backward_input(&dx, &dy, weight, &conv, accumulate)?;
                }
            }
            Op::BatchNorm { residual, relu } => {
                let saved = slot.saved.ok_or(Error::Model)?;
                let keep = slot.residual != Residual::None;
                backend.batch_norm_backward(
                    &dx, &dweight, &dbias, &dy, y, x, weight, bias, saved, relu, keep, accumulate,
                )?;
                if let (Some(node), Residual::Adds) = (residual, slot.residual) {
                    let sum = self.gradient(node.index(), targets.len())?;
                    for (&sum, &masked) in sum.iter().zip(&dy) {
                        backend.axpy(sum, 1.0, masked)?;
                    }
                }
            }
            Op::Shortcut if wanted => backend.shortcut_backward(&dx, &dy, input, layer.output, accumulate)?,
            Op::GlobalAveragePool if wanted => backend.global_average_pool_backward(&dx, &dy, input, accumulate)?,
            Op::Input | Op::Relu | Op::Shortcut | Op::GlobalAveragePool => {}
        }
        Ok(())
    }
}

impl<B: Backend, const N: usize, const PERCEPTRON: bool> Problem<B> for Network<'_, N, PERCEPTRON> {
    fn forward(&mut self, backend: &mut B, params: Span, statistics: Statistics) -> Result<(), B::Error> {
        self.statistics = statistics;
        // Frozen layers compute the same at every point.
        let another = matches!(statistics, Statistics::Repeat | Statistics::Keep);
        let done = if another { self.done } else { 0 };
        if self.done > done && !self.plan.keeps_images() {
            return Err(Error::Consumed.into());
        }
        let (frozen, first) = (self.plan.frozen(), self.plan.first_trained());
        for (index, (layer, slot)) in self.graph.layers().iter().zip(self.plan.slots()).enumerate().skip(done) {
            let y = self.activation(index)?;
            let source = if index < first { (frozen, Statistics::Running) } else { (params, statistics) };
            self.forward_layer(backend, source, layer, slot, y)?;
        }
        self.done = first;
        Ok(())
    }

    fn backward(&mut self, backend: &mut B, params: Span, targets: &[Target]) -> Result<(), B::Error> {
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
// Calls, this and the next: in line they would take more room than the rest of a backward pass.
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
