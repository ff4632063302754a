//! The contract between the network and the machine that runs it.
//!
//! Memory is named by [`Span`]s and never owned here. All numbers a step produces stay in memory: only
//! [`Backend::read`] returns any.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::gather::{Batch, Samples};
use crate::ops::loss::Terms;
use crate::ops::vector::{Outcome, Sgd};
use crate::shape::{Conv2d, Shape};

/// What a machine must be able to do; about one method for each kernel that exists once.
///
/// Lengths carry the batch: an operation infers it from the spans it is given. Written spans come first. Where a
/// method takes a list of output gradients it takes one or two (head and tail at the same forward pass), so that
/// activations are read once for both; `dx[i]` and `dw[i]` belong to `dy[i]`. Weight gradients always add to what is
/// there; input gradients add when `accumulate` is set and overwrite otherwise. The spans of one call, over all streams,
/// are disjoint; a backend may refuse others. Lengths are checked before anything is written; a label or sample index
/// out of range may be noticed after earlier rows were written, or show as a loss that is not finite. No method but
/// [`Backend::read`] waits.
pub trait Backend {
    /// What can go wrong.
    type Error: From<Error>;

    // Memory.

    /// Puts numbers into work memory.
    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), Self::Error>;
    /// Gets numbers out of work memory, after all that was asked for before.
    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), Self::Error>;
    /// `to[i] = value`.
    fn fill(&mut self, to: Span, value: f32) -> Result<(), Self::Error>;
    /// `to[i] = from[i]`.
    fn copy(&mut self, to: Span, from: Span) -> Result<(), Self::Error>;
    /// Cuts a batch out of the samples by the `rows` of an epoch's table, `[rows][Row::WORDS]`:
    /// `image = (byte - mean) / deviation` for each channel, NHWC; the rows' labels and group weights beside it.
    fn gather(&mut self, batch: &Batch, rows: Span, samples: &Samples) -> Result<(), Self::Error>;

    // Vectors.

    /// `y[i] += alpha * x[i]`.
    fn axpy(&mut self, y: Span, alpha: f32, x: Span) -> Result<(), Self::Error>;
    /// `point <- params + radius * point / (||point||_2 + 1e-16)`, in place.
    ///
    /// `point` holds a gradient on entry and the perturbed parameters on return; the norm never leaves the device, and its
    /// square stays in `squared_norm`, `[1]`.
    fn ascend(&mut self, point: Span, squared_norm: Span, params: Span, radius: f32) -> Result<(), Self::Error>;
    /// One update as [`Sgd`] says, and of its [`Outcome`] the squared norm and the failure. Changes neither `params` nor `velocity` when the squared
    /// norm of `gradient` is not finite.
    fn sgd(
        &mut self,
        params: Span,
        velocity: Span,
        outcome: &Outcome,
        gradient: Span,
        sgd: &Sgd,
    ) -> Result<(), Self::Error>;
    /// `velocity[i] = momentum * velocity[i] + weight_decay * params[i]`: what an update begins with where gradients are
    /// added to the velocity itself.
    fn decay(&mut self, velocity: Span, params: Span, sgd: &Sgd) -> Result<(), Self::Error>;
    /// `params[i] -= learning_rate * velocity[i]`, and its [`Outcome`]: what such an update ends with. When the squared
    /// norm of `velocity` is not finite, `params` do not change and the velocity becomes zero.
    fn descend(
        &mut self,
        params: Span,
        velocity: Span,
        outcome: &Outcome,
        learning_rate: f32,
    ) -> Result<(), Self::Error>;

    // Network.

    /// `y[n][o] = bias[o] + sum_i x[n][i] * weight[i][o]`.
    fn linear_forward(&mut self, y: Span, x: Span, weight: Span, bias: Span) -> Result<(), Self::Error>;
    /// `dx[n][i] = sum_o dy[n][o] * weight[i][o]`; `outputs` is the number of `o`.
    fn linear_backward_input(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        weight: Span,
        outputs: usize,
        accumulate: bool,
    ) -> Result<(), Self::Error>;
    /// `dweight[i][o] += sum_n x[n][i] * dy[n][o]`, `dbias[o] += sum_n dy[n][o]`.
    fn linear_backward_weight(
        &mut self,
        dweight: &[Span],
        dbias: &[Span],
        x: Span,
        dy: &[Span],
    ) -> Result<(), Self::Error>;

    /// `y[n][i][j][o] = sum_{a,b,c} x[n][i*stride+a-padding][j*stride+b-padding][c] * weight[a][b][c][o]`.
    fn conv2d_forward(&mut self, y: Span, x: Span, weight: Span, conv: &Conv2d) -> Result<(), Self::Error>;
    /// The gradient of [`Backend::conv2d_forward`] with respect to `x`.
    fn conv2d_backward_input(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        weight: Span,
        conv: &Conv2d,
        accumulate: bool,
    ) -> Result<(), Self::Error>;
    /// Adds the gradient of [`Backend::conv2d_forward`] with respect to `weight`.
    fn conv2d_backward_weight(
        &mut self,
        dweight: &[Span],
        x: Span,
        dy: &[Span],
        conv: &Conv2d,
    ) -> Result<(), Self::Error>;

    /// `y = relu?(weight * (x - mean) / sqrt(var + 1e-5) + bias + residual?)` with the batch's own mean and biased
    /// variance of each channel.
    ///
    /// `saved` is `[2][channels]` and receives `mean` and `1 / sqrt(var + 1e-5)`. `running`, when given, is
    /// `[2][channels]`, mean and variance, and moves by 0.1 towards the batch's mean and unbiased variance; a channel
    /// with a single value, or whose statistics are not finite, does not move. The number of channels is
    /// `weight.length`.
    fn batch_norm_forward(
        &mut self,
        y: Span,
        saved: Span,
        running: Option<Span>,
        x: Span,
        weight: Span,
        bias: Span,
        residual: Option<Span>,
        relu: bool,
    ) -> Result<(), Self::Error>;
    /// The same with the running statistics in place of the batch's.
    fn batch_norm_inference(
        &mut self,
        y: Span,
        x: Span,
        weight: Span,
        bias: Span,
        running: Span,
        residual: Option<Span>,
        relu: bool,
    ) -> Result<(), Self::Error>;
    /// The gradients of [`Backend::batch_norm_forward`]; `y` is its output, `saved` what it saved.
    ///
    /// With `masked = relu ? (y > 0 ? dy : 0) : dy`, `xhat = (x - mean) * inv_std` and `m` values a channel:
    /// `dbias += sum masked`, `dweight += sum masked * xhat`,
    /// `dx = weight * inv_std * (masked - sum masked / m - xhat * sum(masked * xhat) / m)`.
    /// `residual` says whether the forward pass had one: then `dy` holds `masked`, its gradient, on return; otherwise what
    /// it holds on return is unspecified, and a backend may recompute `y` from `x` and `bias` instead of reading it.
    fn batch_norm_backward(
        &mut self,
        dx: &[Span],
        dweight: &[Span],
        dbias: &[Span],
        dy: &[Span],
        y: Span,
        x: Span,
        weight: Span,
        bias: Span,
        saved: Span,
        relu: bool,
        residual: bool,
        accumulate: bool,
    ) -> Result<(), Self::Error>;

    /// `y = x > 0 ? x : 0`.
    fn relu_forward(&mut self, y: Span, x: Span) -> Result<(), Self::Error>;
    /// `dx = y > 0 ? dy : 0`.
    fn relu_backward(&mut self, dx: &[Span], dy: &[Span], y: Span, accumulate: bool) -> Result<(), Self::Error>;

    /// The parameter-free shortcut ("option A"): every second row and column, channels padded with zeros, half before
    /// (rounded down) and the rest after. Output sides are the input's halved, rounded up.
    fn shortcut_forward(&mut self, y: Span, x: Span, input: Shape, output: Shape) -> Result<(), Self::Error>;
    /// The gradient of [`Backend::shortcut_forward`].
    fn shortcut_backward(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        input: Shape,
        output: Shape,
        accumulate: bool,
    ) -> Result<(), Self::Error>;

    /// `y[n][c] =` the mean of `x[n][..][..][c]`; `input` is one image.
    fn global_average_pool_forward(&mut self, y: Span, x: Span, input: Shape) -> Result<(), Self::Error>;
    /// The gradient of [`Backend::global_average_pool_forward`].
    fn global_average_pool_backward(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        input: Shape,
        accumulate: bool,
    ) -> Result<(), Self::Error>;

    /// The adjusted softmax cross-entropy of [`crate::ops::cross_entropy`] for every row, once for each group:
    /// `dlogits[g]` is overwritten with its gradient, `losses[g]` (`[1]`) with the sum over rows of
    /// `weights[g][row] * loss`. The number of classes is `terms.scale.length`.
    fn cross_entropy(
        &mut self,
        dlogits: &[Span],
        losses: &[Span],
        logits: Span,
        labels: Span,
        weights: &[Span],
        terms: &Terms,
    ) -> Result<(), Self::Error>;
}
