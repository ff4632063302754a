//! A position in a run: epoch, step, and the sums so far.

use serde::{Deserialize, Serialize};

use crate::report::metrics::Accuracy;

/// Sums over the steps of an epoch, in the order of the steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Samples.
    pub rows: f64,
    /// Losses at the parameters times samples, by group.
    pub losses: [f64; 2],
    /// Losses at the perturbed points times samples, by group.
    pub perturbed: [f64; 2],
    /// Norms of the gradients at the parameters, by group.
    pub group_norms: [f64; 2],
    /// Norms of the update's gradient.
    pub norm: f64,
    /// Steps.
    pub steps: f64,
}

/// An epoch that was evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluated {
    /// The epoch, from 0.
    pub epoch: u32,
    /// Updates up to its end.
    pub updates: u64,
    /// What was measured at its end on the test set.
    pub accuracy: Accuracy,
    /// The same on the validation set, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Accuracy>,
}

impl Evaluated {
    /// What the best epoch is chosen by: balanced accuracy on the validation set, where there is one, else on the test set.
    pub fn choice(&self) -> f64 {
        self.validation.as_ref().unwrap_or(&self.accuracy).balanced
    }
}

/// A position in a run: epoch, step, and the sums so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u32,
    /// Steps of the epoch that are done.
    pub step: u32,
    /// Epochs of the whole run, as they were meant when the epoch began: its rate, stage and weights follow these.
    pub epochs: u32,
    /// Updates since the run began.
    pub updates: u64,
    /// The epoch's sums so far.
    pub totals: Totals,
    /// The best epoch so far.
    pub best: Option<Evaluated>,
    /// Bytes of `metrics.jsonl`.
    pub metrics: u64,
    /// How often the run went back; each time halves the learning rate.
    pub rollbacks: u32,
    /// The epoch at whose beginning the checkpoint lies that a rollback goes back to.
    pub target: u32,
}

impl Position {
    /// Whether a run of so many epochs is at its end: all are trained, or `patience` of them were not better than the best.
    pub fn is_over(&self, epochs: u32, patience: Option<u32>) -> bool {
        let waited = self.best.as_ref().map_or(0, |best| self.epoch.saturating_sub(best.epoch + 1));
        self.epoch >= epochs || patience.is_some_and(|most| waited >= most)
    }
}
