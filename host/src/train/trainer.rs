//! A training run on its device, from wherever it stands to its end.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::training::method::Group;
use sse_sam_core::{Backend, Economy, Network, Record, Row, Rule, Sgd, Tail, Tally};

use crate::cli::args::{Augment, OnNan, TrainArgs};
use crate::data::random;
use crate::device::choose::{Job, Machine};
use crate::device::layout::{Layout, WINDOW};
use crate::error::Error;
use crate::recipe::resolved::Config;
use crate::recipe::settings;
use crate::report::metrics::{Accuracy, table};
use crate::report::progress::{self, Advance, Event, Line, Progress};
use crate::run::checkpoint::{Best, Checkpoint, Label, Origin, Position, Totals};
use crate::run::folder::RunFolder;
use crate::run::signals::Signals;
use crate::run::snapshot::Snapshot;
use crate::run::writer::{Desk, Task, Writer};
use crate::shown;
use crate::train::evaluate::{TestSet, evaluate};
use crate::train::feed::Feed;
use crate::train::resume::Resumed;
use crate::train::start::{class_weights, initialize, write_terms};
use crate::weights::torch::{self, Description};
use crate::weights::{self, Tensor};

/// A run that is ready to begin or to go on.
#[derive(Debug)]
pub struct Training<'a> {
    /// The options.
    pub args: &'a TrainArgs,
    /// What they mean for these data.
    pub config: &'a Config,
    /// Where numbers lie.
    pub layout: &'a Layout,
    /// What weights files say about themselves.
    pub description: &'a Description,
    /// Given initial weights.
    pub init: Option<(&'a Path, Vec<Tensor>)>,
    /// How many updates each frozen batch norm has seen.
    pub tracked: Vec<i64>,
    /// The training set.
    pub train: Feed<'a>,
    /// The test set.
    pub test: TestSet<'a>,
    /// The run's folder.
    pub folder: &'a RunFolder,
    /// What asks it to end.
    pub signals: &'a Signals,
    /// The data's fingerprint.
    pub fingerprint: String,
    /// Where the run goes on.
    pub resumed: Option<Resumed>,
}

/// A planned step of an epoch.
struct Batch {
    first_row: usize,
    rows: usize,
    /// How many of them count in which group.
    tally: Tally,
}

/// What the samples of each class count in an epoch.
struct Weighing<'a> {
    rule: Rule<'a>,
    class_weights: Vec<f64>,
}

impl Weighing<'_> {
    /// The factors of a sample's loss in a batch of `rows`.
    fn factors(&self, label: u8, rows: usize) -> [f32; 2] {
        let class = usize::from(label);
        self.rule.factors(class, self.class_weights[class], rows)
    }
}

/// What surrounds the steps.
struct Desktop<'a> {
    writer: Writer<'a>,
    progress: Progress,
    /// When the last checkpoint was handed over.
    saved: Instant,
    /// How long steps have waited for checkpoints.
    waited: Duration,
}

impl Job for Training<'_> {
    type Output = ();

    fn run<B: Machine>(self, backend: &mut B) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let label = self.begin(backend)?;
        self.prepare(backend)?;
        let (desk, started) = (Desk::default(), Instant::now());
        let progress = Progress::new(self.config, self.train.split.len(), self.args);
        let (training, label) = (&self, &label);
        thread::scope(|scope| {
            let writer = Writer::new(&desk);
            let work = || desk.work(|task| training.file(label, task));
            let thread = thread::Builder::new().name("checkpoints".into()).spawn_scoped(scope, work);
            thread.map_err(|source| Error::io("the thread that writes checkpoints", source))?;
            let mut desktop = Desktop { writer, progress, saved: started, waited: Duration::ZERO };
            let result = training.train(backend, &mut desktop);
            let (waited, all) = (desktop.waited.as_secs_f64(), started.elapsed().as_secs_f64());
            self.folder.note(&format!("waited {waited:.4} s of {all:.3} s for checkpoints"));
            result.and_then(|()| desktop.writer.flush())
        })
    }
}

impl Training<'_> {
    /// Writes down what the run is, and brings its folder to where it goes on.
    fn begin<B: Machine>(&self, backend: &B) -> Result<Label, Error> {
        let identity = backend.identity();
        let settings = settings::table(self.args, self.config, &identity.selector);
        let origin = Origin::new(identity.clone(), &self.fingerprint);
        if let Some(Resumed { before, .. }) = &self.resumed
            && (!before.is_of(&identity) || before.convolutions != origin.convolutions)
        {
            let (before, now) = (&before.device, &origin.device);
            let change = if before == now {
                format!("driver or kernels of {now} are not those that this run began with")
            } else {
                format!("this run was on {before} and goes on on {now}")
            };
            progress::warn(&format!("warning: {change}; bits may differ from here"));
        }
        if let Some(resumed) = &self.resumed {
            self.say_what_more_epochs_change(resumed)?;
        }
        let position = self.resumed.as_ref().map(|resumed| &resumed.checkpoint.position);
        self.folder.rewind(position.map_or(0, |position| position.metrics))?;
        if self.args.tensorboard {
            self.folder.begin_events(position.map_or(0, |position| position.epoch))?;
        }
        self.folder.configure(&settings::text(&settings, &origin)?)?;
        let (epoch, step) = position.map_or((0, 0), |position| (position.epoch, position.step));
        self.folder.note(&format!("training from epoch {epoch}, step {step} on {}", origin.device));
        self.tell(&Event::Start {
            run: self.folder.path().display().to_string(),
            model: self.config.model.to_string(),
            method: self.config.method.name(),
            device: &origin.device,
            epochs: self.config.epochs,
            epoch,
            step,
        });
        Ok(Label { settings, origin })
    }

    /// Schedule and stages follow the number of epochs: where that has grown, the next epoch is another one than was meant.
    fn say_what_more_epochs_change(&self, resumed: &Resumed) -> Result<(), Error> {
        let (config, position) = (self.config, &resumed.checkpoint.position);
        let Some(before) = resumed.epochs.filter(|&before| before != config.epochs) else { return Ok(()) };
        // An epoch that has begun is finished as it was meant.
        let next = position.epoch + u32::from(position.step > 0);
        let Some(last) = next.checked_sub(1) else { return Ok(()) };
        let halved = 0.5_f64.powi(position.rollbacks as i32);
        let rate = |epoch, epochs| Ok::<_, Error>(config.rates.over(epochs).at(epoch)? * halved);
        let (then, now) = (rate(last, before)?, rate(next, config.epochs)?);
        let mut text = format!(
            "with {} epochs instead of {before} the learning rate is {now:.6} in epoch {next}, after {then:.6} in epoch {last}",
            config.epochs
        );
        let (was, is) = (config.method.stage(last, before), config.method.stage(next, config.epochs));
        if was != is {
            text += &format!(", and stage {is} follows stage {was}");
        }
        self.folder.note(&text);
        if !self.args.quiet {
            progress::warn(&text);
        }
        Ok(())
    }

    /// Weights, running statistics and tables as they are before the first step.
    fn prepare<B: Backend>(&self, backend: &mut B) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (config, layout) = (self.config, self.layout);
        initialize(backend, layout, config.seed)?;
        if let Some((path, tensors)) = &self.init {
            torch::load(backend, layout, path, tensors)?;
        }
        backend.write(layout.plan.normalization, &self.description.normalization)?;
        write_terms(backend, &layout.plan, &config.loss, &self.description.counts)
    }

    fn tell(&self, event: &Event<'_>) {
        if !self.args.quiet {
            progress::tell(event);
        }
    }

    /// Writes a file; the second thread's part.
    fn file(&self, label: &Label, task: Task) -> Result<(), Error> {
        match task {
            Task::Best(Some(snapshot)) => self.save(&self.folder.best(), &snapshot),
            Task::Best(None) => self.folder.remove_best(),
            Task::Checkpoint(checkpoint) => {
                self.folder.synchronise()?;
                let write = || {
                    let path = self.folder.checkpoint(&checkpoint.name())?;
                    checkpoint.write(&path, self.layout, label, self.description.metadata()).map(|()| path)
                };
                // Somebody may remove the folder while it is written to.
                let path = write().or_else(|error| if error.is_missing() { write() } else { Err(error) })?;
                self.tell(&Event::Checkpoint { path: path.display().to_string() });
                self.folder.prune(self.args.keep as usize, checkpoint.position.target)
            }
        }
    }

    fn save(&self, path: &Path, snapshot: &Snapshot) -> Result<(), Error> {
        weights::write(path, &snapshot.tensors(self.layout)?, &self.description.metadata())
    }

    fn train<B: Machine>(&self, backend: &mut B, desktop: &mut Desktop<'_>) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (mut now, mut target) = match &self.resumed {
            Some(resumed) => {
                resumed.checkpoint.snapshot.write(backend, self.layout)?;
                (resumed.checkpoint.clone(), resumed.target.clone())
            }
            None => {
                let snapshot = Arc::new(Snapshot::read(backend, self.layout, 0, &self.tracked)?);
                let now = Checkpoint { position: Position::default(), snapshot, best: None };
                // What a rollback may go back to lies on the disk before anything is measured.
                self.hand_over(&now, desktop)?;
                desktop.writer.flush()?;
                (now.clone(), now)
            }
        };
        desktop.writer.put(Task::Best(now.best.clone()))?;
        let mut accuracy = None;
        while now.position.epoch < self.config.epochs {
            let result = match self.signals.received() {
                Some(signal) => Err(self.interrupted(signal, &now.position)),
                None => self.epoch(backend, &mut now, desktop),
            };
            match result {
                Ok(measured) => accuracy = Some(measured),
                Err(Error::NotFinite { epoch, step, .. }) => {
                    if self.args.on_nan == OnNan::Stop || now.position.rollbacks == self.args.rollbacks {
                        return Err(self.stop(&target.snapshot, epoch, step));
                    }
                    now = self.roll_back(backend, &target, now.position.rollbacks + 1, (epoch, step), desktop)?;
                    continue;
                }
                Err(error @ Error::Interrupted { .. }) => return Err(self.suspend(backend, now, desktop, error)?),
                Err(error) => return Err(error),
            }
            if now.position.epoch == self.config.epochs {
                // The last checkpoint says that everything else is in place.
                desktop.writer.flush()?;
                self.save(&self.folder.last(), &now.snapshot)?;
            } else if !now.position.epoch.is_multiple_of(self.args.checkpoint_every) {
                continue;
            }
            now.position.target = now.position.epoch;
            target = now.clone();
            self.hand_over(&now, desktop)?;
        }
        desktop.writer.flush()?;
        desktop.progress.finish();
        self.summarize(accuracy.as_ref(), now.position.best.as_ref());
        Ok(())
    }

    /// The rest of an epoch, its evaluation and its line in `metrics.jsonl`.
    fn epoch<B: Machine>(
        &self,
        backend: &mut B,
        now: &mut Checkpoint,
        desktop: &mut Desktop<'_>,
    ) -> Result<Accuracy, Error>
    where
        Error: From<B::Error>,
    {
        if now.position.step == 0 {
            now.position.epochs = self.config.epochs;
        }
        let (started, before) = (Instant::now(), now.position.totals.rows);
        self.steps(backend, now, desktop)?;
        let seconds = started.elapsed().as_secs_f64();
        let position = &mut now.position;
        let snapshot = desktop.timed(|| Snapshot::read(backend, self.layout, position.updates, &self.tracked))?;
        if !snapshot.is_finite() {
            return Err(Error::NotFinite { epoch: position.epoch, step: position.step.saturating_sub(1), saved: None });
        }
        now.snapshot = Arc::new(snapshot);
        let accuracy = self.evaluate(backend, position)?;
        let line = self.line(position, &accuracy)?;
        position.metrics = self.folder.measure(&line)?;
        let rows = position.totals.rows - before;
        let rate = rows / seconds;
        desktop.progress.evaluated(&line, rate);
        if self.args.tensorboard {
            // Nothing was trained where a run goes on with an evaluation.
            let pace = (rows > 0.0).then(|| ("images_per_s".into(), rate));
            let more: Vec<_> = self.radii(position)?.into_iter().chain(pace).collect();
            self.folder.event(position.epoch, &line, &more)?;
        }
        self.folder.note(&format!("epoch {}: trained {seconds:.3} s, {rate:.0} images/s", position.epoch));
        if position.best.as_ref().is_none_or(|best| accuracy.balanced > best.accuracy.balanced) {
            let (epoch, updates, accuracy) = (position.epoch, position.updates, accuracy.clone());
            position.best = Some(Best { epoch, updates, accuracy });
            now.best = Some(Arc::clone(&now.snapshot));
            desktop.writer.put(Task::Best(now.best.clone()))?;
        }
        position.epoch += 1;
        position.step = 0;
        position.totals = Totals::default();
        Ok(accuracy)
    }

    /// The steps of an epoch that are not done yet.
    fn steps<B: Machine>(&self, backend: &mut B, now: &mut Checkpoint, desktop: &mut Desktop<'_>) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (config, layout, epoch) = (self.config, self.layout, now.position.epoch);
        let sgd = self.sgd(&now.position)?;
        let weighing = self.weighing(&now.position)?;
        let order = self.order(epoch, &weighing);
        let indices: Vec<&[u32]> = order.chunks(layout.batch).collect();
        let (words, batches) = self.table(epoch, &weighing, &indices);
        backend.write(layout.session.table.part(0, words.len())?, &words)?;
        let mut network = layout.network(config.loss.focal())?;
        let mut pieces = layout.pieces(config.loss.focal(), self.train.samples)?;
        let first = now.position.step as usize;
        let mut window = Window { first, ..Window::default() };
        self.announce(&now.position, &mut desktop.progress);
        self.train.each(backend, &indices, first, |backend, number| {
            let (batch, slot) = (&batches[number], number - window.first);
            if slot == 0 {
                layout.session.clear(backend)?;
            }
            let table = layout.session.table.part(batch.first_row * Row::WORDS, batch.rows * Row::WORDS)?;
            let (losses, present) = (layout.session.losses(slot)?, weighing.rule.groups.present(batch.tally.present()));
            if let Some(pieces) = &mut pieces {
                pieces.set_batch(batch.tally.parts(table)?, losses);
                layout.session.step(backend, pieces, &present, &sgd, slot)?;
            } else {
                network.gather(backend, table, &self.train.samples, losses)?;
                layout.session.step(backend, &mut network, &present, &sgd, slot)?;
            }
            let signal = self.signals.received();
            if slot + 1 == window.steps || number + 1 == batches.len() || signal.is_some() {
                self.collect(backend, &batches[window.first..=number], &mut now.position)?;
                desktop.progress.advance(self.advance(&now.position)?);
                window = window.next(number + 1);
                if let Some(signal) = signal {
                    return Err(self.interrupted(signal, &now.position));
                }
                self.save_in_time(backend, now, desktop)?;
            }
            Ok(())
        })
    }

    /// How far each group is perturbed in an epoch, for TensorBoard.
    fn radii(&self, position: &Position) -> Result<Vec<(String, f64)>, Error> {
        let names = if self.config.method.has_tail() { ["radius_head", "radius_tail"] } else { ["radius"; 2] };
        let radius = |group: Group| (names[group.column].into(), f64::from(group.radius));
        Ok(self.config.method.groups(position.epoch, position.epochs)?.all().perturbed().map(radius).collect())
    }

    fn sgd(&self, position: &Position) -> Result<Sgd, Error> {
        let config = self.config;
        Ok(Sgd {
            learning_rate: self.learning_rate(position)? as f32,
            momentum: config.momentum as f32,
            weight_decay: config.weight_decay as f32,
            nesterov: config.nesterov,
        })
    }

    /// The schedule's rate, halved each time the run went back.
    fn learning_rate(&self, position: &Position) -> Result<f64, Error> {
        Ok(self.config.rates.over(position.epochs).at(position.epoch)? * 0.5_f64.powi(position.rollbacks as i32))
    }

    fn announce(&self, position: &Position, progress: &mut Progress) {
        let (epoch, done) = (position.epoch, position.totals.rows as u64);
        let stage = |epoch: u32| self.config.method.stage(epoch, position.epochs);
        progress.start(epoch, stage(epoch), done);
        if epoch > 0 && stage(epoch) != stage(epoch - 1) {
            let text = format!("stage {} begins with epoch {epoch}: only the tail is perturbed", stage(epoch));
            progress.switch(epoch, stage(epoch), &text);
            self.folder.note(&text);
        }
    }

    /// What the samples of each class count in an epoch.
    fn weighing(&self, position: &Position) -> Result<Weighing<'_>, Error> {
        let (config, counts, epoch) = (self.config, &self.description.counts, position.epoch);
        let tail = Tail { eta: config.eta, weight: config.tail_weight };
        let deferred = config.drw_epoch.is_some_and(|first| epoch >= first);
        let rule = config.method.rule(counts, tail, epoch, position.epochs)?;
        Ok(Weighing { rule, class_weights: class_weights(counts, deferred)? })
    }

    /// The samples of an epoch in order; in each batch those of a group lie together where batches pass in pieces.
    fn order(&self, epoch: u32, weighing: &Weighing<'_>) -> Vec<u32> {
        let mut order = random::permutation(self.config.seed, epoch, self.train.split.len() as u32);
        if self.layout.session.piece.is_some() {
            let place = |index: &u32| Tally::place(weighing.factors(self.train.split.labels[*index as usize], 1));
            order.chunks_mut(self.layout.batch).for_each(|batch| batch.sort_by_key(place));
        }
        order
    }

    /// The epoch's rows in order, and its batches.
    fn table(&self, epoch: u32, weighing: &Weighing<'_>, order: &[&[u32]]) -> (Vec<f32>, Vec<Batch>) {
        let config = self.config;
        let (mut words, mut batches) = (Vec::new(), Vec::new());
        for (number, indices) in order.iter().enumerate() {
            let first_row = words.len() / Row::WORDS;
            let mut tally = Tally::default();
            for (row, &index) in indices.iter().enumerate() {
                let label = self.train.split.labels[index as usize];
                let (top, left, flip) = match config.augment {
                    Augment::None => (0, 0, false),
                    Augment::CropFlip => random::augmentation(config.seed, epoch, index),
                };
                let weights = weighing.factors(label, indices.len());
                tally.add(weights);
                let index = self.train.index(number, row, index);
                words.extend(Row { index, label: label.into(), top, left, flip, weights }.encode());
            }
            batches.push(Batch { first_row, rows: indices.len(), tally });
        }
        (words, batches)
    }

    /// Reads what the steps of a window left behind.
    fn collect<B: Backend>(&self, backend: &mut B, steps: &[Batch], position: &mut Position) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let mut records = vec![[0.0; Record::WORDS]; steps.len()];
        self.layout.session.read(backend, &mut records)?;
        let Position { epoch, step: done, totals, updates, .. } = position;
        for (batch, record) in steps.iter().zip(records.iter().map(Record::decode)) {
            if !record.is_finite() {
                return Err(Error::NotFinite { epoch: *epoch, step: *done, saved: None });
            }
            let rows = batch.rows as f64;
            let add = |to: &mut [f64; 2], from: [f32; 2]| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += f64::from(from) * rows);
            };
            add(&mut totals.losses, record.losses);
            add(&mut totals.perturbed, record.perturbed_losses);
            let norms = totals.group_norms.iter_mut().zip(record.group_squared_norms);
            norms.for_each(|(sum, norm)| *sum += f64::from(norm).sqrt());
            totals.norm += f64::from(record.squared_norm).sqrt();
            totals.rows += rows;
            totals.steps += 1.0;
            *done += 1;
            *updates += 1;
        }
        Ok(())
    }

    fn interrupted(&self, signal: i32, position: &Position) -> Error {
        let (epoch, step, run) = (position.epoch, position.step, self.folder.path().to_owned());
        Error::Interrupted { signal, epoch, step, run }
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
        let snapshot = Snapshot::read(backend, self.layout, now.position.updates, &self.tracked)?;
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
        let due =
            self.args.checkpoint_minutes.is_some_and(|minutes| desktop.saved.elapsed().as_secs_f64() > 60.0 * minutes);
        if !due || !desktop.writer.is_idle() {
            return Ok(());
        }
        let snapshot = desktop.timed(|| Snapshot::read(backend, self.layout, now.position.updates, &self.tracked))?;
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
        now.snapshot.write(backend, self.layout)?;
        desktop.writer.flush()?;
        self.hand_over(&now, desktop)?;
        desktop.writer.flush()?;
        self.folder.give_up_after(&now.position)?;
        self.folder.rewind(now.position.metrics)?;
        if self.args.tensorboard {
            self.folder.begin_events(now.position.epoch)?;
        }
        desktop.writer.put(Task::Best(now.best.clone()))?;
        let back = now.position.epoch;
        let text = format!(
            "no longer finite in epoch {epoch}, step {step}; back to the start of epoch {back} with the learning rate \
             times {} (rollback {rollbacks} of {})",
            0.5_f64.powi(rollbacks as i32),
            self.args.rollbacks
        );
        self.folder.note(&text);
        progress::warn(&text);
        Ok(now)
    }

    /// The end of a run that left the finite numbers, with the last good weights in place.
    fn stop(&self, good: &Snapshot, epoch: u32, step: u32) -> Error {
        let last = self.folder.last();
        match self.save(&last, good) {
            Ok(()) => Error::NotFinite { epoch, step, saved: Some(last) },
            Err(error) => error,
        }
    }

    fn evaluate<B: Machine>(&self, backend: &mut B, position: &Position) -> Result<Accuracy, Error>
    where
        Error: From<B::Error>,
    {
        let mut network: Network<'_, MAX_LAYERS> = self.layout.network(0.0)?;
        let proceed = || self.signals.received().map_or(Ok(()), |signal| Err(self.interrupted(signal, position)));
        let confusion = evaluate(backend, self.layout, &mut network, &self.test, proceed)?;
        Ok(confusion.accuracy(&self.description.counts, self.config.shots))
    }

    /// Whether head and tail are groups of their own.
    fn splits(&self, position: &Position) -> Result<bool, Error> {
        let method = self.config.method;
        Ok(method.has_tail() && method.groups(position.epoch, position.epochs)?.count() == 2)
    }

    /// How far the epoch is.
    fn advance(&self, position: &Position) -> Result<Advance, Error> {
        let Position { epoch, totals, .. } = position;
        let (split, [head, tail]) = (self.splits(position)?, totals.losses.map(|loss| loss / totals.rows));
        Ok(Advance {
            epoch: *epoch,
            images: totals.rows as u64,
            learning_rate: self.learning_rate(position)?,
            loss: head + tail,
            loss_head: split.then_some(head),
            loss_tail: split.then_some(tail),
            seconds_left: 0.0,
        })
    }

    fn line<'b>(&self, position: &Position, accuracy: &'b Accuracy) -> Result<Line<'b>, Error> {
        let (config, totals, epoch) = (self.config, &position.totals, position.epoch);
        let [head, tail] = totals.losses.map(|loss| loss / totals.rows);
        let [head_point, tail_point] = totals.perturbed.map(|loss| loss / totals.rows);
        let (split, groups) = (self.splits(position)?, config.method.groups(epoch, position.epochs)?.all());
        let group_norm = |column| {
            let perturbed = split && groups.perturbed().any(|group| group.column == column);
            perturbed.then(|| totals.group_norms[column] / totals.steps)
        };
        let norm = totals.norm / totals.steps;
        Ok(Line {
            epoch,
            stage: config.method.stage(epoch, position.epochs),
            learning_rate: self.learning_rate(position)?,
            loss: head + tail,
            loss_head: split.then_some(head),
            loss_tail: split.then_some(tail),
            perturbed_loss_head: (split && head_point != 0.0).then_some(head_point),
            perturbed_loss_tail: (split && tail_point != 0.0).then_some(tail_point),
            gradient_norm: (config.memory == Economy::Full).then_some(norm),
            velocity_norm: (config.memory != Economy::Full).then_some(norm),
            gradient_norm_head: group_norm(0),
            gradient_norm_tail: group_norm(1),
            accuracy,
        })
    }

    fn summarize(&self, last: Option<&Accuracy>, best: Option<&Best>) {
        let (Some(last), Some(best), true) = (last, best, self.args.talks()) else { return };
        let (last_epoch, best_epoch) = (self.config.epochs.saturating_sub(1), best.epoch);
        let rows =
            [(format!("last (epoch {last_epoch})"), last), (format!("best (epoch {best_epoch})"), &best.accuracy)];
        progress::tell_people(&format!(
            "{}\naccuracy in % on {} test images; best by balanced accuracy\n\
             files in {}: metrics.jsonl, last.safetensors, best.safetensors",
            table(&rows),
            self.test.feed.split.len(),
            shown::path(self.folder.path())
        ));
    }
}

impl Desktop<'_> {
    /// Does something that the steps wait for.
    fn timed<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.waited += started.elapsed();
        result
    }
}

/// Steps between two looks at the device: about half a second's worth.
struct Window {
    first: usize,
    steps: usize,
    started: Instant,
}

impl Default for Window {
    fn default() -> Self {
        Self { first: 0, steps: 1, started: Instant::now() }
    }
}

impl Window {
    fn next(&self, first: usize) -> Self {
        let quick = self.started.elapsed() < Duration::from_millis(250);
        let steps = if quick { (self.steps * 2).min(WINDOW) } else { (self.steps / 2).max(1) };
        Self { first, steps, started: Instant::now() }
    }
}
