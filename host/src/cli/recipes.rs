//! The `recipes` command.

use crate::cli::args::RecipesArgs;
use crate::error::Error;
use crate::recipe::recipes;
use crate::report::console::say;

/// The `recipes` command: a line for each, or all that one says.
///
/// # Errors
/// [`Error::Usage`] for an unknown name.
pub fn run(args: &RecipesArgs) -> Result<(), Error> {
    if let Some(name) = &args.name {
        return say(recipes::find(name)?.text.trim_end());
    }
    let width = recipes::names().map(str::len).max().unwrap_or(0);
    for name in recipes::names() {
        say(&format!("{name:width$}  {}", recipes::find(name)?.about.about))?;
    }
    Ok(())
}
