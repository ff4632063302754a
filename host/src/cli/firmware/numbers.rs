//! A network's numbers in the order of chips: parameters, then running statistics (mean, then variance of each batch
//! norm), layer by layer, channels last.

use std::ops::Range;
use std::path::Path;

use crate::device::layout::Layout;
use crate::error::Error;
use crate::weights::torch::{self, Entry, Kind};
use crate::weights::{Data, Tensor, Weights};

/// A network's numbers, with what says how a chip orders them. They take as much memory as the file that they came from.
#[derive(Debug)]
pub struct Numbers {
    layout: Layout,
    /// In the order of [`torch::entries`].
    tensors: Vec<Tensor>,
}

impl Numbers {
    /// The numbers of a weights file.
    ///
    /// # Errors
    /// [`Error::Core`] when plan and graph do not belong together.
    pub fn new(weights: &Weights) -> Result<Self, Error> {
        let layout = weights.description.layout()?;
        let find = |entry: Entry| weights.tensor(&entry.name).cloned();
        let tensors = torch::entries(&layout)?.into_iter().filter_map(find).collect();
        Ok(Self { layout, tensors })
    }

    /// How many of them are parameters.
    pub fn parameters(&self) -> usize {
        self.layout.plan.parameters()
    }

    /// All of them.
    ///
    /// # Errors
    /// As [`Numbers::new`].
    pub fn values(&self) -> Result<Vec<f32>, Error> {
        let places = places(&self.layout)?;
        let mut values = vec![0.0; length(&places)];
        for ((entry, place), tensor) in places.iter().zip(&self.tensors) {
            if let (Some(own), Data::F32(numbers)) = (values.get_mut(place.clone()), &tensor.data) {
                own.copy_from_slice(&entry.inward(numbers));
            }
        }
        Ok(values)
    }

    /// Puts others in their place, as many; `path` is where they came from.
    ///
    /// # Errors
    /// [`Error::Core`] when there are not as many, [`Error::Weights`] when no network has such numbers.
    pub fn replace(&mut self, path: &Path, values: &[f32]) -> Result<(), Error> {
        let places = places(&self.layout)?;
        let (expected, found) = (length(&places), values.len());
        if found != expected {
            return Err(sse_sam_core::Error::Length { what: "a network", expected, found }.into());
        }
        for ((entry, place), tensor) in places.into_iter().zip(&mut self.tensors) {
            tensor.data = Data::F32(entry.outward(values.get(place).unwrap_or_default()));
        }
        torch::check(&self.layout, path, &self.tensors)
    }

    /// The network's state with PyTorch's names and orders. Chips do not count updates: those are 0.
    pub fn tensors(&self) -> Vec<Tensor> {
        let counter =
            |tensor: &Tensor| Some(format!("{}num_batches_tracked", tensor.name.strip_suffix("running_var")?));
        let with_counter = |tensor: &Tensor| [Some(tensor.clone()), counter(tensor).map(|name| Tensor::i64(name, 0))];
        self.tensors.iter().flat_map(with_counter).flatten().collect()
    }
}

/// Where each tensor's numbers lie.
fn places(layout: &Layout) -> Result<Vec<(Entry, Range<usize>)>, Error> {
    let mut next = layout.plan.parameters();
    let place = |entry: Entry| {
        let (first, length) = match entry.kind {
            Kind::Parameter(place) => (place.offset, place.length),
            Kind::Running(span) | Kind::Frozen(span) => (next, span.length),
        };
        next = next.max(first + length);
        (entry, first..first + length)
    };
    Ok(torch::entries(layout)?.into_iter().map(place).collect())
}

/// How many numbers there are.
fn length(places: &[(Entry, Range<usize>)]) -> usize {
    places.iter().map(|(_, place)| place.end).max().unwrap_or(0)
}
