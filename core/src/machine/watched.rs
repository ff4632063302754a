//! A backend that lets somebody look on: every call, named and measured, before and after it is made.

use crate::machine::backend::Backend;
use crate::memory::Span;
use crate::ops::gather::{Batch, Samples};
use crate::ops::loss::Terms;
use crate::ops::vector::{Outcome, Sgd};
use crate::shape::{Conv2d, Shape};

/// The sizes that a call works on.
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

/// One call of a [`Backend`] method.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: &'static str,
    /// The sizes it works on.
    pub extent: Extent,
    /// Output gradients it works on; 1 where it takes none.
    pub streams: usize,
    /// Every span that it may write.
    pub written: &'a [&'a [Span]],
    /// Every span that it reads, those that it adds to among them.
    pub read: &'a [&'a [Span]],
}

/// Somebody who looks on.
pub trait Watch<B: Backend> {
    /// Makes a call by `run`, and does what it likes before and after.
    ///
    /// # Errors
    /// What `run` reports.
    fn around(
        &mut self,
        backend: &mut B,
        call: &Call<'_>,
        run: impl FnOnce(&mut B) -> Result<(), B::Error>,
    ) -> Result<(), B::Error>;
}

/// Passes every call on to a backend while somebody looks on.
#[derive(Debug)]
pub struct Watched<'b, B, W> {
    /// The backend that does the work.
    pub inner: &'b mut B,
    /// Who looks on.
    pub watch: W,
}

impl<'b, B: Backend, W: Watch<B>> Watched<'b, B, W> {
    /// Lets `watch` see what `inner` is asked for.
    pub fn new(inner: &'b mut B, watch: W) -> Self {
        Self { inner, watch }
    }

    fn call(
        &mut self,
        method: &'static str,
        (extent, streams): (Extent, usize),
        written: &[&[Span]],
        read: &[&[Span]],
        run: impl FnOnce(&mut B) -> Result<(), B::Error>,
    ) -> Result<(), B::Error> {
        self.watch.around(self.inner, &Call { method, extent, streams, written, read }, run)
    }
}

/// The input gradients as spans that are read: those that are added to.
fn added(dx: &[Span], accumulate: bool) -> &[Span] {
    if accumulate { dx } else { &[] }
}

fn first(spans: &[Span]) -> usize {
    spans.first().map_or(0, |span| span.length)
}

fn rows(length: usize, width: usize) -> usize {
    length.checked_div(width).unwrap_or(0)
}

fn table(length: usize, width: usize) -> Extent {
    Extent::Rows(rows(length, width), width)
}

fn mapped(x: usize, input: Shape, output: Shape) -> Extent {
    Extent::Mapped(rows(x, input.len()), input, output)
}

fn convolution(y: usize, conv: &Conv2d) -> Extent {
    Extent::Conv2d(rows(y, conv.output.len()), *conv)
}

fn linear(weight: usize, y: usize, outputs: usize) -> Extent {
    Extent::Linear { rows: rows(y, outputs), inputs: rows(weight, outputs), outputs }
}

impl<B: Backend, W: Watch<B>> Backend for Watched<'_, B, W> {
    type Error = B::Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), B::Error> {
        self.call("write", (Extent::Vector(to.length), 1), &[&[to]], &[], |inner| inner.write(to, values))
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), B::Error> {
        self.call("read", (Extent::Vector(from.length), 1), &[], &[&[from]], |inner| inner.read(values, from))
    }

    fn fill(&mut self, to: Span, value: f32) -> Result<(), B::Error> {
        self.call("fill", (Extent::Vector(to.length), 1), &[&[to]], &[], |inner| inner.fill(to, value))
    }

    fn copy(&mut self, to: Span, from: Span) -> Result<(), B::Error> {
        self.call("copy", (Extent::Vector(to.length), 1), &[&[to]], &[&[from]], |inner| inner.copy(to, from))
    }

    fn gather(&mut self, batch: &Batch, table: Span, samples: &Samples) -> Result<(), B::Error> {
        let extent = Extent::Images(rows(batch.images.length, samples.image.len()), samples.image);
        let written = [batch.images, batch.labels];
        // Of the samples as many bytes as the batch has numbers.
        let images = Span { length: batch.images.length.min(samples.images.length), ..samples.images };
        let read = [table, samples.normalization, images];
        let run = |inner: &mut B| inner.gather(batch, table, samples);
        self.call("gather", (extent, 1), &[&written, &batch.weights], &[&read], run)
    }

    fn axpy(&mut self, y: Span, alpha: f32, x: Span) -> Result<(), B::Error> {
        self.call("axpy", (Extent::Vector(y.length), 1), &[&[y]], &[&[y, x]], |inner| inner.axpy(y, alpha, x))
    }

    fn ascend(&mut self, point: Span, squared_norm: Span, params: Span, radius: f32) -> Result<(), B::Error> {
        let run = |inner: &mut B| inner.ascend(point, squared_norm, params, radius);
        let written = [point, squared_norm];
        // The point is read for its norm, and again when it moves.
        self.call("ascend", (Extent::Vector(point.length), 1), &[&written], &[&[point, point, params]], run)
    }

    fn sgd(
        &mut self,
        params: Span,
        velocity: Span,
        outcome: &Outcome,
        gradient: Span,
        sgd: &Sgd,
    ) -> Result<(), B::Error> {
        let written = [params, velocity, outcome.squared_norm, outcome.failure];
        // The gradient is read for its norm, and again for the update.
        let read = [params, velocity, outcome.failure, gradient, gradient];
        let run = |inner: &mut B| inner.sgd(params, velocity, outcome, gradient, sgd);
        self.call("sgd", (Extent::Vector(params.length), 1), &[&written], &[&read], run)
    }

    fn decay(&mut self, velocity: Span, params: Span, sgd: &Sgd) -> Result<(), B::Error> {
        let run = |inner: &mut B| inner.decay(velocity, params, sgd);
        self.call("decay", (Extent::Vector(params.length), 1), &[&[velocity]], &[&[velocity, params]], run)
    }

    fn descend(&mut self, params: Span, velocity: Span, outcome: &Outcome, learning_rate: f32) -> Result<(), B::Error> {
        let written = [params, velocity, outcome.squared_norm, outcome.failure];
        // The velocity is read for its norm, and again for the update.
        let read = [params, velocity, velocity, outcome.failure];
        let run = |inner: &mut B| inner.descend(params, velocity, outcome, learning_rate);
        self.call("descend", (Extent::Vector(params.length), 1), &[&written], &[&read], run)
    }

    fn linear_forward(&mut self, y: Span, x: Span, weight: Span, bias: Span) -> Result<(), B::Error> {
        let extent = linear(weight.length, y.length, bias.length);
        let run = |inner: &mut B| inner.linear_forward(y, x, weight, bias);
        self.call("linear_forward", (extent, 1), &[&[y]], &[&[x, weight, bias]], run)
    }

    fn linear_backward_input(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        weight: Span,
        outputs: usize,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        let extent = linear(weight.length, first(dy), outputs);
        let read: &[&[Span]] = &[dy, &[weight], added(dx, accumulate)];
        self.call("linear_backward_input", (extent, dy.len()), &[dx], read, |inner| {
            inner.linear_backward_input(dx, dy, weight, outputs, accumulate)
        })
    }

    fn linear_backward_weight(
        &mut self,
        dweight: &[Span],
        dbias: &[Span],
        x: Span,
        dy: &[Span],
    ) -> Result<(), B::Error> {
        let extent = linear(first(dweight), first(dy), first(dbias));
        let read: &[&[Span]] = &[&[x], dy, dweight, dbias];
        self.call("linear_backward_weight", (extent, dy.len()), &[dweight, dbias], read, |inner| {
            inner.linear_backward_weight(dweight, dbias, x, dy)
        })
    }

    fn conv2d_forward(&mut self, y: Span, x: Span, weight: Span, conv: &Conv2d) -> Result<(), B::Error> {
        let run = |inner: &mut B| inner.conv2d_forward(y, x, weight, conv);
        self.call("conv2d_forward", (convolution(y.length, conv), 1), &[&[y]], &[&[x, weight]], run)
    }

    fn conv2d_backward_input(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        weight: Span,
        conv: &Conv2d,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        let read: &[&[Span]] = &[dy, &[weight], added(dx, accumulate)];
        self.call("conv2d_backward_input", (convolution(first(dy), conv), dy.len()), &[dx], read, |inner| {
            inner.conv2d_backward_input(dx, dy, weight, conv, accumulate)
        })
    }

    fn conv2d_backward_weight(
        &mut self,
        dweight: &[Span],
        x: Span,
        dy: &[Span],
        conv: &Conv2d,
    ) -> Result<(), B::Error> {
        let read: &[&[Span]] = &[&[x], dy, dweight];
        self.call("conv2d_backward_weight", (convolution(first(dy), conv), dy.len()), &[dweight], read, |inner| {
            inner.conv2d_backward_weight(dweight, x, dy, conv)
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
    ) -> Result<(), B::Error> {
        let written: &[&[Span]] = &[&[y, saved], running.as_slice()];
        let read: &[&[Span]] = &[&[x, weight, bias], running.as_slice(), residual.as_slice()];
        self.call("batch_norm_forward", (table(x.length, weight.length), 1), written, read, |inner| {
            inner.batch_norm_forward(y, saved, running, x, weight, bias, residual, relu)
        })
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
    ) -> Result<(), B::Error> {
        let read: &[&[Span]] = &[&[x, weight, bias, running], residual.as_slice()];
        self.call("batch_norm_inference", (table(x.length, weight.length), 1), &[&[y]], read, |inner| {
            inner.batch_norm_inference(y, x, weight, bias, running, residual, relu)
        })
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
        bias: Span,
        saved: Span,
        relu: bool,
        residual: bool,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        let written: &[&[Span]] = &[dx, dweight, dbias, dy];
        let read: &[&[Span]] = &[dy, &[y, x, weight, bias, saved], added(dx, accumulate), dweight, dbias];
        self.call("batch_norm_backward", (table(x.length, weight.length), dy.len()), written, read, |inner| {
            inner.batch_norm_backward(dx, dweight, dbias, dy, y, x, weight, bias, saved, relu, residual, accumulate)
        })
    }

    fn relu_forward(&mut self, y: Span, x: Span) -> Result<(), B::Error> {
        self.call("relu_forward", (Extent::Vector(y.length), 1), &[&[y]], &[&[x]], |inner| inner.relu_forward(y, x))
    }

    fn relu_backward(&mut self, dx: &[Span], dy: &[Span], y: Span, accumulate: bool) -> Result<(), B::Error> {
        let read: &[&[Span]] = &[dy, &[y], added(dx, accumulate)];
        let run = |inner: &mut B| inner.relu_backward(dx, dy, y, accumulate);
        self.call("relu_backward", (Extent::Vector(y.length), dy.len()), &[dx], read, run)
    }

    fn shortcut_forward(&mut self, y: Span, x: Span, input: Shape, output: Shape) -> Result<(), B::Error> {
        let run = |inner: &mut B| inner.shortcut_forward(y, x, input, output);
        self.call("shortcut_forward", (mapped(x.length, input, output), 1), &[&[y]], &[&[x]], run)
    }

    fn shortcut_backward(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        input: Shape,
        output: Shape,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        let read: &[&[Span]] = &[dy, added(dx, accumulate)];
        let run = |inner: &mut B| inner.shortcut_backward(dx, dy, input, output, accumulate);
        self.call("shortcut_backward", (mapped(first(dx), input, output), dy.len()), &[dx], read, run)
    }

    fn global_average_pool_forward(&mut self, y: Span, x: Span, input: Shape) -> Result<(), B::Error> {
        let extent = Extent::Images(rows(x.length, input.len()), input);
        let run = |inner: &mut B| inner.global_average_pool_forward(y, x, input);
        self.call("global_average_pool_forward", (extent, 1), &[&[y]], &[&[x]], run)
    }

    fn global_average_pool_backward(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        input: Shape,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        let extent = Extent::Images(rows(first(dx), input.len()), input);
        let read: &[&[Span]] = &[dy, added(dx, accumulate)];
        let run = |inner: &mut B| inner.global_average_pool_backward(dx, dy, input, accumulate);
        self.call("global_average_pool_backward", (extent, dy.len()), &[dx], read, run)
    }

    fn cross_entropy(
        &mut self,
        dlogits: &[Span],
        losses: &[Span],
        logits: Span,
        labels: Span,
        weights: &[Span],
        terms: &Terms,
    ) -> Result<(), B::Error> {
        let tables = [logits, labels, terms.scale, terms.shift, terms.margin];
        let extent = table(logits.length, terms.scale.length);
        self.call("cross_entropy", (extent, dlogits.len()), &[dlogits, losses], &[&tables, weights], |inner| {
            inner.cross_entropy(dlogits, losses, logits, labels, weights, terms)
        })
    }
}
