//! What C passes by value: plain numbers.

/// An upper bound of a handle's size in `size_t`, for a static array: `static size_t handle[SSE_SAM_HANDLE_WORDS];`.
pub const SSE_SAM_HANDLE_WORDS: usize = 880;
/// The same of a handle that `sse_sam_perceptron` makes.
pub const SSE_SAM_PERCEPTRON_WORDS: usize = 400;

/// Plain cross-entropy; `a` and `b` are not read.
pub const SSE_SAM_LOSS_CE: u32 = 0;
/// Label-distribution-aware margins: `a` is the largest margin (0.5), `b` its factor (30).
pub const SSE_SAM_LOSS_LDAM: u32 = 1;
/// Logit adjustment: `a` is tau (1).
pub const SSE_SAM_LOSS_LA: u32 = 2;
/// Vector scaling: `a` is gamma (0.3), `b` is tau (1).
pub const SSE_SAM_LOSS_VS: u32 = 3;
/// Balanced softmax; `a` and `b` are not read.
pub const SSE_SAM_LOSS_BALANCED_SOFTMAX: u32 = 4;
/// Focal loss: `a` is gamma (1).
pub const SSE_SAM_LOSS_FOCAL: u32 = 5;

/// Vectors as the table of `sse_sam_update` says, and any update.
pub const SSE_SAM_MEMORY_FULL: u32 = 0;
/// One vector less: gradients are added to the velocity. No Nesterov momentum; a report's squared norm is the velocity's;
/// when that is not finite, the velocity becomes 0.
pub const SSE_SAM_MEMORY_LEAN: u32 = 1;
/// As lean, and one perturbed point serves both groups in turn: 3 vectors at most, for another forward pass.
pub const SSE_SAM_MEMORY_RECOMPUTE: u32 = 2;

/// One image, `[height][width][channels]`; for rows of features 1, 1 and their number.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// Rows of pixels.
    pub height: u32,
    /// Pixels a row.
    pub width: u32,
    /// Values a pixel.
    pub channels: u32,
}

/// What a plan needs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Floats of the arena.
    pub floats: usize,
    /// Floats that `sse_sam_load` and `sse_sam_save` take: trained parameters, then their running statistics.
    pub weights: usize,
    /// How many of them are parameters.
    pub parameters: usize,
    /// Number of classes.
    pub classes: usize,
    /// Floats that `sse_sam_lend_frozen` takes: 0 when every layer is trained.
    pub frozen: usize,
}

/// How to train in less memory. All 0: every layer, whole batches, full memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `SSE_SAM_MEMORY_...`.
    pub memory: u32,
    /// How many of the last layers with parameters are trained (a batch norm is one too); 0 for all. The others are frozen:
    /// they lie in memory of yours (`sse_sam_lend_frozen`), normalise as in evaluation, and have no gradient.
    pub trainable_layers: u32,
    /// Rows that pass through the network at a time, for networks without batch norm (but in frozen layers); 0 for the
    /// whole batch. Above 0, steps take rows that `sse_sam_put_sample` named, and pass head and tail by themselves.
    pub micro_batch: usize,
}

/// How a step updates the parameters.
///
/// | method           | `groups` | `radius`          | `tail_radius` | vectors as long as the parameters |
/// |------------------|----------|-------------------|---------------|-----------------------------------|
/// | SGD              | 1        | 0                 | not read      | 3                                 |
/// | SAM              | 1        | rho               | not read      | 4                                 |
/// | ImbSAM           | 2        | 0                 | rho           | 4                                 |
/// | SSE-SAM, stage 1 | 2        | head_rho          | tail_rho      | 5                                 |
/// | SSE-SAM, stage 2 | 2        | 0                 | tail_rho      | 4                                 |
/// | Focal-SAM        | 2        | 0                 | rho           | 4                                 |
///
/// Which samples are in the second group `sse_sam_set_tail` says, or, for Focal-SAM, `sse_sam_set_focal_sam`: there a
/// sample is in both, by shares.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// 1, or 2 when there is a second group: the tail's samples, or Focal-SAM's shares.
    pub groups: u32,
    /// How far the (first) group's point lies from the parameters.
    pub radius: f32,
    /// How far the second group's point lies from the parameters.
    pub tail_radius: f32,
    /// Step length.
    pub learning_rate: f32,
    /// Share of the velocity that is kept.
    pub momentum: f32,
    /// Factor of the parameters in the gradient.
    pub weight_decay: f32,
    /// 1 for Nesterov momentum, else 0.
    pub nesterov: u32,
}

/// What a step found. A loss of the batch is `head + tail`: sums over a group's samples, divided by the batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Loss of the first group at the parameters.
    pub head: f32,
    /// Loss of the tail at the parameters; 0 without a second group.
    pub tail: f32,
    /// Loss of the first group at its perturbed point; 0 where there is none.
    pub perturbed_head: f32,
    /// Loss of the tail at its perturbed point; 0 where there is none.
    pub perturbed_tail: f32,
    /// Squared norm of the update's gradient.
    pub squared_norm: f32,
}
