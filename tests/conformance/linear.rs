//! The linear layer.

use sse_sam_core::Span;
use sse_sam_core::ops::{LinearBackwardInput, LinearBackwardWeight, LinearForward};

use super::{Bench, Case, Machine};
use crate::reference::layout::transpose;
use crate::reference::{linear as reference, vectors, wide};

/// (batch, inputs, outputs).
const SIZES: [(usize, usize, usize); 13] = [
    (1, 1, 1),
    (1, 7, 3),
    (2, 15, 16),
    (5, 16, 15),
    (2, 16, 16),
    (5, 17, 17),
    (7, 33, 4),
    (16, 32, 33),
    (17, 64, 10),
    (33, 31, 32),
    (5, 64, 101),
    (2, 257, 1),
    (3, 5, 10_000),
];

/// Calls `run` for each size.
fn each_size<M: Machine>(bench: &mut Bench<'_, M>, run: impl Fn(&mut Case<'_, M>, usize, usize, usize)) {
    for (batch, inputs, outputs) in SIZES {
        let sizes = format!("batch {batch}, {inputs} to {outputs}");
        bench.case(&sizes, |case| run(case, batch, inputs, outputs));
    }
}

/// Calls `run` for each size, number of streams, and with and without accumulation.
fn each_stream<M: Machine>(
    bench: &mut Bench<'_, M>,
    run: impl Fn(&mut Case<'_, M>, (usize, usize, usize), usize, bool),
) {
    for (batch, inputs, outputs) in SIZES {
        for (streams, accumulate) in [(1, false), (1, true), (2, false), (2, true)] {
            let sizes = format!("batch {batch}, {inputs} to {outputs}, {streams} streams, accumulate {accumulate}");
            bench.case(&sizes, |case| run(case, (batch, inputs, outputs), streams, accumulate));
        }
    }
}

/// The expected content of a span that held `start`.
pub fn sum(start: &[f32], gradient: &[f64]) -> Vec<f64> {
    vectors::axpy(gradient, 1.0, &wide(start))
}

pub fn forward<M: Machine>(bench: &mut Bench<'_, M>) {
    for constant in [false, true] {
        each_size(bench, |case, batch, inputs, outputs| {
            let (x, w) = (case.numbers.list(batch * inputs), case.numbers.list(inputs * outputs));
            let b = case.numbers.list(outputs);
            let expected = reference::forward(&wide(&x), &transpose(&wide(&w), inputs, outputs), &wide(&b));
            let x = case.input(&x);
            let [weight, bias] =
                [&w, &b].map(|values| if constant { case.constant(values) } else { case.input(values) });
            let y = case.output(batch * outputs);
            case.run(|backend| backend.run(&LinearForward { y, x, weight, bias }));
            case.close("linear_forward", "y", y, &expected);
        });
    }
}

pub fn backward_input<M: Machine>(bench: &mut Bench<'_, M>) {
    each_stream(bench, |case, (batch, inputs, outputs), streams, accumulate| {
        let w = case.numbers.list(inputs * outputs);
        let weight = case.input(&w);
        let w = transpose(&wide(&w), inputs, outputs);
        let dy: Vec<Vec<f32>> = (0..streams).map(|_| case.numbers.list(batch * outputs)).collect();
        let dy_spans: Vec<Span> = dy.iter().map(|dy| case.input(dy)).collect();
        let dx: Vec<_> = (0..streams).map(|_| case.gradient(batch * inputs, accumulate)).collect();
        let dx_spans: Vec<Span> = dx.iter().map(|dx| dx.0).collect();
        case.run(|backend| {
            backend.run(&LinearBackwardInput { dx: &dx_spans, dy: &dy_spans, weight, outputs, accumulate })
        });
        for (dy, (span, start)) in dy.iter().zip(&dx) {
            let expected = sum(start, &reference::backward_input(&wide(dy), &w, outputs));
            case.close("linear_backward_input", "dx", *span, &expected);
        }
    });
}

pub fn backward_weight<M: Machine>(bench: &mut Bench<'_, M>) {
    for streams in [1, 2] {
        each_size(bench, |case, batch, inputs, outputs| {
            let x = case.numbers.list(batch * inputs);
            let dy: Vec<Vec<f32>> = (0..streams).map(|_| case.numbers.list(batch * outputs)).collect();
            let dy_spans: Vec<Span> = dy.iter().map(|dy| case.input(dy)).collect();
            let dw: Vec<_> = (0..streams).map(|_| case.gradient(inputs * outputs, true)).collect();
            let db: Vec<_> = (0..streams).map(|_| case.gradient(outputs, true)).collect();
            let [dw_spans, db_spans] = [&dw, &db].map(|list| list.iter().map(|item| item.0).collect::<Vec<Span>>());
            let x_span = case.input(&x);
            case.run(|backend| {
                backend.run(&LinearBackwardWeight { dweight: &dw_spans, dbias: &db_spans, x: x_span, dy: &dy_spans })
            });
            for stream in 0..streams {
                let (dweight, dbias) = reference::backward_weight(&wide(&x), &wide(&dy[stream]), outputs);
                let dweight = transpose(&dweight, outputs, inputs);
                case.close("linear_backward_weight", "dweight", dw[stream].0, &sum(&dw[stream].1, &dweight));
                case.close("linear_backward_weight", "dbias", db[stream].0, &sum(&db[stream].1, &dbias));
            }
        });
    }
}
