//! What a step asks of a backend, and how often.

use sse_sam_core::network::layer::Op;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Arena, Cpu, Error, Method, Problem, Row, Statistics};
use sse_sam_tests::recorder::Call;

use crate::rig::{BATCH, METHODS, PERCEPTRON, RESNETS, Rig, SSE_SAM, models, overlap};

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

#[test]
fn a_convolution_and_its_norm_are_asked_for_as_one_while_training() {
    for (model, image) in RESNETS {
        let rig = Rig::new(model, image, Arena::new(1));
        let convolutions = rig.graph.layers().iter().filter(|layer| matches!(layer.op, Op::Conv2d(_))).count();
        let names = ["conv2d_batch_norm_forward", "conv2d_forward", "batch_norm_forward", "batch_norm_inference"];
        let count = |calls: &[Call]| names.map(|name| calls.iter().filter(|call| call.name == name).count());
        let training = rig.calls(&SSE_SAM.groups(0, 2).unwrap().all());
        assert_eq!(count(&training), [3 * convolutions, 0, 0, 0], "{model}: three passes");
        let evaluate = |statistics| {
            let (_, calls) = rig.run(|backend, network| network.forward(backend, rig.vectors.params, statistics));
            count(&calls)
        };
        assert_eq!(evaluate(Statistics::Running), [0, convolutions, 0, convolutions], "{model}: by running statistics");
    }
}

#[test]
fn a_pass_by_running_statistics_has_no_gradient_where_a_norm_is_trained() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(1));
        let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
        let mut backend = Cpu::new(&mut memory, &[], &bytes);
        let mut network = rig.prepare(&mut backend);
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
