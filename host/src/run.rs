//! The folder of a run, and the one owner of its files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fs4::{FileExt, TryLockError};
use serde::Serialize;

use crate::error::Error;
use crate::events;
use crate::weights::write_whole;

/// TensorBoard finds its files by a part of their names.
const EVENTS: &str = "events.out.tfevents.sse-sam";

/// A run's folder, locked against other processes: `config.toml`, `metrics.jsonl`, `log.txt`, `checkpoints/`,
/// `best.safetensors`, `last.safetensors`.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    log: File,
    _lock: File,
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
        if path.join("metrics.jsonl").exists() {
            return Err(Error::Usage(format!("{} already holds a run; name another folder", path.display())));
        }
        Self::use_folder(path)
    }

    /// Opens the folder of a run that is to go on, and removes what a killed process left half-written.
    ///
    /// # Errors
    /// [`Error::Run`] when it holds no run or another process works on it, [`Error::Io`] when it cannot be used.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.join("config.toml").exists() {
            let error = Error::run(path, "holds no run that could go on: it has no config.toml");
            return Err(error.with_hint("sse-sam runs lists the runs of a folder"));
        }
        let folder = Self::use_folder(path.to_owned())?;
        for place in [path.to_owned(), path.join("checkpoints")] {
            for file in files(&place)?.into_iter().filter(|file| file.extension().is_some_and(|e| e == "partial")) {
                fs::remove_file(&file).map_err(|source| Error::io(&file, source))?;
            }
        }
        Ok(folder)
    }

    fn use_folder(path: PathBuf) -> Result<Self, Error> {
        let append = |name: &str| {
            let file = path.join(name);
            File::options().append(true).create(true).open(&file).map_err(|source| Error::io(&file, source))
        };
        let lock = append(".lock")?;
        match FileExt::try_lock(&lock) {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::run(&path, "another process is working on this run"));
            }
            // A file system without locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(source)) => return Err(Error::io(path.join(".lock"), source)),
            Ok(()) => {}
        }
        let (metrics, log) = (append("metrics.jsonl")?, append("log.txt")?);
        make(&path.join("checkpoints"))?;
        Ok(Self { path, metrics, log, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's settings.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The weights with the best balanced accuracy so far.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// The weights at the end of the run.
    pub fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }

    /// Where a checkpoint of this name lies.
    pub fn checkpoint(&self, name: &str) -> PathBuf {
        self.path.join("checkpoints").join(name)
    }

    /// All checkpoints, the newest first.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found = files(&self.path.join("checkpoints"))?;
        found.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        found.sort();
        found.reverse();
        Ok(found)
    }

    /// Removes all checkpoints but the `keep` newest and the newest at the end of an epoch.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be removed.
    pub fn prune(&self, keep: usize) -> Result<(), Error> {
        let found = self.checkpoints()?;
        let end = found.iter().find(|path| ends_epoch(path)).cloned();
        for path in found.into_iter().skip(keep.max(1)).filter(|path| Some(path) != end.as_ref()) {
            fs::remove_file(&path).map_err(|source| Error::io(&path, source))?;
        }
        Ok(())
    }

    /// Takes a file out of the way under a name that is no checkpoint's.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be renamed.
    pub fn set_aside(&self, path: &Path) -> Result<(), Error> {
        fs::rename(path, path.with_extension("damaged")).map_err(|source| Error::io(path, source))
    }

    /// Writes `config.toml`, unless it says the same already.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn configure(&self, text: &str) -> Result<(), Error> {
        let path = self.config();
        if fs::read_to_string(&path).is_ok_and(|before| before == text) {
            return Ok(());
        }
        write_whole(&path, |file| file.write_all(text.as_bytes()))
    }

    /// Appends a line to `metrics.jsonl` and returns the file's length.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn measure(&self, line: &impl Serialize) -> Result<u64, Error> {
        let append = || {
            let mut text = serde_json::to_string(line)?;
            text.push('\n');
            (&self.metrics).write_all(text.as_bytes())?;
            Ok(self.metrics.metadata()?.len())
        };
        append().map_err(|source| Error::io(self.path.join("metrics.jsonl"), source))
    }

    /// Begins TensorBoard's file anew, with the lines that `metrics.jsonl` has and what else is known of an epoch.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, and what `more` reports.
    pub fn begin_events(&self, more: impl Fn(u32) -> Result<Vec<(String, f64)>, Error>) -> Result<(), Error> {
        let path = self.path.join("metrics.jsonl");
        let text = fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
        let mut records = events::header(seconds());
        for (epoch, line) in (0..).zip(text.lines()) {
            let line = serde_json::from_str(line).unwrap_or_default();
            let values = [events::flatten(&line), more(epoch)?].concat();
            records.extend(events::scalars(seconds(), epoch.into(), &values));
        }
        write_whole(&self.path.join(EVENTS), |file| file.write_all(&records))
    }

    /// Appends an epoch to TensorBoard's file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn event(&self, epoch: u32, line: &impl Serialize, more: &[(String, f64)]) -> Result<(), Error> {
        let line = serde_json::to_value(line).unwrap_or_default();
        let values = [&events::flatten(&line)[..], more].concat();
        let path = self.path.join(EVENTS);
        let file = File::options().append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(&events::scalars(seconds(), epoch.into(), &values)));
        written.map_err(|source| Error::io(&path, source))
    }

    /// Makes the lines of `metrics.jsonl` last through a loss of power.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses.
    pub fn synchronise(&self) -> Result<(), Error> {
        self.metrics.sync_data().map_err(|source| Error::io(self.path.join("metrics.jsonl"), source))
    }

    /// Cuts `metrics.jsonl` back to what it was at a checkpoint.
    ///
    /// # Errors
    /// [`Error::Run`] when it is shorter than that.
    pub fn rewind(&self, length: u64) -> Result<(), Error> {
        let path = self.path.join("metrics.jsonl");
        let found = self.metrics.metadata().map_err(|source| Error::io(&path, source))?.len();
        if found < length {
            let message = format!("metrics.jsonl has {found} bytes, but had {length} at the checkpoint");
            return Err(Error::run(&self.path, message));
        }
        self.metrics.set_len(length).map_err(|source| Error::io(&path, source))
    }

    /// Appends a line to `log.txt`: what happened when. Nothing reads it but `runs`, so a failure is no reason to stop.
    pub fn note(&self, text: &str) {
        let _ = (&self.log).write_all(format!("{} {text}\n", utc(seconds() as u64)).as_bytes());
    }
}

/// Whether another process works on the run in this folder.
pub fn is_locked(path: &Path) -> bool {
    let lock = File::open(path.join(".lock"));
    lock.is_ok_and(|lock| matches!(FileExt::try_lock_shared(&lock), Err(TryLockError::WouldBlock)))
}

/// Whether a checkpoint is one at the end of an epoch.
pub fn ends_epoch(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-step-0000000.safetensors"))
}

/// Seconds since 1970.
fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Seconds since 1970 as year-month-dayThour:minute:secondZ.
fn utc(seconds: u64) -> String {
    // Days from 1 March of year 0, as in "chrono-Compatible Low-Level Date Algorithms" (Hinnant 2013).
    let (days, clock) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, shifted) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + u64::from(shifted <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{shifted:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.map_err(|source| Error::io(folder, source))?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_826_154), "2000-02-29T12:09:14Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}
