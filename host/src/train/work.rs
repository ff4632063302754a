//! A training in a folder of its own: a new run, or one that goes on.

use std::path::{Path, PathBuf};

use sse_sam_core::Model;

use crate::data::Dataset;
use crate::device::choose::Device;
use crate::error::Error;
use crate::recipe::words::{MethodName, word};
use crate::recipe::{Options, Recipe, file, unused};
use crate::report::Observer;
use crate::run::folder::RunFolder;
use crate::run::origin::Origin;
use crate::run::signals::Signals;
use crate::shown::{self, shown};
use crate::train::outcome::Outcome;
use crate::train::place::{Placed, place};
use crate::train::prepare::prepare;
use crate::train::resume;
use crate::train::start::Start;
use crate::train::told::{headline, summary};
use crate::train::trainer::Trainer;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Call {
    /// The options, with those of a file.
    pub options: Options,
    /// Those that were typed.
    pub typed: Options,
    /// What the numbers of the run came from that the file belongs to.
    pub origin: Option<Origin>,
    /// The fingerprint that the data should have.
    pub fingerprint: Option<String>,
    /// Folder for metrics and weights.
    pub out: Option<PathBuf>,
}

/// A training that has its device and its data.
#[derive(Debug)]
pub struct Work<'a> {
    /// What is asked for.
    pub call: &'a Call,
    /// Where it is computed.
    pub device: Device,
    /// What it is trained on, before it is cut.
    pub dataset: Dataset,
    /// The run that goes on, if it is no new one.
    pub earlier: Option<RunFolder>,
    /// What may end it early.
    pub signals: &'a Signals,
}

impl Work<'_> {
    /// Trains to the last epoch; `people` are told what it is about and what became of it.
    ///
    /// # Errors
    /// Whatever is wrong with the options, the data, the device or the run's folder; [`Error::Interrupted`] after a signal.
    pub fn train(self, observer: &dyn Observer, people: &dyn Fn(&str)) -> Result<Outcome, Error> {
        let Self { call, device, dataset, earlier, signals } = self;
        let recipe = Recipe::resolve(&call.options, &dataset)?;
        unused::check(&call.typed, &recipe)?;
        let prepared = prepare(recipe, dataset, observer)?;
        let mut placed = place(device, &prepared, observer)?;
        let find = |folder| resume::find(folder, &placed, call.fingerprint.as_deref(), observer);
        let resumed = earlier.as_ref().map(find).transpose()?.flatten();
        if earlier.is_none() && call.fingerprint.as_ref().is_some_and(|expected| *expected != prepared.fingerprint) {
            observer.warn("warning: the data are not those that the configuration was made with");
        }
        // Nothing is chosen anew that the run, or the one whose configuration is taken, has chosen on the same device.
        let before = resumed.as_ref().map(|resumed| &resumed.before).or(call.origin.as_ref());
        placed.device.follow(|now| before.filter(|before| before.is_of(now)).map(|before| before.convolutions.clone()));
        let first = Start::new(&placed, resumed, observer)?;
        // Before the folder is visible: whoever sees a run may send it a signal.
        signals.save_first();
        let folder = earlier.map_or_else(|| create(call.out.as_deref(), &placed), Ok)?;
        people(&headline(&placed));
        let trainer = Trainer::new(&placed, first).in_folder(&folder).until(signals);
        let outcome = finish(&folder, trainer.run(observer))?;
        people(&summary(&outcome, &prepared.dataset, folder.path()));
        Ok(outcome)
    }
}

/// The folder of a new run, with as much of its `config.toml` as is known before the device is open.
fn create(out: Option<&Path>, placed: &Placed<'_>) -> Result<RunFolder, Error> {
    let (recipe, identity) = (&placed.prepared.recipe, placed.device.identity());
    let settings = Options::from(recipe).on(&identity.selector).table()?;
    let config = file::text(&settings, &Origin::new(identity, &placed.prepared.fingerprint))?;
    let data: String = placed.prepared.dataset.name.chars().take(40).collect();
    let name = format!("{data}-{}-{}", slug(&recipe.model), word(&MethodName::of(&recipe.method)));
    RunFolder::create(out, &name, &config)
}

/// A model's name as part of a file name.
fn slug(model: &Model) -> String {
    model.to_string().replace(':', "-")
}

/// Writes down how a run ended.
fn finish(folder: &RunFolder, result: Result<Outcome, Error>) -> Result<Outcome, Error> {
    folder.note(&match &result {
        Ok(_) => "finished".into(),
        Err(Error::Interrupted { signal, .. }) => format!("interrupted by signal {signal}"),
        // One line: a compiler's log has several.
        Err(error) => format!("failed: {}", shown(&error.to_string())),
    });
    result.map_err(|error| match &error {
        Error::Device { .. } => error.with_hint(way_on(folder)),
        _ => error,
    })
}

/// What to do when the device was lost.
fn way_on(folder: &RunFolder) -> String {
    let run = shown::word(folder.path());
    format!("sse-sam resume {run} goes on from the last checkpoint; with --device cpu it needs no OpenCL")
}
