//! Losses, gradients and products that PyTorch computed in f64.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sse_sam::weights::{self, Data, Tensor};
use sse_sam_core::network::layer::{self, Op};
use sse_sam_core::{Backend, Loss, Shape};

use super::rig::{Batch, Check, Found, Rig, State, distance, dot, each_machine, norm};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden-spectrum");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    cases.sort();
    cases
}

/// A case's two files.
struct Case {
    name: String,
    description: Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let description = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let (tensors, _) = weights::read(&path.with_extension("safetensors")).unwrap();
        let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        Self { name: path.file_stem().unwrap().to_string_lossy().into(), description, tensors }
    }

    fn floats(&self, name: &str) -> Option<&[f32]> {
        match &self.tensors.get(name)?.data {
            Data::F32(values) => Some(values),
            Data::I64(_) => None,
        }
    }

    fn loss(&self) -> Loss {
        match self.description["loss"].as_str().unwrap() {
            "ce" => Loss::CrossEntropy,
            "focal" => Loss::Focal { gamma: self.description["focal_gamma"].as_f64().unwrap() },
            "vs" => Loss::VectorScaling { gamma: 0.05, tau: 0.75 },
            other => panic!("unknown loss {other}"),
        }
    }

    fn counts(&self) -> Vec<u32> {
        self.description["class_counts"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
    }

    fn image(&self) -> Shape {
        let shape = &self.tensors["batch0/images"].shape;
        Shape::new(shape[2], shape[3], shape[1])
    }

    /// A vector of `folder` in the order of the plan, without padding.
    fn vector(&self, rig: &Rig, folder: &str) -> Option<Vec<f32>> {
        let mut vector = Vec::new();
        for layer in rig.graph.layers() {
            let input = rig.graph.shape(layer.input).unwrap();
            for tensor in layer.tensors() {
                let values = self.floats(&format!("{folder}/{}.{}", layer.name, tensor.name()));
                match (tensor, layer.op) {
                    (layer::Tensor::RunningMean | layer::Tensor::RunningVar, _) => {}
                    (layer::Tensor::Weight, Op::Conv2d(conv)) => {
                        let sizes = [conv.output.channels, conv.input.channels, conv.kernel, conv.kernel];
                        vector.extend(weights::oihw_to_hwio(values?, sizes));
                    }
                    (layer::Tensor::Weight, Op::Linear) => {
                        vector.extend(weights::linear_from_chw(values?, layer.output.channels, input));
                    }
                    _ => vector.extend(values?),
                }
            }
        }
        Some(vector)
    }

    fn state(&self, rig: &Rig) -> State {
        let statistics = |layer: &layer::Layer| {
            let part = |tensor: &str| self.floats(&format!("init/{}.{tensor}", layer.name)).unwrap();
            if layer.normalises() { [part("running_mean"), part("running_var")].concat() } else { Vec::new() }
        };
        let running = rig.graph.layers().iter().map(statistics).collect();
        State { params: self.vector(rig, "init").unwrap(), running }
    }

    /// The samples of a group's classes count one over their number.
    fn batch(&self, classes: &[u64]) -> Batch {
        let tensor = &self.tensors["batch0/images"];
        let sizes: [usize; 4] = tensor.shape.as_slice().try_into().unwrap();
        let images = weights::nchw_to_nhwc(self.floats("batch0/images").unwrap(), sizes);
        let Data::I64(labels) = &self.tensors["batch0/labels"].data else { panic!("labels are integers") };
        let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
        let is_member = |label: &u32| classes.contains(&u64::from(*label));
        let share = 1.0 / labels.iter().filter(|label| is_member(label)).count() as f32;
        let weights = labels.iter().map(|label| if is_member(label) { share } else { 0.0 }).collect();
        Batch { images, labels, weights }
    }
}

struct Groups<'c>(&'c Case);

impl Check for Groups<'_> {
    fn run<B: Backend>(&self, rig: &Rig, backend: &mut B, machine: &str)
    where
        B::Error: Debug,
    {
        let case = self.0;
        let (state, v) = (case.state(rig), case.vector(rig, "v").unwrap());
        let groups = case.description["records"].as_object().unwrap();
        for (group, record) in groups {
            let classes: Vec<u64> = record["classes"].as_array().unwrap().iter().map(|c| c.as_u64().unwrap()).collect();
            let found = rig.run(backend, &state, &case.batch(&classes), &v);
            compare(
                &format!("{} {group} on {machine}", case.name),
                record,
                &found,
                case.vector(rig, &format!("hv/{group}")),
                &v,
            );
        }
    }
}

fn compare(what: &str, record: &Value, found: &Found, expected: Option<Vec<f32>>, v: &[f32]) {
    let number = |key: &str| record[key].as_f64().unwrap();
    let bound = |key: &str| f64::max(10.0 * record["float32_error"][key].as_f64().unwrap(), 1e-5);
    let check = |name: &str, error: f64, bound: f64| {
        eprintln!("{what}: {name} {error:.1e}, bound {bound:.1e}");
        assert!(error <= bound, "{what}: {name} is off by {error:e}, bound {bound:e}");
    };
    check("loss", (found.loss / number("loss") - 1.0).abs(), bound("loss"));
    check("gradient norm", (norm(&found.gradient) / number("gradient_norm") - 1.0).abs(), bound("gradient"));
    match expected {
        Some(expected) => check("H v", distance(&found.product, &expected), bound("hv")),
        None => check("|H v|", (norm(&found.product) / number("hv_norm") - 1.0).abs(), bound("hv")),
    }
    let scale = number("hv_norm") * norm(v);
    check("v' H v", (dot(v, &found.product) - number("vhv")).abs() / scale, bound("hv"));
}

/// Whole batches and several: sums over batches are those of the whole.
#[test]
fn every_reference_product_is_met() {
    let cases = cases();
    assert_eq!(cases.len(), 6);
    for path in cases {
        let case = Case::read(&path);
        let (model, counts) = (case.description["model"].as_str().unwrap(), case.counts());
        let samples = counts.iter().sum::<u32>() as usize;
        for rows in [samples, samples / 2 + 3] {
            let rig = |arena| Rig::new(model, case.image(), case.loss(), &counts, rows, arena);
            each_machine(rig, &Groups(&case));
        }
    }
}
