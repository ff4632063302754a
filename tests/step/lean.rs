//! The step in less memory: the same mathematics, no more passes than announced.

use sse_sam_core::{Arena, Cpu, Economy, Error, Machine, Method, Outcome, Sgd, lean_step};
use sse_sam_tests::reference::{relative_error, wide};

use crate::rig::{METHODS, RESNETS, Rig, SGD, SSE_SAM, assert_same_bits, models, overlap};

const LEAN: [Economy; 2] = [Economy::Lean, Economy::Recompute];

#[test]
fn a_lean_step_is_a_full_one_up_to_rounding() {
    for (model, image) in models() {
        let full = Rig::new(model, image, Arena::new(1));
        let start = wide(&full.train(Method::Sgd, 0, 0));
        let moved =
            |end: &[f32]| -> Vec<f64> { wide(end).iter().zip(&start).map(|(end, start)| end - start).collect() };
        for memory in LEAN {
            let rig = Rig::lean(model, image, memory);
            for (method, epoch, _) in METHODS {
                let [found, expected] = [&rig, &full].map(|rig| moved(&rig.train(method, epoch, 1)));
                let error = relative_error(&found, &expected);
                assert!(error < 1e-5, "{model} {method:?} epoch {epoch}, {memory:?}: {error:e}");
            }
        }
    }
}

#[test]
fn a_forward_pass_that_is_repeated_changes_no_bit() {
    for (model, image) in models() {
        for (method, epoch, _) in METHODS {
            let [lean, recompute] = LEAN.map(|memory| Rig::lean(model, image, memory).train(method, epoch, 3));
            assert_same_bits(&lean, &recompute, &format!("{model} {method:?} epoch {epoch}"));
        }
    }
}

#[test]
fn lean_memory_costs_no_pass_and_a_single_point_one_forward() {
    for (model, image) in models() {
        for memory in LEAN {
            let rig = Rig::lean(model, image, memory);
            for (method, epoch, (forwards, backwards)) in METHODS {
                let again = usize::from(memory == Economy::Recompute && method == SSE_SAM && epoch == 0);
                let calls = rig.calls(&method.groups(epoch, 2).unwrap().all());
                let passes = rig.passes(&calls);
                assert_eq!(passes, (forwards + again, backwards), "{model} {method:?} epoch {epoch}, {memory:?}");
            }
        }
    }
}

#[test]
fn running_statistics_move_once_a_step_as_in_full_memory() {
    let (model, image) = RESNETS[0];
    let groups = SSE_SAM.groups(0, 2).unwrap().all();
    let full = Rig::new(model, image, Arena::new(1));
    let running = |rig: &Rig| {
        let (_, calls) = rig.run(|backend, network| rig.step(backend, network, &groups));
        let spans: Vec<_> = rig.plan.slots().iter().filter_map(|slot| slot.running).collect();
        let moved = |span| calls.iter().filter(|call| call.written.contains(span)).count();
        assert_eq!(spans.iter().map(moved).collect::<Vec<_>>(), [1; 7]);
        let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
        let mut backend = Cpu::new(&mut memory, &[], &bytes);
        let mut network = rig.prepare(&mut backend);
        rig.step(&mut backend, &mut network, &groups).unwrap();
        spans.iter().flat_map(|&span| crate::rig::at(&memory, span).to_vec()).collect::<Vec<f32>>()
    };
    for memory in LEAN {
        let lean = Rig::lean(model, image, memory);
        assert_same_bits(&running(&lean), &running(&full), &format!("{memory:?}"));
    }
}

#[test]
fn lean_steps_never_read_the_device_and_write_parameters_last() {
    for (model, image) in models() {
        for memory in LEAN {
            let rig = Rig::lean(model, image, memory);
            for (method, epoch, _) in METHODS {
                let what = format!("{model} {method:?} epoch {epoch}, {memory:?}");
                let calls = rig.calls(&method.groups(epoch, 2).unwrap().all());
                assert!(calls.iter().all(|call| !["read", "write"].contains(&call.name)), "{what}");
                let (last, before) = calls.split_last().unwrap();
                assert_eq!((before[0].name, last.name), ("decay", "descend"), "{what}");
                let params = rig.vectors.params;
                let early = before.iter().find(|call| call.written.iter().any(|&written| overlap(written, params)));
                assert_eq!(early, None, "{what}");
            }
        }
    }
}

#[test]
fn each_form_takes_a_vector_less() {
    let (model, image) = RESNETS[0];
    let words = |rig: Rig| (rig.plan.parameters(), rig.words);
    let (parameters, full) = words(Rig::new(model, image, Arena::new(1)));
    let [(_, lean), (_, recompute)] = LEAN.map(|memory| words(Rig::lean(model, image, memory)));
    assert_eq!(full - lean, parameters);
    // One gradient of each activation instead of two.
    let gradients = Rig::lean(model, image, Economy::Recompute).plan.usage().gradients;
    assert!(gradients > 0);
    assert_eq!(lean - recompute, parameters + gradients);
}

#[test]
fn nesterov_momentum_is_refused_before_anything_is_written() {
    let (model, image) = RESNETS[0];
    let groups = SSE_SAM.groups(0, 2).unwrap().all();
    let nesterov = Sgd { nesterov: true, ..SGD };
    for memory in LEAN {
        let rig = Rig::lean(model, image, memory);
        let (_, calls) = rig.run(|backend, network| {
            let result = lean_step(backend, network, &rig.vectors, &groups, &nesterov, &rig.outcome);
            assert_eq!(result, Err(Error::Nesterov));
            Ok(())
        });
        assert_eq!(calls, []);
    }
}

#[test]
fn a_velocity_that_is_not_finite_leaves_the_parameters_and_starts_over() {
    for (model, image) in models() {
        for (memory, bad) in LEAN.into_iter().flat_map(|memory| [f32::NAN, f32::INFINITY].map(|bad| (memory, bad))) {
            for (method, epoch, _) in METHODS {
                let what = format!("{model} {method:?} epoch {epoch}, {memory:?}, {bad}");
                let rig = Rig::lean(model, image, memory);
                let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
                let mut backend = Cpu::new(&mut memory, &[], &bytes);
                let groups = method.groups(epoch, 2).unwrap().all();
                rig.prepare(&mut backend);
                let weight = rig.plan.weights[0].part(0, 1).unwrap();
                let mut go = |number: f32, value: f32| {
                    backend.write(weight, &[value]).unwrap();
                    let mut network = rig.network();
                    network.set_batch(crate::rig::BATCH, rig.losses).unwrap();
                    let outcome = Outcome { number, ..rig.outcome };
                    lean_step(&mut backend, &mut network, &rig.vectors, &groups, &SGD, &outcome).unwrap();
                    let mut vectors =
                        [rig.vectors.params, rig.vectors.velocity].map(|span| (span, vec![0.0; span.length]));
                    vectors.iter_mut().for_each(|(span, values)| backend.read(values, *span).unwrap());
                    let mut failure = [0.0];
                    backend.read(&mut failure, rig.outcome.failure).unwrap();
                    let [(_, params), (_, velocity)] = vectors;
                    (params, velocity, failure[0])
                };
                let (before, velocity, failure) = go(1.0, 0.1);
                assert!(failure == 0.0 && velocity.iter().any(|value| *value != 0.0), "{what}");
                let (after, velocity, failure) = go(2.0, bad);
                assert_same_bits(&after, &before, &what);
                assert_eq!(failure, 2.0, "{what}");
                assert!(velocity.iter().all(|value| *value == 0.0), "{what}");
                let (after, _, failure) = go(3.0, 0.1);
                assert_eq!(failure, 2.0, "{what}: the first failure is kept");
                assert!(after != before && after.iter().all(|value| value.is_finite()), "{what}: it goes on");
            }
        }
    }
}
