//! How long a product with a network's Hessian takes beside a gradient of the same batch: the least of several rounds,
//! one after the other in turn.
//!
//! `cargo run --release --example hessian_speed -- [MODEL] [BATCH] [DEVICE]`, where the device is `cpu` or OpenCL's.

use std::time::Instant;

use sse_sam::device::threads::{Cores, Level, Threads};
use sse_sam::opencl::{OpenCl, devices, select};
use sse_sam_core::network::layer::Op;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::Fill;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{
    Arena, Backend, Cpu, Curvature, Graph, Losses, Model, Network, Plan, Problem, Shape, Span, Statistics, Tangents,
};

const CLASSES: usize = 100;
const ROUNDS: usize = 7;

/// A network and its memory.
struct Planned {
    graph: Graph<MAX_LAYERS>,
    plan: Plan<MAX_LAYERS>,
    tangents: Tangents<MAX_LAYERS>,
    vectors: [Span; 4],
    losses: Losses,
    words: usize,
}

fn plan(model: &str, batch: usize, mut arena: Arena) -> Result<Planned, sse_sam::Error> {
    let mut graph = Graph::new();
    let mlp = model.starts_with("mlp:");
    let image = if mlp { Shape::new(8, 8, 1) } else { Shape::new(32, 32, 3) };
    let classes = if mlp { 10 } else { CLASSES };
    model.parse::<Model>()?.build(&mut graph, image, classes)?;
    let plan = Plan::new(&graph, batch, 2, &mut arena)?;
    let tangents = Tangents::new(&graph, &plan, &mut arena)?;
    let mut vector = || arena.allocate(plan.parameters());
    let vectors = [vector()?, vector()?, vector()?, vector()?];
    let plain = [arena.allocate(1)?, arena.allocate(1)?];
    let losses = Losses { plain, perturbed: plain };
    let words = arena.len();
    println!("{model}, batch {batch}: {words} numbers of memory, {} of them tangents", tangents.len());
    Ok(Planned { graph, plan, tangents, vectors, losses, words })
}

/// Prints the least milliseconds of each kind of pass.
fn measure<B: Backend>(planned: &Planned, backend: &mut B) -> Result<(), B::Error> {
    let Planned { graph, plan, tangents, vectors: [params, v, gradient, product], losses, .. } = planned;
    let mut seed = 1_u32;
    let mut number = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed
    };
    let mut network = Network::new(graph, plan, 0.0, *losses);
    network.initialize(backend, *params, |_| number())?;
    network.initialize(backend, *v, |_| number())?;
    let place = network.batch()?;
    let images: Vec<f32> = (0..place.images.length).map(|_| number() as f32 / u32::MAX as f32 - 0.5).collect();
    backend.write(place.images, &images)?;
    backend.run(&Fill { to: place.weights[0], value: 1.0 / place.labels.length as f32 })?;
    backend.run(&Fill { to: plan.terms(0.0).scale, value: 1.0 })?;
    for running in plan.slots().iter().filter_map(|slot| slot.running) {
        backend.run(&Fill { to: running.part(running.length / 2, running.length / 2)?, value: 1.0 })?;
    }
    let target = |gradient: &Span| Target { column: 0, gradient: *gradient };
    let mut least = [f64::INFINITY; 4];
    for round in 0..=ROUNDS {
        for (kind, least) in least.iter_mut().enumerate() {
            let start = Instant::now();
            match kind {
                0 => {
                    network.forward(backend, *params, Statistics::Repeat)?;
                    network.backward(backend, *params, &[target(gradient)])?;
                }
                1 => {
                    let mut curvature = Curvature::at(backend, &mut network, tangents, *params)?;
                    curvature.gradient(backend, &[target(gradient)])?;
                }
                2 => {
                    let mut curvature = Curvature::at(backend, &mut network, tangents, *params)?;
                    curvature.product(backend, *v, target(product))?;
                }
                _ => {
                    Curvature::at(backend, &mut network, tangents, *params)?;
                }
            }
            backend.read(&mut [0.0], losses.plain[0])?;
            // The first round touches memory for the first time.
            if round > 0 {
                *least = least.min(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let [training, running, product, evaluation] = least;
    println!("gradient by the batch's statistics {training:9.2} ms");
    println!("gradient by running statistics     {running:9.2} ms");
    println!("product, with its evaluation       {product:9.2} ms: {:.2} gradients", product / training);
    println!("evaluation alone                   {evaluation:9.2} ms");
    Ok(())
}

fn main() -> Result<(), sse_sam::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, usual: &str| arguments.get(at).map_or(usual.to_owned(), String::clone);
    let (model, batch) = (argument(0, "resnet20"), argument(1, "128").parse().unwrap_or(128));
    let wanted = argument(2, "opencl");
    if wanted == "cpu" {
        let planned = plan(&model, batch, Arena::new(1))?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = Threads::new(Cores { threads, level: Level::widest() });
        let mut memory = vec![0.0; planned.words];
        println!("CPU core, {threads} threads");
        return Ok(measure(&planned, &mut Cpu::with(workers, &mut memory, &[], &[]))?);
    }
    let found = devices()?;
    let device = select(&found, &wanted)?;
    println!("{} ({})", device.name, device.platform_name);
    let planned = plan(&model, batch, Arena::segmented(OpenCl::alignment(), OpenCl::segment(device)))?;
    let mut machine = OpenCl::new(device, planned.words, &[], &[])?;
    machine.reserve(512, batch)?;
    for layer in planned.graph.layers() {
        if let Op::Conv2d(conv) = layer.op {
            machine.reserve_convolution(&conv, batch)?;
        }
    }
    Ok(measure(&planned, &mut machine)?)
}
