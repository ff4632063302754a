//! The result of a training.

use std::sync::Arc;

use crate::run::position::Evaluated;
use crate::run::snapshot::Snapshot;

/// What became of a training that reached its last epoch.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The last epoch.
    pub last: Evaluated,
    /// The first with the highest balanced accuracy on the validation set; without one it is chosen on the test set.
    pub best: Evaluated,
    /// How often it went back because numbers were no longer finite.
    pub rollbacks: u32,
    /// The weights at its end: [`Placed::save`](crate::train::place::Placed::save) writes them.
    pub weights: Arc<Snapshot>,
    /// The weights at the end of the best epoch.
    pub best_weights: Arc<Snapshot>,
}
