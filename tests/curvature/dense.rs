//! Hessians as differences of naive gradients in f64.

use std::fmt::Debug;

use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::Fill;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Arena, Backend, Curvature, Loss, Shape};
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::{relative_error, wide};

use super::rig::{Batch, Check, Rig, State, each_machine, read};

/// Step of central differences; numbers before rectifiers are hundreds of times as far from 0.
const STEP: f64 = 1e-6;
const BOUND: f64 = 1e-5;
const CLASSES: [u32; 5] = [40, 30, 20, 7, 3];

/// What is compared, and the seed whose numbers keep clear of every kink.
struct Network {
    model: &'static str,
    image: Shape,
    rows: usize,
    loss: Loss,
    seed: u64,
}

impl Network {
    fn rig(&self, arena: Arena) -> Rig {
        Rig::new(self.model, self.image, self.loss, &CLASSES, self.rows, arena)
    }

    /// Parameters and samples.
    fn drawn(&self, rig: &Rig) -> (State, Batch) {
        let mut numbers = Numbers::new(self.seed);
        let state = State::drawn(rig, &mut numbers);
        (state, Batch::drawn(self.image, CLASSES.len(), self.rows, &mut numbers))
    }

    /// The reference for these, which must lie clear of kinks.
    fn expected<T>(
        &self,
        of: impl FnOnce(&sse_sam_tests::reference::network::Network<'_, MAX_LAYERS>, &[f64]) -> T,
    ) -> T {
        let rig = self.rig(Arena::new(1));
        let (state, batch) = self.drawn(&rig);
        let (network, params) = (rig.reference(&state, &batch), wide(&state.params));
        let nearest = network.nearest_kink(&params);
        assert!(
            nearest > 300.0 * STEP,
            "{}: a number before a rectifier is {nearest:e}; take another seed",
            self.model
        );
        of(&network, &params)
    }
}

/// A machine's whole Hessian, a column at a time, against the naive one.
struct Dense<'n> {
    network: &'n Network,
    expected: Vec<Vec<f64>>,
    gradient: Vec<f64>,
}

impl Check for Dense<'_> {
    fn run<B: Backend>(&self, rig: &Rig, backend: &mut B, machine: &str)
    where
        B::Error: Debug,
    {
        let (state, batch) = self.network.drawn(rig);
        let size = state.params.len();
        rig.write(backend, &state);
        let mut network = rig.network();
        rig.gather(backend, &mut network, &batch);
        let mut curvature = Curvature::at(backend, &mut network, &rig.tangents, rig.params).unwrap();
        backend.run(&Fill { to: rig.gradient, value: 0.0 }).unwrap();
        curvature.gradient(backend, &[Target { column: 0, gradient: rig.gradient }]).unwrap();
        let error = relative_error(&wide(&rig.gathered(&read(backend, rig.gradient))), &self.gradient);
        assert!(error < BOUND, "{} on {machine}: the gradient is off by {error:e}", self.network.model);
        let (mut difference, mut square) = (0.0, 0.0);
        for (at, expected) in self.expected.iter().enumerate() {
            let mut unit = vec![0.0; size];
            unit[at] = 1.0;
            backend.write(rig.v, &rig.spread(&unit)).unwrap();
            backend.run(&Fill { to: rig.product, value: 0.0 }).unwrap();
            curvature.product(backend, rig.v, Target { column: 0, gradient: rig.product }).unwrap();
            let found = wide(&rig.gathered(&read(backend, rig.product)));
            difference += found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            square += expected.iter().map(|b| b * b).sum::<f64>();
        }
        let error = (difference / square).sqrt();
        eprintln!("{} on {machine}: the Hessian of {size} parameters is off by {error:.1e}", self.network.model);
        assert!(error < BOUND, "{} on {machine}: the Hessian is off by {error:e}", self.network.model);
    }
}

/// Unit vectors give all columns of a perceptron's and of a residual network's Hessian.
#[test]
fn dense_hessians_are_the_differences_of_naive_gradients() {
    for (model, image) in [("mlp:8-16-5", Shape::new(2, 2, 2)), ("resnet8:2", Shape::new(3, 3, 1))] {
        let loss = Loss::CrossEntropy;
        let network = &Network { model, image, rows: 4, loss, seed: clear_seed(model, image, loss) };
        let (expected, gradient) = network.expected(|reference, params| {
            let column = |at: usize| {
                let mut unit = vec![0.0; params.len()];
                unit[at] = 1.0;
                reference.product(params, &unit, STEP)
            };
            ((0..params.len()).map(column).collect(), reference.gradient(params).1)
        });
        each_machine(|arena| network.rig(arena), &Dense { network, expected, gradient });
    }
}

/// Loss, gradient and a product along one direction.
struct Direction<'n> {
    network: &'n Network,
    v: Vec<f32>,
    loss: f64,
    gradient: Vec<f64>,
    product: Vec<f64>,
}

impl Check for Direction<'_> {
    fn run<B: Backend>(&self, rig: &Rig, backend: &mut B, machine: &str)
    where
        B::Error: Debug,
    {
        let (state, batch) = self.network.drawn(rig);
        let found = rig.run(backend, &state, &batch, &self.v);
        for (what, error) in [
            ("loss", (found.loss / self.loss - 1.0).abs()),
            ("gradient", relative_error(&wide(&found.gradient), &self.gradient)),
            ("product", relative_error(&wide(&found.product), &self.product)),
        ] {
            let what = format!("{} {:?} on {machine}: the {what}", self.network.model, self.network.loss);
            eprintln!("{what} is off by {error:.1e}");
            assert!(error < BOUND, "{what} is off by {error:e}");
        }
    }
}

/// Every kind of layer and loss: both shortcuts, max-pooling, images that a perceptron reads, margins and exponents.
#[test]
fn products_of_every_layer_and_loss_are_the_differences_of_naive_gradients() {
    let focal = Loss::Focal { gamma: 2.0 };
    let networks = [
        ("resnet8:3", Shape::new(5, 4, 3), Loss::Ldam { max_m: 0.5, scale: 3.0 }),
        ("resnet10:2", Shape::new(4, 5, 2), Loss::VectorScaling { gamma: 0.3, tau: 1.0 }),
        ("resnet18:2", Shape::new(3, 3, 1), Loss::LogitAdjustment { tau: 1.0 }),
        ("resnet10-imagenet:2", Shape::new(16, 14, 3), Loss::BalancedSoftmax),
        ("mlp:24-7-6-5", Shape::new(2, 4, 3), focal),
        ("resnet8:2", Shape::new(4, 4, 1), focal),
    ];
    for (model, image, loss) in networks {
        let seed = clear_seed(model, image, loss);
        let network = Network { model, image, rows: 4, loss, seed };
        let (v, loss, gradient, product) = network.expected(|reference, params| {
            let v = Numbers::named("direction").list(params.len());
            let (loss, gradient) = reference.gradient(params);
            let product = reference.product(params, &wide(&v), STEP);
            (v, loss, gradient, product)
        });
        each_machine(|arena| network.rig(arena), &Direction { network: &network, v, loss, gradient, product });
    }
}

/// The first seed whose numbers keep clear of kinks.
fn clear_seed(model: &'static str, image: Shape, loss: Loss) -> u64 {
    let is_clear = |seed: &u64| {
        let network = Network { model, image, rows: 4, loss, seed: *seed };
        let rig = network.rig(Arena::new(1));
        let (state, batch) = network.drawn(&rig);
        rig.reference(&state, &batch).nearest_kink(&wide(&state.params)) > 300.0 * STEP
    };
    (0..400).find(is_clear).expect("one of 400 seeds keeps clear of kinks")
}
