//! The `train` command.

use std::path::Path;
use std::time::{Duration, Instant};

use sse_sam_core::classes::is_tail;
use sse_sam_core::loss::deferred_class_weight;
use sse_sam_core::model::MAX_LAYERS;
use sse_sam_core::step::{Groups, Present};
use sse_sam_core::{Backend, Loss, Model, Network, Plan, Row, Sgd, step};

use crate::args::{Augment, TrainArgs};
use crate::config::{Config, Normalize, by_option};
use crate::data::{self, Dataset};
use crate::device::{Device, Job, Machine};
use crate::error::Error;
use crate::evaluate::{TestSet, evaluate};
use crate::feed::{Feed, Feeds};
use crate::layout::{Layout, Needs, RECORD, WINDOW};
use crate::metrics::{Accuracy, table};
use crate::order::{self, Purpose};
use crate::progress::{self, Line, Progress, say};
use crate::run::RunFolder;
use crate::state::{self, Description};
use crate::weights::{self, Tensor};

/// The factor of a sample's loss in each group, and the group it belongs to.
#[derive(Clone, Debug)]
pub struct Weighing {
    groups: Groups,
    tail: Vec<bool>,
    factors: Vec<f64>,
}

impl Weighing {
    /// Class weights (deferred re-weighting, if on) times `tail_weight` in the tail.
    ///
    /// # Errors
    /// None for counts of at least one class.
    pub fn new(counts: &[u32], eta: u32, tail_weight: f64, deferred: bool, groups: Groups) -> Result<Self, Error> {
        let tail: Vec<bool> = counts.iter().map(|&count| is_tail(count, eta)).collect();
        let mut factors = Vec::new();
        for (class, &tail) in tail.iter().enumerate() {
            let class_weight = if deferred { deferred_class_weight(counts, class)? } else { 1.0 };
            factors.push(class_weight * if tail { tail_weight } else { 1.0 });
        }
        Ok(Self { groups, tail, factors })
    }

    /// The factors of a sample in a batch of `rows`: the divisor is the whole batch for every group.
    pub fn weights(&self, label: u8, rows: usize) -> [f32; 2] {
        let mut weights = [0.0; 2];
        weights[self.column(label)] = (self.factors[usize::from(label)] / rows as f64) as f32;
        weights
    }

    /// Which groups have samples among these labels.
    pub fn columns(&self, labels: &[u8]) -> [bool; 2] {
        let mut columns = [false; 2];
        labels.iter().for_each(|&label| columns[self.column(label)] = true);
        columns
    }

    fn column(&self, label: u8) -> usize {
        self.groups.column(self.tail[usize::from(label)])
    }
}

/// Sets weights and running statistics to what they are before the first step of a run with this seed.
///
/// # Errors
/// What the device reports.
pub fn initialize<B: Backend>(backend: &mut B, layout: &Layout, seed: u64) -> Result<(), Error>
where
    Error: From<B::Error>,
{
    let mut current = usize::MAX;
    let mut stream: Box<dyn FnMut() -> u32> = Box::new(|| 0);
    layout.network(0.0)?.initialize(backend, layout.vectors.params, |layer| {
        if layer != current {
            current = layer;
            stream = Box::new(order::stream(seed, Purpose::Parameters, layer as u64));
        }
        stream()
    })?;
    Ok(())
}

/// Writes the tables of a loss to the device.
///
/// # Errors
/// [`Error::Core`] when the loss's parameters are out of range, else what the device reports.
pub fn write_terms<B: Backend>(
    backend: &mut B,
    plan: &Plan<MAX_LAYERS>,
    loss: &Loss,
    counts: &[u32],
) -> Result<(), Error>
where
    Error: From<B::Error>,
{
    let mut tables = [Vec::new(), Vec::new(), Vec::new()];
    for class in 0..counts.len() {
        let terms = loss.terms(counts, class)?;
        tables.iter_mut().zip([terms.scale, terms.shift, terms.margin]).for_each(|(table, value)| table.push(value));
    }
    for (&span, table) in plan.terms.iter().zip(&tables) {
        backend.write(span, table)?;
    }
    Ok(())
}

/// The `train` command.
///
/// # Errors
/// Whatever is wrong with the arguments, the data, the device or the run's folder.
pub fn run(args: &TrainArgs) -> Result<(), Error> {
    let device = Device::choose(&args.device)?;
    let mut dataset = data::load(&args.data, args.dataset)?;
    let config = Config::new(args, &dataset)?;
    if let Some(imbalance) = config.imbalance {
        let chosen = data::subset(&dataset, imbalance, config.profile, config.rule, config.seed).map_err(by_option)?;
        dataset.keep(&chosen);
    }
    let counts = dataset.counts();
    warn(&config, &counts);
    let needs = Needs {
        image: dataset.image,
        classes: dataset.classes,
        batch: config.batch.min(dataset.train.len()),
        points: config.method.points(config.epochs)?,
        rows: dataset.train.len().max(dataset.test.len()),
    };
    let (layout, staged) = device.plan(&config.model, &needs, &dataset)?;
    let init = config.init.as_deref().map(|path| initial(&layout, path)).transpose()?;
    let normalization = normalization(&config.normalize, &dataset);
    let description = Description {
        model: config.model.clone(),
        data: config.data.clone(),
        format: config.format,
        image: dataset.image,
        counts,
        eta: config.eta,
        shots: config.shots,
        normalization,
    };
    let name = format!("{}-{}-{}", dataset.name, slug(&config.model), progress::method(&config.method));
    let folder = RunFolder::create(args.out.as_deref(), &name)?;
    say(&progress::headline(&config, &description, &dataset, &device, staged.is_some()))?;
    let feeds = Feeds::new(&dataset, layout.plan.normalization, staged);
    let test = TestSet { feed: feeds.test, flip: config.flip };
    let train = feeds.train;
    let training = Training { config: &config, layout: &layout, description: &description, init, train, test, folder };
    device.run(&layout, &feeds.bytes, training)
}

/// The tensors to start from, checked before anything is written.
fn initial<'a>(layout: &Layout, path: &'a Path) -> Result<(&'a Path, Vec<Tensor>), Error> {
    let (tensors, _) = weights::read(path)?;
    state::check(layout, path, &tensors)?;
    Ok((path, tensors))
}

/// A model's name as part of a file name.
fn slug(model: &Model) -> String {
    model.to_string().replace(':', "-")
}

fn warn(config: &Config, counts: &[u32]) {
    let tail = counts.iter().filter(|&&count| is_tail(count, config.eta)).count();
    let head = counts.len() - tail;
    if config.method.splits() && (head == 0 || tail == 0) {
        let eta = config.eta;
        eprintln!("sse-sam: warning: eta {eta} leaves {head} head and {tail} tail classes; one group is empty");
    }
}

fn normalization(choice: &Normalize, dataset: &Dataset) -> Vec<f32> {
    let channels = dataset.image.channels;
    let (mean, inverse) = match choice {
        Normalize::Data => {
            let all: Vec<u32> = (0..dataset.train.len() as u32).collect();
            data::normalization(&dataset.train, &all, channels)
        }
        Normalize::None => (vec![0.0; channels], vec![1.0 / 255.0; channels]),
        Normalize::Given(mean, deviation) => {
            let pick = |list: &[f64], channel: usize| list[channel.min(list.len() - 1)];
            let each = |f: &dyn Fn(usize) -> f64| (0..channels).map(|channel| f(channel) as f32).collect();
            (each(&|c| pick(mean, c) * 255.0), each(&|c| 1.0 / (pick(deviation, c) * 255.0)))
        }
    };
    [mean, inverse].concat()
}

struct Training<'a> {
    config: &'a Config,
    layout: &'a Layout,
    description: &'a Description,
    init: Option<(&'a Path, Vec<Tensor>)>,
    train: Feed<'a>,
    test: TestSet<'a>,
    folder: RunFolder,
}

/// A planned step of an epoch.
struct Batch {
    first_row: usize,
    rows: usize,
    present: Present,
}

/// Sums over the steps of an epoch.
#[derive(Default)]
struct Totals {
    rows: f64,
    losses: [f64; 2],
    perturbed: [f64; 2],
    norm: f64,
    steps: f64,
}

impl Job for Training<'_> {
    type Output = ();

    fn run<B: Machine>(mut self, backend: &mut B) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        self.prepare(backend)?;
        let progress = Progress::new(self.config, self.train.split.len());
        let mut best: Option<(u32, Accuracy)> = None;
        let mut updates = 0;
        let mut good = state::tensors(backend, self.layout, updates)?;
        for epoch in 0..self.config.epochs {
            let started = Instant::now();
            let trained = self.epoch(backend, epoch, &progress);
            let seconds = started.elapsed().as_secs_f64();
            updates += trained.as_ref().map_or(0, |totals| totals.steps as u64);
            let now = state::tensors(backend, self.layout, updates)?;
            let finite = now.iter().all(Tensor::is_finite);
            good = if finite { now } else { good };
            let totals = match trained {
                Ok(totals) if finite => totals,
                Ok(totals) => return Err(self.stop(&good, epoch, totals.steps as u32 - 1)),
                Err(Error::NotFinite { epoch, step, .. }) => return Err(self.stop(&good, epoch, step)),
                Err(error) => return Err(error),
            };
            let accuracy = self.evaluate(backend)?;
            self.folder.log(&self.line(epoch, &totals, seconds, &accuracy)?)?;
            progress.evaluated(epoch, &accuracy);
            if best.as_ref().is_none_or(|(_, best)| accuracy.balanced > best.balanced) {
                self.save(&self.folder.best(), &good)?;
                best = Some((epoch, accuracy.clone()));
            }
            if epoch + 1 == self.config.epochs {
                self.save(&self.folder.last(), &good)?;
                progress.finish();
                let (best_epoch, best) = best.as_ref().map_or((epoch, &accuracy), |(epoch, best)| (*epoch, best));
                self.summarize(epoch, &accuracy, best_epoch, best)?;
            }
        }
        Ok(())
    }
}

impl Training<'_> {
    /// Weights, running statistics and tables as they are before the first step.
    fn prepare<B: Backend>(&self, backend: &mut B) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (config, layout) = (self.config, self.layout);
        initialize(backend, layout, config.seed)?;
        if let Some((path, tensors)) = &self.init {
            state::load(backend, layout, path, tensors)?;
        }
        backend.write(layout.plan.normalization, &self.description.normalization)?;
        write_terms(backend, &layout.plan, &config.loss, &self.description.counts)
    }

    fn save(&self, path: &Path, tensors: &[Tensor]) -> Result<(), Error> {
        weights::write(path, tensors, &self.description.metadata())
    }

    /// The end of a run that left the finite numbers, with the last good weights in place.
    fn stop(&self, good: &[Tensor], epoch: u32, step: u32) -> Error {
        let last = self.folder.last();
        match self.save(&last, good) {
            Ok(()) => Error::NotFinite { epoch, step, saved: Some(last) },
            Err(error) => error,
        }
    }

    fn epoch<B: Machine>(&self, backend: &mut B, epoch: u32, progress: &Progress) -> Result<Totals, Error>
    where
        Error: From<B::Error>,
    {
        let (config, layout) = (self.config, self.layout);
        let sgd = Sgd {
            learning_rate: config.rates.at(epoch)? as f32,
            momentum: config.momentum as f32,
            weight_decay: config.weight_decay as f32,
            nesterov: config.nesterov,
        };
        let order = order::permutation(config.seed, epoch, self.train.split.len() as u32);
        let indices: Vec<&[u32]> = order.chunks(layout.plan.max_batch()).collect();
        let (words, batches) = self.table(epoch, &indices)?;
        backend.write(layout.table.part(0, words.len())?, &words)?;
        let mut network = layout.network(config.loss.focal())?;
        let mut totals = Totals::default();
        let mut window = Window::default();
        progress.start(epoch, config.method.stage(epoch, config.epochs));
        self.train.each(backend, &indices, |backend, number| {
            let (batch, slot) = (&batches[number], number - window.first);
            if slot == 0 {
                backend.fill(layout.records, 0.0)?;
                backend.fill(layout.failure, 0.0)?;
            }
            let table = layout.table.part(batch.first_row * Row::WORDS, batch.rows * Row::WORDS)?;
            network.gather(backend, table, &self.train.samples, layout.losses(slot)?)?;
            step(backend, &mut network, &layout.vectors, &batch.present, &sgd, &layout.outcome(slot)?)?;
            if slot + 1 == window.steps || number + 1 == batches.len() {
                self.collect(backend, epoch, window.first, &batches[window.first..=number], &mut totals)?;
                progress.advance(epoch, totals.rows as usize, totals.losses.iter().sum::<f64>() / totals.rows);
                window = window.next(number + 1);
            }
            Ok(())
        })?;
        Ok(totals)
    }

    /// The epoch's rows in order, and its batches.
    fn table(&self, epoch: u32, order: &[&[u32]]) -> Result<(Vec<f32>, Vec<Batch>), Error> {
        let config = self.config;
        let groups = config.method.groups(epoch, config.epochs)?;
        let deferred = config.drw_epoch.is_some_and(|first| epoch >= first);
        let tail_weight = if config.method.splits() { config.tail_weight } else { 1.0 };
        let weighing = Weighing::new(&self.description.counts, config.eta, tail_weight, deferred, groups)?;
        let (mut words, mut batches) = (Vec::new(), Vec::new());
        for (number, indices) in order.iter().enumerate() {
            let first_row = words.len() / Row::WORDS;
            let labels: Vec<u8> = indices.iter().map(|&index| self.train.split.labels[index as usize]).collect();
            for (row, (&index, &label)) in indices.iter().zip(&labels).enumerate() {
                let (top, left, flip) = match config.augment {
                    Augment::None => (0, 0, false),
                    Augment::CropFlip => order::augmentation(config.seed, epoch, index),
                };
                let weights = weighing.weights(label, labels.len());
                let index = self.train.index(number, row, index);
                words.extend(Row { index, top, left, flip, weights }.encode());
            }
            let present = groups.present(weighing.columns(&labels));
            batches.push(Batch { first_row, rows: labels.len(), present });
        }
        Ok((words, batches))
    }

    /// Reads what the steps of a window left behind.
    fn collect<B: Backend>(
        &self,
        backend: &mut B,
        epoch: u32,
        first: usize,
        steps: &[Batch],
        totals: &mut Totals,
    ) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let mut records = vec![0.0; steps.len() * RECORD];
        backend.read(&mut records, self.layout.records.part(0, steps.len() * RECORD)?)?;
        let mut failure = [0.0];
        backend.read(&mut failure, self.layout.failure)?;
        for (number, (batch, record)) in steps.iter().zip(records.chunks_exact(RECORD)).enumerate() {
            if !record.iter().all(|value| value.is_finite()) || failure[0] == number as f32 + 1.0 {
                return Err(Error::NotFinite { epoch, step: (first + number) as u32, saved: None });
            }
            let rows = batch.rows as f64;
            let add = |to: &mut [f64; 2], from: &[f32]| {
                to.iter_mut().zip(from).for_each(|(to, &from)| *to += f64::from(from) * rows);
            };
            add(&mut totals.losses, &record[0..2]);
            add(&mut totals.perturbed, &record[2..4]);
            totals.norm += f64::from(record[4]).sqrt();
            totals.rows += rows;
            totals.steps += 1.0;
        }
        Ok(())
    }

    fn evaluate<B: Machine>(&self, backend: &mut B) -> Result<Accuracy, Error>
    where
        Error: From<B::Error>,
    {
        let mut network: Network<'_, MAX_LAYERS> = self.layout.network(0.0)?;
        let confusion = evaluate(backend, self.layout, &mut network, &self.test)?;
        Ok(confusion.accuracy(&self.description.counts, self.config.shots))
    }

    fn line<'b>(&self, epoch: u32, totals: &Totals, seconds: f64, accuracy: &'b Accuracy) -> Result<Line<'b>, Error> {
        let config = self.config;
        let [head, tail] = totals.losses.map(|loss| loss / totals.rows);
        let [head_point, tail_point] = totals.perturbed.map(|loss| loss / totals.rows);
        let split = config.method.groups(epoch, config.epochs)?.column(true) == 1;
        Ok(Line {
            epoch,
            stage: config.method.stage(epoch, config.epochs),
            learning_rate: config.rates.at(epoch)?,
            loss: head + tail,
            loss_head: split.then_some(head),
            loss_tail: split.then_some(tail),
            perturbed_loss_head: (split && head_point != 0.0).then_some(head_point),
            perturbed_loss_tail: (split && tail_point != 0.0).then_some(tail_point),
            gradient_norm: totals.norm / totals.steps,
            seconds,
            images_per_s: totals.rows / seconds,
            accuracy,
        })
    }

    fn summarize(&self, epoch: u32, last: &Accuracy, best_epoch: u32, best: &Accuracy) -> Result<(), Error> {
        let rows = [(format!("last (epoch {epoch})"), last), (format!("best (epoch {best_epoch})"), best)];
        say(&format!(
            "{}\naccuracy in % on {} test images; best by balanced accuracy\n\
             files in {}: metrics.jsonl, last.safetensors, best.safetensors",
            table(&rows),
            self.test.feed.split.len(),
            self.folder.path().display()
        ))
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
