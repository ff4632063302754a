//! The `resume` command: which checkpoint a run goes on from, and whether it may.

use crate::args::{ResumeArgs, TrainArgs};
use crate::checkpoint::{Checkpoint, Label, Origin};
use crate::config::Config;
use crate::error::Error;
use crate::layout::Layout;
use crate::progress;
use crate::run::{RunFolder, ends_epoch};
use crate::settings;
use crate::train;

/// Where a run goes on.
#[derive(Debug)]
pub struct Resumed {
    /// The newest whole checkpoint.
    pub checkpoint: Checkpoint,
    /// The newest whole one at the end of an epoch, which a rollback goes back to.
    pub target: Option<Checkpoint>,
    /// What the numbers come from so far.
    pub before: Origin,
}

/// The `resume` command.
///
/// # Errors
/// Whatever is wrong with the run's folder, and as the `train` command.
pub fn run(args: &ResumeArgs) -> Result<(), Error> {
    let folder = RunFolder::open(&args.run)?;
    let mut options = settings::load(&folder.config())?;
    if let (Some(more), Some(epochs)) = (args.epochs, options.epochs) {
        if more < epochs {
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
        // The CPU core, which can always take over, has no tiles.
        options.device.tiles = options.device.tiles.filter(|_| device != "cpu");
    }
    train::start(&options, Some(folder))
}

/// The newest whole checkpoint of the run, when there is any; damaged ones are reported and set aside.
///
/// # Errors
/// [`Error::Run`] when the run is finished, was made by another version or of other data, or its configuration changed.
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
    let Some((checkpoint, label, number)) = newest(folder, layout, &found)? else {
        if found.is_empty() {
            return Ok(None);
        }
        let error = Error::run(folder.path(), "every checkpoint of this run is damaged");
        return Err(error.with_hint("resuming once more starts it over"));
    };
    admit(folder, &label, args, config, fingerprint)?;
    if checkpoint.position.epoch >= config.epochs {
        let error = Error::run(folder.path(), format!("this run is finished after {} epochs", config.epochs));
        return Err(error.with_hint("--epochs with a larger number trains on"));
    }
    let mut ends = found[number..].iter().filter(|path| ends_epoch(path));
    let target = ends.find_map(|path| Checkpoint::read(path, layout).ok()).map(|(target, _)| target);
    Ok(Some(Resumed { checkpoint, target, before: label.origin }))
}

/// The first of the files that is whole, with its number.
fn newest(
    folder: &RunFolder,
    layout: &Layout,
    found: &[std::path::PathBuf],
) -> Result<Option<(Checkpoint, Label, usize)>, Error> {
    for (number, path) in found.iter().enumerate() {
        match Checkpoint::read(path, layout) {
            Ok((checkpoint, label)) => return Ok(Some((checkpoint, label, number))),
            Err(error @ Error::Weights { .. }) => {
                progress::warn(&format!("warning: {error}; taking the checkpoint before it"));
                folder.set_aside(path)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn other_data(folder: &RunFolder, args: &TrainArgs) -> Error {
    Error::run(folder.path(), format!("the data at {} are not those of this run", args.data))
        .with_hint("--data names another place; a run goes on with the data it began with only")
}

/// Whether a checkpoint is one of this very run.
fn admit(folder: &RunFolder, label: &Label, args: &TrainArgs, config: &Config, fingerprint: &str) -> Result<(), Error> {
    let refuse = |message: String, hint: &str| Err(Error::run(folder.path(), message).with_hint(hint));
    if !label.origin.is_ours() {
        let program = &label.origin.program;
        return refuse(format!("this run was made by {program}"), "resume it with that version, or start a new run");
    }
    if label.origin.fingerprint != fingerprint {
        return Err(other_data(folder, args));
    }
    let changed = settings::differences(&label.settings, &settings::table(args, config, ""));
    if !changed.is_empty() {
        let message = format!("config.toml has changed since the last checkpoint: {}", changed.join("; "));
        return refuse(message, "put it back, or begin a new run: sse-sam train --config FILE");
    }
    Ok(())
}
