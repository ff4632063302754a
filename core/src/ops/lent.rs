//! What an operation computes on: spans become slices of lent memory, none of which shares anything with another.

use core::ops::Range;

use crate::error::Error;
use crate::memory::Span;
use crate::ops::operation::Operation;
use crate::ops::parts::{Parts, Rows, RowsMut, Whole};
use crate::ops::workers::{Formula, Tiles, Workers};
use crate::space::Space;

/// Most operands of an operation.
pub(crate) const OPERANDS: usize = 9;

/// An operation that the CPU core runs.
pub trait Compute: Operation {
    /// Runs it; refuses operands that do not fit together before anything is written.
    ///
    /// # Errors
    /// What is wrong with its operands.
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, workers: &W) -> Result<(), Error>;
}

/// An operation that computes each row of its operands alike, so that they can be divided among workers.
pub trait ByRows: Operation + Sync {
    /// Its operands, outputs first.
    type Slices<'m>: Parts;

    /// Takes the operands of one stream out of memory.
    fn slices<'m>(&self, memory: &mut Memory<'m>, stream: usize) -> Self::Slices<'m>;

    /// Computes them, all rows or some, matrix products by `tiles`.
    ///
    /// # Errors
    /// What does not fit together.
    fn formula(&self, tiles: impl Tiles, slices: Self::Slices<'_>) -> Result<(), Error>;

    /// How many streams there are, when they fit together.
    ///
    /// # Errors
    /// What does not.
    fn count(&self) -> Result<usize, Error> {
        Ok(1)
    }
}

impl<O: ByRows> Compute for O {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, workers: &W) -> Result<(), Error> {
        for stream in 0..self.count()? {
            let mut memory = lent.memory();
            let slices = self.slices(&mut memory, stream);
            memory.found?;
            workers.each(&Of(self), slices)?;
        }
        Ok(())
    }
}

/// The formula of an operation.
struct Of<'o, O>(&'o O);

impl<'m, O: ByRows> Formula<O::Slices<'m>> for Of<'_, O> {
    #[inline(always)]
    fn run(&self, tiles: impl Tiles, slices: O::Slices<'m>) -> Result<(), Error> {
        self.0.formula(tiles, slices)
    }
}

/// The memories that the caller of a [`Cpu`](crate::Cpu) lends.
#[derive(Debug)]
pub struct Lent<'a> {
    pub(crate) work: &'a mut [f32],
    pub(crate) constant: &'a [f32],
    pub(crate) samples: &'a [u8],
}

impl<'a> Lent<'a> {
    /// The operands of one operation, or of one of its streams.
    #[inline(never)]
    pub(crate) fn memory(&mut self) -> Memory<'_> {
        Memory::new(self.work, self.constant)
    }

    pub(crate) fn sample_bytes(&self, span: &Span) -> Result<&'a [u8], Error> {
        match span.space {
            Space::Samples => Ok(self.samples.get(range(span, self.samples.len())?).unwrap_or_default()),
            found => Err(Error::Space { found }),
        }
    }
}

/// The memory of one operation, out of which its operands are taken one by one.
///
/// An operand that cannot be had is empty; `found` then says why the first one could not, and is looked at before the
/// operation begins.
pub struct Memory<'m> {
    length: usize,
    /// What is left of work memory: stretches with their offsets.
    parts: [(usize, &'m mut [f32]); OPERANDS + 1],
    constant: &'m [f32],
    pub(crate) found: Result<(), Error>,
}

impl<'m> Memory<'m> {
    #[inline(always)]
    pub(crate) fn new(work: &'m mut [f32], constant: &'m [f32]) -> Self {
        let length = work.len();
        let mut parts: [(usize, &mut [f32]); OPERANDS + 1] = Default::default();
        parts[0].1 = work;
        Self { length, parts, constant, found: Ok(()) }
    }

    /// An operand in work memory.
    // `inline(never)`, here and below: one copy in flash for all operations.
    #[inline(never)]
    pub(crate) fn write(&mut self, span: &Span) -> &'m mut [f32] {
        match self.take(span) {
            Ok(operand) => operand,
            Err(error) => {
                self.found = self.found.and(Err(error));
                &mut []
            }
        }
    }

    /// An operand in work or constant memory.
    #[inline(never)]
    pub(crate) fn read(&mut self, span: &Span) -> &'m [f32] {
        if span.space != Space::Constant {
            return self.write(span);
        }
        match range(span, self.constant.len()) {
            Ok(range) => self.constant.get(range).unwrap_or_default(),
            Err(error) => {
                self.found = self.found.and(Err(error));
                &[]
            }
        }
    }

    /// [`Memory::write`] in rows of `length`.
    #[inline(always)]
    pub(crate) fn rows_mut(&mut self, span: &Span, length: usize) -> RowsMut<'m> {
        RowsMut { values: self.write(span), length }
    }

    /// [`Memory::read`] in rows of `length`.
    #[inline(always)]
    pub(crate) fn rows(&mut self, span: &Span, length: usize) -> Rows<'m> {
        Rows { values: self.read(span), length }
    }

    /// [`Memory::read`] for every part.
    #[inline(always)]
    pub(crate) fn whole(&mut self, span: &Span) -> Whole<'m> {
        Whole(self.read(span))
    }

    fn take(&mut self, span: &Span) -> Result<&'m mut [f32], Error> {
        if span.space != Space::Work {
            return Err(Error::Space { found: span.space });
        }
        if span.length == 0 {
            return Ok(&mut []);
        }
        let Range { start, end } = range(span, self.length)?;
        for (offset, part) in &mut self.parts {
            let Some(skipped) = start.checked_sub(*offset) else { continue };
            if end - *offset > part.len() {
                continue;
            }
            let (before, rest) = core::mem::take(part).split_at_mut_checked(skipped).unwrap_or_default();
            let (taken, after) = rest.split_at_mut_checked(span.length).unwrap_or_default();
            *part = before;
            let free = self.parts.iter_mut().find(|(_, part)| part.is_empty());
            *free.ok_or(Error::Capacity { what: "operands", capacity: OPERANDS })? = (end, after);
            return Ok(taken);
        }
        Err(Error::Overlap)
    }
}

/// The elements of `span`, which must lie inside a memory of `available`.
fn range(span: &Span, available: usize) -> Result<Range<usize>, Error> {
    let Span { space, offset, length } = *span;
    match offset.checked_add(length) {
        Some(end) if end <= available => Ok(offset..end),
        _ => Err(Error::Bounds { space, offset, length, available }),
    }
}

/// The span of stream `at`.
// `inline(never)`: one copy in flash.
#[inline(never)]
pub(crate) fn one(spans: &[Span], at: usize) -> &Span {
    spans.get(at).unwrap_or(&ABSENT)
}

/// Stands for a missing operand: it overlaps nothing.
pub(crate) const ABSENT: Span = Span::work(0, 0);
