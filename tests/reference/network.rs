//! Whole networks in evaluation mode: loss and gradient of a batch, layer by layer through the operations beside it.

use sse_sam_core::memory::Place;
use sse_sam_core::network::layer::{Layer, Node, Op};
use sse_sam_core::{Graph, Plan, Shape};

use super::layout::{hwio_to_oihw, nchw_to_nhwc, nhwc_to_nchw, oihw_to_hwio, transpose};
use super::{batch_norm, conv2d, cross_entropy, linear, pointwise, pooling, vectors};

/// A network with its running statistics, on a batch.
pub struct Network<'a, const N: usize> {
    /// Its layers.
    pub graph: &'a Graph<N>,
    /// Where its parameters lie in a vector.
    pub plan: &'a Plan<N>,
    /// Mean and variance, `[2][channels]`, of each layer; empty where it has none.
    pub running: Vec<Vec<f64>>,
    /// `[rows][height][width][channels]`.
    pub images: Vec<f64>,
    /// `[rows]`.
    pub labels: Vec<usize>,
    /// `[rows]`: factors of the losses.
    pub weights: Vec<f64>,
    /// The loss.
    pub terms: cross_entropy::Terms,
}

/// The numbers of a layer's tensor in a vector.
fn of(place: Place, vector: &[f64]) -> &[f64] {
    &vector[place.offset..place.offset + place.length]
}

/// Adds to a gradient, which may not be there yet.
fn add(sum: &mut Option<Vec<f64>>, more: &[f64]) {
    *sum = Some(match sum.take() {
        Some(sum) => vectors::axpy(&sum, 1.0, more),
        None => more.to_vec(),
    });
}

impl<const N: usize> Network<'_, N> {
    fn layer(&self, index: usize) -> (&Layer, Shape) {
        let layer = &self.graph.layers()[index];
        (layer, self.graph.shape(layer.input).unwrap())
    }

    /// Weight, as PyTorch orders it, and bias.
    fn parameters(&self, index: usize, params: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (layer, input) = self.layer(index);
        let slot = &self.plan.slots()[index];
        let (weight, bias) = (of(slot.weight, params), of(slot.bias, params).to_vec());
        let weight = match layer.op {
            Op::Linear => transpose(weight, input.len(), layer.output.channels),
            Op::Conv2d(conv) => hwio_to_oihw(weight, conv.kernel, input.channels, conv.output.channels),
            _ => weight.to_vec(),
        };
        (weight, bias)
    }

    /// Every layer's output, NCHW, and what goes into its rectifier or windows.
    fn forward(&self, params: &[f64]) -> Vec<(Vec<f64>, Vec<f64>)> {
        let mut outputs: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        for index in 0..self.graph.layers().len() {
            let (layer, input) = self.layer(index);
            let (weight, bias) = self.parameters(index, params);
            let read = |node: Node| outputs[node.index()].0.clone();
            let (y, before) = match layer.op {
                Op::Input => (nhwc_to_nchw(&self.images, layer.output), Vec::new()),
                // A linear layer reads pixel by pixel.
                Op::Linear => (linear::forward(&nchw_to_nhwc(&read(layer.input), input), &weight, &bias), Vec::new()),
                Op::Conv2d(conv) => (conv2d::forward(&read(layer.input), &weight, &conv), Vec::new()),
                Op::BatchNorm { residual, relu } => {
                    let (mean, variance) = self.running[index].split_at(layer.output.channels);
                    let (added, pixels) = (residual.map(read), input.height * input.width);
                    let x = read(layer.input);
                    let running = (mean, variance);
                    let before = batch_norm::inference(&x, &weight, &bias, running, added.as_deref(), false, pixels);
                    (if relu { pointwise::relu_forward(&before) } else { before.clone() }, before)
                }
                Op::Relu => (pointwise::relu_forward(&read(layer.input)), read(layer.input)),
                Op::Shortcut => (pointwise::shortcut_forward(&read(layer.input), input, layer.output), Vec::new()),
                Op::GlobalAveragePool => (pooling::forward(&read(layer.input), input.height * input.width), Vec::new()),
                Op::MaxPool(pool) => (pooling::max_forward(&read(layer.input), &pool), Vec::new()),
            };
            outputs.push((y, before));
        }
        outputs
    }

    /// The smallest magnitude of a number before a rectifier.
    pub fn nearest_kink(&self, params: &[f64]) -> f64 {
        let outputs = self.forward(params);
        let rectified = outputs.iter().zip(self.graph.layers()).filter(|(_, layer)| match layer.op {
            Op::BatchNorm { relu, .. } => relu,
            _ => matches!(layer.op, Op::Relu),
        });
        rectified.flat_map(|((_, before), _)| before).fold(f64::INFINITY, |nearest, x| nearest.min(x.abs()))
    }

    /// The loss and its gradient, in the plan's order.
    pub fn gradient(&self, params: &[f64]) -> (f64, Vec<f64>) {
        let outputs = self.forward(params);
        let (layers, classes) = (self.graph.layers().len(), self.terms.scale.len());
        let (mut loss, mut dlogits) = (0.0, Vec::new());
        let rows = outputs[layers - 1].0.chunks_exact(classes).zip(self.labels.iter().zip(&self.weights));
        for (logits, (&label, &weight)) in rows {
            loss += cross_entropy::forward(logits, label, weight, &self.terms);
            dlogits.extend(cross_entropy::backward(logits, label, weight, &self.terms));
        }
        let mut gradients = vec![None; layers];
        gradients[layers - 1] = Some(dlogits);
        let mut result = vec![0.0; params.len()];
        for index in (0..layers).rev() {
            let Some(dy) = gradients[index].take() else { continue };
            self.backward(index, params, &dy, &outputs, &mut gradients, &mut result);
        }
        (loss, result)
    }

    fn backward(
        &self,
        index: usize,
        params: &[f64],
        dy: &[f64],
        outputs: &[(Vec<f64>, Vec<f64>)],
        gradients: &mut [Option<Vec<f64>>],
        result: &mut [f64],
    ) {
        let (layer, input) = self.layer(index);
        let (weight, bias) = self.parameters(index, params);
        let (x, y, channels) = (&outputs[layer.input.index()].0, &outputs[index].0, layer.output.channels);
        let (mut dweight, mut dbias) = (Vec::new(), Vec::new());
        let dx = match layer.op {
            Op::Input => return,
            Op::Linear => {
                let (dw, db) = linear::backward_weight(&nchw_to_nhwc(x, input), dy, channels);
                (dweight, dbias) = (transpose(&dw, channels, input.len()), db);
                nhwc_to_nchw(&linear::backward_input(dy, &weight, bias.len()), input)
            }
            Op::Conv2d(conv) => {
                let dw = conv2d::backward_weight(x, dy, &conv);
                dweight = oihw_to_hwio(&dw, conv.kernel, input.channels, channels);
                conv2d::backward_input(dy, &weight, &conv)
            }
            Op::BatchNorm { residual, relu } => {
                let running = self.running[index].split_at(channels);
                let pixels = input.height * input.width;
                let own = batch_norm::inference_backward(dy, y, x, &weight, running, relu, pixels);
                (dweight, dbias) = (own.dw, own.db);
                if let Some(node) = residual {
                    add(&mut gradients[node.index()], &own.dresidual);
                }
                own.dx
            }
            Op::Relu => pointwise::relu_backward(dy, y),
            Op::Shortcut => pointwise::shortcut_backward(dy, input, layer.output),
            Op::GlobalAveragePool => pooling::backward(dy, input.height * input.width),
            Op::MaxPool(pool) => pooling::max_backward(dy, x, &pool),
        };
        add(&mut gradients[layer.input.index()], &dx);
        let slot = &self.plan.slots()[index];
        result[slot.weight.offset..][..slot.weight.length].copy_from_slice(&dweight);
        result[slot.bias.offset..][..slot.bias.length].copy_from_slice(&dbias);
    }

    /// `H v` by central differences of the gradient.
    pub fn product(&self, params: &[f64], v: &[f64], step: f64) -> Vec<f64> {
        let gradient = |by: f64| self.gradient(&vectors::axpy(params, by, v)).1;
        gradient(step).iter().zip(gradient(-step)).map(|(a, b)| (a - b) / (2.0 * step)).collect()
    }
}
