//! The `resume` command.

use crate::cli::args::ResumeArgs;
use crate::cli::train::start;
use crate::error::Error;
use crate::recipe::{Options, file};
use crate::report::console::Console;
use crate::run::folder::RunFolder;
use crate::run::origin::Origin;
use crate::run::signals::Signals;
use crate::train::work::Call;

/// Continues a run that was interrupted.
///
/// # Errors
/// Whatever is wrong with the run's folder, and as the `train` command.
pub fn run(args: &ResumeArgs, console: &Console) -> Result<(), Error> {
    Signals::listen()?;
    let folder = RunFolder::open(&args.run)?;
    let (mut options, origin) = file::read::<Origin>(&folder.config())?;
    if let Some(more) = args.epochs {
        if let Some(epochs) = options.epochs.filter(|&epochs| more < epochs) {
            return Err(Error::Usage(format!("--epochs {more} is less than the {epochs} epochs of the run")));
        }
        options.epochs = Some(more);
    }
    if args.data.is_some() {
        options.data.clone_from(&args.data);
    }
    if args.device.is_some() {
        options.device.device.clone_from(&args.device);
        options.device.recorded = true;
    }
    let fingerprint = origin.as_ref().map(|origin| origin.fingerprint.clone());
    let call = Call { options, typed: Options::default(), origin, fingerprint, out: None };
    start(&call, Some(folder), console)
}
