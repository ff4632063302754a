//! The training step, on the CPU core: what it asks of a backend, and what it computes.

use std::collections::BTreeMap;

use sse_sam_core::graph::{Initializer, Name, Op, Part};
use sse_sam_core::model::MAX_LAYERS;
use sse_sam_core::plan::Residual;
use sse_sam_core::step::{Present, Target};
use sse_sam_core::{
    Arena, Backend, Cpu, Error, Graph, Losses, Method, Model, Network, Outcome, Plan, Problem, Row, Samples, Sgd,
    Shape, Span, Statistics, Vectors, step,
};
use sse_sam_tests::random::Numbers;
use sse_sam_tests::recorder::{Call, List, Recorder};
use sse_sam_tests::reference::{batch_norm, conv2d, cross_entropy, layout, linear, pooling, relative_error, wide};

const SGD: Sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, nesterov: false };
const SSE_SAM: Method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 };

/// Every method with an epoch of 2, and forward and backward passes of one of its steps.
const METHODS: [(Method, u32, (usize, usize)); 5] = [
    (Method::Sgd, 0, (1, 1)),
    (Method::Sam { rho: 0.05 }, 0, (2, 2)),
    (Method::ImbSam { rho: 0.05 }, 0, (2, 3)),
    (SSE_SAM, 0, (3, 4)),
    (SSE_SAM, 1, (2, 3)),
];

const PERCEPTRON: (&str, Shape) = ("mlp:6-9-7-5", Shape::new(1, 3, 2));
const RESNETS: [(&str, Shape); 2] = [("resnet8:4", Shape::new(7, 5, 3)), ("resnet18:2", Shape::new(5, 7, 1))];
const CLASSES: usize = 5;
/// Classes from this one on are tail.
const TAIL: usize = 3;
/// Rows of a batch.
const BATCH: usize = 7;
/// Rows planned for.
const LARGEST: usize = 9;
const SAMPLES: usize = 12;

fn models() -> impl Iterator<Item = (&'static str, Shape)> {
    [PERCEPTRON].into_iter().chain(RESNETS)
}

/// A planned network, with the memory around it.
struct Rig {
    graph: Graph<MAX_LAYERS>,
    plan: Plan<MAX_LAYERS>,
    vectors: Vectors,
    table: Span,
    losses: Losses,
    outcome: Outcome,
    image: Shape,
    words: usize,
}

impl Rig {
    fn new(model: &str, image: Shape, arena: Arena) -> Self {
        let mut graph = Graph::new();
        model.parse::<Model>().unwrap().build(&mut graph, image, CLASSES).unwrap();
        Self::of(graph, image, arena)
    }

    fn of(graph: Graph<MAX_LAYERS>, image: Shape, mut arena: Arena) -> Self {
        let plan = Plan::new(&graph, LARGEST, 2, &mut arena).unwrap();
        let vectors = Vectors::new(&mut arena, plan.parameters(), 2).unwrap();
        let mut one = || arena.allocate(1).unwrap();
        let losses = Losses { plain: [one(), one()], perturbed: [one(), one()] };
        let group_squared_norms = [one(), one()];
        let outcome = Outcome { squared_norm: one(), group_squared_norms, failure: one(), number: 3.0 };
        let table = arena.allocate(LARGEST * Row::WORDS).unwrap();
        Self { graph, plan, vectors, table, losses, outcome, image, words: arena.len() }
    }

    fn network(&self) -> Network<'_, MAX_LAYERS> {
        Network::new(&self.graph, &self.plan, 0.0, self.losses)
    }

    /// Initial weights, plain cross-entropy, and a batch of both groups.
    fn prepare<B: Backend>(&self, backend: &mut B) -> Network<'_, MAX_LAYERS>
    where
        B::Error: std::fmt::Debug,
    {
        let mut network = self.network();
        let mut streams: BTreeMap<usize, Numbers> = BTreeMap::new();
        let mut draw = |layer: usize| (streams.entry(layer).or_insert(Numbers::new(layer as u64)).bits() >> 32) as u32;
        network.initialize(backend, self.vectors.params, &mut draw).unwrap();
        let [scale, shift, margin] = self.plan.terms;
        backend.fill(scale, 1.0).unwrap();
        backend.fill(shift, 0.0).unwrap();
        backend.fill(margin, 0.0).unwrap();
        let (mean, inverse) = (self.plan.normalization, self.image.channels);
        backend.fill(mean.part(0, inverse).unwrap(), 127.5).unwrap();
        backend.fill(mean.part(inverse, inverse).unwrap(), 1.0 / 64.0).unwrap();
        self.gather(backend, &mut network, &(0..BATCH).collect::<Vec<_>>());
        network
    }

    /// Makes these samples the batch; sample `i` has label `i % CLASSES`.
    fn gather<B: Backend>(&self, backend: &mut B, network: &mut Network<'_, MAX_LAYERS>, indices: &[usize])
    where
        B::Error: std::fmt::Debug,
    {
        let share = 1.0 / indices.len() as f32;
        let row = |&index: &usize| {
            let weights = if index % CLASSES < TAIL { [share, 0.0] } else { [0.0, share] };
            Row { index: index as u32, top: 1, left: 0, flip: index % 2 == 1, weights }.encode()
        };
        let words: Vec<f32> = indices.iter().flat_map(row).collect();
        let rows = self.table.part(0, words.len()).unwrap();
        backend.write(rows, &words).unwrap();
        network.gather(backend, rows, &self.samples(), self.losses).unwrap();
    }

    fn samples(&self) -> Samples {
        let images = Span::samples(0, SAMPLES * self.image.len());
        let labels = Span::samples(images.length, SAMPLES);
        Samples { images, labels, image: self.image, normalization: self.plan.normalization }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut numbers = Numbers::named("samples");
        let images = (0..SAMPLES * self.image.len()).map(|_| numbers.below(256) as u8);
        images.chain((0..SAMPLES).map(|index| (index % CLASSES) as u8)).collect()
    }

    /// Parameters, velocity and running statistics after `body`, layer by layer and without padding.
    fn run(
        &self,
        body: impl FnOnce(&mut Recorder<'_, Cpu<'_>>, &mut Network<'_, MAX_LAYERS>) -> Result<(), Error>,
    ) -> (Vec<f32>, Vec<Call>) {
        let (mut memory, bytes) = (vec![0.0; self.words], self.bytes());
        let mut cpu = Cpu::new(&mut memory, &[], &bytes);
        let mut backend = Recorder::new(&mut cpu, List::default());
        let mut network = self.prepare(&mut backend);
        backend.watch.calls.clear();
        body(&mut backend, &mut network).unwrap();
        let calls = backend.watch.calls;
        (self.state(&memory), calls)
    }

    fn state(&self, memory: &[f32]) -> Vec<f32> {
        let mut state = Vec::new();
        for slot in self.plan.slots() {
            for vector in [self.vectors.params, self.vectors.velocity] {
                state.extend(at(memory, slot.weight.of(vector).unwrap()));
                state.extend(at(memory, slot.bias.of(vector).unwrap()));
            }
            state.extend(slot.running.into_iter().flat_map(|running| at(memory, running)));
        }
        state
    }

    /// The state after `steps` steps of a method, two batches in turn.
    fn train(&self, method: Method, epoch: u32, steps: usize) -> Vec<f32> {
        let groups = method.groups(epoch, 2).unwrap().all();
        let train = |backend: &mut Recorder<'_, Cpu<'_>>, network: &mut Network<'_, MAX_LAYERS>| {
            for number in 0..steps {
                let batch: Vec<usize> = if number % 2 == 0 { (0..BATCH).collect() } else { (5..SAMPLES).collect() };
                self.gather(backend, network, &batch);
                step(backend, network, &self.vectors, &groups, &SGD, &self.outcome)?;
            }
            Ok(())
        };
        self.run(train).0
    }

    /// The calls of one step.
    fn calls(&self, groups: &Present) -> Vec<Call> {
        self.run(|backend, network| step(backend, network, &self.vectors, groups, &SGD, &self.outcome)).1
    }

    /// Forward and backward passes among these calls: what every weighted layer was asked for.
    fn passes(&self, calls: &[Call]) -> (usize, usize) {
        let weighted = |op: &Op| matches!(op, Op::Linear | Op::Conv2d(_));
        let layers = self.graph.layers().iter().filter(|layer| weighted(&layer.op)).count();
        let sum = |methods: [&str; 2]| -> usize {
            let streams: usize =
                calls.iter().filter(|call| methods.contains(&call.method)).map(|call| call.streams).sum();
            assert_eq!(streams % layers, 0, "{methods:?}: {streams} in {layers} layers");
            streams / layers
        };
        let backward = sum(["linear_backward_weight", "conv2d_backward_weight"]);
        let input = calls.iter().filter(|call| call.method.ends_with("_backward_input"));
        assert_eq!(
            input.map(|call| call.streams).sum::<usize>(),
            backward * (layers - 1),
            "the images want no gradient"
        );
        (sum(["linear_forward", "conv2d_forward"]), backward)
    }
}

fn at(memory: &[f32], span: Span) -> &[f32] {
    &memory[span.offset..span.offset + span.length]
}

#[track_caller]
fn assert_same_bits(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let differing = a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(differing, 0, "{what}: {differing} of {} numbers differ", a.len());
}

fn overlap(a: Span, b: Span) -> bool {
    a.length > 0 && b.length > 0 && a.offset < b.offset + b.length && b.offset < a.offset + a.length
}

#[test]
fn step_never_reads_the_device() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        for (method, epoch, _) in METHODS {
            let groups = method.groups(epoch, 2).unwrap().all();
            let calls = rig.calls(&groups);
            let traffic = calls.iter().find(|call| ["read", "write"].contains(&call.method));
            assert_eq!(traffic, None, "{model} {method:?} epoch {epoch}");
        }
    }
}

#[test]
fn a_batch_is_gathered_without_reading_or_uploading() {
    let rig = Rig::new(PERCEPTRON.0, PERCEPTRON.1, Arena::new(1));
    let rows = rig.table.part(0, BATCH * Row::WORDS).unwrap();
    let (_, calls) = rig.run(|backend, network| network.gather(backend, rows, &rig.samples(), rig.losses));
    assert_eq!(calls.iter().map(|call| call.method).collect::<Vec<_>>(), ["gather"]);
}

#[test]
fn step_writes_parameters_last() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        for (method, epoch, _) in METHODS {
            let calls = rig.calls(&method.groups(epoch, 2).unwrap().all());
            let (last, before) = calls.split_last().unwrap();
            assert_eq!(last.method, "sgd");
            for kept in [rig.vectors.params, rig.vectors.velocity] {
                assert!(last.written.contains(&kept), "{model} {method:?} epoch {epoch}: {last:?}");
                let early = before.iter().find(|call| call.written.iter().any(|&written| overlap(written, kept)));
                assert_eq!(early, None, "{model} {method:?} epoch {epoch}");
            }
        }
    }
}

#[test]
fn stage_one_costs_three_forwards_and_four_backwards() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        let groups = SSE_SAM.groups(0, 2).unwrap().all();
        assert_eq!(rig.passes(&rig.calls(&groups)), (3, 4), "{model}");
    }
}

#[test]
fn every_method_costs_what_its_groups_and_radii_need() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        for (method, epoch, passes) in METHODS {
            let calls = rig.calls(&method.groups(epoch, 2).unwrap().all());
            assert_eq!(rig.passes(&calls), passes, "{model} {method:?} epoch {epoch}");
        }
    }
}

#[test]
fn running_statistics_move_once_a_step() {
    let rig = Rig::new(RESNETS[0].0, RESNETS[0].1, Arena::new(1));
    let calls = rig.calls(&SSE_SAM.groups(0, 2).unwrap().all());
    for running in rig.plan.slots().iter().filter_map(|slot| slot.running) {
        assert_eq!(calls.iter().filter(|call| call.written.contains(&running)).count(), 1);
    }
}

#[test]
fn zero_radius_is_plain_gradient_descent() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        let plain = rig.train_by_columns(Method::Sgd, 3);
        let still = [
            Method::Sam { rho: 0.0 },
            Method::ImbSam { rho: 0.0 },
            Method::SseSam { head_rho: 0.0, tail_rho: 0.0, gamma: 0.5 },
        ];
        for method in still {
            assert_same_bits(&rig.train_by_columns(method, 3), &plain, &format!("{model} {method:?}"));
        }
        assert_ne!(rig.train_by_columns(Method::Sam { rho: 0.05 }, 3), plain, "{model}");
    }
}

impl Rig {
    /// The state after `steps` steps on a batch whose samples count in the column the method gives them.
    fn train_by_columns(&self, method: Method, steps: usize) -> Vec<f32> {
        let groups = method.groups(0, 2).unwrap();
        let train = |backend: &mut Recorder<'_, Cpu<'_>>, network: &mut Network<'_, MAX_LAYERS>| {
            let share = 1.0 / BATCH as f32;
            let mut columns = [[0.0; BATCH]; 2];
            for index in 0..BATCH {
                columns[groups.column(index % CLASSES >= TAIL)][index] = share;
            }
            let spans = network.batch()?.weights;
            spans.into_iter().zip(columns).try_for_each(|(span, column)| backend.write(span, &column))?;
            (0..steps).try_for_each(|_| step(backend, network, &self.vectors, &groups.all(), &SGD, &self.outcome))
        };
        self.run(train).0
    }
}

#[test]
fn absent_groups_cost_nothing() {
    let present = |method: Method, epoch, columns| method.groups(epoch, 2).unwrap().present(columns);
    let (model, image) = RESNETS[0];
    let rig = Rig::new(model, image, Arena::new(1));
    let cost = |groups| rig.passes(&rig.calls(&groups));
    assert_eq!(cost(present(SSE_SAM, 0, [true, false])), (2, 2));
    assert_eq!(cost(present(SSE_SAM, 0, [false, true])), (2, 2));
    assert_eq!(cost(present(SSE_SAM, 1, [true, false])), (1, 1));
    assert_eq!(cost(present(SSE_SAM, 1, [false, true])), (2, 2));
    assert_eq!(cost(present(Method::ImbSam { rho: 0.1 }, 0, [true, false])), (1, 1));
}

#[test]
fn absent_groups_add_nothing() {
    // Samples 0, 1, 2, 5 and 6 are head; 3, 4, 8 and 9 are tail.
    let rig = Rig::new(RESNETS[0].0, RESNETS[0].1, Arena::new(1));
    let one = |indices: &[usize], groups: Present| {
        let body = |backend: &mut Recorder<'_, Cpu<'_>>, network: &mut Network<'_, MAX_LAYERS>| {
            rig.gather(backend, network, indices);
            step(backend, network, &rig.vectors, &groups, &SGD, &rig.outcome)
        };
        rig.run(body).0
    };
    let groups = SSE_SAM.groups(0, 2).unwrap();
    let (heads, tails) = ([0, 1, 2, 5, 6], [3, 4, 8, 9]);
    let sam = Method::Sam { rho: 0.05 }.groups(0, 2).unwrap().all();
    assert_same_bits(&one(&heads, groups.present([true, false])), &one(&heads, sam), "head alone is SAM");
    let both = one(&tails, groups.all());
    assert_same_bits(&one(&tails, groups.present([false, true])), &both, "an empty head adds zeros");
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for (model, image) in models() {
        for bad in [f32::NAN, f32::INFINITY] {
            for (method, epoch, _) in METHODS {
                let rig = Rig::new(model, image, Arena::new(1));
                let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
                let mut backend = Cpu::new(&mut memory, &[], &bytes);
                let mut network = rig.prepare(&mut backend);
                let groups = method.groups(epoch, 2).unwrap().all();
                let mut outcome = Outcome { number: 1.0, ..rig.outcome };
                let mut go = |backend: &mut Cpu<'_>, number: f32| {
                    outcome.number = number;
                    step(backend, &mut network, &rig.vectors, &groups, &SGD, &outcome).unwrap();
                    let mut kept = vec![0.0; 2 * rig.vectors.params.length];
                    let (params, velocity) = kept.split_at_mut(rig.vectors.params.length);
                    backend.read(params, rig.vectors.params).unwrap();
                    backend.read(velocity, rig.vectors.velocity).unwrap();
                    let mut failure = [0.0];
                    backend.read(&mut failure, outcome.failure).unwrap();
                    (kept, failure[0])
                };
                let what = format!("{model} {method:?} epoch {epoch}, {bad}");
                let (before, failure) = go(&mut backend, 1.0);
                assert_eq!(failure, 0.0, "{what}");
                let weights = rig.plan.weights[0].part(0, 1).unwrap();
                backend.write(weights, &[bad]).unwrap();
                let (after, failure) = go(&mut backend, 2.0);
                assert_eq!(failure, 2.0, "{what}");
                assert_same_bits(&after, &before, &what);
                let (_, failure) = go(&mut backend, 3.0);
                assert_eq!(failure, 2.0, "{what}: the first failure is kept");
                backend.write(weights, &[0.1]).unwrap();
                let (after, failure) = go(&mut backend, 4.0);
                assert_eq!(failure, 2.0, "{what}: the first failure is kept");
                assert!(after != before && after.iter().all(|value| value.is_finite()), "{what}: it goes on");
            }
        }
    }
}

#[test]
fn two_runs_give_the_same_bits() {
    for (model, image) in models() {
        for (method, epoch, _) in METHODS {
            let run = || Rig::new(model, image, Arena::new(1)).train(method, epoch, 4);
            assert_same_bits(&run(), &run(), &format!("{model} {method:?} epoch {epoch}"));
        }
    }
}

#[test]
fn stale_memory_changes_nothing() {
    // What a step finds in activations, gradients and points is of no account.
    let rig = Rig::new(RESNETS[1].0, RESNETS[1].1, Arena::new(1));
    let groups = SSE_SAM.groups(0, 2).unwrap().all();
    let one = |stale: f32| {
        let body = |backend: &mut Recorder<'_, Cpu<'_>>, network: &mut Network<'_, MAX_LAYERS>| {
            backend.fill(rig.vectors.gradient, stale)?;
            rig.vectors.points.into_iter().flatten().try_for_each(|point| backend.fill(point, stale))?;
            for slot in rig.plan.slots().iter().skip(1) {
                backend.fill(slot.activation, stale)?;
                slot.saved.into_iter().try_for_each(|saved| backend.fill(saved, stale))?;
            }
            step(backend, network, &rig.vectors, &groups, &SGD, &rig.outcome)
        };
        rig.run(body).0
    };
    assert_same_bits(&one(f32::NAN), &one(0.0), "stale numbers");
}

#[test]
fn padding_does_not_change_the_numbers() {
    for (model, image) in models() {
        let [narrow, wide_spans] = [1, 32].map(|alignment| Rig::new(model, image, Arena::new(alignment)));
        assert!(wide_spans.vectors.params.length > narrow.vectors.params.length, "{model} has padding");
        for (method, epoch, _) in METHODS {
            let what = format!("{model} {method:?} epoch {epoch}");
            let both = |steps| [&narrow, &wide_spans].map(|rig| rig.train(method, epoch, steps));
            if method == Method::Sgd {
                let [a, b] = both(4);
                assert_same_bits(&a, &b, &what);
            } else {
                // The norm of a padded vector adds the same squares in another order: an ulp of the radius.
                let [a, b] = both(1);
                let error = relative_error(&wide(&a), &wide(&b));
                assert!(error < 1e-6, "{what}: {error:e}");
            }
        }
    }
}

#[test]
fn padding_is_zero_and_stays_zero() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(32));
        for (method, epoch, _) in METHODS {
            let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
            let mut backend = Cpu::new(&mut memory, &[], &bytes);
            let mut network = rig.prepare(&mut backend);
            let groups = method.groups(epoch, 2).unwrap().all();
            step(&mut backend, &mut network, &rig.vectors, &groups, &SGD, &rig.outcome).unwrap();
            let mut padding = vec![true; rig.plan.parameters()];
            for slot in rig.plan.slots() {
                for place in [slot.weight, slot.bias] {
                    padding[place.offset..place.offset + place.length].fill(false);
                }
            }
            let points = rig.vectors.points.into_iter().flatten();
            for vector in [rig.vectors.params, rig.vectors.velocity, rig.vectors.gradient].into_iter().chain(points) {
                let numbers = at(&memory, vector).iter().zip(&padding).filter(|(_, padding)| **padding);
                assert!(numbers.clone().count() > 0 && numbers.clone().all(|(number, _)| *number == 0.0), "{model}");
            }
        }
    }
}

#[test]
fn a_plan_keeps_to_its_announced_words() {
    const CANARY: f32 = 12345.678;
    for (model, image) in models() {
        for alignment in [1, 32] {
            let mut arena = Arena::new(alignment);
            let before = arena.allocate(37).unwrap();
            let rig = Rig::new(model, image, arena);
            for (method, epoch, _) in METHODS {
                let (mut memory, bytes) = (vec![CANARY; rig.words + 37], rig.bytes());
                memory[before.length..rig.words].fill(0.0);
                let mut backend = Cpu::new(&mut memory, &[], &bytes);
                let mut network = rig.prepare(&mut backend);
                let groups = method.groups(epoch, 2).unwrap().all();
                step(&mut backend, &mut network, &rig.vectors, &groups, &SGD, &rig.outcome).unwrap();
                network.forward(&mut backend, rig.vectors.params, Statistics::Running).unwrap();
                let around = memory[..before.length].iter().chain(&memory[rig.words..]);
                assert!(around.into_iter().all(|value| *value == CANARY), "{model} {method:?} epoch {epoch}");
            }
        }
    }
}

#[test]
fn spans_of_a_plan_do_not_overlap() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        let Rig { plan, vectors, losses, outcome, .. } = &rig;
        let mut spans = vec![plan.labels, plan.normalization, vectors.params, vectors.velocity, vectors.gradient];
        spans.extend(plan.weights.iter().chain(&plan.terms).chain(&losses.plain).chain(&losses.perturbed));
        spans.extend(vectors.points.iter().flatten());
        spans.extend([rig.table, outcome.squared_norm, outcome.failure]);
        for slot in plan.slots() {
            spans.extend([Some(slot.activation), slot.running, slot.saved].into_iter().flatten());
        }
        spans.sort_by_key(|span| span.offset);
        for pair in spans.windows(2) {
            assert!(!overlap(pair[0], pair[1]), "{model}: {pair:?}");
        }
        assert!(spans.last().is_some_and(|last| last.offset + last.length <= rig.words), "{model}");
    }
}

/// A function of the caller's own: `L_g(w) = sum_i curvature[g][i] / 2 * (w_i - target[g][i])^2`.
struct Quadratic {
    curvature: [Vec<f32>; 2],
    target: [Vec<f32>; 2],
    passes: Vec<Statistics>,
}

impl Quadratic {
    fn slope(&self, column: usize, w: &[f64]) -> Vec<f64> {
        let terms = self.curvature[column].iter().zip(&self.target[column]).zip(w);
        terms.map(|((&curvature, &target), w)| f64::from(curvature) * (w - f64::from(target))).collect()
    }
}

impl Problem<Cpu<'_>> for Quadratic {
    fn forward(&mut self, _: &mut Cpu<'_>, _: Span, statistics: Statistics) -> Result<(), Error> {
        self.passes.push(statistics);
        Ok(())
    }

    fn backward(&mut self, backend: &mut Cpu<'_>, params: Span, targets: &[Target]) -> Result<(), Error> {
        for target in targets {
            let [gradient, w] = backend.slices_mut([target.gradient, params])?;
            let terms = self.curvature[target.column].iter().zip(&self.target[target.column]);
            for ((gradient, w), (curvature, target)) in gradient.iter_mut().zip(w).zip(terms) {
                *gradient += curvature * (*w - target);
            }
        }
        Ok(())
    }
}

/// `w + radius * g / (||g|| + 1e-16)`, in f64.
fn climbed(w: &[f64], slope: &[f64], radius: f64) -> Vec<f64> {
    let norm = slope.iter().map(|g| g * g).sum::<f64>().sqrt() + 1e-16;
    w.iter().zip(slope).map(|(w, g)| w + radius * g / norm).collect()
}

#[test]
fn a_function_of_ones_own_is_stepped_by_the_closed_formula() {
    const LENGTH: usize = 11;
    for (epoch, radii, statistics) in [
        (0, [0.05, 0.1], vec![Statistics::Update, Statistics::Keep, Statistics::Keep]),
        (1, [0.0, 0.1], vec![Statistics::Update, Statistics::Keep]),
    ] {
        let mut numbers = Numbers::named("quadratic");
        let mut problem = Quadratic {
            curvature: [(); 2].map(|()| numbers.list_between(LENGTH, 0.5, 2.0)),
            target: [(); 2].map(|()| numbers.list(LENGTH)),
            passes: Vec::new(),
        };
        let mut arena = Arena::new(1);
        let vectors = Vectors::new(&mut arena, LENGTH, 2).unwrap();
        let [squared_norm, failure, head, tail] = [(); 4].map(|()| arena.allocate(1).unwrap());
        let outcome = Outcome { squared_norm, group_squared_norms: [head, tail], failure, number: 1.0 };
        let mut memory = vec![0.0; arena.len()];
        let mut backend = Cpu::new(&mut memory, &[], &[]);
        let start = numbers.list(LENGTH);
        backend.write(vectors.params, &start).unwrap();
        let groups = SSE_SAM.groups(epoch, 2).unwrap().all();
        let (mut w, mut v) = (wide(&start), vec![0.0; LENGTH]);
        for _ in 0..5 {
            problem.passes.clear();
            step(&mut backend, &mut problem, &vectors, &groups, &SGD, &outcome).unwrap();
            assert_eq!(problem.passes, statistics);
            let squares = [0, 1].map(|group| problem.slope(group, &w).iter().map(|g| g * g).sum::<f64>());
            let points = [0, 1].map(|group| climbed(&w, &problem.slope(group, &w), radii[group]));
            let slopes = [0, 1].map(|group| problem.slope(group, &points[group]));
            let sum: Vec<f64> = slopes[0].iter().zip(&slopes[1]).map(|(head, tail)| head + tail).collect();
            for ((w, v), g) in w.iter_mut().zip(&mut v).zip(&sum) {
                *v = 0.9 * *v + g + 5e-4 * *w;
                *w -= 0.1 * *v;
            }
            let mut norms = [[f32::NAN]; 2];
            norms.iter_mut().zip([head, tail]).for_each(|(norm, span)| backend.read(norm, span).unwrap());
            for group in 0..2 {
                // A group of radius 0 leaves its slot as it is.
                let expected = if radii[group] > 0.0 { squares[group] } else { 0.0 };
                assert!((f64::from(norms[group][0]) - expected).abs() <= 1e-6 * expected, "{norms:?}, {squares:?}");
            }
            let mut found = vec![0.0; LENGTH];
            backend.read(&mut found, vectors.params).unwrap();
            let error = relative_error(&wide(&found), &w);
            assert!(error < 1e-6, "epoch {epoch}: {error:e}");
            let mut norm = [0.0];
            backend.read(&mut norm, squared_norm).unwrap();
            let expected = sum.iter().map(|g| g * g).sum::<f64>();
            assert!((f64::from(norm[0]) / expected - 1.0).abs() < 1e-5);
        }
    }
}

/// A network in which one node is the residual of two batch norms and the input of a third layer.
struct Braid {
    graph: Graph<MAX_LAYERS>,
    widths: [usize; 3],
}

const BRAID_IMAGE: Shape = Shape::new(3, 2, 2);

impl Braid {
    /// `x = relu(bn(conv(image)))`, `y = bn(conv(x)) + x`, `z = relu(bn(conv(y)) + x)`, pool, linear.
    fn new() -> Self {
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
        let pooled = graph.global_average_pool(z).unwrap();
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
