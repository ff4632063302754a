//! Weights exported as ONNX models give the program's own logits in ONNX Runtime, where the environment variable
//! `SSE_SAM_PYTHON` names a Python that has it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use sse_sam::device::layout::{Layout, Needs};
use sse_sam::report::Silent;
use sse_sam::weights::{self, Data, Tensor, Weights};
use sse_sam_core::{Arena, Cpu, Machine, Problem, Shape, Span, Statistics};

const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// Pictures that are compared.
const PICTURES: usize = 3;

/// Names of classes as weights say them.
const NAMES: &str = r#"["apple","\"pear\"","quince é"]"#;

/// What ONNX Runtime says.
#[derive(Deserialize)]
struct Said {
    batch: Vec<Vec<f64>>,
    single: Vec<Vec<f64>>,
    metadata: BTreeMap<String, String>,
}

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("SSE_SAM_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: SSE_SAM_PYTHON names no Python with onnxruntime");
    }
    python
}

fn program(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("SSE_SAM_CACHE", CACHE).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// Numbers in 0..1 that look drawn.
fn unit(seed: usize, index: usize) -> f64 {
    let mut x = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed as u64 + 1);
    for shift in [30, 27, 31] {
        x = (x ^ (x >> shift)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    (x >> 40) as f64 / f64::from(1 << 24)
}

/// A weights file of this network: every tensor drawn, running statistics too.
fn put(path: &Path, model: &str, Shape { height, width, channels }: Shape, classes: usize) {
    let layout = Layout::smallest(&model.parse().unwrap(), Shape::new(height, width, channels), classes).unwrap();
    let drawn = |(number, entry): (usize, weights::torch::Entry)| {
        let count: usize = entry.shape.iter().product();
        let (low, high) = match &entry.shape[..] {
            [_] if entry.name.ends_with("running_var") => (0.5, 1.5),
            [_] if entry.name.ends_with("weight") => (0.5, 1.0),
            [_] => (-0.2, 0.2),
            [_, inputs @ ..] => {
                let bound = (6.0 / inputs.iter().product::<usize>() as f64).sqrt();
                (-bound, bound)
            }
            [] => (0.0, 1.0),
        };
        let values = (0..count).map(|index| (low + (high - low) * unit(number, index)) as f32).collect();
        Tensor::f32(entry.name, &entry.shape, values)
    };
    let tensors: Vec<Tensor> = weights::torch::entries(&layout).unwrap().into_iter().enumerate().map(drawn).collect();
    let join = |text: &str, count| vec![text; count].join(",");
    let metadata = [
        ("format", "pt".to_owned()),
        ("model", model.into()),
        ("data", "elsewhere".into()),
        ("dataset", "idx".into()),
        ("image", format!("{height}x{width}x{channels}")),
        ("class_counts", join("7", classes)),
        ("class_names", NAMES.into()),
        ("eta", "5".into()),
        ("many", "6".into()),
        ("few", "2".into()),
        ("byte_mean", join("120.5", channels)),
        ("byte_inverse_std", join("0.0158", channels)),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    weights::write(path, &tensors, &metadata).unwrap();
}

/// The program's own logits of pictures.
fn logits(path: &Path, pictures: &[u8]) -> Vec<f32> {
    let weights = Weights::read(path, &Silent).unwrap();
    let description = &weights.description;
    let (image, classes) = (description.image, description.counts.len());
    let needs = Needs { first: Needs::INFERENCE, ..Needs::new(image, classes, PICTURES) };
    let layout = Layout::new(&description.model, &needs, Arena::new(1)).unwrap();
    let frozen = weights.frozen(&layout).unwrap();
    let mut work = vec![0.0; layout.words];
    let mut cpu = Cpu::new(&mut work, &frozen, &[]);
    let mut network = layout.network(0.0).unwrap();
    network.set_batch(PICTURES, layout.session.losses(0).unwrap()).unwrap();
    let (mean, inverse) = description.normalization.split_at(image.channels);
    let normal =
        |(at, &byte): (usize, &u8)| (f32::from(byte) - mean[at % image.channels]) * inverse[at % image.channels];
    let normal: Vec<f32> = pictures.iter().enumerate().map(normal).collect();
    cpu.write(network.batch().unwrap().images, &normal).unwrap();
    network.forward(&mut cpu, Span::work(0, 0), Statistics::Running).unwrap();
    let mut logits = vec![0.0; PICTURES * classes];
    cpu.read(&mut logits, network.logits().unwrap()).unwrap();
    logits
}

fn agrees(model: &str, image: Shape, classes: usize) {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("w.safetensors");
    put(&weights, model, image, classes);
    let exported = program(folder.path(), &["export", "w.safetensors", "--format", "onnx", "--out", "m.onnx"]);
    assert!(exported.status.success(), "{exported:?}");
    assert_eq!(exported.stdout, b"m.onnx\n");
    let pictures: Vec<u8> = (0..PICTURES * image.len()).map(|at| (256.0 * unit(99, at)) as u8).collect();
    fs::write(folder.path().join("pictures"), &pictures).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/onnx/logits.py");
    let sides = [image.height, image.width, image.channels].map(|side| side.to_string());
    let mut command = Command::new(python);
    let output =
        command.arg(script).args(["m.onnx", "pictures"]).args(sides).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Said = serde_json::from_slice(&output.stdout).unwrap();
    let own = logits(&weights, &pictures);
    let largest = own.iter().fold(0.0_f64, |largest, &logit| largest.max(f64::from(logit).abs()));
    for found in [&said.batch, &said.single] {
        let found: Vec<f64> = found.concat();
        assert_eq!(found.len(), own.len());
        let differences = found.iter().zip(&own).map(|(found, &own)| (found - f64::from(own)).abs());
        let error = differences.fold(0.0, f64::max) / largest.max(1.0);
        println!("{model}: {error:e}");
        assert!(error <= 1e-4, "{model}: {error:e}");
    }
    assert_eq!(said.metadata["model"], model);
    assert_eq!(said.metadata["class_names"], NAMES);
    assert!(said.metadata["input"].contains("0..1"), "{:?}", said.metadata);
}

#[test]
fn a_perceptrons_model_gives_its_logits() {
    agrees("mlp:60-7-4", Shape::new(4, 5, 3), 4);
}

#[test]
fn shortcuts_without_parameters_are_slices_and_zeros() {
    agrees("resnet8:3", Shape::new(9, 7, 1), 5);
}

#[test]
fn projections_give_their_logits() {
    agrees("resnet18:4", Shape::new(16, 12, 3), 10);
}

#[test]
fn bottlenecks_behind_a_stem_for_large_pictures_give_their_logits() {
    agrees("resnet50-imagenet:4", Shape::new(65, 70, 3), 6);
}

#[test]
fn a_model_lies_beside_its_weights_and_is_no_option_of_c() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("w.safetensors"), "resnet50-imagenet:1", Shape::new(8, 8, 1), 2);
    let output = program(folder.path(), &["export", "w.safetensors", "--format", "onnx"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"w.onnx\n"[..]), "{output:?}");
    let (tensors, _) = weights::read(&folder.path().join("w.safetensors")).unwrap();
    let count: usize =
        tensors.iter().map(|tensor| if let Data::F32(values) = &tensor.data { values.len() } else { 0 }).sum();
    let bytes = fs::read(folder.path().join("w.onnx")).unwrap();
    assert!(bytes.len() > 4 * count && bytes.starts_with(&[0x08, 0x08, 0x12, 0x07]), "{} {count}", bytes.len());
    for (args, says) in [
        (&["export", "w.safetensors", "--format", "onnx", "--name", "mine"][..], "--name does nothing here"),
        (&["export", "w.safetensors", "--format", "onnx", "--out", "w.safetensors"], "is what is read"),
        (&["export", "w.safetensors", "--format", "c"], "firmware has no resnet50-imagenet:1"),
    ] {
        let output = program(folder.path(), args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty() && stderr.contains(says), "{stderr}");
    }
}
