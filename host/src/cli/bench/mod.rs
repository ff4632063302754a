//! The `bench` command: what a training step costs on a device, beside what the device can do at most.

mod count;
mod hessian;
pub(crate) mod kernels;
mod report;
mod workload;

use std::time::Instant;

use hessian::Products;
use kernels::Ledger;
use report::{Convolutions, Report, Timing};
use sse_sam_core::machine::watched::Watched;
use sse_sam_core::network::plan::Slot;
use sse_sam_core::ops::{Ascend, Copy, Fill, SgdUpdate};
use sse_sam_core::training::method::Present;
use sse_sam_core::{Backend, Method, Model, Sgd, Shape, Span};
use workload::{COUNTS, TAIL, Workload};

use crate::cli::args::BenchArgs;
use crate::device::choose::Device;
use crate::device::layout::{Layout, Needs};
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::recipe::words::MethodName;
use crate::recipe::{Options, resolved};
use crate::report::console::{Console, say};

/// Steps before the first one that is timed.
const WARM_UP: usize = 2;
/// Steps whose operations are timed one by one, at most.
const PROFILED: usize = 5;
/// Rounds of the optimizer's own operations.
const OPTIMIZER: usize = 10;
/// Rounds of copies, and how long one takes at least.
const COPIES: (usize, f64) = (5, 0.01);

const HYPER: Sgd = Sgd { learning_rate: 0.01, momentum: 0.9, weight_decay: 2e-4, nesterov: false };

/// The `bench` command.
///
/// # Errors
/// Whatever is wrong with the arguments or the device.
pub fn run(args: &BenchArgs, console: &Console) -> Result<(), Error> {
    let model = resolved::model(&args.network.model)?;
    args.device.check(&model)?;
    let (image, classes) = data(args.network.image, args.network.classes, &model);
    let model = resolved::with_stem(model, args.network.stem, image);
    let method = method(args.method, args.stage);
    let mut device = Device::choose(&args.device, console)?;
    let batch = args.network.batch as usize;
    let needs = Needs { groups: method.largest()?, ..Needs::new(image, classes, batch) };
    let layout =
        device.or_next(|device| device.plan_network(&model, &needs, |rows| rows * (image.len() + 1)), console)?;
    let workload = Workload::new(&layout, needs, &method.rule(&COUNTS, TAIL, 0, 1)?);
    let bench = Bench { layout: &layout, workload: &workload, steps: args.steps as usize, kernels: args.kernels };
    // Planned before anything slow begins.
    let products = args.hessian.then(|| Products::new(&device, &model, (image, classes), batch, args.steps as usize));
    let products = products.transpose()?;
    let timing = device.run(&layout, &[], &workload.bytes, bench, console)?;
    let mut report = Report::new(args, &device, &model, image, classes, timing);
    if let Some(products) = products {
        report.hessian = Some(products.measure(&device, console)?);
    }
    say(&report.table())?;
    if args.json { say(&report.json()?) } else { Ok(()) }
}

/// The images and classes: those that are asked for, else those of a perceptron's own size, else CIFAR-100's.
pub(crate) fn data(image: Option<Shape>, classes: Option<u16>, model: &Model) -> (Shape, usize) {
    let (usual, outputs) = match model {
        Model::Mlp(widths) => {
            let end = |width: Option<&u32>| width.map_or(1, |&width| width as usize);
            (Shape::new(1, 1, end(widths.first())), end(widths.last()))
        }
        _ => (Shape::new(32, 32, 3), 100),
    };
    (image.unwrap_or(usual), classes.map_or(outputs, usize::from))
}

/// A method whose only epoch is in the stage asked for.
pub(crate) fn method(name: MethodName, stage: u8) -> Method {
    let gamma = Some(if stage == 1 { 1.0 } else { 0.0 });
    resolved::method(&Options { method: Some(name), gamma, ..Options::default() })
}

struct Bench<'a> {
    layout: &'a Layout,
    workload: &'a Workload,
    steps: usize,
    kernels: bool,
}

impl Job for Bench<'_> {
    type Output = Timing;

    fn run<B: Machine>(self, backend: &mut B) -> Result<Timing, Error>
    where
        Error: From<B::Error>,
    {
        let (layout, workload) = (self.layout, self.workload);
        let fma_rate = backend.fma_rate()?;
        let bandwidth = bandwidth(backend, layout)?;
        workload.prepare(backend, layout)?;
        let (mut step_ms, mut host_ms) = (Vec::new(), Vec::new());
        let mut launches = 0;
        for number in 0..WARM_UP + self.steps {
            let (start, before) = (Instant::now(), backend.launches());
            self.step(backend)?;
            let host = milliseconds(start);
            self.wait(backend)?;
            if number >= WARM_UP {
                step_ms.push(milliseconds(start));
                host_ms.push(host);
                launches = backend.launches() - before;
            }
        }
        let optimizer_ms = self.optimizer(backend)?;
        let flops = count::flops(layout, workload.rows, &workload.present)?;
        let kernels = if self.kernels { Some(self.profile(backend)?) } else { None };
        let (device_bytes, forms) = (backend.bytes(), forms(backend, layout));
        let measured = (fma_rate, bandwidth);
        Ok(Timing { step_ms, host_ms, optimizer_ms, launches, flops, measured, device_bytes, forms, kernels })
    }
}

impl Bench<'_> {
    /// One step as training makes it.
    fn step<B: Backend>(&self, backend: &mut B) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let (layout, workload) = (self.layout, self.workload);
        let losses = layout.session.losses(0)?;
        let mut network = layout.network(0.0)?;
        network.gather(backend, workload.table(layout)?, &workload.samples(layout), losses)?;
        Ok(layout.session.step(backend, &mut network, &workload.present, &HYPER, 0)?)
    }

    /// Waits until all queued work is done.
    fn wait<B: Backend>(&self, backend: &mut B) -> Result<(), B::Error> {
        self.layout.session.record(backend).map(drop)
    }

    /// Least milliseconds of a step's own operations on vectors, without the network's: with the vectors no nearer to
    /// the processor than after a pass through the network.
    fn optimizer<B: Backend>(&self, backend: &mut B) -> Result<f64, Error>
    where
        Error: From<B::Error>,
    {
        let pairs = pairs(self.layout);
        let mut least = f64::INFINITY;
        for _ in 0..OPTIMIZER {
            pairs.iter().try_for_each(|&[to, from]| backend.run(&Copy { to, from }))?;
            self.wait(backend)?;
            let start = Instant::now();
            vectors(backend, self.layout, &self.workload.present)?;
            self.wait(backend)?;
            least = least.min(milliseconds(start));
        }
        Ok(least)
    }

    /// Times the operations of a few steps one by one.
    fn profile<B: Machine>(&self, backend: &mut B) -> Result<Ledger, Error>
    where
        Error: From<B::Error>,
    {
        let clock = backend.time_launches()?;
        let mut watched = Watched::new(backend, Ledger::new(clock));
        for _ in 0..self.steps.min(PROFILED) {
            self.step(&mut watched)?;
            self.wait(watched.inner)?;
            let times = watched.inner.take_times()?;
            watched.watch.finish_step(&times);
        }
        Ok(watched.watch)
    }
}

/// The network's kinds of convolutions, in order, and the forms they are computed in.
fn forms<B: Machine>(backend: &B, layout: &Layout) -> Vec<Convolutions> {
    let kind = |(conv, layers)| {
        let [forward, backward_input, backward_weight] = backend.algorithms(&conv, layout.plan.max_batch());
        Convolutions { shape: kernels::convolution(&conv), layers, forward, backward_input, backward_weight }
    };
    layout.kinds().into_iter().map(kind).collect()
}

/// What a step does to its vectors: zeros for the sum and the points, the ascents, the update.
fn vectors<B: Backend>(backend: &mut B, layout: &Layout, present: &Present) -> Result<(), Error>
where
    Error: From<B::Error>,
{
    let vectors = &layout.session.vectors;
    let points = || vectors.points.iter().flatten().zip(present.perturbed());
    backend.run(&Fill { to: vectors.gradient, value: 0.0 })?;
    for (&point, _) in points() {
        backend.run(&Fill { to: point, value: 0.0 })?;
    }
    let outcome = layout.session.outcome(0)?;
    for (&point, group) in points() {
        backend.run(&Ascend {
            point,
            squared_norm: outcome.group_squared_norms[group.column],
            params: vectors.params,
            radius: group.radius,
        })?;
    }
    backend.run(&SgdUpdate {
        params: vectors.params,
        velocity: vectors.velocity,
        outcome: &outcome,
        gradient: vectors.gradient,
        sgd: &HYPER,
    })?;
    Ok(())
}

/// Activations two by two, as long as the shorter one: to and from where copies go.
fn pairs(layout: &Layout) -> Vec<[Span; 2]> {
    let pair = |slots: &[Slot]| {
        let spans = [slots[0].activation, slots[1].activation];
        let length = spans[0].length.min(spans[1].length);
        spans.map(|span| Span { length, ..span })
    };
    layout.plan.slots().chunks_exact(2).map(pair).collect()
}

/// Bytes a second that copies read and write, over the memory that a step uses.
fn bandwidth<B: Backend>(backend: &mut B, layout: &Layout) -> Result<f64, Error>
where
    Error: From<B::Error>,
{
    let pairs = pairs(layout);
    let bytes: usize = pairs.iter().flatten().map(|span| 4 * span.length).sum();
    let (rounds, least) = COPIES;
    let (mut best, mut times) = (0.0f64, 1);
    let mut round = 0;
    while round < rounds {
        let start = Instant::now();
        for _ in 0..times {
            pairs.iter().try_for_each(|&[to, from]| backend.run(&Copy { to, from }))?;
        }
        layout.session.record(backend)?;
        let seconds = start.elapsed().as_secs_f64();
        if seconds < least && times < 1 << 20 {
            times *= 2;
            continue;
        }
        best = best.max((bytes * times) as f64 / seconds);
        round += 1;
    }
    Ok(best)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
