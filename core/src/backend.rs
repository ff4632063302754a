//! The contract between the network and the machine that runs it.
//!
//! Memory is named by [`Span`]s and never owned here. All numbers a step produces stay in memory: only
//! [`Backend::read`] returns any.

use core::fmt;

use crate::error::Error;

/// One of the three memories a [`Span`] points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)] // A span is whole words, which a chip copies in one go.
pub enum Space {
    /// Read-write `f32`, laid out by a plan.
    Work,
    /// Read-only `f32`: frozen weights; flash on a chip.
    Constant,
    /// Read-only bytes: images and labels as stored; flash on a chip.
    Samples,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Work => "work",
            Self::Constant => "constant",
            Self::Samples => "samples",
        })
    }
}

/// A stretch of one memory: an address, not an owner. Offset and length count elements (`f32`, or bytes of samples).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The memory.
    pub space: Space,
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub length: usize,
}

impl Span {
    /// `length` elements of work memory from `offset`.
    pub const fn work(offset: usize, length: usize) -> Self {
        Self { space: Space::Work, offset, length }
    }

    /// `length` bytes of sample memory from `offset`.
    pub const fn samples(offset: usize, length: usize) -> Self {
        Self { space: Space::Samples, offset, length }
    }

    /// The `length` elements that start `offset` after this span's first one.
    ///
    /// # Errors
    /// [`Error::Bounds`] when they do not lie inside this span.
    pub fn part(self, offset: usize, length: usize) -> Result<Self, Error> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => Ok(Self { offset: self.offset.saturating_add(offset), length, ..self }),
            _ => Err(Error::Bounds { space: self.space, offset, length, available: self.length }),
        }
    }
}

/// Height, width and channels of an image or activation; features are `1 x 1 x channels`. Stored in NHWC order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels a row.
    pub width: usize,
    /// Values a pixel.
    pub channels: usize,
}

impl Shape {
    /// An image of `height x width x channels`.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels }
    }

    /// Number of values, `height * width * channels`, saturating.
    pub const fn len(self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.channels)
    }

    /// Whether any side is zero.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// A two-dimensional convolution with a square kernel: NHWC images, HWIO weights `[kernel][kernel][in][out]`, no bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// One input image.
    pub input: Shape,
    /// One output image.
    pub output: Shape,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step between output pixels, in input pixels.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
}

impl Conv2d {
    /// The convolution of `input` with `filters` kernels; the output has
    /// `(size + 2 * padding - kernel) / stride + 1` rows and columns, rounded down.
    ///
    /// # Errors
    /// [`Error::Image`] when a size is zero or the kernel does not fit into the padded input.
    pub fn new(input: Shape, filters: usize, kernel: usize, stride: usize, padding: usize) -> Result<Self, Error> {
        let refused = Error::Image { what: "a convolution", found: (input.height, input.width, input.channels) };
        let side = |size: usize| {
            let padded = size.checked_add(padding.checked_mul(2)?)?;
            padded.checked_sub(kernel)?.checked_div(stride)?.checked_add(1)
        };
        let (Some(height), Some(width)) = (side(input.height), side(input.width)) else { return Err(refused) };
        if input.is_empty() || filters == 0 || kernel == 0 {
            return Err(refused);
        }
        Ok(Self { input, output: Shape::new(height, width, filters), kernel, stride, padding })
    }

    /// Number of weights, `kernel * kernel * in * out`, saturating.
    pub const fn weights(&self) -> usize {
        self.kernel.saturating_mul(self.kernel).saturating_mul(self.input.channels).saturating_mul(self.output.channels)
    }
}

/// The three tables of the adjusted cross-entropy, `[classes]` each, and the exponent of its focal factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Divides the logits; 1 for plain cross-entropy.
    pub scale: Span,
    /// Added to the logits; 0 for plain cross-entropy.
    pub shift: Span,
    /// Subtracted from the label's logit; 0 for plain cross-entropy.
    pub margin: Span,
    /// Exponent of `1 - p`; 0 for none.
    pub focal: f32,
}

/// Where the images and labels of a data set lie and how pixels become numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Bytes `[samples][height][width][channels]`.
    pub images: Span,
    /// Bytes `[samples]`, class indices.
    pub labels: Span,
    /// One image.
    pub image: Shape,
    /// `[2][channels]` in work memory: the mean of the bytes, and one over their standard deviation.
    pub normalization: Span,
}

/// Where [`Backend::gather`] puts a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[rows][height][width][channels]`.
    pub images: Span,
    /// `[rows]`, class indices as numbers.
    pub labels: Span,
    /// `[rows]` for each of the two groups: the factor of a sample's loss in that group.
    pub weights: [Span; 2],
}

/// One row of an epoch's table: which sample, how it is moved, and its factor in each group.
///
/// Pixel `(y, x)` of the batch is pixel `(y + top, x + left)` of the picture, mirrored left to right first if `flip`;
/// what lies outside the picture is black (byte 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Which sample.
    pub index: u32,
    /// Rows by which the crop starts below the picture's first; negative above.
    pub top: i8,
    /// Columns by which the crop starts right of the picture's first; negative left.
    pub left: i8,
    /// Whether the picture is mirrored left to right before the crop.
    pub flip: bool,
    /// Factors of the sample's loss in the two groups.
    pub weights: [f32; 2],
}

impl Row {
    /// Numbers a row takes in work memory.
    pub const WORDS: usize = 4;

    /// The row as it lies in work memory: the bits of the index, of the move (top, left, flip: a byte each from the
    /// lowest), and the two factors.
    pub fn encode(&self) -> [f32; Self::WORDS] {
        let moved = u32::from_le_bytes([self.top as u8, self.left as u8, u8::from(self.flip), 0]);
        [f32::from_bits(self.index), f32::from_bits(moved), self.weights[0], self.weights[1]]
    }

    /// The inverse of [`Row::encode`].
    pub fn decode(words: &[f32; Self::WORDS]) -> Self {
        let [index, moved, head, tail] = *words;
        let [top, left, flip, _] = moved.to_bits().to_le_bytes();
        Self { index: index.to_bits(), top: top as i8, left: left as i8, flip: flip != 0, weights: [head, tail] }
    }
}

/// Stochastic gradient descent with momentum, as PyTorch writes it.
///
/// `d = g + weight_decay * w; v = momentum * v + d; w -= learning_rate * v`, with Nesterov
/// `w -= learning_rate * (d + momentum * v)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Step length.
    pub learning_rate: f32,
    /// Share of the velocity that is kept.
    pub momentum: f32,
    /// Factor of the parameters in the gradient.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

/// Where a step leaves what became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// `[1]`: the squared norm of the update's gradient, or of the velocity that took it up.
    pub squared_norm: Span,
    /// `[1]` for each column: the squared norm of that group's gradient at the parameters, where the group is perturbed.
    pub group_squared_norms: [Span; 2],
    /// `[1]`: zero, or the `number` of the first step in which that was not finite.
    pub failure: Span,
    /// This step's number, from 1.
    pub number: f32,
}

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
    /// `image = (byte - mean) / deviation` for each channel, NHWC; labels and group weights beside it.
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
