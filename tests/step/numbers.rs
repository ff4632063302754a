//! What a step computes, and which memory it must not depend on.

use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::Fill;
use sse_sam_core::training::method::Present;
use sse_sam_core::{Arena, Cpu, Machine, Method, Network, Outcome, Run, step};
use sse_sam_tests::recorder::Recorder;
use sse_sam_tests::reference::{relative_error, wide};

use crate::rig::{METHODS, RESNETS, Rig, SGD, SSE_SAM, assert_same_bits, models};

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
    // A step does not depend on what activations, gradients and points held before.
    let rig = Rig::new(RESNETS[1].0, RESNETS[1].1, Arena::new(1));
    let groups = SSE_SAM.groups(0, 2).unwrap().all();
    let one = |stale: f32| {
        let body = |backend: &mut Recorder<'_, Cpu<'_>>, network: &mut Network<'_, MAX_LAYERS>| {
            backend.run(&Fill { to: rig.vectors.gradient, value: stale })?;
            rig.vectors
                .points
                .into_iter()
                .flatten()
                .try_for_each(|point| backend.run(&Fill { to: point, value: stale }))?;
            for slot in rig.plan.slots().iter().skip(1) {
                backend.run(&Fill { to: slot.activation, value: stale })?;
                slot.saved.into_iter().try_for_each(|saved| backend.run(&Fill { to: saved, value: stale }))?;
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
