//! A run's folder as numbers: what it was told to do, what it measured, what became of it.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::error::Error;
use crate::recipe::{Options, file, resolved};
use crate::run::folder;
use crate::run::state::State;

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
    pub accuracy: Measures,
    /// What was measured on the validation set, where there is one.
    pub validation: Option<Measures>,
}

/// What was measured on a set at the end of an epoch, in percent; None where no class of the kind has samples, or where an
/// older version of the program did not measure it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Measures {
    /// Share of all samples.
    pub overall: Option<f64>,
    /// Mean over classes.
    pub balanced: Option<f64>,
    /// Mean over many-shot classes.
    pub many: Option<f64>,
    /// Mean over medium-shot classes.
    pub medium: Option<f64>,
    /// Mean over few-shot classes.
    pub few: Option<f64>,
    /// The class with the lowest.
    pub worst: Option<f64>,
    /// Share of samples whose label is among the five largest logits.
    pub top5: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
    /// Each class.
    pub per_class: Vec<Option<f64>>,
}

/// One of the [`Measures`].
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
    pub fn of(self, measures: &Measures) -> Option<f64> {
        match self {
            Self::Overall => measures.overall,
            Self::Balanced => measures.balanced,
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
    /// Forward and backward passes of a batch in a step, and in how many epochs, in order.
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
        let name = whole.file_name().map(|name| name.to_string_lossy());
        let mut run = Self {
            name: name.unwrap_or_default().into_owned(),
            seed: options.seed.unwrap_or_default(),
            settings: options.table()?,
            origin: origin.unwrap_or_default(),
            epochs,
            state: State::of(&path, Some(epochs)),
            lines: lines(&path.join("metrics.jsonl"))?,
            cost: cost(&path.join("log.txt"), &options)?,
            path,
        };
        if run.state == State::Interrupted && run.has_stopped_early(options.patience.map(NonZero::get)) {
            run.state = State::Finished;
        }
        Ok(run)
    }

    /// Whether its last checkpoint is one at which `patience` ended it: it was killed before its last line.
    fn has_stopped_early(&self, patience: Option<u32>) -> bool {
        let (done, best) = (self.lines.len() as u32, self.line(Selection::Chosen).map(|line| line.epoch));
        let waited = best.map_or(0, |best| done.saturating_sub(best + 1));
        patience.is_some_and(|most| waited >= most) && folder::has_all(&self.path, done)
    }

    /// Whether it has measured all that it was to measure.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished && !self.lines.is_empty()
    }

    /// What its epoch was chosen on.
    pub fn chosen_on(&self) -> ChosenOn {
        if self.lines.iter().any(|line| line.validation.is_some()) { ChosenOn::Validation } else { ChosenOn::Test }
    }

    /// The epoch that is looked at.
    pub fn line(&self, selection: Selection) -> Option<&Line> {
        let balanced = |line: &Line| match self.chosen_on() {
            ChosenOn::Validation => line.validation.as_ref().and_then(|validation| validation.balanced),
            ChosenOn::Test => line.accuracy.balanced,
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

/// The runs that paths stand for: runs themselves, or those that lie in a folder, by name.
///
/// # Errors
/// [`Error::Run`] where there is none, else as [`Run::read`].
pub fn all(paths: &[PathBuf]) -> Result<Vec<Run>, Error> {
    let mut runs = Vec::new();
    for path in paths {
        if folder::is_run(&folder::folder_of(path)) || !path.is_dir() {
            runs.push(Run::read(path)?);
            continue;
        }
        let found = inside(path)?;
        if found.is_empty() {
            let error = Error::run(path, "holds no runs");
            return Err(error.with_hint("a comparison takes folders of runs, or a folder that such folders lie in"));
        }
        runs.extend(found.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, Error>>()?);
    }
    Ok(runs)
}

/// The runs that lie in a folder, by name.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn inside(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.map_err(|source| Error::io(folder, source))?;
    let mut found: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    found.retain(|path| folder::is_run(path));
    found.sort();
    Ok(found)
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

/// What the log says of time, and the method of passes.
fn cost(log: &Path, options: &Options) -> Result<Cost, Error> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut cost = Cost { passes: passes(options)?, ..Cost::default() };
    for line in text.lines().filter_map(|line| line.split_once(' ')).map(|(_, text)| text) {
        if let Some((epoch, seconds)) = trained(line) {
            // What was trained again, after a rollback or a kill, counts once.
            cost.seconds.insert(epoch, seconds);
        } else if line.starts_with("training from epoch") && !line.contains(", step 0 ") {
            cost.is_partial = true;
        }
    }
    Ok(cost)
}

/// The epoch and its seconds of `epoch N: trained S s, ...`.
fn trained(line: &str) -> Option<(u32, f64)> {
    let (epoch, rest) = line.strip_prefix("epoch ")?.split_once(": trained ")?;
    Some((epoch.parse().ok()?, rest.split_once(" s")?.0.parse().ok()?))
}

/// Passes in a step, and in how many epochs.
pub(crate) fn passes(options: &Options) -> Result<Vec<([usize; 2], u32)>, Error> {
    let (method, epochs) = (resolved::method(options), options.epochs.unwrap_or_default());
    let mut found: Vec<([usize; 2], u32)> = Vec::new();
    for epoch in 0..epochs {
        let demand = sse_sam_core::Demand {
            groups: method.groups(epoch, epochs)?,
            economy: options.memory.unwrap_or_default().economy(),
            pieces: options.micro_batch.is_some(),
        };
        let now = demand.passes(method.has_tail());
        match found.last_mut() {
            Some((before, count)) if *before == now => *count += 1,
            _ => found.push((now, 1)),
        }
    }
    Ok(found)
}
