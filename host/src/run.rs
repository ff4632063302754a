//! The folder of a run, and the one owner of its files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;

/// A run's folder: `metrics.jsonl`, `best.safetensors`, `last.safetensors`.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
}

impl RunFolder {
    /// Makes the folder. A folder that the caller names must not hold a run yet; otherwise the first free one of
    /// `runs/name`, `runs/name-2`, ... is taken.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made, [`Error::Usage`] when it holds a run.
    pub fn create(named: Option<&Path>, name: &str) -> Result<Self, Error> {
        let path = match named {
            Some(path) => make(path).map(|()| path.to_owned())?,
            None => numbered(name)?,
        };
        let file = path.join("metrics.jsonl");
        let metrics = match File::options().write(true).create_new(true).open(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Usage(format!("{} already holds a run; name another folder", path.display())));
            }
            other => other.map_err(|source| Error::io(&file, source))?,
        };
        Ok(Self { path, metrics })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The weights with the best balanced accuracy so far.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// The weights at the end of the run.
    pub fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }

    /// Appends a line to `metrics.jsonl`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn log(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let path = self.path.join("metrics.jsonl");
        let mut text = serde_json::to_string(line).map_err(|error| Error::io(&path, error.into()))?;
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).map_err(|source| Error::io(&path, source))
    }
}

fn make(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::io(path, source))
}

fn numbered(name: &str) -> Result<PathBuf, Error> {
    make(Path::new("runs"))?;
    for number in 1.. {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let path = Path::new("runs").join(format!("{name}{suffix}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::io(path, source)),
        }
    }
    unreachable!("some number is free")
}
