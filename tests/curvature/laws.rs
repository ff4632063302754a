//! What holds for the Hessian of any network.

use std::fmt::Debug;

use sse_sam_core::machine::watched::{Watch, Watched};
use sse_sam_core::network::layer::{Name, Part};
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::{Fill, Operation};
use sse_sam_core::training::problem::Target;
use sse_sam_core::{
    Arena, Backend, Cpu, Curvature, Error, Graph, Loss, Losses, Machine, Model, Plan, Problem as _, Run, Shape, Space,
    Statistics, Tangents,
};
use sse_sam_tests::random::Numbers;

use super::rig::{Batch, Check, Rig, State, distance, dot, each_machine, norm, read};

const CLASSES: [u32; 4] = [40, 20, 9, 3];
const ROWS: usize = 8;

const NETWORKS: [(&str, Shape); 4] = [
    ("mlp:18-9-7-4", Shape::new(3, 3, 2)),
    ("resnet8:3", Shape::new(6, 5, 3)),
    ("resnet18:2", Shape::new(5, 6, 1)),
    ("resnet10-imagenet:2", Shape::new(16, 15, 3)),
];

fn rig(model: &str, image: Shape, loss: Loss, arena: Arena) -> Rig {
    Rig::new(model, image, loss, &CLASSES, ROWS, arena)
}

fn drawn(rig: &Rig, seed: u64) -> (State, Batch) {
    let mut numbers = Numbers::new(seed);
    let state = State::drawn(rig, &mut numbers);
    (state, Batch::drawn(rig.graph.layers()[0].output, CLASSES.len(), ROWS, &mut numbers))
}

fn direction(rig: &Rig, name: &str) -> Vec<f32> {
    Numbers::named(name).list(rig.plan.trainable())
}

struct Symmetric;

impl Check for Symmetric {
    fn run<B: Backend>(&self, rig: &Rig, backend: &mut B, machine: &str)
    where
        B::Error: Debug,
    {
        let ((state, batch), u, v) = (drawn(rig, 1), direction(rig, "u"), direction(rig, "v"));
        let [hu, hv] = [&u, &v].map(|v| rig.run(backend, &state, &batch, v).product);
        let error = (dot(&u, &hv) - dot(&v, &hu)).abs() / (norm(&hu) * norm(&v));
        assert!(error <= 1e-6, "on {machine}: {error:e}");
        let again = rig.run(backend, &state, &batch, &v).product;
        assert_eq!(again, hv, "on {machine}: another run gives other bits");
    }
}

#[test]
fn the_hessian_is_symmetric_and_its_products_can_be_repeated() {
    for (model, image) in NETWORKS {
        each_machine(|arena| rig(model, image, Loss::Focal { gamma: 1.0 }, arena), &Symmetric);
    }
}

struct Linear;

impl Check for Linear {
    fn run<B: Backend>(&self, rig: &Rig, backend: &mut B, machine: &str)
    where
        B::Error: Debug,
    {
        let ((state, batch), v) = (drawn(rig, 2), direction(rig, "v"));
        let product = |backend: &mut B, classes: &[u32]| {
            let members = batch.labels.iter().filter(|label| classes.contains(label)).count();
            let share = |label: &u32| if classes.contains(label) { 1.0 / members as f32 } else { 0.0 };
            let group = Batch { weights: batch.labels.iter().map(share).collect(), ..batch.clone() };
            (members as f32, rig.run(backend, &state, &group, &v).product)
        };
        let ((heads, head), (tails, tail)) = (product(backend, &[0, 1]), product(backend, &[2, 3]));
        let (samples, all) = product(backend, &[0, 1, 2, 3]);
        assert_eq!(heads + tails, samples);
        let sum: Vec<f32> = head.iter().zip(&tail).map(|(a, b)| (heads * a + tails * b) / samples).collect();
        let error = distance(&sum, &all);
        assert!(error <= 1e-6, "on {machine}: {error:e}");
        assert!(distance(&head, &all) > 0.1, "on {machine}: the groups are alike");
        // Twice the direction, twice the product, bit for bit.
        let twice: Vec<f32> = v.iter().map(|v| 2.0 * v).collect();
        let doubled = rig.run(backend, &state, &batch, &twice).product;
        let expected: Vec<f32> = rig.run(backend, &state, &batch, &v).product.iter().map(|x| 2.0 * x).collect();
        assert_eq!(doubled, expected, "on {machine}");
    }
}

#[test]
fn groups_add_up_to_the_whole() {
    for (model, image) in NETWORKS {
        each_machine(|arena| rig(model, image, Loss::CrossEntropy, arena), &Linear);
    }
}

/// A direction of 0 but for tensors that `size` names.
fn along(rig: &Rig, state: &State, size: impl Fn(Name) -> (f32, f32)) -> Vec<f32> {
    let (mut direction, mut rest) = (Vec::new(), state.params.as_slice());
    for (layer, slot) in rig.graph.layers().iter().zip(rig.plan.slots()) {
        let (weight, bias) = size(layer.name);
        for (place, size) in [(slot.weight, weight), (slot.bias, bias)] {
            let (own, after) = rest.split_at(place.length);
            direction.extend(own.iter().map(|x| size * x));
            rest = after;
        }
    }
    direction
}

struct Shifted;

impl Check for Shifted {
    fn run<B: Backend>(&self, rig: &Rig, backend: &mut B, machine: &str)
    where
        B::Error: Debug,
    {
        let (state, batch) = drawn(rig, 3);
        let mut v = vec![0.0; state.params.len()];
        let biases = v.len() - CLASSES.len();
        v[biases..].fill(1.0);
        let product = rig.run(backend, &state, &batch, &v).product;
        assert!(product.iter().all(|x| *x == 0.0), "on {machine}: {product:?}");
        v[biases] = 0.5;
        assert!(norm(&rig.run(backend, &state, &batch, &v).product) > 1e-3, "on {machine}: no shift");
    }
}

/// The same number on every logit changes no probability.
#[test]
fn a_shift_of_all_logits_has_no_curvature() {
    for (model, image) in NETWORKS {
        each_machine(|arena| rig(model, image, Loss::LogitAdjustment { tau: 1.0 }, arena), &Shifted);
    }
}

struct Rescaled;

impl Check for Rescaled {
    fn run<B: Backend>(&self, rig: &Rig, backend: &mut B, machine: &str)
    where
        B::Error: Debug,
    {
        let (state, batch) = drawn(rig, 4);
        let size = |name: Name| match name {
            Name::Linear(1) | Name::Block(2, 0, Part::Bn1) => (1.0, 1.0),
            Name::Linear(2) | Name::Block(2, 0, Part::Conv2) => (-1.0, 0.0),
            _ => (0.0, 0.0),
        };
        let v = along(rig, &state, size);
        let found = rig.run(backend, &state, &batch, &v);
        // The same rule on the gradient.
        let turned = along(rig, &State { params: found.gradient.clone(), ..state }, |name| {
            let (weight, bias) = size(name);
            (-weight, -bias)
        });
        let error = found.product.iter().zip(&turned).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        assert!(norm(&turned) > 1e-3, "on {machine}: no gradient");
        assert!(error <= 1e-5 * norm(&turned), "on {machine}: {error:e} of {}", norm(&turned));
    }
}

/// A rectifier passes on a factor: what goes into a layer can be made larger and what comes out of it smaller. The loss
/// stays along that curve, so that `H A w = -A g` where `A` is +1 before and -1 behind.
#[test]
fn rescaling_around_a_rectifier_moves_the_gradient_alone() {
    for (model, image) in NETWORKS {
        each_machine(|arena| rig(model, image, Loss::CrossEntropy, arena), &Rescaled);
    }
}

/// Counts multiply-adds.
#[derive(Default)]
struct Cost(u64);

impl<M: Machine> Watch<M> for Cost {
    fn around<O: Operation>(&mut self, machine: &mut M, operation: &O) -> Result<(), M::Error>
    where
        M: Run<O>,
    {
        self.0 += operation.extent().map_err(M::Error::from)?.products() * operation.streams() as u64;
        machine.run(operation)
    }
}

#[test]
fn a_product_costs_at_most_three_gradients() {
    for (model, image) in NETWORKS {
        let rig = rig(model, image, Loss::CrossEntropy, Arena::new(1));
        let ((state, batch), v) = (drawn(&rig, 5), direction(&rig, "v"));
        let mut memory = vec![0.0; rig.words];
        let mut cpu = Cpu::new(&mut memory, &[], &[]);
        let mut backend = Watched::new(&mut cpu, Cost::default());
        rig.write(&mut backend, &state);
        backend.write(rig.v, &rig.spread(&v)).unwrap();
        let mut network = rig.network();
        rig.gather(&mut backend, &mut network, &batch);
        let target = Target { column: 0, gradient: rig.gradient };
        network.forward(&mut backend, rig.params, Statistics::Update).unwrap();
        network.backward(&mut backend, rig.params, &[target]).unwrap();
        let gradient = std::mem::take(&mut backend.watch.0);
        let mut curvature = Curvature::at(&mut backend, &mut network, &rig.tangents, rig.params).unwrap();
        let evaluation = backend.watch.0;
        curvature.product(&mut backend, rig.v, Target { column: 0, gradient: rig.product }).unwrap();
        let product = backend.watch.0;
        let share = product as f64 / gradient as f64;
        eprintln!("{model}: {share:.3} gradients, {evaluation} of {product} for the evaluation");
        assert!(evaluation > 0 && gradient > 2 * evaluation, "{model}: {gradient} and {evaluation}");
        assert!(share <= 3.0, "{model}: {share} gradients");
    }
}

/// Products on the last layers alone are those of the whole network, of which the others stand still.
#[test]
fn frozen_layers_are_constants() {
    for (model, image) in NETWORKS {
        let whole = rig(model, image, Loss::CrossEntropy, Arena::new(1));
        let ((state, batch), v) = (drawn(&whole, 6), direction(&whole, "v"));
        let first = whole.graph.last_layers(if model.starts_with("mlp") { 2 } else { 4 });
        assert!(first > 1, "{model}: something must be frozen");
        let mut arena = Arena::new(1);
        let plan = Plan::fine_tuning(&whole.graph, first, ROWS, 2, &mut arena).unwrap();
        let tangents = Tangents::new(&whole.graph, &plan, &mut arena).unwrap();
        let [params, along, product] = [(); 3].map(|()| arena.allocate(plan.parameters()).unwrap());
        let plain = [(); 2].map(|()| arena.allocate(1).unwrap());
        let losses = Losses { plain, perturbed: plain };
        assert!(plan.trainable() < whole.plan.trainable() && tangents.len() < whole.tangents.len());
        // Parameters and statistics of frozen layers are the first numbers of constant memory.
        let mut constant = vec![0.0; plan.frozen().length];
        let (mut rest, mut trained) = (state.params.as_slice(), Vec::new());
        for (index, slot) in plan.slots().iter().enumerate() {
            for place in [slot.weight, slot.bias] {
                let (own, after) = rest.split_at(place.length);
                rest = after;
                if index < first {
                    constant[place.offset..][..place.length].copy_from_slice(own);
                } else {
                    trained.extend(own);
                }
            }
            if let Some(span) = slot.running.filter(|span| span.space == Space::Constant) {
                constant[span.offset..][..span.length].copy_from_slice(&state.running[index]);
            }
        }
        let moved = &v[v.len() - trained.len()..];
        let still = vec![0.0; v.len() - trained.len()];
        let expected = {
            let mut memory = vec![0.0; whole.words];
            let mut cpu = Cpu::new(&mut memory, &[], &[]);
            whole.run(&mut cpu, &state, &batch, &[&still, moved].concat()).product
        };
        let mut memory = vec![0.0; arena.len()];
        let mut cpu = Cpu::new(&mut memory, &constant, &[]);
        let part = Rig { plan, tangents, losses, params, v: along, product, ..whole };
        let mut network = part.network();
        let own: State = State { params: trained, running: state.running.clone() };
        let [scale, ..] = part.plan.terms;
        cpu.run(&Fill { to: scale, value: 1.0 }).unwrap();
        cpu.write(params, &own.params).unwrap();
        cpu.write(along, moved).unwrap();
        for (slot, running) in part.plan.slots().iter().zip(&own.running) {
            if let Some(span) = slot.running.filter(|span| span.space == Space::Work) {
                cpu.write(span, running).unwrap();
            }
        }
        part.gather(&mut cpu, &mut network, &batch);
        let mut curvature = Curvature::at(&mut cpu, &mut network, &part.tangents, params).unwrap();
        curvature.product(&mut cpu, along, Target { column: 0, gradient: product }).unwrap();
        let found = read(&mut cpu, product);
        let expected = &expected[expected.len() - found.len()..];
        assert!(norm(expected) > 1e-3, "{model}");
        let error = distance(&found, expected);
        assert!(error <= 1e-6, "{model}: {error:e}");
    }
}

#[test]
fn plans_without_room_for_products_are_refused() {
    let mut graph = Graph::<MAX_LAYERS>::new();
    "resnet8:2".parse::<Model>().unwrap().build(&mut graph, Shape::new(4, 4, 1), 3).unwrap();
    let plan = |streams| Plan::new(&graph, 2, streams, &mut Arena::new(1)).unwrap();
    let tangents = |plan: &Plan<MAX_LAYERS>| Tangents::new(&graph, plan, &mut Arena::new(1)).map(|_| ());
    assert_eq!(tangents(&plan(2)), Ok(()));
    assert!(matches!(tangents(&plan(1)), Err(Error::Capacity { capacity: 1, .. })));
    let inference = Plan::inference(&graph, 2, &mut Arena::new(1)).unwrap();
    assert_eq!(tangents(&inference), Err(Error::Inference));
}

#[test]
fn tangents_of_another_graph_are_refused() {
    let (small, large) = (NETWORKS[0], NETWORKS[1]);
    let [small, large] = [small, large].map(|(model, image)| rig(model, image, Loss::CrossEntropy, Arena::new(1)));
    let mut memory = vec![0.0; large.words];
    let mut cpu = Cpu::new(&mut memory, &[], &[]);
    let mut network = large.network();
    let refused = Curvature::at(&mut cpu, &mut network, &small.tangents, large.params);
    assert!(matches!(refused, Err(Error::Graph)));
}
