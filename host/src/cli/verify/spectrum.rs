//! Replays reference spectra recorded from PyTorch in `f64`: losses, gradients, products and eigenvalues of each group.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use sse_sam_core::{Loss, Model, Row, Span};

use crate::cli::verify::Report;
use crate::cli::verify::reference::{Tensors, loss};
use crate::device::choose::Device;
use crate::device::layout;
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::report::Observer;
use crate::spectrum::fit::Tables;
use crate::spectrum::groups::{Classes, Group, Word};
use crate::spectrum::hessian::{Given, Hessian};
use crate::spectrum::lanczos::{Basis, Operator};
use crate::spectrum::layout::{Demand, Layout};
use crate::spectrum::measure::{Question, Subject, checks, exact_trace, spectrum};
use crate::train::start::write_terms;
use crate::weights::torch::{self, Entry, Kind};

/// Largest `float32_error` of a record: the bound is ten times that.
const LARGEST_ERROR: f64 = 1e-3;

/// Products of a run, at most. Thirty find the extremes too, but the share of negative mass is wrong then by more than chance.
const STEPS: usize = 100;

/// Start vectors of what has a standard error.
const VECTORS: usize = 8;

/// What is asked of products in any case: symmetry, and that groups add up.
const PRODUCTS: f64 = 1e-5;

/// Standard errors that a number which depends on chance may be off.
const CHANCE: f64 = 4.0;

/// Samples a pass.
const BATCH: usize = 128;

/// A reference spectrum's description.
#[derive(Debug, Deserialize)]
pub struct Case {
    model: String,
    loss: String,
    #[serde(default = "one")]
    focal_gamma: f64,
    class_counts: Vec<u32>,
    eta: u32,
    records: BTreeMap<String, Record>,
}

fn one() -> f64 {
    1.0
}

/// What is true of a group.
#[derive(Debug, Deserialize)]
struct Record {
    samples: usize,
    loss: f64,
    gradient_norm: f64,
    hv_norm: f64,
    vhv: f64,
    lambda_max: f64,
    lambda_min: f64,
    trace: f64,
    #[serde(default)]
    mass_below: BTreeMap<String, f64>,
    float32_error: Errors,
}

/// What PyTorch's own `f32` makes of it.
#[derive(Debug, Deserialize)]
struct Errors {
    loss: f64,
    gradient: f64,
    hv: f64,
    lanczos_lambda_max: f64,
    lanczos_lambda_min: f64,
}

/// The largest error that is allowed where `f32` made this one.
fn bound(float32_error: f64) -> f64 {
    f64::max(10.0 * float32_error, 1e-5)
}

/// Whether a file describes a spectrum, by what it says of itself.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn is_spectrum(path: &Path) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Kind {
        kind: Option<String>,
    }
    let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
    Ok(serde_json::from_slice(&bytes).is_ok_and(|case: Kind| case.kind.as_deref() == Some("spectrum")))
}

impl Case {
    /// Reads a description whose every group can be compared.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::File`] when it is no description or compares nothing.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
        let case: Self =
            serde_json::from_slice(&bytes).map_err(|error| Error::file(path, format!("not a case: {error}")))?;
        case.check().map_err(|message| Error::file(path, message))?;
        Ok(case)
    }

    fn check(&self) -> Result<(), String> {
        let classes = self.class_counts.len();
        if !(1..=Row::CLASSES).contains(&classes) {
            return Err(format!("class_counts must name 1 to {} classes, names {classes}", Row::CLASSES));
        }
        if self.records.is_empty() {
            return Err("records is empty, so that there is nothing to compare".into());
        }
        self.records.iter().try_for_each(|(name, record)| self.check_group(name, record))
    }

    fn check_group(&self, name: &str, record: &Record) -> Result<(), String> {
        let group = group(name)?;
        let samples = self.classes().size(group);
        if samples == 0 || samples != record.samples {
            return Err(format!("{name} has {samples} samples by class_counts, {} by its record", record.samples));
        }
        let Record { loss, gradient_norm, hv_norm, vhv, lambda_max, lambda_min, trace, .. } = *record;
        let all = [loss, gradient_norm, hv_norm, vhv, lambda_max, lambda_min, trace];
        if !all.iter().all(|number| number.is_finite()) || [loss, gradient_norm, hv_norm].contains(&0.0) {
            return Err(format!("the record of {name} holds a number that no error can be measured by"));
        }
        let Errors { loss, gradient, hv, lanczos_lambda_max, lanczos_lambda_min } = record.float32_error;
        match [loss, gradient, hv, lanczos_lambda_max, lanczos_lambda_min]
            .into_iter()
            .find(|error| !(0.0..=LARGEST_ERROR).contains(error))
        {
            Some(error) => Err(format!(
                "float32_error of {name} must be in 0..={LARGEST_ERROR:e}, is {error:e}: the bound is ten times that, and a \
                 wider one shows nothing"
            )),
            None => Ok(()),
        }
    }

    fn classes(&self) -> Classes<'_> {
        Classes { counts: &self.class_counts, sizes: &self.class_counts, eta: self.eta }
    }

    fn loss(&self) -> Result<Loss, String> {
        match loss(&self.loss, self.focal_gamma)? {
            (_, true) => Err("a spectrum has no class weights: loss drw is none of its".into()),
            (loss, false) => {
                loss.terms(&self.class_counts, 0).map_err(|error| error.to_string())?;
                Ok(loss)
            }
        }
    }
}

fn group(name: &str) -> Result<Group, String> {
    match name.parse() {
        Ok(Word::One(group)) => Ok(group),
        _ => Err(format!("records has {name}, which is no group")),
    }
}

/// Compares every group of one case: a report for each number.
///
/// # Errors
/// Whatever is wrong with the files or the device.
pub fn replay(path: &Path, device: &Device, observer: &dyn Observer) -> Result<Vec<Report>, Error> {
    let case = Case::read(path)?;
    let tensors = Tensors::read(&path.with_extension("safetensors"))?;
    let sentence = |text: String| Error::file(path, text);
    let loss = case.loss().map_err(sentence)?;
    let model: Model = case.model.parse().map_err(|error| sentence(format!("model {}: {error}", case.model)))?;
    let classes = case.class_counts.len();
    let (image, rows) = tensors.batch(0)?;
    let labels = tensors.labels(0, classes)?;
    let mut found = vec![0; classes];
    labels.iter().for_each(|&label| found[label as usize] += 1);
    if found != case.class_counts {
        return Err(sentence(format!("class_counts says {:?}, the labels {found:?}", case.class_counts)));
    }
    let of_case = |error| match error {
        Error::Core(error) => Error::file(path, format!("model {model}: {error}")),
        other => other,
    };
    // Before memory is asked for: a model of any size has a short name.
    let smallest = layout::Layout::smallest(&model, image, classes).map_err(of_case)?;
    tensors.expect_all(&["init", "v"], &torch::entries(&smallest)?)?;
    let steps = STEPS.min(smallest.plan.trainable());
    let demand =
        Demand { model: &model, image, classes, first: 0, batch: BATCH.min(rows), rows, steps, basis: Basis::Full };
    let (layout, _) = Layout::on(device, &demand, 0, &|_| 0).map_err(of_case)?;
    let replay = Replay { case: &case, tensors: &tensors, layout: &layout, loss, labels: &labels };
    device.run(&layout.network, &[], &[], replay, observer)
}

struct Replay<'a> {
    case: &'a Case,
    tensors: &'a Tensors,
    layout: &'a Layout,
    loss: Loss,
    labels: &'a [u32],
}

impl Job for Replay<'_> {
    type Output = Vec<Report>;

    fn run<B: Machine>(self, backend: &mut B) -> Result<Vec<Report>, Error>
    where
        Error: From<B::Error>,
    {
        let network = &self.layout.network;
        let entries = torch::entries(network)?;
        for entry in &entries {
            entry.store(backend, network, self.tensors.floats(&format!("init/{}", entry.name))?)?;
        }
        write_terms(backend, &network.plan, &self.loss, &self.case.class_counts)?;
        let mut reports = Vec::new();
        for (name, record) in &self.case.records {
            self.group(backend, &entries, (name, record), &mut reports)?;
        }
        Ok(reports)
    }
}

/// A name, a value, and how right it has to be.
struct Reports<'r> {
    group: &'r str,
    all: &'r mut Vec<Report>,
}

impl Reports<'_> {
    fn add(&mut self, what: &str, error: f64, bound: f64) {
        self.all.push(Report { what: format!("{} {what}", self.group), error, bound });
    }
}

impl Replay<'_> {
    fn group<B: Machine>(
        &self,
        backend: &mut B,
        entries: &[Entry],
        (name, record): (&str, &Record),
        reports: &mut Vec<Report>,
    ) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (layout, classes) = (self.layout, self.case.classes());
        let group = group(name).map_err(Error::Usage)?;
        let images = self.tensors.floats("batch0/images")?;
        let samples = Given::new(layout, images, self.labels, |class| classes.belongs(class, group));
        let tables = Tables::new(&self.loss, classes.counts)?;
        let mut hessian = Hessian::new(layout, (&tables, self.loss.focal()), samples, &|| Ok(()))?;
        let subject = Subject { group, classes, taken: classes.taken(group, usize::MAX) };
        let mut reports = Reports { group: name, all: reports };
        let errors = &record.float32_error;
        hessian.arrange(backend, &subject.factors())?;
        let loss = hessian.fit(backend, hessian.params())?.loss;
        reports.add("loss", relative(loss, record.loss), bound(errors.loss));
        hessian.gradient(backend, layout.gradient())?;
        let norm = layout.room.norm(backend, layout.gradient())?;
        reports.add("gradient norm", relative(norm, record.gradient_norm), bound(errors.gradient));
        self.product(backend, entries, &mut hessian, record, &mut reports)?;
        let checks = checks(backend, &mut hessian, &subject, 0)?;
        reports.add("symmetry", checks.symmetry, PRODUCTS);
        if let Some(linearity) = checks.linearity {
            reports.add("head and tail", linearity, PRODUCTS);
        }
        let run =
            |steps: usize, vectors| Question { steps: steps.min(layout.network.plan.trainable()), vectors, seed: 0 };
        let found = spectrum(backend, &mut hessian, group, &run(STEPS, 1), &|_, _| ())?;
        let size = record.lambda_max.abs().max(record.lambda_min.abs());
        let off = |found: f64, expected: f64| (found - expected).abs() / size;
        reports.add("lambda_max", off(found.lambda_max.value, record.lambda_max), bound(errors.lanczos_lambda_max));
        reports.add("lambda_min", off(found.lambda_min.value, record.lambda_min), bound(errors.lanczos_lambda_min));
        let steps = if record.mass_below.is_empty() { 1 } else { STEPS };
        let found = spectrum(backend, &mut hessian, group, &run(steps, VECTORS), &|_, _| ())?;
        let parameters = layout.network.plan.trainable() as f64;
        let mean = found.mean_eigenvalue;
        let spread = mean.standard_error.unwrap_or_default();
        reports.add("trace by chance", (mean.mean - record.trace / parameters).abs() / spread, CHANCE);
        for mass in &found.negative_mass {
            let Some(expected) = record.mass_below.get(&mass.below.to_string()).filter(|_| mass.below == 0.01) else {
                continue;
            };
            let spread = mass.share.standard_error.unwrap_or_default();
            reports.add("mass below -.01 max", (mass.share.mean - expected).abs() / spread, CHANCE);
        }
        if let Some(trace) = exact_trace(backend, &mut hessian, &subject)? {
            // A sum of squares of gradients.
            reports.add("exact trace", relative(trace, record.trace), 2.0 * bound(errors.gradient));
        }
        Ok(())
    }

    /// `H v`: all of it where it is stored, else its length and `v'Hv`.
    fn product<B: Machine>(
        &self,
        backend: &mut B,
        entries: &[Entry],
        hessian: &mut Hessian<'_, Given<'_>>,
        record: &Record,
        reports: &mut Reports<'_>,
    ) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (layout, [v, hv]) = (self.layout, self.layout.scratch());
        for (span, values) in self.parameters(entries, "v", v)? {
            backend.write(span, &values)?;
        }
        hessian.product(backend, hv, v)?;
        let bound = bound(record.float32_error.hv);
        let stored = format!("hv/{}", reports.group);
        if !self.tensors.has(&stored) {
            let (norm, vhv) = (layout.room.norm(backend, hv)?, layout.room.dot(backend, v, hv)?);
            let size = record.hv_norm * (layout.network.plan.trainable() as f64).sqrt();
            reports.add("product's length", relative(norm, record.hv_norm), bound);
            reports.add("product along v", (vhv - record.vhv).abs() / size, bound);
            return Ok(());
        }
        let (mut difference, mut size) = (0.0, 0.0);
        for (span, expected) in self.parameters(entries, &stored, hv)? {
            let mut found = vec![0.0; span.length];
            backend.read(&mut found, span)?;
            let squared = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
            difference += found.iter().zip(&expected).map(squared).sum::<f64>();
            size += expected.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
        }
        reports.add("product", (difference / size).sqrt(), bound);
        Ok(())
    }

    /// The tensors of a vector of parameters, in the device's order, with their places in `vector`.
    fn parameters(&self, entries: &[Entry], folder: &str, vector: Span) -> Result<Vec<(Span, Vec<f32>)>, Error> {
        let parameters = entries.iter().filter_map(|entry| match entry.kind {
            Kind::Parameter(place) => Some((entry, place)),
            _ => None,
        });
        let of = |(entry, place): (&Entry, sse_sam_core::memory::Place)| {
            let name = format!("{folder}/{}", entry.name);
            self.tensors.expect(&name, &entry.shape)?;
            Ok((place.of(vector)?, entry.inward(self.tensors.floats(&name)?)))
        };
        parameters.map(of).collect()
    }
}

fn relative(found: f64, expected: f64) -> f64 {
    (found - expected).abs() / expected.abs()
}
