//! Networks of a set's layers, made so that nothing else is linked.

use sse_sam_core::network::layer::{Layers, Perceptron, Residual};
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Arena, Cpu, Error, Network, Quantity, Shape};

use crate::rig::{BATCH, METHODS, PERCEPTRON, RESNETS, Rig, at};

/// Asserts that a network of the layers of `L` steps as one of all layers.
fn same_bits<L: Layers>(model: &str, image: Shape) {
    let rig = Rig::new(model, image, Arena::new(1));
    for (method, epoch, _) in METHODS {
        let [all, some] = [false, true].map(|is_of_set| {
            let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
            let mut backend = Cpu::new(&mut memory, &[], &bytes);
            let mut network = rig.prepare(&mut backend);
            let groups = method.groups(epoch, 2).unwrap().all();
            if is_of_set {
                let mut network = Network::<MAX_LAYERS, L>::of(&rig.graph, &rig.plan, 0.0, rig.losses).unwrap();
                network.set_batch(BATCH, rig.losses).unwrap();
                rig.step(&mut backend, &mut network, &groups).unwrap();
            } else {
                rig.step(&mut backend, &mut network, &groups).unwrap();
            }
            at(&memory, rig.vectors.params).iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        });
        assert_eq!(all, some, "{model} {method:?} epoch {epoch}");
    }
}

/// What a network of the layers of `L` is refused with.
fn refusal<L: Layers>(model: &str, image: Shape, focal: f32) -> Option<Error> {
    let rig = Rig::new(model, image, Arena::new(1));
    Network::<MAX_LAYERS, L>::of(&rig.graph, &rig.plan, focal, rig.losses).err()
}

#[test]
fn networks_of_fewer_layers_step_to_the_same_bits() {
    let (model, image) = PERCEPTRON;
    same_bits::<Perceptron>(model, image);
    same_bits::<Residual>(model, image);
    RESNETS.iter().for_each(|(model, image)| same_bits::<Residual>(model, *image));
}

#[test]
fn other_networks_are_refused_by_their_first_layer() {
    for (model, image) in RESNETS {
        assert_eq!(refusal::<Perceptron>(model, image, 0.0), Some(Error::Layer { index: 1 }), "{model}");
        assert_eq!(refusal::<Residual>(model, image, 0.5), None, "{model}");
    }
    let pooled = ("resnet10-imagenet:1", Shape::new(16, 16, 1));
    assert_eq!(refusal::<Residual>(pooled.0, pooled.1, 0.0), Some(Error::Layer { index: 3 }));
    let (model, image) = PERCEPTRON;
    assert!(matches!(refusal::<Perceptron>(model, image, 0.5), Some(Error::Range { what: Quantity::FocalGamma, .. })));
}
