//! A training on its device: where its numbers lie.

use std::path::Path;

use crate::device::choose::Device;
use crate::device::layout::Layout;
use crate::error::Error;
use crate::report::Observer;
use crate::run::snapshot::Snapshot;
use crate::train::feed::Feeds;
use crate::train::prepare::Prepared;
use crate::weights;

/// A training that has a device with room for it.
#[derive(Debug)]
pub struct Placed<'a> {
    /// The training.
    pub prepared: &'a Prepared,
    /// The device.
    pub device: Device,
    /// Where numbers lie.
    pub layout: Layout,
    /// Rows of a batch, where the data do not fit beside the network and are staged batch by batch.
    pub staged: Option<usize>,
}

/// Plans a training on a device; one that nobody asked for and that is too small is replaced by the next one, with a warning.
///
/// # Errors
/// [`Error::Device`] when there is not enough memory, [`Error::Usage`] when the model takes no pieces of a batch.
pub fn place<'a>(mut device: Device, prepared: &'a Prepared, observer: &dyn Observer) -> Result<Placed<'a>, Error> {
    let Prepared { recipe, dataset, needs, .. } = prepared;
    let staged_bytes = |rows| Feeds::staged_bytes(dataset, rows);
    let resident = recipe.cut.is_none().then(|| Feeds::resident_bytes(dataset));
    let plan = |device: &Device| device.plan(&recipe.model, needs, resident, &staged_bytes);
    let (layout, staged) = device.or_next(plan, observer)?;
    if layout.session.piece().is_some() && !layout.plan.is_separable() {
        return Err(Error::Usage(format!("--micro-batch: {}", sse_sam_core::Error::Pieces)));
    }
    Ok(Placed { prepared, device, layout, staged })
}

impl Placed<'_> {
    /// Writes weights with PyTorch's names, and what they say about themselves.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: &Path, snapshot: &Snapshot) -> Result<(), Error> {
        weights::write(path, &snapshot.tensors(&self.layout)?, &self.prepared.description.metadata())
    }
}
