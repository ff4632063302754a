//! How long the kernels that matter take on an OpenCL device: the least and the median of several launches each.
//!
//! `cargo run --release --example opencl_speed [device]`

use std::time::Instant;

use sse_sam::opencl::{Error, OpenCl, devices, select};
use sse_sam_core::ops::{
    BatchNormBackward, BatchNormForward, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward,
};
use sse_sam_core::{Conv2d, Machine, Run, Shape, Span};

/// Launches timed for each kernel.
const ROUNDS: usize = 30;

/// Least and median milliseconds of `run`.
fn time(machine: &mut OpenCl, run: &mut dyn FnMut(&mut OpenCl) -> Result<(), Error>) -> Result<(f64, f64), Error> {
    run(machine)?;
    machine.finish()?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run(machine)?;
        machine.finish()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[0], times[times.len() / 2]))
}

fn report(what: &str, operations: f64, (least, median): (f64, f64)) {
    println!("{what:<44} {least:8.3} ms {median:8.3} ms {:8.1} G/s", operations / least / 1e6);
}

fn main() -> Result<(), Error> {
    let wanted = std::env::args().nth(1).unwrap_or_else(|| "opencl".into());
    let devices = devices()?;
    let device = select(&devices, &wanted)?;
    println!("{} ({})", device.name, device.platform_name);
    // images, side, channels, filters, kernel, stride
    let shapes = [
        (128, 32, 3, 16, 3, 1),
        (128, 32, 16, 16, 3, 1),
        (128, 32, 16, 32, 3, 2),
        (128, 16, 32, 32, 3, 1),
        (128, 16, 32, 64, 3, 2),
        (128, 8, 64, 64, 3, 1),
        (64, 32, 64, 64, 3, 1),
        (64, 32, 64, 128, 3, 2),
        (64, 32, 64, 128, 1, 2),
        (64, 16, 128, 128, 3, 1),
        (64, 8, 256, 256, 3, 1),
        (64, 4, 512, 512, 3, 1),
    ];
    for (images, side, channels, filters, kernel, stride) in shapes {
        let conv = Conv2d::new(Shape::new(side, side, channels), filters, kernel, stride, kernel / 2)?;
        let (n, m) = (images * conv.input.len(), images * conv.output.len());
        let at = |index: usize| index.next_multiple_of(OpenCl::alignment());
        let x = Span::work(0, n);
        let y = Span::work(at(n), m);
        let weight = Span::work(y.offset + at(m), conv.weights());
        let dweight = Span::work(weight.offset + at(weight.length), weight.length);
        let dx = Span::work(dweight.offset + at(dweight.length), n);
        let mut machine = OpenCl::new(device, dx.offset + n, &[], &[])?;
        machine.reserve_convolution(&conv, images)?;
        let values: Vec<f32> =
            (0..n + m + weight.length).map(|index| (index * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
        machine.write(x, &values[..n])?;
        machine.write(weight, &values[..weight.length])?;
        let operations = 2.0 * (conv.weights() * images * conv.output.height * conv.output.width) as f64;
        let name = format!("{images} x {side}x{side} {channels}->{filters} {kernel}x{kernel}/{stride}");
        let forward = time(&mut machine, &mut |machine| machine.run(&Conv2dForward { y, x, weight, conv: &conv }))?;
        report(&format!("{name} forward"), operations, forward);
        if channels > 3 {
            let input = time(&mut machine, &mut |machine| {
                machine.run(&Conv2dBackwardInput { dx: &[dx], dy: &[y], weight, conv: &conv, accumulate: false })
            })?;
            report(&format!("{name} backward input"), operations, input);
        }
        let gradient = time(&mut machine, &mut |machine| {
            machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[y], conv: &conv })
        })?;
        report(&format!("{name} backward weight"), operations, gradient);
    }
    for (rows, channels) in [(128 * 32 * 32, 16), (128 * 16 * 16, 32), (128 * 8 * 8, 64)] {
        let n = rows * channels;
        let [x, y, dx, dy] = [0, 1, 2, 3].map(|index| Span::work(index * n, n));
        let [weight, bias, dweight, dbias] = [0, 1, 4, 5].map(|index| Span::work(4 * n + index * 64, channels));
        let saved = Span::work(4 * n + 128, 2 * channels);
        let mut machine = OpenCl::new(device, 4 * n + 512, &[], &[])?;
        machine.write(weight, &vec![1.0; channels])?;
        let forward = time(&mut machine, &mut |machine| {
            machine.run(&BatchNormForward { y, saved, running: None, x, weight, bias, residual: None, relu: true })
        })?;
        report(&format!("batch norm {rows} x {channels} forward"), 12.0 * n as f64, forward);
        let backward = time(&mut machine, &mut |machine| {
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
                relu: true,
                residual: true,
                accumulate: false,
            })
        })?;
        report(&format!("batch norm {rows} x {channels} backward"), 28.0 * n as f64, backward);
    }
    Ok(())
}
