//! Where a run's numbers lie in work memory.

use sse_sam_core::network::graph::Op;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::training::method::Present;
use sse_sam_core::{
    Arena, Backend, Conv2d, Graph, Losses, Memory, Model, Network, Outcome, Pieces, Plan, Problem, Row, Samples, Sgd,
    Shape, Space, Span, Vectors, lean_step, step,
};

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
    /// Rows that pass through the network at once, where a batch passes in pieces.
    pub piece: Option<usize>,
    /// Perturbed points.
    pub points: usize,
    /// The form of the step.
    pub memory: Memory,
    /// Number of the first layer that is trained; [`Needs::INFERENCE`] when none is.
    pub first: usize,
    /// Rows of the longest table, that of the larger of training and test set; there is room for a batch in any case.
    pub rows: usize,
}

impl Needs {
    /// The first trained layer of a network that is only evaluated.
    pub const INFERENCE: usize = usize::MAX;
}

/// Number of the first layer that is trained, by `--trainable-layers`: how many of the last ones, or the name of one,
/// which may be that of a part of the network (`layer3`). 0, so all of them, when nothing is said.
///
/// # Errors
/// [`Error::Usage`] when there are not so many layers, or none of that name.
pub fn first_trained(graph: &Graph<MAX_LAYERS>, layers: Option<&str>) -> Result<usize, Error> {
    let Some(text) = layers else { return Ok(0) };
    let names = graph.layers().iter().map(|layer| layer.name.to_string());
    let named: Vec<(usize, String)> = names.enumerate().filter(|(_, name)| name != "-").collect();
    if let Ok(count) = text.parse::<usize>() {
        let all = named.len();
        let message = || format!("--trainable-layers must be in 1..={all} for this model, got {count}");
        return if (1..=all).contains(&count) { Ok(graph.last_layers(count)) } else { Err(Error::Usage(message())) };
    }
    let within = |name: &str| name.strip_prefix(text).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    match named.iter().find(|(_, name)| within(name)) {
        Some((0 | 1, _)) => Ok(0),
        Some((index, _)) => Ok(*index),
        None => {
            let known: Vec<&str> = named.iter().map(|(_, name)| name.as_str()).collect();
            Err(Error::Usage(format!("--trainable-layers: there is no layer {text}; there are {}", known.join(", "))))
        }
    }
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
    /// The form of the step.
    pub memory: Memory,
    /// Largest batch of a step; the plan's own is that of a pass.
    pub batch: usize,
    /// Where the loss of a piece goes, `[1]`, where a batch passes in pieces.
    pub piece: Option<Span>,
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
        let Needs { batch, memory, points, .. } = *needs;
        let streams = match memory {
            _ if needs.piece.is_some() => 1,
            Memory::Full => 2,
            Memory::Lean => points.max(1),
            Memory::Recompute => 1,
        };
        let plan = Plan::fine_tuning(&graph, needs.first, needs.piece.unwrap_or(batch), streams, &mut arena)?;
        let vectors = Vectors::in_memory(memory, &mut arena, plan.parameters(), points)?;
        let table = arena.allocate(needs.rows.max(batch) * Row::WORDS)?;
        let records = arena.allocate(WINDOW * RECORD)?;
        let failure = arena.allocate(1)?;
        let piece = needs.piece.map(|_| arena.allocate(1)).transpose()?;
        Ok(Self { graph, plan, vectors, memory, batch, piece, table, records, failure, words: arena.len() })
    }

    /// As small a plan as there is of the whole network, to look at its parameters and not to train it.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn smallest(model: &Model, image: Shape, classes: usize) -> Result<Self, Error> {
        let needs = Needs { image, classes, batch: 1, piece: None, points: 0, memory: Memory::Full, first: 0, rows: 1 };
        Self::new(model, &needs, Arena::new(1))
    }

    /// Step `number` of a window, in the form that was planned.
    ///
    /// # Errors
    /// As [`step()`](sse_sam_core::training::step()) and [`lean_step`].
    pub fn step<B: Backend, P: Problem<B>>(
        &self,
        backend: &mut B,
        problem: &mut P,
        present: &Present,
        sgd: &Sgd,
        number: usize,
    ) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let outcome = self.outcome(number)?;
        match self.memory {
            Memory::Full => step(backend, problem, &self.vectors, present, sgd, &outcome)?,
            Memory::Lean | Memory::Recompute => lean_step(backend, problem, &self.vectors, present, sgd, &outcome)?,
        }
        Ok(())
    }

    /// The network as one that takes its batches in pieces, where that was planned.
    ///
    /// # Errors
    /// [`Error::Core`] when a layer that is trained normalises by its batch.
    pub fn pieces(&self, focal: f32, samples: Samples) -> Result<Option<Pieces<'_, MAX_LAYERS>>, Error> {
        let pieces = |scratch| Ok(Pieces::new(self.network(focal)?, samples, scratch)?);
        self.piece.map(pieces).transpose()
    }

    /// The running statistics that a step moves.
    pub fn moving(&self) -> impl Iterator<Item = Span> {
        self.plan.slots().iter().filter_map(|slot| slot.running).filter(|span| span.space == Space::Work)
    }

    /// Numbers of all that a step changes, and of frozen layers.
    pub fn state_words(&self) -> usize {
        let running: usize = self.moving().map(|span| span.length).sum();
        self.vectors.params.length + self.vectors.velocity.length + running + self.plan.frozen().length
    }

    /// The convolutions of the network, layer by layer.
    pub fn convolutions(&self) -> impl Iterator<Item = Conv2d> {
        self.graph.layers().iter().filter_map(|layer| if let Op::Conv2d(conv) = layer.op { Some(conv) } else { None })
    }

    /// The kinds of convolutions of the network, in order, and how many layers are of each.
    pub fn kinds(&self) -> Vec<(Conv2d, usize)> {
        let mut kinds: Vec<(Conv2d, usize)> = Vec::new();
        for conv in self.convolutions() {
            match kinds.iter_mut().find(|(known, _)| *known == conv) {
                Some((_, layers)) => *layers += 1,
                None => kinds.push((conv, 1)),
            }
        }
        kinds
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
