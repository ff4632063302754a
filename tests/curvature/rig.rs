//! A network with room for products of its Hessian, on the CPU core and on OpenCL devices.

use std::fmt::Debug;

use sse_sam::opencl::{Convolution, OpenCl, devices};
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::Fill;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Arena, Backend, Cpu, Curvature, Graph, Loss, Losses, Model, Network, Plan, Shape, Span, Tangents};
use sse_sam_tests::needs::has_opencl;
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::{cross_entropy, network, wide};

/// A network, its loss and its memory.
pub struct Rig {
    pub graph: Graph<MAX_LAYERS>,
    pub plan: Plan<MAX_LAYERS>,
    pub tangents: Tangents<MAX_LAYERS>,
    pub losses: Losses,
    pub params: Span,
    pub v: Span,
    pub gradient: Span,
    pub product: Span,
    pub loss: Loss,
    pub counts: Vec<u32>,
    pub words: usize,
}

/// Samples, and what each counts.
#[derive(Clone)]
pub struct Batch {
    /// `[rows]` images, NHWC.
    pub images: Vec<f32>,
    pub labels: Vec<u32>,
    pub weights: Vec<f32>,
}

/// What a machine makes of a batch.
pub struct Found {
    pub loss: f64,
    pub gradient: Vec<f32>,
    pub product: Vec<f32>,
}

impl Rig {
    /// Plans `model` with products for batches up to `rows`.
    pub fn new(model: &str, image: Shape, loss: Loss, counts: &[u32], rows: usize, arena: Arena) -> Self {
        let mut graph = Graph::new();
        model.parse::<Model>().unwrap().build(&mut graph, image, counts.len()).unwrap();
        Self::of(graph, loss, counts, rows, arena)
    }

    /// The same of any layers.
    pub fn of(graph: Graph<MAX_LAYERS>, loss: Loss, counts: &[u32], rows: usize, mut arena: Arena) -> Self {
        let plan = Plan::new(&graph, rows, 2, &mut arena).unwrap();
        let before = arena.len();
        let tangents = Tangents::new(&graph, &plan, &mut arena).unwrap();
        assert_eq!(tangents.len(), arena.len() - before);
        let [params, v, gradient, product] = [(); 4].map(|()| arena.allocate(plan.parameters()).unwrap());
        let [head, tail] = [(); 2].map(|()| arena.allocate(1).unwrap());
        let losses = Losses { plain: [head, tail], perturbed: [head, tail] };
        let counts = counts.to_vec();
        Self { graph, plan, tangents, losses, params, v, gradient, product, loss, counts, words: arena.len() }
    }

    pub fn network(&self) -> Network<'_, MAX_LAYERS> {
        Network::new(&self.graph, &self.plan, self.loss.focal(), self.losses)
    }

    /// Writes the loss's tables, parameters, and each layer's running statistics.
    pub fn write<B: Backend>(&self, backend: &mut B, state: &State)
    where
        B::Error: Debug,
    {
        let entry = |class: usize| self.loss.terms(&self.counts, class).unwrap();
        let entries: Vec<_> = (0..self.counts.len()).map(entry).collect();
        let [scale, shift, margin] = self.plan.terms;
        backend.write(scale, &entries.iter().map(|entry| entry.scale).collect::<Vec<_>>()).unwrap();
        backend.write(shift, &entries.iter().map(|entry| entry.shift).collect::<Vec<_>>()).unwrap();
        backend.write(margin, &entries.iter().map(|entry| entry.margin).collect::<Vec<_>>()).unwrap();
        backend.write(self.params, &self.spread(&state.params)).unwrap();
        for (slot, running) in self.plan.slots().iter().zip(&state.running) {
            if let Some(span) = slot.running {
                backend.write(span, running).unwrap();
            }
        }
    }

    /// Makes these samples the network's batch.
    pub fn gather<B: Backend>(&self, backend: &mut B, network: &mut Network<'_, MAX_LAYERS>, batch: &Batch)
    where
        B::Error: Debug,
    {
        network.set_batch(batch.labels.len(), self.losses).unwrap();
        let place = network.batch().unwrap();
        backend.write(place.images, &batch.images).unwrap();
        backend.write(place.labels, &batch.labels.iter().map(|&label| label as f32).collect::<Vec<_>>()).unwrap();
        backend.write(place.weights[0], &batch.weights).unwrap();
    }

    /// Loss, gradient and the product with `v` (without padding) over all samples, a plan's batch at a time.
    pub fn run<B: Backend>(&self, backend: &mut B, state: &State, batch: &Batch, v: &[f32]) -> Found
    where
        B::Error: Debug,
    {
        self.write(backend, state);
        backend.write(self.v, &self.spread(v)).unwrap();
        for sum in [self.gradient, self.product] {
            backend.run(&Fill { to: sum, value: 0.0 }).unwrap();
        }
        let (mut network, mut loss) = (self.network(), 0.0);
        for part in batch.parts(self.plan.max_batch()) {
            self.gather(backend, &mut network, &part);
            let mut curvature = Curvature::at(backend, &mut network, &self.tangents, self.params).unwrap();
            curvature.gradient(backend, &[Target { column: 0, gradient: self.gradient }]).unwrap();
            curvature.product(backend, self.v, Target { column: 0, gradient: self.product }).unwrap();
            loss += f64::from(read(backend, self.losses.plain[0])[0]);
        }
        let [gradient, product] = [self.gradient, self.product].map(|span| self.gathered(&read(backend, span)));
        Found { loss, gradient, product }
    }

    /// A vector of the plan, padding included, from one without.
    pub fn spread(&self, values: &[f32]) -> Vec<f32> {
        let (mut spread, mut rest) = (vec![0.0; self.plan.parameters()], values);
        for place in self.places() {
            let (own, after) = rest.split_at(place.length);
            spread[place.offset..][..place.length].copy_from_slice(own);
            rest = after;
        }
        assert!(rest.is_empty(), "{} numbers are left", rest.len());
        spread
    }

    /// The other way; padding must be zero.
    pub fn gathered(&self, values: &[f32]) -> Vec<f32> {
        let mut gathered = Vec::new();
        for place in self.places() {
            gathered.extend(&values[place.offset..][..place.length]);
        }
        let squares = |values: &[f32]| values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let (all, own) = (squares(values), squares(&gathered));
        assert!(all - own <= 1e-12 * own, "padding is not zero: {all} and {own}");
        gathered
    }

    fn places(&self) -> impl Iterator<Item = sse_sam_core::memory::Place> {
        self.plan.slots().iter().flat_map(|slot| [slot.weight, slot.bias])
    }

    /// The naive network in f64; for a plan without padding.
    pub fn reference(&self, state: &State, batch: &Batch) -> network::Network<'_, MAX_LAYERS> {
        let entry = |class: usize| self.loss.terms(&self.counts, class).unwrap();
        let entries: Vec<_> = (0..self.counts.len()).map(entry).collect();
        let terms = cross_entropy::Terms {
            scale: entries.iter().map(|entry| f64::from(entry.scale)).collect(),
            shift: entries.iter().map(|entry| f64::from(entry.shift)).collect(),
            margin: entries.iter().map(|entry| f64::from(entry.margin)).collect(),
            focal: f64::from(self.loss.focal()),
        };
        network::Network {
            graph: &self.graph,
            plan: &self.plan,
            running: state.running.iter().map(|running| wide(running)).collect(),
            images: wide(&batch.images),
            labels: batch.labels.iter().map(|&label| label as usize).collect(),
            weights: wide(&batch.weights),
            terms,
        }
    }
}

/// Parameters without padding, and running statistics of each layer.
#[derive(Clone)]
pub struct State {
    pub params: Vec<f32>,
    pub running: Vec<Vec<f32>>,
}

impl State {
    /// Numbers as trained networks have them: weights of about the size that keeps activations, statistics near 0 and 1.
    pub fn drawn(rig: &Rig, numbers: &mut Numbers) -> Self {
        let (mut params, mut running) = (Vec::new(), Vec::new());
        for (layer, slot) in rig.graph.layers().iter().zip(rig.plan.slots()) {
            let inputs = slot.weight.length / layer.output.channels.max(1);
            let size = if layer.normalises() { 0.3 } else { (3.0 / inputs.max(1) as f32).sqrt() };
            let start = if layer.normalises() { 1.0 } else { 0.0 };
            params.extend(numbers.list_between(slot.weight.length, start - size, start + size));
            params.extend(numbers.list_between(slot.bias.length, -0.3, 0.3));
            let channels = if layer.normalises() { layer.output.channels } else { 0 };
            let mean = numbers.list_between(channels, -0.3, 0.3);
            running.push([mean, numbers.list_between(channels, 0.5, 1.5)].concat());
        }
        Self { params, running }
    }
}

impl Batch {
    /// Random images, with weights of one over their number.
    pub fn drawn(image: Shape, classes: usize, rows: usize, numbers: &mut Numbers) -> Self {
        Self {
            images: numbers.list_between(rows * image.len(), -1.5, 1.5),
            labels: (0..rows).map(|row| ((row + row / classes) % classes) as u32).collect(),
            weights: vec![1.0 / rows as f32; rows],
        }
    }

    fn parts(&self, rows: usize) -> impl Iterator<Item = Self> {
        let image = self.images.len() / self.labels.len();
        (0..self.labels.len()).step_by(rows).map(move |first| {
            let end = (first + rows).min(self.labels.len());
            Self {
                images: self.images[first * image..end * image].to_vec(),
                labels: self.labels[first..end].to_vec(),
                weights: self.weights[first..end].to_vec(),
            }
        })
    }
}

pub fn read<B: Backend>(backend: &mut B, span: Span) -> Vec<f32>
where
    B::Error: Debug,
{
    let mut values = vec![0.0; span.length];
    backend.read(&mut values, span).unwrap();
    values
}

/// Something that is checked on a machine.
pub trait Check {
    fn run<B: Backend>(&self, rig: &Rig, backend: &mut B, machine: &str)
    where
        B::Error: Debug;
}

/// Runs a check on the CPU core and on every OpenCL device, each with its own plan.
pub fn each_machine(rig: impl Fn(Arena) -> Rig, check: &impl Check) {
    let planned = rig(Arena::new(1));
    check.run(&planned, &mut Cpu::new(&mut vec![f32::NAN; planned.words], &[], &[]), "the CPU core");
    let found = devices().unwrap();
    has_opencl(found.len());
    for device in &found {
        let planned = rig(Arena::segmented(OpenCl::alignment(), OpenCl::segment(device)));
        let mut machine = OpenCl::new(device, planned.words, &[], &[]).unwrap();
        machine.set_convolution(Convolution::Direct);
        check.run(&planned, &mut machine, &device.name);
    }
}

/// `||a - b|| / ||b||`.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    sse_sam_tests::reference::relative_error(&wide(a), &wide(b))
}

pub fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
