//! Convolutions in Winograd's form on every OpenCL device: against the reference, and beside the direct form.

use sse_sam::opencl::convolution::pick;
use sse_sam::opencl::{self, Block, ConvProblem, Convolution, DeviceInfo, Error, OpenCl, Selection, Tiling, devices};
use sse_sam_core::ops::{
    BatchNormForward, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dBatchNormForward, Conv2dForward,
};
use sse_sam_core::{Conv2d, Machine as _, Run, Shape, Span};
use sse_sam_tests::conformance::{self, Body, Machine, Memory, Refusal};
use sse_sam_tests::needs::{has_opencl, skip};
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::layout::{hwio_to_oihw, nchw_to_nhwc, nhwc_to_nchw, oihw_to_hwio};
use sse_sam_tests::reference::{conv2d as reference, relative_error, wide};

/// Largest error of an operation, relative to all of its result; and relative to the direct form's error, where that
/// is an error of long sums.
const BOUND: f64 = 1e-5;
const RATIO: f64 = 10.0;

fn each_device(test: impl Fn(&DeviceInfo)) {
    let found = devices().unwrap();
    has_opencl(found.len());
    for device in &found {
        eprintln!("on {} ({})", device.name, device.platform_name);
        test(device);
    }
}

/// A device with one form of convolutions.
struct Form<'d>(&'d DeviceInfo, Convolution);

impl Machine for Form<'_> {
    type Error = Error;

    fn name(&self) -> String {
        format!("{} ({:?})", self.0.name, self.1)
    }

    fn alignment(&self) -> usize {
        1
    }

    fn with(&self, memory: &Memory, body: Body<'_, Error>) -> Result<(), Refusal> {
        let machine = OpenCl::new(self.0, memory.work.len(), &memory.constant, &memory.samples);
        let mut machine = machine.map_err(|error| Refusal::Fail(error.to_string()))?;
        machine.set_convolution(self.1);
        let all = Span::work(0, memory.work.len());
        machine.write(all, &memory.work).map_err(|error| Refusal::Fail(error.to_string()))?;
        body(&mut machine);
        Ok(())
    }
}

#[test]
fn every_form_agrees_with_the_definition() {
    each_device(|device| {
        for form in [Convolution::Direct, Convolution::Winograd, Convolution::Auto] {
            let checks =
                ["conv2d_forward", "conv2d_backward_input", "conv2d_backward_weight", "conv2d_batch_norm_forward"];
            for check in checks {
                conformance::run_one(&Form(device, form), check).assert_clean();
            }
        }
    });
}

#[test]
fn promises_hold_in_winograds_form() {
    each_device(|device| {
        for claim in conformance::CLAIMS {
            conformance::run_one(&Form(device, Convolution::Winograd), claim).assert_clean();
        }
    });
}

/// What the three operations give in one form: y, dx added to x, and two weight gradients added to the weights.
fn outcome(device: &DeviceInfo, form: Convolution, conv: &Conv2d, images: usize, data: &Data) -> [Vec<f32>; 4] {
    outcome_with(device, |machine| machine.set_convolution(form), conv, images, data)
}

/// As [`outcome`] with forms that are set by `set`.
fn outcome_with(
    device: &DeviceInfo,
    set: impl FnOnce(&mut OpenCl),
    conv: &Conv2d,
    images: usize,
    data: &Data,
) -> [Vec<f32>; 4] {
    let lengths =
        [images * conv.input.len(), images * conv.output.len(), conv.weights()].map(|n| n.next_multiple_of(32));
    let mut end = 0;
    let mut span = |length: usize| {
        end += length.next_multiple_of(32);
        Span::work(end - length.next_multiple_of(32), length)
    };
    let [x, dx] = [data.x.len(); 2].map(&mut span);
    let [y, dy, dy_second] = [data.dy.len(); 3].map(&mut span);
    let [weight, first, second] = [data.weight.len(); 3].map(&mut span);
    let mut machine = OpenCl::new(device, lengths.iter().sum::<usize>() * 3, &[], &[]).unwrap();
    set(&mut machine);
    machine.reserve_convolution(conv, images).unwrap();
    for (span, values) in [(x, &data.x), (dx, &data.x), (dy, &data.dy), (weight, &data.weight)] {
        machine.write(span, values).unwrap();
    }
    for (span, values) in [(first, &data.weight), (second, &data.weight)] {
        machine.write(span, values).unwrap();
    }
    let turned: Vec<f32> = data.dy.iter().rev().copied().collect();
    machine.write(dy_second, &turned).unwrap();
    machine.run(&Conv2dForward { y, x, weight, conv }).unwrap();
    machine.run(&Conv2dBackwardInput { dx: &[dx], dy: &[dy], weight, conv, accumulate: true }).unwrap();
    machine.run(&Conv2dBackwardWeight { dweight: &[first, second], x, dy: &[dy, dy_second], conv }).unwrap();
    [y, dx, first, second].map(|span| {
        let mut values = vec![0.0; span.length];
        machine.read(&mut values, span).unwrap();
        values
    })
}

struct Data {
    x: Vec<f32>,
    dy: Vec<f32>,
    weight: Vec<f32>,
}

impl Data {
    fn new(conv: &Conv2d, images: usize) -> Self {
        let mut numbers = Numbers::named(&format!("{images} of {conv:?}"));
        let mut list = |length| numbers.list(length);
        Self { x: list(images * conv.input.len()), dy: list(images * conv.output.len()), weight: list(conv.weights()) }
    }

    /// What [`outcome`] should be.
    fn expected(&self, conv: &Conv2d) -> [Vec<f64>; 4] {
        let (channels, filters) = (conv.input.channels, conv.output.channels);
        let turned: Vec<f32> = self.dy.iter().rev().copied().collect();
        let x = nhwc_to_nchw(&wide(&self.x), conv.input);
        let [dy, dy_second] = [&self.dy, &turned].map(|dy| nhwc_to_nchw(&wide(dy), conv.output));
        let weight = hwio_to_oihw(&wide(&self.weight), 3, channels, filters);
        let sum = |a: &[f32], b: Vec<f64>| a.iter().zip(b).map(|(a, b)| f64::from(*a) + b).collect();
        let dweight = |dy| oihw_to_hwio(&reference::backward_weight(&x, dy, conv), 3, channels, filters);
        [
            nchw_to_nhwc(&reference::forward(&x, &weight, conv), conv.output),
            sum(&self.x, nchw_to_nhwc(&reference::backward_input(&dy, &weight, conv), conv.input)),
            sum(&self.weight, dweight(&dy)),
            sum(&self.weight, dweight(&dy_second)),
        ]
    }
}

/// Compares both forms with the reference; a case is images, height, width, channels, filters.
fn keeps_the_digits(cases: &[[usize; 5]]) {
    each_device(|device| {
        for case @ &[images, height, width, channels, filters] in cases {
            let conv = Conv2d::new(Shape::new(height, width, channels), filters, 3, 1, 1).unwrap();
            let data = Data::new(&conv, images);
            let expected = data.expected(&conv);
            let errors = |form| {
                let found = outcome(device, form, &conv, images, &data);
                [0, 1, 2, 3].map(|index| relative_error(&wide(&found[index]), &expected[index]))
            };
            let [direct, tiled] = [errors(Convolution::Direct), errors(Convolution::Winograd)];
            let shown = |errors: [f64; 4]| errors.map(|error| error * 1e7);
            eprintln!("{case:?}: {:.1?} e-7, direct {:.1?} e-7", shown(tiled), shown(direct));
            for (direct, tiled) in direct.into_iter().zip(tiled) {
                // Below 1e-6 an error is that of a few roundings, and the ratio says nothing.
                assert!(
                    tiled <= BOUND && tiled <= (RATIO * direct).max(1e-6),
                    "{case:?}: {tiled:e}, direct {direct:e}"
                );
            }
        }
    });
}

#[test]
fn winograds_form_keeps_the_digits() {
    // Odd sizes, then the layers of ResNet-32 and ResNet-34 with few images.
    keeps_the_digits(&[
        [1, 1, 1, 16, 16],
        [3, 7, 9, 16, 48],
        [7, 5, 3, 80, 64],
        [5, 6, 2, 48, 96],
        [2, 13, 18, 32, 16],
        [9, 32, 32, 16, 16],
        [9, 16, 16, 32, 32],
        [33, 8, 8, 64, 64],
        [2, 32, 32, 64, 64],
        [3, 16, 16, 128, 128],
        [5, 8, 8, 256, 256],
        [3, 4, 4, 512, 512],
    ]);
}

#[test]
fn winograds_form_keeps_the_digits_of_whole_batches() {
    if std::env::var_os("SSE_SAM_SLOW_TESTS").is_none() {
        return skip("takes minutes; SSE_SAM_SLOW_TESTS=1 runs it");
    }
    keeps_the_digits(&[
        [128, 32, 32, 16, 16],
        [128, 16, 16, 32, 32],
        [128, 8, 8, 64, 64],
        [64, 32, 32, 64, 64],
        [64, 16, 16, 128, 128],
        [64, 8, 8, 256, 256],
        [64, 4, 4, 512, 512],
    ]);
}

#[test]
fn winograds_form_gives_the_same_bits_every_time() {
    each_device(|device| {
        for [images, side, channels] in [[37, 16, 32], [9, 4, 128]] {
            let conv = Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1).unwrap();
            let data = Data::new(&conv, images);
            let bits = || {
                outcome(device, Convolution::Winograd, &conv, images, &data)
                    .map(|list| list.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            let first = bits();
            for _ in 0..3 {
                assert!(bits() == first, "{images} images, {channels} channels");
            }
        }
    });
}

/// A convolution of numbers around 100 onto `y`, `[rows][16]`, then `between`, then batch norm of `y`: what lies in `y`, and
/// what batch norm saved.
fn normalized(device: &DeviceInfo, (images, height, width): (usize, usize, usize)) -> (Vec<f32>, [f32; 32]) {
    let conv = Conv2d::new(Shape::new(height, width, 16), 16, 3, 1, 1).unwrap();
    let n = images * conv.input.len();
    let [x, y, z] = [0, 1, 2].map(|index| Span::work(index * n.next_multiple_of(32), n));
    let end = 3 * n.next_multiple_of(32);
    let weight = Span::work(end, conv.weights());
    let [scale, shift, saved] = [0, 1, 2].map(|index| Span::work(end + weight.length + 32 * index, 16));
    let saved = Span::work(saved.offset, 32);
    let mut machine = OpenCl::new(device, saved.offset + 32, &[], &[]).unwrap();
    machine.set_convolution(Convolution::Winograd);
    machine.reserve_convolution(&conv, images).unwrap();
    let mut numbers = Numbers::new(11);
    let around: Vec<f32> = numbers.list(n).iter().map(|value| 100.0 + value).collect();
    machine.write(x, &around).unwrap();
    // Only the middle of each kernel, so that the borders of a picture lie as far from zero as the rest.
    let middle = 4 * 256..5 * 256;
    let weights: Vec<f32> = (0..conv.weights()).map(|at| if middle.contains(&at) { 1.0 } else { 0.0 }).collect();
    machine.write(weight, &weights).unwrap();
    let convolution = Conv2dForward { y, x, weight, conv: &conv };
    let (bias, running, residual, relu) = (shift, None, None, true);
    let norm = BatchNormForward { y: z, saved, running, x: y, weight: scale, bias, residual, relu };
    machine.run(&Conv2dBatchNormForward { convolution, norm }).unwrap();
    let (mut values, mut found) = (vec![0.0; n], [0.0; 32]);
    machine.read(&mut values, y).unwrap();
    machine.read(&mut found, saved).unwrap();
    (values, found)
}

/// The mean and `1 / sqrt(var + 1e-5)` of each of 16 channels.
fn statistics(values: &[f32]) -> [f64; 32] {
    let rows = (values.len() / 16) as f64;
    std::array::from_fn(|index| {
        let column = || values.iter().skip(index % 16).step_by(16).map(|value| f64::from(*value));
        let mean = column().sum::<f64>() / rows;
        let variance = column().map(|value| (value - mean) * (value - mean)).sum::<f64>() / rows;
        if index < 16 { mean } else { 1.0 / (variance + 1e-5).sqrt() }
    })
}

fn assert_statistics(what: &str, values: &[f32], found: &[f32; 32]) {
    for (index, (found, expected)) in found.iter().zip(statistics(values)).enumerate() {
        let error = (f64::from(*found) - expected).abs() / expected.abs();
        assert!(error < 1e-5, "{what}: statistic {index} is {found}, not {expected}");
    }
}

#[test]
fn statistics_left_by_a_convolution_are_those_of_its_output() {
    each_device(|device| {
        for size in [(1, 1, 2), (1, 4, 4), (3, 5, 7), (70, 8, 8), (2, 31, 33)] {
            // A mean some hundred times the deviation: a difference of squares would lose five digits.
            let (values, found) = normalized(device, size);
            assert_statistics(&format!("{size:?}"), &values, &found);
        }
    });
}

/// Two forms of a convolution that round differently: sums of 16 products at a time, and of 8 in parts of other lengths.
fn two_forms(device: &DeviceInfo) -> [opencl::Algorithm; 2] {
    match device.tiles {
        Tiling::Gpu => [Block::B64x32, Block::B128x128].map(opencl::Algorithm::Block),
        _ => [opencl::Algorithm::Direct, opencl::Algorithm::Winograd],
    }
}

#[test]
fn every_operation_takes_the_form_that_was_chosen_for_it() {
    each_device(|device| {
        let (images, side, channels) = (5, 8, 32);
        let conv = Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1).unwrap();
        if pick::problems(device, images, [conv].into_iter()).is_empty() {
            return eprintln!("this device has one form only");
        }
        let data = Data::new(&conv, images);
        let found = |forms: opencl::Algorithms| {
            let table = [(ConvProblem::new(&conv, images), forms)].into_iter().collect();
            let set = |machine: &mut OpenCl| {
                machine.set_selection(Selection::new(images, table));
                assert_eq!(machine.algorithms(&conv, images), forms);
            };
            outcome_with(device, set, &conv, images, &data)
        };
        let two = two_forms(device);
        let whole = two.map(|form| found([form; 3]));
        assert!((0..4).all(|index| whole[0][index] != whole[1][index]), "the forms round differently");
        for number in 0..8 {
            let which = [0, 1, 2].map(|bit| number >> bit & 1);
            let found = found(which.map(|which| two[which]));
            for (index, operation) in [0, 1, 2, 2].into_iter().enumerate() {
                assert!(found[index] == whole[which[operation]][index], "{which:?}: result {index}");
            }
        }
    });
}

#[test]
fn all_forms_of_every_operation_can_be_timed() {
    each_device(|device| {
        let conv = Conv2d::new(Shape::new(8, 8, 16), 16, 3, 1, 1).unwrap();
        if pick::problems(device, 4, [conv].into_iter()).is_empty() {
            return eprintln!("this device has one form only");
        }
        // Which is faster here cannot be said; what can is that all run in every form.
        let measured = opencl::tuning::trial::measure(device, &conv, 4).unwrap();
        assert_eq!(measured.skipped, []);
        assert!(measured.fastest.iter().all(|found| found.gain >= 1.0 && found.gain.is_finite()), "{measured:?}");
    });
}
