//! Everything that a step changes, copied at one instant.

use std::path::Path;

use sse_sam_core::Backend;

use crate::device::layout::Layout;
use crate::error::Error;
use crate::weights::torch::{self, Kind};
use crate::weights::{Data, Tensor};

/// Prefix of the velocity's tensors in a checkpoint.
const VELOCITY: &str = "velocity/";

/// Parameters, velocity and running statistics, in the device's order; those of frozen layers by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    updates: u64,
    params: Vec<f32>,
    velocity: Vec<f32>,
    running: Vec<f32>,
    frozen: Vec<f32>,
    tracked: Vec<i64>,
}

impl Snapshot {
    /// Copies the state after so many updates; `tracked` has those that frozen batch norms have seen, which no device knows.
    ///
    /// # Errors
    /// What the device reports.
    pub fn read<B: Backend>(backend: &mut B, layout: &Layout, updates: u64, tracked: &[i64]) -> Result<Self, Error>
    where
        Error: From<B::Error>,
    {
        let mut params = vec![0.0; layout.session.vectors.params.length];
        backend.read(&mut params, layout.session.vectors.params)?;
        let mut velocity = vec![0.0; layout.session.vectors.velocity.length];
        backend.read(&mut velocity, layout.session.vectors.velocity)?;
        let mut running = Vec::new();
        for span in layout.moving() {
            let first = running.len();
            running.resize(first + span.length, 0.0);
            backend.read(&mut running[first..], span)?;
        }
        let mut frozen = vec![0.0; layout.plan.frozen().length];
        backend.read(&mut frozen, layout.plan.frozen())?;
        Ok(Self { updates, params, velocity, running, frozen, tracked: tracked.to_vec() })
    }

    /// The constant memory of frozen layers.
    pub fn frozen(&self) -> &[f32] {
        &self.frozen
    }

    /// How many updates each frozen batch norm has seen.
    pub fn tracked(&self) -> &[i64] {
        &self.tracked
    }

    /// Makes it the state of the device again; frozen layers are there as they were.
    ///
    /// # Errors
    /// What the device reports.
    pub fn write<B: Backend>(&self, backend: &mut B, layout: &Layout) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        backend.write(layout.session.vectors.params, &self.params)?;
        backend.write(layout.session.vectors.velocity, &self.velocity)?;
        let mut rest = self.running.as_slice();
        for span in layout.moving() {
            let (values, after) = rest.split_at(span.length.min(rest.len()));
            backend.write(span, values)?;
            rest = after;
        }
        Ok(())
    }

    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        [&self.params, &self.velocity, &self.running, &self.frozen].into_iter().flatten().all(|value| value.is_finite())
    }

    /// The network's state with PyTorch's names and orders.
    ///
    /// # Errors
    /// [`Error::Core`] when it belongs to another layout.
    pub fn tensors(&self, layout: &Layout) -> Result<Vec<Tensor>, Error> {
        let (mut tensors, mut rest) = (Vec::new(), self.running.as_slice());
        let mut tracked = self.tracked.iter().copied();
        for entry in torch::entries(layout)? {
            let values = match entry.kind {
                Kind::Parameter(place) => &self.params[place.offset..][..place.length],
                Kind::Frozen(span) => &self.frozen[span.offset..][..span.length],
                Kind::Running(span) => {
                    let (values, after) = rest.split_at(span.length);
                    rest = after;
                    values
                }
            };
            let data = Data::F32(entry.outward(values));
            let counter = entry.counter();
            tensors.push(Tensor { name: entry.name, shape: entry.shape, data });
            if let Some(name) = counter {
                // Frozen statistics take no part in an update.
                let is_frozen = matches!(entry.kind, Kind::Frozen(_));
                let updates = if is_frozen { tracked.next().unwrap_or(0) } else { self.updates as i64 };
                tensors.push(Tensor::i64(name, updates));
            }
        }
        Ok(tensors)
    }

    /// The velocity of every parameter, in PyTorch's order.
    ///
    /// # Errors
    /// [`Error::Core`] when it belongs to another layout.
    pub fn velocities(&self, layout: &Layout) -> Result<Vec<Tensor>, Error> {
        let tensor = |entry: torch::Entry| match entry.kind {
            Kind::Parameter(place) => {
                let values = entry.outward(&self.velocity[place.offset..][..place.length]);
                Some(Tensor { name: format!("{VELOCITY}{}", entry.name), shape: entry.shape, data: Data::F32(values) })
            }
            Kind::Running(_) | Kind::Frozen(_) => None,
        };
        Ok(torch::entries(layout)?.into_iter().filter_map(tensor).collect())
    }

    /// The snapshot that a file's tensors tell of; their names begin with `prefix`. A velocity that is not there is 0.
    /// The tensors are taken out of the list, so that there are not two of everything.
    ///
    /// # Errors
    /// [`Error::Weights`] when a tensor is missing or does not fit.
    pub fn from_tensors(
        layout: &Layout,
        path: &Path,
        tensors: &mut Vec<Tensor>,
        prefix: &str,
        updates: u64,
    ) -> Result<Self, Error> {
        let tracked = torch::tracked(layout, tensors, prefix)?;
        let mut take = |name: &str, shape: &[usize]| {
            let fits = |tensor: &Tensor| tensor.name == name && tensor.shape == shape;
            let index = tensors.iter().position(|tensor| fits(tensor) && matches!(tensor.data, Data::F32(_)))?;
            if let Data::F32(values) = tensors.swap_remove(index).data { Some(values) } else { None }
        };
        let entries = torch::entries(layout)?;
        let mut running = Vec::new();
        let mut params = vec![0.0; layout.session.vectors.params.length];
        let mut frozen = vec![0.0; layout.plan.frozen().length];
        for entry in &entries {
            let Some(values) = take(&format!("{prefix}{}", entry.name), &entry.shape) else {
                return Err(Error::weights(path, format!("has no fitting tensor {prefix}{}", entry.name)));
            };
            match entry.kind {
                Kind::Running(_) => running.extend_from_slice(&values),
                Kind::Frozen(span) => frozen[span.offset..][..span.length].copy_from_slice(&entry.inward(&values)),
                Kind::Parameter(place) => {
                    params[place.offset..][..place.length].copy_from_slice(&entry.inward(&values))
                }
            }
        }
        let mut velocity = vec![0.0; layout.session.vectors.velocity.length];
        for entry in &entries {
            let Kind::Parameter(place) = entry.kind else { continue };
            if let Some(values) = take(&format!("{VELOCITY}{prefix}{}", entry.name), &entry.shape) {
                velocity[place.offset..][..place.length].copy_from_slice(&entry.inward(&values));
            }
        }
        Ok(Self { updates, params, velocity, running, frozen, tracked })
    }
}
