//! Batch normalisation with residual and ReLU.

use sse_sam_core::ops::{
    BatchNormBackward, BatchNormForward, BatchNormInference, BatchNormInferenceBackward, Conv2dBatchNormForward,
    Conv2dForward,
};
use sse_sam_core::{Conv2d, Shape, Span};

use super::linear::sum;
use super::{Bench, Case, Machine};
use crate::reference::layout::{nchw_to_nhwc, nhwc_to_nchw};
use crate::reference::{batch_norm as reference, narrow, vectors, wide};

/// (batch, height, width, channels).
const SIZES: [(usize, usize, usize, usize); 15] = [
    (1, 1, 1, 3),
    (2, 1, 1, 1),
    (5, 1, 1, 17),
    (1, 7, 5, 1),
    (2, 7, 5, 3),
    (5, 4, 4, 4),
    (1, 8, 8, 15),
    (2, 8, 8, 16),
    (5, 17, 13, 17),
    (3, 16, 16, 32),
    (2, 5, 5, 33),
    (16, 2, 2, 64),
    (17, 1, 3, 16),
    (1, 31, 33, 4),
    (7, 1, 1, 100),
];

/// What one case of batch norm is about.
#[derive(Clone, Copy)]
pub struct Setting {
    batch: usize,
    image: Shape,
    relu: bool,
    residual: bool,
}

impl Setting {
    fn pixels(&self) -> usize {
        self.image.height * self.image.width
    }

    fn len(&self) -> usize {
        self.batch * self.image.len()
    }

    fn nchw(&self, values: &[f32]) -> Vec<f64> {
        nhwc_to_nchw(&wide(values), self.image)
    }

    fn nhwc(&self, values: &[f64]) -> Vec<f64> {
        nchw_to_nhwc(values, self.image)
    }
}

fn each_size<M: Machine>(bench: &mut Bench<'_, M>, suffix: &str, run: impl Fn(&mut Case<'_, M>, Setting)) {
    for (batch, height, width, channels) in SIZES {
        for (relu, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            let sizes = format!("batch {batch}, {height} x {width} x {channels}, relu {relu}, residual {residual}");
            let image = Shape::new(height, width, channels);
            bench.case(&format!("{sizes}{suffix}"), |case| run(case, Setting { batch, image, relu, residual }));
        }
    }
}

/// Numbers whose mean and deviation differ from channel to channel.
fn draw_input(case: &mut Case<'_, impl Machine>, setting: &Setting) -> Vec<f32> {
    let channels = setting.image.channels;
    let (means, sizes) = (case.numbers.list(channels), case.numbers.list_between(channels, 0.3, 2.0));
    (0..setting.len()).map(|at| means[at % channels] + sizes[at % channels] * case.numbers.number()).collect()
}

/// Running mean and (positive) variance, `[2][channels]`.
fn draw_running(case: &mut Case<'_, impl Machine>, channels: usize) -> Vec<f32> {
    let mut running = case.numbers.list(channels);
    running.extend(case.numbers.list_between(channels, 0.2, 3.0));
    running
}

pub fn forward<M: Machine>(bench: &mut Bench<'_, M>) {
    for keep in [false, true] {
        each_size(bench, if keep { ", running statistics kept" } else { "" }, |case, setting| {
            let x = draw_input(case, &setting);
            forward_case(case, setting, x, keep, "batch_norm_forward");
        });
    }
}

/// `keep` leaves out the running statistics and puts the weights into constant memory.
fn forward_case(case: &mut Case<'_, impl Machine>, setting: Setting, x: Vec<f32>, keep: bool, tolerance: &str) {
    let channels = setting.image.channels;
    let (w, b, r) = (case.numbers.list(channels), case.numbers.list(channels), case.numbers.list(x.len()));
    let running = draw_running(case, channels);
    let (running_mean, running_var) = running.split_at(channels);
    let residual = setting.residual.then(|| setting.nchw(&r));
    let expected = reference::forward(
        &setting.nchw(&x),
        &wide(&w),
        &wide(&b),
        (&wide(running_mean), &wide(running_var)),
        residual.as_deref(),
        setting.relu,
        setting.pixels(),
    );

    // What is added to the normalised values may cancel them, but not their errors.
    let mut terms = setting.nchw(&x);
    for (at, term) in terms.iter_mut().enumerate() {
        let c = at / setting.pixels() % channels;
        *term = (*term - expected.mean[c]) * expected.inv_std[c] * f64::from(w[c]);
    }
    let scale = vectors::squared_norm(&terms).sqrt();

    let (y, saved) = (case.output(x.len()), case.output(2 * channels));
    let running = (!keep).then(|| case.in_out(&running));
    let x = case.input(&x);
    let [weight, bias] = [&w, &b].map(|values| if keep { case.constant(values) } else { case.input(values) });
    let residual = setting.residual.then(|| case.input(&r));
    let relu = setting.relu;
    case.run(|backend| backend.run(&BatchNormForward { y, saved, running, x, weight, bias, residual, relu }));

    case.close_to_scale(tolerance, "y", y, &setting.nhwc(&expected.y), scale);
    let part = |span: Span, at: usize| span.part(at * channels, channels).expect("two halves");
    case.close("batch_norm_saved", "saved mean", part(saved, 0), &expected.mean);
    case.close("batch_norm_saved", "saved inverse deviation", part(saved, 1), &expected.inv_std);
    if let Some(running) = running {
        case.close("batch_norm_running", "running mean", part(running, 0), &expected.running_mean);
        case.close("batch_norm_running", "running variance", part(running, 1), &expected.running_var);
    }
}

/// Values around 30 with a deviation near 1: a variance as the difference of two squares would lose its digits.
pub fn far_from_zero<M: Machine>(bench: &mut Bench<'_, M>) {
    each_size(bench, "", |case, setting| {
        let x: Vec<f32> = case.numbers.list(setting.len()).iter().map(|value| value + 30.0).collect();
        // Two values a channel can lie so close together that nothing is left of the digits.
        if setting.batch * setting.pixels() > 2 {
            forward_case(case, setting, x, false, "batch_norm_far");
        }
    });
}

pub fn inference<M: Machine>(bench: &mut Bench<'_, M>) {
    for constant in [false, true] {
        each_size(bench, &format!(", weights in constant memory: {constant}"), |case, setting| {
            let channels = setting.image.channels;
            let x = draw_input(case, &setting);
            let (w, b, r) = (case.numbers.list(channels), case.numbers.list(channels), case.numbers.list(x.len()));
            let running = draw_running(case, channels);
            let (mean, var) = running.split_at(channels);
            let residual = setting.residual.then(|| setting.nchw(&r));
            let expected = reference::inference(
                &setting.nchw(&x),
                &wide(&w),
                &wide(&b),
                (&wide(mean), &wide(var)),
                residual.as_deref(),
                setting.relu,
                setting.pixels(),
            );
            let (y, x) = (case.output(x.len()), case.input(&x));
            let [weight, bias, running] =
                [&w, &b, &running].map(|values| if constant { case.constant(values) } else { case.input(values) });
            let residual = setting.residual.then(|| case.input(&r));
            case.run(|backend| {
                backend.run(&BatchNormInference { y, x, weight, bias, running, residual, relu: setting.relu })
            });
            case.close("batch_norm_inference", "y", y, &setting.nhwc(&expected));
        });
    }
}

pub fn backward<M: Machine>(bench: &mut Bench<'_, M>) {
    for (streams, accumulate) in [(1, false), (1, true), (2, false), (2, true)] {
        each_size(bench, &format!(", {streams} streams, accumulate {accumulate}"), |case, setting| {
            backward_case(case, setting, streams, accumulate);
        });
    }
}

fn backward_case(case: &mut Case<'_, impl Machine>, setting: Setting, streams: usize, accumulate: bool) {
    let channels = setting.image.channels;
    let x = draw_input(case, &setting);
    let (w, b, r) = (case.numbers.list(channels), case.numbers.list(channels), case.numbers.list(x.len()));
    let residual = setting.residual.then(|| setting.nchw(&r));
    let (x_nchw, w_wide) = (setting.nchw(&x), wide(&w));
    let still = (vec![0.0; channels], vec![1.0; channels]);
    let running = (still.0.as_slice(), still.1.as_slice());
    let (relu, pixels) = (setting.relu, setting.pixels());
    let forward = reference::forward(&x_nchw, &w_wide, &wide(&b), running, residual.as_deref(), relu, pixels);
    // The rounded output decides what the ReLU lets through, here and in the reference: no kink to keep clear of.
    let y = narrow(&setting.nhwc(&forward.y));
    let saved = narrow(&[forward.mean, forward.inv_std].concat());
    let saved_wide = wide(&saved);
    let (mean, inv_std) = saved_wide.split_at(channels);

    let dx: Vec<_> = (0..streams).map(|_| case.gradient(x.len(), accumulate)).collect();
    let dw: Vec<_> = (0..streams).map(|_| case.gradient(channels, true)).collect();
    let db: Vec<_> = (0..streams).map(|_| case.gradient(channels, true)).collect();
    let dy: Vec<Vec<f32>> = (0..streams).map(|_| case.numbers.list(x.len())).collect();
    let dy_spans: Vec<Span> = dy.iter().map(|dy| case.in_out(dy)).collect();
    let spans = |list: &[(Span, Vec<f32>)]| list.iter().map(|item| item.0).collect::<Vec<Span>>();
    let [dx_spans, dw_spans, db_spans] = [spans(&dx), spans(&dw), spans(&db)];
    let (y_span, x_span, saved) = (case.input(&y), case.input(&x), case.input(&saved));
    let (weight, bias) = (case.input(&w), case.input(&b));
    let with_residual = setting.residual;
    case.run(|backend| {
        let (dx, dw, db, dy) = (&dx_spans, &dw_spans, &db_spans, &dy_spans);
        backend.run(&BatchNormBackward {
            dx,
            dweight: dw,
            dbias: db,
            dy,
            y: y_span,
            x: x_span,
            weight,
            bias,
            saved,
            relu,
            residual: with_residual,
            accumulate,
        })
    });

    for stream in 0..streams {
        let (dy, y) = (setting.nchw(&dy[stream]), setting.nchw(&y));
        let gradients = reference::backward_from(&dy, &y, &x_nchw, &w_wide, (mean, inv_std), relu, pixels);
        // Sums may cancel what they add, but not its errors: dx is nothing but rounding where a channel has one or two
        // values.
        let norm = |term: &dyn Fn(usize, usize) -> f64| {
            let terms = (0..x.len()).map(|at| term(at, at / pixels % channels) * gradients.dresidual[at]);
            vectors::squared_norm(&terms.collect::<Vec<f64>>()).sqrt()
        };
        let dx_expected = sum(&dx[stream].1, &setting.nhwc(&gradients.dx));
        let scale = norm(&|_, c| w_wide[c] * inv_std[c]);
        case.close_to_scale("batch_norm_backward", "dx", dx[stream].0, &dx_expected, scale);
        let dw_expected = sum(&dw[stream].1, &gradients.dw);
        let scale = norm(&|at, c| (x_nchw[at] - mean[c]) * inv_std[c]);
        case.close_to_scale("batch_norm_weight", "dweight", dw[stream].0, &dw_expected, scale);
        let db_expected = sum(&db[stream].1, &gradients.db);
        case.close_to_scale("batch_norm_weight", "dbias", db[stream].0, &db_expected, norm(&|_, _| 1.0));
        if with_residual {
            let masked = narrow(&setting.nhwc(&gradients.dresidual));
            case.same("masked dy", dy_spans[stream], &masked);
        }
    }
}

pub fn inference_backward<M: Machine>(bench: &mut Bench<'_, M>) {
    for (streams, accumulate) in [(1, false), (1, true), (2, false), (2, true)] {
        each_size(bench, &format!(", {streams} streams, accumulate {accumulate}"), |case, setting| {
            inference_backward_case(case, setting, streams, accumulate);
        });
    }
}

fn inference_backward_case(case: &mut Case<'_, impl Machine>, setting: Setting, streams: usize, accumulate: bool) {
    let (channels, relu, pixels) = (setting.image.channels, setting.relu, setting.pixels());
    let x = draw_input(case, &setting);
    // Any output will do: its signs alone matter.
    let (w, y) = (case.numbers.list(channels), case.numbers.list(x.len()));
    let running = draw_running(case, channels);
    let dx: Vec<_> = (0..streams).map(|_| case.gradient(x.len(), accumulate)).collect();
    let dw: Vec<_> = (0..streams).map(|_| case.gradient(channels, true)).collect();
    let db: Vec<_> = (0..streams).map(|_| case.gradient(channels, true)).collect();
    let dy: Vec<Vec<f32>> = (0..streams).map(|_| case.numbers.list(x.len())).collect();
    let dy_spans: Vec<Span> = dy.iter().map(|dy| case.in_out(dy)).collect();
    let spans = |list: &[(Span, Vec<f32>)]| list.iter().map(|item| item.0).collect::<Vec<Span>>();
    let [dx_spans, dw_spans, db_spans] = [spans(&dx), spans(&dw), spans(&db)];
    let (y_span, x_span) = (case.input(&y), case.input(&x));
    let [weight, running_span] =
        [&w, &running].map(|values| if setting.residual { case.constant(values) } else { case.input(values) });
    case.run(|backend| {
        backend.run(&BatchNormInferenceBackward {
            dx: &dx_spans,
            dweight: &dw_spans,
            dbias: &db_spans,
            dy: &dy_spans,
            y: y_span,
            x: x_span,
            weight,
            running: running_span,
            relu,
            accumulate,
        })
    });
    let (y, x, w, running) = (setting.nchw(&y), setting.nchw(&x), wide(&w), wide(&running));
    let (mean, variance) = running.split_at(channels);
    for stream in 0..streams {
        let dy = setting.nchw(&dy[stream]);
        let gradients = reference::inference_backward(&dy, &y, &x, &w, (mean, variance), relu, pixels);
        let norm = |term: &dyn Fn(usize, usize) -> f64| {
            let terms = (0..x.len()).map(|at| term(at, at / pixels % channels) * gradients.dresidual[at]);
            vectors::squared_norm(&terms.collect::<Vec<f64>>()).sqrt()
        };
        let expected = sum(&dx[stream].1, &setting.nhwc(&gradients.dx));
        case.close("batch_norm_inference", "dx", dx[stream].0, &expected);
        let expected = sum(&dw[stream].1, &gradients.dw);
        let scale = norm(&|at, c| (x[at] - mean[c]) / (variance[c] + reference::EPSILON).sqrt());
        case.close_to_scale("batch_norm_weight", "dweight", dw[stream].0, &expected, scale);
        let expected = sum(&db[stream].1, &gradients.db);
        case.close_to_scale("batch_norm_weight", "dbias", db[stream].0, &expected, norm(&|_, _| 1.0));
        case.same("masked dy", dy_spans[stream], &narrow(&setting.nhwc(&gradients.dresidual)));
    }
}

/// A convolution whose output is normalised at once: the norm is compared with that of the numbers that the convolution left.
pub fn of_a_convolution<M: Machine>(bench: &mut Bench<'_, M>) {
    let kernels = [(3, 1, 1), (3, 2, 1), (1, 2, 0)];
    let sizes = [
        (1, 1, 1, 3, 4),
        (2, 5, 7, 16, 16),
        (3, 8, 8, 16, 32),
        (5, 9, 4, 4, 20),
        (17, 4, 4, 32, 64),
        (2, 17, 19, 3, 17),
    ];
    for ((batch, height, width, channels, filters), (kernel, stride, padding)) in
        sizes.into_iter().flat_map(|size| kernels.map(|kernel| (size, kernel)))
    {
        let conv = Conv2d::new(Shape::new(height, width, channels), filters, kernel, stride, padding);
        let conv = conv.expect("the kernel fits");
        for (running, residual) in [(true, false), (false, true)] {
            let what = format!("batch {batch}, {conv:?}, running {running}, residual {residual}");
            bench.case(&what, |case| convolution_case(case, batch, &conv, running, residual));
        }
    }
}

fn convolution_case(case: &mut Case<'_, impl Machine>, batch: usize, conv: &Conv2d, moves: bool, residual: bool) {
    let channels = conv.output.channels;
    let setting = Setting { batch, image: conv.output, relu: moves, residual };
    // Means of many deviations: a variance as the difference of two squares would lose its digits.
    let x: Vec<f32> = case.numbers.list(batch * conv.input.len()).iter().map(|value| 3.0 + value).collect();
    let w = case.numbers.list_between(conv.weights(), 0.2, 1.0);
    let [scale, b, r] = [channels, channels, setting.len()].map(|length| case.numbers.list(length));
    let start = draw_running(case, channels);
    let (y, z, saved) = (case.output(setting.len()), case.output(setting.len()), case.output(2 * channels));
    let running = moves.then(|| case.in_out(&start));
    let [x, w, weight, bias] = [&x, &w, &scale, &b].map(|values| case.input(values));
    let added = residual.then(|| case.input(&r));
    let convolution = Conv2dForward { y, x, weight: w, conv };
    let norm = BatchNormForward { y: z, saved, running, x: y, weight, bias, residual: added, relu: setting.relu };
    case.run(|backend| backend.run(&Conv2dBatchNormForward { convolution, norm }));

    let convolved = case.get(y);
    let (mean, variance) = start.split_at(channels);
    let (mean, variance) = (wide(mean), wide(variance));
    let residual = residual.then(|| setting.nchw(&r));
    let expected = reference::forward(
        &setting.nchw(&convolved),
        &wide(&scale),
        &wide(&b),
        (&mean, &variance),
        residual.as_deref(),
        setting.relu,
        setting.pixels(),
    );
    let part = |span: Span, at: usize| span.part(at * channels, channels).expect("two halves");
    case.close("batch_norm_saved", "saved mean", part(saved, 0), &expected.mean);
    case.close("batch_norm_saved", "saved inverse deviation", part(saved, 1), &expected.inv_std);
    case.close("batch_norm_far", "z", z, &setting.nhwc(&expected.y));
    if let Some(running) = running {
        case.close("batch_norm_running", "running mean", part(running, 0), &expected.running_mean);
        case.close("batch_norm_running", "running variance", part(running, 1), &expected.running_var);
    }
}
