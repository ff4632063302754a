//! What a training starts with: weights, running statistics, the tables of its loss.

use std::path::{Path, PathBuf};

use sse_sam_core::longtail::loss::deferred_class_weights;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Backend, Cpu, Loss, Plan, Shape};

use crate::data::random::{self, Purpose};
use crate::device::layout::Layout;
use crate::error::Error;
use crate::recipe::Recipe;
use crate::report::Observer;
use crate::run::snapshot::Snapshot;
use crate::train::place::Placed;
use crate::train::resume::Resumed;
use crate::weights::{self, Tensor, adapt, torch};

/// The weight of each class: that of deferred re-weighting where it is on, else 1.
pub fn class_weights(counts: &[u32], deferred: bool) -> Vec<f64> {
    if deferred { deferred_class_weights(counts).collect() } else { vec![1.0; counts.len()] }
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

/// What a training starts with, beside its seed.
#[derive(Debug)]
pub struct Start {
    /// Given initial weights, and where they were found.
    pub init: Option<(PathBuf, Vec<Tensor>)>,
    /// Numbers of frozen layers.
    pub frozen: Vec<f32>,
    /// How many updates each frozen batch norm has seen.
    pub tracked: Vec<i64>,
    /// Where the run goes on, if it is no new one.
    pub resumed: Option<Resumed>,
}

impl Start {
    /// The beginning that the recipe asks for, or a checkpoint; checked before anything is written.
    ///
    /// # Errors
    /// [`Error::Weights`] when initial weights do not fit.
    pub fn new(placed: &Placed<'_>, resumed: Option<Resumed>, observer: &dyn Observer) -> Result<Self, Error> {
        let layout = &placed.layout;
        let path = placed.prepared.recipe.init.as_ref().filter(|_| resumed.is_none());
        let init = path.map(|path| Ok::<_, Error>((path.clone(), initial(placed, path, observer)?))).transpose()?;
        let (frozen, tracked) = match (&resumed, &init) {
            (Some(resumed), _) => {
                let snapshot = &resumed.checkpoint.snapshot;
                (snapshot.frozen().to_vec(), snapshot.tracked().to_vec())
            }
            (None, Some((path, tensors))) => {
                (torch::frozen(layout, path, tensors)?, torch::tracked(layout, tensors, "")?)
            }
            (None, None) => (Vec::new(), Vec::new()),
        };
        Ok(Self { init, frozen, tracked, resumed })
    }
}

/// The tensors of `--init`.
fn initial(placed: &Placed<'_>, path: &Path, observer: &dyn Observer) -> Result<Vec<Tensor>, Error> {
    let recipe = &placed.prepared.recipe;
    let (tensors, _) = weights::read(&weights::find(path, observer)?)?;
    let tensors = adapt::initial(&placed.layout, path, tensors, || drawn(&placed.layout, recipe), observer)?;
    torch::check(&placed.layout, path, &tensors)?;
    Ok(tensors)
}

/// The state before the first step of a training that starts from nothing.
fn drawn(layout: &Layout, recipe: &Recipe) -> Result<Vec<Tensor>, Error> {
    let image = layout.graph.layers().first().map_or(Shape::new(0, 0, 0), |layer| layer.output);
    let classes = layout.graph.layers().last().map_or(0, |layer| layer.output.len());
    let small = Layout::smallest(&recipe.model, image, classes)?;
    let mut memory = vec![0.0; small.words];
    let mut cpu = Cpu::new(&mut memory, &[], &[]);
    initialize(&mut cpu, &small, recipe.seed)?;
    Snapshot::read(&mut cpu, &small, 0, &[])?.tensors(&small)
}
