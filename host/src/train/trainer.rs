//! A training on its device, from wherever it stands to its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Backend, Network, Row};

use crate::data::pictures::options::PictureOptions;
use crate::device::layout::Layout;
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::recipe::words::{MethodName, OnNan, word};
use crate::recipe::{Options, Recipe, file};
use crate::report::confusion::Confusion;
use crate::report::metrics::Accuracy;
use crate::report::{Event, Observer};
use crate::run::checkpoint::{Checkpoint, Label};
use crate::run::folder::RunFolder;
use crate::run::journal::Journal;
use crate::run::origin::Origin;
use crate::run::position::{Evaluated, Position, Totals};
use crate::run::signals::Signals;
use crate::run::snapshot::Snapshot;
use crate::run::writer::{Desk, Task, Writer};
use crate::train::epoch::{self, Epoch};
use crate::train::evaluate::{TestSet, evaluate};
use crate::train::feed::{Cut, Feed, Feeds};
use crate::train::keeper::Keeper;
use crate::train::outcome::Outcome;
use crate::train::place::Placed;
use crate::train::spectra;
use crate::train::start::{Start, initialize, write_terms};
use crate::train::told::{self, Pace};
use crate::train::window::{Window, collect};
use crate::weights::torch;

/// A training that is ready to begin or to go on.
#[derive(Debug)]
pub struct Trainer<'a> {
    placed: &'a Placed<'a>,
    start: Start,
    folder: Option<&'a RunFolder>,
    signals: Option<&'a Signals>,
}

impl<'a> Trainer<'a> {
    /// A training that leaves nothing on the disk.
    pub fn new(placed: &'a Placed<'a>, start: Start) -> Self {
        Self { placed, start, folder: None, signals: None }
    }

    /// The same with checkpoints, metrics and weights in this folder.
    #[must_use]
    pub fn in_folder(self, folder: &'a RunFolder) -> Self {
        Self { folder: Some(folder), ..self }
    }

    /// The same, that saves everything and ends when a signal asks for it.
    #[must_use]
    pub fn until(self, signals: &'a Signals) -> Self {
        Self { signals: Some(signals), ..self }
    }

    /// Trains to the last epoch.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when numbers did not stay finite, [`Error::Interrupted`] after a signal, else whatever is wrong
    /// with the device or the folder.
    pub fn run(self, observer: &dyn Observer) -> Result<Outcome, Error> {
        let Self { placed, start, folder, signals } = self;
        let Placed { prepared, layout, staged, .. } = placed;
        let PictureOptions { workers, .. } = prepared.recipe.pictures;
        let pictures =
            PictureOptions { workers: workers.or(prepared.recipe.device.threads), ..PictureOptions::default() };
        let workers = pictures.threads();
        let feeds = Feeds::new(&prepared.dataset, layout.plan.normalization, *staged, workers)?;
        let training = Training {
            placed,
            start: &start,
            train: feeds.train,
            validation: feeds.validation.map(|feed| TestSet { feed, flip: prepared.recipe.flip }),
            test: TestSet { feed: feeds.test, flip: prepared.recipe.flip },
            folder,
            journal: Journal::new(folder, prepared.recipe.tensorboard),
            signals,
            observer,
        };
        placed.device.run(layout, &start.frozen, &feeds.bytes, training, observer)
    }
}

impl Placed<'_> {
    /// Trains from the first weights to the last epoch and leaves nothing on the disk: [`Trainer`] does more.
    ///
    /// # Errors
    /// What is wrong with the initial weights or the device; [`Error::NotFinite`] when numbers did not stay finite.
    pub fn train(&self, observer: &dyn Observer) -> Result<Outcome, Error> {
        Trainer::new(self, Start::new(self, None, observer)?).run(observer)
    }
}

/// A training, as its device runs it.
struct Training<'a> {
    placed: &'a Placed<'a>,
    start: &'a Start,
    train: Feed<'a>,
    validation: Option<TestSet<'a>>,
    test: TestSet<'a>,
    folder: Option<&'a RunFolder>,
    journal: Journal<'a>,
    signals: Option<&'a Signals>,
    observer: &'a dyn Observer,
}

/// What training holds beside the device.
struct Desktop<'a> {
    writer: Writer<'a>,
    keeper: &'a Keeper<'a>,
    /// Since the first step.
    pace: Option<Pace>,
    /// When the last checkpoint was handed over.
    saved: Instant,
    /// How long steps have waited for checkpoints.
    waited: Duration,
}

impl Desktop<'_> {
    /// Does something that the steps wait for.
    fn timed<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.waited += started.elapsed();
        result
    }

    fn seconds_left(&self, done: u64) -> f64 {
        self.pace.map_or(0.0, |pace| pace.seconds_left(done))
    }
}

impl Job for Training<'_> {
    type Output = Outcome;

    fn run<B: Machine>(self, backend: &mut B) -> Result<Outcome, Error>
    where
        Error: From<B::Error>,
    {
        let label = self.begin(backend)?;
        self.initialize(backend)?;
        let (desk, started) = (Desk::default(), Instant::now());
        let keeper = Keeper { placed: self.placed, folder: self.folder, observer: self.observer, label };
        let keeper = &keeper;
        thread::scope(|scope| {
            let writer = Writer::new(&desk);
            let work = || desk.work(|task| keeper.write(task));
            let thread = thread::Builder::new().name("checkpoints".into()).spawn_scoped(scope, work);
            thread.map_err(|source| Error::io("the thread that writes checkpoints", source))?;
            let mut desktop = Desktop { writer, keeper, pace: None, saved: started, waited: Duration::ZERO };
            let result = self.train(backend, &mut desktop);
            let (waited, all) = (desktop.waited.as_secs_f64(), started.elapsed().as_secs_f64());
            self.journal.note(&format!("waited {waited:.4} s of {all:.3} s for checkpoints"));
            result.and_then(|outcome| desktop.writer.flush().map(|()| outcome))
        })
    }
}

impl Training<'_> {
    fn recipe(&self) -> &Recipe {
        &self.placed.prepared.recipe
    }

    fn layout(&self) -> &Layout {
        &self.placed.layout
    }

    /// Writes down what the run is, and brings its folder to where it goes on.
    fn begin<B: Machine>(&self, backend: &B) -> Result<Label, Error> {
        let (recipe, identity) = (self.recipe(), backend.identity());
        let settings = Options::from(recipe).on(&identity.selector).table()?;
        let origin = Origin::new(identity, &self.placed.prepared.fingerprint);
        if let Some(resumed) = &self.start.resumed {
            resumed.what_device_changes(&origin).inspect(|text| self.observer.warn(text));
            resumed.what_more_epochs_change(recipe)?.inspect(|text| {
                self.journal.note(text);
                self.observer.observe(&Event::Notice { message: text });
            });
        }
        let position = self.start.resumed.as_ref().map(|resumed| resumed.checkpoint.position.clone());
        let position = position.unwrap_or_default();
        self.rewind(&position)?;
        if let Some(folder) = self.folder {
            folder.configure(&file::text(&settings, &origin)?)?;
        }
        let Position { epoch, step, .. } = position;
        self.journal.note(&format!("training from epoch {epoch}, step {step} on {}", origin.device));
        self.observer.observe(&Event::Start {
            run: self.path().display().to_string(),
            model: recipe.model.to_string(),
            method: word(&MethodName::of(&recipe.method)),
            device: &origin.device,
            epochs: recipe.epochs,
            epoch,
            step,
            images: self.train.source.len() as u64,
        });
        Ok(Label { settings, origin })
    }

    /// The run's folder, where it has one.
    fn path(&self) -> PathBuf {
        self.folder.map(|folder| folder.path().to_owned()).unwrap_or_default()
    }

    /// Weights, running statistics and tables as they are before the first step.
    fn initialize<B: Backend>(&self, backend: &mut B) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (recipe, layout, description) = (self.recipe(), self.layout(), &self.placed.prepared.description);
        initialize(backend, layout, recipe.seed)?;
        if let Some((path, tensors)) = &self.start.init {
            torch::load(backend, layout, path, tensors)?;
        }
        backend.write(layout.plan.normalization, &description.normalization)?;
        write_terms(backend, &layout.plan, &recipe.loss, &description.counts)
    }

    /// The checkpoint that training begins at, and the one that a rollback goes back to.
    fn first<B: Machine>(&self, backend: &mut B, desktop: &mut Desktop<'_>) -> Result<(Checkpoint, Checkpoint), Error>
    where
        Error: From<B::Error>,
    {
        if let Some(resumed) = &self.start.resumed {
            resumed.checkpoint.snapshot.write(backend, self.layout())?;
            return Ok((resumed.checkpoint.clone(), resumed.target.clone()));
        }
        let snapshot = Arc::new(Snapshot::read(backend, self.layout(), 0, &self.start.tracked)?);
        let now = Checkpoint { position: Position::default(), snapshot, best: None };
        // What a rollback may go back to lies on the disk before anything is measured.
        self.hand_over(&now, desktop)?;
        desktop.writer.flush()?;
        Ok((now.clone(), now))
    }

    fn train<B: Machine>(&self, backend: &mut B, desktop: &mut Desktop<'_>) -> Result<Outcome, Error>
    where
        Error: From<B::Error>,
    {
        let recipe = self.recipe();
        let (mut now, mut target) = self.first(backend, desktop)?;
        desktop.writer.put(Task::Best(now.best.clone()))?;
        let mut last = None;
        while !now.position.is_over(recipe.epochs, recipe.patience) {
            let result = match self.signal() {
                Some(signal) => Err(self.interrupted(signal, &now.position)),
                None => self.epoch(backend, &mut now, desktop),
            };
            match result {
                Ok(result) => last = Some(result),
                Err(Error::NotFinite { epoch, step, .. }) => {
                    if recipe.on_nan == OnNan::Stop || now.position.rollbacks == recipe.rollbacks {
                        return Err(stopped(desktop.keeper, &target.snapshot, epoch, step));
                    }
                    now = self.roll_back(backend, &target, now.position.rollbacks + 1, (epoch, step), desktop)?;
                    continue;
                }
                Err(error @ Error::Interrupted { .. }) => return Err(self.suspend(backend, now, desktop, error)?),
                Err(error) => return Err(error),
            }
            if let (true, Some((_, confusion))) = (now.position.is_over(recipe.epochs, recipe.patience), &last) {
                if now.position.epoch < recipe.epochs {
                    self.stop_early(&now.position);
                }
                // The last checkpoint says that everything else is in place.
                desktop.writer.flush()?;
                desktop.keeper.last(&now.snapshot)?;
                desktop.keeper.evaluation(confusion)?;
            } else if !now.position.epoch.is_multiple_of(recipe.checkpoint_every) {
                continue;
            }
            now.position.target = now.position.epoch;
            target = now.clone();
            self.hand_over(&now, desktop)?;
        }
        desktop.writer.flush()?;
        match (last, now.position.best, now.best) {
            (Some((last, _)), Some(best), Some(best_weights)) => {
                Ok(Outcome { last, best, rollbacks: now.position.rollbacks, weights: now.snapshot, best_weights })
            }
            _ => Err(Error::Usage(format!("no epoch is left: all {} are trained", recipe.epochs))),
        }
    }

    /// The rest of an epoch, its evaluation and its line in `metrics.jsonl`.
    fn epoch<B: Machine>(
        &self,
        backend: &mut B,
        now: &mut Checkpoint,
        desktop: &mut Desktop<'_>,
    ) -> Result<(Evaluated, Confusion), Error>
    where
        Error: From<B::Error>,
    {
        if now.position.step == 0 {
            now.position.epochs = self.recipe().epochs;
        }
        let (started, before) = (Instant::now(), now.position.totals.rows);
        self.steps(backend, now, desktop)?;
        let seconds = started.elapsed().as_secs_f64();
        let position = &mut now.position;
        let read = || Snapshot::read(backend, self.layout(), position.updates, &self.start.tracked);
        let snapshot = desktop.timed(read)?;
        if !snapshot.is_finite() {
            return Err(Error::NotFinite { epoch: position.epoch, step: position.step.saturating_sub(1), saved: None });
        }
        now.snapshot = Arc::new(snapshot);
        let validated = self.validation.map(|set| self.evaluate(backend, position, &set)).transpose()?;
        let confusion = self.evaluate(backend, position, &self.test)?;
        let evaluated = Evaluated {
            epoch: position.epoch,
            updates: position.updates,
            accuracy: self.accuracy(&confusion),
            validation: validated.map(|validated| self.accuracy(&validated)),
        };
        self.measure_spectra(&now.snapshot, position)?;
        self.tell(position, &evaluated, (position.totals.rows - before, seconds), desktop)?;
        if position.best.as_ref().is_none_or(|best| evaluated.choice() > best.choice()) {
            position.best = Some(evaluated.clone());
            now.best = Some(Arc::clone(&now.snapshot));
            desktop.writer.put(Task::Best(now.best.clone()))?;
        }
        position.epoch += 1;
        position.step = 0;
        position.totals = Totals::default();
        Ok((evaluated, confusion))
    }

    /// Measures spectra, where the recipe asks for them after this epoch.
    fn measure_spectra(&self, snapshot: &Snapshot, position: &Position) -> Result<(), Error> {
        let Some(folder) = self.folder.filter(|_| self.recipe().measures_spectra(position.epoch, position.epochs))
        else {
            return Ok(());
        };
        let proceed = || self.signal().map_or(Ok(()), |signal| Err(self.interrupted(signal, position)));
        match spectra::measure(self.placed, snapshot, position, folder, &proceed, self.observer) {
            // A device without room for it, numbers that overflow or a file that was changed: no reason to lose the training.
            Err(error @ (Error::Device { .. } | Error::Usage(_) | Error::File { .. })) => {
                let text = format!("no spectrum of epoch {}: {error}", position.epoch);
                self.journal.note(&text);
                self.observer.warn(&format!("warning: {text}"));
                Ok(())
            }
            other => other,
        }
    }

    /// Cuts everything that is written line by line back to where the run goes on.
    fn rewind(&self, position: &Position) -> Result<(), Error> {
        self.journal.rewind(position)?;
        let recipe = self.recipe();
        let Some(folder) = self.folder else { return Ok(()) };
        spectra::rewind(folder, position, (&recipe.method, recipe.epochs), self.observer)
    }

    /// Tells of an epoch that was evaluated, and of so many images trained in so many seconds.
    fn tell(
        &self,
        position: &mut Position,
        evaluated: &Evaluated,
        (rows, seconds): (f64, f64),
        desktop: &Desktop<'_>,
    ) -> Result<(), Error> {
        let line = told::line(self.recipe(), position, evaluated)?;
        position.metrics = self.journal.measure(&line)?;
        let images_per_second = rows / seconds;
        let seconds_left = desktop.seconds_left(self.images() * u64::from(position.epoch + 1));
        self.observer.observe(&Event::Evaluated { images_per_second, seconds_left, line: &line });
        // Nothing was trained where a run goes on with an evaluation.
        let pace = (rows > 0.0).then(|| ("images_per_s".into(), images_per_second));
        let more: Vec<_> = told::radii(self.recipe(), position)?.into_iter().chain(pace).collect();
        self.journal.show(&line, &more)?;
        let epoch = position.epoch;
        self.journal.note(&format!("epoch {epoch}: trained {seconds:.3} s, {images_per_second:.0} images/s"));
        Ok(())
    }

    /// Training images of an epoch.
    fn images(&self) -> u64 {
        self.train.source.len() as u64
    }

    /// The steps of an epoch that are not done yet.
    fn steps<B: Machine>(&self, backend: &mut B, now: &mut Checkpoint, desktop: &mut Desktop<'_>) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (recipe, layout) = (self.recipe(), self.layout());
        let sgd = epoch::sgd(recipe, &now.position)?;
        let head = recipe.rates.head_factor().and_then(|factor| layout.head_rate(factor));
        let rates = (&sgd, head.as_ref());
        let Epoch { order, words, steps } = Epoch::new(self.placed.prepared, layout, &self.train, &now.position)?;
        let batches: Vec<&[u32]> = order.chunks(layout.batch).collect();
        backend.write(layout.session.table.part(0, words.len())?, &words)?;
        let mut network = layout.network(recipe.loss.focal())?;
        let mut pieces = layout.pieces(recipe.loss.focal(), self.train.samples)?;
        let first = now.position.step as usize;
        let mut window = Window::new(first);
        self.announce(&now.position, desktop);
        let cut = recipe.cut.map(|crop| Cut { crop, seed: recipe.seed, epoch: now.position.epoch });
        self.train.cut(cut).each(backend, &batches, first, |backend, number| {
            let (step, slot) = (&steps[number], number - window.first);
            if slot == 0 {
                layout.session.clear(backend)?;
            }
            let table = layout.session.table.part(step.first_row * Row::WORDS, step.rows * Row::WORDS)?;
            let losses = layout.session.losses(slot)?;
            if let Some(pieces) = &mut pieces {
                pieces.set_batch(step.tally.parts(table)?, losses);
                layout.session.step_with_part(backend, pieces, &step.present, rates, slot)?;
            } else {
                network.gather(backend, table, &self.train.samples, losses)?;
                layout.session.step_with_part(backend, &mut network, &step.present, rates, slot)?;
            }
            let signal = self.signal();
            if slot + 1 == window.steps || number + 1 == steps.len() || signal.is_some() {
                collect(backend, layout, &steps[window.first..=number], &mut now.position)?;
                self.tell_advance(&now.position, desktop)?;
                window = window.next(number + 1);
                if let Some(signal) = signal {
                    return Err(self.interrupted(signal, &now.position));
                }
                self.save_in_time(backend, now, desktop)?;
            }
            Ok(())
        })
    }

    /// Tells that the steps of an epoch begin or go on, and of another stage.
    fn announce(&self, position: &Position, desktop: &mut Desktop<'_>) {
        let (epoch, images) = (position.epoch, position.totals.rows as u64);
        let before = self.images() * u64::from(epoch) + images;
        let all = self.images() * u64::from(self.recipe().epochs);
        desktop.pace.get_or_insert_with(|| Pace::new(before, all));
        let stage = |epoch: u32| self.recipe().method.stage(epoch, position.epochs);
        self.observer.observe(&Event::Epoch { epoch, stage: stage(epoch), images });
        if epoch > 0 && stage(epoch) != stage(epoch - 1) {
            let text = format!("stage {} begins with epoch {epoch}: only the tail is perturbed", stage(epoch));
            self.observer.observe(&Event::Stage { epoch, stage: stage(epoch), message: &text });
            self.journal.note(&text);
        }
    }

    fn tell_advance(&self, position: &Position, desktop: &Desktop<'_>) -> Result<(), Error> {
        let done = self.images() * u64::from(position.epoch) + position.totals.rows as u64;
        let advance = told::advance(self.recipe(), position, desktop.seconds_left(done))?;
        self.observer.observe(&Event::Progress(advance));
        Ok(())
    }

    /// The signal that asked for an end.
    fn signal(&self) -> Option<i32> {
        self.signals?.received()
    }

    fn interrupted(&self, signal: i32, position: &Position) -> Error {
        Error::Interrupted { signal, epoch: position.epoch, step: position.step, run: self.path() }
    }

    /// Saves where the run stands before it ends by a signal.
    fn suspend<B: Backend>(
        &self,
        backend: &mut B,
        mut now: Checkpoint,
        desktop: &mut Desktop<'_>,
        error: Error,
    ) -> Result<Error, Error>
    where
        Error: From<B::Error>,
    {
        desktop.writer.flush()?;
        let snapshot = Snapshot::read(backend, self.layout(), now.position.updates, &self.start.tracked)?;
        if snapshot.is_finite() {
            now.snapshot = Arc::new(snapshot);
            self.hand_over(&now, desktop)?;
        }
        desktop.writer.flush()?;
        Ok(error)
    }

    /// Saves where the run stands in mid-epoch, when it is time and the second thread has nothing else to do.
    fn save_in_time<B: Backend>(
        &self,
        backend: &mut B,
        now: &Checkpoint,
        desktop: &mut Desktop<'_>,
    ) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let elapsed = desktop.saved.elapsed().as_secs_f64();
        let due = self.recipe().checkpoint_minutes.is_some_and(|minutes| elapsed > minutes.seconds());
        if !due || self.folder.is_none() || !desktop.writer.is_idle() {
            return Ok(());
        }
        let read = || Snapshot::read(backend, self.layout(), now.position.updates, &self.start.tracked);
        let snapshot = desktop.timed(read)?;
        if !snapshot.is_finite() {
            return Ok(());
        }
        self.hand_over(&Checkpoint { snapshot: Arc::new(snapshot), ..now.clone() }, desktop)
    }

    fn hand_over(&self, checkpoint: &Checkpoint, desktop: &mut Desktop<'_>) -> Result<(), Error> {
        desktop.saved = Instant::now();
        desktop.writer.put(Task::Checkpoint(Box::new(checkpoint.clone())))
    }

    /// Goes back to the last checkpoint at an epoch's end, with half the rate.
    ///
    /// A process that is killed in between finds either the course that is given up, whole, and comes here again, or the
    /// new one: the checkpoint comes first, and `metrics.jsonl` loses lines only when no checkpoint counts on them.
    fn roll_back<B: Backend>(
        &self,
        backend: &mut B,
        target: &Checkpoint,
        rollbacks: u32,
        (epoch, step): (u32, u32),
        desktop: &mut Desktop<'_>,
    ) -> Result<Checkpoint, Error>
    where
        Error: From<B::Error>,
    {
        let mut now = target.clone();
        now.position.rollbacks = rollbacks;
        now.snapshot.write(backend, self.layout())?;
        desktop.writer.flush()?;
        self.hand_over(&now, desktop)?;
        desktop.writer.flush()?;
        if let Some(folder) = self.folder {
            folder.give_up_after(&now.position)?;
        }
        self.rewind(&now.position)?;
        desktop.writer.put(Task::Best(now.best.clone()))?;
        let text = format!(
            "no longer finite in epoch {epoch}, step {step}; back to the start of epoch {} with the learning rate \
             times {} (rollback {rollbacks} of {})",
            now.position.epoch,
            0.5_f64.powi(rollbacks as i32),
            self.recipe().rollbacks
        );
        self.journal.note(&text);
        self.observer.warn(&text);
        Ok(now)
    }

    /// Says that nothing has become better for as long as the recipe waits.
    fn stop_early(&self, position: &Position) {
        let (epochs, best) = (position.epoch, position.best.as_ref().map_or(0, |best| best.epoch));
        let text = format!("stopped after {epochs} epochs: none since epoch {best} was better on the validation set");
        self.journal.note(&text);
        self.observer.observe(&Event::Notice { message: &text });
    }

    fn accuracy(&self, confusion: &Confusion) -> Accuracy {
        let prepared = self.placed.prepared;
        confusion.accuracy(&prepared.description.counts, prepared.recipe.shots)
    }

    fn evaluate<B: Machine>(&self, backend: &mut B, position: &Position, set: &TestSet<'_>) -> Result<Confusion, Error>
    where
        Error: From<B::Error>,
    {
        let mut network: Network<'_, MAX_LAYERS> = self.layout().network(0.0)?;
        let proceed = || self.signal().map_or(Ok(()), |signal| Err(self.interrupted(signal, position)));
        evaluate(backend, self.layout(), &mut network, set, proceed)
    }
}

/// The end of a run that left the finite numbers, with the last good weights in place.
fn stopped(keeper: &Keeper<'_>, good: &Snapshot, epoch: u32, step: u32) -> Error {
    match keeper.last(good) {
        Ok(saved) => Error::NotFinite { epoch, step, saved },
        Err(error) => error,
    }
}
