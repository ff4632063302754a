//! The `resume` command: which checkpoint a run goes on from, and whether it may.

use crate::cli::args::{ResumeArgs, TrainArgs};
use crate::device::layout::Layout;
use crate::error::Error;
use crate::recipe::resolved::Config;
use crate::recipe::settings;
use crate::report::progress;
use crate::run::checkpoint::{Checkpoint, Label, Origin, Stored};
use crate::run::folder::{RunFolder, Saved};
use crate::run::signals::Signals;
use crate::train::start;

/// Where a run goes on.
#[derive(Debug)]
pub struct Resumed {
    /// The newest whole checkpoint.
    pub checkpoint: Checkpoint,
    /// The one to go back to when numbers are no longer finite.
    pub target: Checkpoint,
    /// What the numbers come from so far.
    pub before: Origin,
    /// Epochs that the run was meant to have before.
    pub epochs: Option<u32>,
}

/// The `resume` command.
///
/// # Errors
/// Whatever is wrong with the run's folder, and as the `train` command.
pub fn run(args: &ResumeArgs) -> Result<(), Error> {
    Signals::listen()?;
    let folder = RunFolder::open(&args.run)?;
    let mut options = settings::load(&folder.config())?;
    if let Some(more) = args.epochs {
        if let Some(epochs) = options.epochs.filter(|&epochs| more < epochs) {
            return Err(Error::Usage(format!("--epochs {more} is less than the {epochs} epochs of the run")));
        }
        options.epochs = Some(more);
    }
    options.quiet = args.quiet;
    options.log_format = args.log_format;
    if let Some(data) = &args.data {
        options.data.clone_from(data);
    }
    if let Some(device) = &args.device {
        options.device.device.clone_from(device);
        options.device.recorded = true;
    }
    start::start(&options, Some(folder))
}

/// The newest whole checkpoint of the run, when there is any; damaged ones are reported and set aside.
///
/// # Errors
/// [`Error::Run`] when the run is finished, was made by another version or of other data, its configuration changed, or
/// its checkpoints are lost.
pub fn find(
    folder: &RunFolder,
    layout: &Layout,
    args: &TrainArgs,
    config: &Config,
    fingerprint: &str,
) -> Result<Option<Resumed>, Error> {
    if args.fingerprint.as_ref().is_some_and(|before| before != fingerprint) {
        return Err(other_data(folder, args));
    }
    let found = folder.checkpoints()?;
    let Some((stored, place)) = newest(folder, &found)? else {
        return nothing_to_go_on_from(folder, &found).map(|()| None);
    };
    // Who wrote it, of what and with which settings, before what it holds: only then does it have to fit.
    let label = stored.label().map_err(|error| of_run(folder, error))?;
    admit(folder, &label, args, config, fingerprint)?;
    let checkpoint = stored.checkpoint(layout).map_err(|error| of_run(folder, error))?;
    if checkpoint.position.epoch >= config.epochs {
        let error = Error::run(folder.path(), format!("this run is finished after {} epochs", config.epochs));
        return Err(error.with_hint("--epochs with a larger number trains on"));
    }
    let target = target(&found[place..], &checkpoint, layout);
    let epochs = label.settings.get("epochs").and_then(toml::Value::as_integer);
    let epochs = epochs.and_then(|epochs| u32::try_from(epochs).ok());
    Ok(Some(Resumed { checkpoint, target, before: label.origin, epochs }))
}

/// The first of the files that is whole, with its number.
fn newest(folder: &RunFolder, found: &[Saved]) -> Result<Option<(Stored, usize)>, Error> {
    for (number, saved) in found.iter().enumerate() {
        match Stored::read(&saved.path) {
            Ok(stored) => return Ok(Some((stored, number))),
            Err(error @ Error::Weights { .. }) => {
                progress::warn(&format!("warning: {error}; taking the checkpoint before it"));
                folder.set_aside(&saved.path)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A run without a whole checkpoint starts over where nothing is lost by that.
fn nothing_to_go_on_from(folder: &RunFolder, found: &[Saved]) -> Result<(), Error> {
    let what = match (folder.has_metrics(), found.is_empty()) {
        (false, true) => return Ok(()),
        (true, true) => "this run has no checkpoint to go on from, but epochs in metrics.jsonl",
        (_, false) => "every checkpoint of this run is damaged",
    };
    Err(Error::run(folder.path(), what).with_hint(folder.anew("")))
}

/// The checkpoint that the run goes back to when numbers are no longer finite, as it is written down in the newest one.
fn target(found: &[Saved], newest: &Checkpoint, layout: &Layout) -> Checkpoint {
    let epoch = newest.position.target;
    if newest.position.step == 0 && newest.position.epoch == epoch {
        return newest.clone();
    }
    let saved = found.iter().find(|saved| saved.begins(epoch));
    match saved.map(|saved| Checkpoint::read(&saved.path, layout)) {
        Some(Ok((target, _))) => target,
        other => {
            let reason = other.and_then(Result::err).map_or_else(|| "is gone".into(), |error| error.to_string());
            let name = Saved::name(epoch, 0);
            progress::warn(&format!(
                "warning: the checkpoint to go back to, should numbers not stay finite, cannot be read ({name}: {reason}); \
                 it is now the one that the run goes on from"
            ));
            newest.clone()
        }
    }
}

fn other_data(folder: &RunFolder, args: &TrainArgs) -> Error {
    Error::run(folder.path(), format!("the data at {} are not those of this run", args.data))
        .with_hint("--data names another place; a run goes on with the data it began with only")
}

/// A whole checkpoint that cannot be used is a matter of the run, and nobody's damage.
fn of_run(folder: &RunFolder, error: Error) -> Error {
    match error {
        Error::Weights { path, message, hint } => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let path = folder.path().to_owned();
            Error::Run { path, message: format!("checkpoint {name} {message}"), hint }
        }
        other => other,
    }
}

/// Whether a checkpoint is one of this very run.
fn admit(folder: &RunFolder, label: &Label, args: &TrainArgs, config: &Config, fingerprint: &str) -> Result<(), Error> {
    if label.origin.fingerprint != fingerprint {
        return Err(other_data(folder, args));
    }
    let changed = settings::differences(&label.settings, &settings::table(args, config, ""));
    if !changed.is_empty() {
        let message = format!("config.toml has changed since the last checkpoint: {}", changed.join("; "));
        let error = Error::run(folder.path(), message);
        return Err(error.with_hint("put it back, or begin a new run: sse-sam train --config FILE"));
    }
    Ok(())
}
