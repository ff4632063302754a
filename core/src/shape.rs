//! Shapes of images and of convolutions over them.

use crate::error::Error;

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
