//! Convolutions in Winograd's form beside the direct form, in turn: least time of each, and the median of the ratios.
//!
//! `cargo run --release --example winograd_speed [device] [rounds]`

use std::time::Instant;

use sse_sam::opencl::{Convolution, Error, OpenCl, devices, select};
use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward};
use sse_sam_core::{Conv2d, Machine, Run, Shape, Span};

/// images, side, channels
const SHAPES: [[usize; 3]; 7] =
    [[128, 32, 16], [128, 16, 32], [128, 8, 64], [64, 32, 64], [64, 16, 128], [64, 8, 256], [64, 4, 512]];

/// Milliseconds that `run` takes.
fn time(
    machine: &mut OpenCl,
    form: Convolution,
    run: &mut dyn FnMut(&mut OpenCl) -> Result<(), Error>,
) -> Result<f64, Error> {
    machine.set_convolution(form);
    machine.finish()?;
    let start = Instant::now();
    run(machine)?;
    machine.finish()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Times `run` in both forms, in turn.
fn compare(
    machine: &mut OpenCl,
    rounds: usize,
    what: &str,
    run: &mut dyn FnMut(&mut OpenCl) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut least, mut ratios) = ([f64::INFINITY; 2], Vec::new());
    for round in 0..=rounds {
        let direct = time(machine, Convolution::Direct, run)?;
        let tiled = time(machine, Convolution::Winograd, run)?;
        if round > 0 {
            least = [least[0].min(direct), least[1].min(tiled)];
            ratios.push(direct / tiled);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let [direct, tiled] = least;
    println!(
        "{what:<32} direct {direct:8.3} ms, Winograd {tiled:8.3} ms, {:5.2}, median {:5.2}",
        direct / tiled,
        ratios[ratios.len() / 2]
    );
    Ok(())
}

fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let wanted = words.next().unwrap_or_else(|| "opencl".into());
    let rounds = words.next().and_then(|word| word.parse().ok()).unwrap_or(20).max(1);
    let devices = devices()?;
    let device = select(&devices, &wanted)?;
    println!("{} ({})", device.name, device.platform_name);
    for [images, side, channels] in SHAPES {
        let conv = Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1)?;
        let (n, weights) = (images * conv.input.len(), conv.weights());
        let [x, y, dx, second] = [0, 1, 2, 3].map(|index| Span::work(index * n, n));
        let [weight, dweight, other] = [0, 1, 2].map(|index| Span::work(4 * n + index * weights, weights));
        let mut machine = OpenCl::new(device, 4 * n + 3 * weights, &[], &[])?;
        machine.reserve_convolution(&conv, images)?;
        let values: Vec<f32> = (0..n.max(weights)).map(|index| (index * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
        machine.write(x, &values[..n])?;
        machine.write(second, &values[..n])?;
        machine.write(weight, &values[..weights])?;
        let name = format!("{images} x {side}x{side} x {channels}");
        compare(&mut machine, rounds, &format!("{name} forward"), &mut |cl| {
            cl.run(&Conv2dForward { y, x, weight, conv: &conv })
        })?;
        compare(&mut machine, rounds, &format!("{name} input"), &mut |cl| {
            cl.run(&Conv2dBackwardInput { dx: &[dx], dy: &[y], weight, conv: &conv, accumulate: false })
        })?;
        compare(&mut machine, rounds, &format!("{name} weight"), &mut |cl| {
            cl.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[y], conv: &conv })
        })?;
        compare(&mut machine, rounds, &format!("{name} weight, two"), &mut |cl| {
            cl.run(&Conv2dBackwardWeight { dweight: &[dweight, other], x, dy: &[y, second], conv: &conv })
        })?;
    }
    Ok(())
}
