//! Operands that can be divided by rows, so that several cores work on one operation.

/// Operands that are divided together.
pub trait Parts: Sized + Send {
    /// Rows that they have, each of which is computed alike; `usize::MAX` for what is never divided, 0 where operands do
    /// not fit together.
    fn rows(&self) -> usize;

    /// Numbers in them.
    fn numbers(&self) -> usize;

    /// The first `rows` rows, and the others.
    fn split(self, rows: usize) -> (Self, Self);
}

/// Rows that are read.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// All numbers.
    pub values: &'a [f32],
    /// Numbers of a row.
    pub length: usize,
}

/// Rows that are written.
#[derive(Debug)]
pub struct RowsMut<'a> {
    /// All numbers.
    pub values: &'a mut [f32],
    /// Numbers of a row.
    pub length: usize,
}

/// Numbers that every part reads.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a>(pub &'a [f32]);

/// The number of each row.
#[derive(Clone, Debug)]
pub struct Numbers(pub core::ops::Range<usize>);

/// Rows in `numbers`; 0 where they are not whole.
fn whole(numbers: usize, length: usize) -> usize {
    match (numbers.checked_div(length), numbers.checked_rem(length)) {
        (Some(rows), Some(0)) => rows,
        _ => 0,
    }
}

impl Parts for Rows<'_> {
    fn rows(&self) -> usize {
        whole(self.values.len(), self.length)
    }

    fn numbers(&self) -> usize {
        self.values.len()
    }

    fn split(self, rows: usize) -> (Self, Self) {
        let at = rows.saturating_mul(self.length);
        let (first, rest) = self.values.split_at_checked(at).unwrap_or((self.values, &[]));
        (Self { values: first, ..self }, Self { values: rest, ..self })
    }
}

impl Parts for RowsMut<'_> {
    fn rows(&self) -> usize {
        whole(self.values.len(), self.length)
    }

    fn numbers(&self) -> usize {
        self.values.len()
    }

    fn split(self, rows: usize) -> (Self, Self) {
        let at = rows.saturating_mul(self.length).min(self.values.len());
        let (first, rest) = self.values.split_at_mut_checked(at).unwrap_or_default();
        (Self { values: first, length: self.length }, Self { values: rest, length: self.length })
    }
}

impl Parts for Whole<'_> {
    fn rows(&self) -> usize {
        usize::MAX
    }

    fn numbers(&self) -> usize {
        self.0.len()
    }

    fn split(self, _: usize) -> (Self, Self) {
        (self, self)
    }
}

impl Parts for Numbers {
    fn rows(&self) -> usize {
        self.0.len()
    }

    fn numbers(&self) -> usize {
        0
    }

    fn split(self, rows: usize) -> (Self, Self) {
        let at = self.0.start.saturating_add(rows).min(self.0.end);
        (Self(self.0.start..at), Self(at..self.0.end))
    }
}

/// An operand that may be missing.
impl<P: Parts> Parts for Option<P> {
    fn rows(&self) -> usize {
        self.as_ref().map_or(usize::MAX, P::rows)
    }

    fn numbers(&self) -> usize {
        self.as_ref().map_or(0, P::numbers)
    }

    fn split(self, rows: usize) -> (Self, Self) {
        match self.map(|parts| parts.split(rows)) {
            Some((first, rest)) => (Some(first), Some(rest)),
            None => (None, None),
        }
    }
}

/// The rows of two operands: those that both have.
fn common(a: usize, b: usize) -> usize {
    if a == b || b == usize::MAX {
        a
    } else if a == usize::MAX {
        b
    } else {
        0
    }
}

macro_rules! tuple {
    ($($part:ident $at:tt),*) => {
        impl<$($part: Parts),*> Parts for ($($part,)*) {
            fn rows(&self) -> usize {
                [$(self.$at.rows()),*].into_iter().fold(usize::MAX, common)
            }

            fn numbers(&self) -> usize {
                [$(self.$at.numbers()),*].into_iter().fold(0, usize::saturating_add)
            }

            fn split(self, rows: usize) -> (Self, Self) {
                let parts = ($(self.$at.split(rows),)*);
                (($(parts.$at.0,)*), ($(parts.$at.1,)*))
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
