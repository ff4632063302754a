//! A handle: a head that every function reads, then a network that only the code for its kind reads.
//!
//! The head leads to that code by a function pointer that the constructor wrote. So a program links the code of the
//! networks that it makes, and no other.

use core::ops::Range;

use sse_sam_core::network::plan::Slot;
use sse_sam_core::training::method::Groups;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{
    Arena, Cpu, Economy, Error, Graph, Losses, Network as Planned, Node, Pieces, Plan, Problem, Samples, Session, Sgd,
    Span, Statistics, Tally, lean_step, step,
};

use crate::layout::{Layout, Order};
use crate::memory::addresses;
use crate::status::Status;
use crate::training::{Training, sort, weigh};

/// What every handle begins with.
const TAG: u32 = 0x5353_4d32;

/// A network in the caller's memory: only functions of this file look inside.
pub struct Network {
    tag: u32,
    /// Bytes of the whole handle.
    bytes: usize,
    model: unsafe fn(*mut Network) -> *mut dyn Model,
    pub(crate) layout: Option<Layout>,
    pub(crate) arena: *mut f32,
    pub(crate) frozen: *const f32,
    pub(crate) samples: *const u8,
    /// Bytes of samples.
    pub(crate) sample_bytes: usize,
}

/// A handle: `Network` is its beginning.
#[repr(C)]
pub(crate) struct Handle<const N: usize, const PERCEPTRON: bool, const OPTIONS: bool> {
    head: Network,
    body: Body<N, PERCEPTRON, OPTIONS>,
}

/// Memory that a handle uses, by its addresses.
pub(crate) struct Taken {
    own: Range<usize>,
    arena: Range<usize>,
    frozen: Range<usize>,
    samples: Range<usize>,
}

impl Taken {
    /// What is written to: nothing that is read may overlap it.
    pub(crate) fn written(&self) -> [Range<usize>; 2] {
        [self.own.clone(), self.arena.clone()]
    }

    /// All of it: nothing that is written to may overlap it.
    pub(crate) fn all(&self) -> [Range<usize>; 4] {
        [self.own.clone(), self.arena.clone(), self.frozen.clone(), self.samples.clone()]
    }

    /// What is read: the arena may not overlap it.
    pub(crate) fn read(&self) -> [Range<usize>; 3] {
        [self.own.clone(), self.frozen.clone(), self.samples.clone()]
    }
}

/// The addresses of memory that may not have been lent yet.
fn lent<T>(pointer: *const T, length: usize) -> Result<Range<usize>, Status> {
    if pointer.is_null() { Ok(0..0) } else { addresses(pointer, length) }
}

/// A handle that a constructor made, its network, and the memory it uses.
///
/// # Safety
/// `network` is NULL or memory of a handle's size that nobody else uses while `'a` lasts.
pub(crate) unsafe fn open<'a>(network: *mut Network) -> Result<(&'a mut Network, &'a mut dyn Model, Taken), Status> {
    addresses(network, 1)?;
    // SAFETY: neither null nor misaligned; the tag says whether the memory is a handle.
    if unsafe { (&raw const (*network).tag).read() } != TAG {
        return Err(Status::NoHandle);
    }
    // SAFETY: made by `make`, which wrote every field and the body behind the head; the two do not overlap.
    let (head, body) = unsafe {
        let body = ((*network).model)(network);
        (&mut *network, &mut *body)
    };
    let own = addresses(network.cast::<u8>(), head.bytes)?;
    let (floats, frozen) = head.layout.as_ref().map_or((0, 0), |layout| (layout.floats, layout.frozen));
    let (arena, frozen) = (lent(head.arena, floats)?, lent(head.frozen, frozen)?);
    let samples = lent(head.samples, head.sample_bytes)?;
    Ok((head, body, Taken { own, arena, frozen, samples }))
}

/// A network that is ready to work, and the memory it uses.
///
/// # Safety
/// As [`open`]; and the arena, frozen layers and samples are still lent.
pub(crate) unsafe fn ready<'a>(network: *mut Network) -> Result<(Training<'a>, Taken), Status> {
    // SAFETY: the caller's promise.
    let (head, model, taken) = unsafe { open(network)? };
    let (Some(layout), false) = (&mut head.layout, head.arena.is_null()) else { return Err(Status::Order) };
    if layout.frozen > 0 && head.frozen.is_null() {
        return Err(Status::Order);
    }
    // SAFETY: the functions that lend checked pointers and lengths and filled the arena; lent until the next plan.
    let (arena, frozen, samples) = unsafe {
        let frozen = if head.frozen.is_null() { &[] } else { core::slice::from_raw_parts(head.frozen, layout.frozen) };
        let samples: &[u8] =
            if head.samples.is_null() { &[] } else { core::slice::from_raw_parts(head.samples, head.sample_bytes) };
        (core::slice::from_raw_parts_mut(head.arena, layout.floats), frozen, samples)
    };
    Ok((Training { model, layout, arena, frozen, samples }, taken))
}

/// Makes a handle of `bytes` of memory and fills its graph.
///
/// # Safety
/// As [`open`] for `bytes` of memory.
pub(crate) unsafe fn make<const N: usize, const PERCEPTRON: bool, const OPTIONS: bool>(
    network: *mut Network,
    bytes: usize,
    build: impl FnOnce(&mut Graph<N>) -> Result<Node, Error>,
) -> Result<(), Status>
where
    Body<N, PERCEPTRON, OPTIONS>: Kind<N, PERCEPTRON>,
{
    addresses(network, 1)?;
    if bytes < size_of::<Handle<N, PERCEPTRON, OPTIONS>>() {
        return Err(Status::ShortHandle);
    }
    let handle = network.cast::<Handle<N, PERCEPTRON, OPTIONS>>();
    let head = Network {
        tag: 0,
        bytes: size_of::<Handle<N, PERCEPTRON, OPTIONS>>(),
        model: body::<N, PERCEPTRON, OPTIONS>,
        layout: None,
        arena: core::ptr::null_mut(),
        frozen: core::ptr::null(),
        samples: core::ptr::null(),
        sample_bytes: 0,
    };
    // SAFETY: long enough, aligned, and the caller's to give; there is nothing in it to drop. Field by field, as a whole
    // network is large for a chip's stack.
    let handle = unsafe {
        (&raw mut (*handle).head).write(head);
        (&raw mut (*handle).body.graph).write(Graph::new());
        (&raw mut (*handle).body.plan).write(Err(Error::Model));
        &mut *handle
    };
    build(&mut handle.body.graph)?;
    handle.head.tag = TAG;
    Ok(())
}

/// The body of a handle of this kind.
///
/// # Safety
/// `network` is the beginning of such a handle.
unsafe fn body<const N: usize, const PERCEPTRON: bool, const OPTIONS: bool>(network: *mut Network) -> *mut dyn Model
where
    Body<N, PERCEPTRON, OPTIONS>: Kind<N, PERCEPTRON>,
{
    // SAFETY: the caller's promise.
    unsafe { &raw mut (*network.cast::<Handle<N, PERCEPTRON, OPTIONS>>()).body }
}

/// Plans training of all layers. `inline(never)`, here and below: the two never need stack at the same time.
#[inline(never)]
fn plan_all<const N: usize>(plan: &mut Result<Plan<N>, Error>, graph: &Graph<N>, order: &Order, arena: &mut Arena) {
    *plan = Plan::new(graph, order.rows(), order.demand.streams(), arena);
}

/// Plans training of the layers from number `first` on.
#[inline(never)]
fn plan_last<const N: usize>(
    plan: &mut Result<Plan<N>, Error>,
    graph: &Graph<N>,
    first: usize,
    order: &Order,
    arena: &mut Arena,
) {
    *plan = Plan::fine_tuning(graph, first, order.rows(), order.demand.streams(), arena);
}

/// What a step is to do beside the network's own.
pub(crate) struct Task<'a> {
    pub(crate) rows: usize,
    pub(crate) groups: Groups,
    pub(crate) sgd: Sgd,
    pub(crate) samples: Samples,
    /// Their labels.
    pub(crate) labels: &'a [u8],
}

/// A network of some kind, and its plan.
pub(crate) trait Model {
    /// Plans in place: a plan is large for a chip's stack.
    fn place(&mut self, order: &Order) -> Result<Layout, Status>;
    /// Where the layers' numbers lie; of no layer before there is a plan.
    fn slots(&self) -> &[Slot];
    /// Draws initial weights.
    fn initialize(&self, cpu: &mut Cpu<'_>, layout: &Layout, draw: &mut dyn FnMut(usize) -> u32) -> Result<(), Error>;
    /// One step on the batch that is there.
    fn step(&self, cpu: &mut Cpu<'_>, layout: &Layout, task: &Task<'_>) -> Result<(), Status>;
    /// The logits of the first `rows` rows, with the running statistics.
    fn logits(&self, cpu: &mut Cpu<'_>, layout: &Layout, rows: usize) -> Result<Span, Error>;
}

/// A graph and its plan; a perceptron's alone where `PERCEPTRON` is set. Without `OPTIONS` no code is there for any.
pub(crate) struct Body<const N: usize, const PERCEPTRON: bool, const OPTIONS: bool> {
    graph: Graph<N>,
    plan: Result<Plan<N>, Error>,
}

/// What makes a network of this kind.
pub(crate) trait Kind<const N: usize, const PERCEPTRON: bool> {
    fn network<'a>(
        graph: &'a Graph<N>,
        plan: &'a Plan<N>,
        focal: f32,
        losses: Losses,
    ) -> Result<Planned<'a, N, PERCEPTRON>, Error>;
}

impl<const N: usize, const OPTIONS: bool> Kind<N, false> for Body<N, false, OPTIONS> {
    fn network<'a>(
        graph: &'a Graph<N>,
        plan: &'a Plan<N>,
        focal: f32,
        losses: Losses,
    ) -> Result<Planned<'a, N>, Error> {
        Ok(Planned::new(graph, plan, focal, losses))
    }
}

impl<const N: usize, const OPTIONS: bool> Kind<N, true> for Body<N, true, OPTIONS> {
    fn network<'a>(
        graph: &'a Graph<N>,
        plan: &'a Plan<N>,
        _: f32,
        losses: Losses,
    ) -> Result<Planned<'a, N, true>, Error> {
        Planned::perceptron(graph, plan, losses)
    }
}

impl<const N: usize, const PERCEPTRON: bool, const OPTIONS: bool> Body<N, PERCEPTRON, OPTIONS>
where
    Self: Kind<N, PERCEPTRON>,
{
    fn planned(&self, layout: &Layout) -> Result<Planned<'_, N, PERCEPTRON>, Error> {
        let plan = self.plan.as_ref().map_err(|error| *error)?;
        Self::network(&self.graph, plan, layout.focal, layout.session.losses(0)?)
    }
}

impl<const N: usize, const PERCEPTRON: bool, const OPTIONS: bool> Model for Body<N, PERCEPTRON, OPTIONS>
where
    Self: Kind<N, PERCEPTRON>,
{
    #[inline(never)]
    fn place(&mut self, order: &Order) -> Result<Layout, Status> {
        if !OPTIONS && !order.is_usual() {
            return Err(Status::Options);
        }
        let mut arena = Arena::new(1);
        let first = if OPTIONS { order.first_trained(&self.graph)? } else { 0 };
        match first {
            0 => plan_all(&mut self.plan, &self.graph, order, &mut arena),
            _ => plan_last(&mut self.plan, &self.graph, first, order, &mut arena),
        }
        let plan = self.plan.as_ref().map_err(|error| *error)?;
        let Some(input) = self.graph.layers().first() else {
            return Err(Status::Internal);
        };
        if OPTIONS && order.demand.pieces && !plan.is_separable() {
            return Err(Status::Pieces);
        }
        let shares = arena.allocate(plan.terms(0.0).scale.length)?;
        Layout {
            session: Session::new(plan.parameters(), &order.demand, order.table_rows(), 1, &mut arena)?,
            shares,
            floats: arena.len(),
            frozen: plan.frozen().length,
            images: plan.slots().first().ok_or(Status::Internal)?.activation,
            image: input.output,
            labels: plan.labels,
            weights: plan.weights,
            terms: plan.terms,
            normalization: plan.normalization,
            order: *order,
            focal: 0.0,
            is_perceptron: PERCEPTRON,
        }
        .checked()
    }

    fn slots(&self) -> &[Slot] {
        self.plan.as_ref().map_or(&[], Plan::slots)
    }

    fn initialize(&self, cpu: &mut Cpu<'_>, layout: &Layout, draw: &mut dyn FnMut(usize) -> u32) -> Result<(), Error> {
        self.planned(layout)?.initialize(cpu, layout.session.vectors.params, draw)
    }

    fn step(&self, cpu: &mut Cpu<'_>, layout: &Layout, task: &Task<'_>) -> Result<(), Status> {
        let Task { rows, groups, labels, .. } = *task;
        let (mut network, losses) = (self.planned(layout)?, layout.session.losses(0)?);
        if let (true, Some(piece)) = (OPTIONS, layout.session.piece) {
            let tally = sort(cpu, layout, (rows, labels), &groups)?;
            let mut pieces = Pieces::new(network, task.samples, piece)?;
            let [_, ordered] = layout.tables(rows)?;
            pieces.set_batch(tally.parts(ordered)?, losses);
            return Ok(take::<OPTIONS>(cpu, &mut pieces, layout, &tally, task)?);
        }
        let tally = weigh(cpu, layout, rows, &groups)?;
        network.set_batch(rows, losses)?;
        Ok(take::<OPTIONS>(cpu, &mut network, layout, &tally, task)?)
    }

    fn logits(&self, cpu: &mut Cpu<'_>, layout: &Layout, rows: usize) -> Result<Span, Error> {
        let mut network = self.planned(layout)?;
        network.set_batch(rows, layout.session.losses(0)?)?;
        network.forward(cpu, layout.session.vectors.params, Statistics::Running)?;
        network.logits()
    }
}

/// A problem of any kind: the step is there once.
struct Any<'p, 'c>(&'p mut dyn Problem<Cpu<'c>>);

impl<'c> Problem<Cpu<'c>> for Any<'_, 'c> {
    fn forward(&mut self, cpu: &mut Cpu<'c>, params: Span, statistics: Statistics) -> Result<(), Error> {
        self.0.forward(cpu, params, statistics)
    }

    fn backward(&mut self, cpu: &mut Cpu<'c>, params: Span, targets: &[Target]) -> Result<(), Error> {
        self.0.backward(cpu, params, targets)
    }
}

/// A step on the groups that have rows.
#[inline(never)]
fn take<'c, const OPTIONS: bool>(
    cpu: &mut Cpu<'c>,
    problem: &mut dyn Problem<Cpu<'c>>,
    layout: &Layout,
    tally: &Tally,
    task: &Task<'_>,
) -> Result<(), Error> {
    let (vectors, outcome, sgd) = (&layout.session.vectors, &layout.session.outcome(0)?, &task.sgd);
    let groups = &task.groups.present(tally.present());
    if OPTIONS && layout.session.economy != Economy::Full {
        return lean_step(cpu, &mut Any(problem), vectors, groups, sgd, outcome);
    }
    step(cpu, &mut Any(problem), vectors, groups, sgd, outcome)
}
