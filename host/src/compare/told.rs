//! How a comparison is told while it trains: one line for the runs in work, and what each of them warns of.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};

use crate::error::Error;
use crate::report::console::Console;
use crate::report::observer::{Advance, Event, Observer};
use crate::report::progress::write;
use crate::shown::sentence;

/// Tells of all runs of a comparison.
pub struct Told<'a> {
    console: &'a Console,
    all: usize,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// Warnings that were told.
    said: Vec<String>,
    /// Runs in work, by number.
    runs: BTreeMap<usize, Now>,
    /// Work that was done here, and that is left, of runs that do not train now.
    done: f64,
    left: f64,
}

impl State {
    /// Whether this was not told before; now it is.
    fn is_new(&mut self, message: &str) -> bool {
        let is_new = self.said.iter().all(|said| said != message);
        if is_new {
            self.said.push(message.to_owned());
        }
        is_new
    }
}

/// A run in work.
#[derive(Clone, Debug)]
struct Now {
    name: String,
    /// How much work all of it is.
    work: f64,
    /// What share was done before, and is done now.
    before: f64,
    share: f64,
    epoch: u32,
    epochs: u32,
    images: u64,
    loss: Option<f64>,
}

impl<'a> Told<'a> {
    /// Tells of so many runs, of which so much work is left.
    pub fn new(console: &'a Console, all: usize, left: f64) -> Self {
        let is_shown = io::stderr().is_terminal() && !console.is_quiet() && !console.is_json();
        let bar = is_shown.then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.set_style(
                ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
        }
        let state = State { bar, said: Vec::new(), runs: BTreeMap::new(), done: 0.0, left };
        Self { console, all, begun: Instant::now(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins, or goes on: the one of this number, from 1.
    pub fn begin(&self, number: usize, name: &str, work: f64, goes_on: bool) -> Watch<'_> {
        let mut state = self.state();
        state.left -= work;
        let (before, share, epoch, epochs, images, loss) = (0.0, 0.0, 0, 0, 0, None);
        state.runs.insert(number, Now { name: name.into(), work, before, share, epoch, epochs, images, loss });
        Watch { told: self, number, goes_on, run: Mutex::new(String::new()), told_last: Mutex::new(None) }
    }

    /// A run in this folder has failed.
    pub fn fail(&self, number: usize, path: &Path, error: &Error) {
        if self.console.is_json() {
            let failed = Event::Failed { message: error.to_string(), hint: error.hint() };
            self.console.tell_of(&failed, &path.display().to_string());
        }
        self.end(number, &format!("failed: {error}"));
    }

    /// A run has ended, with this to say of it.
    pub fn end(&self, number: usize, text: &str) {
        let (line, left) = {
            let mut state = self.state();
            let Some(now) = state.runs.remove(&number) else { return };
            state.done += now.work * (1.0 - now.before);
            (format!("run {number} of {}, {}: {text}", self.all, now.name), self.seconds_left(&state))
        };
        if !self.console.is_quiet() && !self.console.is_json() {
            let left = left.map(|left| format!("; {left} left of all")).unwrap_or_default();
            self.line(&format!("{line}{left}"));
        }
    }

    /// Takes the line of runs in work away.
    pub fn finish(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Until all runs are done, by the pace so far.
    fn seconds_left(&self, state: &State) -> Option<String> {
        let here: f64 = state.runs.values().map(|now| now.work * (now.share - now.before)).sum();
        let open: f64 = state.runs.values().map(|now| now.work * (1.0 - now.share)).sum();
        let (done, left) = (state.done + here, state.left + open);
        let seconds = self.begun.elapsed().as_secs_f64() * left / done;
        (left > 0.0 && seconds.is_finite())
            .then(|| FormattedDuration(Duration::from_secs_f64(seconds.min(1e9))).to_string())
    }

    /// A line above the one of runs in work.
    fn line(&self, text: &str) {
        match &self.state().bar {
            Some(bar) => bar.println(text),
            None => write(&format!("{text}\n")),
        }
    }

    /// Shows the runs in work.
    fn show(&self) {
        let state = self.state();
        let Some(bar) = &state.bar else { return };
        let run = |(number, now): (&usize, &Now)| {
            let loss = now.loss.map(|loss| format!(", loss {loss:.4}")).unwrap_or_default();
            let last = now.epochs.saturating_sub(1);
            format!("run {number} of {}, {}: epoch {} of 0..={last}{loss}", self.all, now.name, now.epoch)
        };
        let runs: Vec<String> = state.runs.iter().map(run).collect();
        let left = self.seconds_left(&state).map(|left| format!("; {left} left of all")).unwrap_or_default();
        bar.set_message(format!("{}{left}", runs.join(" | ")));
        bar.tick();
    }

    /// Warns of what is prepared, of a run where it has a name: once of the same thing, which is prepared for many runs.
    fn warn_once(&self, run: Option<&str>, is_notice: bool, message: &str) {
        if self.state().is_new(message) {
            self.warn_of(run, is_notice, message);
        }
    }

    /// Whether this was told of what is prepared.
    fn is_said(&self, message: &str) -> bool {
        self.state().said.iter().any(|said| said == message)
    }

    /// Warns, of a run where it has a name.
    fn warn_of(&self, run: Option<&str>, is_notice: bool, message: &str) {
        if is_notice && self.console.is_quiet() {
            return;
        }
        let text = match run {
            Some(run) => format!("{run}: {message}"),
            None => message.to_owned(),
        };
        if self.console.is_json() {
            self.console.observe(&Event::Warning { message: &text });
        } else {
            self.line(&format!("sse-sam: {}", sentence(&text)));
        }
    }
}

/// Before any run: warnings of what is prepared, once each.
impl Observer for Told<'_> {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Warning { message } => self.warn_once(None, false, message),
            Event::Notice { message } => self.warn_once(None, true, message),
            _ => {}
        }
    }
}

/// Sees the events of one run.
pub struct Watch<'a> {
    told: &'a Told<'a>,
    number: usize,
    /// Whether it was begun before.
    goes_on: bool,
    /// The run's folder, once it trains.
    run: Mutex<String>,
    /// When a program was told last how far it is.
    told_last: Mutex<Option<Instant>>,
}

impl Watch<'_> {
    fn name(&self) -> Option<String> {
        self.told.state().runs.get(&self.number).map(|now| now.name.clone())
    }

    /// Warns of the run: of what happens while it trains every time, of what is prepared before that once. Of a run that goes
    /// on some of that is its own: its checkpoints, its device.
    fn tell(&self, is_notice: bool, message: &str) {
        let has_begun = !self.run.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        let name = self.name();
        if has_begun || self.goes_on && !self.told.is_said(message) {
            self.told.warn_of(name.as_deref(), is_notice, message);
        } else {
            self.told.warn_once(name.as_deref(), is_notice, message);
        }
    }

    /// Follows how far the run is.
    fn follow(&self, event: &Event<'_>) {
        let mut state = self.told.state();
        let Some(now) = state.runs.get_mut(&self.number) else { return };
        let share = |epoch: u32, images: u64, now: &Now| {
            let whole = (now.images * u64::from(now.epochs)).max(1);
            ((now.images * u64::from(epoch) + images) as f64 / whole as f64).min(1.0)
        };
        match event {
            Event::Start { epochs, epoch, images, .. } => {
                (now.epochs, now.epoch, now.images) = (*epochs, *epoch, *images);
                now.before = share(*epoch, 0, now);
                now.share = now.before;
            }
            Event::Progress(Advance { epoch, images, loss, .. }) => {
                (now.epoch, now.loss) = (*epoch, Some(*loss));
                now.share = share(*epoch, *images, now).max(now.before);
            }
            _ => {}
        }
    }

    /// Whether a second has passed since a program was told last how far it is.
    fn is_due(&self) -> bool {
        let mut last = self.told_last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

impl Observer for Watch<'_> {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Start { run, .. } = event {
            self.run.lock().unwrap_or_else(PoisonError::into_inner).clone_from(run);
        }
        match event {
            Event::Warning { message } => return self.tell(false, message),
            Event::Notice { message } => return self.tell(true, message),
            _ => self.follow(event),
        }
        let is_progress = matches!(event, Event::Progress(_));
        if self.told.console.is_json() {
            if !self.told.console.is_quiet() && (!is_progress || self.is_due()) {
                let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
                self.told.console.tell_of(event, &run);
            }
        } else if is_progress || matches!(event, Event::Start { .. }) {
            self.told.show();
        }
    }
}
