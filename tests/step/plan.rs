//! Where a plan puts things, and how much it takes.

use sse_sam_core::{Arena, Cpu, Problem, Statistics};

use crate::rig::{METHODS, Rig, at, models, overlap};

#[test]
fn padding_is_zero_and_stays_zero() {
    for (model, image) in models() {
        let rig = Rig::new(model, image, Arena::new(32));
        for (method, epoch, _) in METHODS {
            let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
            let mut backend = Cpu::new(&mut memory, &[], &bytes);
            let mut network = rig.prepare(&mut backend);
            let groups = method.groups(epoch, 2).unwrap().all();
            rig.step(&mut backend, &mut network, &groups).unwrap();
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
                rig.step(&mut backend, &mut network, &groups).unwrap();
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
        spans.extend([rig.session.table, outcome.squared_norm, outcome.failure]);
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
