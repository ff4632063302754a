//! A network's parameters and running statistics under PyTorch's names and in PyTorch's order.

use std::path::Path;

use sse_sam_core::memory::Place;
use sse_sam_core::network::layer::{self, Layer, Op};
use sse_sam_core::{Backend, Shape, Span};

use crate::device::layout::Layout;
use crate::error::Error;
use crate::weights::{self, Data, Tensor};

/// Where an entry's numbers lie.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// In the vector of parameters.
    Parameter(Place),
    /// In the running statistics.
    Running(Span),
    /// In constant memory: parameters and running statistics of frozen layers.
    Frozen(Span),
}

/// How an entry's numbers are ordered here and in PyTorch.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Alike.
    Same,
    /// HWIO here, OIHW there.
    Convolution([usize; 4]),
    /// `[height * width * channels][outputs]` here, `[outputs][channels * height * width]` there.
    Linear(Shape, usize),
}

impl Order {
    /// PyTorch's shape; of one with a number for each of `channels` where the order is the same.
    fn shape(self, channels: usize) -> Vec<usize> {
        match self {
            Self::Same => vec![channels],
            Self::Convolution(sizes) => sizes.to_vec(),
            Self::Linear(input, outputs) => vec![outputs, input.len()],
        }
    }
}

/// The order of a layer's weight; `input` is one image of what it reads.
fn order(layer: &Layer, input: Shape) -> Order {
    match layer.op {
        Op::Conv2d(conv) => Order::Convolution([conv.output.channels, conv.input.channels, conv.kernel, conv.kernel]),
        Op::Linear => Order::Linear(input, layer.output.channels),
        _ => Order::Same,
    }
}

/// One tensor of a state.
#[derive(Clone, Debug)]
pub struct Entry {
    /// PyTorch's name.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub kind: Kind,
    order: Order,
}

/// All tensors of a network in the order of PyTorch's `state_dict`, without `num_batches_tracked`.
///
/// # Errors
/// [`Error::Core`] when plan and graph do not belong together.
pub fn entries(layout: &Layout) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for (index, (layer, slot)) in layout.graph.layers().iter().zip(layout.plan.slots()).enumerate() {
        let is_frozen = index < layout.plan.first_trained();
        let parameter = |place: Place| {
            Ok::<_, Error>(if is_frozen {
                Kind::Frozen(place.of(layout.plan.frozen())?)
            } else {
                Kind::Parameter(place)
            })
        };
        let running = |span| if is_frozen { Kind::Frozen(span) } else { Kind::Running(span) };
        let order = order(layer, layout.graph.shape(layer.input)?);
        let channels = layer.output.channels;
        let halves = |both: Span| Ok::<_, Error>([both.part(0, channels)?, both.part(channels, channels)?]);
        for tensor in layer.tensors() {
            let (kind, order) = match (tensor, slot.running) {
                (layer::Tensor::Weight, _) => (parameter(slot.weight)?, order),
                (layer::Tensor::Bias, _) => (parameter(slot.bias)?, Order::Same),
                (layer::Tensor::RunningMean, Some(both)) => (running(halves(both)?[0]), Order::Same),
                (layer::Tensor::RunningVar, Some(both)) => (running(halves(both)?[1]), Order::Same),
                _ => continue,
            };
            let name = format!("{}.{}", layer.name, tensor.name());
            entries.push(Entry { name, shape: order.shape(channels), kind, order });
        }
    }
    Ok(entries)
}

impl Entry {
    fn span(&self, layout: &Layout) -> Result<Span, Error> {
        Ok(match self.kind {
            Kind::Parameter(place) => place.of(layout.session.vectors.params)?,
            Kind::Running(span) | Kind::Frozen(span) => span,
        })
    }

    /// The name of its counter of updates, beside a running variance.
    pub fn counter(&self) -> Option<String> {
        Some(format!("{}num_batches_tracked", self.name.strip_suffix("running_var")?))
    }

    fn is_variance(&self) -> bool {
        self.name.ends_with("running_var")
    }

    /// The device's numbers in PyTorch's order.
    pub fn outward(&self, values: &[f32]) -> Vec<f32> {
        match self.order {
            Order::Same => values.to_vec(),
            Order::Convolution(sizes) => weights::hwio_to_oihw(values, sizes),
            Order::Linear(image, outputs) => weights::linear_to_chw(values, outputs, image),
        }
    }

    /// PyTorch's numbers in the device's order.
    pub fn inward(&self, values: &[f32]) -> Vec<f32> {
        match self.order {
            Order::Same => values.to_vec(),
            Order::Convolution(sizes) => weights::oihw_to_hwio(values, sizes),
            Order::Linear(image, outputs) => weights::linear_from_chw(values, outputs, image),
        }
    }

    /// Reads the tensor in PyTorch's order.
    ///
    /// # Errors
    /// What the device reports.
    pub fn load<B: Backend>(&self, backend: &mut B, layout: &Layout) -> Result<Vec<f32>, Error>
    where
        Error: From<B::Error>,
    {
        let span = self.span(layout)?;
        let mut values = vec![0.0; span.length];
        backend.read(&mut values, span)?;
        Ok(self.outward(&values))
    }

    /// Writes the tensor, given in PyTorch's order.
    ///
    /// # Errors
    /// What the device reports; [`Error::Core`] when it has another length.
    pub fn store<B: Backend>(&self, backend: &mut B, layout: &Layout, values: &[f32]) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let span = self.span(layout)?;
        if values.len() != span.length {
            let found = values.len();
            return Err(sse_sam_core::Error::Length { what: "a tensor", expected: span.length, found }.into());
        }
        Ok(backend.write(span, &self.inward(values))?)
    }
}

/// Checks that a `state_dict` has the network's names and shapes, and finite numbers. What a checkpoint holds beside
/// it, under names with a slash, is passed over.
///
/// # Errors
/// [`Error::Weights`] when a tensor is missing, unknown, of another shape or type, or not finite.
pub fn check(layout: &Layout, path: &Path, tensors: &[Tensor]) -> Result<(), Error> {
    let entries = entries(layout)?;
    let refuse = |message: String| Err(Error::weights(path, message));
    let beside = |name: &str| name.ends_with(".num_batches_tracked") || name.contains('/');
    let names = || tensors.iter().map(|tensor| tensor.name.as_str()).filter(|name| !beside(name));
    if let Some((names, _)) = listed(names().filter(|name| !entries.iter().any(|entry| entry.name == *name))) {
        return refuse(format!("the model has no tensor {names}"));
    }
    let find = |entry: &Entry| tensors.iter().find(|tensor| tensor.name == entry.name);
    for entry in &entries {
        let Some(tensor) = find(entry) else {
            let missing = entries.iter().filter(|entry| find(entry).is_none()).map(|entry| entry.name.as_str());
            return refuse(match listed(missing) {
                Some((names, 2..)) => format!("tensors {names} are missing"),
                _ => format!("tensor {} is missing", entry.name),
            });
        };
        if tensor.shape != entry.shape {
            let (name, expected, found) = (&entry.name, &entry.shape, &tensor.shape);
            let error = Error::weights(path, format!("tensor {name} must have shape {expected:?}, has {found:?}"));
            let has_stages = entries.iter().any(|entry| entry.name.starts_with("layer4."));
            return Err(match other_stem(tensor).filter(|_| has_stages && entry.shape.get(2) != found.get(2)) {
                Some(stem) => error.with_hint(format!("these weights begin as {stem} has it")),
                None => error,
            });
        }
        check_numbers(path, entry, &tensor.data)?;
    }
    Ok(())
}

/// Refuses numbers that a tensor cannot hold.
fn check_numbers(path: &Path, entry: &Entry, data: &Data) -> Result<(), Error> {
    let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    let what = match data {
        Data::F32(values) if entry.is_variance() && values.iter().any(|&value| value < 0.0) => {
            "holds a variance below 0"
        }
        Data::F32(values) if is_finite(values) => return Ok(()),
        Data::F32(_) => "holds a number that is not finite",
        Data::I64(_) => "must hold floating-point numbers, holds I64",
    };
    Err(Error::weights(path, format!("tensor {} {what}", entry.name)))
}

/// Most names that a sentence lists.
const LISTED: usize = 5;

/// Names in a sentence, the first few of them, and how many there are; nothing where there are none.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<(String, usize)> {
    let names: Vec<&str> = names.collect();
    let (shown, more) = names.split_at(names.len().min(LISTED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    (!names.is_empty()).then(|| (shown.join(", ") + &more, names.len()))
}

/// The option for the stem that weights have been trained with.
fn other_stem(tensor: &Tensor) -> Option<&'static str> {
    match (&*tensor.name, &tensor.shape[..]) {
        ("conv1.weight", [.., 7, 7]) => Some("--stem imagenet"),
        ("conv1.weight", [.., 3, 3]) => Some("--stem cifar"),
        _ => None,
    }
}

/// The constant memory of a network with frozen layers, from any `state_dict` with its names and shapes.
///
/// # Errors
/// As [`check`].
pub fn frozen(layout: &Layout, path: &Path, tensors: &[Tensor]) -> Result<Vec<f32>, Error> {
    check(layout, path, tensors)?;
    let mut frozen = vec![0.0; layout.plan.frozen().length];
    for entry in entries(layout)? {
        let found = tensors.iter().find(|tensor| tensor.name == entry.name);
        if let (Kind::Frozen(span), Some(Tensor { data: Data::F32(values), .. })) = (entry.kind, found) {
            frozen[span.offset..][..span.length].copy_from_slice(&entry.inward(values));
        }
    }
    Ok(frozen)
}

/// How many updates each frozen batch norm has seen, as a `state_dict` whose names begin with `prefix` says: 0 where it
/// does not.
///
/// # Errors
/// As [`entries`].
pub fn tracked(layout: &Layout, tensors: &[Tensor], prefix: &str) -> Result<Vec<i64>, Error> {
    let is_frozen = |entry: &Entry| matches!(entry.kind, Kind::Frozen(_));
    let count = |name: String| {
        let found = tensors.iter().find(|tensor| tensor.name.strip_prefix(prefix) == Some(&name));
        // PyTorch's are integers, but not every program's.
        found.and_then(|tensor| match &tensor.data {
            Data::I64(values) => values.first().copied(),
            Data::F32(values) => values.first().map(|&value| value as i64),
        })
    };
    let counters = entries(layout)?.into_iter().filter(is_frozen).filter_map(|entry| entry.counter());
    Ok(counters.map(|name| count(name).unwrap_or(0)).collect())
}

/// Loads what is trained from any `state_dict` with the network's names and shapes, PyTorch's included; [`frozen`] is
/// for the rest.
///
/// # Errors
/// As [`check`], else what the device reports.
pub fn load<B: Backend>(backend: &mut B, layout: &Layout, path: &Path, tensors: &[Tensor]) -> Result<(), Error>
where
    Error: From<B::Error>,
{
    check(layout, path, tensors)?;
    for entry in entries(layout)?.into_iter().filter(|entry| !matches!(entry.kind, Kind::Frozen(_))) {
        if let Some(Tensor { data: Data::F32(values), .. }) = tensors.iter().find(|tensor| tensor.name == entry.name) {
            entry.store(backend, layout, values)?;
        }
    }
    Ok(())
}
