//! Weights in torchvision's form, names and shapes as it has them, give the logits that torchvision computes from them in
//! float64 (`torchvision/record.py`). The weights are made here by the same rule as there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use serde::Deserialize;
use sse_sam::device::layout::{Layout, Needs};
use sse_sam::weights::{self, Data, Tensor, nchw_to_nhwc, torch};
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

/// Torchvision's state of a network a 32nd as wide, of numbers that all types hold: multiples of 2^-10 below 1, no variance of 0.
fn narrow(name: &str) -> Vec<Tensor> {
    let narrow = |(number, (name, shape)): (usize, &(String, Vec<usize>))| {
        let shape: Vec<usize> = shape.iter().map(|&side| if side % 32 == 0 { side / 32 } else { side }).collect();
        let low = if name.ends_with("running_var") { 1.0 / 1024.0 } else { -1.0 };
        let numbers = values(number, shape.iter().product(), (low, 1.0));
        Tensor::f32(name.clone(), &shape, numbers.iter().map(|value| (value * 1024.0).trunc() / 1024.0).collect())
    };
    recorded(name).tensors.iter().enumerate().map(narrow).collect()
}

/// Half precision of a number that it holds.
fn half(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    let magnitude = if value == 0.0 { 0 } else { (bits >> 13 & 0x3_ffff) - (112 << 10) };
    ((bits >> 16 & 0x8000) as u16 | magnitude as u16).to_le_bytes()
}

/// A file of these tensors with another prefix and type, and a counter of updates as PyTorch has it.
fn put(path: &Path, tensors: &[Tensor], prefix: &str, dtype: Dtype) {
    let bytes = |tensor: &Tensor| match &tensor.data {
        Data::F32(values) if dtype == Dtype::F16 => values.iter().flat_map(|&value| half(value)).collect(),
        Data::F32(values) if dtype == Dtype::BF16 => {
            values.iter().flat_map(|value| value.to_le_bytes()[2..].to_vec()).collect()
        }
        Data::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Data::I64(_) => Vec::new(),
    };
    let tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|tensor| (format!("{prefix}{}", tensor.name), dtype, tensor.shape.clone(), bytes(tensor)))
        .chain([(format!("{prefix}bn1.num_batches_tracked"), Dtype::I64, Vec::new(), vec![0; 8])])
        .collect();
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// Six colour pictures of 24 x 24 in three classes, as IDX files.
fn pictures(folder: &Path) {
    let file = |kind: &[u8], sizes: &[u32], bytes: Vec<u8>| {
        [kind.to_vec(), sizes.iter().flat_map(|size| size.to_be_bytes()).collect(), bytes].concat()
    };
    for part in ["train", "test"] {
        let bytes = (0..6 * 24 * 24 * 3).map(|at| (255.0 * unit(1, at)) as u8).collect();
        fs::write(folder.join(format!("{part}-images.idx")), file(&[0, 0, 8, 4], &[6, 24, 24, 3], bytes)).unwrap();
        let labels = vec![0, 1, 2, 0, 1, 2];
        fs::write(folder.join(format!("{part}-labels.idx")), file(&[0, 0, 8, 1], &[6], labels)).unwrap();
    }
}

/// Trains for an epoch at rate 0, so that weights stay what they were: exit code and standard error.
fn start(folder: &Path, options: &[&str]) -> (i32, String) {
    let args = ["train", "--data", "data", "--device", "cpu", "--epochs", "1", "--lr", "0", "--quiet"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.args(args).args(options).current_dir(folder).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn fine_tuning_starts_from_a_file_in_torchvisions_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("data")).unwrap();
    pictures(&path.join("data"));
    for (name, prefix, dtype) in [
        ("resnet18", "", Dtype::F32),
        ("resnet50", "", Dtype::F16),
        ("resnet50", "module.", Dtype::F32),
        ("resnet18", "_orig_mod.", Dtype::BF16),
        ("resnet50", "model.", Dtype::F16),
        ("resnet18", "backbone.", Dtype::F16),
    ] {
        let out = format!("{name}{prefix}{dtype:?}");
        let mut tensors = narrow(name);
        if dtype == Dtype::BF16 {
            for tensor in &mut tensors {
                let Data::F32(values) = &mut tensor.data else { continue };
                values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
            }
        }
        put(&path.join("given.safetensors"), &tensors, prefix, dtype);
        let model = format!("{name}:2");
        let options = ["--model", &model, "--stem", "imagenet", "--init", "given.safetensors", "--out", &out];
        let (code, stderr) = start(path, &options);
        assert_eq!(code, 0, "{out}: {stderr}");
        assert!(stderr.contains("its last layer is for 1000 classes: fc.weight and its bias are drawn anew for 3"));
        let notice = format!("{prefix} is left out in front of names");
        assert_eq!(stderr.contains(&notice), !prefix.is_empty(), "{out}: {stderr}");
        let last = weights::read(&path.join(&out).join("last.safetensors")).unwrap().0;
        let is_trained = |tensor: &&Tensor| !tensor.name.contains("running") && !tensor.name.starts_with("fc");
        let compared: Vec<&Tensor> = tensors.iter().filter(is_trained).collect();
        assert!(compared.len() > 40 && compared.iter().all(|tensor| last.contains(tensor)), "{out}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_both_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("data")).unwrap();
    pictures(&path.join("data"));
    let given = path.join("given.safetensors");
    let tensors = narrow("resnet50");
    let options = ["--model", "resnet50:2", "--init", "given.safetensors", "--out", "out"];
    let large = [&options[..], &["--stem", "imagenet"]].concat();
    let refused = |tensors: &[Tensor], options: &[&str], parts: &[&str]| {
        put(&given, tensors, "", Dtype::F32);
        let (code, stderr) = start(path, options);
        assert_eq!(code, 1, "{stderr}");
        parts.iter().for_each(|part| assert!(stderr.contains(part), "{part} is not in {stderr}"));
    };
    // Pictures of 24 pixels begin with the small stem.
    let shapes = "tensor conv1.weight must have shape [2, 3, 3, 3], has [2, 3, 7, 7]";
    refused(&tensors, &options, &[shapes, "hint: these weights begin as --stem imagenet has it"]);
    let without = |names: &[&str]| -> Vec<Tensor> {
        tensors.iter().filter(|tensor| !names.contains(&&*tensor.name)).cloned().collect()
    };
    let (one, two) = ("layer1.0.bn3.bias", "layer4.2.conv3.weight");
    refused(&without(&[one]), &large, &["tensor layer1.0.bn3.bias is missing"]);
    refused(&without(&[one, two]), &large, &["tensors layer1.0.bn3.bias, layer4.2.conv3.weight are missing"]);
    let mut more = tensors.clone();
    more.extend((0..7).map(|number| Tensor::f32(format!("layer1.0.se.{number}"), &[1], vec![0.0])));
    refused(&more, &large, &["the model has no tensor layer1.0.se.0, ", "layer1.0.se.4 and 2 more"]);
    let mut wide = without(&[two]);
    wide.push(Tensor::f32(two, &[64, 17, 1, 1], vec![0.0; 64 * 17]));
    refused(&wide, &large, &["tensor layer4.2.conv3.weight must have shape [64, 16, 1, 1], has [64, 17, 1, 1]"]);
}
