//! A run's folder as numbers: what it was told to do, what it measured, what became of it.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::error::Error;
use crate::recipe::{Options, file, resolved};
use crate::report::Observer;
use crate::report::metrics::Accuracy;
use crate::run::folder;
use crate::run::state::State;
use crate::shown::{self, shown};

/// A run that was read.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its settings by name, defaults included.
    pub settings: Table,
    /// What its numbers come from.
    pub origin: Provenance,
    /// Its seed.
    pub seed: u64,
    /// Epochs that it was meant to have.
    pub epochs: u32,
    /// After how many epochs without a better one it stops, where it does.
    pub patience: Option<u32>,
    /// Stages that its method has in so many epochs: 1 or 2.
    pub stages: u32,
    /// What became of it.
    pub state: State,
    /// A line an epoch, as far as it has got.
    pub lines: Vec<Line>,
    /// What it took.
    pub cost: Cost,
}

/// Where the numbers of a run come from, whichever version of the program made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Program and version.
    pub program: String,
    /// The device.
    pub device: String,
    /// The fingerprint of its data.
    pub fingerprint: String,
}

/// An epoch, as `metrics.jsonl` has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Line {
    /// Its number, from 0.
    pub epoch: u32,
    /// 1 or 2.
    pub stage: u32,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Its mean training loss.
    pub loss: Option<f64>,
    /// The head's share, where head and tail are groups of their own.
    pub loss_head: Option<f64>,
    /// The tail's share.
    pub loss_tail: Option<f64>,
    /// What was measured on the test set.
    pub accuracy: Accuracy,
    /// What was measured on the validation set, where there is one.
    pub validation: Option<Accuracy>,
}

/// A number of an [`Accuracy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Share of all samples.
    Overall,
    /// Mean over classes.
    Balanced,
    /// Mean over many-shot classes.
    Many,
    /// Mean over medium-shot classes.
    Medium,
    /// Mean over few-shot classes.
    Few,
    /// The class with the lowest.
    Worst,
    /// Share of samples whose label is among the five largest logits.
    Top5,
    /// Expected calibration error: the lower the better.
    Ece,
}

impl Measure {
    /// All, in the order of tables.
    pub const ALL: [Self; 8] =
        [Self::Overall, Self::Balanced, Self::Many, Self::Medium, Self::Few, Self::Worst, Self::Top5, Self::Ece];

    /// Its key in files.
    pub fn key(self) -> &'static str {
        match self {
            Self::Overall => "overall",
            Self::Balanced => "balanced",
            Self::Many => "many",
            Self::Medium => "medium",
            Self::Few => "few",
            Self::Worst => "worst",
            Self::Top5 => "top5",
            Self::Ece => "ece",
        }
    }

    /// What a column is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::Worst => "worst class",
            Self::Top5 => "top 5",
            Self::Ece => "ECE",
            other => other.key(),
        }
    }

    /// Its value among what was measured.
    pub fn of(self, measures: &Accuracy) -> Option<f64> {
        match self {
            Self::Overall => Some(measures.overall),
            Self::Balanced => Some(measures.balanced),
            Self::Many => measures.many,
            Self::Medium => measures.medium,
            Self::Few => measures.few,
            Self::Worst => measures.worst.or_else(|| worst(&measures.per_class)),
            Self::Top5 => measures.top5,
            Self::Ece => measures.ece,
        }
    }
}

/// The lowest of the classes that have samples.
fn worst(classes: &[Option<f64>]) -> Option<f64> {
    classes.iter().flatten().copied().min_by(f64::total_cmp)
}

/// Which epoch of a run is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The last one.
    Last,
    /// The one with the largest balanced accuracy, the first of equals: on the validation set where the run has one, else on
    /// the test set.
    Chosen,
}

/// What an epoch was chosen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChosenOn {
    /// A set that is used for nothing else.
    Validation,
    /// The set that is reported: such a number is too good.
    Test,
}

impl Selection {
    /// Its word in files.
    pub fn key(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Chosen => "chosen",
        }
    }
}

impl ChosenOn {
    /// Its word in files.
    pub fn key(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// As tables have it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Validation => "chosen on validation",
            Self::Test => "chosen on the test set",
        }
    }
}

/// What a run took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Seconds of training by epoch, as far as the log has them; without evaluation and checkpoints.
    pub seconds: BTreeMap<u32, f64>,
    /// Whether it went on in mid-epoch: the seconds of that epoch are those after that.
    pub is_partial: bool,
    /// Forward and backward passes of a batch in a step, and in how many of the epochs that were done, in order.
    pub passes: Vec<([usize; 2], u32)>,
}

impl Cost {
    /// Seconds of all epochs.
    pub fn total(&self) -> f64 {
        self.seconds.values().sum()
    }
}

impl Run {
    /// Reads a run; a file of it stands for its folder.
    ///
    /// # Errors
    /// [`Error::Run`] when there is none, [`Error::Io`] and [`Error::File`] when it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let path = folder::folder_of(path);
        if !folder::is_run(&path) {
            let error = Error::run(&path, "holds no run");
            return Err(error.with_hint("sse-sam runs FOLDER lists the runs of a folder"));
        }
        let (options, origin) = file::read::<Provenance>(&path.join("config.toml"))?;
        let epochs = options.epochs.unwrap_or_default();
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        let name = whole.file_name().map(|name| shown(&name.to_string_lossy()));
        let lines = lines(&path.join("metrics.jsonl"))?;
        let planned = passes(&options)?;
        let mut run = Self {
            name: name.unwrap_or_default(),
            seed: options.seed.unwrap_or_default(),
            settings: options.table()?,
            origin: origin.unwrap_or_default(),
            epochs,
            patience: options.patience.map(NonZero::get),
            stages: planned.iter().map(|phase| phase.stage).max().unwrap_or(1),
            state: State::of(&path, Some(epochs)),
            cost: cost(&path.join("log.txt"), &planned, &lines),
            lines,
            path,
        };
        if run.state == State::Interrupted && run.has_stopped_early() && folder::has_all(&run.path, run.done()) {
            run.state = State::Finished;
        }
        Ok(run)
    }

    /// Lines of epochs that were measured.
    fn done(&self) -> u32 {
        self.lines.len() as u32
    }

    /// Whether `patience` ended it with its last line: so many epochs were not better than the best.
    fn has_stopped_early(&self) -> bool {
        let best = self.line(Selection::Chosen).map(|line| line.epoch);
        best.zip(self.patience).is_some_and(|(best, most)| self.done().checked_sub(best + 1) == Some(most))
    }

    /// What its lines lack of one for each epoch, from 0 to the last, or to where `patience` ended it; None where all are
    /// there.
    pub fn gap(&self) -> Option<String> {
        let place = (0..).zip(&self.lines).position(|(number, line)| line.epoch != number);
        let Some(place) = place else {
            let (done, all) = (self.done(), self.epochs);
            let is_whole = done > 0 && (done == all || done < all && self.has_stopped_early());
            return (!is_whole).then(|| format!("metrics.jsonl has {done} of {all} epochs"));
        };
        let epoch = self.lines[place].epoch;
        if self.lines[..place].iter().any(|line| line.epoch == epoch) {
            return Some(format!("metrics.jsonl has epoch {epoch} twice"));
        }
        Some(format!("metrics.jsonl has {} of {} epochs", self.done(), self.epochs))
    }

    /// Whether it has measured all that it was to measure.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished && self.gap().is_none()
    }

    /// Whether it ended before the second stage of its method began.
    pub fn has_missed_a_stage(&self) -> bool {
        self.lines.iter().all(|line| line.stage < self.stages)
    }

    /// What its epoch was chosen on; before its first epoch, what it is to be chosen on.
    pub fn chosen_on(&self) -> ChosenOn {
        let is_apart = match &self.lines[..] {
            [] => self.settings.contains_key("validation"),
            lines => lines.iter().any(|line| line.validation.is_some()),
        };
        if is_apart { ChosenOn::Validation } else { ChosenOn::Test }
    }

    /// The epoch that is looked at.
    pub fn line(&self, selection: Selection) -> Option<&Line> {
        let balanced = |line: &Line| match self.chosen_on() {
            ChosenOn::Validation => line.validation.as_ref().map(|validation| validation.balanced),
            ChosenOn::Test => Some(line.accuracy.balanced),
        };
        match selection {
            Selection::Last => self.lines.last(),
            // The last of the largest from the end is the first of them.
            Selection::Chosen => {
                let known = self.lines.iter().rev().filter_map(|line| Some((line, balanced(line)?)));
                known.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(line, _)| line)
            }
        }
    }
}

/// The runs that paths stand for: runs themselves, or those that lie in a folder, by name. What looks like one there and
/// is none is warned of.
///
/// # Errors
/// [`Error::Run`] where there is none, else as [`Run::read`].
pub fn all(paths: &[PathBuf], observer: &dyn Observer) -> Result<Vec<Run>, Error> {
    let read = |run: &Path| {
        let hint = format!("remove {}, or name the other runs", shown::word(run));
        Run::read(run).map_err(|error| damaged(error, run, &hint))
    };
    let mut runs = Vec::new();
    for path in paths {
        let run = folder::folder_of(path);
        if folder::is_run(&run) {
            runs.push(read(&run)?);
            continue;
        }
        if !path.is_dir() {
            runs.push(Run::read(path)?);
            continue;
        }
        strangers(path)?.iter().for_each(|text| observer.warn(&format!("warning: {text}")));
        let found = inside(path)?;
        if found.is_empty() {
            let error = Error::run(path, "holds no runs");
            return Err(error.with_hint("a comparison takes folders of runs, or a folder that such folders lie in"));
        }
        runs.extend(found.iter().map(|path| read(path)).collect::<Result<Vec<_>, Error>>()?);
    }
    Ok(runs)
}

/// The runs that lie in a folder, by name.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn inside(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = entries(folder)?;
    found.retain(|path| folder::is_run(path));
    Ok(found)
}

/// What lies in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.map_err(|source| Error::io(folder, source))?;
    let mut found: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    found.sort();
    Ok(found)
}

/// A sentence for each folder that has what a run writes, but no configuration of one.
fn strangers(folder: &Path) -> Result<Vec<String>, Error> {
    let has_files = |path: &&PathBuf| ["metrics.jsonl", "checkpoints"].iter().any(|name| path.join(name).exists());
    let sentence = |path: &PathBuf| {
        let config = path.join("config.toml").exists();
        let lacks = if config { "its config.toml has no [run]" } else { "has no config.toml" };
        format!("{} looks like a run, but {lacks}: it is left out", shown::path(path))
    };
    let found = entries(folder)?;
    Ok(found.iter().filter(|path| !folder::is_run(path)).filter(has_files).map(sentence).collect())
}

/// What is wrong with a file of a run, with this as the next move; other errors as they are.
pub(crate) fn damaged(error: Error, run: &Path, hint: &str) -> Error {
    match error {
        // A setting that no option takes: no matter of this call's options.
        Error::Usage(message) => {
            let config = run.join("config.toml");
            let reason = message.strip_prefix(&format!("{}: ", config.display())).unwrap_or(&message);
            Error::file(&config, reason).with_hint(hint)
        }
        Error::Core(core) => Error::run(run, core.to_string()).with_hint(hint),
        Error::Run { ref path, .. } | Error::File { ref path, .. } | Error::Weights { ref path, .. }
            if path.starts_with(run) =>
        {
            error.with_hint(hint)
        }
        other => other,
    }
}

/// The arm that the comparison in one of these folders was written with as the baseline.
pub fn baselines(folders: &[PathBuf]) -> impl Iterator<Item = String> {
    folders.iter().filter_map(|folder| {
        let text = fs::read_to_string(folder.join("comparison.json")).ok()?;
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(value.get("baseline")?.as_str()?.to_owned())
    })
}

/// The lines of `metrics.jsonl`. A last line without an end is still being written.
fn lines(path: &Path) -> Result<Vec<Line>, Error> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|source| Error::io(path, source))?,
    };
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let line = |(number, line): (usize, &str)| {
        let unreadable = |error: serde_json::Error| Error::file(path, format!("line {}: {error}", number + 1));
        serde_json::from_str(line).map_err(unreadable)
    };
    whole.enumerate().map(line).collect()
}

/// What the log says of time, and the method of the passes in the epochs that were done.
fn cost(log: &Path, planned: &[Phase], lines: &[Line]) -> Cost {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut cost = Cost::default();
    for line in lines {
        // A run that was given more epochs later did some of them in another stage than it would now.
        let Some(phase) = planned.iter().find(|phase| phase.stage == line.stage) else { continue };
        match cost.passes.last_mut() {
            Some((before, count)) if *before == phase.passes => *count += 1,
            _ => cost.passes.push((phase.passes, 1)),
        }
    }
    for line in text.lines().filter_map(|line| line.split_once(' ')).map(|(_, text)| text) {
        if let Some((epoch, seconds)) = trained(line) {
            // What was trained again, after a rollback or a kill, counts once.
            cost.seconds.insert(epoch, seconds);
        } else if line.starts_with("training from epoch") && !line.contains(", step 0 ") {
            cost.is_partial = true;
        }
    }
    cost
}

/// The epoch and its seconds of `epoch N: trained S s, ...`.
fn trained(line: &str) -> Option<(u32, f64)> {
    let (epoch, rest) = line.strip_prefix("epoch ")?.split_once(": trained ")?;
    Some((epoch.parse().ok()?, rest.split_once(" s")?.0.parse().ok()?))
}

/// Epochs of one stage as they are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// 1 or 2.
    pub stage: u32,
    /// Forward and backward passes of a batch in a step.
    pub passes: [usize; 2],
    /// Epochs.
    pub epochs: u32,
}

/// The stages of a run of these options.
pub(crate) fn passes(options: &Options) -> Result<Vec<Phase>, Error> {
    let (method, epochs) = (resolved::method(options), options.epochs.unwrap_or_default());
    let mut found: Vec<Phase> = Vec::new();
    for epoch in 0..epochs {
        let stage = method.stage(epoch, epochs);
        if let Some(phase) = found.last_mut().filter(|phase| phase.stage == stage) {
            phase.epochs += 1;
            continue;
        }
        let demand = sse_sam_core::Demand {
            groups: method.groups(epoch, epochs)?,
            economy: options.memory.unwrap_or_default().economy(),
            pieces: options.micro_batch.is_some(),
        };
        found.push(Phase { stage, passes: demand.passes(method.has_tail()), epochs: 1 });
    }
    Ok(found)
}
