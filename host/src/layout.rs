//! Where a run's numbers lie in work memory.

use sse_sam_core::graph::Op;
use sse_sam_core::model::MAX_LAYERS;
use sse_sam_core::{Arena, Conv2d, Graph, Losses, Model, Network, Outcome, Plan, Row, Shape, Span, Vectors};

use crate::error::Error;

/// Numbers a step leaves behind: losses of two groups at the parameters and at the perturbed points, and the squared
/// norms of the two groups' gradients and of the update's.
pub const RECORD: usize = 7;

/// Most steps whose records are kept before they are read.
pub const WINDOW: usize = 64;

/// What a run needs of memory.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// One image.
    pub image: Shape,
    /// Number of classes.
    pub classes: usize,
    /// Largest batch.
    pub batch: usize,
    /// Perturbed points.
    pub points: usize,
    /// Rows of the longest table, that of the larger of training and test set; there is room for a batch in any case.
    pub rows: usize,
}

/// A network, its vectors and the host's tables, planned.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The network.
    pub graph: Graph<MAX_LAYERS>,
    /// Its spans.
    pub plan: Plan<MAX_LAYERS>,
    /// Parameters, velocity, gradient, points.
    pub vectors: Vectors,
    /// An epoch's table, `[rows][Row::WORDS]`, at least a batch.
    pub table: Span,
    /// What steps leave behind, `[WINDOW][RECORD]`.
    pub records: Span,
    /// Number of the first step whose gradient was not finite, `[1]`.
    pub failure: Span,
    /// `f32` of work memory in all.
    pub words: usize,
}

impl Layout {
    /// Plans a run of `model`.
    ///
    /// # Errors
    /// [`Error::Core`] when the model does not fit the data or the plan grows too large.
    pub fn new(model: &Model, needs: &Needs, mut arena: Arena) -> Result<Self, Error> {
        let mut graph = Graph::new();
        model.build(&mut graph, needs.image, needs.classes)?;
        let plan = Plan::new(&graph, needs.batch, 2, &mut arena)?;
        let vectors = Vectors::new(&mut arena, plan.parameters(), needs.points)?;
        let table = arena.allocate(needs.rows.max(needs.batch) * Row::WORDS)?;
        let records = arena.allocate(WINDOW * RECORD)?;
        let failure = arena.allocate(1)?;
        Ok(Self { graph, plan, vectors, table, records, failure, words: arena.len() })
    }

    /// The convolutions of the network, layer by layer.
    pub fn convolutions(&self) -> impl Iterator<Item = Conv2d> {
        self.graph.layers().iter().filter_map(|layer| if let Op::Conv2d(conv) = layer.op { Some(conv) } else { None })
    }

    /// Where step `number` of a window leaves its losses.
    ///
    /// # Errors
    /// [`Error::Core`] past the end of the window.
    pub fn losses(&self, number: usize) -> Result<Losses, Error> {
        let slot = |index| self.records.part(number * RECORD + index, 1);
        Ok(Losses { plain: [slot(0)?, slot(1)?], perturbed: [slot(2)?, slot(3)?] })
    }

    /// Where step `number` of a window leaves what became of its update.
    ///
    /// # Errors
    /// [`Error::Core`] past the end of the window.
    pub fn outcome(&self, number: usize) -> Result<Outcome, Error> {
        let slot = |index| self.records.part(number * RECORD + index, 1);
        let group_squared_norms = [slot(4)?, slot(5)?];
        let (squared_norm, failure) = (slot(6)?, self.failure);
        Ok(Outcome { squared_norm, group_squared_norms, failure, number: number as f32 + 1.0 })
    }

    /// The network, with the focal exponent of its loss.
    ///
    /// # Errors
    /// [`Error::Core`] when there is no room for records.
    pub fn network(&self, focal: f32) -> Result<Network<'_, MAX_LAYERS>, Error> {
        Ok(Network::new(&self.graph, &self.plan, focal, self.losses(0)?))
    }
}
