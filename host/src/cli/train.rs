//! The `train` command, and what it shares with `resume`.

use std::path::{Path, PathBuf};

use sse_sam_core::Model;

use crate::cli::args::TrainArgs;
use crate::data::{self, Dataset, Format};
use crate::device::choose::Device;
use crate::error::Error;
use crate::recipe::words::{MethodName, word};
use crate::recipe::{DeviceOptions, Options, Recipe, file, recipes, unused};
use crate::report::Observer;
use crate::report::console::Console;
use crate::run::folder::{self, RunFolder};
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

/// The `train` command.
///
/// # Errors
/// Whatever is wrong with the options, the data, the device or the run's folder.
pub fn run(args: &TrainArgs, console: &Console) -> Result<(), Error> {
    let (typed, out) = (args.options.clone(), args.out.clone());
    let recipe = args.recipe.as_deref().map(recipes::find).transpose()?;
    let call = match (&args.config, &recipe) {
        (Some(path), _) => joined(typed, path, out)?,
        (None, recipe) => {
            let options = recipe.as_ref().map_or_else(|| Ok(typed.clone()), |recipe| recipe.under(&typed))?;
            Call { options, typed, origin: None, fingerprint: None, out }
        }
    };
    start(&call, None, console)?;
    let published = recipe.map(|recipe| recipe.published()).unwrap_or_default();
    if !published.is_empty() {
        console.tell_people(&format!("\n{}", published.trim_end()));
    }
    Ok(())
}

/// What was typed, on top of the options of a file.
fn joined(typed: Options, path: &Path, out: Option<PathBuf>) -> Result<Call, Error> {
    let (file, origin) = file::read::<Origin>(&folder::configuration(path))?;
    let mut options = typed.or(&file)?;
    let DeviceOptions { device, device_memory, conv, tiles, precision, threads, simd, .. } = &typed.device;
    let of_opencl = device_memory.is_some() || conv.is_some() || tiles.is_some() || precision.is_some();
    let says_how = of_opencl || threads.is_some() || simd.is_some();
    options.device.recorded = device.is_some() && !says_how;
    let same_data = typed.data.is_none() && typed.dataset.is_none();
    let fingerprint = origin.as_ref().filter(|_| same_data).map(|origin| origin.fingerprint.clone());
    Ok(Call { options, typed, origin, fingerprint, out })
}

/// Trains in a new folder, or goes on in that of an earlier run.
///
/// # Errors
/// As [`run`].
pub fn start(call: &Call, earlier: Option<RunFolder>, console: &Console) -> Result<(), Error> {
    // Before a device is looked for: drivers set signal handlers of their own.
    let signals = Signals::listen()?;
    let device = Device::choose(&call.options.device, console)?;
    let options = Options { device: device.applicable(&call.options.device, console), ..call.options.clone() };
    let dataset = load(&options, earlier.is_some(), console)?;
    let recipe = Recipe::resolve(&options, &dataset)?;
    unused::check(&call.typed, &recipe)?;
    let prepared = prepare(recipe, dataset, console)?;
    let mut placed = place(device, &prepared, console)?;
    let find = |folder| resume::find(folder, &placed, call.fingerprint.as_deref(), console);
    let resumed = earlier.as_ref().map(find).transpose()?.flatten();
    if earlier.is_none() && call.fingerprint.as_ref().is_some_and(|expected| *expected != prepared.fingerprint) {
        console.warn("warning: the data are not those that the configuration was made with");
    }
    // Nothing is chosen anew that the run, or the one whose configuration is taken, has chosen on the same device.
    let before = resumed.as_ref().map(|resumed| &resumed.before).or(call.origin.as_ref());
    placed.device.follow(|now| before.filter(|before| before.is_of(now)).map(|before| before.convolutions.clone()));
    let first = Start::new(&placed, resumed, console)?;
    // Before the folder is visible: whoever sees a run may send it a signal.
    signals.save_first();
    let folder = earlier.map_or_else(|| create(call.out.as_deref(), &placed), Ok)?;
    console.tell_people(&headline(&placed));
    let trainer = Trainer::new(&placed, first).in_folder(&folder).until(signals);
    let outcome = finish(&folder, trainer.run(console))?;
    console.tell_people(&summary(&outcome, &prepared.dataset, folder.path()));
    Ok(())
}

/// Reads the data; where those of an earlier run have moved, with a hint.
fn load(options: &Options, is_earlier: bool, console: &Console) -> Result<Dataset, Error> {
    let place = options.data.as_deref().unwrap_or(Format::Digits.word());
    let dataset = data::load(place, options.dataset).map_err(|error| {
        if is_earlier && !Path::new(place).exists() {
            return error.with_hint("--data PLACE says where this run's data lie now");
        }
        error
    })?;
    if let Some(notice) = &dataset.notice {
        console.warn(&format!("warning: {notice}"));
    }
    Ok(dataset)
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
