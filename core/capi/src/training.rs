//! A network and its training, in safe code: everything but pointers.

use core::mem::MaybeUninit;

use sse_sam_core::{
    Arena, Backend, Cpu, Error, Graph, Loss, Losses, Method, Network, Outcome, Plan, Problem, Row, Sgd, Shape, Span,
    Statistics, Vectors, classes, ops, step,
};

use crate::chacha::Stream;
use crate::memory::put;
use crate::status::Status;
use crate::{Image, Report, Sizes, Update};

/// Layers of the largest network: perceptrons of 12 sizes and ResNet-8 have fewer than 24. For deeper ones the library is
/// built with the environment variable `SSE_SAM_LAYERS` (ResNet-18 and ResNet-20: 43); handles grow with it.
pub(crate) const LAYERS: usize = match option_env!("SSE_SAM_LAYERS") {
    None => USUAL_LAYERS,
    Some(text) => match usize::from_str_radix(text, 10) {
        Ok(layers) => layers,
        Err(_) => panic!("SSE_SAM_LAYERS must be a number of layers"),
    },
};

/// As many as `SSE_SAM_HANDLE_WORDS` has room for.
pub(crate) const USUAL_LAYERS: usize = 24;

/// A size that networks take, as in a model's name.
pub(crate) fn size(number: u32) -> Result<usize, Status> {
    if (1..1 << 24).contains(&number) { Ok(number as usize) } else { Err(Status::Model) }
}

impl Image {
    pub(crate) fn shape(self) -> Result<Shape, Status> {
        Ok(Shape::new(size(self.height)?, size(self.width)?, size(self.channels)?))
    }
}

impl Update {
    fn method(&self) -> Result<Method, Status> {
        let (radius, tail) = (f64::from(self.radius), f64::from(self.tail_radius));
        match self.groups {
            1 if radius == 0.0 => Ok(Method::Sgd),
            1 => Ok(Method::Sam { rho: radius }),
            // The second stage is a radius of 0 for the head: there is no need to know the epoch here.
            2 => Ok(Method::SseSam { head_rho: radius, tail_rho: tail, gamma: 1.0 }),
            _ => Err(Status::Range),
        }
    }

    fn sgd(&self) -> Result<Sgd, Status> {
        let Self { learning_rate, momentum, weight_decay, nesterov, .. } = *self;
        let usual = |number: f32| number >= 0.0 && number.is_finite();
        if !(usual(learning_rate) && usual(momentum) && usual(weight_decay) && nesterov <= 1) {
            return Err(Status::Range);
        }
        Ok(Sgd { learning_rate, momentum, weight_decay, nesterov: nesterov == 1 })
    }
}

/// A planned network: where its numbers lie in the arena.
pub(crate) struct Training {
    plan: Plan<LAYERS>,
    vectors: Vectors,
    /// `[classes]`: 1 for a class of the tail, else 0.
    tail: Span,
    /// Losses of two groups, at the parameters and at the points; the squared norm; the failure.
    slots: Span,
    focal: f32,
    points: usize,
    groups: u32,
    floats: usize,
}

impl Training {
    pub(crate) fn new(graph: &Graph<LAYERS>, batch: usize, largest: &Update) -> Result<Self, Status> {
        let points = largest.method()?.points(1)?;
        let mut arena = Arena::new(1);
        let plan = Plan::new(graph, batch, largest.groups as usize, &mut arena)?;
        let vectors = Vectors::new(&mut arena, plan.parameters(), points)?;
        let tail = arena.allocate(plan.terms(0.0).scale.length)?;
        let slots = arena.allocate(6)?;
        // Lengths in bytes must be addressable too.
        let floats = arena.len();
        if isize::try_from(floats.saturating_mul(size_of::<f32>())).is_err() {
            return Err(Status::TooLarge);
        }
        Ok(Self { plan, vectors, tail, slots, focal: 0.0, points, groups: largest.groups, floats })
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let weights = self.running().map(|span| span.length).sum::<usize>().saturating_add(self.plan.parameters());
        Sizes { floats: self.floats, weights, classes: self.tail.length }
    }

    fn running(&self) -> impl Iterator<Item = Span> {
        self.plan.slots().iter().filter_map(|slot| slot.running)
    }

    fn slot(&self, at: usize) -> Result<Span, Error> {
        self.slots.part(at, 1)
    }

    fn losses(&self) -> Result<Losses, Error> {
        Ok(Losses { plain: [self.slot(0)?, self.slot(1)?], perturbed: [self.slot(2)?, self.slot(3)?] })
    }

    fn network<'a>(&'a self, graph: &'a Graph<LAYERS>) -> Result<Network<'a, LAYERS>, Error> {
        Ok(Network::new(graph, &self.plan, self.focal, self.losses()?))
    }

    /// Plain cross-entropy, no tail, bytes from 0 to 1, and zeros.
    pub(crate) fn clear(&self, arena: &mut [f32]) -> Result<(), Status> {
        let mut cpu = Cpu::new(arena, &[], &[]);
        cpu.fill(Span::work(0, self.floats), 0.0)?;
        cpu.fill(self.plan.terms(0.0).scale, 1.0)?;
        let channels = self.plan.normalization.length / 2;
        Ok(cpu.fill(self.plan.normalization.part(channels, channels)?, 1.0 / 255.0)?)
    }

    pub(crate) fn normalize(&self, arena: &mut [f32], table: &[f32]) -> Result<(), Status> {
        Ok(Cpu::new(arena, &[], &[]).write(self.plan.normalization, table)?)
    }

    pub(crate) fn set_loss(&mut self, arena: &mut [f32], counts: &[u32], eta: u32, loss: Loss) -> Result<(), Status> {
        let terms = self.plan.terms(loss.focal());
        let spans = [terms.scale, terms.shift, terms.margin, self.tail];
        let mut cpu = Cpu::new(arena, &[], &[]);
        let [scales, shifts, margins, tails] = cpu.slices_mut(spans)?;
        if counts.len() != tails.len() {
            return Err(Status::Length);
        }
        // Refused as a whole, before anything is written.
        loss.terms(counts, 0)?;
        let tables = scales.iter_mut().zip(shifts).zip(margins).zip(tails).zip(counts).enumerate();
        for (class, ((((scale, shift), margin), tail), count)) in tables {
            let terms = loss.terms(counts, class)?;
            (*scale, *shift, *margin) = (terms.scale, terms.shift, terms.margin);
            *tail = f32::from(u8::from(classes::is_tail(*count, eta)));
        }
        self.focal = loss.focal();
        Ok(())
    }

    pub(crate) fn initialize(
        &self,
        graph: &Graph<LAYERS>,
        arena: &mut [f32],
        draw: impl FnMut(usize) -> u32,
    ) -> Result<(), Status> {
        let mut cpu = Cpu::new(arena, &[], &[]);
        cpu.fill(self.vectors.velocity, 0.0)?;
        Ok(self.network(graph)?.initialize(&mut cpu, self.vectors.params, draw)?)
    }

    /// Parameters, then running statistics, layer by layer.
    fn weights(&self) -> impl Iterator<Item = Span> {
        core::iter::once(self.vectors.params).chain(self.running())
    }

    pub(crate) fn load(&self, arena: &mut [f32], weights: &[f32]) -> Result<(), Status> {
        if weights.len() != self.sizes().weights {
            return Err(Status::Length);
        }
        if weights.iter().any(|weight| !weight.is_finite()) {
            return Err(Status::Range);
        }
        let mut cpu = Cpu::new(arena, &[], &[]);
        let mut rest = weights;
        for span in self.weights() {
            let (values, after) = rest.split_at_checked(span.length).ok_or(Status::Internal)?;
            cpu.write(span, values)?;
            rest = after;
        }
        Ok(cpu.fill(self.vectors.velocity, 0.0)?)
    }

    pub(crate) fn save(&self, arena: &mut [f32], weights: &mut [MaybeUninit<f32>]) -> Result<(), Status> {
        if weights.len() != self.sizes().weights {
            return Err(Status::Length);
        }
        let mut cpu = Cpu::new(arena, &[], &[]);
        let mut rest = weights;
        for span in self.weights() {
            let (values, after) = rest.split_at_mut_checked(span.length).ok_or(Status::Internal)?;
            let [numbers] = cpu.slices_mut([span])?;
            put(values, numbers)?;
            rest = after;
        }
        Ok(())
    }

    /// Makes `pixels` row `row` of the batch.
    pub(crate) fn put(
        &self,
        graph: &Graph<LAYERS>,
        arena: &mut [f32],
        row: usize,
        pixels: Pixels<'_>,
        label: u32,
    ) -> Result<(), Status> {
        if row >= self.plan.max_batch() {
            return Err(Status::Batch);
        }
        if label as usize >= self.tail.length {
            return Err(Status::Label);
        }
        let (first, slot) = (graph.layers().first(), self.plan.slots().first());
        let (Some(input), Some(slot)) = (first, slot) else { return Err(Status::Internal) };
        let length = input.output.len();
        let image = slot.activation.part(row.saturating_mul(length), length)?;
        let spans = [image, self.plan.labels.part(row, 1)?, self.plan.normalization];
        let mut cpu = Cpu::new(arena, &[], &[]);
        let [image, class, normalization] = cpu.slices_mut(spans)?;
        match pixels {
            Pixels::Bytes(bytes) => {
                let row = Row { index: 0, top: 0, left: 0, flip: false, weights: [0.0; 2] };
                ops::gather(image, bytes, input.output, &row, normalization)?;
            }
            Pixels::Floats(floats) if floats.len() == length => {
                image.iter_mut().zip(floats).for_each(|(to, value)| *to = *value);
            }
            Pixels::Floats(_) => return Err(Status::Length),
        }
        class.fill(label as f32);
        Ok(())
    }

    /// One step on the first `rows` rows.
    pub(crate) fn step(
        &self,
        graph: &Graph<LAYERS>,
        arena: &mut [f32],
        rows: usize,
        update: &Update,
    ) -> Result<Report, Status> {
        let (method, sgd) = (update.method()?, update.sgd()?);
        if update.groups > self.groups || method.points(1)? > self.points {
            return Err(Status::Points);
        }
        let groups = method.groups(0, 1)?;
        let mut cpu = Cpu::new(arena, &[], &[]);
        let mut network = self.network(graph)?;
        network.set_batch(rows, self.losses()?)?;
        let columns = self.weigh(&mut cpu, &network, |tail| groups.column(tail))?;
        let outcome = Outcome { squared_norm: self.slot(4)?, failure: self.slot(5)?, number: 1.0 };
        cpu.fill(self.slots, 0.0)?;
        step(&mut cpu, &mut network, &self.vectors, &groups.present(columns), &sgd, &outcome)?;
        let mut slots = [0.0; 6];
        cpu.read(&mut slots, self.slots)?;
        let [head, tail, perturbed_head, perturbed_tail, squared_norm, failure] = slots;
        if failure != 0.0 {
            return Err(Status::NotFinite);
        }
        Ok(Report { head, tail, perturbed_head, perturbed_tail, squared_norm })
    }

    /// Gives every sample its factor in its group; says which groups there are.
    fn weigh(
        &self,
        cpu: &mut Cpu<'_>,
        network: &Network<'_, LAYERS>,
        column: impl Fn(bool) -> usize,
    ) -> Result<[bool; 2], Status> {
        let batch = network.batch()?;
        let [head, tail] = batch.weights;
        let [labels, heads, tails, table] = cpu.slices_mut([batch.labels, head, tail, self.tail])?;
        let factor = 1.0 / labels.len() as f32;
        let mut columns = [false; 2];
        for ((label, head), tail) in labels.iter().zip(heads).zip(tails) {
            let is_tail = table.get(*label as usize).is_some_and(|flag| *flag != 0.0);
            let second = column(is_tail) == 1;
            (*head, *tail) = if second { (0.0, factor) } else { (factor, 0.0) };
            let [first, other] = &mut columns;
            *(if second { other } else { first }) = true;
        }
        Ok(columns)
    }

    /// Classifies the first `rows` rows with the running statistics.
    pub(crate) fn predict(
        &self,
        graph: &Graph<LAYERS>,
        arena: &mut [f32],
        classes: &mut [MaybeUninit<u32>],
        logits: Option<&mut [MaybeUninit<f32>]>,
    ) -> Result<(), Status> {
        let mut cpu = Cpu::new(arena, &[], &[]);
        let mut network = self.network(graph)?;
        network.set_batch(classes.len(), self.losses()?)?;
        network.forward(&mut cpu, self.vectors.params, Statistics::Running)?;
        let [scores] = cpu.slices_mut([network.logits()?])?;
        for (row, class) in classes.iter_mut().enumerate() {
            let first = row.saturating_mul(self.tail.length);
            let own = scores.get(first..first.saturating_add(self.tail.length));
            class.write(largest(own.ok_or(Status::Internal)?));
        }
        logits.map_or(Ok(()), |logits| put(logits, scores))
    }
}

/// The place of the largest number, the first one of equals.
fn largest(scores: &[f32]) -> u32 {
    let mut best = (0, scores.first().copied().unwrap_or_default());
    for (class, &score) in (0..).zip(scores) {
        if score > best.1 {
            best = (class, score);
        }
    }
    best.0
}

/// One image or row of features.
pub(crate) enum Pixels<'a> {
    /// As stored; normalised on the way.
    Bytes(&'a [u8]),
    /// As the network takes them.
    Floats(&'a [f32]),
}

/// Draws from each layer's own stream.
pub(crate) fn streams(seed: u64) -> impl FnMut(usize) -> u32 {
    let mut stream = Stream::new(seed, 0);
    let mut began = false;
    move |layer| {
        let layer = layer as u32;
        if !began || stream.layer() != layer {
            stream = Stream::new(seed, layer);
            began = true;
        }
        stream.word()
    }
}
