//! What became of a run.

use std::fs;
use std::path::Path;

use crate::run::folder;
use crate::shown::shown;

/// What became of a run, as its folder says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A process works on it.
    Running,
    /// All is done.
    Finished,
    /// It ended with this error.
    Failed(String),
    /// It was stopped, or killed.
    Interrupted,
}

impl State {
    /// By the lock, else by the last line of the log, else, where a process was killed before that line, by the last
    /// checkpoint of a run of so many epochs.
    pub fn of(folder: &Path, epochs: Option<u32>) -> Self {
        if folder::is_locked(folder) {
            return Self::Running;
        }
        let log = fs::read_to_string(folder.join("log.txt")).unwrap_or_default();
        // The time comes first.
        let last = log.lines().next_back().and_then(|line| line.split_once(' ')).map_or("", |(_, text)| text);
        match last.strip_prefix("failed: ") {
            Some(reason) => Self::Failed(shown(reason)),
            None if last.trim_end() == "finished" => Self::Finished,
            None if epochs.is_some_and(|epochs| folder::has_all(folder, epochs)) => Self::Finished,
            None => Self::Interrupted,
        }
    }

    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed(_) => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}
