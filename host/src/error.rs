//! What can go wrong, sorted by the place where a user puts it right.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::shown;

/// Everything that can end a run, one variant for each place where it is put right.
///
/// `Display` is one sentence without a full stop; [`Error::hint`] is the next move, where one is known.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The arguments: the command line has to change.
    Usage(String),
    /// Settings that the core refuses, alone or for this data.
    Core(sse_sam_core::Error),
    /// The file system: missing, not readable, disk full.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content of a data file, or a folder without the files it should have.
    File {
        /// The file or folder; a file of an archive follows the archive after a colon.
        path: PathBuf,
        /// Where in the (decompressed) content, for programs: the message says it too.
        byte: Option<u64>,
        /// What is wrong.
        message: String,
        /// The next move.
        hint: Option<String>,
    },
    /// A weights file that is damaged or belongs to another model.
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong: which tensor, what was expected, what was found.
        message: String,
        /// The next move.
        hint: Option<String>,
    },
    /// A device that is missing, too small, or failed.
    Device {
        /// The device as the user names it.
        device: String,
        /// What is wrong.
        message: String,
        /// The next move.
        hint: Option<String>,
    },
    /// A run's folder that cannot be used as it was asked for.
    Run {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// The next move.
        hint: Option<String>,
    },
    /// A signal ended the run after everything was saved.
    Interrupted {
        /// The signal's number.
        signal: i32,
        /// The epoch, from 0.
        epoch: u32,
        /// Steps of the epoch that were done.
        step: u32,
        /// The run's folder.
        run: PathBuf,
    },
    /// A signal ended a comparison after every run in work had saved everything.
    Stopped {
        /// The signal's number.
        signal: i32,
        /// Runs that are done.
        done: usize,
        /// Of how many.
        all: usize,
    },
    /// Runs of a comparison that failed.
    Failed {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
    /// Training left the finite numbers.
    NotFinite {
        /// The epoch, from 0.
        epoch: u32,
        /// The step in the epoch, from 0.
        step: u32,
        /// Where the last good weights were written.
        saved: Option<PathBuf>,
    },
    /// Reference trajectories that were not met.
    Verify {
        /// How many.
        outside: usize,
        /// Of how many.
        cases: usize,
    },
}

impl Error {
    /// The file system refused something about `path`.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// Something is wrong with the content of a data file.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_owned(), byte: None, message: message.into(), hint: None }
    }

    /// Something is wrong with a weights file.
    pub fn weights(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Weights { path: path.as_ref().to_owned(), message: message.into(), hint: None }
    }

    /// Something is wrong with a run's folder.
    pub fn run(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Run { path: path.as_ref().to_owned(), message: message.into(), hint: None }
    }

    /// Whether something is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The same error, at this byte of the file.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        if let Self::File { byte, .. } = &mut self {
            *byte = Some(offset);
        }
        self
    }

    /// The same error with a next move, where the variant carries one.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::File { hint, .. }
        | Self::Weights { hint, .. }
        | Self::Device { hint, .. }
        | Self::Run { hint, .. } = &mut self
        {
            *hint = Some(text.into());
        }
        self
    }

    /// What to try next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { hint, .. }
            | Self::Weights { hint, .. }
            | Self::Device { hint, .. }
            | Self::Run { hint, .. } => hint.clone(),
            Self::Interrupted { run, .. } => Some(format!("sse-sam resume {} goes on from there", shown::word(run))),
            Self::Core(sse_sam_core::Error::EmptyClass { .. }) => {
                Some("a smaller --imbalance keeps every class".into())
            }
            Self::Core(sse_sam_core::Error::Length { what: "the model's input", expected, .. }) => {
                Some(format!("this data takes --model mlp:{expected}-HIDDEN-CLASSES"))
            }
            Self::Core(sse_sam_core::Error::Length { what: "the model's output", expected, .. }) => {
                Some(format!("this data takes --model mlp:IN-HIDDEN-{expected}"))
            }
            Self::Usage(_) | Self::Core(_) | Self::Io { .. } | Self::Verify { .. } => None,
            Self::Stopped { .. } => Some("the same command goes on from there".into()),
            Self::Failed { .. } => Some("the same command with --retry-failed tries them again".into()),
            Self::NotFinite { saved, .. } => {
                let kept = saved.as_ref().map(|path| format!("; the last good weights are in {}", path.display()));
                Some(format!("try a smaller --lr, a --warmup or smaller radii{}", kept.unwrap_or_default()))
            }
        }
    }

    /// The exit status of a program that ends with this error: 2 for usage, 128 and its number for a signal, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Interrupted { signal, .. } | Self::Stopped { signal, .. } => 128 + *signal as u8,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sentence = String::new();
        self.write(&mut sentence)?;
        // Names of files, tensors and devices come from anywhere.
        f.write_str(&shown::sentence(&sentence))
    }
}

impl Error {
    fn write(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Core(error) => write!(f, "{error}"),
            Self::Io { path, source } => write!(f, "{}: {}", path.display(), system_message(source)),
            Self::File { path, message, .. } | Self::Weights { path, message, .. } => {
                write!(f, "{}: {message}", path.display())
            }
            Self::Device { device, message, .. } => write!(f, "{device}: {message}"),
            Self::Run { path, message, .. } => write!(f, "{}: {message}", path.display()),
            Self::Interrupted { signal, epoch, step, .. } => {
                write!(f, "stopped by signal {signal} after {step} steps of epoch {epoch}; everything is saved")
            }
            Self::Stopped { signal, done, all } => {
                let (all, were) = (shown::runs(*all), if *all == 1 { "was" } else { "were" });
                write!(f, "stopped by signal {signal} when {done} of {all} {were} done; everything is saved")
            }
            Self::Failed { failed: 1, all } => write!(f, "1 of {} has failed", shown::runs(*all)),
            Self::Failed { failed, all } => write!(f, "{failed} of {all} runs have failed"),
            Self::NotFinite { epoch, step, .. } => {
                write!(f, "loss, gradient or weights are no longer finite in epoch {epoch}, step {step}")
            }
            Self::Verify { outside, cases } => write!(f, "{outside} of {cases} cases are outside their bounds"),
        }
    }
}

/// The system's sentence in this program's style: lower case, without the number.
fn system_message(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::NotFound => "no such file or folder".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::StorageFull => "no space left on the disk".into(),
        io::ErrorKind::QuotaExceeded => "the user's share of the disk is used up".into(),
        io::ErrorKind::FileTooLarge => "file too large: a limit of the system (ulimit -f) or of the disk".into(),
        io::ErrorKind::WouldBlock => "the system gives this user no more threads (ulimit -u)".into(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        io::ErrorKind::AlreadyExists => "a file of that name is there already".into(),
        io::ErrorKind::NotADirectory => "a part of the path is a file, not a folder".into(),
        io::ErrorKind::IsADirectory => "is a folder, not a file".into(),
        io::ErrorKind::DirectoryNotEmpty => "the folder is not empty".into(),
        io::ErrorKind::InvalidFilename => {
            "the name is too long, or has a letter that the file system does not take".into()
        }
        _ => {
            let text = source.to_string();
            text.split(" (os error ").next().unwrap_or_default().to_lowercase()
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Core(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<sse_sam_core::Error> for Error {
    fn from(error: sse_sam_core::Error) -> Self {
        Self::Core(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_error_reads_as_one_sentence_with_a_hint() {
        let error = Error::file("train.bin", "label 117 at byte 30730 is not below 100")
            .at(30730)
            .with_hint("this looks like a CIFAR-10 file; try --dataset cifar10");
        assert_eq!(error.to_string(), "train.bin: label 117 at byte 30730 is not below 100");
        assert_eq!(error.hint().unwrap(), "this looks like a CIFAR-10 file; try --dataset cifar10");
        assert!(matches!(error, Error::File { byte: Some(30730), .. }));
    }

    #[test]
    fn only_usage_exits_with_two() {
        assert_eq!(Error::Usage("no such option".into()).exit_code(), 2);
        assert_eq!(Error::io("x", io::ErrorKind::NotFound.into()).exit_code(), 1);
        assert_eq!(Error::NotFinite { epoch: 3, step: 7, saved: None }.exit_code(), 1);
    }

    #[test]
    fn a_divergence_says_when_and_where_the_last_good_weights_are() {
        let error = Error::NotFinite { epoch: 3, step: 7, saved: Some("run/last.safetensors".into()) };
        assert_eq!(error.to_string(), "loss, gradient or weights are no longer finite in epoch 3, step 7");
        assert!(error.hint().unwrap().ends_with("the last good weights are in run/last.safetensors"));
    }

    #[test]
    fn a_missing_file_is_named_without_the_systems_number() {
        let error = Error::io("nowhere", io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "nowhere: no such file or folder");
    }
}
