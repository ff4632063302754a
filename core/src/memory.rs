//! Addresses: where numbers lie, and how room for them is planned.

use crate::error::Error;
use crate::space::Space;

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

    /// Whether an element lies in both; an empty span has none.
    pub const fn overlaps(self, other: Self) -> bool {
        self.space as u32 == other.space as u32
            && self.length > 0
            && other.length > 0
            && self.offset < other.offset.saturating_add(other.length)
            && other.offset < self.offset.saturating_add(self.length)
    }
}

/// Hands out consecutive spans of work memory and counts how much is needed.
///
/// Spans start at multiples of the alignment and never straddle two buffers.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    pub(crate) alignment: usize,
    segment: usize,
    next: usize,
}

impl Arena {
    /// An arena in one buffer; `alignment` in `f32`, 1 on a chip.
    pub const fn new(alignment: usize) -> Self {
        Self::segmented(alignment, usize::MAX)
    }

    /// An arena over buffers of `segment` `f32` each, a multiple of the alignment.
    pub const fn segmented(alignment: usize, segment: usize) -> Self {
        Self { alignment: if alignment == 0 { 1 } else { alignment }, segment, next: 0 }
    }

    /// The next `length` numbers of work memory.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past 2^32 numbers, [`Error::Segment`] when no buffer is long enough.
    pub fn allocate(&mut self, length: usize) -> Result<Span, Error> {
        if length > self.segment {
            return Err(Error::Segment { length, segment: self.segment });
        }
        let round = |value: usize, to: usize| value.checked_next_multiple_of(to).ok_or(Error::TooLarge);
        let mut offset = round(self.next, self.alignment)?;
        let left = self.segment.saturating_sub(offset.checked_rem(self.segment).unwrap_or(0));
        if length > left {
            offset = round(offset, self.segment)?;
        }
        let end = offset.checked_add(length).ok_or(Error::TooLarge)?;
        if end as u64 > 1 << 32 {
            return Err(Error::TooLarge);
        }
        self.next = end;
        Ok(Span::work(offset, length))
    }

    /// How many `f32` have been handed out, padding included.
    pub const fn len(&self) -> usize {
        self.next
    }

    /// Whether nothing has been handed out.
    pub const fn is_empty(&self) -> bool {
        self.next == 0
    }
}

/// A stretch of a vector as long as the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// First element, from the start of the vector.
    pub offset: usize,
    /// Number of elements.
    pub length: usize,
}

impl Place {
    /// The stretch inside one particular vector.
    ///
    /// # Errors
    /// [`Error::Bounds`] when the vector is too short.
    pub fn of(self, vector: Span) -> Result<Span, Error> {
        vector.part(self.offset, self.length)
    }
}
