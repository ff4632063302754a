//! The OpenCL backend on every device found: against the CPU core, and against failures.
//!
//! Without a device these tests say so and pass, unless `SSE_SAM_REQUIRE_OPENCL=1`.

mod blocks;
mod faults;
mod lanes;
mod limits;
mod platforms;
mod smallest;
mod step;
mod units;

use sse_sam::opencl::{Convolution, DeviceInfo, Error, OpenCl, Tiling, devices};
use sse_sam_core::machine::backend::OPERATIONS;
use sse_sam_core::ops::{
    Ascend, Axpy, BatchNormBackward, BatchNormForward, BatchNormInference, BatchNormInferenceBackward, Combine,
    Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward, Copy, CrossEntropy, CrossEntropyTangent, Decay, Descend,
    Dots, Fill, Gather, GlobalAveragePoolBackward, GlobalAveragePoolForward, LinearBackwardInput, LinearBackwardWeight,
    LinearForward, ReluBackward, ReluForward, SgdUpdate, ShortcutBackward, ShortcutForward,
};
use sse_sam_core::{Batch, Conv2d, Cpu, Machine as _, Outcome, Row, Run, Samples, Sgd, Shape, Span, Terms};
use sse_sam_tests::conformance::{self, Body, Machine, Memory, Refusal};
use sse_sam_tests::needs::has_opencl;
use sse_sam_tests::random::Numbers;

/// What guards stretches of memory that no operation may touch.
const CANARY: f32 = -77.5;

fn each_device(test: impl Fn(&DeviceInfo)) {
    let found = devices().unwrap();
    has_opencl(found.len());
    for device in &found {
        eprintln!("on {} ({})", device.name, device.platform_name);
        test(device);
    }
}

/// One device, as conformance wants it.
struct Device<'d>(&'d DeviceInfo);

impl Machine for Device<'_> {
    type Error = Error;

    fn name(&self) -> String {
        format!("{} ({})", self.0.name, self.0.platform_name)
    }

    fn alignment(&self) -> usize {
        1
    }

    fn with(&self, memory: &Memory, body: Body<'_, Error>) -> Result<(), Refusal> {
        let Memory { work, constant, samples } = memory;
        let fail = |error: Error| Refusal::Fail(error.to_string());
        let mut machine = OpenCl::new(self.0, work.len(), constant, samples).map_err(fail)?;
        machine.write(Span::work(0, work.len()), work).map_err(fail)?;
        body(&mut machine);
        Ok(())
    }
}

#[test]
fn every_device_agrees_with_the_reference() {
    each_device(|device| conformance::run(&Device(device)).assert_clean());
}

/// Numbers around zero, the same for every run.
fn numbers(seed: u64, length: usize) -> Vec<f32> {
    Numbers::new(seed).list_between(length, -1.0, 1.0)
}

/// Memory that is laid out span by span with canaries between them.
struct Layout {
    work: Vec<f32>,
    gap: usize,
}

impl Layout {
    fn new(gap: usize) -> Self {
        Self { work: vec![CANARY; gap], gap }
    }

    fn put(&mut self, values: &[f32]) -> Span {
        let span = Span::work(self.work.len(), values.len());
        self.work.extend_from_slice(values);
        self.work.extend(std::iter::repeat_n(CANARY, self.gap));
        span
    }

    fn random(&mut self, length: usize) -> Span {
        let values = numbers(self.work.len() as u64 + 1, length);
        self.put(&values)
    }
}

/// Runs an operation on the CPU core and on a device and compares all of their memory.
struct Pair<'d> {
    device: &'d DeviceInfo,
    samples: Vec<u8>,
    tolerance: f32,
}

impl<'d> Pair<'d> {
    fn new(device: &'d DeviceInfo, tolerance: f32) -> Self {
        Self { device, samples: Vec::new(), tolerance }
    }

    /// `run` is given twice since it runs on two types.
    fn check(
        &self,
        what: &str,
        layout: &Layout,
        cpu: impl FnOnce(&mut Cpu<'_>) -> Result<(), sse_sam_core::Error>,
        cl: impl FnOnce(&mut OpenCl) -> Result<(), sse_sam::opencl::Error>,
    ) {
        let mut expected = layout.work.clone();
        cpu(&mut Cpu::new(&mut expected, &[], &self.samples)).unwrap();
        let mut machine = OpenCl::new(self.device, layout.work.len(), &[], &self.samples).unwrap();
        // What is compared number by number has no transforms, whose errors depend on the numbers around.
        machine.set_convolution(Convolution::Direct);
        let all = Span::work(0, layout.work.len());
        machine.write(all, &layout.work).unwrap();
        cl(&mut machine).unwrap();
        let mut found = vec![0.0; layout.work.len()];
        machine.read(&mut found, all).unwrap();
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let same = found == expected || (found.is_nan() && expected.is_nan());
            let close = (found - expected).abs() <= self.tolerance * (1.0 + expected.abs());
            assert!(same || close, "{what} at {index}: {found}, the CPU core has {expected}");
        }
    }
}

/// `both!(pair, what, layout, |machine| machine.run(&ReluForward { y, x }))`
macro_rules! both {
    ($pair:expr, $what:expr, $layout:expr, |$machine:ident| $body:expr) => {
        $pair.check($what, $layout, |$machine| $body, |$machine| $body)
    };
}
pub(crate) use both;

#[test]
fn vectors_equal_the_cpu_core() {
    each_device(|device| {
        for (gap, length) in [(1, 1), (3, 7), (32, 31), (5, 16), (7, 17), (32, 1000), (1, 70_001), (1, 2_200_001)] {
            let mut layout = Layout::new(gap);
            let (a, b, c) = (layout.random(length), layout.random(length), layout.random(length));
            let [norm, failure] = [layout.put(&[1.0]), layout.put(&[0.0])];
            let exact = Pair::new(device, 0.0);
            both!(exact, "fill", &layout, |machine| machine.run(&Fill { to: a, value: 1.5 }));
            both!(exact, "copy", &layout, |machine| machine.run(&Copy { to: a, from: b }));
            both!(exact, "axpy", &layout, |machine| machine.run(&Axpy { y: a, alpha: 0.3, x: b }));
            let rule = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov: false };
            both!(exact, "decay", &layout, |machine| machine.run(&Decay { velocity: a, params: b, sgd: &rule }));
            both!(exact, "relu_forward", &layout, |machine| machine.run(&ReluForward { y: a, x: b }));
            for accumulate in [false, true] {
                both!(exact, "relu_backward", &layout, |machine| machine.run(&ReluBackward {
                    dx: &[a],
                    dy: &[b],
                    y: c,
                    accumulate
                }));
            }
            let close = Pair::new(device, 1e-6);
            let (basis, rows) = (layout.random(3 * length), layout.random(3));
            both!(close, "combine", &layout, |machine| machine.run(&Combine { y: a, coefficients: rows, basis }));
            // The products are as large as the root of the length, and rounded as terms of that many are.
            let products = Pair::new(device, 1e-6 * (length as f32).sqrt());
            both!(products, "dots", &layout, |machine| machine.run(&Dots { to: rows, basis, x: b }));
            both!(close, "ascend", &layout, |machine| machine.run(&Ascend {
                point: a,
                squared_norm: norm,
                params: b,
                radius: 0.7
            }));
            for nesterov in [false, true] {
                let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov };
                let outcome = Outcome { squared_norm: norm, group_squared_norms: [norm; 2], failure, number: 3.0 };
                both!(close, "sgd", &layout, |machine| machine.run(&SgdUpdate {
                    params: a,
                    velocity: b,
                    outcome: &outcome,
                    gradient: c,
                    sgd: &sgd
                }));
                both!(close, "descend", &layout, |machine| machine.run(&Descend {
                    params: a,
                    velocity: c,
                    outcome: &outcome,
                    learning_rate: 0.1
                }));
                layout.work[c.offset + length / 2] = f32::NAN;
                both!(close, "sgd", &layout, |machine| machine.run(&SgdUpdate {
                    params: a,
                    velocity: b,
                    outcome: &outcome,
                    gradient: c,
                    sgd: &sgd
                }));
                both!(close, "descend", &layout, |machine| machine.run(&Descend {
                    params: a,
                    velocity: c,
                    outcome: &outcome,
                    learning_rate: 0.1
                }));
                layout.work[c.offset + length / 2] = 0.5;
            }
        }
    });
}

#[test]
fn gather_equals_the_cpu_core() {
    each_device(|device| {
        let image = Shape::new(5, 7, 3);
        let (count, rows) = (4, 9);
        let mut pair = Pair::new(device, 0.0);
        pair.samples = (0..count * image.len()).map(|index| (index * 37 % 251) as u8).collect();
        let mut layout = Layout::new(3);
        let normalization = layout.put(&[100.0, 90.0, 80.0, 0.01, 0.02, 0.03]);
        let table: Vec<f32> = (0..rows)
            .flat_map(|row| {
                let (top, left) = (row as i8 % 5 - 2, row as i8 % 7 - 3);
                let weights = [row as f32, 0.5];
                let label = [0, 255, 256, 10_000, 32_766][row as usize % 5];
                Row { index: row % 4, label, top, left, flip: row % 2 == 1, weights }.encode()
            })
            .collect();
        let table = layout.put(&table);
        let batch = Batch {
            images: layout.random(rows as usize * image.len()),
            labels: layout.random(rows as usize),
            weights: [layout.random(rows as usize), layout.random(rows as usize)],
        };
        let samples = Samples { images: Span::samples(0, count * image.len()), image, normalization };
        both!(pair, "gather", &layout, |machine| machine.run(&Gather {
            batch: &batch,
            rows: table,
            samples: &samples
        }));
    });
}

#[test]
fn linear_layers_equal_the_cpu_core() {
    each_device(|device| {
        let pair = Pair::new(device, 1e-5);
        for (gap, rows, inputs, outputs) in [
            (1, 1, 1, 1),
            (3, 7, 5, 3),
            (32, 8, 16, 16),
            (5, 17, 64, 100),
            (1, 9, 33, 10),
            (32, 64, 512, 100),
            (1, 2, 3, 1_100),
        ] {
            let mut layout = Layout::new(gap);
            let (y, x) = (layout.random(rows * outputs), layout.random(rows * inputs));
            let (weight, bias) = (layout.random(inputs * outputs), layout.random(outputs));
            let (dx, dweight, dbias) =
                (layout.random(rows * inputs), layout.random(inputs * outputs), layout.random(outputs));
            both!(pair, "linear_forward", &layout, |machine| machine.run(&LinearForward { y, x, weight, bias }));
            for accumulate in [false, true] {
                both!(pair, "linear_backward_input", &layout, |machine| machine.run(&LinearBackwardInput {
                    dx: &[dx],
                    dy: &[y],
                    weight,
                    outputs,
                    accumulate
                }));
            }
            both!(pair, "linear_backward_weight", &layout, |machine| machine.run(&LinearBackwardWeight {
                dweight: &[dweight],
                dbias: &[dbias],
                x,
                dy: &[y]
            }));
        }
    });
}

#[test]
fn convolutions_equal_the_cpu_core() {
    // images, height, width, channels, filters, kernel, stride, padding
    let cases = [
        [1, 1, 1, 1, 1, 1, 1, 0],
        [2, 5, 7, 3, 5, 3, 1, 1],
        [2, 8, 8, 16, 16, 3, 1, 1],
        [1, 32, 32, 16, 16, 3, 1, 1],
        [2, 16, 16, 32, 32, 3, 1, 1],
        [3, 4, 4, 17, 19, 3, 1, 1],
        [1, 17, 17, 3, 16, 3, 1, 1],
        [2, 9, 15, 8, 24, 3, 1, 0],
        [2, 9, 15, 12, 24, 3, 1, 2],
        [2, 32, 32, 16, 32, 3, 2, 1],
        [2, 16, 16, 32, 64, 3, 2, 1],
        [2, 7, 9, 5, 6, 3, 2, 1],
        [2, 8, 7, 6, 33, 3, 2, 0],
        [2, 8, 8, 16, 32, 1, 2, 0],
        [2, 7, 5, 3, 4, 1, 2, 0],
        [1, 6, 6, 4, 4, 1, 1, 0],
        [1, 9, 9, 3, 4, 5, 1, 2],
        [1, 9, 9, 16, 20, 5, 3, 1],
        [2, 3, 3, 2, 2, 3, 1, 1],
    ];
    each_device(|device| {
        let pair = Pair::new(device, 2e-5);
        for case in cases {
            let [images, height, width, channels, filters, kernel, stride, padding] = case;
            let conv = Conv2d::new(Shape::new(height, width, channels), filters, kernel, stride, padding).unwrap();
            let mut layout = Layout::new(1 + channels % 7);
            let (x, dx) = (layout.random(images * conv.input.len()), layout.random(images * conv.input.len()));
            let (y, dy) = (layout.random(images * conv.output.len()), layout.random(images * conv.output.len()));
            let (weight, dweight) = (layout.random(conv.weights()), layout.random(conv.weights()));
            both!(pair, &format!("conv2d_forward {case:?}"), &layout, |machine| machine.run(&Conv2dForward {
                y,
                x,
                weight,
                conv: &conv
            }));
            for accumulate in [false, true] {
                both!(pair, &format!("conv2d_backward_input {case:?}"), &layout, |machine| machine
                    .run(&Conv2dBackwardInput { dx: &[dx], dy: &[dy], weight, conv: &conv, accumulate }));
            }
            both!(pair, &format!("conv2d_backward_weight {case:?}"), &layout, |machine| machine
                .run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[dy], conv: &conv }));
        }
    });
}

#[test]
fn batch_norm_equals_the_cpu_core() {
    each_device(|device| {
        let pair = Pair::new(device, 2e-5);
        for (gap, rows, channels) in [
            (1, 1, 1),
            (3, 2, 5),
            (32, 63, 16),
            (5, 129, 17),
            (1, 10_007, 32),
            (2, 700, 3),
            (32, 4_100, 64),
            (3, 90, 145),
            (1, 2, 1),
            (3, 5_003, 1),
            (1, 1, 145),
            (1, 40, 1_100),
            (5, 6_300, 145),
        ] {
            let mut layout = Layout::new(gap);
            let n = rows * channels;
            let (y, x, residual) = (layout.random(n), layout.random(n), layout.random(n));
            let (dx, dy) = (layout.random(n), layout.random(n));
            let (weight, bias) = (layout.random(channels), layout.random(channels));
            let (dweight, dbias) = (layout.random(channels), layout.random(channels));
            let saved = layout.put(&vec![0.5; 2 * channels]);
            let running = layout.put(&vec![0.7; 2 * channels]);
            for (added, relu, moved) in [(None, false, None), (Some(residual), true, Some(running)), (None, true, None)]
            {
                both!(pair, "batch_norm_forward", &layout, |machine| machine.run(&BatchNormForward {
                    y,
                    saved,
                    running: moved,
                    x,
                    weight,
                    bias,
                    residual: added,
                    relu
                }));
                both!(pair, "batch_norm_inference", &layout, |machine| machine.run(&BatchNormInference {
                    y,
                    x,
                    weight,
                    bias,
                    running,
                    residual: added,
                    relu
                }));
                for accumulate in [false, true] {
                    both!(pair, "batch_norm_inference_backward", &layout, |machine| machine.run(
                        &BatchNormInferenceBackward {
                            dx: &[dx],
                            dweight: &[dweight],
                            dbias: &[dbias],
                            dy: &[dy],
                            y,
                            x,
                            weight,
                            running,
                            relu,
                            accumulate,
                        }
                    ));
                    both!(pair, "batch_norm_backward", &layout, |machine| {
                        machine.run(&BatchNormForward {
                            y,
                            saved,
                            running: moved,
                            x,
                            weight,
                            bias,
                            residual: added,
                            relu,
                        })?;
                        machine.run(&BatchNormBackward {
                            dx: &[dx],
                            dweight: &[dweight],
                            dbias: &[dbias],
                            dy: &[dy],
                            y,
                            x,
                            weight,
                            bias,
                            saved,
                            relu,
                            residual: added.is_some(),
                            accumulate,
                        })?;
                        if added.is_none() { machine.run(&Fill { to: dy, value: 0.0 }) } else { Ok(()) }
                    });
                }
            }
        }
    });
}

#[test]
fn shortcuts_pooling_and_loss_equal_the_cpu_core() {
    each_device(|device| {
        let pair = Pair::new(device, 3e-6);
        for (gap, images, input, filters) in [
            (1, 2, Shape::new(5, 7, 3), 6),
            (3, 3, Shape::new(8, 8, 16), 32),
            (2, 1, Shape::new(1, 1, 1), 2),
            (1, 3, Shape::new(17, 13, 5), 8),
            (5, 2, Shape::new(2, 2, 1_100), 1_101),
        ] {
            let output = Shape::new(input.height.div_ceil(2), input.width.div_ceil(2), filters);
            let mut layout = Layout::new(gap);
            let (x, y) = (layout.random(images * input.len()), layout.random(images * output.len()));
            let pooled = layout.random(images * input.channels);
            both!(pair, "shortcut_forward", &layout, |machine| machine.run(&ShortcutForward { y, x, input, output }));
            both!(pair, "pool_forward", &layout, |machine| machine.run(&GlobalAveragePoolForward {
                y: pooled,
                x,
                input
            }));
            for accumulate in [false, true] {
                both!(pair, "shortcut_backward", &layout, |machine| machine.run(&ShortcutBackward {
                    dx: &[x],
                    dy: &[y],
                    input,
                    output,
                    accumulate
                }));
                both!(pair, "pool_backward", &layout, |machine| machine.run(&GlobalAveragePoolBackward {
                    dx: &[x],
                    dy: &[pooled],
                    input,
                    accumulate
                }));
            }
        }
        for (rows, classes, focal) in
            [(1, 1, 0.0), (7, 10, 0.0), (129, 100, 1.0), (5, 3, 0.5), (3, 2, 0.0), (5, 300, 1.0), (300, 10, 0.0)]
        {
            let mut layout = Layout::new(3);
            let logits = layout.random(rows * classes);
            let labels: Vec<f32> = (0..rows).map(|row| (row * 7 % classes) as f32).collect();
            let labels = layout.put(&labels);
            let weights = [layout.random(rows), layout.random(rows)];
            let scale: Vec<f32> = numbers(5, classes).iter().map(|value| value.abs() + 0.5).collect();
            let terms = Terms {
                scale: layout.put(&scale),
                shift: layout.random(classes),
                margin: layout.random(classes),
                focal,
            };
            let dlogits = [layout.random(rows * classes), layout.random(rows * classes)];
            let losses = [layout.random(1), layout.random(1)];
            both!(pair, "cross_entropy", &layout, |machine| machine.run(&CrossEntropy {
                dlogits: &dlogits,
                losses: &losses,
                logits,
                labels,
                weights: &weights,
                terms
            }));
            both!(pair, "cross_entropy_tangent", &layout, |machine| machine.run(&CrossEntropyTangent {
                dlogits: dlogits[0],
                logits,
                tangent: dlogits[1],
                labels,
                weights: weights[0],
                terms
            }));
        }
    });
}

#[test]
fn every_kernel_is_named_after_an_operation() {
    for kernel in sse_sam::opencl::kernel_names() {
        let names = |operation: &&str| {
            kernel.strip_prefix(*operation).is_some_and(|stage| stage.is_empty() || stage.starts_with('_'))
        };
        assert!(OPERATIONS.iter().any(names), "no operation is called like the kernel {kernel}");
    }
}

/// Every kernel once or twice, for an emulator that is a thousand times slower.
#[test]
fn smallest_shapes() {
    each_device(|device| {
        let mut layout = Layout::new(3);
        let [a, b, c] = [19, 19, 19].map(|length| layout.random(length));
        let (dots, basis) = (layout.random(5), layout.random(5 * 19));
        let [norm, failure] = [layout.put(&[1.0]), layout.put(&[0.0])];
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov: true };
        let outcome = Outcome { squared_norm: norm, group_squared_norms: [norm; 2], failure, number: 3.0 };
        let pair = Pair::new(device, 1e-4);
        both!(pair, "vectors", &layout, |machine| {
            machine.run(&Fill { to: a, value: 1.5 })?;
            machine.run(&Copy { to: b, from: a })?;
            machine.run(&Axpy { y: a, alpha: 0.3, x: c })?;
            machine.run(&Dots { to: dots, basis, x: c })?;
            machine.run(&Combine { y: c, coefficients: dots, basis })?;
            machine.run(&ReluForward { y: b, x: c })?;
            machine.run(&ReluBackward { dx: &[b], dy: &[c], y: a, accumulate: true })?;
            machine.run(&Ascend { point: b, squared_norm: norm, params: a, radius: 0.7 })?;
            machine.run(&SgdUpdate { params: a, velocity: b, outcome: &outcome, gradient: c, sgd: &sgd })?;
            machine.run(&Decay { velocity: b, params: a, sgd: &sgd })?;
            machine.run(&Descend { params: a, velocity: b, outcome: &outcome, learning_rate: 0.1 })
        });
        // Outputs of 16, 8 and 4 pixels a side take wide, middle and narrow tiles of a CPU.
        let tiles = [(3, 1, [16, 8, 4]), (3, 2, [32, 16, 8]), (1, 2, [32, 16, 8])];
        let tiles = tiles
            .iter()
            .filter(|_| device.tiles.is_cpu())
            .flat_map(|(kernel, stride, sides)| sides.map(|side| [1, 2, *kernel, *stride, side]));
        let others = [[17, 18, 3, 1, 5], [2, 3, 3, 2, 5], [3, 17, 1, 2, 4], [2, 2, 2, 1, 3]];
        for [channels, filters, kernel, stride, side] in tiles.chain(others) {
            let conv = Conv2d::new(Shape::new(side, side, channels), filters, kernel, stride, kernel / 2).unwrap();
            let mut layout = Layout::new(1);
            let (x, dx) = (layout.random(2 * conv.input.len()), layout.random(2 * conv.input.len()));
            let (y, dy) = (layout.random(2 * conv.output.len()), layout.random(2 * conv.output.len()));
            let (weight, dweight) = (layout.random(conv.weights()), layout.random(conv.weights()));
            both!(pair, "convolution", &layout, |machine| {
                machine.run(&Conv2dForward { y, x, weight, conv: &conv })?;
                machine.run(&Conv2dBackwardInput { dx: &[dx], dy: &[dy], weight, conv: &conv, accumulate: true })?;
                machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[dy], conv: &conv })
            });
        }
        blocks::smallest(device);
        smallest::small_layers(device);
        smallest::small_batch_norm(device);
        smallest::small_winograd(device).unwrap();
        let machine = OpenCl::new(device, 1, &[], &[]).unwrap();
        assert_eq!(machine.kernels_never_launched(), Vec::<&str>::new());
    });
}
