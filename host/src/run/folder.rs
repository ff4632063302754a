//! The folder of a run, and the one owner of its files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{self, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs4::{FileExt, TryLockError};
use serde::Serialize;

use crate::error::Error;
use crate::files::write_whole;
use crate::run::events;
use crate::run::position::Position;
use crate::shown;
use crate::weights::Choice;

/// TensorBoard finds its files by a part of their names.
const EVENTS: &str = "events.out.tfevents.sse-sam";

/// What a run writes.
const FILES: [&str; 11] = [
    "config.toml",
    "metrics.jsonl",
    "log.txt",
    "checkpoints",
    Choice::Validation.file(),
    Choice::Test.file(),
    "last.safetensors",
    "evaluation.json",
    SPECTRA,
    "spectrum.svg",
    EVENTS,
];

/// Lines of spectra, a group and epoch each.
const SPECTRA: &str = "spectrum.jsonl";

/// Bytes of the longest name of a folder that is made up here; file systems take 255.
const LONGEST: usize = 120;

/// A run's folder, locked against other processes: `config.toml`, `metrics.jsonl`, `log.txt`, `checkpoints/`,
/// `best.safetensors` or `best-on-test.safetensors`, `last.safetensors`, `evaluation.json`.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: Mutex<File>,
    log: File,
    _lock: File,
}

/// A checkpoint's file by its name: later ones of a run are larger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Saved {
    epoch: u32,
    step: u32,
    /// Where it lies.
    pub path: PathBuf,
}

impl Saved {
    /// The name of the checkpoint after these steps of this epoch.
    pub fn name(epoch: u32, step: u32) -> String {
        format!("epoch-{epoch:06}-step-{step:07}.safetensors")
    }

    /// None for a file that is no checkpoint's.
    fn new(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix("epoch-")?.strip_suffix(".safetensors")?;
        let (epoch, step) = name.split_once("-step-")?;
        Some(Self { epoch: epoch.parse().ok()?, step: step.parse().ok()?, path })
    }

    /// Whether it is the one at the beginning of this epoch.
    pub fn begins(&self, epoch: u32) -> bool {
        (self.epoch, self.step) == (epoch, 0)
    }
}

impl RunFolder {
    /// Makes the folder, with this `config.toml`. A folder that the caller names must hold nothing that a run would write
    /// over; otherwise the first free one of `runs/name`, `runs/name-2`, ... is taken.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made, [`Error::Usage`] when it holds a run or files that have the names of a run's.
    pub fn create(named: Option<&Path>, name: &str, config: &str) -> Result<Self, Error> {
        let path = match named {
            Some(path) => make(path).map(|()| path.to_owned())?,
            None => numbered(name)?,
        };
        nothing_is_lost(&path)?;
        let lock = lock(&path)?;
        nothing_is_lost(&path)?;
        // Written first: from here on the folder is a run that can be resumed, whatever happens.
        write_whole(&path.join("config.toml"), |file| file.write_all(config.as_bytes()))?;
        Self::with(path, lock)
    }

    /// Opens the folder of a run that is to go on, and removes what a killed process left half-written. A file of a run
    /// stands for its folder.
    ///
    /// # Errors
    /// [`Error::Run`] when it holds no run or another process works on it, [`Error::Io`] when it cannot be used.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = &folder_of(path);
        let config = path.join("config.toml");
        if !config.exists() {
            let missing = if path.exists() { "it has no config.toml" } else { "there is no such folder" };
            let error = Error::run(path, format!("holds no run that could go on: {missing}"));
            return Err(error.with_hint("sse-sam runs FOLDER lists the runs of a folder"));
        }
        if !is_run(path) {
            let error = Error::run(path, "holds no run that could go on: its config.toml is one that somebody wrote");
            let config = shown::word(&config);
            return Err(error.with_hint(format!("sse-sam train --config {config} --out NEW begins a run with it")));
        }
        let folder = Self::with(path.clone(), lock(path)?)?;
        for place in [path.clone(), path.join("checkpoints")] {
            files(&place)?.iter().filter(|file| is_partial(file)).try_for_each(|file| remove(file))?;
        }
        Ok(folder)
    }

    fn with(path: PathBuf, lock: File) -> Result<Self, Error> {
        let open = |name: &str, options: &mut fs::OpenOptions| {
            let file = path.join(name);
            options.create(true).open(&file).map_err(|source| Error::io(&file, source))
        };
        // Not opened for appending: Windows cannot truncate such a file.
        let metrics = open("metrics.jsonl", File::options().read(true).write(true).truncate(false))?;
        let log = open("log.txt", File::options().append(true))?;
        make(&path.join("checkpoints"))?;
        Ok(Self { path, metrics: Mutex::new(metrics), log, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's settings.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The weights with the best balanced accuracy so far, chosen by this.
    pub fn best(&self, choice: Choice) -> PathBuf {
        self.path.join(choice.file())
    }

    /// What the weights at the end make of the test set.
    pub fn evaluation(&self) -> PathBuf {
        self.path.join("evaluation.json")
    }

    /// The weights at the end of the run.
    pub fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }

    fn metrics(&self) -> MutexGuard<'_, File> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a checkpoint of this name lies, in a folder that exists.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder was removed and cannot be made again.
    pub fn checkpoint(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.path.join("checkpoints");
        make(&folder).map(|()| folder.join(name))
    }

    /// All checkpoints, the newest first.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<Saved>, Error> {
        let mut found: Vec<Saved> = files(&self.path.join("checkpoints"))?.into_iter().filter_map(Saved::new).collect();
        found.sort();
        found.reverse();
        Ok(found)
    }

    /// Removes all checkpoints but the `keep` newest and the one at the beginning of epoch `target`.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be removed.
    pub fn prune(&self, keep: usize, target: u32) -> Result<(), Error> {
        let old = self.checkpoints()?.into_iter().skip(keep.max(1));
        old.filter(|saved| !saved.begins(target)).try_for_each(|saved| remove(&saved.path))
    }

    /// Removes all checkpoints after this position: those of a course that was given up.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be removed.
    pub fn give_up_after(&self, position: &Position) -> Result<(), Error> {
        let here = (position.epoch, position.step);
        let found = self.checkpoints()?.into_iter();
        found.take_while(|saved| (saved.epoch, saved.step) > here).try_for_each(|saved| remove(&saved.path))
    }

    /// Removes the best weights: no epoch of this course is the best yet.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be removed.
    pub fn remove_best(&self, choice: Choice) -> Result<(), Error> {
        remove(&self.best(choice))
    }

    /// Whether epochs were measured here.
    pub fn has_metrics(&self) -> bool {
        self.metrics().metadata().is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Takes a file out of the way under a name that is no checkpoint's.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be renamed.
    pub fn set_aside(&self, path: &Path) -> Result<(), Error> {
        fs::rename(path, path.with_extension("damaged")).map_err(|source| Error::io(path, source))
    }

    /// Writes `config.toml`, unless it says the same already, with whatever comments.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn configure(&self, text: &str) -> Result<(), Error> {
        let path = self.config();
        let table = |text: &str| text.parse::<toml::Table>().ok();
        let before = fs::read_to_string(&path).ok().and_then(|before| table(&before));
        if before.is_some() && before == table(text) {
            return Ok(());
        }
        write_whole(&path, |file| file.write_all(text.as_bytes()))
    }

    /// Appends a line to `metrics.jsonl` and returns the file's length. A file that somebody has removed is put back.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn measure(&self, line: &impl Serialize) -> Result<u64, Error> {
        let (path, mut file) = (self.path.join("metrics.jsonl"), self.metrics());
        let mut append = || {
            let mut text = serde_json::to_string(line)?;
            text.push('\n');
            if !path.exists() {
                let mut before = Vec::new();
                file.rewind()?;
                file.read_to_end(&mut before)?;
                *file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
                file.write_all(&before)?;
            }
            file.seek(SeekFrom::End(0))?;
            file.write_all(text.as_bytes())?;
            Ok(file.metadata()?.len())
        };
        append().map_err(|source| Error::io(&path, source))
    }

    /// Cuts TensorBoard's file back to the first `epochs`, and adds those of them that it lacks, from `metrics.jsonl`:
    /// what was measured beside that, and when, stays as it is.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read or written.
    pub fn begin_events(&self, epochs: u32) -> Result<(), Error> {
        let (path, lines) = (self.path.join(EVENTS), self.path.join("metrics.jsonl"));
        let text = fs::read_to_string(&lines).map_err(|source| Error::io(&lines, source))?;
        let before = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|source| Error::io(&path, source))?,
        };
        let (length, found) = events::whole(&before, epochs.into());
        let mut records = if length == 0 { events::header(seconds()) } else { before[..length].to_vec() };
        for (epoch, line) in (0..u64::from(epochs)).zip(text.lines()).filter(|(epoch, _)| !found.contains(epoch)) {
            let line = serde_json::from_str(line).unwrap_or_default();
            records.extend(events::scalars(seconds(), epoch, &events::flatten(&line)));
        }
        if records == before {
            return Ok(());
        }
        write_whole(&path, |file| file.write_all(&records))
    }

    /// Appends an epoch to TensorBoard's file, and begins another one where somebody has removed it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn event(&self, epoch: u32, line: &impl Serialize, more: &[(String, f64)]) -> Result<(), Error> {
        let line = serde_json::to_value(line).unwrap_or_default();
        let values = [&events::flatten(&line)[..], more].concat();
        let path = self.path.join(EVENTS);
        if !path.exists() {
            self.begin_events(epoch)?;
        }
        let file = File::options().append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(&events::scalars(seconds(), epoch.into(), &values)));
        written.map_err(|source| Error::io(&path, source))
    }

    /// Makes the lines of `metrics.jsonl` last through a loss of power.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses.
    pub fn synchronise(&self) -> Result<(), Error> {
        self.metrics().sync_data().map_err(|source| Error::io(self.path.join("metrics.jsonl"), source))
    }

    /// Where spectra of epochs are written.
    pub fn spectra(&self) -> PathBuf {
        self.path.join(SPECTRA)
    }

    /// Puts spectra, and a picture of them, in the place of earlier ones.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn set_spectra(&self, lines: &str, picture: Option<&str>) -> Result<(), Error> {
        write_whole(&self.spectra(), |file| file.write_all(lines.as_bytes()))?;
        let Some(picture) = picture else { return Ok(()) };
        write_whole(&self.path.join("spectrum.svg"), |file| file.write_all(picture.as_bytes()))
    }

    /// Cuts `metrics.jsonl` back to what it was at a checkpoint.
    ///
    /// # Errors
    /// [`Error::Run`] when it is shorter than that.
    pub fn rewind(&self, length: u64) -> Result<(), Error> {
        let path = self.path.join("metrics.jsonl");
        let file = self.metrics();
        let found = file.metadata().map_err(|source| Error::io(&path, source))?.len();
        if found < length {
            let message = format!("metrics.jsonl has {found} bytes, but had {length} at the checkpoint");
            return Err(Error::run(&self.path, message).with_hint(self.anew("put it back, or ")));
        }
        file.set_len(length).map_err(|source| Error::io(&path, source))
    }

    /// How the same run is begun anew, elsewhere.
    pub fn anew(&self, or: &str) -> String {
        format!("{or}sse-sam train --config {} --out NEW begins it anew, elsewhere", shown::word(&self.config()))
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

/// The folder of the run that this file belongs to, where it is one of a run's.
pub fn folder_of(path: &Path) -> PathBuf {
    let whole = path::absolute(path).unwrap_or_default();
    if !path.is_file() && whole.file_name().is_none_or(|name| name != "checkpoints") {
        return path.to_owned();
    }
    let mut above = whole.ancestors().skip(1).take(2);
    above.find(|folder| is_run(folder)).unwrap_or(path).to_owned()
}

/// The configuration that a path stands for: a run, or a file of one, stands for its own.
pub fn configuration(path: &Path) -> PathBuf {
    let is_other = path.extension().is_none_or(|extension| extension != "toml");
    let path = if is_other { folder_of(path) } else { path.to_owned() };
    if path.is_dir() { path.join("config.toml") } else { path }
}

/// Whether this folder holds a run: its configuration says where numbers come from.
pub fn is_run(folder: &Path) -> bool {
    fs::read_to_string(folder.join("config.toml")).is_ok_and(|text| text.lines().any(|line| line.trim_end() == "[run]"))
}

/// Whether the last checkpoint of a run of so many epochs is there.
pub fn has_all(folder: &Path, epochs: u32) -> bool {
    let found = files(&folder.join("checkpoints")).unwrap_or_default();
    found.into_iter().filter_map(Saved::new).any(|saved| saved.epoch >= epochs)
}

/// Whether a killed process has left this file half-written: `NAME.PROCESS.partial`, with the name of a run's file.
fn is_partial(path: &Path) -> bool {
    let whole = || {
        let (name, process) = path.file_name()?.to_str()?.strip_suffix(".partial")?.rsplit_once('.')?;
        let ours = FILES.contains(&name) || Saved::new(PathBuf::from(name)).is_some();
        Some(ours && process.parse::<u32>().is_ok())
    };
    whole().unwrap_or(false)
}

/// Refuses a folder in which a run would write over something.
fn nothing_is_lost(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    if is_run(path) {
        let run = shown::word(path);
        let message = format!("{shown} already holds a run; name another folder, or go on: sse-sam resume {run}");
        return Err(Error::Usage(message));
    }
    match FILES.iter().find(|name| path.join(name).symlink_metadata().is_ok()) {
        Some(name) => Err(Error::Usage(format!("{shown} holds {name}, which a run writes too; name another folder"))),
        None => Ok(()),
    }
}

/// Keeps other processes out of a run's folder, as long as the file is open.
fn lock(path: &Path) -> Result<File, Error> {
    let place = path.join(".lock");
    // For reading too: Windows cannot lock a file that is open for appending only.
    let lock = File::options().read(true).append(true).create(true).open(&place);
    let lock = lock.map_err(|source| Error::io(&place, source))?;
    // `runs` holds the lock while it looks.
    for _ in 0..50 {
        match FileExt::try_lock(&lock) {
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(10)),
            // A file system without locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(lock),
            Err(TryLockError::Error(source)) => return Err(Error::io(place, source)),
            Ok(()) => return Ok(lock),
        }
    }
    let error = Error::run(path, "another process is working on this run");
    Err(error.with_hint("wait until it has ended, or end it"))
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error::io(path, source)),
    }
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

/// The files in a folder; none where somebody has removed it.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.and_then(|entries| entries.collect::<io::Result<Vec<_>>>()),
    };
    let entries = entries.map_err(|source| Error::io(folder, source))?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

fn make(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::io(path, source))
}

fn numbered(name: &str) -> Result<PathBuf, Error> {
    make(Path::new("runs"))?;
    let end = (0..=LONGEST.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    let name = name[..end].replace(|letter: char| letter.is_control() || "/\\:".contains(letter), "_");
    let mut number = 1_u64;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let path = Path::new("runs").join(format!("{name}{suffix}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(Error::io(path, source)),
        }
    }
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
