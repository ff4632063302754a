//! How long training steps take on an OpenCL device: the least and the median of several.
//!
//! `cargo run --release --example opencl_step [device [model [batch]]]`

use std::time::Instant;

use sse_sam::layout::{Layout, Needs};
use sse_sam::opencl::{OpenCl, devices, select};
use sse_sam_core::graph::Op;
use sse_sam_core::{Arena, Backend, Method, Model, Sgd, Shape, step};

/// Steps timed for each method.
const ROUNDS: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_else(|| "opencl".into());
    let model: Model = arguments.next().unwrap_or_else(|| "resnet32".into()).parse()?;
    let batch: usize = arguments.next().map_or(Ok(128), |batch| batch.parse())?;
    let devices = devices()?;
    let device = select(&devices, &wanted)?;
    println!("{model}, batch {batch}, on {} ({})", device.name, device.platform_name);

    let needs = Needs { image: Shape::new(32, 32, 3), classes: 100, batch, points: 2, rows: batch };
    let arena = Arena::segmented(OpenCl::alignment(), OpenCl::segment(device));
    let layout = Layout::new(&model, &needs, arena)?;
    let mut machine = OpenCl::new(device, layout.words, &[], &[])?;
    for layer in layout.graph.layers() {
        if let Op::Conv2d(conv) = layer.op {
            machine.reserve_convolution(&conv, batch)?;
        }
    }
    let mut network = layout.network(0.0)?;
    let mut state = 1u32;
    network.initialize(&mut machine, layout.vectors.params, |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.rotate_left(16)
    })?;
    network.set_batch(batch, layout.losses(0)?)?;
    let spans = network.batch()?;
    let images: Vec<f32> = (0..spans.images.length).map(|index| (index * 7919 % 1009) as f32 / 500.0 - 1.0).collect();
    let labels: Vec<f32> = (0..batch).map(|row| (row % 100) as f32).collect();
    machine.write(spans.images, &images)?;
    machine.write(spans.labels, &labels)?;
    machine.fill(layout.plan.terms[0], 1.0)?;
    let sgd = Sgd { learning_rate: 0.01, momentum: 0.9, weight_decay: 2e-4, nesterov: false };
    let methods = [
        ("SGD", Method::Sgd, 0),
        ("SSE-SAM stage 1", Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 }, 0),
        ("SSE-SAM stage 2", Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 }, 9),
    ];
    for (name, method, epoch) in methods {
        let groups = method.groups(epoch, 10)?;
        for (column, span) in spans.weights.iter().enumerate() {
            let inside = |row: usize| !method.splits() || row % 2 == column;
            let weights: Vec<f32> = (0..batch).map(|row| if inside(row) { 1.0 / batch as f32 } else { 0.0 }).collect();
            machine.write(*span, &weights)?;
        }
        let present = groups.present([true, method.splits()]);
        let (mut times, launches) = (Vec::new(), machine.launches());
        for _ in 0..=ROUNDS {
            let start = Instant::now();
            step(&mut machine, &mut network, &layout.vectors, &present, &sgd, &layout.outcome(0)?)?;
            machine.finish()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        // The first one is warm-up.
        times.remove(0);
        times.sort_by(f64::total_cmp);
        let (least, median) = (times[0], times[times.len() / 2]);
        let launches = (machine.launches() - launches) / (ROUNDS as u64 + 1);
        println!("{name:<16} {least:8.1} ms least, {median:8.1} ms median of {ROUNDS}, {launches} launches");
    }
    let mut norm = [0.0];
    machine.read(&mut norm, layout.outcome(0)?.squared_norm)?;
    println!("squared norm of the last gradient: {}", norm[0]);
    Ok(())
}
