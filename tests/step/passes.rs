//! What a step asks of a backend, and how often.

use sse_sam_core::network::layer::{Op, Residual};
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::lent::Compute;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Arena, Backend, Cpu, Error, Machine, Method, Network, Problem, Row, Run, Span, Statistics};
use sse_sam_tests::recorder::{Call, List, Recorder};

use crate::rig::{BATCH, METHODS, PERCEPTRON, RESNETS, Rig, SSE_SAM, assert_same_bits, models, overlap};

#[test]
fn step_never_reads_the_device() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        for (method, epoch, _) in METHODS {
            let groups = method.groups(epoch, 2).unwrap().all();
            let calls = rig.calls(&groups);
            let traffic = calls.iter().find(|call| ["read", "write"].contains(&call.name));
            assert_eq!(traffic, None, "{model} {method:?} epoch {epoch}");
        }
    }
}

#[test]
fn a_batch_is_gathered_without_reading_or_uploading() {
    let rig = Rig::new(PERCEPTRON.0, PERCEPTRON.1, Arena::new(1));
    let rows = rig.session.table.part(0, BATCH * Row::WORDS).unwrap();
    let (_, calls) = rig.run(|backend, network| network.gather(backend, rows, &rig.samples(), rig.losses));
    assert_eq!(calls.iter().map(|call| call.name).collect::<Vec<_>>(), ["gather"]);
}

#[test]
fn step_writes_parameters_last() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        for (method, epoch, _) in METHODS {
            let calls = rig.calls(&method.groups(epoch, 2).unwrap().all());
            let (last, before) = calls.split_last().unwrap();
            assert_eq!(last.name, "sgd");
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
    let moved = |running| calls.iter().filter(|call| call.written.contains(&running)).count();
    let times: Vec<usize> = rig.plan.slots().iter().filter_map(|slot| slot.running).map(moved).collect();
    // The stem's batch norm, and two in each of three blocks.
    assert_eq!(times, [1; 7]);
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

/// The CPU core as a machine that gains from a convolution and its norm as one operation.
struct Pairing<'a>(Cpu<'a>);

impl Machine for Pairing<'_> {
    type Error = Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), Error> {
        self.0.write(to, values)
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), Error> {
        self.0.read(values, from)
    }

    fn pairs_norms(&self) -> bool {
        true
    }
}

impl<O: Compute> Run<O> for Pairing<'_> {
    fn run(&mut self, operation: &O) -> Result<(), Error> {
        self.0.run(operation)
    }
}

/// The state after one step of SSE-SAM and a pass by running statistics, and the calls of each.
fn step_and_evaluate(rig: &Rig, machine: &mut impl Backend<Error = Error>) -> [Vec<Call>; 2] {
    let mut backend = Recorder::new(machine, List::default());
    let mut network = rig.prepare(&mut backend);
    backend.watch.calls.clear();
    rig.step(&mut backend, &mut network, &SSE_SAM.groups(0, 2).unwrap().all()).unwrap();
    let step = core::mem::take(&mut backend.watch.calls);
    network.forward(&mut backend, rig.vectors.params, Statistics::Running).unwrap();
    [step, backend.watch.calls]
}

#[test]
fn a_convolution_and_its_norm_are_asked_for_as_one_where_a_machine_gains_from_it() {
    for (model, image) in RESNETS {
        let rig = Rig::new(model, image, Arena::new(1));
        let convolutions = rig.graph.layers().iter().filter(|layer| matches!(layer.op, Op::Conv2d(_))).count();
        let names = ["conv2d_batch_norm_forward", "conv2d_forward", "batch_norm_forward", "batch_norm_inference"];
        let count = |calls: &[Call]| names.map(|name| calls.iter().filter(|call| call.name == name).count());
        let ([mut apart, mut paired], bytes) = ([vec![0.0; rig.words], vec![0.0; rig.words]], rig.bytes());
        let [step, evaluation] = step_and_evaluate(&rig, &mut Pairing(Cpu::new(&mut paired, &[], &bytes)));
        assert_eq!(count(&step), [3 * convolutions, 0, 0, 0], "{model}: three passes");
        assert_eq!(count(&evaluation), [0, convolutions, 0, convolutions], "{model}: by running statistics");
        let [step, _] = step_and_evaluate(&rig, &mut Cpu::new(&mut apart, &[], &bytes));
        assert_eq!(count(&step), [0, 3 * convolutions, 3 * convolutions, 0], "{model}: apart");
        assert_same_bits(&rig.state(&apart), &rig.state(&paired), model);
    }
}

#[test]
fn a_pass_by_running_statistics_has_no_gradient_in_sets_of_layers_for_chips() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
        let mut backend = Cpu::new(&mut memory, &[], &bytes);
        rig.prepare(&mut backend);
        let mut network = Network::<MAX_LAYERS, Residual>::of(&rig.graph, &rig.plan, 0.0, rig.losses).unwrap();
        let rows = rig.session.table.part(0, BATCH * Row::WORDS).unwrap();
        network.gather(&mut backend, rows, &rig.samples(), rig.losses).unwrap();
        let target = Target { column: 0, gradient: rig.vectors.gradient };
        let mut gradient = |statistics| {
            network.forward(&mut backend, rig.vectors.params, statistics).unwrap();
            network.backward(&mut backend, rig.vectors.params, &[target])
        };
        let refused = if model == PERCEPTRON.0 { Ok(()) } else { Err(Error::Evaluated) };
        assert_eq!(gradient(Statistics::Running), refused, "{model}");
        assert_eq!(gradient(Statistics::Update), Ok(()), "{model}");
    }
}
