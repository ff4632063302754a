//! A residual that goes two ways, by central differences.

use sse_sam_core::network::layer::{Initializer, Name, Op, Part};
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::network::plan::Residual;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Arena, Cpu, Graph, Problem, Shape, Statistics};
use sse_sam_tests::reference::{batch_norm, conv2d, cross_entropy, layout, linear, pooling, relative_error, wide};

use crate::rig::{CLASSES, Rig, at};

/// A network in which one node is the residual of two batch norms and the input of a third layer.
pub struct Braid {
    pub graph: Graph<MAX_LAYERS>,
    widths: [usize; 3],
}

pub const BRAID_IMAGE: Shape = Shape::new(3, 2, 2);

impl Braid {
    /// `x = relu(bn(conv(image)))`, `y = bn(conv(x)) + x`, `z = relu(bn(conv(y)) + x)`, pool, linear.
    pub fn new() -> Self {
        let mut graph = Graph::new();
        let initializer = Initializer::KaimingFanIn;
        let name = |index, part| Name::Block(1, index, part);
        let image = graph.input(BRAID_IMAGE).unwrap();
        let stem = graph.conv2d(Name::Stem, image, 3, (3, 1, 1), initializer).unwrap();
        let x = graph.batch_norm(Name::StemNorm, stem, None, true).unwrap();
        let y = graph.conv2d(name(0, Part::Conv1), x, 3, (3, 1, 1), initializer).unwrap();
        let y = graph.batch_norm(name(0, Part::Bn1), y, Some(x), false).unwrap();
        let z = graph.conv2d(name(1, Part::Conv1), y, 3, (3, 1, 1), initializer).unwrap();
        let z = graph.batch_norm(name(1, Part::Bn1), z, Some(x), true).unwrap();
        let pooled = graph.apply(Op::GlobalAveragePool, z).unwrap();
        graph.linear(Name::Classifier, pooled, CLASSES, initializer).unwrap();
        Self { graph, widths: [2, 3, 3] }
    }

    /// Its loss by the naive reference; `parameters` are weights and biases in the order of the layers.
    fn loss(&self, images: &[f64], labels: &[usize], weights: &[f64], parameters: &[f64]) -> f64 {
        let mut rest = parameters;
        let mut take = |length: usize| {
            let (first, others) = rest.split_at(length);
            rest = others;
            first
        };
        let still = (&[0.0; 3][..], &[1.0; 3][..]);
        let pixels = BRAID_IMAGE.height * BRAID_IMAGE.width;
        let mut normed = |input: &[f64], channels: usize, residual: Option<&[f64]>, relu: bool| {
            let image = Shape { channels, ..BRAID_IMAGE };
            let conv = sse_sam_core::Conv2d::new(image, 3, 3, 1, 1).unwrap();
            let weight = layout::hwio_to_oihw(take(conv.weights()), 3, channels, 3);
            let convolved = conv2d::forward(input, &weight, &conv);
            batch_norm::forward(&convolved, take(3), take(3), still, residual, relu, pixels).y
        };
        let x = normed(images, self.widths[0], None, true);
        let y = normed(&x, self.widths[1], Some(&x), false);
        let z = normed(&y, self.widths[2], Some(&x), true);
        let pooled = pooling::forward(&z, pixels);
        let weight = layout::transpose(take(3 * CLASSES), 3, CLASSES);
        let logits = linear::forward(&pooled, &weight, take(CLASSES));
        let plain = || vec![1.0; CLASSES];
        let none = || vec![0.0; CLASSES];
        let terms = cross_entropy::Terms { scale: plain(), shift: none(), margin: none(), focal: 0.0 };
        let rows = logits.chunks_exact(CLASSES).zip(labels).zip(weights);
        rows.map(|((logits, &label), &weight)| cross_entropy::forward(logits, label, weight, &terms)).sum()
    }
}

#[test]
fn a_residual_that_has_a_gradient_already_adds_to_it() {
    let braid = Braid::new();
    let rig = Rig::of(braid.graph.clone(), BRAID_IMAGE, Arena::new(1));
    let residuals: Vec<Residual> = rig.plan.slots().iter().map(|slot| slot.residual).collect();
    assert_eq!(residuals.iter().filter(|residual| **residual == Residual::Adds).count(), 1, "{residuals:?}");
    let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut memory, &[], &bytes);
    let mut network = rig.prepare(&mut backend);
    let batch = network.batch().unwrap();
    // Each column into its own vector, in one pass.
    let gradients = [rig.vectors.gradient, rig.vectors.points[0].unwrap()];
    let targets = [0, 1].map(|column| Target { column, gradient: gradients[column] });
    network.forward(&mut backend, rig.vectors.params, Statistics::Update).unwrap();
    network.backward(&mut backend, rig.vectors.params, &targets).unwrap();

    let images = layout::nhwc_to_nchw(&wide(at(&memory, batch.images)), BRAID_IMAGE);
    let labels: Vec<usize> = at(&memory, batch.labels).iter().map(|&label| label as usize).collect();
    let parameters = wide(at(&memory, rig.vectors.params));
    let losses = rig.losses.plain;
    for column in [0, 1] {
        let weights = wide(at(&memory, batch.weights[column]));
        let loss = |parameters: &[f64]| braid.loss(&images, &labels, &weights, parameters);
        let found = f64::from(at(&memory, losses[column])[0]);
        assert!((found / loss(&parameters) - 1.0).abs() < 1e-5, "loss {found} {}", loss(&parameters));
        let slope = |index: usize| {
            let shifted = |by: f64| {
                let mut moved = parameters.clone();
                moved[index] += by;
                loss(&moved)
            };
            (shifted(1e-6) - shifted(-1e-6)) / 2e-6
        };
        let differences: Vec<f64> = (0..parameters.len()).map(slope).collect();
        let error = relative_error(&wide(at(&memory, gradients[column])), &differences);
        assert!(error < 1e-5, "column {column}: {error:e}");
    }
}
