//! The `verify` command: replays reference trajectories and spectra recorded from PyTorch.

mod reference;
mod spectrum;

use std::path::Path;

use reference::{Case, Rule, Tensors};
pub use spectrum::replay as spectra;
use sse_sam_core::{Backend, Economy, Loss, Method, Schedule, Sgd, Shape, Span, Tail, Tally};

use crate::cli::args::VerifyArgs;
use crate::device::choose::Device;
use crate::device::layout::{Layout, Needs};
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::opencl::{Convolution, Precision};
use crate::recipe::DeviceOptions;
use crate::report::Observer;
use crate::report::console::{Console, say};
use crate::train::start::{class_weights, write_terms};
use crate::weights;
use crate::weights::torch::{self, Kind};

/// Replays every case on the device and prints the relative error of each update beside its bound.
///
/// # Errors
/// [`Error::Verify`] when a case is outside its bound, else whatever is wrong with the files or the device.
pub fn run(args: &VerifyArgs, console: &Console) -> Result<(), Error> {
    if args.device.precision == Some(Precision::Tf32) {
        let message =
            "verify computes in full precision, as the bounds of the cases want it: leave out --precision tf32";
        return Err(Error::Usage(message.into()));
    }
    if args.cases.is_empty() {
        return Err(Error::Usage("verify needs a case to compare with".into()));
    }
    let conv = args.device.conv.or(Some(Convolution::Direct));
    let device = Device::choose(&DeviceOptions { conv, ..args.device.clone() }, console)?;
    say(&format!("device: {}", device.name()))?;
    let mut outside = 0;
    for path in &args.cases {
        let is_spectrum = spectrum::is_spectrum(path)?;
        let reports =
            if is_spectrum { spectra(path, &device, console) } else { replay(path, &device, Economy::Full, console) };
        let reports = reports?;
        say(&path.display().to_string())?;
        for report in &reports {
            let verdict = if report.passes() { "ok" } else { "OUTSIDE" };
            let Report { what, error, bound } = report;
            say(&format!("  {what:<28} error {error:9.2e}  bound {bound:9.2e}  {verdict}"))?;
        }
        outside += usize::from(!within_bounds(&reports));
    }
    say(&format!("{} of {} cases within bounds", args.cases.len() - outside, args.cases.len()))?;
    if outside > 0 { Err(Error::Verify { outside, cases: args.cases.len() }) } else { Ok(()) }
}

/// One number of a replay beside its bound.
#[derive(Clone, Debug)]
pub struct Report {
    /// The step, the tensor of running statistics, or a group and its quantity.
    pub what: String,
    /// Relative error; of a number that depends on chance, in standard errors.
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

/// Whether every error is within its bound. Without any nothing was compared, which shows nothing.
pub fn within_bounds(reports: &[Report]) -> bool {
    !reports.is_empty() && reports.iter().all(Report::passes)
}

/// Replays one case by one form of the step: one report for each of its steps and each tensor of running statistics.
///
/// # Errors
/// Whatever is wrong with the files or the device.
pub fn replay(path: &Path, device: &Device, economy: Economy, observer: &dyn Observer) -> Result<Vec<Report>, Error> {
    let case = Case::read(path)?;
    let tensors = Tensors::read(&path.with_extension("safetensors"))?;
    let Rule { model, method, loss, class_weights, schedule } = case.rule().map_err(|text| Error::file(path, text))?;
    let (image, batch) = tensors.batches(&case)?;
    let classes = case.class_counts.len();
    let needs = Needs { groups: method.largest()?, economy, ..Needs::new(image, classes, batch) };
    let of_case = |error| match error {
        Error::Core(error) => Error::file(path, format!("model {model}: {error}")),
        other => other,
    };
    // Before memory is asked for: a model of any size has a short name.
    let smallest = Layout::smallest(&model, image, classes).map_err(of_case)?;
    tensors.check(&case, &torch::entries(&smallest)?)?;
    let layout = device.plan_network(&model, &needs, |_| 0).map_err(of_case)?;
    let replay =
        Replay { case: &case, tensors: &tensors, layout: &layout, method, loss, class_weights, schedule, image };
    device.run(&layout, &[], &[], replay, observer)
}

struct Replay<'a> {
    case: &'a Case,
    tensors: &'a Tensors,
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
        let entries = torch::entries(layout)?;
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
            let bound = self.case.bound(number);
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
        let epoch = case.epoch(number);
        let labels = self.tensors.labels(number, case.class_counts.len())?;
        let (counts, tail) = (&case.class_counts, Tail { eta: case.eta, weight: case.tail_weight });
        let rule = self.method.rule(counts, tail, epoch, case.epochs)?;
        let class_weights = class_weights(counts, self.class_weights);
        let factors = |&label: &u32| rule.factors(label as usize, class_weights[label as usize], labels.len());
        let mut tally = Tally::default();
        labels.iter().for_each(|label| tally.add(factors(label)));
        let mut network = layout.network(self.loss.focal())?;
        network.set_batch(labels.len(), layout.session.losses(0)?)?;
        let batch = network.batch()?;
        let images = self.tensors.floats(&format!("batch{number}/images"))?;
        let Shape { height, width, channels } = self.image;
        backend.write(batch.images, &weights::nchw_to_nhwc(images, [labels.len(), channels, height, width]))?;
        write_column(backend, batch.labels, labels.iter().map(|&label| label as f32))?;
        for (column, &span) in batch.weights.iter().enumerate() {
            write_column(backend, span, labels.iter().map(|label| factors(label)[column]))?;
        }
        let sgd = Sgd {
            learning_rate: self.schedule.learning_rate(case.lr, epoch, case.epochs, 0)? as f32,
            momentum: case.momentum as f32,
            weight_decay: case.weight_decay as f32,
            nesterov: case.nesterov,
        };
        let present = rule.groups.present(tally.present());
        let head = case.lr_head.and_then(|rate| layout.head_rate((rate / case.lr) as f32));
        Ok(layout.session.step_with_part(backend, &mut network, &present, (&sgd, head.as_ref()), 0)?)
    }
}

fn write_column<B: Backend>(backend: &mut B, to: Span, values: impl Iterator<Item = f32>) -> Result<(), B::Error> {
    backend.write(to, &values.collect::<Vec<_>>())
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}
