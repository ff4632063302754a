//! The convolution.

use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward};
use sse_sam_core::{Conv2d, Shape, Span};

use super::linear::sum;
use super::{Bench, Case, Machine};
use crate::reference::layout::{hwio_to_oihw, nchw_to_nhwc, nhwc_to_nchw, oihw_to_hwio};
use crate::reference::{conv2d as reference, wide};

/// (in, out).
const CHANNELS: [(usize, usize); 11] =
    [(1, 1), (3, 16), (4, 15), (15, 17), (16, 16), (16, 32), (17, 33), (32, 32), (33, 4), (32, 3), (64, 16)];
/// (kernel, stride, padding).
const KERNELS: [(usize, usize, usize); 9] =
    [(1, 1, 0), (3, 1, 1), (3, 2, 1), (1, 2, 0), (3, 1, 0), (3, 2, 0), (5, 1, 2), (5, 2, 1), (1, 1, 1)];
/// (height, width).
const IMAGES: [(usize, usize); 7] = [(5, 7), (8, 8), (17, 16), (5, 5), (16, 16), (7, 31), (17, 19)];
const BATCHES: [usize; 4] = [1, 2, 5, 3];

/// Calls `run` with a batch and a convolution: every pair of channels and kernel, sizes and batches in turn.
fn each_size<M: Machine>(bench: &mut Bench<'_, M>, suffix: &str, run: impl Fn(&mut Case<'_, M>, usize, &Conv2d)) {
    let mut index = 0;
    let mut one = |batch: usize,
                   (height, width): (usize, usize),
                   inputs: usize,
                   outputs: usize,
                   kernel: (usize, usize, usize)| {
        let (size, stride, padding) = kernel;
        let image = Shape::new(height, width, inputs);
        let conv = Conv2d::new(image, outputs, size, stride, padding).expect("the kernel fits");
        let sizes =
            format!("{height} x {width}, {inputs} to {outputs}, kernel {size}, stride {stride}, padding {padding}");
        bench.case(&format!("batch {batch}, {sizes}{suffix}"), |case| run(case, batch, &conv));
    };
    for (inputs, outputs) in CHANNELS {
        for kernel in KERNELS {
            one(BATCHES[index % BATCHES.len()], IMAGES[index % IMAGES.len()], inputs, outputs, kernel);
            index += 1;
        }
    }
    // Images smaller than the kernel, of one pixel and one row, and many of them.
    for (batch, image) in [(1, (1, 1)), (17, (1, 1)), (2, (2, 2)), (5, (1, 17)), (33, (4, 4))] {
        one(batch, image, 3, 17, (3, 1, 1));
        one(batch, image, 16, 16, (3, 2, 1));
        one(batch, image, 16, 32, (1, 2, 0));
    }
}

pub fn forward<M: Machine>(bench: &mut Bench<'_, M>) {
    for constant in [false, true] {
        each_size(bench, &format!(", weight in constant memory: {constant}"), |case, batch, conv| {
            let (x, w) = (case.numbers.list(batch * conv.input.len()), case.numbers.list(conv.weights()));
            let y = case.output(batch * conv.output.len());
            let x_span = case.input(&x);
            let weight = if constant { case.constant(&w) } else { case.input(&w) };
            case.run(|backend| backend.run(&Conv2dForward { y, x: x_span, weight, conv }));
            let x = nhwc_to_nchw(&wide(&x), conv.input);
            let w = hwio_to_oihw(&wide(&w), conv.kernel, conv.input.channels, conv.output.channels);
            let expected = nchw_to_nhwc(&reference::forward(&x, &w, conv), conv.output);
            case.close("conv2d_forward", "y", y, &expected);
        });
    }
}

pub fn backward_input<M: Machine>(bench: &mut Bench<'_, M>) {
    for (streams, accumulate) in [(1, false), (1, true), (2, false), (2, true)] {
        let suffix = format!(", {streams} streams, accumulate {accumulate}");
        each_size(bench, &suffix, |case, batch, conv| {
            let w = case.numbers.list(conv.weights());
            let weight = case.input(&w);
            let w = hwio_to_oihw(&wide(&w), conv.kernel, conv.input.channels, conv.output.channels);
            let dy: Vec<Vec<f32>> = (0..streams).map(|_| case.numbers.list(batch * conv.output.len())).collect();
            let dy_spans: Vec<Span> = dy.iter().map(|dy| case.input(dy)).collect();
            let dx: Vec<_> = (0..streams).map(|_| case.gradient(batch * conv.input.len(), accumulate)).collect();
            let dx_spans: Vec<Span> = dx.iter().map(|dx| dx.0).collect();
            case.run(|backend| {
                backend.run(&Conv2dBackwardInput { dx: &dx_spans, dy: &dy_spans, weight, conv, accumulate })
            });
            for (dy, (span, start)) in dy.iter().zip(&dx) {
                let dx = reference::backward_input(&nhwc_to_nchw(&wide(dy), conv.output), &w, conv);
                case.close("conv2d_backward_input", "dx", *span, &sum(start, &nchw_to_nhwc(&dx, conv.input)));
            }
        });
    }
}

pub fn backward_weight<M: Machine>(bench: &mut Bench<'_, M>) {
    for streams in [1, 2] {
        each_size(bench, &format!(", {streams} streams"), |case, batch, conv| {
            let x = case.numbers.list(batch * conv.input.len());
            let x_span = case.input(&x);
            let x = nhwc_to_nchw(&wide(&x), conv.input);
            let dy: Vec<Vec<f32>> = (0..streams).map(|_| case.numbers.list(batch * conv.output.len())).collect();
            let dy_spans: Vec<Span> = dy.iter().map(|dy| case.input(dy)).collect();
            let dw: Vec<_> = (0..streams).map(|_| case.gradient(conv.weights(), true)).collect();
            let dw_spans: Vec<Span> = dw.iter().map(|dw| dw.0).collect();
            case.run(|backend| {
                backend.run(&Conv2dBackwardWeight { dweight: &dw_spans, x: x_span, dy: &dy_spans, conv })
            });
            for (dy, (span, start)) in dy.iter().zip(&dw) {
                let dw = reference::backward_weight(&x, &nhwc_to_nchw(&wide(dy), conv.output), conv);
                let dw = oihw_to_hwio(&dw, conv.kernel, conv.input.channels, conv.output.channels);
                case.close("conv2d_backward_weight", "dweight", *span, &sum(start, &dw));
            }
        });
    }
}
