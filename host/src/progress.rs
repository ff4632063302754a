//! What a run prints and logs.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sse_sam_core::Method;
use sse_sam_core::classes::is_tail;

use crate::config::Config;
use crate::data::Dataset;
use crate::device::Device;
use crate::error::Error;
use crate::metrics::Accuracy;
use crate::state::Description;

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
    /// Test accuracies in percent.
    pub accuracy: &'a Accuracy,
}

/// Prints a line. A reader who has gone away is no reason to stop.
///
/// # Errors
/// [`Error::Io`] when the standard output cannot be written for another reason.
pub fn say(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("standard output", error)),
        _ => Ok(()),
    }
}

/// Says something on standard error; when nobody can hear it, that is no reason to stop.
pub fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "sse-sam: {text}");
}

/// A method's name on the command line.
pub fn method(method: &Method) -> &'static str {
    match method {
        Method::Sgd => "sgd",
        Method::Sam { .. } => "sam",
        Method::ImbSam { .. } => "imbsam",
        Method::SseSam { .. } => "sse-sam",
    }
}

/// What a run is about, in two lines.
pub fn headline(
    config: &Config,
    description: &Description,
    dataset: &Dataset,
    device: &Device,
    staged: bool,
) -> String {
    let counts = &description.counts;
    let tail = counts.iter().filter(|&&count| is_tail(count, config.eta)).count();
    let (largest, smallest) = (counts.iter().max().unwrap_or(&0), counts.iter().min().unwrap_or(&0));
    format!(
        "{}: {} training images in {} classes of {largest} to {smallest} ({} head, {tail} tail at eta {}), {} test images\n\
         {} by {}, {} epochs, batch {}, on {}{}\n",
        dataset.name,
        dataset.train.len(),
        counts.len(),
        counts.len() - tail,
        config.eta,
        dataset.test.len(),
        config.model,
        method(&config.method),
        config.epochs,
        config.batch,
        device.name(),
        if staged { ", data staged batch by batch" } else { "" },
    )
}

/// A bar on a terminal; nothing elsewhere.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    images: u64,
    epochs: u32,
}

impl Progress {
    /// A bar over all images of all epochs, unless it is to be `quiet`.
    pub fn new(config: &Config, images: usize, quiet: bool) -> Self {
        let images = images as u64;
        let bar = if io::stderr().is_terminal() && !quiet {
            ProgressBar::new(images * u64::from(config.epochs))
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}  {per_sec:.0}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        Self { bar, images, epochs: config.epochs }
    }

    /// An epoch begins.
    pub fn start(&self, epoch: u32, stage: u32) {
        self.bar.set_position(self.images * u64::from(epoch));
        self.bar.set_prefix(format!("epoch {}/{} stage {stage}", epoch + 1, self.epochs));
        self.bar.reset_eta();
    }

    /// So many images of the epoch are done.
    pub fn advance(&self, epoch: u32, images: usize, loss: f64) {
        self.bar.set_position(self.images * u64::from(epoch) + images as u64);
        self.bar.set_message(format!("loss {loss:.4}"));
    }

    /// An epoch was evaluated.
    pub fn evaluated(&self, epoch: u32, accuracy: &Accuracy) {
        let Accuracy { overall, balanced, .. } = accuracy;
        self.bar.println(format!("epoch {epoch}: overall {overall:.2} %, balanced {balanced:.2} %"));
    }

    /// Something worth a line happened.
    pub fn note(&self, text: &str) {
        self.bar.println(text);
    }

    /// The run is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
