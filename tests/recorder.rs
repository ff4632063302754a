//! A backend that writes down what is asked of another one.

use sse_sam_core::{Backend, Batch, Conv2d, Outcome, Samples, Sgd, Shape, Span, Terms};

/// One call of a Backend method.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Everything it may write.
    pub written: Vec<Span>,
    /// Output gradients it works on; 1 where it takes none.
    pub streams: usize,
}

/// Passes every call on and keeps a list of them.
#[derive(Debug)]
pub struct Recorder<B> {
    /// The backend that does the work.
    pub inner: B,
    /// What was asked for, in order.
    pub calls: Vec<Call>,
}

impl<B> Recorder<B> {
    /// A recorder of what `inner` is asked for.
    pub fn new(inner: B) -> Self {
        Self { inner, calls: Vec::new() }
    }

    fn note(&mut self, method: &'static str, streams: usize, written: &[&[Span]]) -> &mut B {
        self.calls.push(Call { method, written: written.concat(), streams });
        &mut self.inner
    }
}

impl<B: Backend> Backend for Recorder<B> {
    type Error = B::Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), B::Error> {
        self.note("write", 1, &[&[to]]).write(to, values)
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), B::Error> {
        self.note("read", 1, &[]).read(values, from)
    }

    fn fill(&mut self, to: Span, value: f32) -> Result<(), B::Error> {
        self.note("fill", 1, &[&[to]]).fill(to, value)
    }

    fn copy(&mut self, to: Span, from: Span) -> Result<(), B::Error> {
        self.note("copy", 1, &[&[to]]).copy(to, from)
    }

    fn gather(&mut self, batch: &Batch, rows: Span, samples: &Samples) -> Result<(), B::Error> {
        let written = [batch.images, batch.labels];
        self.note("gather", 1, &[&written, &batch.weights]).gather(batch, rows, samples)
    }

    fn axpy(&mut self, y: Span, alpha: f32, x: Span) -> Result<(), B::Error> {
        self.note("axpy", 1, &[&[y]]).axpy(y, alpha, x)
    }

    fn ascend(&mut self, point: Span, params: Span, radius: f32) -> Result<(), B::Error> {
        self.note("ascend", 1, &[&[point]]).ascend(point, params, radius)
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
        self.note("sgd", 1, &[&written]).sgd(params, velocity, outcome, gradient, sgd)
    }

    fn linear_forward(&mut self, y: Span, x: Span, weight: Span, bias: Span) -> Result<(), B::Error> {
        self.note("linear_forward", 1, &[&[y]]).linear_forward(y, x, weight, bias)
    }

    fn linear_backward_input(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        weight: Span,
        outputs: usize,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        self.note("linear_backward_input", dy.len(), &[dx]).linear_backward_input(dx, dy, weight, outputs, accumulate)
    }

    fn linear_backward_weight(
        &mut self,
        dweight: &[Span],
        dbias: &[Span],
        x: Span,
        dy: &[Span],
    ) -> Result<(), B::Error> {
        self.note("linear_backward_weight", dy.len(), &[dweight, dbias]).linear_backward_weight(dweight, dbias, x, dy)
    }

    fn conv2d_forward(&mut self, y: Span, x: Span, weight: Span, conv: &Conv2d) -> Result<(), B::Error> {
        self.note("conv2d_forward", 1, &[&[y]]).conv2d_forward(y, x, weight, conv)
    }

    fn conv2d_backward_input(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        weight: Span,
        conv: &Conv2d,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        self.note("conv2d_backward_input", dy.len(), &[dx]).conv2d_backward_input(dx, dy, weight, conv, accumulate)
    }

    fn conv2d_backward_weight(
        &mut self,
        dweight: &[Span],
        x: Span,
        dy: &[Span],
        conv: &Conv2d,
    ) -> Result<(), B::Error> {
        self.note("conv2d_backward_weight", dy.len(), &[dweight]).conv2d_backward_weight(dweight, x, dy, conv)
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
        let inner = self.note("batch_norm_forward", 1, &[&[y, saved], running.as_slice()]);
        inner.batch_norm_forward(y, saved, running, x, weight, bias, residual, relu)
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
        let inner = self.note("batch_norm_inference", 1, &[&[y]]);
        inner.batch_norm_inference(y, x, weight, bias, running, residual, relu)
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
        saved: Span,
        relu: bool,
        residual: bool,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        let inner = self.note("batch_norm_backward", dy.len(), &[dx, dweight, dbias, dy]);
        inner.batch_norm_backward(dx, dweight, dbias, dy, y, x, weight, saved, relu, residual, accumulate)
    }

    fn relu_forward(&mut self, y: Span, x: Span) -> Result<(), B::Error> {
        self.note("relu_forward", 1, &[&[y]]).relu_forward(y, x)
    }

    fn relu_backward(&mut self, dx: &[Span], dy: &[Span], y: Span, accumulate: bool) -> Result<(), B::Error> {
        self.note("relu_backward", dy.len(), &[dx]).relu_backward(dx, dy, y, accumulate)
    }

    fn shortcut_forward(&mut self, y: Span, x: Span, input: Shape, output: Shape) -> Result<(), B::Error> {
        self.note("shortcut_forward", 1, &[&[y]]).shortcut_forward(y, x, input, output)
    }

    fn shortcut_backward(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        input: Shape,
        output: Shape,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        self.note("shortcut_backward", dy.len(), &[dx]).shortcut_backward(dx, dy, input, output, accumulate)
    }

    fn global_average_pool_forward(&mut self, y: Span, x: Span, input: Shape) -> Result<(), B::Error> {
        self.note("global_average_pool_forward", 1, &[&[y]]).global_average_pool_forward(y, x, input)
    }

    fn global_average_pool_backward(
        &mut self,
        dx: &[Span],
        dy: &[Span],
        input: Shape,
        accumulate: bool,
    ) -> Result<(), B::Error> {
        let inner = self.note("global_average_pool_backward", dy.len(), &[dx]);
        inner.global_average_pool_backward(dx, dy, input, accumulate)
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
        let inner = self.note("cross_entropy", dlogits.len(), &[dlogits, losses]);
        inner.cross_entropy(dlogits, losses, logits, labels, weights, terms)
    }
}
