//! How far a training is: a bar on a terminal, elsewhere a line an epoch.

use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use indicatif::{FormattedDuration, HumanCount, ProgressBar, ProgressState, ProgressStyle};

use crate::report::metrics::Accuracy;
use crate::report::observer::{Advance, Event};

/// A bar on a terminal, elsewhere lines on standard error.
#[derive(Debug)]
pub struct Progress {
    /// None where standard error is no terminal.
    bar: Option<ProgressBar>,
    images: u64,
    epochs: u32,
}

impl Progress {
    /// A bar over all images of all epochs.
    pub fn new(epochs: u32, images: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| ProgressBar::new(images * u64::from(epochs)));
        if let Some(bar) = &bar {
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}  {rate}  {eta} left");
            let rate = |state: &ProgressState, to: &mut dyn fmt::Write| {
                let _ = to.write_str(&rate(state.per_sec()));
            };
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate);
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, images, epochs }
    }

    /// A bar over the products of a spectrum.
    pub fn of_products() -> Self {
        let bar = io::stderr().is_terminal().then(|| ProgressBar::new(0));
        if let Some(bar) = &bar {
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos} of {len} products  {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        }
        Self { bar, images: 0, epochs: 0 }
    }

    /// Shows how far a group's spectrum is: on a bar of its own, or beside a training's.
    pub fn measure(&self, group: &str, done: u64, all: u64) {
        let Some(bar) = &self.bar else { return };
        if self.epochs > 0 {
            bar.set_message(format!("spectrum of {group}: {done} of {all} products"));
            return;
        }
        bar.set_length(all);
        bar.set_prefix(format!("spectrum of {group}"));
        bar.set_position(done);
    }

    /// Shows what has happened.
    pub fn show(&self, event: &Event<'_>) {
        match event {
            Event::Epoch { epoch, stage, images } => {
                let Some(bar) = &self.bar else { return };
                bar.set_position(self.images * u64::from(*epoch) + images);
                bar.set_prefix(format!("{} stage {stage}", self.epoch(*epoch)));
                bar.reset_eta();
            }
            Event::Progress(Advance { epoch, images, loss, loss_head, loss_tail, learning_rate, .. }) => {
                let Some(bar) = &self.bar else { return };
                bar.set_position(self.images * u64::from(*epoch) + images);
                bar.set_message(format!("{}  lr {learning_rate:.4}", losses(*loss, *loss_head, *loss_tail)));
            }
            Event::Stage { message, .. } => self.line(message),
            Event::Evaluated { images_per_second, seconds_left, line } => {
                let Accuracy { overall, balanced, .. } = line.accuracy;
                self.line(&format!(
                    "{}: {}, overall {overall:.2} %, balanced {balanced:.2} %, {}, {} left",
                    self.epoch(line.epoch),
                    losses(line.loss, line.loss_head, line.loss_tail),
                    rate(*images_per_second),
                    FormattedDuration(Duration::from_secs_f64(*seconds_left)),
                ));
            }
            _ => {}
        }
    }

    /// The epoch, as `metrics.jsonl` counts, beside what there is.
    fn epoch(&self, epoch: u32) -> String {
        format!("epoch {epoch} of 0..={}", self.epochs.saturating_sub(1))
    }

    /// A line above the bar, or by itself.
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => write(&format!("{text}\n")),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
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

/// Writes to standard error in one call, so that lines of two threads do not mix.
pub fn write(text: &str) {
    // Standard error may be closed: that does not end a run.
    let _ = io::stderr().write_all(text.as_bytes());
}
