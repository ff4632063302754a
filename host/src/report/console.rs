//! What the program prints: results on standard output, everything else on standard error.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::error::Error;
use crate::report::observer::{Event, Observer};
use crate::report::progress::{Progress, write};
use crate::shown::{sentence, shown};

/// How a run is told on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: warnings, and a bar on a terminal
    #[default]
    Text,
    /// For programs: one JSON object a line, and nothing on standard output
    Json,
}

/// The terminal, or the program that reads what a command says.
#[derive(Debug)]
pub struct Console {
    format: LogFormat,
    /// Whether it is told of warnings and errors only.
    quiet: bool,
    progress: Mutex<Option<Progress>>,
    /// When a program was told last how far an epoch is.
    told: Mutex<Option<Instant>>,
}

impl Console {
    /// Tells in this way; when `quiet`, of warnings and errors only.
    pub fn new(format: LogFormat, quiet: bool) -> Self {
        Self { format, quiet, progress: Mutex::new(None), told: Mutex::new(None) }
    }

    /// Prints lines about a run for people, unless it is quiet. A standard output that cannot be written (full disk) does
    /// not end the run.
    pub fn tell_people(&self, text: &str) {
        if self.quiet || self.format == LogFormat::Json {
            return;
        }
        self.clear();
        if let Err(error) = say(text) {
            self.warn(&format!("warning: {error}"));
        }
    }

    /// The program ends, with this error of a command or with none.
    pub fn end(&self, error: Option<&Error>, command: &str) {
        self.clear();
        let help = |error: &Error| {
            let usage = matches!(error, Error::Usage(_));
            usage.then(|| format!("sse-sam {command} --help lists its options"))
        };
        let (message, hint) =
            (error.map(Error::to_string), error.and_then(|error| error.hint().or_else(|| help(error))));
        match (self.format, &message) {
            (LogFormat::Json, _) => {
                tell(&Event::End { exit_code: error.map_or(0, Error::exit_code), message, hint });
            }
            (LogFormat::Text, Some(message)) => {
                let hint = hint.map(|hint| format!("\n  hint: {}", shown(&hint))).unwrap_or_default();
                write(&format!("sse-sam: {message}{hint}\n"));
            }
            (LogFormat::Text, None) => {}
        }
    }

    /// Whether it tells of warnings and errors only.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a program reads it.
    pub(crate) fn is_json(&self) -> bool {
        self.format == LogFormat::Json
    }

    /// Tells a program of an event of one run among several: the run's folder stands under `run`.
    pub(crate) fn tell_of(&self, event: &Event<'_>, run: &str) {
        let Ok(serde_json::Value::Object(mut line)) = serde_json::to_value(event) else { return };
        line.insert("run".into(), run.into());
        write(&format!("{}\n", serde_json::Value::Object(line)));
    }

    /// Takes the bar away, where there is one.
    pub(crate) fn clear(&self) {
        if let Some(progress) = lock(&self.progress).take() {
            progress.finish();
        }
    }

    /// Whether a second has passed since programs were told last how far an epoch is; if so, it begins anew.
    fn is_due(&self) -> bool {
        let mut told = lock(&self.told);
        let is_due = told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1));
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }
}

impl Observer for Console {
    fn observe(&self, event: &Event<'_>) {
        let is_warning = matches!(event, Event::Warning { .. });
        if self.quiet && !is_warning {
            return;
        }
        match (self.format, event) {
            (LogFormat::Text, Event::Warning { message } | Event::Notice { message }) => {
                write(&format!("sse-sam: {}\n", sentence(message)));
            }
            (LogFormat::Json, Event::Warning { message } | Event::Notice { message }) => {
                tell(&Event::Warning { message: message.trim_start_matches("warning: ") });
            }
            (LogFormat::Text, Event::Start { epochs, images, .. }) => {
                *lock(&self.progress) = Some(Progress::new(*epochs, *images));
            }
            (LogFormat::Text, Event::Measuring { group, done, all }) => {
                lock(&self.progress).get_or_insert_with(Progress::of_products).measure(group, *done, *all);
            }
            (LogFormat::Text, _) => {
                if let Some(progress) = &*lock(&self.progress) {
                    progress.show(event);
                }
            }
            (LogFormat::Json, Event::Progress(_)) if !self.is_due() => {}
            (LogFormat::Json, _) => tell(event),
        }
    }
}

/// Prints a line. A closed pipe is not an error: nobody reads any more.
///
/// # Errors
/// [`Error::Io`] when the standard output cannot be written for another reason.
pub fn say(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("standard output", error)),
        _ => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes an event as a line of JSON.
fn tell(event: &Event<'_>) {
    // Events that are not for programs write no line.
    if let Ok(line) = serde_json::to_string(event) {
        write(&format!("{line}\n"));
    }
}

/// Prints help, or what is wrong with a command line. A closed pipe is not an error.
pub fn told_by_clap(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(error.exit_code() as u8)
}
