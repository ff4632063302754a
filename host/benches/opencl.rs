//! The operations of the OpenCL backend at ResNet-32's sizes, on the device that `--device opencl` takes.
//!
//! `cargo bench -p sse-sam`

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use sse_sam::opencl::{Error, OpenCl, devices, select};
use sse_sam_core::ops::{
    Ascend, BatchNormBackward, BatchNormForward, BatchNormInferenceBackward, Combine, Conv2dBackwardInput,
    Conv2dBackwardWeight, Conv2dForward, Dots, Fill, SgdUpdate,
};
use sse_sam_core::{Conv2d, Machine, Outcome, Run, Sgd, Shape, Span};

/// Images of a batch.
const IMAGES: usize = 128;

/// Spans of these lengths one behind the other.
fn spans<const N: usize>(lengths: [usize; N]) -> [Span; N] {
    let mut next = 0;
    lengths.map(|length| {
        let start = next;
        next += length.next_multiple_of(OpenCl::alignment());
        Span::work(start, length)
    })
}

/// A backend with numbers around zero in all of `spans`; none where there is no device.
fn open(spans: &[Span]) -> Option<OpenCl> {
    let devices = devices().expect("the drivers answer");
    let device = select(&devices, "opencl").ok()?;
    let words = spans.last().map_or(0, |last| last.offset + last.length);
    let mut backend = OpenCl::new(device, words, &[], &[]).expect("the device has room");
    let values: Vec<f32> = (0..words).map(|index| (index * 7919 % 1009) as f32 / 500.0 - 1.0).collect();
    backend.write(Span::work(0, words), &values).expect("the device writes");
    Some(backend)
}

/// Times `run` until the device has finished it.
fn time(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (name, elements): (&str, usize),
    backend: &mut OpenCl,
    run: impl Fn(&mut OpenCl) -> Result<(), Error>,
) {
    group.sample_size(20).throughput(Throughput::Elements(elements as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| run(backend).and_then(|()| backend.finish()).expect("the device works"));
    });
}

fn convolutions(criterion: &mut Criterion) {
    for (side, channels) in [(32, 16), (16, 32), (8, 64)] {
        let conv = Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1).expect("the kernel fits");
        let values = IMAGES * conv.input.len();
        let all @ [x, y, dx, weight, dweight] = spans([values, values, values, conv.weights(), conv.weights()]);
        let Some(mut backend) = open(&all) else { return eprintln!("no OpenCL device: nothing is timed") };
        backend.reserve_convolution(&conv, IMAGES).expect("the device has room");
        let mut group = criterion.benchmark_group(format!("convolution {side}x{side}x{channels}"));
        let products = IMAGES * side * side * conv.weights();
        time(&mut group, ("forward", products), &mut backend, |cl| {
            cl.run(&Conv2dForward { y, x, weight, conv: &conv })
        });
        time(&mut group, ("backward input", products), &mut backend, |cl| {
            cl.run(&Conv2dBackwardInput { dx: &[dx], dy: &[y], weight, conv: &conv, accumulate: false })
        });
        time(&mut group, ("backward weight", products), &mut backend, |cl| {
            cl.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[y], conv: &conv })
        });
    }
}

fn batch_norm(criterion: &mut Criterion) {
    for (side, channels) in [(32, 16), (16, 32), (8, 64)] {
        let values = IMAGES * side * side * channels;
        let all @ [x, y, dx, dy, saved, weight, bias, dweight, dbias] =
            spans([values, values, values, values, 2 * channels, channels, channels, channels, channels]);
        let Some(mut backend) = open(&all) else { return eprintln!("no OpenCL device: nothing is timed") };
        backend.reserve(channels, IMAGES).expect("the device has room");
        let mut group = criterion.benchmark_group(format!("batch norm {side}x{side}x{channels}"));
        time(&mut group, ("forward", values), &mut backend, |cl| {
            cl.run(&BatchNormForward { y, saved, running: None, x, weight, bias, residual: None, relu: true })
        });
        time(&mut group, ("backward", values), &mut backend, |cl| {
            cl.run(&BatchNormBackward {
                dx: &[dx],
                dweight: &[dweight],
                dbias: &[dbias],
                dy: &[dy],
                y,
                x,
                weight,
                bias,
                saved,
                relu: true,
                residual: false,
                accumulate: false,
            })
        });
        time(&mut group, ("inference backward", values), &mut backend, |cl| {
            cl.run(&BatchNormInferenceBackward {
                dx: &[dx],
                dweight: &[dweight],
                dbias: &[dbias],
                dy: &[dy],
                y,
                x,
                weight,
                running: saved,
                relu: true,
                accumulate: false,
            })
        });
    }
}

fn vectors(criterion: &mut Criterion) {
    let n = 470_004;
    let all @ [params, velocity, gradient, point, squared_norm, failure] = spans([n, n, n, n, 1, 1]);
    let Some(mut backend) = open(&all) else { return eprintln!("no OpenCL device: nothing is timed") };
    let outcome = Outcome { squared_norm, group_squared_norms: [squared_norm; 2], failure, number: 1.0 };
    let sgd = Sgd { learning_rate: 0.01, momentum: 0.9, weight_decay: 2e-4, nesterov: false };
    let mut group = criterion.benchmark_group("vectors of ResNet-32");
    time(&mut group, ("ascend", n), &mut backend, |cl| cl.run(&Ascend { point, squared_norm, params, radius: 0.05 }));
    time(&mut group, ("sgd", n), &mut backend, |cl| {
        cl.run(&SgdUpdate { params, velocity, outcome: &outcome, gradient, sgd: &sgd })
    });
}

/// A basis as Lanczos keeps one: throughput counts its numbers.
fn basis(criterion: &mut Criterion) {
    let (rows, n) = (80, 470_016);
    let all @ [to, x, basis] = spans([rows, n, rows * n]);
    let Some(mut backend) = open(&all) else { return eprintln!("no OpenCL device: nothing is timed") };
    let mut group = criterion.benchmark_group("a basis of 80 vectors of ResNet-32");
    time(&mut group, ("dots", rows * n), &mut backend, |cl| cl.run(&Dots { to, basis, x }));
    backend.run(&Fill { to, value: 0.0 }).expect("the device works");
    time(&mut group, ("combine", rows * n), &mut backend, |cl| cl.run(&Combine { y: x, coefficients: to, basis }));
}

criterion_group!(operations, convolutions, batch_norm, vectors, basis);
criterion_main!(operations);
