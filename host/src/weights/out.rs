//! A file that a command writes: never one that it reads or that a run wrote; it may be a pipe or a device.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use toml::Table;

use crate::error::Error;
use crate::files::write_whole;
use crate::weights::Choice;

/// Symbolic links that are followed, one after the other: as many as Linux does.
const MOST_LINKS: usize = 40;

/// Where a command writes.
#[derive(Debug)]
pub struct Out {
    path: PathBuf,
    /// Not a file on a disk: a pipe, a terminal, a device.
    is_stream: bool,
}

impl Out {
    /// The file that `option` names by `path`, behind symbolic links; `inputs` are what the command reads, files or a run's
    /// folder.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is one of them, [`Error::Run`] when it belongs to a run.
    pub fn new(option: &str, path: &Path, inputs: &[&Path]) -> Result<Self, Error> {
        let is_stream = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        let target = if is_stream || is_standard(path) { path.to_owned() } else { followed(path) };
        let out = Self { is_stream: is_stream || is_standard(path), path: target };
        if out.is_stream {
            return Ok(out);
        }
        if inputs.iter().any(|input| out.is_read_from(input)) {
            return Err(Error::Usage(format!("{option} {} is what is read: name another file", path.display())));
        }
        if belongs_to_a_run(&out.path) {
            let error = Error::run(path, "is a file of a run, which is not overwritten");
            return Err(error.with_hint(format!("{option} takes any other name")));
        }
        Ok(out)
    }

    /// Whether it is no file on a disk.
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Writes it: a file whole or not at all, a stream as it comes.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn write(&self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
        if !self.is_stream {
            return write_whole(&self.path, content);
        }
        let written = if is_standard(&self.path) {
            put(io::stdout().lock(), content)
        } else {
            fs::OpenOptions::new().write(true).open(&self.path).and_then(|stream| put(stream, content))
        };
        written.map_err(|source| Error::io(&self.path, source))
    }

    fn is_read_from(&self, input: &Path) -> bool {
        let Ok(input) = fs::canonicalize(input) else { return false };
        let own = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        // Of a folder the weights are read.
        let is_weights =
            || Choice::ALL.map(Choice::file).into_iter().chain(["last.safetensors"]).any(|name| own.ends_with(name));
        own == input || (own.parent() == Some(&input) && is_weights())
    }
}

fn put(stream: impl Write, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut stream = BufWriter::new(stream);
    content(&mut stream)?;
    stream.flush()
}

/// Standard output by its name: opened again, it would be written from the beginning.
fn is_standard(path: &Path) -> bool {
    cfg!(unix) && path == Path::new("/dev/stdout")
}

/// Where symbolic links lead, whether there is something or not.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(next) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// Whether a run writes a file of this name into its folder.
fn is_of_run(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    matches!(&*name, "config.toml" | "metrics.jsonl" | "log.txt" | "last.safetensors" | "evaluation.json" | ".lock")
        || matches!(&*name, "spectrum.jsonl" | "spectrum.svg")
        || Choice::ALL.map(Choice::file).contains(&&*name)
        || name.starts_with("events.out.tfevents")
}

/// Whether a path names a file of a run: one of those in its folder, or anything among its checkpoints.
fn belongs_to_a_run(path: &Path) -> bool {
    let folder = |path: &Path| {
        let parent = path.parent().unwrap_or(Path::new(""));
        fs::canonicalize(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }).ok()
    };
    let Some(home) = folder(path) else { return false };
    let is_checkpoint = home.ends_with("checkpoints") && home.parent().is_some_and(is_run);
    is_checkpoint || (is_of_run(path) && is_run(&home))
}

/// Whether a folder is that of a run.
fn is_run(folder: &Path) -> bool {
    let config = fs::read_to_string(folder.join("config.toml")).ok();
    config.and_then(|text| text.parse::<Table>().ok()).is_some_and(|config| config.contains_key("run"))
}
