//! The `runs` command.

use std::fs;
use std::path::{self, Path};

use serde_json::Value;
use toml::Table;

use crate::cli::args::RunsArgs;
use crate::compare::read::Run;
use crate::error::Error;
use crate::report::console::say;
use crate::run::folder;
use crate::run::state::State;
use crate::shown::{self, shown};

/// The `runs` command: a line for each run in a folder.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read.
pub fn run(args: &RunsArgs) -> Result<(), Error> {
    let folder = folder::folder_of(&args.folder);
    let entries = fs::read_dir(&folder).map_err(|source| Error::io(&folder, source))?;
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    // A run by itself.
    if folder::is_run(&folder) {
        paths = vec![path::absolute(&folder).unwrap_or(folder)];
    }
    paths.sort();
    let rows: Vec<[String; 6]> = paths.iter().filter_map(|path| row(path)).collect();
    if rows.is_empty() {
        return say(&format!("no runs in {}", shown::path(&args.folder)));
    }
    let head = ["run", "method", "data", "epochs", "balanced %", "state"].map(String::from);
    let all: Vec<&[String; 6]> = std::iter::once(&head).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    all.iter().try_for_each(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end())
    })
}

fn row(path: &Path) -> Option<[String; 6]> {
    if !folder::is_run(path) {
        return None;
    }
    let config: Table = fs::read_to_string(path.join("config.toml")).ok()?.parse().ok()?;
    let word = |key: &str| match config.get(key) {
        // Data have an absolute path: its last part says what they are.
        Some(toml::Value::String(text)) if key == "data" => {
            shown(Path::new(text).file_name().map_or(text, |name| name.to_str().unwrap_or(text)))
        }
        Some(toml::Value::String(text)) => shown(text),
        Some(other) => other.to_string(),
        None => "-".into(),
    };
    let metrics = fs::read_to_string(path.join("metrics.jsonl")).unwrap_or_default();
    let last: Option<Value> = metrics.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    let balanced = last.as_ref().and_then(|line| line["accuracy"]["balanced"].as_f64());
    Some([
        shown(&path.file_name()?.to_string_lossy()),
        word("method"),
        word("data"),
        format!("{}/{}", metrics.lines().count(), word("epochs")),
        balanced.map_or_else(|| "-".into(), |percent| format!("{percent:.2}")),
        state(path, word("epochs").parse().ok()).word().into(),
    ])
}

/// What became of a run; of one whose files cannot be read, what its log and its checkpoints say.
fn state(path: &Path, epochs: Option<u32>) -> State {
    Run::read(path).map_or_else(|_| State::of(path, epochs), |run| run.state)
}
