//! What a run prints and logs.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{FormattedDuration, HumanCount, ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use sse_sam_core::Shape;
use sse_sam_core::longtail::classes::{Shots, is_tail};

use crate::cli::args::{LogFormat, TrainArgs};
use crate::data::Dataset;
use crate::device::choose::Device;
use crate::error::Error;
use crate::recipe::resolved::Config;
use crate::report::metrics::Accuracy;
use crate::shown::{sentence, shown};
use crate::weights::torch::Description;

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

/// Prints a line about a run. Standard output that cannot be written, such as that of a full disk, ends none.
pub fn tell_people(text: &str) {
    if let Err(error) = say(text) {
        warn(&format!("warning: {error}"));
    }
}

/// Whether standard error gets JSON: a process is told about in one way.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on the run is told in this way.
pub fn tell_as(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// What happens in a run, as `--log-format json` tells it: an object a line, its kind under `event`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// Training begins, or goes on.
    Start {
        /// The run's folder.
        run: String,
        /// Network.
        model: String,
        /// Method.
        method: &'static str,
        /// The device's name.
        device: &'a str,
        /// Epochs of the whole run.
        epochs: u32,
        /// The epoch it begins with, from 0.
        epoch: u32,
        /// Steps of that epoch that are done.
        step: u32,
    },
    /// Another stage begins.
    Stage {
        /// With this epoch.
        epoch: u32,
        /// 1 or 2.
        stage: u32,
    },
    /// How far an epoch is, at most once a second.
    Progress(Advance),
    /// An epoch was evaluated.
    Epoch {
        /// Training images a second.
        images_per_second: f64,
        /// Its line of `metrics.jsonl`.
        #[serde(flatten)]
        line: &'a Line<'a>,
    },
    /// A checkpoint lies whole on the disk.
    Checkpoint {
        /// The file.
        path: String,
    },
    /// Something that does not end the run.
    Warning {
        /// A sentence.
        message: &'a str,
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

/// Tells an event where JSON is wanted, and nothing elsewhere.
pub fn tell(event: &Event<'_>) {
    if JSON.load(Ordering::Relaxed)
        && let Ok(line) = serde_json::to_string(event)
    {
        write(&format!("{line}\n"));
    }
}

/// Writes to standard error in one call, so that lines of two threads do not mix.
fn write(text: &str) {
    // When nobody can hear it, that is no reason to stop.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Says something on standard error.
pub fn warn(text: &str) {
    if JSON.load(Ordering::Relaxed) {
        return tell(&Event::Warning { message: text.trim_start_matches("warning: ") });
    }
    write(&format!("sse-sam: {}\n", sentence(text)));
}

/// The program ends, with this error of a command or with none.
pub fn end(error: Option<&Error>, command: &str) {
    let help = |error: &Error| {
        let usage = matches!(error, Error::Usage(_));
        usage.then(|| format!("sse-sam {command} --help lists its options"))
    };
    let (message, hint) = (error.map(Error::to_string), error.and_then(|error| error.hint().or_else(|| help(error))));
    if let (Some(message), false) = (&message, JSON.load(Ordering::Relaxed)) {
        let hint = hint.map(|hint| format!("\n  hint: {}", shown(&hint))).unwrap_or_default();
        return write(&format!("sse-sam: {message}{hint}\n"));
    }
    tell(&Event::End { exit_code: error.map_or(0, Error::exit_code), message, hint });
}

/// Help, or what is wrong with the words of a command line. Nobody there to read it is no failure.
pub fn told_by_clap(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(error.exit_code() as u8)
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
    let (Shape { height, width, channels }, Shots { many, few }) = (dataset.image, config.shots);
    format!(
        "{}: {} training images in {} classes of {largest} to {smallest} ({} head, {tail} tail at eta {}), {} test images of \
         {height} x {width} x {channels}; many above {many}, few below {few}\n\
         {} by {}, {} epochs, batch {}, on {}{}\n",
        shown(&dataset.name),
        dataset.train.len(),
        counts.len(),
        counts.len() - tail,
        config.eta,
        dataset.test.len(),
        config.model,
        config.method.name(),
        config.epochs,
        config.batch,
        device.name(),
        if staged { ", data staged batch by batch" } else { "" },
    )
}

/// A bar on a terminal, elsewhere a line an epoch, or lines for a program.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    /// Whether lines go to standard error by themselves: there is no bar.
    plain: bool,
    images: u64,
    epochs: u32,
    /// When training began here, and with how many images done.
    begun: Option<(Instant, u64)>,
    told: Option<Instant>,
}

impl Progress {
    /// A bar over all images of all epochs, unless it is to be quiet.
    pub fn new(config: &Config, images: usize, args: &TrainArgs) -> Self {
        let images = images as u64;
        let terminal = io::stderr().is_terminal();
        let bar = if terminal && args.talks() {
            ProgressBar::new(images * u64::from(config.epochs))
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}  {rate}  {eta} left");
        let rate = |state: &ProgressState, to: &mut dyn fmt::Write| {
            let _ = to.write_str(&rate(state.per_sec()));
        };
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate);
        bar.set_style(style.progress_chars("=> "));
        let plain = !terminal && args.talks();
        Self { bar, quiet: args.quiet, plain, images, epochs: config.epochs, begun: None, told: None }
    }

    /// The epoch, as `metrics.jsonl` counts, beside what there is.
    fn epoch(&self, epoch: u32) -> String {
        format!("epoch {epoch} of 0..={}", self.epochs.saturating_sub(1))
    }

    /// A line above the bar, or by itself.
    fn line(&self, text: &str) {
        if self.plain {
            return write(&format!("{text}\n"));
        }
        self.bar.println(text);
    }

    /// An epoch begins, so many images of it done before.
    pub fn start(&mut self, epoch: u32, stage: u32, done: u64) {
        let position = self.images * u64::from(epoch) + done;
        self.begun.get_or_insert_with(|| (Instant::now(), position));
        self.bar.set_position(position);
        self.bar.set_prefix(format!("{} stage {stage}", self.epoch(epoch)));
        self.bar.reset_eta();
    }

    /// Another stage begins.
    pub fn switch(&self, epoch: u32, stage: u32, text: &str) {
        self.line(text);
        self.tell(&Event::Stage { epoch, stage });
    }

    /// Some images of the epoch are done; `seconds_left` is worked out here.
    pub fn advance(&mut self, advance: Advance) {
        let Advance { epoch, images, loss, learning_rate, .. } = advance;
        let position = self.images * u64::from(epoch) + images;
        self.bar.set_position(position);
        let loss = losses(loss, advance.loss_head, advance.loss_tail);
        self.bar.set_message(format!("{loss}  lr {learning_rate:.4}"));
        if self.told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1)) {
            self.told = Some(Instant::now());
            let seconds_left = self.seconds_left(position);
            self.tell(&Event::Progress(Advance { seconds_left, ..advance }));
        }
    }

    fn seconds_left(&self, position: u64) -> f64 {
        let Some((begun, before)) = self.begun else { return 0.0 };
        let left = (self.images * u64::from(self.epochs)).saturating_sub(position);
        begun.elapsed().as_secs_f64() * left as f64 / position.saturating_sub(before).max(1) as f64
    }

    /// An epoch was evaluated.
    pub fn evaluated(&self, line: &Line<'_>, images_per_second: f64) {
        let Accuracy { overall, balanced, .. } = line.accuracy;
        let left = self.seconds_left(self.images * u64::from(line.epoch + 1));
        self.line(&format!(
            "{}: {}, overall {overall:.2} %, balanced {balanced:.2} %, {}, {} left",
            self.epoch(line.epoch),
            losses(line.loss, line.loss_head, line.loss_tail),
            rate(images_per_second),
            FormattedDuration(Duration::from_secs_f64(left)),
        ));
        self.tell(&Event::Epoch { images_per_second, line });
    }

    fn tell(&self, event: &Event<'_>) {
        if !self.quiet {
            tell(event);
        }
    }

    /// The run is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A loss and its shares.
fn losses(loss: f64, head: Option<f64>, tail: Option<f64>) -> String {
    match (head, tail) {
        (Some(head), Some(tail)) => format!("loss {loss:.4} (head {head:.4}, tail {tail:.4})"),
        _ => format!("loss {loss:.4}"),
    }
}

/// A pace: `7,588 images/s`.
fn rate(images_per_second: f64) -> String {
    format!("{} images/s", HumanCount(images_per_second.round() as u64))
}
