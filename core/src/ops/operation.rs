//! What an operation is: a value that names its operands, and that a machine runs.

use heapless::Vec;

use crate::error::Error;
use crate::memory::Span;
use crate::ops::math::rows::expect;
use crate::shape::{Conv2d, Shape};

/// One thing that a machine can be asked for.
///
/// Lengths carry the batch: an operation infers it from the spans it is given. Where it takes a list of output gradients
/// it takes one or two (head and tail at the same forward pass), so that activations are read once for both; `dx[i]` and
/// `dweight[i]` belong to `dy[i]`. Weight gradients always add to what is there; input gradients add when `accumulate` is
/// set and overwrite otherwise. An operand that is written shares no element with another one, over all streams; a
/// machine may refuse those that share what they only read.
pub trait Operation {
    /// Its name, with which the names of its kernels begin.
    const NAME: &'static str;

    /// The sizes that it works on.
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::Image`] when its operands do not fit together.
    fn extent(&self) -> Result<Extent, Error>;

    /// Shows every operand, and what becomes of it.
    fn operands(&self, see: impl FnMut(Access, Span));

    /// Output gradients that it works on; 1 where it takes none.
    fn streams(&self) -> usize {
        1
    }
}

/// What becomes of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is read.
    Read,
    /// It is overwritten.
    Write,
    /// It is read and written.
    Update,
    /// An operand that was shown before is read once more.
    Again,
    /// Bytes of the samples are read.
    Bytes,
}

impl Access {
    /// Whether it is written.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Update)
    }

    /// Whether it is read.
    pub const fn reads(self) -> bool {
        !matches!(self, Self::Write)
    }

    /// A gradient's: added to, or overwritten.
    pub(crate) const fn gradient(accumulate: bool) -> Self {
        if accumulate { Self::Update } else { Self::Write }
    }
}

/// Refuses an operation that writes an operand which shares an element with another one.
///
/// # Errors
/// [`Error::Overlap`]; [`Error::Capacity`] when it has more than 16 operands.
pub fn disjoint(operation: &impl Operation) -> Result<(), Error> {
    let (mut operands, mut found) = (Vec::<(Access, Span), 16>::new(), Ok(()));
    operation.operands(|access, span| {
        if access != Access::Again && operands.push((access, span)).is_err() {
            found = Err(Error::Capacity { what: "operands", capacity: operands.capacity() });
        }
    });
    found.and_then(|()| check_disjoint(&operands))
}

// `inline(never)`: one copy in flash for all operations.
#[inline(never)]
fn check_disjoint(mut operands: &[(Access, Span)]) -> Result<(), Error> {
    while let Some(((access, span), others)) = operands.split_first() {
        if others.iter().any(|(other, at)| (access.writes() || other.writes()) && span.overlaps(*at)) {
            return Err(Error::Overlap);
        }
        operands = others;
    }
    Ok(())
}

/// Checks that the lists are equally long, and each list's spans, and that no two spans share memory; returns how many
/// streams there are.
// `inline(never)`: one copy in flash for all operations of streams.
#[inline(never)]
pub(crate) fn streams(lists: &[&[Span]]) -> Result<usize, Error> {
    let count = lists.first().map_or(0, |first| first.len());
    for (index, spans) in lists.iter().enumerate() {
        expect("each list of streams", count, spans.len())?;
        let own = spans.first().map_or(0, |span| span.length);
        for (stream, span) in spans.iter().enumerate() {
            expect("a stream", own, span.length)?;
            let later = lists.iter().skip(index + 1).flat_map(|list| list.iter());
            if spans.iter().skip(stream + 1).chain(later).any(|other| span.overlaps(*other)) {
                return Err(Error::Overlap);
            }
        }
    }
    Ok(count)
}

/// The length that the spans of a list have.
pub(crate) fn length(spans: &[Span]) -> usize {
    spans.first().map_or(0, |span| span.length)
}

/// The sizes that an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A vector of so many numbers.
    Vector(usize),
    /// Rows of so many numbers each.
    Rows(usize, usize),
    /// Images of one shape.
    Images(usize, Shape),
    /// Images of one shape that become images of another.
    Mapped(usize, Shape, Shape),
    /// A fully connected layer.
    Linear {
        /// Samples.
        rows: usize,
        /// Numbers a sample has.
        inputs: usize,
        /// Numbers a sample gets.
        outputs: usize,
    },
    /// A convolution of so many images.
    Conv2d(usize, Conv2d),
}

impl Extent {
    /// Multiply-adds of the inner products of one output gradient, products with padding among them; 0 where there are
    /// no inner products.
    pub const fn products(&self) -> u64 {
        match *self {
            Self::Linear { rows, inputs, outputs } => {
                (rows as u64).saturating_mul(inputs as u64).saturating_mul(outputs as u64)
            }
            Self::Conv2d(images, conv) => {
                let rows = (images as u64).saturating_mul(conv.output.height as u64);
                rows.saturating_mul(conv.output.width as u64).saturating_mul(conv.weights() as u64)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::activation::ReluBackward;
    use crate::ops::vector::{Axpy, Descend, Fill};
    use crate::ops::{Outcome, SgdUpdate};

    #[test]
    fn what_is_written_shares_nothing_with_another_operand() {
        let [a, b, c] = [0, 8, 16].map(|offset| Span::work(offset, 8));
        assert_eq!(disjoint(&Fill { to: a, value: 1.0 }), Ok(()));
        assert_eq!(disjoint(&Axpy { y: a, alpha: 1.0, x: b }), Ok(()));
        assert_eq!(disjoint(&Axpy { y: a, alpha: 1.0, x: Span::work(7, 8) }), Err(Error::Overlap));
        let backward = |dx: &[Span], dy: &[Span], y| disjoint(&ReluBackward { dx, dy, y, accumulate: true });
        assert_eq!(backward(&[a], &[b], c), Ok(()));
        assert_eq!(backward(&[a], &[b], b), Ok(()), "what is only read may be shared");
        assert_eq!(backward(&[a, a], &[b, c], c), Err(Error::Overlap));
        assert_eq!(backward(&[a, b], &[c, a], c), Err(Error::Overlap), "over all streams");
    }

    #[test]
    fn an_empty_span_shares_nothing_and_a_second_reading_is_no_second_operand() {
        let (a, empty) = (Span::work(0, 8), Span::work(4, 0));
        assert_eq!(disjoint(&Axpy { y: a, alpha: 1.0, x: empty }), Ok(()));
        assert_eq!(disjoint(&Axpy { y: empty, alpha: 1.0, x: a }), Ok(()));
        let one = |offset| Span::work(offset, 1);
        let outcome =
            Outcome { squared_norm: one(20), group_squared_norms: [one(20); 2], failure: one(21), number: 1.0 };
        let (params, velocity) = (Span::work(8, 4), Span::work(12, 4));
        assert_eq!(disjoint(&Descend { params, velocity, outcome: &outcome, learning_rate: 0.1 }), Ok(()));
        let sgd = crate::ops::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false };
        let update = SgdUpdate { params, velocity, outcome: &outcome, gradient: velocity, sgd: &sgd };
        assert_eq!(disjoint(&update), Err(Error::Overlap));
    }
}
