//! Where a run's numbers lie in work memory.

use sse_sam_core::memory::Place;
use sse_sam_core::network::layer::{Layer, Op};
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::network::plan::Slot;
use sse_sam_core::training::method::Groups;
use sse_sam_core::{
    Arena, Conv2d, Demand, Economy, Graph, Model, Network, PartRate, Pieces, Plan, Samples, Session, Shape, Space, Span,
};

use crate::error::Error;

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
    /// The groups of the hungriest epoch.
    pub groups: Groups,
    /// How many vectors steps work with.
    pub economy: Economy,
    /// Number of the first layer that is trained; [`Needs::INFERENCE`] when none is.
    pub first: usize,
    /// Rows of the longest table, that of the larger of training and test set; there is room for a batch in any case.
    pub rows: usize,
}

impl Needs {
    /// The first trained layer of a network that is only evaluated.
    pub const INFERENCE: usize = usize::MAX;

    /// What a network needs whose layers are all trained, a whole batch at a time, by plain gradient descent.
    pub const fn new(image: Shape, classes: usize, batch: usize) -> Self {
        Self { image, classes, batch, piece: None, groups: Groups::ONE, economy: Economy::Full, first: 0, rows: 1 }
    }

    /// What steps ask for.
    pub const fn demand(&self) -> Demand {
        Demand { groups: self.groups, economy: self.economy, pieces: self.piece.is_some() }
    }
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

/// A network and its training, planned.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The network.
    pub graph: Graph<MAX_LAYERS>,
    /// Its spans.
    pub plan: Plan<MAX_LAYERS>,
    /// Vectors, an epoch's table (at least a batch), and what the steps of a window leave behind.
    pub session: Session,
    /// Largest batch of a step; the plan's own is that of a pass.
    pub batch: usize,
    /// `f32` of work memory in all.
    pub words: usize,
}

impl Layout {
    /// Plans a run of `model`.
    ///
    /// # Errors
    /// [`Error::Core`] when the model does not fit the data or the plan grows too large.
    pub fn new(model: &Model, needs: &Needs, arena: Arena) -> Result<Self, Error> {
        let mut graph = Graph::new();
        model.build(&mut graph, needs.image, needs.classes)?;
        Self::of(graph, needs, WINDOW, arena)
    }

    /// Plans a run whose records are read after at most `window` steps.
    ///
    /// # Errors
    /// [`Error::Core`] when the plan grows too large.
    pub fn of(graph: Graph<MAX_LAYERS>, needs: &Needs, window: usize, mut arena: Arena) -> Result<Self, Error> {
        let (batch, demand) = (needs.batch, needs.demand());
        let passing = needs.piece.unwrap_or(batch);
        let plan = Plan::fine_tuning(&graph, needs.first, passing, demand.streams(), &mut arena)?;
        let session = Session::new(plan.parameters(), &demand, needs.rows.max(batch), window, &mut arena)?;
        Ok(Self { graph, plan, session, batch, words: arena.len() })
    }

    /// As small a plan as there is of the whole network, to look at its parameters and not to train it.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn smallest(model: &Model, image: Shape, classes: usize) -> Result<Self, Error> {
        Self::new(model, &Needs::new(image, classes, 1), Arena::new(1))
    }

    /// The network as one that takes its batches in pieces, where that was planned.
    ///
    /// # Errors
    /// [`Error::Core`] when a layer that is trained normalises by its batch.
    pub fn pieces(&self, focal: f32, samples: Samples) -> Result<Option<Pieces<'_, MAX_LAYERS>>, Error> {
        let pieces = |scratch| Ok(Pieces::new(self.network(focal)?, samples, scratch)?);
        self.session.piece().map(pieces).transpose()
    }

    /// The running statistics that a step moves.
    pub fn moving(&self) -> impl Iterator<Item = Span> {
        self.plan.slots().iter().filter_map(|slot| slot.running).filter(|span| span.space == Space::Work)
    }

    /// Numbers of all that a step changes, and of frozen layers.
    pub fn state_words(&self) -> usize {
        let running: usize = self.moving().map(|span| span.length).sum();
        let vectors = &self.session.vectors;
        vectors.params.length + vectors.velocity.length + running + self.plan.frozen().length
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

    /// Another learning rate for the last layer, so many times that of the others.
    pub fn head_rate(&self, factor: f32) -> Option<PartRate> {
        let is_own = |(layer, _): &(&Layer, &Slot)| !layer.tensors().is_empty();
        let (_, slot) = self.graph.layers().iter().zip(self.plan.slots()).rfind(is_own)?;
        let offset = slot.weight.offset;
        // With the padding behind it, which is zero and stays so.
        let part = Place { offset, length: self.plan.parameters().checked_sub(offset)? };
        Some(PartRate { part, factor })
    }

    /// The network, with the focal exponent of its loss.
    ///
    /// # Errors
    /// [`Error::Core`] when there is no room for records.
    pub fn network(&self, focal: f32) -> Result<Network<'_, MAX_LAYERS>, Error> {
        Ok(Network::new(&self.graph, &self.plan, focal, self.session.losses(0)?))
    }
}
