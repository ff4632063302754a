//! Networks that are perceptrons, made so that nothing else is linked.

use sse_sam_core::{Arena, Cpu, Error, Network};

use crate::rig::{METHODS, PERCEPTRON, RESNETS, Rig, at};

#[test]
fn a_perceptron_steps_to_the_same_bits() {
    let (model, image) = PERCEPTRON;
    let rig = Rig::new(model, image, Arena::new(1));
    for (method, epoch, _) in METHODS {
        let [any, perceptron] = [false, true].map(|is_perceptron| {
            let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
            let mut backend = Cpu::new(&mut memory, &[], &bytes);
            let mut network = rig.prepare(&mut backend);
            let groups = method.groups(epoch, 2).unwrap().all();
            if is_perceptron {
                let mut network = Network::perceptron(&rig.graph, &rig.plan, rig.losses).unwrap();
                network.set_batch(crate::rig::BATCH, rig.losses).unwrap();
                rig.step(&mut backend, &mut network, &groups).unwrap();
            } else {
                rig.step(&mut backend, &mut network, &groups).unwrap();
            }
            at(&memory, rig.vectors.params).iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        });
        assert_eq!(any, perceptron, "{method:?} epoch {epoch}");
    }
}

#[test]
fn other_networks_are_refused_by_their_first_layer() {
    for (model, image) in RESNETS {
        let rig = Rig::new(model, image, Arena::new(1));
        let refused = Network::perceptron(&rig.graph, &rig.plan, rig.losses);
        assert_eq!(refused.err(), Some(Error::Layer { index: 1 }), "{model}");
    }
}
