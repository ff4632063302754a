//! Events of a training, and the observers that receive them.

use serde::{Serialize, Serializer};

use crate::report::metrics::Accuracy;

/// Receives the events of a training: a terminal, a program that reads lines, a test. Any function of an event is one.
///
/// Called from the thread that trains, and from the one that writes checkpoints.
pub trait Observer: Sync {
    /// Something has happened.
    fn observe(&self, event: &Event<'_>);

    /// Warns; the training goes on.
    fn warn(&self, message: &str) {
        self.observe(&Event::Warning { message });
    }
}

impl<F: Fn(&Event<'_>) + Sync> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

/// Ignores every event.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _: &Event<'_>) {}
}

/// What happens in a training. As JSON it is what `--log-format json` writes: an object a line, its kind under `event`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// Training begins, or goes on.
    Start {
        /// The run's folder, where it has one.
        run: String,
        /// Network.
        model: String,
        /// Method.
        method: String,
        /// The device's name.
        device: &'a str,
        /// Epochs of the whole run.
        epochs: u32,
        /// The epoch it begins with, from 0.
        epoch: u32,
        /// Steps of that epoch that are done.
        step: u32,
        /// Training images of an epoch.
        #[serde(skip)]
        images: u64,
    },
    /// The steps of an epoch begin, or go on. Programs see it by the first progress.
    #[serde(skip)]
    Epoch {
        /// Number of the epoch, from 0.
        epoch: u32,
        /// 1 or 2.
        stage: u32,
        /// Images of it that were trained on before.
        images: u64,
    },
    /// Another stage begins.
    Stage {
        /// With this epoch.
        epoch: u32,
        /// 1 or 2.
        stage: u32,
        /// The same as a sentence.
        #[serde(skip)]
        message: &'a str,
    },
    /// How far an epoch is.
    Progress(Advance),
    /// An epoch was evaluated.
    #[serde(rename = "epoch")]
    Evaluated {
        /// Training images a second.
        images_per_second: f64,
        /// Until the last epoch's end, by the pace so far.
        #[serde(skip)]
        seconds_left: f64,
        /// Its line of `metrics.jsonl`; as JSON without the accuracies of single classes where there are too many.
        #[serde(flatten, serialize_with = "brief")]
        line: &'a Line<'a>,
    },
    /// A checkpoint lies whole on the disk.
    Checkpoint {
        /// The file.
        path: String,
    },
    /// How far a group's spectrum is.
    #[serde(skip)]
    Measuring {
        /// The group.
        group: &'a str,
        /// Products that are done.
        done: u64,
        /// Of how many.
        all: u64,
    },
    /// A warning: the training goes on.
    Warning {
        /// A sentence.
        message: &'a str,
    },
    /// The same, but for those who want to be told of warnings and errors only.
    #[serde(rename = "warning")]
    Notice {
        /// A sentence.
        message: &'a str,
    },
    /// A run of several has failed; the others go on.
    Failed {
        /// What ended it.
        message: String,
        /// What to do then.
        hint: Option<String>,
    },
    /// The last line of all.
    End {
        /// That of the process.
        exit_code: u8,
        /// What ended it too early.
        message: Option<String>,
        /// What to do then.
        hint: Option<String>,
    },
}

/// How far an epoch is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Advance {
    /// The epoch, from 0.
    pub epoch: u32,
    /// Images of it that were trained on.
    pub images: u64,
    /// Rate of the epoch.
    pub learning_rate: f64,
    /// Its mean training loss so far.
    pub loss: f64,
    /// The head's share of it, where head and tail are groups of their own.
    pub loss_head: Option<f64>,
    /// The tail's share of it.
    pub loss_tail: Option<f64>,
    /// Until the last epoch's end, by the pace so far.
    pub seconds_left: f64,
}

/// A line as programs are told it.
fn brief<S: Serializer>(line: &&Line<'_>, to: S) -> Result<S::Ok, S::Error> {
    let validation = line.validation.map(Accuracy::brief);
    Line { accuracy: &line.accuracy.brief(), validation: validation.as_ref(), ..**line }.serialize(to)
}

/// One line of `metrics.jsonl`: an epoch. Equal runs give equal lines: no wall-clock time is in it.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// Number of the epoch, from 0.
    pub epoch: u32,
    /// 1 or 2.
    pub stage: u32,
    /// Rate of the epoch.
    pub learning_rate: f64,
    /// Mean training loss at the parameters, class and tail weights included.
    pub loss: f64,
    /// The head's share of it, where head and tail are groups of their own.
    pub loss_head: Option<f64>,
    /// The tail's share of it.
    pub loss_tail: Option<f64>,
    /// The head's share at its perturbed point, where it has one.
    pub perturbed_loss_head: Option<f64>,
    /// The tail's share at its perturbed point, where it has one.
    pub perturbed_loss_tail: Option<f64>,
    /// Mean norm of the gradient that the update used, where it has a vector of its own.
    pub gradient_norm: Option<f64>,
    /// Mean norm of the velocity, where gradients are added to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub velocity_norm: Option<f64>,
    /// Mean norm of the head's gradient at the parameters, 0 in a step without its samples, where it is perturbed.
    pub gradient_norm_head: Option<f64>,
    /// Mean norm of the tail's.
    pub gradient_norm_tail: Option<f64>,
    /// Test accuracies in percent.
    pub accuracy: &'a Accuracy,
    /// The same of the validation set, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<&'a Accuracy>,
}
