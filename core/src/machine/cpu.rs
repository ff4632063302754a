//! The reference backend: one CPU core, lent memory.

use crate::error::Error;
use crate::machine::backend::{Machine, Run};
use crate::memory::Span;
use crate::ops::lent::{Compute, Lent, OPERANDS};
use crate::ops::math::rows::expect;
use crate::ops::workers::{Alone, Workers};

/// A [`Backend`](crate::Backend) on memory that the caller lends: it has each operation compute itself. The same bits on
/// every architecture, and by any workers.
#[derive(Debug)]
pub struct Cpu<'a, W = Alone> {
    lent: Lent<'a>,
    workers: W,
}

impl<'a> Cpu<'a> {
    /// A backend whose spans point into these three.
    pub fn new(work: &'a mut [f32], constant: &'a [f32], samples: &'a [u8]) -> Self {
        Self::with(Alone, work, constant, samples)
    }
}

impl<'a, W> Cpu<'a, W> {
    /// As [`Cpu::new`], computed by these workers.
    pub fn with(workers: W, work: &'a mut [f32], constant: &'a [f32], samples: &'a [u8]) -> Self {
        Self { lent: Lent { work, constant, samples }, workers }
    }

    /// What computes.
    pub const fn workers(&self) -> &W {
        &self.workers
    }

    /// Bytes of memory that were lent.
    pub const fn bytes(&self) -> usize {
        size_of_val(self.lent.work) + size_of_val(self.lent.constant) + self.lent.samples.len()
    }

    /// The slices that `spans` of work memory name: for computing in lent memory what no operation does.
    ///
    /// # Errors
    /// [`Error::Bounds`] when a span reaches past the memory, [`Error::Overlap`] when two of them share elements,
    /// [`Error::Space`] when one lies in another memory, [`Error::Capacity`] when there are more than nine.
    pub fn slices_mut<const N: usize>(&mut self, spans: [Span; N]) -> Result<[&mut [f32]; N], Error> {
        if N > OPERANDS {
            return Err(Error::Capacity { what: "operands", capacity: OPERANDS });
        }
        let mut memory = self.lent.memory();
        let mut slices = [(); N].map(|()| <&mut [f32]>::default());
        for (slice, span) in slices.iter_mut().zip(spans) {
            *slice = memory.write(&span);
        }
        memory.found.map(|()| slices)
    }
}

impl<W> Machine for Cpu<'_, W> {
    type Error = Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), Error> {
        let mut memory = self.lent.memory();
        let to = memory.write(&to);
        memory.found?;
        expect("values", to.len(), values.len())?;
        to.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
        Ok(())
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), Error> {
        let mut memory = self.lent.memory();
        let from = memory.read(&from);
        memory.found?;
        expect("values", from.len(), values.len())?;
        values.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

impl<O: Compute, W: Workers> Run<O> for Cpu<'_, W> {
    // Inlined: where a loss's focal exponent is the constant 0, no power function is linked.
    #[inline(always)]
    fn run(&mut self, operation: &O) -> Result<(), Error> {
        operation.compute(&mut self.lent, &self.workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::lent::ABSENT;
    use crate::ops::{Axpy, Batch, Copy, CrossEntropy, Fill, Gather, Outcome, Row, Samples, Sgd, SgdUpdate, Terms};
    use crate::shape::Shape;
    use crate::space::Space;

    #[test]
    fn overlap_bounds_and_spaces_are_errors() {
        let (mut work, constant) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0]);
        let mut cpu = Cpu::new(&mut work, &constant, &[]);
        let frozen = Span { space: Space::Constant, offset: 0, length: 2 };
        assert_eq!(cpu.run(&Axpy { y: Span::work(0, 2), alpha: 1.0, x: Span::work(1, 2) }), Err(Error::Overlap));
        assert!(matches!(cpu.run(&Fill { to: Span::work(3, usize::MAX), value: 1.0 }), Err(Error::Bounds { .. })));
        assert!(matches!(
            cpu.run(&Axpy { y: Span::work(0, 2), alpha: 1.0, x: Span { offset: 1, ..frozen } }),
            Err(Error::Bounds { .. })
        ));
        assert_eq!(cpu.run(&Fill { to: frozen, value: 1.0 }), Err(Error::Space { found: Space::Constant }));
        assert_eq!(cpu.run(&Copy { to: frozen, from: Span::work(0, 2) }), Err(Error::Space { found: Space::Constant }));
        cpu.run(&Axpy { y: Span::work(1, 2), alpha: 2.0, x: frozen }).unwrap();
        assert_eq!(work, [1.0, 12.0, 15.0, 4.0]);
    }

    #[test]
    fn an_operation_takes_up_to_nine_operands_out_of_any_places() {
        let mut work = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let mut cpu = Cpu::new(&mut work, &[], &[]);
        let one = |offset| Span::work(offset, 1);
        let spans = [one(8), one(1), one(3), Span::work(4, 2), one(0), one(9), one(6), one(2), one(7)];
        let taken = cpu.slices_mut(spans).unwrap();
        let expected: [&[f32]; 9] = [&[8.0], &[1.0], &[3.0], &[4.0, 5.0], &[0.0], &[9.0], &[6.0], &[2.0], &[7.0]];
        assert_eq!(taken.map(|slice| &*slice), expected);
        assert_eq!(cpu.slices_mut([one(8), one(1), Span::work(1, 3)]), Err(Error::Overlap));
        let refused = cpu.slices_mut([1, 3, 5, 7, 9, 0, 2, 4, 6, 8].map(one));
        assert_eq!(refused, Err(Error::Capacity { what: "operands", capacity: 9 }));
    }

    #[test]
    fn an_infinite_gradient_changes_nothing_and_leaves_its_number() {
        let mut work = [1.0, 2.0, 3.0, 4.0, f32::INFINITY, 1.0, 9.0, 0.0];
        let mut cpu = Cpu::new(&mut work, &[], &[]);
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.1, nesterov: false };
        for number in [3.0, 4.0] {
            let squared_norm = Span::work(6, 1);
            let group_squared_norms = [ABSENT; 2];
            let outcome = Outcome { squared_norm, group_squared_norms, failure: Span::work(7, 1), number };
            cpu.run(&SgdUpdate {
                params: Span::work(0, 2),
                velocity: Span::work(2, 2),
                outcome: &outcome,
                gradient: Span::work(4, 2),
                sgd: &sgd,
            })
            .unwrap();
        }
        assert_eq!(work, [1.0, 2.0, 3.0, 4.0, f32::INFINITY, 1.0, f32::INFINITY, 3.0]);
    }

    #[test]
    fn gather_takes_rows_of_the_table() {
        let mut work = [0.0; 24];
        let bytes = [10, 20, 30, 40];
        let image = Shape::new(1, 2, 1);
        let samples = Samples { images: Span::samples(0, 4), image, normalization: Span::work(8, 2) };
        let weights = [Span::work(5, 1), Span::work(6, 1)];
        let batch = Batch { images: Span::work(0, 2), labels: Span::work(4, 1), weights };
        let row = Row { index: 1, label: 32_766, top: 0, left: 1, flip: true, weights: [0.25, 0.5] };
        let mut cpu = Cpu::new(&mut work, &[], &bytes);
        cpu.write(Span::work(8, 2), &[2.0, 0.5]).unwrap();
        cpu.write(Span::work(10, 4), &row.encode()).unwrap();
        cpu.write(Span::work(14, 4), &Row { index: 2, ..row }.encode()).unwrap();
        cpu.run(&Gather { batch: &batch, rows: Span::work(10, 4), samples: &samples }).unwrap();
        let missing = cpu.run(&Gather { batch: &batch, rows: Span::work(14, 4), samples: &samples });
        assert_eq!(missing, Err(Error::Sample { index: 2, samples: 2 }));
        assert_eq!(work[..7], [14.0, -1.0, 0.0, 0.0, 32_766.0, 0.25, 0.5]);
    }

    #[test]
    fn cross_entropy_refuses_labels_that_are_no_class() {
        for label in [2.0, -1.0, f32::NAN] {
            let mut work = [0.0, 0.0, label, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
            let mut cpu = Cpu::new(&mut work, &[], &[]);
            let terms =
                Terms { scale: Span::work(4, 2), shift: Span::work(6, 2), margin: Span::work(8, 2), focal: 0.0 };
            let (dlogits, losses) = ([Span::work(10, 2)], [Span::work(12, 1)]);
            let (logits, labels) = (Span::work(0, 2), Span::work(2, 1));
            let result = cpu.run(&CrossEntropy {
                dlogits: &dlogits,
                losses: &losses,
                logits,
                labels,
                weights: &[Span::work(3, 1)],
                terms,
            });
            assert!(matches!(result, Err(Error::Label { classes: 2, .. })));
        }
    }
}
