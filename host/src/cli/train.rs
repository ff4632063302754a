//! The `train` command, and what it shares with `resume`.

use std::path::{Path, PathBuf};

use crate::cli::args::TrainArgs;
use crate::data::{self, Dataset};
use crate::device::choose::Device;
use crate::error::Error;
use crate::recipe::recipes::{self, Named};
use crate::recipe::{DeviceOptions, Options, file};
use crate::report::Observer;
use crate::report::console::Console;
use crate::run::folder::{self, RunFolder};
use crate::run::origin::Origin;
use crate::run::signals::Signals;
use crate::train::work::{Call, Work};

/// The `train` command.
///
/// # Errors
/// Whatever is wrong with the options, the data, the device or the run's folder.
pub fn run(args: &TrainArgs, console: &Console) -> Result<(), Error> {
    let (call, recipe) = call(args)?;
    start(&call, None, console)?;
    tell_published(recipe.as_ref(), console);
    Ok(())
}

/// What was typed, on top of the options of a file or a recipe, and that recipe.
pub(crate) fn call(args: &TrainArgs) -> Result<(Call, Option<Named>), Error> {
    let (typed, out) = (args.options.clone(), args.out.clone());
    let recipe = args.recipe.as_deref().map(recipes::find).transpose()?;
    let call = match (&args.config, &recipe) {
        (Some(path), _) => joined(typed, path, out)?,
        (None, recipe) => {
            let options = recipe.as_ref().map_or_else(|| Ok(typed.clone()), |recipe| recipe.under(&typed))?;
            Call { options, typed, origin: None, fingerprint: None, out }
        }
    };
    Ok((call, recipe))
}

/// Tells people what was published with a recipe, where anything was.
pub(crate) fn tell_published(recipe: Option<&Named>, console: &Console) {
    let published = recipe.map(Named::published).unwrap_or_default();
    if !published.is_empty() {
        console.tell_people(&format!("\n{}", published.trim_end()));
    }
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
    let call = Call { options, ..call.clone() };
    let people = |text: &str| console.tell_people(text);
    Work { call: &call, device, dataset, earlier, signals }.train(console, &people).map(drop)
}

/// Reads the data; where those of an earlier run have moved, with a hint.
fn load(options: &Options, is_earlier: bool, console: &Console) -> Result<Dataset, Error> {
    let place = options.place();
    let dataset = data::read(&options.request()).map_err(|error| {
        if is_earlier && !Path::new(place).exists() {
            return error.with_hint("--data PLACE says where this run's data lie now");
        }
        error
    })?;
    for notice in &dataset.notices {
        console.warn(&format!("warning: {notice}"));
    }
    if !dataset.summary.is_empty() {
        console.tell_people(&dataset.summary.join("\n"));
    }
    Ok(dataset)
}
