//! A reference trajectory as its two files have it, checked before it is used: a comparison with less than a case
//! promises would pass and show nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sse_sam_core::{Loss, Method, Model, Row, Schedule, Shape};

use crate::error::Error;
use crate::weights::torch::{Entry, Kind};
use crate::weights::{self, Data, Tensor};

/// Largest `float32_error` of a record: the bound is ten times that, a thousandth of the update at most. What moves the update
/// by more lies outside of it, as a learning rate that is a hundredth off does; a setting with a small share in the update,
/// such as weight decay, may be further off.
const LARGEST_ERROR: f64 = 1e-4;

/// A reference trajectory's description.
#[derive(Debug, Deserialize)]
pub struct Case {
    model: String,
    method: String,
    loss: String,
    pub lr: f64,
    #[serde(default)]
    pub lr_head: Option<f64>,
    pub momentum: f64,
    pub weight_decay: f64,
    #[serde(default)]
    pub nesterov: bool,
    schedule: String,
    pub epochs: u32,
    steps_per_epoch: u32,
    pub steps: u32,
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
    focal_sam_lambda: f64,
    #[serde(default = "one")]
    focal_sam_gamma: f64,
    #[serde(default = "one")]
    pub tail_weight: f64,
    pub class_counts: Vec<u32>,
    pub eta: u32,
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
struct Record {
    float32_error: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl Case {
    /// Reads a description whose every step can be compared.
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
        let Self { steps, epochs, steps_per_epoch, .. } = *self;
        if steps == 0 {
            return Err("steps is 0, so that there is nothing to compare".into());
        }
        if u64::from(steps) > u64::from(epochs) * u64::from(steps_per_epoch) {
            return Err(format!("steps is {steps}, which {epochs} epochs of {steps_per_epoch} steps do not have"));
        }
        let classes = self.class_counts.len();
        if !(1..=Row::CLASSES).contains(&classes) {
            return Err(format!("class_counts must name 1 to {} classes, names {classes}", Row::CLASSES));
        }
        (0..steps).try_for_each(|step| self.float32_error(step).map(drop))
    }

    fn float32_error(&self, step: u32) -> Result<f64, String> {
        let record = self.records.get(step as usize).ok_or(format!("records has none of step {step}"))?;
        let error = record.float32_error.ok_or(format!("the record of step {step} has no float32_error"))?;
        if (0.0..=LARGEST_ERROR).contains(&error) {
            return Ok(error);
        }
        Err(format!(
            "float32_error of step {step} must be in 0..={LARGEST_ERROR:e}, is {error:e}: the bound is ten times that, \
             and a wider one shows nothing"
        ))
    }

    /// The largest relative error of a step's update.
    pub fn bound(&self, step: u32) -> f64 {
        self.float32_error(step).map_or(0.0, |error| f64::max(10.0 * error, 1e-5))
    }

    /// The epoch of a step.
    pub fn epoch(&self, step: u32) -> u32 {
        step / self.steps_per_epoch.max(1)
    }

    /// What is done in each step.
    ///
    /// # Errors
    /// A sentence about a word that means nothing here, or a number out of its range.
    pub fn rule(&self) -> Result<Rule, String> {
        let sentence = |error: sse_sam_core::Error| error.to_string();
        let model = self.model.parse().map_err(|error| format!("model {}: {}", self.model, sentence(error)))?;
        let method = match self.method.as_str() {
            "sgd" => Method::Sgd,
            "sam" => Method::Sam { rho: self.rho },
            "imbsam" => Method::ImbSam { rho: self.rho },
            "ssesam" => Method::SseSam { head_rho: self.head_rho, tail_rho: self.tail_rho, gamma: self.gamma },
            "focalsam" => {
                Method::FocalSam { rho: self.rho, lambda: self.focal_sam_lambda, gamma: self.focal_sam_gamma }
            }
            other => return Err(format!("unknown method {other}")),
        };
        let (loss, class_weights) = loss(&self.loss, self.focal_gamma)?;
        let schedule = match self.schedule.as_str() {
            "constant" => Schedule::Constant,
            "cosine" => Schedule::Cosine,
            other => return Err(format!("unknown schedule {other}")),
        };
        method.groups(0, self.epochs).map_err(sentence)?;
        loss.terms(&self.class_counts, 0).map_err(sentence)?;
        schedule.learning_rate(self.lr, 0, self.epochs, 0).map_err(sentence)?;
        Ok(Rule { model, method, loss, class_weights, schedule })
    }
}

/// The loss of a case by its word, with the constants of all cases, and whether classes have weights.
///
/// # Errors
/// A sentence about a word that means nothing here.
pub fn loss(word: &str, focal_gamma: f64) -> Result<(Loss, bool), String> {
    Ok(match word {
        "ce" => (Loss::CrossEntropy, false),
        "drw" => (Loss::CrossEntropy, true),
        "ldam" => (Loss::Ldam { max_m: 0.5, scale: 30.0 }, false),
        "la" => (Loss::LogitAdjustment { tau: 0.75 }, false),
        "vs" => (Loss::VectorScaling { gamma: 0.05, tau: 0.75 }, false),
        "balanced-softmax" => (Loss::BalancedSoftmax, false),
        "focal" => (Loss::Focal { gamma: focal_gamma }, false),
        other => return Err(format!("unknown loss {other}")),
    })
}

/// What a description says in the core's terms.
pub struct Rule {
    pub model: Model,
    pub method: Method,
    pub loss: Loss,
    pub class_weights: bool,
    pub schedule: Schedule<'static>,
}

/// A reference trajectory's numbers, by name.
pub struct Tensors {
    path: PathBuf,
    map: BTreeMap<String, Tensor>,
}

impl Tensors {
    /// # Errors
    /// As [`weights::read`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let (list, _) = weights::read(path)?;
        Ok(Self { path: path.to_owned(), map: list.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect() })
    }

    fn refuse<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::weights(&self.path, message))
    }

    fn get(&self, name: &str) -> Result<&Tensor, Error> {
        self.map.get(name).map_or_else(|| self.refuse(format!("{name} is missing")), Ok)
    }

    /// The numbers of a tensor, all of them finite.
    ///
    /// # Errors
    /// [`Error::Weights`] when it is missing, of another type, or not finite.
    pub fn floats(&self, name: &str) -> Result<&[f32], Error> {
        let tensor = self.get(name)?;
        match &tensor.data {
            Data::F32(_) if !tensor.is_finite() => self.refuse(format!("{name} holds a number that is not finite")),
            Data::F32(values) => Ok(values),
            Data::I64(_) => self.refuse(format!("{name} must hold numbers of type F32")),
        }
    }

    /// The labels of a step's batch.
    ///
    /// # Errors
    /// [`Error::Weights`] when they are missing, of another type, or no classes.
    pub fn labels(&self, step: u32, classes: usize) -> Result<Vec<u32>, Error> {
        let name = format!("batch{step}/labels");
        let Data::I64(labels) = &self.get(&name)?.data else {
            return self.refuse(format!("{name} must hold numbers of type I64"));
        };
        let class = |&label: &i64| match u32::try_from(label) {
            Ok(class) if (class as usize) < classes => Ok(class),
            _ => self.refuse(format!("{name} holds {label}, which is not below {classes}")),
        };
        labels.iter().map(class).collect()
    }

    /// The shape of an image, and the largest batch: every step has one, of images and as many labels.
    ///
    /// # Errors
    /// [`Error::Weights`] when a step's images or labels are missing, empty, or unlike the others.
    pub fn batches(&self, case: &Case) -> Result<(Shape, usize), Error> {
        let (mut first, mut largest) = (None, 0);
        for step in 0..case.steps {
            let (image, rows) = self.batch(step)?;
            if *first.get_or_insert(image) != image {
                return self.refuse(format!("batch{step}/images holds images of another size than batch0/images"));
            }
            self.labels(step, case.class_counts.len())?;
            largest = largest.max(rows);
        }
        first.map_or_else(|| self.refuse("there is no batch"), |image| Ok((image, largest)))
    }

    /// The shape of an image of a step's batch, and how many there are, with as many labels.
    ///
    /// # Errors
    /// [`Error::Weights`] when images or labels are missing or empty.
    pub fn batch(&self, step: u32) -> Result<(Shape, usize), Error> {
        let name = format!("batch{step}/images");
        self.floats(&name)?;
        let [rows, channels, height, width] = *self.get(&name)?.shape.as_slice() else {
            return self.refuse(format!("{name} must have four dimensions"));
        };
        let image = Shape::new(height, width, channels);
        if rows == 0 || image.is_empty() {
            return self.refuse(format!("{name} is empty: its shape is {:?}", [rows, channels, height, width]));
        }
        self.expect(&format!("batch{step}/labels"), &[rows])?;
        Ok((image, rows))
    }

    /// Whether there are tensors below this folder.
    pub fn has(&self, folder: &str) -> bool {
        self.map.keys().any(|name| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    }

    /// Refuses a reference that lacks a tensor of the network in one of these folders; in all but `init` those of parameters
    /// are looked for alone.
    ///
    /// # Errors
    /// [`Error::Weights`], which names the tensor.
    pub fn expect_all(&self, folders: &[&str], entries: &[Entry]) -> Result<(), Error> {
        for folder in folders {
            let is_wanted = |entry: &&Entry| *folder == "init" || matches!(entry.kind, Kind::Parameter(_));
            for entry in entries.iter().filter(is_wanted) {
                let name = format!("{folder}/{}", entry.name);
                self.expect(&name, &entry.shape)?;
                self.floats(&name)?;
            }
        }
        Ok(())
    }

    /// Refuses a reference that does not hold what is compared: every tensor in the model's shape, and a norm to
    /// measure an error by.
    ///
    /// # Errors
    /// [`Error::Weights`], which names the tensor or the step.
    pub fn check(&self, case: &Case, entries: &[Entry]) -> Result<(), Error> {
        let tensor = |folder: &str, entry: &Entry| {
            let name = format!("{folder}/{}", entry.name);
            self.expect(&name, &entry.shape)?;
            self.floats(&name)
        };
        for entry in entries {
            tensor("init", entry)?;
        }
        for step in 0..case.steps {
            let mut moved = false;
            for entry in entries.iter().filter(|entry| matches!(entry.kind, Kind::Parameter(_))) {
                moved |= tensor(&format!("step{step}"), entry)? != tensor("init", entry)?;
            }
            if !moved {
                return self.refuse(format!(
                    "step {step} ends where init began, so that there is no update to measure an error by"
                ));
            }
        }
        for entry in entries.iter().filter(|entry| matches!(entry.kind, Kind::Running(_))) {
            if tensor("final", entry)?.iter().all(|&value| value == 0.0) {
                let name = &entry.name;
                return self.refuse(format!("final/{name} is zero, so that there is no norm to measure an error by"));
            }
        }
        Ok(())
    }

    /// Refuses a tensor of another shape.
    ///
    /// # Errors
    /// [`Error::Weights`] when it is missing or has another shape.
    pub fn expect(&self, name: &str, expected: &[usize]) -> Result<(), Error> {
        let found = &self.get(name)?.shape;
        if found == expected {
            return Ok(());
        }
        self.refuse(format!("{name} must have shape {expected:?}, has {found:?}"))
    }
}
