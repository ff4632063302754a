//! A training step of a perceptron by the papers' formulas.

use sse_sam_core::{Method, Sgd, Tail};

use super::{cross_entropy, layout, linear, pointwise, vectors};

/// A group of a method: how far its point lies from the parameters, and what a sample of each class counts in it.
pub struct Group {
    /// Radius.
    pub radius: f64,
    /// `[classes]`.
    pub weights: Vec<f64>,
}

/// The groups of `epoch` of `epochs`.
pub fn groups(method: Method, counts: &[u32], tail: Tail, epoch: u32, epochs: u32) -> Vec<Group> {
    let all = f64::from(counts.iter().sum::<u32>());
    let group = |radius: f64, weight: &dyn Fn(u32) -> f64| {
        let weights = counts.iter().map(|&count| weight(count)).collect();
        // Radii are 32-bit floats.
        Group { radius: f64::from(radius as f32), weights }
    };
    let head = |count: u32| if count >= tail.eta { 1.0 } else { 0.0 };
    let tails = |count: u32| if count < tail.eta { tail.weight } else { 0.0 };
    match method {
        Method::Sgd => vec![group(0.0, &|_| 1.0)],
        Method::Sam { rho } => vec![group(rho, &|_| 1.0)],
        Method::ImbSam { rho } => vec![group(0.0, &head), group(rho, &tails)],
        Method::SseSam { head_rho, tail_rho, gamma } => {
            let head_rho = if f64::from(epoch) < gamma * f64::from(epochs) { head_rho } else { 0.0 };
            vec![group(head_rho, &head), group(tail_rho, &tails)]
        }
        Method::FocalSam { rho, lambda, gamma } => {
            let share = |count: u32| lambda * (1.0 - f64::from(count) / all).powf(gamma);
            vec![group(0.0, &|count| 1.0 - share(count)), group(rho, &share)]
        }
    }
}

/// A perceptron's batch.
pub struct Batch {
    /// Inputs and outputs of each layer.
    pub layers: Vec<(usize, usize)>,
    /// `[rows][inputs]`.
    pub images: Vec<f64>,
    /// `[rows]`.
    pub labels: Vec<usize>,
}

impl Batch {
    /// Weights, as `[out][in]`, and biases of each layer.
    fn cut(&self, params: &[f64]) -> Vec<(Vec<f64>, Vec<f64>)> {
        let mut rest = params;
        let mut layers = Vec::new();
        for &(inputs, outputs) in &self.layers {
            let (weight, after) = rest.split_at(inputs * outputs);
            let (bias, after) = after.split_at(outputs);
            layers.push((layout::transpose(weight, inputs, outputs), bias.to_vec()));
            rest = after;
        }
        layers
    }

    /// The gradient at `params` of the losses, each times what its class counts, over the whole batch's size.
    fn gradient(&self, params: &[f64], weights: &[f64]) -> Vec<f64> {
        let (layers, classes) = (self.cut(params), weights.len());
        let mut inputs = vec![self.images.clone()];
        for (number, (weight, bias)) in layers.iter().enumerate() {
            let y = linear::forward(&inputs[number], weight, bias);
            inputs.push(if number + 1 < layers.len() { pointwise::relu_forward(&y) } else { y });
        }
        let (plain, none) = (vec![1.0; classes], vec![0.0; classes]);
        let terms = cross_entropy::Terms { scale: plain, shift: none.clone(), margin: none, focal: 0.0 };
        let rows = inputs[layers.len()].chunks_exact(classes).zip(&self.labels);
        let dlogits = |(logits, &label): (&[f64], &usize)| {
            cross_entropy::backward(logits, label, weights[label] / self.labels.len() as f64, &terms)
        };
        let mut dy: Vec<f64> = rows.flat_map(dlogits).collect();
        let mut gradient = Vec::new();
        for (number, (weight, bias)) in layers.iter().enumerate().rev() {
            let (dweight, dbias) = linear::backward_weight(&inputs[number], &dy, bias.len());
            let dweight = layout::transpose(&dweight, bias.len(), weight.len() / bias.len());
            gradient = [dweight, dbias, gradient].concat();
            let dx = linear::backward_input(&dy, weight, bias.len());
            dy = if number > 0 { pointwise::relu_backward(&dx, &inputs[number]) } else { dx };
        }
        gradient
    }

    /// Parameters and velocity after one step.
    pub fn step(&self, w: &[f64], v: &[f64], groups: &[Group], sgd: &Sgd) -> (Vec<f64>, Vec<f64>) {
        let mut sum = vec![0.0; w.len()];
        for Group { radius, weights } in groups {
            let point = vectors::ascend(&self.gradient(w, weights), w, *radius);
            sum = vectors::axpy(&sum, 1.0, &self.gradient(&point, weights));
        }
        vectors::sgd(w, v, &sum, sgd)
    }
}
