//! ReLU, the shortcut and global average pooling.

use sse_sam_core::ops::{
    GlobalAveragePoolBackward, GlobalAveragePoolForward, MaxPoolBackward, MaxPoolForward, MaxPoolTangent, Pool2d,
    ReluBackward, ReluForward, ShortcutBackward, ShortcutForward,
};
use sse_sam_core::{Shape, Span};

use super::linear::sum;
use super::memory::LENGTHS;
use super::{Bench, Case, Machine};
use crate::reference::layout::{nchw_to_nhwc, nhwc_to_nchw};
use crate::reference::{narrow, pointwise as reference, pooling, wide};

const STREAMS: [(usize, bool); 4] = [(1, false), (1, true), (2, false), (2, true)];

/// A backward call's gradients: `dy` with its spans, `dx` with what it starts from.
struct Streams {
    dy: Vec<Vec<f32>>,
    dy_spans: Vec<Span>,
    dx: Vec<(Span, Vec<f32>)>,
    dx_spans: Vec<Span>,
}

fn draw_streams(case: &mut Case<'_, impl Machine>, streams: usize, accumulate: bool, dy: usize, dx: usize) -> Streams {
    let dy: Vec<Vec<f32>> = (0..streams).map(|_| case.numbers.list(dy)).collect();
    let dy_spans = dy.iter().map(|dy| case.input(dy)).collect();
    let dx: Vec<_> = (0..streams).map(|_| case.gradient(dx, accumulate)).collect();
    let dx_spans = dx.iter().map(|dx| dx.0).collect();
    Streams { dy, dy_spans, dx, dx_spans }
}

/// `start + gradient` in f32, or the gradient alone.
fn added(start: &[f32], gradient: &[f32], accumulate: bool) -> Vec<f32> {
    let one = |(start, gradient): (&f32, &f32)| if accumulate { start + gradient } else { *gradient };
    start.iter().zip(gradient).map(one).collect()
}

pub fn relu_forward<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        bench.case(&format!("{length} numbers"), |case| {
            let x = case.numbers.list(length);
            let expected: Vec<f32> = x.iter().map(|&x| if x > 0.0 { x } else { 0.0 }).collect();
            let (y, x) = (case.output(length), case.input(&x));
            case.run(|backend| backend.run(&ReluForward { y, x }));
            case.same("y", y, &expected);
        });
    }
}

pub fn relu_backward<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        for (streams, accumulate) in STREAMS {
            bench.case(&format!("{length} numbers, {streams} streams, accumulate {accumulate}"), |case| {
                let y: Vec<f32> = case.numbers.list(length).iter().map(|&x| if x > 0.0 { x } else { 0.0 }).collect();
                let y_span = case.input(&y);
                let drawn = draw_streams(case, streams, accumulate, length, length);
                case.run(|backend| {
                    backend.run(&ReluBackward { dx: &drawn.dx_spans, dy: &drawn.dy_spans, y: y_span, accumulate })
                });
                for (dy, (span, start)) in drawn.dy.iter().zip(&drawn.dx) {
                    let dx: Vec<f32> = dy.iter().zip(&y).map(|(&dy, &y)| if y > 0.0 { dy } else { 0.0 }).collect();
                    case.same("dx", *span, &added(start, &dx, accumulate));
                }
            });
        }
    }
}

/// (batch, input, output channels).
const SHORTCUTS: [(usize, Shape, usize); 10] = [
    (1, Shape::new(1, 1, 1), 1),
    (2, Shape::new(7, 5, 1), 4),
    (5, Shape::new(8, 8, 16), 32),
    (2, Shape::new(32, 32, 16), 32),
    (1, Shape::new(5, 6, 3), 6),
    (2, Shape::new(4, 7, 15), 16),
    (5, Shape::new(3, 3, 16), 33),
    (2, Shape::new(17, 16, 17), 17),
    (17, Shape::new(1, 2, 4), 7),
    (3, Shape::new(2, 1, 33), 66),
];

fn each_shortcut<M: Machine>(
    bench: &mut Bench<'_, M>,
    suffix: &str,
    run: impl Fn(&mut Case<'_, M>, usize, Shape, Shape),
) {
    for (batch, input, channels) in SHORTCUTS {
        let output = Shape::new(input.height.div_ceil(2), input.width.div_ceil(2), channels);
        bench.case(&format!("batch {batch}, {input:?} to {output:?}{suffix}"), |case| run(case, batch, input, output));
    }
}

pub fn shortcut_forward<M: Machine>(bench: &mut Bench<'_, M>) {
    each_shortcut(bench, "", |case, batch, input, output| {
        let x = case.numbers.list(batch * input.len());
        let expected = nchw_to_nhwc(&reference::shortcut_forward(&nhwc_to_nchw(&x, input), input, output), output);
        let (y, x) = (case.output(batch * output.len()), case.input(&x));
        case.run(|backend| backend.run(&ShortcutForward { y, x, input, output }));
        case.same("y", y, &expected);
    });
}

pub fn shortcut_backward<M: Machine>(bench: &mut Bench<'_, M>) {
    for (streams, accumulate) in STREAMS {
        each_shortcut(bench, &format!(", {streams} streams, accumulate {accumulate}"), |case, batch, input, output| {
            let drawn = draw_streams(case, streams, accumulate, batch * output.len(), batch * input.len());
            case.run(|backend| {
                backend.run(&ShortcutBackward { dx: &drawn.dx_spans, dy: &drawn.dy_spans, input, output, accumulate })
            });
            for (dy, (span, start)) in drawn.dy.iter().zip(&drawn.dx) {
                let dx = reference::shortcut_backward(&nhwc_to_nchw(dy, output), input, output);
                case.same("dx", *span, &added(start, &nchw_to_nhwc(&dx, input), accumulate));
            }
        });
    }
}

/// (batch, image).
const POOLS: [(usize, Shape); 9] = [
    (1, Shape::new(1, 1, 1)),
    (2, Shape::new(7, 5, 3)),
    (5, Shape::new(8, 8, 64)),
    (1, Shape::new(17, 13, 4)),
    (2, Shape::new(4, 4, 15)),
    (5, Shape::new(4, 4, 16)),
    (2, Shape::new(1, 7, 17)),
    (17, Shape::new(2, 2, 33)),
    (1, Shape::new(16, 16, 32)),
];

pub fn global_average_pool_forward<M: Machine>(bench: &mut Bench<'_, M>) {
    for (batch, input) in POOLS {
        bench.case(&format!("batch {batch}, {input:?}"), |case| {
            let x = case.numbers.list(batch * input.len());
            let expected = pooling::forward(&nhwc_to_nchw(&wide(&x), input), input.height * input.width);
            let (y, x) = (case.output(batch * input.channels), case.input(&x));
            case.run(|backend| backend.run(&GlobalAveragePoolForward { y, x, input }));
            case.close("global_average_pool_forward", "y", y, &expected);
        });
    }
}

pub fn global_average_pool_backward<M: Machine>(bench: &mut Bench<'_, M>) {
    for (batch, input) in POOLS {
        for (streams, accumulate) in STREAMS {
            bench.case(&format!("batch {batch}, {input:?}, {streams} streams, accumulate {accumulate}"), |case| {
                let drawn = draw_streams(case, streams, accumulate, batch * input.channels, batch * input.len());
                let (dx, dy) = (&drawn.dx_spans, &drawn.dy_spans);
                case.run(|backend| backend.run(&GlobalAveragePoolBackward { dx, dy, input, accumulate }));
                for (dy, (span, start)) in drawn.dy.iter().zip(&drawn.dx) {
                    let dx = nchw_to_nhwc(&pooling::backward(&wide(dy), input.height * input.width), input);
                    case.close("global_average_pool_backward", "dx", *span, &sum(start, &dx));
                }
            });
        }
    }
}

/// (batch, image, kernel, stride, padding).
const WINDOWS: [(usize, Shape, usize, usize, usize); 8] = [
    (1, Shape::new(1, 1, 1), 1, 1, 0),
    (2, Shape::new(7, 5, 3), 3, 2, 1),
    (3, Shape::new(8, 8, 64), 3, 2, 1),
    (1, Shape::new(17, 13, 4), 2, 2, 0),
    (2, Shape::new(4, 4, 15), 3, 1, 1),
    (5, Shape::new(9, 4, 17), 2, 3, 1),
    (1, Shape::new(3, 7, 33), 5, 2, 2),
    (2, Shape::new(16, 15, 16), 3, 2, 1),
];

fn each_window<M: Machine>(
    bench: &mut Bench<'_, M>,
    what: &str,
    check: impl Fn(&mut Case<'_, M>, usize, &Pool2d, &[f32]),
) {
    for (batch, input, kernel, stride, padding) in WINDOWS {
        let pool = Pool2d::new(input, kernel, stride, padding).unwrap();
        bench.case(&format!("batch {batch}, {pool:?}{what}"), |case| {
            // Few values, so that windows have several that are the largest.
            let x: Vec<f32> = case.numbers.list(batch * input.len()).iter().map(|x| (x * 2.0).round()).collect();
            check(case, batch, &pool, &x);
        });
    }
}

pub fn max_pool_forward<M: Machine>(bench: &mut Bench<'_, M>) {
    each_window(bench, "", |case, batch, pool, x| {
        let expected =
            narrow(&nchw_to_nhwc(&pooling::max_forward(&nhwc_to_nchw(&wide(x), pool.input), pool), pool.output));
        let (y, x) = (case.output(batch * pool.output.len()), case.input(x));
        case.run(|backend| backend.run(&MaxPoolForward { y, x, pool }));
        case.same("y", y, &expected);
    });
}

pub fn max_pool_backward<M: Machine>(bench: &mut Bench<'_, M>) {
    for (streams, accumulate) in STREAMS {
        each_window(bench, &format!(", {streams} streams, accumulate {accumulate}"), |case, batch, pool, x| {
            let drawn = draw_streams(case, streams, accumulate, batch * pool.output.len(), batch * pool.input.len());
            let (dx, dy, at) = (&drawn.dx_spans, &drawn.dy_spans, case.input(x));
            case.run(|backend| backend.run(&MaxPoolBackward { dx, dy, x: at, pool, accumulate }));
            let x = nhwc_to_nchw(&wide(x), pool.input);
            for (dy, (span, start)) in drawn.dy.iter().zip(&drawn.dx) {
                let dx = pooling::max_backward(&nhwc_to_nchw(&wide(dy), pool.output), &x, pool);
                case.close("max_pool_backward", "dx", *span, &sum(start, &nchw_to_nhwc(&dx, pool.input)));
            }
        });
    }
}

pub fn max_pool_tangent<M: Machine>(bench: &mut Bench<'_, M>) {
    each_window(bench, "", |case, batch, pool, x| {
        let direction = case.numbers.list(x.len());
        let [tangent, wide_x] = [direction.as_slice(), x].map(|values| nhwc_to_nchw(&wide(values), pool.input));
        let expected = narrow(&nchw_to_nhwc(&pooling::max_tangent(&tangent, &wide_x, pool), pool.output));
        let (y, tangent, x) = (case.output(batch * pool.output.len()), case.input(&direction), case.input(x));
        case.run(|backend| backend.run(&MaxPoolTangent { y, tangent, x, pool }));
        case.same("y", y, &expected);
    });
}
