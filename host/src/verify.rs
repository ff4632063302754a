//! The `verify` command: replays reference trajectories recorded from PyTorch.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sse_sam_core::{Backend, Loss, Memory, Method, Model, Schedule, Sgd, Shape, Span};

use serde::Deserialize;

use crate::args::{DeviceArgs, VerifyArgs};
use crate::device::{Device, Job, Machine};
use crate::error::Error;
use crate::layout::{Layout, Needs};
use crate::opencl::{Convolution, Precision};
use crate::progress::say;
use crate::state::{self, Kind};
use crate::train::{Weighing, write_terms};
use crate::weights::{self, Data, Tensor};

/// A reference trajectory's description.
#[derive(Debug, Deserialize)]
struct Case {
    model: String,
    method: String,
    loss: String,
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    #[serde(default)]
    nesterov: bool,
    schedule: String,
    epochs: u32,
    steps_per_epoch: u32,
    steps: u32,
    #[serde(default)]
    rho: f64,
    #[serde(default)]
    head_rho: f64,
    #[serde(default)]
    tail_rho: f64,
    #[serde(default)]
    gamma: f64,
    #[serde(default = "one")]
    focal_gamma: f64,
    #[serde(default = "one")]
    tail_weight: f64,
    class_counts: Vec<u32>,
    eta: u32,
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
struct Record {
    float32_error: f64,
}

fn one() -> f64 {
    1.0
}

impl Case {
    fn method(&self) -> Result<Method, String> {
        Ok(match self.method.as_str() {
            "sgd" => Method::Sgd,
            "sam" => Method::Sam { rho: self.rho },
            "imbsam" => Method::ImbSam { rho: self.rho },
            "ssesam" => Method::SseSam { head_rho: self.head_rho, tail_rho: self.tail_rho, gamma: self.gamma },
            other => return Err(format!("unknown method {other}")),
        })
    }

    /// The loss, and whether class weights are on.
    fn loss(&self) -> Result<(Loss, bool), String> {
        Ok(match self.loss.as_str() {
            "ce" => (Loss::CrossEntropy, false),
            "drw" => (Loss::CrossEntropy, true),
            "ldam" => (Loss::Ldam { max_m: 0.5, scale: 30.0 }, false),
            "la" => (Loss::LogitAdjustment { tau: 0.75 }, false),
            "vs" => (Loss::VectorScaling { gamma: 0.05, tau: 0.75 }, false),
            "balanced-softmax" => (Loss::BalancedSoftmax, false),
            "focal" => (Loss::Focal { gamma: self.focal_gamma }, false),
            other => return Err(format!("unknown loss {other}")),
        })
    }

    fn schedule(&self) -> Result<Schedule<'static>, String> {
        match self.schedule.as_str() {
            "constant" => Ok(Schedule::Constant),
            "cosine" => Ok(Schedule::Cosine),
            other => Err(format!("unknown schedule {other}")),
        }
    }
}

/// Replays every case on the device and prints the relative error of each update beside its bound.
///
/// # Errors
/// [`Error::Verify`] when a case is outside its bound, else whatever is wrong with the files or the device.
pub fn run(args: &VerifyArgs) -> Result<(), Error> {
    if args.device.precision == Some(Precision::Tf32) {
        let message =
            "verify computes in full precision, as the bounds of the cases want it: leave out --precision tf32";
        return Err(Error::Usage(message.into()));
    }
    let conv = args.device.conv.or(Some(Convolution::Direct));
    let device = Device::choose(&DeviceArgs { conv, ..args.device.clone() })?;
    say(&format!("device: {}", device.name()))?;
    let mut outside = 0;
    for path in &args.cases {
        let reports = replay(path, &device, Memory::Full)?;
        say(&path.display().to_string())?;
        for report in &reports {
            let verdict = if report.passes() { "ok" } else { "OUTSIDE" };
            let Report { what, error, bound } = report;
            say(&format!("  {what:<28} error {error:9.2e}  bound {bound:9.2e}  {verdict}"))?;
        }
        outside += usize::from(!reports.iter().all(Report::passes));
    }
    say(&format!("{} of {} cases within bounds", args.cases.len() - outside, args.cases.len()))?;
    if outside > 0 { Err(Error::Verify { outside, cases: args.cases.len() }) } else { Ok(()) }
}

/// One number of a replay beside its bound.
#[derive(Clone, Debug)]
pub struct Report {
    /// The step, or the tensor of running statistics.
    pub what: String,
    /// Relative error.
    pub error: f64,
    /// Largest error allowed.
    pub bound: f64,
}

impl Report {
    /// Whether the error is within its bound.
    pub fn passes(&self) -> bool {
        self.error <= self.bound
    }
}

/// Replays one case by one form of the step.
///
/// # Errors
/// Whatever is wrong with the files or the device.
pub fn replay(path: &Path, device: &Device, memory: Memory) -> Result<Vec<Report>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let case: Case = serde_json::from_str(&text).map_err(|error| Error::file(path, format!("not a case: {error}")))?;
    let tensors = path.with_extension("safetensors");
    let (list, _) = weights::read(&tensors)?;
    let tensors = Tensors { path: &tensors, map: list.into_iter().map(|t| (t.name.clone(), t)).collect() };
    let [batch, channels, height, width] = *tensors.get("batch0/images")?.shape.as_slice() else {
        return Err(Error::weights(tensors.path, "batch0/images must have four dimensions"));
    };
    let image = Shape::new(height, width, channels);
    let refuse = |message| Error::file(path, message);
    let method = case.method().map_err(refuse)?;
    let (classes, points) = (case.class_counts.len(), method.points(case.epochs)?);
    let needs = Needs { image, classes, batch, piece: None, points, memory, first: 0, rows: 1 };
    let model: Model = case.model.parse()?;
    let layout = device.plan_network(&model, &needs, |_| 0)?;
    let (loss, class_weights) = case.loss().map_err(refuse)?;
    let schedule = case.schedule().map_err(refuse)?;
    let replay =
        Replay { case: &case, tensors: &tensors, layout: &layout, method, loss, class_weights, schedule, image };
    device.run(&layout, &[], &[], replay)
}

struct Tensors<'a> {
    path: &'a Path,
    map: BTreeMap<String, Tensor>,
}

impl Tensors<'_> {
    fn get(&self, name: &str) -> Result<&Tensor, Error> {
        self.map.get(name).ok_or_else(|| Error::weights(self.path, format!("{name} is missing")))
    }

    fn floats(&self, name: &str) -> Result<&[f32], Error> {
        match &self.get(name)?.data {
            Data::F32(values) => Ok(values),
            Data::I64(_) => Err(Error::weights(self.path, format!("{name} must hold numbers of type F32"))),
        }
    }

    fn labels(&self, name: &str) -> Result<&[i64], Error> {
        match &self.get(name)?.data {
            Data::I64(values) => Ok(values),
            Data::F32(_) => Err(Error::weights(self.path, format!("{name} must hold numbers of type I64"))),
        }
    }
}

struct Replay<'a> {
    case: &'a Case,
    tensors: &'a Tensors<'a>,
    layout: &'a Layout,
    method: Method,
    loss: Loss,
    class_weights: bool,
    schedule: Schedule<'static>,
    image: Shape,
}

impl Job for Replay<'_> {
    type Output = Vec<Report>;

    fn run<B: Machine>(self, backend: &mut B) -> Result<Vec<Report>, Error>
    where
        Error: From<B::Error>,
    {
        let layout = self.layout;
        let entries = state::entries(layout)?;
        for entry in &entries {
            entry.store(backend, layout, self.tensors.floats(&format!("init/{}", entry.name))?)?;
        }
        write_terms(backend, &layout.plan, &self.loss, &self.case.class_counts)?;
        let mut reports = Vec::new();
        for number in 0..self.case.steps {
            self.step(backend, number)?;
            let (mut difference, mut update) = (0.0, 0.0);
            for entry in entries.iter().filter(|entry| matches!(entry.kind, Kind::Parameter(_))) {
                let init = self.tensors.floats(&format!("init/{}", entry.name))?;
                let expected = self.tensors.floats(&format!("step{number}/{}", entry.name))?;
                let found = entry.load(backend, layout)?;
                difference += squared_distance(&found, expected);
                update += squared_distance(expected, init);
            }
            let record = self.case.records.get(number as usize);
            let float32_error = record.map_or(0.0, |record| record.float32_error);
            let bound = f64::max(10.0 * float32_error, 1e-5);
            reports.push(Report { what: format!("step {number}"), error: (difference / update).sqrt(), bound });
        }
        for entry in entries.iter().filter(|entry| matches!(entry.kind, Kind::Running(_))) {
            let expected = self.tensors.floats(&format!("final/{}", entry.name))?;
            let found = entry.load(backend, layout)?;
            let size = expected.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
            let error = (squared_distance(&found, expected) / size).sqrt();
            reports.push(Report { what: entry.name.clone(), error, bound: 1e-5 });
        }
        Ok(reports)
    }
}

impl Replay<'_> {
    fn step<B: Backend>(&self, backend: &mut B, number: u32) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (case, layout) = (self.case, self.layout);
        let epoch = number / case.steps_per_epoch.max(1);
        let groups = self.method.groups(epoch, case.epochs)?;
        let labels = self.tensors.labels(&format!("batch{number}/labels"))?;
        let weighing = Weighing::new(&case.class_counts, case.eta, case.tail_weight, self.class_weights, groups)?;
        let mut network = layout.network(self.loss.focal())?;
        network.set_batch(labels.len(), layout.losses(0)?)?;
        let batch = network.batch()?;
        let images = self.tensors.floats(&format!("batch{number}/images"))?;
        let Shape { height, width, channels } = self.image;
        backend.write(batch.images, &weights::nchw_to_nhwc(images, [labels.len(), channels, height, width]))?;
        let classes = case.class_counts.len();
        let labels: Option<Vec<u8>> =
            labels.iter().map(|&label| u8::try_from(label).ok().filter(|&l| usize::from(l) < classes)).collect();
        let labels = labels.ok_or_else(|| Error::weights(self.tensors.path, "a label is not a class"))?;
        write_column(backend, batch.labels, labels.iter().map(|&label| f32::from(label)))?;
        for (column, &span) in batch.weights.iter().enumerate() {
            write_column(backend, span, labels.iter().map(|&label| weighing.weights(label, labels.len())[column]))?;
        }
        let sgd = Sgd {
            learning_rate: self.schedule.learning_rate(case.lr, epoch, case.epochs, 0)? as f32,
            momentum: case.momentum as f32,
            weight_decay: case.weight_decay as f32,
            nesterov: case.nesterov,
        };
        let present = groups.present(weighing.columns(&labels));
        layout.step(backend, &mut network, &present, &sgd, 0)
    }
}

fn write_column<B: Backend>(backend: &mut B, to: Span, values: impl Iterator<Item = f32>) -> Result<(), B::Error> {
    backend.write(to, &values.collect::<Vec<_>>())
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}
