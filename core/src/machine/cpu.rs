//! The backend that every device has, and that the others are measured by: one core, lent memory.

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::machine::operands::{Memory, OPERANDS, check_streams, range};
use crate::memory::Span;
use crate::ops::gather::{Batch, Row, Samples};
use crate::ops::loss::Terms;
use crate::ops::math::rows::{expect, rows_mut, whole_rows};
use crate::ops::vector::{Outcome, Sgd};
use crate::ops::{self, LossTables};
use crate::shape::{Conv2d, Shape};
use crate::space::Space;

/// A [`Backend`] on memory that the caller lends. The same bits on every architecture.
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

    /// The slices that `spans` of work memory name: for computing in lent memory what no method of [`Backend`] does.
    ///
    /// # Errors
    /// [`Error::Bounds`] when a span reaches past the memory, [`Error::Overlap`] when two of them share elements,
    /// [`Error::Space`] when one lies in another memory, [`Error::Capacity`] when there are more than eight.
    pub fn slices_mut<const N: usize>(&mut self, spans: [Span; N]) -> Result<[&mut [f32]; N], Error> {
        if N > OPERANDS {
            return Err(Error::Capacity { what: "operands", capacity: OPERANDS });
        }
        let mut memory = self.memory();
        let mut slices = [(); N].map(|()| <&mut [f32]>::default());
        for (slice, span) in slices.iter_mut().zip(spans) {
            *slice = memory.write(span);
        }
        memory.found.map(|()| slices)
    }

    #[inline(never)]
    fn memory(&mut self) -> Memory<'_> {
        Memory::new(self.work, self.constant)
    }

    fn sample_bytes(&self, span: Span) -> Result<&'a [u8], Error> {
        match span.space {
            Space::Samples => Ok(self.samples.get(range(span, self.samples.len())?).unwrap_or_default()),
            found => Err(Error::Space { found }),
        }
    }
}

/// Calls `each` with the number of one output gradient after the other.
fn for_streams<const N: usize>(
    lists: [&[Span]; N],
    mut each: impl FnMut(usize) -> Result<(), Error>,
) -> Result<(), Error> {
    for stream in 0..check_streams(&lists)? {
        each(stream)?;
    }
    Ok(())
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

impl Backend for Cpu<'_> {
    type Error = Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), Error> {
        let mut memory = self.memory();
        let to = memory.write(to);
        memory.found?;
        expect("values", to.len(), values.len())?;
        to.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
        Ok(())
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), Error> {
        let mut memory = self.memory();
        let from = memory.read(from);
        memory.found?;
        expect("values", from.len(), values.len())?;
        values.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn fill(&mut self, to: Span, value: f32) -> Result<(), Error> {
        let mut memory = self.memory();
        memory.write(to).fill(value);
        memory.found
    }

    fn copy(&mut self, to: Span, from: Span) -> Result<(), Error> {
        let mut memory = self.memory();
        let (to, from) = (memory.write(to), memory.read(from));
        memory.found?;
        expect("from", to.len(), from.len())?;
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    #[inline(never)]
    fn gather(&mut self, batch: &Batch, rows: Span, samples: &Samples) -> Result<(), Error> {
        let (pictures, size) = (self.sample_bytes(samples.images)?, samples.image.len());
        let available = whole_rows("the samples", pictures.len(), size)?;
        let [head, tail] = batch.weights;
        let mut memory = self.memory();
        let (images, labels) = (memory.write(batch.images), memory.write(batch.labels));
        let (head, tail, rows) = (memory.write(head), memory.write(tail), memory.read(rows));
        let normalization = memory.read(samples.normalization);
        memory.found?;
        let count = whole_rows("rows", rows.len(), Row::WORDS)?;
        expect("images", count.saturating_mul(size), images.len())?;
        for written in [&*labels, &*head, &*tail] {
            expect("labels and weights", count, written.len())?;
        }
        let (rows, _) = rows.as_chunks();
        let picture = |index: usize| pictures.get(index.checked_mul(size)?..)?.get(..size);
        let outputs = rows_mut(images, size).zip(labels).zip(head).zip(tail);
        for ((((image, label), head), tail), row) in outputs.zip(rows) {
            let row = Row::decode(row);
            let index = row.index as usize;
            let Some(picture) = picture(index) else {
                return Err(Error::Sample { index, samples: available });
            };
            ops::gather(image, picture, samples.image, &row, normalization)?;
            *label = row.label as f32;
            [*head, *tail] = row.weights;
        }
        Ok(())
    }

    fn axpy(&mut self, y: Span, alpha: f32, x: Span) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(y), memory.read(x));
        memory.found?;
        ops::axpy(y, alpha, x)
    }

    #[inline(never)]
    fn ascend(&mut self, point: Span, squared_norm: Span, params: Span, radius: f32) -> Result<(), Error> {
        let mut memory = self.memory();
        let (point, squared_norm, params) = (memory.write(point), memory.write(squared_norm), memory.read(params));
        memory.found?;
        expect("squared_norm", 1, squared_norm.len())?;
        squared_norm.fill(ops::ascend(point, params, radius)?);
        Ok(())
    }

    #[inline(never)]
    fn sgd(&mut self, params: Span, velocity: Span, outcome: &Outcome, gradient: Span, sgd: &Sgd) -> Result<(), Error> {
        let mut memory = self.memory();
        let (squared_norm, failure) = (memory.write(outcome.squared_norm), memory.write(outcome.failure));
        let (params, velocity, gradient) = (memory.write(params), memory.write(velocity), memory.read(gradient));
        memory.found?;
        expect("squared_norm", 1, squared_norm.len())?;
        expect("failure", 1, failure.len())?;
        let norm = ops::sgd(params, velocity, gradient, sgd)?;
        report(squared_norm, failure, norm, outcome.number);
        Ok(())
    }

    fn decay(&mut self, velocity: Span, params: Span, sgd: &Sgd) -> Result<(), Error> {
        let mut memory = self.memory();
        let (velocity, params) = (memory.write(velocity), memory.read(params));
        memory.found?;
        ops::decay(velocity, params, sgd)
    }

    fn descend(&mut self, params: Span, velocity: Span, outcome: &Outcome, learning_rate: f32) -> Result<(), Error> {
        let mut memory = self.memory();
        let (params, velocity) = (memory.write(params), memory.write(velocity));
        let (squared_norm, failure) = (memory.write(outcome.squared_norm), memory.write(outcome.failure));
        memory.found?;
        expect("squared_norm", 1, squared_norm.len())?;
        expect("failure", 1, failure.len())?;
        let norm = ops::descend(params, velocity, learning_rate)?;
        report(squared_norm, failure, norm, outcome.number);
        Ok(())
    }

    fn linear_forward(&mut self, y: Span, x: Span, weight: Span, bias: Span) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x, weight, bias) = (memory.write(y), memory.read(x), memory.read(weight), memory.read(bias));
        memory.found?;
        ops::linear_forward(y, x, weight, bias)
    }

    fn linear_backward_input(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        weight: Span,
        outputs: usize,
        accumulate: bool,
    ) -> Result<(), Error> {
        for_streams([dx, dy], |stream| {
            let mut memory = self.memory();
            let (dx, dy, weight) = (memory.write_one(dx, stream), memory.read_one(dy, stream), memory.read(weight));
            memory.found?;
            ops::linear_backward_input(dx, dy, weight, outputs, accumulate)
        })
    }

    fn linear_backward_weight(&mut self, dweight: &[Span], dbias: &[Span], x: Span, dy: &[Span]) -> Result<(), Error> {
        for_streams([dweight, dbias, dy], |stream| {
            let mut memory = self.memory();
            let (dweight, dbias, x, dy) = (
                memory.write_one(dweight, stream),
                memory.write_one(dbias, stream),
                memory.read(x),
                memory.read_one(dy, stream),
            );
            memory.found?;
            ops::linear_backward_weight(dweight, dbias, x, dy)
        })
    }

    fn conv2d_forward(&mut self, y: Span, x: Span, weight: Span, conv: &Conv2d) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x, weight) = (memory.write(y), memory.read(x), memory.read(weight));
        memory.found?;
        ops::conv2d_forward(y, x, weight, conv)
    }

    fn conv2d_backward_input(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        weight: Span,
        conv: &Conv2d,
        accumulate: bool,
    ) -> Result<(), Error> {
        for_streams([dx, dy], |stream| {
            let mut memory = self.memory();
            let (dx, dy, weight) = (memory.write_one(dx, stream), memory.read_one(dy, stream), memory.read(weight));
            memory.found?;
            ops::conv2d_backward_input(dx, dy, weight, conv, accumulate)
        })
    }

    fn conv2d_backward_weight(&mut self, dweight: &[Span], x: Span, dy: &[Span], conv: &Conv2d) -> Result<(), Error> {
        for_streams([dweight, dy], |stream| {
            let mut memory = self.memory();
            let (dweight, x, dy) = (memory.write_one(dweight, stream), memory.read(x), memory.read_one(dy, stream));
            memory.found?;
            ops::conv2d_backward_weight(dweight, x, dy, conv)
        })
    }

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
    ) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, saved) = (memory.write(y), memory.write(saved));
        let moved = running.map(|running| memory.write(running));
        let added = residual.map(|residual| memory.read(residual));
        let (x, weight, bias) = (memory.read(x), memory.read(weight), memory.read(bias));
        memory.found?;
        ops::batch_norm_forward(y, saved, moved, x, weight, bias, added, relu)
    }

    fn batch_norm_inference(
        &mut self,
        y: Span,
        x: Span,
        weight: Span,
        bias: Span,
        running: Span,
        residual: Option<Span>,
        relu: bool,
    ) -> Result<(), Error> {
        let mut memory = self.memory();
        let added = residual.map(|residual| memory.read(residual));
        let (y, x, weight, bias, running) =
            (memory.write(y), memory.read(x), memory.read(weight), memory.read(bias), memory.read(running));
        memory.found?;
        ops::batch_norm_inference(y, x, weight, bias, running, added, relu)
    }

    fn batch_norm_backward(
        &mut self,
        dx: &[Span],
        dweight: &[Span],
        dbias: &[Span],
        dy: &[Span],
        y: Span,
        x: Span,
        weight: Span,
        _bias: Span,
        saved: Span,
        relu: bool,
        _residual: bool,
        accumulate: bool,
    ) -> Result<(), Error> {
        for_streams([dx, dweight, dbias, dy], |stream| {
            let mut memory = self.memory();
            let (dx, dweight, dbias, dy) = (
                memory.write_one(dx, stream),
                memory.write_one(dweight, stream),
                memory.write_one(dbias, stream),
                memory.write_one(dy, stream),
            );
            let (y, x, weight, saved) = (memory.read(y), memory.read(x), memory.read(weight), memory.read(saved));
            memory.found?;
            ops::batch_norm_backward(dx, dweight, dbias, dy, y, x, weight, saved, relu, accumulate)
        })
    }

    fn relu_forward(&mut self, y: Span, x: Span) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(y), memory.read(x));
        memory.found?;
        ops::relu_forward(y, x)
    }

    fn relu_backward(&mut self, dx: &[Span], dy: &[Span], y: Span, accumulate: bool) -> Result<(), Error> {
        for_streams([dx, dy], |stream| {
            let mut memory = self.memory();
            let (dx, dy, y) = (memory.write_one(dx, stream), memory.read_one(dy, stream), memory.read(y));
            memory.found?;
            ops::relu_backward(dx, dy, y, accumulate)
        })
    }

    fn shortcut_forward(&mut self, y: Span, x: Span, input: Shape, output: Shape) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(y), memory.read(x));
        memory.found?;
        ops::shortcut_forward(y, x, input, output)
    }

    fn shortcut_backward(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        input: Shape,
        output: Shape,
        accumulate: bool,
    ) -> Result<(), Error> {
        for_streams([dx, dy], |stream| {
            let mut memory = self.memory();
            let (dx, dy) = (memory.write_one(dx, stream), memory.read_one(dy, stream));
            memory.found?;
            ops::shortcut_backward(dx, dy, input, output, accumulate)
        })
    }

    fn global_average_pool_forward(&mut self, y: Span, x: Span, input: Shape) -> Result<(), Error> {
        let mut memory = self.memory();
        let (y, x) = (memory.write(y), memory.read(x));
        memory.found?;
        ops::global_average_pool_forward(y, x, input)
    }

    fn global_average_pool_backward(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        input: Shape,
        accumulate: bool,
    ) -> Result<(), Error> {
        for_streams([dx, dy], |stream| {
            let mut memory = self.memory();
            let (dx, dy) = (memory.write_one(dx, stream), memory.read_one(dy, stream));
            memory.found?;
            ops::global_average_pool_backward(dx, dy, input, accumulate)
        })
    }

    // In line, as what it calls: where the focal exponent is known to be 0, no power is linked.
    #[inline(always)]
    fn cross_entropy(
        &mut self,
        dlogits: &[Span],
        losses: &[Span],
        logits: Span,
        labels: Span,
        weights: &[Span],
        terms: &Terms,
    ) -> Result<(), Error> {
        let Terms { scale, shift, margin, focal } = *terms;
        // Not by way of `for_streams`, whose closure would be a function of its own.
        for stream in 0..check_streams(&[dlogits, losses, weights])? {
            let mut memory = self.memory();
            let tables =
                LossTables { scale: memory.read(scale), shift: memory.read(shift), margin: memory.read(margin), focal };
            let classes = tables.scale.len();
            let (dlogits, loss, labels) =
                (memory.write_one(dlogits, stream), memory.write_one(losses, stream), memory.read(labels));
            let (logits, weights) = (memory.read(logits), memory.read_one(weights, stream));
            memory.found?;
            let rows = whole_rows("logits", logits.len(), classes)?;
            expect("dlogits", logits.len(), dlogits.len())?;
            expect("labels", rows, labels.len())?;
            expect("weights", rows, weights.len())?;
            expect("losses", 1, loss.len())?;
            let outputs = rows_mut(dlogits, classes).zip(ops::math::rows::rows(logits, classes));
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

    #[test]
    fn overlap_bounds_and_spaces_are_errors() {
        let (mut work, constant) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0]);
        let mut cpu = Cpu::new(&mut work, &constant, &[]);
        let frozen = Span { space: Space::Constant, offset: 0, length: 2 };
        assert_eq!(cpu.axpy(Span::work(0, 2), 1.0, Span::work(1, 2)), Err(Error::Overlap));
        assert!(matches!(cpu.fill(Span::work(3, usize::MAX), 1.0), Err(Error::Bounds { .. })));
        assert!(matches!(cpu.axpy(Span::work(0, 2), 1.0, Span { offset: 1, ..frozen }), Err(Error::Bounds { .. })));
        assert_eq!(cpu.fill(frozen, 1.0), Err(Error::Space { found: Space::Constant }));
        assert_eq!(cpu.copy(frozen, Span::work(0, 2)), Err(Error::Space { found: Space::Constant }));
        cpu.axpy(Span::work(1, 2), 2.0, frozen).unwrap();
        assert_eq!(work, [1.0, 12.0, 15.0, 4.0]);
    }

    #[test]
    fn an_operation_takes_up_to_eight_operands_out_of_any_places() {
        let mut work = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let mut cpu = Cpu::new(&mut work, &[], &[]);
        let one = |offset| Span::work(offset, 1);
        let spans = [one(8), one(1), one(3), Span::work(4, 2), one(0), one(9), one(6), one(2)];
        let taken = cpu.slices_mut(spans).unwrap();
        let expected: [&[f32]; 8] = [&[8.0], &[1.0], &[3.0], &[4.0, 5.0], &[0.0], &[9.0], &[6.0], &[2.0]];
        assert_eq!(taken.map(|slice| &*slice), expected);
        assert_eq!(cpu.slices_mut([one(8), one(1), Span::work(1, 3)]), Err(Error::Overlap));
        let refused = cpu.slices_mut([1, 3, 5, 7, 9, 0, 2, 4, 6].map(one));
        assert_eq!(refused, Err(Error::Capacity { what: "operands", capacity: 8 }));
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
            cpu.sgd(Span::work(0, 2), Span::work(2, 2), &outcome, Span::work(4, 2), &sgd).unwrap();
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
        cpu.gather(&batch, Span::work(10, 4), &samples).unwrap();
        let missing = cpu.gather(&batch, Span::work(14, 4), &samples);
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
            let result = cpu.cross_entropy(&dlogits, &losses, logits, labels, &[Span::work(3, 1)], &terms);
            assert!(matches!(result, Err(Error::Label { classes: 2, .. })));
        }
    }
}
