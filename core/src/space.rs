//! The memories that an operation may reach.

use core::fmt;

/// One of the three memories a [`Span`](crate::Span) points into.
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
