//! Trains the runs of a comparison that are not done yet, in one process: one after another, or several at once in threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::compare::formats;
use crate::compare::group::is_told_apart;
use crate::compare::plan::{Plan, PlannedArm, in_arm, listed};
use crate::compare::read::{Phase, Run, damaged, inside, passes};
use crate::compare::told::Told;
use crate::device::choose::Device;
use crate::error::Error;
use crate::recipe::{DeviceOptions, Options, Recipe, file};
use crate::report::console::Console;
use crate::report::{Observer, Silent};
use crate::run::folder::{self, RunFolder};
use crate::run::origin::Origin;
use crate::run::signals::Signals;
use crate::run::state::State;
use crate::shown::{self, shown};
use crate::train::feed::Feeds;
use crate::train::outcome::Outcome;
use crate::train::work::{Call, Work};
use crate::train::{place, prepare};

/// How the runs of a comparison are trained.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The folder that holds a folder for each run.
    pub out: &'a Path,
    /// Runs at once.
    pub jobs: usize,
    /// Whether runs that have failed are tried again.
    pub retries: bool,
}

/// A run that is to be trained.
struct Task<'a> {
    number: usize,
    arm: &'a PlannedArm,
    seed: u64,
    path: PathBuf,
    /// Whether it goes on.
    is_begun: bool,
    work: f64,
}

/// Trains what is missing; says how many of the comparison's runs have failed, now or before.
///
/// # Errors
/// [`Error::Run`] when the folder holds runs of another comparison or another process works in it, [`Error::Stopped`] after a
/// signal; whatever is wrong with the device, the file system, or all runs of an arm. A run whose numbers do not stay finite,
/// or whose device fails, ends no other.
pub fn train(plan: &Plan, settings: Settings<'_>, console: &Console) -> Result<usize, Error> {
    // Before a device is looked for: drivers set signal handlers of their own.
    let signals = Signals::listen()?;
    let states = states(plan, settings.out)?;
    let all = states.len();
    let failed = states.iter().filter(|state| matches!(state, Some(State::Failed(_)))).count();
    let is_open = |state: &Option<State>| match state {
        Some(State::Finished) => false,
        Some(State::Failed(_)) => settings.retries,
        _ => true,
    };
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for (place, ((arm, seed), state)) in plan.runs().zip(&states).enumerate().filter(|(_, (_, state))| is_open(state)) {
        let path = settings.out.join(arm.run(seed));
        tasks.push(Task { number: place + 1, arm, seed, path, is_begun: state.is_some(), work: work(arm)? });
    }
    let told = Told::new(console, all, tasks.iter().map(|task| task.work).sum());
    plan.notices.iter().for_each(|notice| told.observe(&crate::report::Event::Notice { message: notice }));
    let runner = Runner { plan, settings, signals, told: &told, devices: Mutex::default(), jobs: 1 };
    let result = runner.train(&tasks);
    told.finish();
    let ends = result?;
    let failed = ends.failed + if settings.retries { 0 } else { failed };
    match signals.received().filter(|_| ends.open > 0) {
        Some(signal) => Err(Error::Stopped { signal, done: all - ends.open - failed, all }),
        None => Ok(failed),
    }
}

/// How much work a run of the arm is: passes, a backward one for two forward ones, over its images.
fn work(arm: &PlannedArm) -> Result<f64, Error> {
    let phases = passes(&Options::from(&arm.recipe))?;
    let of = |phase: &Phase| f64::from(phase.epochs) * (phase.passes[0] + 2 * phase.passes[1]) as f64;
    Ok(phases.iter().map(of).sum::<f64>() * arm.dataset.train.len() as f64)
}

/// What became of each run, in the plan's order; None where it has not begun.
fn states(plan: &Plan, out: &Path) -> Result<Vec<Option<State>>, Error> {
    if folder::is_run(out) {
        let error = Error::run(out, "is a run, and a comparison is a folder of runs");
        return Err(error.with_hint("--out names another folder"));
    }
    if !out.exists() {
        return Ok(plan.runs().map(|_| None).collect());
    }
    formats::nothing_is_lost(out)?;
    let mut strangers = inside(out)?;
    strangers.retain(|path| plan.runs().all(|(arm, seed)| *path != out.join(arm.run(seed))));
    if let Some(first) = strangers.first() {
        let name = shown(&first.file_name().unwrap_or_default().to_string_lossy());
        let more = match strangers.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let error = Error::run(out, format!("holds {name}, a run that is no part of this comparison{more}"));
        let hint = "ask for it too (--methods, --losses, --seeds, --vary), or name another folder with --out";
        return Err(error.with_hint(hint));
    }
    plan.runs().map(|(arm, seed)| state(arm, seed, &out.join(arm.run(seed)))).collect()
}

/// What became of a run, which must be the one that is planned.
fn state(arm: &PlannedArm, seed: u64, path: &Path) -> Result<Option<State>, Error> {
    if !folder::is_run(path) {
        return Ok(None);
    }
    let run = Run::read(path).map_err(|error| damaged(error, path, &anew(path)))?;
    let counts = |key: &str| key == "seed" || is_told_apart(key);
    let changed = file::differences_in(&run.settings, &arm.settings(seed)?, counts);
    let elsewhere = "--out names another folder";
    if !changed.is_empty() {
        let error = Error::run(path, format!("is a run with other settings: {}", changed.join("; ")));
        return Err(error.with_hint(format!("{elsewhere}, or give the settings that this one has")));
    }
    if run.origin.fingerprint != arm.fingerprint {
        let message = format!("is a run on other data than those at {} are", arm.recipe.data);
        return Err(Error::run(path, message).with_hint(format!("{elsewhere}; --data names the data")));
    }
    match run.state {
        State::Running => Err(busy(path)),
        state => Ok(Some(state)),
    }
}

/// What to do with a run that cannot be read, or cannot go on.
fn anew(path: &Path) -> String {
    format!("remove {}: the same command trains it anew", shown::word(path))
}

/// Another process has the run.
fn busy(path: &Path) -> Error {
    let error = Error::run(path, "another process is working on this run");
    error.with_hint("wait until it has ended, or end it: the same command goes on then")
}

/// How runs ended.
#[derive(Clone, Copy, Default)]
struct Ends {
    failed: usize,
    /// Not done.
    open: usize,
}

struct Runner<'a> {
    plan: &'a Plan,
    settings: Settings<'a>,
    signals: &'a Signals,
    told: &'a Told<'a>,
    /// Devices by their options: each is looked for once.
    devices: Mutex<Vec<(DeviceOptions, Device)>>,
    jobs: usize,
}

/// What threads share.
#[derive(Default)]
struct Queue {
    next: AtomicUsize,
    done: AtomicUsize,
    failed: AtomicUsize,
    is_stopped: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Runner<'_> {
    fn train(mut self, tasks: &[Task<'_>]) -> Result<Ends, Error> {
        self.jobs = self.jobs_that_fit(tasks)?;
        let (queue, runner) = (Queue::default(), &self);
        if runner.jobs == 1 {
            runner.work(tasks, &queue);
        } else {
            thread::scope(|scope| {
                for number in 1..=runner.jobs {
                    let work = || runner.work(tasks, &queue);
                    let thread = thread::Builder::new().name(format!("run {number}")).spawn_scoped(scope, work);
                    if let Err(source) = thread {
                        queue.stop(Error::io("the thread of a run", source));
                    }
                }
            });
        }
        let error = queue.error.into_inner().unwrap_or_else(PoisonError::into_inner);
        let [done, failed] = [queue.done, queue.failed].map(AtomicUsize::into_inner);
        error.map_or(Ok(Ends { failed, open: tasks.len() - done - failed }), Err)
    }

    /// Trains runs until none is left, or until there is a reason to stop.
    fn work(&self, tasks: &[Task<'_>], queue: &Queue) {
        while !queue.is_stopped.load(Ordering::SeqCst) && self.signals.received().is_none() {
            let Some(task) = tasks.get(queue.next.fetch_add(1, Ordering::SeqCst)) else { return };
            match self.run(task) {
                Ok(outcome) => {
                    queue.done.fetch_add(1, Ordering::SeqCst);
                    let accuracy = &outcome.last.accuracy;
                    let text = format!("overall {:.2} %, balanced {:.2} %", accuracy.overall, accuracy.balanced);
                    self.told.end(task.number, &text);
                }
                Err(Error::Interrupted { .. }) => self.told.end(task.number, "stopped, everything is saved"),
                Err(error) if ends_alone(&error, &task.path) => {
                    queue.failed.fetch_add(1, Ordering::SeqCst);
                    self.told.fail(task.number, &task.path, &error);
                }
                Err(error) => queue.stop(error),
            }
        }
    }

    /// Begins a run, or goes on with it; says where another process has it, or where it has to be removed.
    fn run(&self, task: &Task<'_>) -> Result<Outcome, Error> {
        let path = &task.path;
        // Begun by another process since this one looked.
        let is_taken = || !task.is_begun && folder::is_run(path);
        if is_taken() {
            return Err(busy(path));
        }
        self.train_one(task).map_err(|error| match &error {
            Error::Run { .. } if folder::is_locked(path) => busy(path),
            Error::Usage(_) if is_taken() => busy(path),
            Error::Run { .. } | Error::File { .. } | Error::Weights { .. } if task.is_begun => {
                damaged(error, path, &anew(path))
            }
            _ => error,
        })
    }

    fn train_one(&self, task: &Task<'_>) -> Result<Outcome, Error> {
        let Task { arm, seed, path, .. } = task;
        let wanted = &self.plan.wanted;
        let name = arm.run(*seed);
        let watch = self.told.begin(task.number, &name, task.work, task.is_begun);
        let device = self.device(&arm.options.device, &watch)?.shared(self.jobs);
        let device_options = device.applicable(&arm.options.device, &watch);
        let options = Options { seed: Some(*seed), device: device_options, ..arm.options.clone() };
        let (typed, fingerprint) = (arm.typed.clone(), wanted.fingerprint.clone());
        let mut call = Call { options, typed, origin: wanted.origin.clone(), fingerprint, out: Some(path.clone()) };
        let mut earlier = None;
        if task.is_begun {
            let folder = RunFolder::open(path)?;
            let (_, origin) = file::read::<Origin>(&folder.config())?;
            call.fingerprint = origin.as_ref().map(|origin| origin.fingerprint.clone());
            (call.origin, call.out, earlier) = (origin, None, Some(folder));
        }
        let dataset = arm.dataset.clone();
        Work { call: &call, device, dataset, earlier, signals: self.signals }.train(&watch, &|_| {})
    }

    /// The device of these options.
    fn device(&self, options: &DeviceOptions, observer: &dyn Observer) -> Result<Device, Error> {
        let mut known = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, device)) = known.iter().find(|(known, _)| known == options) {
            return Ok(device.clone());
        }
        let device = Device::choose(options, observer)?;
        known.push((options.clone(), device.clone()));
        Ok(device)
    }

    /// How many runs train at once. Each arm is laid out on its device, so that one that does not fit is known before hours
    /// are spent on others.
    fn jobs_that_fit(&self, tasks: &[Task<'_>]) -> Result<usize, Error> {
        let wanted = self.settings.jobs.clamp(1, tasks.len().max(1));
        let (mut jobs, mut reason) = (wanted, String::new());
        let mut laid_out: Vec<&str> = Vec::new();
        for Task { arm, seed, .. } in tasks {
            if laid_out.contains(&arm.name.as_str()) {
                continue;
            }
            laid_out.push(&arm.name);
            let whose = |error| in_arm(&arm.name, error);
            let device = self.device(&arm.options.device, self.told).map_err(whose)?;
            let recipe = Recipe { seed: *seed, ..arm.recipe.clone() };
            let prepared = prepare(recipe, arm.dataset.clone(), self.told).map_err(whose)?;
            let placed = place(device, &prepared, &Silent).map_err(whose)?;
            let cores = placed.device.cores().threads;
            if cores < jobs {
                (jobs, reason) = (cores, format!("{} has no more threads", placed.device.name()));
            }
            let samples = match placed.staged {
                Some(rows) => Feeds::staged_bytes(&prepared.dataset, rows),
                None => Feeds::resident_bytes(&prepared.dataset),
            };
            let fit = placed.device.side_by_side(&placed.layout, samples, jobs);
            if fit < jobs {
                (jobs, reason) = (fit, format!("{} has no memory for more", placed.device.name()));
            }
        }
        if jobs < wanted {
            let runs = if jobs == 1 { "one run trains".into() } else { format!("{jobs} runs train") };
            self.told.warn(&format!("warning: --jobs {}: {runs} at a time, for {reason}", self.settings.jobs));
        }
        Ok(jobs)
    }
}

impl Queue {
    /// No further run begins; the first reason counts.
    fn stop(&self, error: Error) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Whether other runs may do better: this one was begun, and its log says how it failed.
fn ends_alone(error: &Error, path: &Path) -> bool {
    let is_of_all = matches!(error, Error::Io { .. } | Error::Run { .. } | Error::Usage(_) | Error::File { .. });
    !is_of_all && matches!(State::of(path, None), State::Failed(_))
}

/// The folder of a comparison where none is named.
pub fn usual_folder(plan: &Plan) -> PathBuf {
    let names: Vec<String> = plan.arms.iter().map(|arm| arm.dataset.name.chars().take(LONGEST).collect()).collect();
    let mut distinct: Vec<String> = Vec::new();
    names.into_iter().for_each(|name| {
        if !distinct.contains(&name) {
            distinct.push(name)
        }
    });
    let name = listed(&distinct).replace(|letter: char| letter.is_control() || "/\\: ,".contains(letter), "_");
    Path::new("runs").join(format!("compare-{name}"))
}

/// Letters of a data set's name in that of a folder.
const LONGEST: usize = 40;
