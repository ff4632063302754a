//! A network and its plan: what a handle holds behind its head.

use core::marker::PhantomData;

use sse_sam_core::network::layer::Layers;
use sse_sam_core::network::plan::Slot;
use sse_sam_core::training::method::Groups;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{
    Arena, Cpu, Economy, Error, Graph, Network, Pieces, Plan, Problem, Samples, Session, Sgd, Span, Statistics, Tally,
    lean_step, step,
};

use crate::layout::{Layout, Order};
use crate::rows::{sort, weigh};
use crate::status::Status;

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

/// A graph of a set's layers and its plan. Without `OPTIONS` no code is there for any.
pub(crate) struct Body<const N: usize, L: Layers, const OPTIONS: bool> {
    pub(crate) graph: Graph<N>,
    pub(crate) plan: Result<Plan<N>, Error>,
    layers: PhantomData<L>,
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

impl<const N: usize, L: Layers, const OPTIONS: bool> Body<N, L, OPTIONS> {
    fn planned(&self, layout: &Layout) -> Result<Network<'_, N, L>, Error> {
        let plan = self.plan.as_ref().map_err(|error| *error)?;
        Network::of(&self.graph, plan, layout.focal, layout.session.losses(0)?)
    }
}

impl<const N: usize, L: Layers, const OPTIONS: bool> Model for Body<N, L, OPTIONS> {
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
            has_focal: L::FOCAL,
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
        if let (true, Some(piece)) = (OPTIONS, layout.session.piece()) {
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
