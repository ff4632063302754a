//! Exact products of a network's Hessian with vectors, by the derivative of its gradient along a direction.
//!
//! With frozen statistics of batch normalisation a layer is linear in what it reads and in its parameters, `y = B(x, w) + b`.
//! `R` be the derivative along a direction `v` of the parameters. Then, forward and backward,
//!
//! ```text
//! R y  = B(R x, w) + B(x, v) + v_b
//! R dx = B1(R dy, w) + B1(dy, v)          where dx = B1(dy, w)
//! R dw = B2(x, R dy) + B2(R x, dy)        where dw = B2(x, dy)
//! ```
//!
//! so that every rule is the layer's own operation, twice. `R dw` of all layers is `H v`: no difference of gradients, no
//! step length, the rounding of one gradient. Rectifiers and max-pooling pass on what they let through; where one of them
//! has a kink, the Hessian ignores it, as it exists almost everywhere.
//!
//! Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian".

use heapless::Vec;

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::memory::{Arena, Span};
use crate::network::executor::{Network, Streams};
use crate::network::graph::Graph;
use crate::network::layer::{All, Forward, Layer, Op};
use crate::network::plan::{Plan, Residual, Slot};
use crate::ops::{
    Axpy, BatchNormInference, BatchNormInferenceBackward, Copy, CrossEntropyTangent, Fill, MaxPoolTangent, ReluBackward,
};
use crate::training::problem::{Problem, Statistics, Target};

/// Memory that products with a Hessian need beside a network's plan: a tangent for every output that depends on a trained
/// parameter, and room for one term.
#[derive(Clone, Debug)]
pub struct Tangents<const N: usize> {
    /// Of each layer's output, for the largest batch.
    outputs: Vec<Option<Span>, N>,
    /// One output.
    term: Span,
    /// Zeros, then the variances of one batch norm: `[2][largest channels]`.
    centred: Span,
    /// Gradients of parameters that nobody wants: `[largest channels]` each.
    unused: [Span; 2],
    length: usize,
}

impl<const N: usize> Tangents<N> {
    /// Plans products for `graph`, whose `plan` must have room for two gradients at once.
    ///
    /// # Errors
    /// [`Error::Inference`] for a plan of inference, [`Error::Capacity`] for one of a single gradient, else as
    /// [`Arena::allocate`].
    pub fn new(graph: &Graph<N>, plan: &Plan<N>, arena: &mut Arena) -> Result<Self, Error> {
        match plan.streams() {
            0 => return Err(Error::Inference),
            1 => return Err(Error::Capacity { what: "gradients at once in this plan", capacity: 1 }),
            _ => {}
        }
        let (before, mut outputs, mut term, mut channels) = (arena.len(), Vec::<Option<Span>, N>::new(), 0, 0);
        for (index, layer) in graph.layers().iter().enumerate() {
            let is_moved = |node: usize| outputs.get(node).is_some_and(Option::is_some);
            let reads = is_moved(layer.input.index()) || layer.residual().is_some_and(|node| is_moved(node.index()));
            let moves = index >= plan.first_trained() && (reads || !layer.tensors().is_empty());
            let length = layer.output.len().saturating_mul(plan.max_batch());
            if moves && !layer.tensors().is_empty() {
                (term, channels) = (length.max(term), channels.max(layer.output.channels));
            }
            let output = if moves { Some(arena.allocate(length)?) } else { None };
            outputs.push(output).map_err(|_| Error::Capacity { what: "layers of a graph", capacity: N })?;
        }
        let term = arena.allocate(term)?;
        let centred = arena.allocate(channels.saturating_mul(2))?;
        let unused = [arena.allocate(channels)?, arena.allocate(channels)?];
        Ok(Self { outputs, term, centred, unused, length: arena.len().saturating_sub(before) })
    }

    /// `f32` of work memory that they take, padding included.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether they take none.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// The Hessian of a network's loss on its batch, at some parameters, batch norm by running statistics.
///
/// The loss is that of training: `sum_i weight[column][i] * loss_i` over the batch's samples, with the loss's tables and
/// focal exponent. Weights of `1 / |S|` for the samples of a set and 0 for others make it the mean over that set, and sums
/// over batches add up to it. The Hessian is that of all trained parameters.
///
/// | pass               | convolutions or products a layer |
/// |--------------------|----------------------------------|
/// | [`Curvature::at`]  | 1                                |
/// | a product          | 7: forward 2, input 3, weight 2  |
/// | a gradient         | 2                                |
///
/// Nothing of it waits for the device, and nothing is allocated.
#[derive(Debug)]
pub struct Curvature<'c, 'a, const N: usize> {
    network: &'c mut Network<'a, N>,
    tangents: &'c Tangents<N>,
    params: Span,
}

impl<'c, 'a, const N: usize> Curvature<'c, 'a, N> {
    /// Evaluates the network's batch at `params`, which must stay what they are.
    ///
    /// # Errors
    /// What the backend reports; [`Error::Graph`] when the tangents belong to another graph.
    pub fn at<B: Backend>(
        backend: &mut B,
        network: &'c mut Network<'a, N>,
        tangents: &'c Tangents<N>,
        params: Span,
    ) -> Result<Self, B::Error> {
        if tangents.outputs.len() != network.graph.layers().len() {
            return Err(Error::Graph.into());
        }
        network.forward(backend, params, Statistics::Running)?;
        Ok(Self { network, tangents, params })
    }

    /// Adds the gradients for one or two targets, and leaves the losses of their columns in the network's slots for plain
    /// losses.
    ///
    /// # Errors
    /// What the backend reports.
    pub fn gradient<B: Backend>(&mut self, backend: &mut B, targets: &[Target]) -> Result<(), B::Error> {
        self.network.backward(backend, self.params, targets)
    }

    /// Adds `H v` to `target.gradient`, where `H` is the Hessian of the loss of `target.column`, and leaves that loss in
    /// the network's slot for the plain loss of the column.
    ///
    /// `v` and `target.gradient` are vectors as long as the parameters and share nothing with each other; padding of `v`
    /// is zero.
    ///
    /// # Errors
    /// What the backend reports; [`Error::Bounds`] when a vector is too short.
    pub fn product<B: Backend>(&mut self, backend: &mut B, v: Span, target: Target) -> Result<(), B::Error> {
        let (zeros, _) = self.halves(self.largest_channels())?;
        backend.run(&Fill { to: zeros, value: 0.0 })?;
        let (first, layers) = (self.network.plan.first_trained(), self.network.graph.layers().len());
        for index in first..layers {
            self.forward_layer(backend, v, index)?;
        }
        self.loss(backend, target)?;
        for index in (first..layers).rev() {
            self.backward_layer(backend, v, target, index)?;
        }
        Ok(())
    }

    fn largest_channels(&self) -> usize {
        self.tangents.centred.length / 2
    }

    /// Room for zeros and for variances of so many channels, one behind the other.
    fn halves(&self, channels: usize) -> Result<(Span, Span), Error> {
        let largest = self.largest_channels();
        let zeros = self.tangents.centred.part(largest.saturating_sub(channels), channels)?;
        Ok((zeros, self.tangents.centred.part(largest, channels)?))
    }

    /// The tangent of a layer's output, where it has one.
    fn tangent(&self, index: usize) -> Result<Option<Span>, Error> {
        let (layer, _) = self.network.layer(index)?;
        let span = self.tangents.outputs.get(index).copied().flatten();
        let length = self.network.rows().saturating_mul(layer.output.len());
        span.map(|span| span.part(0, length)).transpose()
    }

    /// Room for one term of a layer's output.
    fn term(&self, output: Span) -> Result<Span, Error> {
        self.tangents.term.part(0, output.length)
    }

    /// `R y` of a layer.
    fn forward_layer<B: Backend>(&self, backend: &mut B, v: Span, index: usize) -> Result<(), B::Error> {
        let Some(y) = self.tangent(index)? else { return Ok(()) };
        let (layer, slot) = self.network.layer(index)?;
        let input = layer.input.index();
        let (x, moved) = (self.network.activation(input)?, self.tangent(input)?);
        match (layer.op, moved) {
            (Op::BatchNorm { .. }, _) => self.forward_norm(backend, v, (layer, slot), y, index),
            (Op::Linear | Op::Conv2d(_), moved) => self.forward_product(backend, v, (layer, slot), y, (x, moved)),
            (_, None) => Ok(()),
            (Op::Relu, Some(moved)) => {
                let output = self.network.activation(index)?;
                backend.run(&ReluBackward { dx: &[y], dy: &[moved], y: output, accumulate: false })
            }
            (Op::MaxPool(pool), Some(tangent)) => backend.run(&MaxPoolTangent { y, tangent, x, pool: &pool }),
            (_, Some(moved)) => {
                let (weight, bias) = (slot.weight.of(v)?, slot.bias.of(v)?);
                let input = self.network.graph.shape(layer.input)?;
                layer.forward::<B, All>(backend, &Forward { y, x: moved, weight, bias, input })
            }
        }
    }

    /// `R y = B(R x, w) + B(x, v) + v_b`.
    fn forward_product<B: Backend>(
        &self,
        backend: &mut B,
        v: Span,
        (layer, slot): (&Layer, &Slot),
        y: Span,
        (x, moved): (Span, Option<Span>),
    ) -> Result<(), B::Error> {
        let input = self.network.graph.shape(layer.input)?;
        let (along, bias) = (slot.weight.of(v)?, slot.bias.of(v)?);
        let Some(moved) = moved else {
            return layer.forward::<B, All>(backend, &Forward { y, x, weight: along, bias, input });
        };
        let weight = slot.weight.of(self.params)?;
        layer.forward::<B, All>(backend, &Forward { y, x: moved, weight, bias, input })?;
        let (zeros, _) = self.halves(bias.length)?;
        let term = self.term(y)?;
        layer.forward::<B, All>(backend, &Forward { y: term, x, weight: along, bias: zeros, input })?;
        backend.run(&Axpy { y, alpha: 1.0, x: term })
    }

    /// `R y = mask * (R x * inv_std * weight + xhat * v_weight + v_bias + R residual)`.
    fn forward_norm<B: Backend>(
        &self,
        backend: &mut B,
        v: Span,
        (layer, slot): (&Layer, &Slot),
        y: Span,
        index: usize,
    ) -> Result<(), B::Error> {
        let Op::BatchNorm { residual, relu } = layer.op else { return Err(Error::Graph.into()) };
        let (x, moved) = (self.network.activation(layer.input.index())?, self.tangent(layer.input.index())?);
        let added = residual.map_or(Ok(None), |node| self.tangent(node.index()))?;
        let term = self.term(y)?;
        // What is masked at the end goes elsewhere before.
        let (sum, masked) = if relu { (term, y) } else { (y, term) };
        let (along, shift) = (slot.weight.of(v)?, slot.bias.of(v)?);
        let running = slot.running.ok_or(Error::Graph)?;
        let norm = |y, x, (weight, bias), running, residual| BatchNormInference {
            y,
            x,
            weight,
            bias,
            running,
            residual,
            relu: false,
        };
        match moved {
            Some(moved) => {
                let centred = self.centred_statistics(backend, slot)?;
                let weight = slot.weight.of(self.params)?;
                backend.run(&norm(masked, moved, (weight, shift), centred, added))?;
                let (zeros, _) = self.halves(shift.length)?;
                backend.run(&norm(sum, x, (along, zeros), running, Some(masked)))?;
            }
            None => backend.run(&norm(sum, x, (along, shift), running, added))?,
        }
        if relu {
            let output = self.network.activation(index)?;
            backend.run(&ReluBackward { dx: &[y], dy: &[term], y: output, accumulate: false })?;
        }
        Ok(())
    }

    /// A batch norm's running variances behind means of zero: they normalise a tangent.
    fn centred_statistics<B: Backend>(&self, backend: &mut B, slot: &Slot) -> Result<Span, B::Error> {
        let running = slot.running.ok_or(Error::Graph)?;
        let channels = running.length / 2;
        let (_, variances) = self.halves(channels)?;
        backend.run(&Copy { to: variances, from: running.part(channels, channels)? })?;
        let first = self.largest_channels().saturating_sub(channels);
        Ok(self.tangents.centred.part(first, running.length)?)
    }

    /// The loss, the gradient of the logits and its tangent.
    fn loss<B: Backend>(&self, backend: &mut B, target: Target) -> Result<(), B::Error> {
        self.network.backward_loss(backend, &[target])?;
        let last = self.network.graph.layers().len().saturating_sub(1);
        let batch = self.network.batch()?;
        let (_, dlogits) = pair(&self.network.gradient(last, 2)?)?;
        let tangent = self.tangent(last)?.ok_or(Error::Inference)?;
        let missing = Error::Capacity { what: "groups", capacity: batch.weights.len() };
        let weights = batch.weights.get(target.column).copied().ok_or(missing)?;
        let (logits, labels, terms) = (self.network.logits()?, batch.labels, self.network.terms());
        backend.run(&CrossEntropyTangent { dlogits, logits, tangent, labels, weights, terms })
    }

    /// `dx`, `R dx` and `R dw` of a layer from `dy` and `R dy`.
    fn backward_layer<B: Backend>(
        &self,
        backend: &mut B,
        v: Span,
        target: Target,
        index: usize,
    ) -> Result<(), B::Error> {
        let (layer, slot) = self.network.layer(index)?;
        if slot.gradient.is_none() {
            return Ok(());
        }
        if layer.normalises() {
            return self.backward_norm(backend, v, target, index);
        }
        let both = self.network.gradient(index, 2)?;
        let (dy, moved_dy) = pair(&both)?;
        let (x, moved) = (self.network.activation(layer.input.index())?, self.tangent(layer.input.index())?);
        let (dweight, dbias) = (slot.weight.of(target.gradient)?, slot.bias.of(target.gradient)?);
        layer.backward_weight::<B, All>(backend, (&[dweight], &[dbias]), x, &[moved_dy])?;
        if let Some(moved) = moved {
            let unused = self.unused(dbias.length)?;
            layer.backward_weight::<B, All>(backend, (&[dweight], &[unused[0]]), moved, &[dy])?;
        }
        let Some(accumulate) = slot.backward_input else { return Ok(()) };
        let y = self.network.activation(index)?;
        let (weight, bias) = (slot.weight.of(self.params)?, slot.bias.of(self.params)?);
        let forward = Forward { y, x, weight, bias, input: self.network.graph.shape(layer.input)? };
        let dx = self.network.gradient(layer.input.index(), 2)?;
        layer.backward_input::<B, All>(backend, (&dx, accumulate), &forward, &both)?;
        if layer.tensors().is_empty() {
            return Ok(());
        }
        let along = Forward { weight: slot.weight.of(v)?, ..forward };
        layer.backward_input::<B, All>(backend, (&[pair(&dx)?.1], true), &along, &[dy])
    }

    /// Room for the gradients of parameters that are not wanted.
    fn unused(&self, channels: usize) -> Result<[Span; 2], Error> {
        let [first, second] = self.tangents.unused;
        Ok([first.part(0, channels)?, second.part(0, channels)?])
    }

    /// [`Curvature::backward_layer`] of a batch norm.
    fn backward_norm<B: Backend>(
        &self,
        backend: &mut B,
        v: Span,
        target: Target,
        index: usize,
    ) -> Result<(), B::Error> {
        let (layer, slot) = self.network.layer(index)?;
        let Op::BatchNorm { residual, relu } = layer.op else { return Err(Error::Graph.into()) };
        let (dx, dy) = (self.network.gradient(layer.input.index(), 2)?, self.network.gradient(index, 2)?);
        let (y, x) = (self.network.activation(index)?, self.network.activation(layer.input.index())?);
        let (dweight, dbias) = (slot.weight.of(target.gradient)?, slot.bias.of(target.gradient)?);
        let [unused_weight, unused_bias] = self.unused(dweight.length)?;
        let both = BatchNormInferenceBackward {
            dx: &dx,
            dweight: &[unused_weight, dweight],
            dbias: &[unused_bias, dbias],
            dy: &dy,
            y,
            x,
            weight: slot.weight.of(self.params)?,
            running: slot.running.ok_or(Error::Graph)?,
            relu,
            accumulate: slot.backward_input.unwrap_or(false),
        };
        backend.run(&both)?;
        if let Some(moved) = self.tangent(layer.input.index())? {
            let running = self.centred_statistics(backend, slot)?;
            backend.run(&BatchNormInferenceBackward {
                dx: &[pair(&dx)?.1],
                dweight: &[dweight],
                dbias: &[unused_bias],
                // Masked by now.
                dy: &[pair(&dy)?.0],
                x: moved,
                weight: slot.weight.of(v)?,
                running,
                relu: false,
                accumulate: true,
                ..both
            })?;
        }
        match (residual, slot.residual) {
            (Some(node), Residual::Adds) => self.network.add_residual(backend, node, &dy),
            _ => Ok(()),
        }
    }
}

/// The two spans of two streams.
fn pair(streams: &Streams) -> Result<(Span, Span), Error> {
    match streams.as_slice() {
        &[first, second] => Ok((first, second)),
        _ => Err(Error::Graph),
    }
}
