//! The `train` command.

use std::path::Path;

use sse_sam_core::longtail::loss::deferred_class_weight;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Backend, Graph, Loss, Model, Plan};

use crate::cli::args::TrainArgs;
use crate::data::random::{self, Purpose};
use crate::data::{self, Dataset, split};
use crate::device::choose::Device;
use crate::device::layout::{Layout, Needs, first_trained};
use crate::error::Error;
use crate::recipe::resolved::{self, Config, Normalize, by_option};
use crate::recipe::settings;
use crate::report::progress;
use crate::run::checkpoint::Origin;
use crate::run::folder::RunFolder;
use crate::run::signals::Signals;
use crate::shown::{self, shown};
use crate::train::evaluate::TestSet;
use crate::train::feed::Feeds;
use crate::train::resume::{self, Resumed};
use crate::train::trainer::Training;
use crate::weights::torch::{self, Description};
use crate::weights::{self, Tensor, adapt};

/// The weight of each class: that of deferred re-weighting where it is on, else 1.
///
/// # Errors
/// None for counts of at least one class.
pub fn class_weights(counts: &[u32], deferred: bool) -> Result<Vec<f64>, Error> {
    let weight = |class| if deferred { deferred_class_weight(counts, class) } else { Ok(1.0) };
    Ok((0..counts.len()).map(weight).collect::<Result<_, _>>()?)
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
    layout.network(0.0)?.initialize(backend, layout.session.vectors.params, |layer| {
        if layer != current {
            current = layer;
            stream = Box::new(random::stream(seed, Purpose::Parameters, layer as u64));
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
    start(args, None)
}

/// Trains in a new folder, or goes on in that of an earlier run.
///
/// # Errors
/// As [`run`].
pub fn start(args: &TrainArgs, earlier: Option<RunFolder>) -> Result<(), Error> {
    // Before a device is looked for: drivers set handlers of their own.
    let signals = Signals::listen()?;
    let mut device = Device::choose(&args.device)?;
    let args = &TrainArgs { device: device.applicable(&args.device), ..args.clone() };
    let mut dataset = data::load(&args.data, args.dataset).map_err(|error| match &earlier {
        Some(_) if !Path::new(&args.data).exists() => {
            error.with_hint("--data PLACE says where this run's data lie now")
        }
        _ => error,
    })?;
    let fingerprint = dataset.fingerprint();
    let config = Config::new(args, &dataset)?;
    let before = dataset.counts();
    if let Some(imbalance) = config.imbalance {
        let chosen = data::subset(&dataset, imbalance, config.profile, config.rule, config.seed).map_err(by_option)?;
        dataset.keep(&chosen);
    }
    let counts = dataset.counts();
    let terms = |class| config.loss.terms(&counts, class).map(drop);
    (0..counts.len()).try_for_each(terms).map_err(|error| resolved::by_loss(error, &config.loss))?;
    split::warn(&config, &dataset, &before);
    let needs = needs(&config, &dataset)?;
    let (layout, staged) = device.or_next(|device| device.plan(&config.model, &needs, &dataset))?;
    if layout.session.piece.is_some() && !layout.plan.is_separable() {
        return Err(Error::Usage(format!("--micro-batch: {}", sse_sam_core::Error::Pieces)));
    }
    let find = |folder| resume::find(folder, &layout, args, &config, &fingerprint);
    let resumed = earlier.as_ref().map(find).transpose()?.flatten();
    if earlier.is_none() && args.fingerprint.as_ref().is_some_and(|expected| *expected != fingerprint) {
        progress::warn("warning: the data are not those that the configuration was made with");
    }
    follow(&mut device, args, resumed.as_ref());
    let init = args.init.as_deref().filter(|_| resumed.is_none());
    let init = init.map(|path| initial(&layout, &config, path)).transpose()?;
    let (frozen, tracked) = kept(&layout, resumed.as_ref(), init.as_ref())?;
    let all: Vec<u32> = (0..dataset.train.len() as u32).collect();
    let normalization = normalization(&config.normalize, &dataset, &all);
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
    let create = || {
        let data: String = dataset.name.chars().take(40).collect();
        let name = format!("{data}-{}-{}", slug(&config.model), config.method.name());
        RunFolder::create(args.out.as_deref(), &name, &configuration(args, &config, &device, &fingerprint)?)
    };
    // Before the folder is seen by anyone: whoever sees a run may end it.
    signals.save_first();
    let folder = earlier.map_or_else(create, Ok)?;
    if args.talks() {
        progress::tell_people(&progress::headline(&config, &description, &dataset, &device, staged.is_some()));
    }
    let feeds = Feeds::new(&dataset, layout.plan.normalization, staged);
    let test = TestSet { feed: feeds.test, flip: config.flip };
    let (train, (config, layout, description, folder)) = (feeds.train, (&config, &layout, &description, &folder));
    let training = Training {
        args,
        config,
        layout,
        description,
        init,
        tracked,
        train,
        test,
        folder,
        signals,
        fingerprint,
        resumed,
    };
    finish(folder, device.run(layout, &frozen, &feeds.bytes, training))
}

/// Writes down how a run ended.
fn finish(folder: &RunFolder, result: Result<(), Error>) -> Result<(), Error> {
    folder.note(&match &result {
        Ok(()) => "finished".into(),
        Err(Error::Interrupted { signal, .. }) => format!("interrupted by signal {signal}"),
        // A line by itself: a compiler's log is several.
        Err(error) => format!("failed: {}", shown(&error.to_string())),
    });
    result.map_err(|error| match &error {
        Error::Device { .. } => error.with_hint(way_on(folder)),
        _ => error,
    })
}

/// The text of `config.toml` as far as it is known before the device is open.
fn configuration(args: &TrainArgs, config: &Config, device: &Device, fingerprint: &str) -> Result<String, Error> {
    let identity = device.identity();
    let settings = settings::table(args, config, &identity.selector);
    settings::text(&settings, &Origin::new(identity, fingerprint))
}

/// What to do when the device was lost.
fn way_on(folder: &RunFolder) -> String {
    let run = shown::word(folder.path());
    format!("sse-sam resume {run} goes on from the last checkpoint; with --device cpu it needs no OpenCL")
}

/// What a run needs of memory.
fn needs(config: &Config, dataset: &Dataset) -> Result<Needs, Error> {
    let mut graph = Graph::new();
    config.model.build(&mut graph, dataset.image, dataset.classes)?;
    let batch = config.batch.min(dataset.train.len());
    Ok(Needs {
        image: dataset.image,
        classes: dataset.classes,
        batch,
        piece: config.micro_batch.map(|rows| rows.min(batch)),
        groups: config.method.largest()?,
        economy: config.memory,
        first: first_trained(&graph, config.trainable_layers.as_deref())?,
        rows: dataset.train.len().max(dataset.test.len()),
    })
}

/// Chooses nothing anew that the run, or the one whose configuration is taken, has chosen on the same device.
fn follow(device: &mut Device, args: &TrainArgs, resumed: Option<&Resumed>) {
    let before = resumed.map(|resumed| &resumed.before).or(args.origin.as_ref());
    device.follow(|now| {
        let before = before.filter(|before| before.is_of(now));
        before.map(|before| before.convolutions.clone()).unwrap_or_default()
    });
    if args.quiet {
        device.silence();
    }
}

/// The tensors to start from, checked before anything is written.
fn initial<'a>(layout: &Layout, config: &Config, path: &'a Path) -> Result<(&'a Path, Vec<Tensor>), Error> {
    let file = weights::find(path)?;
    let (tensors, _) = weights::read(&file)?;
    let tensors = adapt::initial(layout, &config.model, config.seed, path, tensors)?;
    torch::check(layout, path, &tensors)?;
    Ok((path, tensors))
}

/// What frozen layers keep: their numbers, and how many updates each of their batch norms has seen.
fn kept(
    layout: &Layout,
    resumed: Option<&Resumed>,
    init: Option<&(&Path, Vec<Tensor>)>,
) -> Result<(Vec<f32>, Vec<i64>), Error> {
    Ok(match (resumed.map(|resumed| &resumed.checkpoint.snapshot), init) {
        (Some(snapshot), _) => (snapshot.frozen().to_vec(), snapshot.tracked().to_vec()),
        (None, Some((path, tensors))) => (torch::frozen(layout, path, tensors)?, torch::tracked(layout, tensors, "")?),
        (None, None) => (Vec::new(), Vec::new()),
    })
}

/// A model's name as part of a file name.
fn slug(model: &Model) -> String {
    model.to_string().replace(':', "-")
}

/// Mean of each channel's bytes and one over their deviation; of the `chosen` training images where data decide.
pub(crate) fn normalization(choice: &Normalize, dataset: &Dataset, chosen: &[u32]) -> Vec<f32> {
    let channels = dataset.image.channels;
    let (mean, inverse) = match choice {
        Normalize::Data => data::normalization(&dataset.train, chosen, channels),
        Normalize::None => (vec![0.0; channels], vec![1.0 / 255.0; channels]),
        Normalize::Given(mean, deviation) => {
            let pick = |list: &[f64], channel: usize| list[channel.min(list.len() - 1)];
            let each = |f: &dyn Fn(usize) -> f64| (0..channels).map(|channel| f(channel) as f32).collect();
            (each(&|c| pick(mean, c) * 255.0), each(&|c| 1.0 / (pick(deviation, c) * 255.0)))
        }
    };
    [mean, inverse].concat()
}
