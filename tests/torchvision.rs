//! Weights in torchvision's form, names and shapes as it has them, give the logits that torchvision computes from them in
//! float64 (`torchvision/record.py`). The weights are made here by the same rule as there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use sse_sam::device::layout::{Layout, Needs};
use sse_sam::weights::{self, Tensor, nchw_to_nhwc, torch};
use sse_sam_core::{Arena, Cpu, Machine, Problem, Shape, Span, Statistics};

/// What torchvision said.
#[derive(Deserialize)]
struct Recorded {
    images: [usize; 4],
    tensors: Vec<(String, Vec<usize>)>,
    logits: Vec<f64>,
}

fn recorded(name: &str) -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/torchvision/{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Number `index` of tensor number `tensor`, in 0..1.
fn unit(tensor: usize, index: usize) -> f64 {
    let mut x = (index as u32).wrapping_mul(0x9E37_79B1).wrapping_add((tensor as u32).wrapping_mul(0x85EB_CA77));
    for (shift, factor) in [(15, 0x2C1B_3C6D), (12, 0x297A_2D39)] {
        x = (x ^ (x >> shift)).wrapping_mul(factor);
    }
    x ^= x >> 15;
    f64::from(x >> 8) / f64::from(1 << 24)
}

/// Between which numbers a tensor's values lie.
fn limits(name: &str, shape: &[usize]) -> (f64, f64) {
    if name.ends_with("running_var") {
        return (0.5, 1.5);
    }
    match shape {
        [_] if name.ends_with("weight") => (0.5, 1.0),
        [_] => (-0.1, 0.1),
        shape => {
            let bound = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
            (-bound, bound)
        }
    }
}

fn values(tensor: usize, count: usize, (low, high): (f64, f64)) -> Vec<f32> {
    (0..count).map(|index| (low + (high - low) * unit(tensor, index)) as f32).collect()
}

/// The tensors of a `state_dict`, with the counters that PyTorch has beside them.
fn state(recorded: &Recorded) -> Vec<Tensor> {
    let mut state = Vec::new();
    for (number, (name, shape)) in recorded.tensors.iter().enumerate() {
        let numbers = values(number, shape.iter().product(), limits(name, shape));
        state.push(Tensor::f32(name.clone(), shape, numbers));
        if let Some(norm) = name.strip_suffix("running_var") {
            state.push(Tensor::i64(format!("{norm}num_batches_tracked"), 7));
        }
    }
    state
}

/// The logits of images, `[n][channels][height][width]`, by the weights of a file.
fn logits(model: &str, path: &Path, images: &[f32], sizes: [usize; 4]) -> Vec<f32> {
    let [rows, channels, height, width] = sizes;
    let needs = Needs { first: Needs::INFERENCE, ..Needs::new(Shape::new(height, width, channels), 1000, rows) };
    let layout = Layout::new(&model.parse().unwrap(), &needs, Arena::new(1)).unwrap();
    let (tensors, _) = weights::read(path).unwrap();
    let frozen = torch::frozen(&layout, path, &tensors).unwrap();
    let mut work = vec![0.0; layout.words];
    let mut cpu = Cpu::new(&mut work, &frozen, &[]);
    let mut network = layout.network(0.0).unwrap();
    network.set_batch(rows, layout.session.losses(0).unwrap()).unwrap();
    cpu.write(network.batch().unwrap().images, &nchw_to_nhwc(images, sizes)).unwrap();
    network.forward(&mut cpu, Span::work(0, 0), Statistics::Running).unwrap();
    let mut logits = vec![0.0; network.logits().unwrap().length];
    cpu.read(&mut logits, network.logits().unwrap()).unwrap();
    logits
}

fn agrees(name: &str) {
    let recorded = recorded(name);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("torchvision.safetensors");
    weights::write(&path, &state(&recorded), &BTreeMap::new()).unwrap();
    let images = values(recorded.tensors.len(), recorded.images.iter().product(), (-2.0, 2.0));
    let found = logits(&format!("{name}-imagenet"), &path, &images, recorded.images);
    assert_eq!(found.len(), recorded.logits.len());
    let largest = recorded.logits.iter().fold(0.0, |largest: f64, logit| largest.max(logit.abs()));
    let differences = found.iter().zip(&recorded.logits).map(|(found, logit)| (f64::from(*found) - logit).abs());
    let error = differences.fold(0.0, f64::max) / largest;
    println!("{name}: {error:e} of the largest logit");
    assert!(error <= 1e-5, "{name}: {error:e}");
}

#[test]
fn a_basic_network_gives_torchvisions_logits() {
    agrees("resnet18");
}

#[test]
fn a_bottleneck_network_gives_torchvisions_logits() {
    agrees("resnet50");
}

#[test]
fn the_deepest_network_gives_torchvisions_logits() {
    agrees("resnet101");
}
