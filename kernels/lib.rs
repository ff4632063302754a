//! The OpenCL C sources of sse-sam, embedded as strings.
#![no_std]

/// One file: its name, for build logs, and its text.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file's name.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

macro_rules! sources {
    ($($(#[$doc:meta])* $constant:ident = $file:literal;)*) => {$(
        $(#[$doc])*
        pub const $constant: Source = Source { name: $file, text: include_str!($file) };
    )*};
}

sources! {
    /// Goes in front of every other file.
    COMMON = "common.h";
    /// Memory and vectors.
    VECTOR = "vector.cl";
    /// Products with a basis.
    BASIS = "basis.cl";
    /// Cuts a batch out of the samples.
    GATHER = "gather.cl";
    /// Fully connected layers.
    LINEAR = "linear.cl";
    /// Convolutions of any size.
    CONVOLUTION = "convolution.cl";
    /// Convolutions in register tiles.
    CONVOLUTION_TILE = "convolution_tile.cl";
    /// Convolutions in blocks.
    CONVOLUTION_BLOCK = "convolution_block.cl";
    /// Batch normalisation.
    BATCH_NORM = "batch_norm.cl";
    /// Rectifier.
    ACTIVATION = "activation.cl";
    /// Parameter-free shortcuts.
    SHORTCUT = "shortcut.cl";
    /// Pooling.
    POOLING = "pooling.cl";
    /// Cross-entropy.
    LOSS = "loss.cl";
    /// What the device can do at most; part of no backend.
    MEASURE = "measure.cl";
}

/// Convolutions in Winograd's form, behind its transforms of rows and columns.
pub const WINOGRAD: Source = Source {
    name: "winograd.cl",
    text: concat!(
        "#line 1 \"winograd_rows.h\"\n",
        include_str!("winograd_rows.h"),
        "#line 1 \"winograd.cl\"\n",
        include_str!("winograd.cl")
    ),
};
