//! Which file is meant by a path that names a run, or something near a weights file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::report::Observer;
use crate::weights::Choice;

/// The weights that a path means: the file itself, or the best ones of a run's folder, which is said.
///
/// # Errors
/// [`Error::Weights`] when a folder holds none, or a file of a run is none: with the path that is right.
pub fn find(path: &Path, observer: &dyn Observer) -> Result<PathBuf, Error> {
    if path.is_dir() {
        return within(path, observer);
    }
    let Some(home) = path.parent().filter(|_| !is_weights(path)) else { return named(path) };
    let best = Choice::ALL.map(|choice| home.join(choice.file())).into_iter().find(|best| best.is_file());
    let is_of_run =
        ["config.toml", "metrics.jsonl", "log.txt", "evaluation.json"].iter().any(|name| path.ends_with(name));
    if let Some(best) = best.filter(|_| is_of_run) {
        return Err(Error::weights(path, "is a file of a run, not its weights")
            .with_hint(format!("{} has them", best.display())));
    }
    named(path)
}

/// The path of a file; one that is not there gets a hint when its ending was left out.
fn named(path: &Path) -> Result<PathBuf, Error> {
    let longer = PathBuf::from(format!("{}.safetensors", path.display()));
    if !path.exists() && longer.is_file() {
        return Err(Error::weights(path, "no such file or folder").with_hint(format!("there is {}", longer.display())));
    }
    Ok(path.to_owned())
}

fn within(folder: &Path, observer: &dyn Observer) -> Result<PathBuf, Error> {
    for name in Choice::ALL.map(Choice::file).into_iter().chain(["last.safetensors"]) {
        let file = folder.join(name);
        if file.is_file() {
            let how = if name == Choice::Test.file() { ", whose epoch was chosen on the test set" } else { "" };
            observer.warn(&format!("taking {}{how}", file.display()));
            return Ok(file);
        }
    }
    let error = Error::weights(
        folder,
        "is a folder without weights of a run (best.safetensors, best-on-test.safetensors, last.safetensors)",
    );
    let hint = match newest(folder).or_else(|| newest(&folder.join("checkpoints"))) {
        Some(file) => format!("there is {}", file.display()),
        None if folder.join("config.toml").is_file() => {
            "this run has ended no epoch yet: sse-sam resume goes on".into()
        }
        None => "give a .safetensors file or the folder of a run".into(),
    };
    Err(error.with_hint(hint))
}

/// The last weights file of a folder by name: of checkpoints, the newest.
fn newest(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    entries.filter(|path| is_weights(path)).max()
}

fn is_weights(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "safetensors")
}
