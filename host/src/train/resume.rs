//! Which checkpoint a run goes on from, and whether it may.

use crate::device::layout::Layout;
use crate::error::Error;
use crate::recipe::{Options, Recipe, file};
use crate::report::Observer;
use crate::run::checkpoint::{Checkpoint, Label, Stored};
use crate::run::folder::{RunFolder, Saved};
use crate::run::origin::Origin;
use crate::train::place::Placed;
use crate::train::prepare::Prepared;

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

impl Resumed {
    /// What may change bits from here on: another device, driver or kernels than the run had before.
    pub fn what_device_changes(&self, now: &Origin) -> Option<String> {
        let before = &self.before;
        if before.is_like(now) {
            return None;
        }
        let change = if before.device == now.device {
            format!("driver or kernels of {} are not those that this run began with", now.device)
        } else {
            format!("this run was on {} and goes on on {}", before.device, now.device)
        };
        Some(format!("warning: {change}; bits may differ from here"))
    }

    /// Schedule and stages follow the number of epochs: where that has grown, the next epoch is another one than was meant.
    ///
    /// # Errors
    /// [`Error::Core`] when the schedule does not take its numbers.
    pub fn what_more_epochs_change(&self, recipe: &Recipe) -> Result<Option<String>, Error> {
        let position = &self.checkpoint.position;
        let Some(before) = self.epochs.filter(|&before| before != recipe.epochs) else { return Ok(None) };
        // An epoch that has begun is finished as it was meant.
        let next = position.epoch + u32::from(position.step > 0);
        let Some(last) = next.checked_sub(1) else { return Ok(None) };
        let halved = 0.5_f64.powi(position.rollbacks as i32);
        let rate = |epoch, epochs| Ok::<_, Error>(recipe.rates.over(epochs).at(epoch)? * halved);
        let (then, now) = (rate(last, before)?, rate(next, recipe.epochs)?);
        let mut text = format!(
            "with {} epochs instead of {before} the learning rate is {now:.6} in epoch {next}, after {then:.6} in epoch {last}",
            recipe.epochs
        );
        let (was, is) = (recipe.method.stage(last, before), recipe.method.stage(next, recipe.epochs));
        if was != is {
            text += &format!(", and stage {is} follows stage {was}");
        }
        Ok(Some(text))
    }
}

/// The newest whole checkpoint of the run, when there is any; damaged ones are reported and set aside.
///
/// # Errors
/// [`Error::Run`] when the run is finished, was made by another version or of other data, its configuration changed, or
/// its checkpoints are lost.
pub fn find(
    folder: &RunFolder,
    placed: &Placed<'_>,
    expected: Option<&str>,
    observer: &dyn Observer,
) -> Result<Option<Resumed>, Error> {
    let (prepared, layout) = (placed.prepared, &placed.layout);
    if expected.is_some_and(|before| before != prepared.fingerprint) {
        return Err(other_data(folder, &prepared.recipe));
    }
    let found = folder.checkpoints()?;
    let Some((stored, place)) = newest(folder, &found, observer)? else {
        return nothing_to_go_on_from(folder, &found).map(|()| None);
    };
    // Who wrote it, of what and with which settings, before what it holds: only then does it have to fit.
    let label = stored.label().map_err(|error| of_run(folder, error))?;
    admit(folder, &label, prepared)?;
    let checkpoint = stored.checkpoint(layout).map_err(|error| of_run(folder, error))?;
    if checkpoint.position.is_over(prepared.recipe.epochs, prepared.recipe.patience) {
        let all = checkpoint.position.epoch;
        let error = Error::run(folder.path(), format!("this run is finished after {all} epochs"));
        let stopped = "it has stopped early: sse-sam train with a larger --patience begins one that waits longer";
        let hint = if all < prepared.recipe.epochs { stopped } else { "--epochs with a larger number trains on" };
        return Err(error.with_hint(hint));
    }
    let target = target(&found[place..], &checkpoint, layout, observer);
    let epochs = label.settings.get("epochs").and_then(toml::Value::as_integer);
    let epochs = epochs.and_then(|epochs| u32::try_from(epochs).ok());
    Ok(Some(Resumed { checkpoint, target, before: label.origin, epochs }))
}

/// The first of the files that is whole, with its number.
fn newest(folder: &RunFolder, found: &[Saved], observer: &dyn Observer) -> Result<Option<(Stored, usize)>, Error> {
    for (number, saved) in found.iter().enumerate() {
        match Stored::read(&saved.path) {
            Ok(stored) => return Ok(Some((stored, number))),
            Err(error @ Error::Weights { .. }) => {
                observer.warn(&format!("warning: {error}; taking the checkpoint before it"));
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
fn target(found: &[Saved], newest: &Checkpoint, layout: &Layout, observer: &dyn Observer) -> Checkpoint {
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
            observer.warn(&format!(
                "warning: the checkpoint to go back to, should numbers not stay finite, cannot be read ({name}: {reason}); \
                 it is now the one that the run goes on from"
            ));
            newest.clone()
        }
    }
}

fn other_data(folder: &RunFolder, recipe: &Recipe) -> Error {
    Error::run(folder.path(), format!("the data at {} are not those of this run", recipe.data))
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
fn admit(folder: &RunFolder, label: &Label, prepared: &Prepared) -> Result<(), Error> {
    if label.origin.fingerprint != prepared.fingerprint {
        return Err(other_data(folder, &prepared.recipe));
    }
    let changed = file::differences(&label.settings, &Options::from(&prepared.recipe).table()?);
    if !changed.is_empty() {
        let message = format!("config.toml has changed since the last checkpoint: {}", changed.join("; "));
        let error = Error::run(folder.path(), message);
        return Err(error.with_hint("put it back, or begin a new run: sse-sam train --config FILE"));
    }
    Ok(())
}
