//! The operations of the CPU core at the sizes of small networks.
//!
//! `cargo bench -p sse-sam-core`

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use sse_sam_core::ops::{
    Ascend, BatchNormBackward, BatchNormForward, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward,
    LinearBackwardInput, LinearBackwardWeight, LinearForward, SgdUpdate,
};
use sse_sam_core::{Conv2d, Cpu, Error, Outcome, Run, Sgd, Shape, Span};

/// Images of a batch.
const IMAGES: usize = 4;

/// Numbers around zero.
fn numbers(length: usize) -> Vec<f32> {
    (0..length).map(|index| (index * 7919 % 1009) as f32 / 500.0 - 1.0).collect()
}

/// Spans of these lengths one behind the other.
fn spans<const N: usize>(lengths: [usize; N]) -> [Span; N] {
    let mut next = 0;
    lengths.map(|length| {
        next += length;
        Span::work(next - length, length)
    })
}

/// Times `run` on memory for `spans`.
fn time(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (name, elements): (&str, u64),
    spans: &[Span],
    run: impl Fn(&mut Cpu<'_>) -> Result<(), Error>,
) {
    let mut memory = numbers(spans.iter().map(|span| span.length).sum());
    let mut cpu = Cpu::new(&mut memory, &[], &[]);
    group.throughput(Throughput::Elements(elements));
    group.bench_function(name, |bencher| bencher.iter(|| run(&mut cpu).expect("the spans fit")));
}

fn convolutions(criterion: &mut Criterion) {
    for (side, channels) in [(32, 16), (16, 32), (8, 64)] {
        let conv = Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1).expect("the kernel fits");
        let mut group = criterion.benchmark_group(format!("convolution {side}x{side}x{channels}"));
        let values = IMAGES * conv.input.len();
        let all @ [x, y, dx, weight, dweight] = spans([values, values, values, conv.weights(), conv.weights()]);
        let products = (IMAGES * side * side * conv.weights()) as u64;
        time(&mut group, ("forward", products), &all, |cpu| cpu.run(&Conv2dForward { y, x, weight, conv: &conv }));
        time(&mut group, ("backward input", products), &all, |cpu| {
            cpu.run(&Conv2dBackwardInput { dx: &[dx], dy: &[y], weight, conv: &conv, accumulate: false })
        });
        time(&mut group, ("backward weight", products), &all, |cpu| {
            cpu.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[y], conv: &conv })
        });
    }
}

fn batch_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch norm 32x32x16");
    let (values, channels) = (IMAGES * 32 * 32 * 16, 16);
    let all @ [x, y, dx, dy, saved, weight, bias, dweight, dbias] =
        spans([values, values, values, values, 2 * channels, channels, channels, channels, channels]);
    let elements = values as u64;
    time(&mut group, ("forward", elements), &all, |cpu| {
        cpu.run(&BatchNormForward { y, saved, running: None, x, weight, bias, residual: None, relu: true })
    });
    time(&mut group, ("backward", elements), &all, |cpu| {
        cpu.run(&BatchNormBackward {
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
}

fn linear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear 64 to 100");
    let (rows, inputs, outputs) = (32, 64, 100);
    let all @ [x, y, dx, weight, bias, dweight, dbias] =
        spans([rows * inputs, rows * outputs, rows * inputs, inputs * outputs, outputs, inputs * outputs, outputs]);
    let products = (rows * inputs * outputs) as u64;
    time(&mut group, ("forward", products), &all, |cpu| cpu.run(&LinearForward { y, x, weight, bias }));
    time(&mut group, ("backward input", products), &all, |cpu| {
        cpu.run(&LinearBackwardInput { dx: &[dx], dy: &[y], weight, outputs, accumulate: false })
    });
    time(&mut group, ("backward weight", products), &all, |cpu| {
        cpu.run(&LinearBackwardWeight { dweight: &[dweight], dbias: &[dbias], x, dy: &[y] })
    });
}

fn vectors(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vectors of ResNet-32");
    let n = 470_004;
    let all @ [params, velocity, gradient, point, squared_norm, failure] = spans([n, n, n, n, 1, 1]);
    let outcome = Outcome { squared_norm, group_squared_norms: [squared_norm; 2], failure, number: 1.0 };
    let sgd = Sgd { learning_rate: 0.01, momentum: 0.9, weight_decay: 2e-4, nesterov: false };
    time(&mut group, ("ascend", n as u64), &all, |cpu| cpu.run(&Ascend { point, squared_norm, params, radius: 0.05 }));
    time(&mut group, ("sgd", n as u64), &all, |cpu| {
        cpu.run(&SgdUpdate { params, velocity, outcome: &outcome, gradient, sgd: &sgd })
    });
}

criterion_group!(operations, convolutions, batch_norm, linear, vectors);
criterion_main!(operations);
