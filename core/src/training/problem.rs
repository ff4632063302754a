//! What is trained: a loss that can be evaluated and differentiated at any parameters.

use crate::machine::backend::Backend;
use crate::memory::Span;

/// What happens to batch-norm statistics in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Normalise with the batch's statistics and move the running ones: a batch's first pass, at the parameters.
    Update,
    /// Normalise with the batch's statistics, leave the running ones: another pass at the parameters.
    Repeat,
    /// Normalise with the batch's statistics, leave the running ones: a pass at a perturbed point.
    Keep,
    /// Normalise with the running statistics: evaluation.
    Running,
}

/// A group of samples whose loss gradient is wanted, and the vector it is added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The group's column in the table of sample weights.
    pub column: usize,
    /// A vector as long as the parameters.
    pub gradient: Span,
}

/// A loss over a batch that can be evaluated at any parameters: a network, or your own function.
pub trait Problem<B: Backend> {
    /// Evaluates at `params` and keeps what [`Problem::backward`] needs. A batch's first pass is one with
    /// [`Statistics::Update`] or [`Statistics::Running`].
    fn forward(&mut self, backend: &mut B, params: Span, statistics: Statistics) -> Result<(), B::Error>;

    /// Adds, for each of one or two targets, the gradient at `params` of
    /// `sum_i weight[column][i] * loss_i` to `target.gradient`. `params` are those of the last forward pass.
    fn backward(&mut self, backend: &mut B, params: Span, targets: &[Target]) -> Result<(), B::Error>;
}
