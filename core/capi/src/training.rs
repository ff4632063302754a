//! A network and its training, in safe code: everything but pointers.

use core::mem::MaybeUninit;

use sse_sam_core::{
    Arena, Backend, Batch, Cpu, Error, Graph, Loss, Losses, Method, Network, Outcome, Plan, Problem, Row, Sgd, Shape,
    Span, Statistics, Vectors, classes, ops, step,
};

use crate::chacha::Stream;
use crate::memory::put;
use crate::status::Status;
use crate::{Image, Report, Sizes, Update};

/// Layers of the largest network: perceptrons of 13 sizes and ResNet-8 have fewer than 24. For deeper ones the library is
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

/// Where what a training needs beside its network's plan lies, and what it was planned for.
pub(crate) struct Layout {
    vectors: Vectors,
    /// `[classes]`: 1 for a class of the tail, else 0.
    tail: Span,
    /// Losses of two groups, at the parameters and at the points; squared norms of the update and of both groups; the
    /// failure.
    slots: Span,
    focal: f32,
    points: usize,
    groups: u32,
    pub(crate) floats: usize,
}

/// Plans `plan` in place: a plan is large for a chip's stack.
///
/// # Errors
/// What the core reports; `plan` is then empty.
#[inline(never)]
pub(crate) fn place(
    plan: &mut Option<Plan<LAYERS>>,
    graph: &Graph<LAYERS>,
    batch: usize,
    largest: &Update,
) -> Result<Layout, Status> {
    let points = largest.method()?.points(1)?;
    let mut arena = Arena::new(1);
    *plan = Some(Plan::new(graph, batch, largest.groups as usize, &mut arena)?);
    let plan = plan.as_ref().ok_or(Status::Internal)?;
    let vectors = Vectors::new(&mut arena, plan.parameters(), points)?;
    let tail = arena.allocate(plan.terms(0.0).scale.length)?;
    let slots = arena.allocate(8)?;
    let floats = arena.len();
    // Lengths in bytes must be addressable too.
    if floats.checked_mul(size_of::<f32>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Status::TooLarge);
    }
    Ok(Layout { vectors, tail, slots, focal: 0.0, points, groups: largest.groups, floats })
}

/// The sizes of a plan.
pub(crate) fn sizes(plan: &Plan<LAYERS>, layout: &Layout) -> Sizes {
    let parameters = plan.parameters();
    let weights = running(plan).map(|span| span.length).sum::<usize>().saturating_add(parameters);
    Sizes { floats: layout.floats, weights, parameters, classes: layout.tail.length }
}

fn running(plan: &Plan<LAYERS>) -> impl Iterator<Item = Span> {
    plan.slots().iter().filter_map(|slot| slot.running)
}

impl Layout {
    fn slot(&self, at: usize) -> Result<Span, Error> {
        self.slots.part(at, 1)
    }

    fn losses(&self) -> Result<Losses, Error> {
        Ok(Losses { plain: [self.slot(0)?, self.slot(1)?], perturbed: [self.slot(2)?, self.slot(3)?] })
    }
}

/// Parameters, then running statistics, layer by layer.
fn weights(plan: &Plan<LAYERS>, layout: &Layout) -> impl Iterator<Item = Span> {
    core::iter::once(layout.vectors.params).chain(running(plan))
}

/// A planned network and its arena, for one call.
pub(crate) struct Training<'a> {
    pub(crate) graph: &'a Graph<LAYERS>,
    pub(crate) plan: &'a Plan<LAYERS>,
    pub(crate) layout: &'a mut Layout,
    pub(crate) arena: &'a mut [f32],
}

impl<'a> Training<'a> {
    /// The machine, the network on it, and its layout.
    fn begin(self) -> Result<(Cpu<'a>, Network<'a, LAYERS>, &'a Layout), Error> {
        let Self { graph, plan, layout, arena } = self;
        let network = Network::new(graph, plan, layout.focal, layout.losses()?);
        Ok((Cpu::new(arena, &[], &[]), network, layout))
    }

    /// Plain cross-entropy, no tail, bytes from 0 to 1, and zeros.
    pub(crate) fn clear(self) -> Result<(), Status> {
        let Self { plan, layout, arena, .. } = self;
        let mut cpu = Cpu::new(arena, &[], &[]);
        cpu.fill(Span::work(0, layout.floats), 0.0)?;
        cpu.fill(plan.terms(0.0).scale, 1.0)?;
        let channels = plan.normalization.length / 2;
        Ok(cpu.fill(plan.normalization.part(channels, channels)?, 1.0 / 255.0)?)
    }

    /// Sets mean and factor of each channel's bytes.
    pub(crate) fn normalize(self, table: &[f32]) -> Result<(), Status> {
        Ok(Cpu::new(self.arena, &[], &[]).write(self.plan.normalization, table)?)
    }

    /// Sets the loss's tables, and which classes are tail.
    pub(crate) fn set_loss(self, counts: &[u32], eta: u32, loss: Loss) -> Result<(), Status> {
        let terms = self.plan.terms(loss.focal());
        let spans = [terms.scale, terms.shift, terms.margin, self.layout.tail];
        let mut cpu = Cpu::new(self.arena, &[], &[]);
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
        self.layout.focal = loss.focal();
        Ok(())
    }

    /// Draws initial weights; no velocity.
    pub(crate) fn initialize(self, draw: impl FnMut(usize) -> u32) -> Result<(), Status> {
        let (mut cpu, network, layout) = self.begin()?;
        cpu.fill(layout.vectors.velocity, 0.0)?;
        Ok(network.initialize(&mut cpu, layout.vectors.params, draw)?)
    }

    /// Takes parameters and running statistics; no velocity.
    pub(crate) fn load(self, values: &[f32]) -> Result<(), Status> {
        let Self { plan, layout, arena, .. } = self;
        if values.len() != sizes(plan, layout).weights {
            return Err(Status::Length);
        }
        if values.iter().any(|weight| !weight.is_finite()) {
            return Err(Status::Range);
        }
        let mut cpu = Cpu::new(arena, &[], &[]);
        let mut rest = values;
        for span in weights(plan, layout) {
            let (values, after) = rest.split_at_checked(span.length).ok_or(Status::Internal)?;
            cpu.write(span, values)?;
            rest = after;
        }
        Ok(cpu.fill(layout.vectors.velocity, 0.0)?)
    }

    /// Gives parameters and running statistics.
    pub(crate) fn save(self, values: &mut [MaybeUninit<f32>]) -> Result<(), Status> {
        let Self { plan, layout, arena, .. } = self;
        if values.len() != sizes(plan, layout).weights {
            return Err(Status::Length);
        }
        let mut cpu = Cpu::new(arena, &[], &[]);
        let mut rest = values;
        for span in weights(plan, layout) {
            let (values, after) = rest.split_at_mut_checked(span.length).ok_or(Status::Internal)?;
            let [numbers] = cpu.slices_mut([span])?;
            put(values, numbers)?;
            rest = after;
        }
        Ok(())
    }

    /// Makes `pixels` row `row` of the batch.
    pub(crate) fn put(self, row: usize, pixels: Pixels<'_>, label: u32) -> Result<(), Status> {
        let Self { graph, plan, layout, arena } = self;
        if row >= plan.max_batch() {
            return Err(Status::Batch);
        }
        if label as usize >= layout.tail.length {
            return Err(Status::Label);
        }
        let (Some(input), Some(slot)) = (graph.layers().first(), plan.slots().first()) else {
            return Err(Status::Internal);
        };
        let length = input.output.len();
        let image = slot.activation.part(row.saturating_mul(length), length)?;
        let mut cpu = Cpu::new(arena, &[], &[]);
        let [image, class, normalization] = cpu.slices_mut([image, plan.labels.part(row, 1)?, plan.normalization])?;
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
    pub(crate) fn step(self, rows: usize, update: &Update) -> Result<Report, Status> {
        let (method, sgd) = (update.method()?, update.sgd()?);
        let groups = method.groups(0, 1)?;
        if update.groups > self.layout.groups || method.points(1)? > self.layout.points {
            return Err(Status::Points);
        }
        let (mut cpu, mut network, layout) = self.begin()?;
        network.set_batch(rows, layout.losses()?)?;
        let columns = weigh(&mut cpu, &network.batch()?, layout.tail, |tail| groups.column(tail))?;
        let (squared_norm, group_squared_norms) = (layout.slot(4)?, [layout.slot(5)?, layout.slot(6)?]);
        let outcome = Outcome { squared_norm, group_squared_norms, failure: layout.slot(7)?, number: 1.0 };
        cpu.fill(layout.slots, 0.0)?;
        step(&mut cpu, &mut network, &layout.vectors, &groups.present(columns), &sgd, &outcome)?;
        let mut slots = [0.0; 8];
        cpu.read(&mut slots, layout.slots)?;
        let [head, tail, perturbed_head, perturbed_tail, squared_norm, _, _, failure] = slots;
        if failure != 0.0 {
            return Err(Status::NotFinite);
        }
        Ok(Report { head, tail, perturbed_head, perturbed_tail, squared_norm })
    }

    /// Classifies the first rows, as many as `classes`, with the running statistics.
    pub(crate) fn predict(
        self,
        classes: &mut [MaybeUninit<u32>],
        logits: Option<&mut [MaybeUninit<f32>]>,
    ) -> Result<(), Status> {
        let (mut cpu, mut network, layout) = self.begin()?;
        network.set_batch(classes.len(), layout.losses()?)?;
        let span = network.logits()?;
        if logits.as_ref().is_some_and(|logits| logits.len() != span.length) {
            return Err(Status::Length);
        }
        network.forward(&mut cpu, layout.vectors.params, Statistics::Running)?;
        let [scores] = cpu.slices_mut([span])?;
        for (row, class) in classes.iter_mut().enumerate() {
            let first = row.saturating_mul(layout.tail.length);
            let own = scores.get(first..first.saturating_add(layout.tail.length));
            class.write(largest(own.ok_or(Status::Internal)?));
        }
        logits.map_or(Ok(()), |logits| put(logits, scores))
    }
}

/// Gives every sample its factor in its group, by `tail`, a flag for each class; says which groups there are.
fn weigh(cpu: &mut Cpu<'_>, batch: &Batch, tail: Span, column: impl Fn(bool) -> usize) -> Result<[bool; 2], Error> {
    let [first, second] = batch.weights;
    let [labels, firsts, seconds, flags] = cpu.slices_mut([batch.labels, first, second, tail])?;
    let factor = 1.0 / labels.len() as f32;
    let mut columns = [false; 2];
    for ((label, first), second) in labels.iter().zip(firsts).zip(seconds) {
        let is_tail = flags.get(*label as usize).is_some_and(|flag| *flag != 0.0);
        let [heads, tails] = &mut columns;
        if column(is_tail) == 0 {
            (*first, *second, *heads) = (factor, 0.0, true);
        } else {
            (*first, *second, *tails) = (0.0, factor, true);
        }
    }
    Ok(columns)
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
