//! The reference backend: one CPU core, lent memory.

use crate::error::Error;
use crate::machine::backend::{Machine, Run};
use crate::machine::operands::{Memory, OPERANDS, range};
use crate::memory::Span;
use crate::ops::math::rows::{expect, rows, rows_mut};
use crate::ops::operation::{disjoint, streams};
use crate::ops::{
    self, Ascend, Axpy, BatchNormBackward, BatchNormForward, BatchNormInference, Conv2dBackwardInput,
    Conv2dBackwardWeight, Conv2dBatchNormForward, Conv2dForward, Copy, CrossEntropy, Decay, Descend, Fill, Gather,
    GlobalAveragePoolBackward, GlobalAveragePoolForward, LinearBackwardInput, LinearBackwardWeight, LinearForward,
    LossTables, MaxPoolBackward, MaxPoolForward, Operation, ReluBackward, ReluForward, Row, SgdUpdate,
    ShortcutBackward, ShortcutForward,
};
use crate::space::Space;

/// A [`Backend`](crate::Backend) on memory that the caller lends. The same bits on every architecture.
#[derive(Debug)]
pub struct Cpu<'a> {
    work: &'a mut [f32],
    constant: &'a [f32],
    samples: &'a [u8],
}

impl<'a> Cpu<'a> {
    /// A backend whose spans point into these three.
    pub fn new(work: &'a mut [f32], constant: &'a [f32], samples: &'a [u8]) -> Self {
        Self { work, constant, samples }
    }

    /// Bytes of memory that were lent.
    pub const fn bytes(&self) -> usize {
        size_of_val(self.work) + size_of_val(self.constant) + self.samples.len()
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
        let mut memory = self.memory();
        let mut slices = [(); N].map(|()| <&mut [f32]>::default());
        for (slice, span) in slices.iter_mut().zip(spans) {
            *slice = memory.write(&span);
        }
        memory.found.map(|()| slices)
    }

    #[inline(never)]
    fn memory(&mut self) -> Memory<'_> {
        Memory::new(self.work, self.constant)
    }

    fn sample_bytes(&self, span: &Span) -> Result<&'a [u8], Error> {
        match span.space {
            Space::Samples => Ok(self.samples.get(range(span, self.samples.len())?).unwrap_or_default()),
            found => Err(Error::Space { found }),
        }
    }
}

/// Leaves what became of the update of step `number`.
fn report(squared_norm: &mut [f32], failure: &mut [f32], norm: f32, number: f32) {
    squared_norm.fill(norm);
    for failure in failure.iter_mut().filter(|failure| **failure == 0.0 && !norm.is_finite()) {
        *failure = number;
    }
}

/// A label stored as a number.
fn class(label: f32, classes: usize) -> Result<usize, Error> {
    if label >= 0.0 && label < classes as f32 { Ok(label as usize) } else { Err(Error::Label { label, classes }) }
}

impl Machine for Cpu<'_> {
    type Error = Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), Error> {
        let mut memory = self.memory();
        let to = memory.write(&to);
        memory.found?;
        expect("values", to.len(), values.len())?;
        to.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
        Ok(())
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), Error> {
        let mut memory = self.memory();
        let from = memory.read(&from);
        memory.found?;
        expect("values", from.len(), values.len())?;
        values.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

impl Run<Fill> for Cpu<'_> {
    fn run(&mut self, operation: &Fill) -> Result<(), Error> {
        let mut memory = self.memory();
        memory.write(&operation.to).fill(operation.value);
        memory.found
    }
}

impl Run<Copy> for Cpu<'_> {
    fn run(&mut self, operation: &Copy) -> Result<(), Error> {
        let mut memory = self.memory();
        let (to, from) = (memory.write(&operation.to), memory.read(&operation.from));
        memory.found?;
        expect("from", to.len(), from.len())?;
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

impl Run<Gather<'_>> for Cpu<'_> {
    #[inline(never)]
    fn run(&mut self, operation: &Gather<'_>) -> Result<(), Error> {
        operation.extent()?;
        let (pictures, size) = (self.sample_bytes(&operation.samples.images)?, operation.samples.image.len());
        let Gather { batch, samples, .. } = *operation;
        let [head, tail] = &batch.weights;
        let mut memory = self.memory();
        let (images, labels) = (memory.write(&batch.images), memory.write(&batch.labels));
        let (head, tail, rows) = (memory.write(head), memory.write(tail), memory.read(&operation.rows));
        let normalization = memory.read(&samples.normalization);
        memory.found?;
        let (rows, _) = rows.as_chunks();
        let picture = |index: usize| pictures.get(index.checked_mul(size)?..)?.get(..size);
        let outputs = rows_mut(images, size).zip(labels).zip(head).zip(tail);
        for ((((image, label), head), tail), row) in outputs.zip(rows) {
            let row = Row::decode(row);
            let index = row.index as usize;
            let Some(picture) = picture(index) else {
                return Err(Error::Sample { index, samples: samples.count()? });
            };
            ops::gather(image, picture, samples.image, &row, normalization)?;
            *label = row.label as f32;
            [*head, *tail] = row.weights;
        }
        Ok(())
    }
}

impl Run<Axpy> for Cpu<'_> {
    fn run(&mut self, operation: &Axpy) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(&operation.y), memory.read(&operation.x));
        memory.found?;
        ops::axpy(y, operation.alpha, x)
    }
}

impl Run<Ascend> for Cpu<'_> {
    fn run(&mut self, operation: &Ascend) -> Result<(), Error> {
        let mut memory = self.memory();
        let (point, squared_norm, params) =
            (memory.write(&operation.point), memory.write(&operation.squared_norm), memory.read(&operation.params));
        memory.found?;
        expect("squared_norm", 1, squared_norm.len())?;
        squared_norm.fill(ops::ascend(point, params, operation.radius)?);
        Ok(())
    }
}

impl Run<SgdUpdate<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &SgdUpdate<'_>) -> Result<(), Error> {
        operation.outcome.check()?;
        let mut memory = self.memory();
        let (squared_norm, failure) =
            (memory.write(&operation.outcome.squared_norm), memory.write(&operation.outcome.failure));
        let (params, velocity, gradient) =
            (memory.write(&operation.params), memory.write(&operation.velocity), memory.read(&operation.gradient));
        memory.found?;
        let norm = ops::sgd(params, velocity, gradient, operation.sgd)?;
        report(squared_norm, failure, norm, operation.outcome.number);
        Ok(())
    }
}

impl Run<Decay<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &Decay<'_>) -> Result<(), Error> {
        let mut memory = self.memory();
        let (velocity, params) = (memory.write(&operation.velocity), memory.read(&operation.params));
        memory.found?;
        ops::decay(velocity, params, operation.sgd)
    }
}

impl Run<Descend<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &Descend<'_>) -> Result<(), Error> {
        operation.outcome.check()?;
        let mut memory = self.memory();
        let (params, velocity) = (memory.write(&operation.params), memory.write(&operation.velocity));
        let (squared_norm, failure) =
            (memory.write(&operation.outcome.squared_norm), memory.write(&operation.outcome.failure));
        memory.found?;
        let norm = ops::descend(params, velocity, operation.learning_rate)?;
        report(squared_norm, failure, norm, operation.outcome.number);
        Ok(())
    }
}

impl Run<LinearForward> for Cpu<'_> {
    fn run(&mut self, operation: &LinearForward) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x, weight, bias) = (
            memory.write(&operation.y),
            memory.read(&operation.x),
            memory.read(&operation.weight),
            memory.read(&operation.bias),
        );
        memory.found?;
        ops::linear_forward(y, x, weight, bias)
    }
}

impl Run<LinearBackwardInput<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &LinearBackwardInput<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dx, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dx, dy, weight) = (
                memory.write_one(operation.dx, stream),
                memory.read_one(operation.dy, stream),
                memory.read(&operation.weight),
            );
            memory.found?;
            ops::linear_backward_input(dx, dy, weight, operation.outputs, operation.accumulate)?;
        }
        Ok(())
    }
}

impl Run<LinearBackwardWeight<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &LinearBackwardWeight<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dweight, operation.dbias, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dweight, dbias, x, dy) = (
                memory.write_one(operation.dweight, stream),
                memory.write_one(operation.dbias, stream),
                memory.read(&operation.x),
                memory.read_one(operation.dy, stream),
            );
            memory.found?;
            ops::linear_backward_weight(dweight, dbias, x, dy)?;
        }
        Ok(())
    }
}

impl Run<Conv2dForward<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &Conv2dForward<'_>) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x, weight) = (memory.write(&operation.y), memory.read(&operation.x), memory.read(&operation.weight));
        memory.found?;
        ops::conv2d_forward(y, x, weight, operation.conv)
    }
}

impl Run<Conv2dBackwardInput<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &Conv2dBackwardInput<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dx, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dx, dy, weight) = (
                memory.write_one(operation.dx, stream),
                memory.read_one(operation.dy, stream),
                memory.read(&operation.weight),
            );
            memory.found?;
            ops::conv2d_backward_input(dx, dy, weight, operation.conv, operation.accumulate)?;
        }
        Ok(())
    }
}

impl Run<Conv2dBackwardWeight<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &Conv2dBackwardWeight<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dweight, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dweight, x, dy) = (
                memory.write_one(operation.dweight, stream),
                memory.read(&operation.x),
                memory.read_one(operation.dy, stream),
            );
            memory.found?;
            ops::conv2d_backward_weight(dweight, x, dy, operation.conv)?;
        }
        Ok(())
    }
}

impl Run<Conv2dBatchNormForward<'_>> for Cpu<'_> {
    // One after the other: what is added may be what the convolution reads.
    fn run(&mut self, operation: &Conv2dBatchNormForward<'_>) -> Result<(), Error> {
        operation.extent()?;
        disjoint(operation)?;
        self.run(&operation.convolution)?;
        self.run(&operation.norm)
    }
}

impl Run<BatchNormForward> for Cpu<'_> {
    fn run(&mut self, operation: &BatchNormForward) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, saved) = (memory.write(&operation.y), memory.write(&operation.saved));
        let moved = operation.running.as_ref().map(|running| memory.write(running));
        let added = operation.residual.as_ref().map(|residual| memory.read(residual));
        let (x, weight, bias) =
            (memory.read(&operation.x), memory.read(&operation.weight), memory.read(&operation.bias));
        memory.found?;
        ops::batch_norm_forward(y, saved, moved, x, weight, bias, added, operation.relu)
    }
}

impl Run<BatchNormInference> for Cpu<'_> {
    fn run(&mut self, operation: &BatchNormInference) -> Result<(), Error> {
        let mut memory = self.memory();
        let added = operation.residual.as_ref().map(|residual| memory.read(residual));
        let (y, x, weight, bias, running) = (
            memory.write(&operation.y),
            memory.read(&operation.x),
            memory.read(&operation.weight),
            memory.read(&operation.bias),
            memory.read(&operation.running),
        );
        memory.found?;
        ops::batch_norm_inference(y, x, weight, bias, running, added, operation.relu)
    }
}

impl Run<BatchNormBackward<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &BatchNormBackward<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dx, operation.dweight, operation.dbias, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dx, dweight, dbias, dy) = (
                memory.write_one(operation.dx, stream),
                memory.write_one(operation.dweight, stream),
                memory.write_one(operation.dbias, stream),
                memory.write_one(operation.dy, stream),
            );
            let (y, x, weight, saved) = (
                memory.read(&operation.y),
                memory.read(&operation.x),
                memory.read(&operation.weight),
                memory.read(&operation.saved),
            );
            // The bias must be there; all that the formula needs of it is in `y`.
            expect("bias", weight.len(), memory.read(&operation.bias).len())?;
            memory.found?;
            ops::batch_norm_backward(
                dx,
                dweight,
                dbias,
                dy,
                y,
                x,
                weight,
                saved,
                operation.relu,
                operation.accumulate,
            )?;
        }
        Ok(())
    }
}

impl Run<ReluForward> for Cpu<'_> {
    fn run(&mut self, operation: &ReluForward) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(&operation.y), memory.read(&operation.x));
        memory.found?;
        ops::relu_forward(y, x)
    }
}

impl Run<ReluBackward<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &ReluBackward<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dx, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dx, dy, y) = (
                memory.write_one(operation.dx, stream),
                memory.read_one(operation.dy, stream),
                memory.read(&operation.y),
            );
            memory.found?;
            ops::relu_backward(dx, dy, y, operation.accumulate)?;
        }
        Ok(())
    }
}

impl Run<ShortcutForward> for Cpu<'_> {
    fn run(&mut self, operation: &ShortcutForward) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(&operation.y), memory.read(&operation.x));
        memory.found?;
        ops::shortcut_forward(y, x, operation.input, operation.output)
    }
}

impl Run<ShortcutBackward<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &ShortcutBackward<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dx, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dx, dy) = (memory.write_one(operation.dx, stream), memory.read_one(operation.dy, stream));
            memory.found?;
            ops::shortcut_backward(dx, dy, operation.input, operation.output, operation.accumulate)?;
        }
        Ok(())
    }
}

impl Run<GlobalAveragePoolForward> for Cpu<'_> {
    fn run(&mut self, operation: &GlobalAveragePoolForward) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(&operation.y), memory.read(&operation.x));
        memory.found?;
        ops::global_average_pool_forward(y, x, operation.input)
    }
}

impl Run<GlobalAveragePoolBackward<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &GlobalAveragePoolBackward<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dx, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dx, dy) = (memory.write_one(operation.dx, stream), memory.read_one(operation.dy, stream));
            memory.found?;
            ops::global_average_pool_backward(dx, dy, operation.input, operation.accumulate)?;
        }
        Ok(())
    }
}

impl Run<MaxPoolForward<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &MaxPoolForward<'_>) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(&operation.y), memory.read(&operation.x));
        memory.found?;
        ops::max_pool_forward(y, x, operation.pool)
    }
}

impl Run<MaxPoolBackward<'_>> for Cpu<'_> {
    fn run(&mut self, operation: &MaxPoolBackward<'_>) -> Result<(), Error> {
        let count = streams(&[operation.dx, operation.dy])?;
        for stream in 0..count {
            let mut memory = self.memory();
            let (dx, dy, x) = (
                memory.write_one(operation.dx, stream),
                memory.read_one(operation.dy, stream),
                memory.read(&operation.x),
            );
            memory.found?;
            ops::max_pool_backward(dx, dy, x, operation.pool, operation.accumulate)?;
        }
        Ok(())
    }
}

impl Run<CrossEntropy<'_>> for Cpu<'_> {
    // Inlined with what it calls: where the focal exponent is the constant 0, no power function is linked.
    #[inline(always)]
    fn run(&mut self, operation: &CrossEntropy<'_>) -> Result<(), Error> {
        operation.extent()?;
        let classes = operation.terms.scale.length;
        let terms = &operation.terms;
        for stream in 0..operation.dlogits.len() {
            let mut memory = self.memory();
            let (scale, shift, margin) =
                (memory.read(&terms.scale), memory.read(&terms.shift), memory.read(&terms.margin));
            let tables = LossTables { scale, shift, margin, focal: terms.focal };
            let (dlogits, loss) =
                (memory.write_one(operation.dlogits, stream), memory.write_one(operation.losses, stream));
            let (logits, labels) = (memory.read(&operation.logits), memory.read(&operation.labels));
            let weights = memory.read_one(operation.weights, stream);
            memory.found?;
            let outputs = rows_mut(dlogits, classes).zip(rows(logits, classes));
            let mut total = 0.0;
            for (((dlogits, logits), label), weight) in outputs.zip(labels).zip(weights) {
                total += ops::cross_entropy(dlogits, logits, class(*label, classes)?, &tables, *weight)?;
            }
            loss.fill(total);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::operands::ABSENT;
    use crate::ops::{Batch, Outcome, Samples, Sgd, Terms};
    use crate::shape::Shape;

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
