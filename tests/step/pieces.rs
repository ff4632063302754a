//! A perceptron's step against one in f64: a whole batch at once, and in pieces.

use sse_sam_core::machine::watched::{Watch, Watched};
use sse_sam_core::network::layer::Perceptron;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::operation::Extent;
use sse_sam_core::ops::{Fill, Operation};
use sse_sam_core::training::problem::Target;
use sse_sam_core::{
    Arena, Backend, Cpu, Demand, Economy, Error, Machine, Method, Network, Pieces, Problem, Run, Span, Statistics,
    Tally,
};
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::{relative_error, step, wide};

use crate::rig::{
    BATCH, CLASSES, COUNTS, LARGEST, METHODS, PERCEPTRON, RESNETS, Rig, SGD, SSE_SAM, TAILS, assert_same_bits, at,
    demand,
};

/// Inputs and outputs of the perceptron's layers.
const LAYERS: [(usize, usize); 3] = [(6, 9), (9, 7), (7, 5)];
/// The batch with its head first, and how many that are.
const SORTED: ([usize; BATCH], usize) = ([0, 1, 2, 5, 6, 3, 4], 5);
const MEMORIES: [Economy; 3] = [Economy::Full, Economy::Lean, Economy::Recompute];

/// A rig whose activations are planned for `rows`.
fn rig(economy: Economy, rows: usize, pieces: bool) -> Rig {
    let Rig { graph, image, .. } = Rig::new(PERCEPTRON.0, PERCEPTRON.1, Arena::new(1));
    Rig::planned(graph, image, rows, Demand { pieces, ..demand(economy) }, Arena::new(1))
}

/// What goes before a step: a velocity, and a batch whose rows count as `method` says. Returns where the rows lie and
/// how many of them count in which group.
fn begin<B: Backend<Error = Error>>(rig: &Rig, backend: &mut B, method: Method) -> (Span, Tally) {
    rig.start(backend);
    let velocity = Numbers::named("velocity").list(rig.vectors.velocity.length);
    backend.write(rig.vectors.velocity, &velocity).unwrap();
    let rows = rig.write_rows(backend, &SORTED.0);
    let (rule, mut tally) = (method.rule(&COUNTS, TAILS, 0, 2).unwrap(), Tally::default());
    for (row, index) in SORTED.0.into_iter().enumerate() {
        let factors = rule.factors(index % CLASSES, 1.0, BATCH);
        tally.add(factors);
        backend.write(rows.part(4 * row + 2, 2).unwrap(), &factors).unwrap();
    }
    (rows, tally)
}

/// Parameters, velocity and the four losses after a step in pieces of `rows`, or of the whole batch at once.
fn stepped(memory: Economy, rows: Option<usize>, method: Method, epoch: u32) -> [Vec<f32>; 3] {
    let rig = rig(memory, rows.unwrap_or(LARGEST), rows.is_some());
    let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut work, &[], &bytes);
    let (table, tally) = begin(&rig, &mut backend, method);
    let groups = method.groups(epoch, 2).unwrap().all();
    let mut network = rig.network();
    if rows.is_some() {
        let mut pieces = Pieces::new(network, rig.samples(), rig.session.piece().unwrap()).unwrap();
        pieces.set_batch(tally.parts(table).unwrap(), rig.losses);
        rig.step(&mut backend, &mut pieces, &groups).unwrap();
    } else {
        network.gather(&mut backend, table, &rig.samples(), rig.losses).unwrap();
        rig.step(&mut backend, &mut network, &groups).unwrap();
    }
    let losses = rig.losses.plain.iter().chain(&rig.losses.perturbed).map(|&span| at(&work, span)[0]).collect();
    [at(&work, rig.vectors.params).to_vec(), at(&work, rig.vectors.velocity).to_vec(), losses]
}

/// The batch and the start in f64.
fn reference() -> (step::Batch, Vec<f64>, Vec<f64>) {
    let rig = rig(Economy::Full, LARGEST, false);
    let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut work, &[], &bytes);
    let (table, _) = begin(&rig, &mut backend, SSE_SAM);
    let mut network = rig.network();
    network.gather(&mut backend, table, &rig.samples(), rig.losses).unwrap();
    let images = wide(at(&work, network.batch().unwrap().images));
    let labels = SORTED.0.iter().map(|index| index % CLASSES).collect();
    (
        step::Batch { layers: LAYERS.into(), images, labels },
        wide(at(&work, rig.vectors.params)),
        wide(at(&work, rig.vectors.velocity)),
    )
}

#[test]
fn every_form_of_a_step_is_the_formula_in_f64() {
    let (reference, w, v) = reference();
    for (method, epoch, _) in METHODS {
        let (expected_w, expected_v) = reference.step(&w, &v, &step::groups(method, &COUNTS, TAILS, epoch, 2), &SGD);
        let expected: Vec<f64> = expected_w.iter().zip(&w).map(|(after, before)| after - before).collect();
        for memory in MEMORIES {
            for rows in [None, Some(1), Some(2), Some(3), Some(5), Some(LARGEST)] {
                let what = format!("{method:?} epoch {epoch}, {memory:?}, pieces of {rows:?}");
                let [params, velocity, _] = stepped(memory, rows, method, epoch);
                let update: Vec<f64> = wide(&params).iter().zip(&w).map(|(after, before)| after - before).collect();
                let errors = [relative_error(&update, &expected), relative_error(&wide(&velocity), &expected_v)];
                assert!(errors.iter().all(|&error| error < 2e-6), "{what}: {errors:?}");
            }
        }
    }
}

#[test]
fn losses_of_pieces_are_those_of_the_batch() {
    for (method, epoch, _) in METHODS {
        let [_, _, whole] = stepped(Economy::Full, None, method, epoch);
        for rows in [1, 3, LARGEST] {
            let [_, _, found] = stepped(Economy::Full, Some(rows), method, epoch);
            let error = relative_error(&wide(&found), &wide(&whole));
            assert!(error < 4e-6, "{method:?} epoch {epoch}, pieces of {rows}: {found:?} {whole:?}");
        }
    }
}

#[test]
fn pieces_give_the_same_bits_in_every_run() {
    let run = || stepped(Economy::Recompute, Some(2), SSE_SAM, 0);
    run().iter().zip(&run()).for_each(|(a, b)| assert_same_bits(a, b, "two runs"));
}

#[test]
fn pieces_of_a_perceptron_step_to_the_same_bits() {
    for (method, epoch, _) in METHODS {
        let rig = rig(Economy::Recompute, 1, true);
        let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
        let mut backend = Cpu::new(&mut work, &[], &bytes);
        let (table, tally) = begin(&rig, &mut backend, method);
        let groups = method.groups(epoch, 2).unwrap().all();
        let network = Network::<MAX_LAYERS, Perceptron>::of(&rig.graph, &rig.plan, 0.0, rig.losses).unwrap();
        let mut pieces: Pieces<'_, MAX_LAYERS, Perceptron> =
            Pieces::new(network, rig.samples(), rig.session.piece().unwrap()).unwrap();
        pieces.set_batch(tally.parts(table).unwrap(), rig.losses);
        rig.step(&mut backend, &mut pieces, &groups).unwrap();
        let [expected, ..] = stepped(Economy::Recompute, Some(1), method, epoch);
        assert_same_bits(at(&work, rig.vectors.params), &expected, &format!("{method:?} epoch {epoch}"));
    }
}

/// Rows that a method has worked on, over all streams.
#[derive(Default)]
struct Rows {
    forward: usize,
    backward: usize,
}

impl<M: Machine> Watch<M> for Rows {
    fn around<O: Operation>(&mut self, machine: &mut M, operation: &O) -> Result<(), M::Error>
    where
        M: Run<O>,
    {
        if let Extent::Linear { rows, .. } = operation.extent()? {
            match O::NAME {
                "linear_forward" => self.forward += rows * operation.streams(),
                "linear_backward_weight" => self.backward += rows * operation.streams(),
                _ => {}
            }
        }
        machine.run(operation)
    }
}

/// Rows that go forward and backward through each layer in a step.
fn rows_of_a_step(memory: Economy, size: usize, method: Method, epoch: u32) -> [usize; 2] {
    let rig = rig(memory, size, true);
    let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut cpu = Cpu::new(&mut work, &[], &bytes);
    let mut backend = Watched::new(&mut cpu, Rows::default());
    let (table, tally) = begin(&rig, &mut backend, method);
    let mut pieces = Pieces::new(rig.network(), rig.samples(), rig.session.piece().unwrap()).unwrap();
    pieces.set_batch(tally.parts(table).unwrap(), rig.losses);
    rig.step(&mut backend, &mut pieces, &method.groups(epoch, 2).unwrap().all()).unwrap();
    [backend.watch.forward, backend.watch.backward].map(|rows| rows / LAYERS.len())
}

#[test]
fn a_step_in_pieces_costs_two_forward_and_two_backward_passes_of_the_batch() {
    let tail = BATCH - SORTED.1;
    let sam = Method::Sam { rho: 0.1 };
    // Every sample of Focal-SAM passes for both groups.
    let focal = Method::FocalSam { rho: 0.1, lambda: 0.9, gamma: 0.7 };
    // In the second stage the tail alone has a point.
    for (method, epoch, rows) in [
        (Method::Sgd, 0, BATCH),
        (sam, 0, 2 * BATCH),
        (SSE_SAM, 0, 2 * BATCH),
        (SSE_SAM, 1, BATCH + tail),
        (focal, 0, 3 * BATCH),
    ] {
        for memory in MEMORIES {
            for size in [1, 3, LARGEST] {
                let found = rows_of_a_step(memory, size, method, epoch);
                assert_eq!(found, [rows; 2], "{method:?} epoch {epoch}, {memory:?}, pieces of {size}");
            }
        }
    }
}

#[test]
fn a_group_without_rows_adds_nothing_to_a_step_in_pieces() {
    let rig = rig(Economy::Full, 3, true);
    let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut work, &[], &bytes);
    let (table, tally) = begin(&rig, &mut backend, Method::Sgd);
    let mut pieces = Pieces::new(rig.network(), rig.samples(), rig.session.piece().unwrap()).unwrap();
    pieces.set_batch(tally.parts(table).unwrap(), rig.losses);
    backend.run(&Fill { to: rig.losses.plain[1], value: 7.0 }).unwrap();
    backend.run(&Fill { to: rig.vectors.gradient, value: 0.5 }).unwrap();
    pieces.forward(&mut backend, rig.vectors.params, Statistics::Update).unwrap();
    let target = Target { column: 1, gradient: rig.vectors.gradient };
    pieces.backward(&mut backend, rig.vectors.params, &[target]).unwrap();
    assert_eq!(at(&work, rig.losses.plain[1]), [0.0]);
    assert!(at(&work, rig.vectors.gradient).iter().all(|&value| value == 0.5));
}

#[test]
fn pieces_of_what_normalises_by_its_batch_are_refused() {
    let (model, image) = RESNETS[0];
    let rig = Rig::new(model, image, Arena::new(1));
    let scratch = rig.outcome.squared_norm;
    assert_eq!(Pieces::new(rig.network(), rig.samples(), scratch).map(drop), Err(Error::Pieces));
}
