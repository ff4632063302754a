//! What a training was planned for, and where its numbers lie.

use sse_sam_core::network::plan::Slot;
use sse_sam_core::training::method::Groups;
use sse_sam_core::{Demand, Economy, Error, Graph, Row, Session, Sgd, Shape, Space, Span};

use crate::status::Status;
use crate::values::{
    Image, Options, SSE_SAM_MEMORY_FULL, SSE_SAM_MEMORY_LEAN, SSE_SAM_MEMORY_RECOMPUTE, Sizes, Update,
};

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
    /// The groups, with their radii.
    pub(crate) fn grouped(&self) -> Result<Groups, Status> {
        match self.groups {
            1 => Ok(Groups::new(self.radius, None)?),
            2 => Ok(Groups::new(self.radius, Some(self.tail_radius))?),
            _ => Err(Status::Range),
        }
    }

    pub(crate) fn sgd(&self) -> Result<Sgd, Status> {
        let Self { learning_rate, momentum, weight_decay, nesterov, .. } = *self;
        let usual = |number: f32| number >= 0.0 && number.is_finite();
        if !(usual(learning_rate) && usual(momentum) && usual(weight_decay) && nesterov <= 1) {
            return Err(Status::Range);
        }
        Ok(Sgd { learning_rate, momentum, weight_decay, nesterov: nesterov == 1 })
    }
}

/// What is to be planned.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    /// Largest batch of a step.
    pub(crate) batch: usize,
    /// Rows that pass at a time; 0 for the batch.
    micro_batch: usize,
    trainable_layers: usize,
    pub(crate) demand: Demand,
}

impl Order {
    /// What steps up to `largest` on up to `batch` rows need.
    ///
    /// # Errors
    /// What is out of range, or does not go together.
    pub(crate) fn new(batch: usize, largest: &Update, options: &Options) -> Result<Self, Status> {
        let economy = match options.memory {
            SSE_SAM_MEMORY_FULL => Economy::Full,
            SSE_SAM_MEMORY_LEAN => Economy::Lean,
            SSE_SAM_MEMORY_RECOMPUTE => Economy::Recompute,
            _ => return Err(Status::Range),
        };
        if economy != Economy::Full && largest.nesterov != 0 {
            return Err(Status::Nesterov);
        }
        if options.micro_batch > batch {
            return Err(Status::Batch);
        }
        let (trainable_layers, micro_batch) = (options.trainable_layers as usize, options.micro_batch);
        let demand = Demand { groups: largest.grouped()?, economy, pieces: micro_batch > 0 };
        Ok(Self { batch, micro_batch, trainable_layers, demand })
    }

    /// Whether all options are 0.
    pub(crate) fn is_usual(&self) -> bool {
        self.demand.economy == Economy::Full && !self.demand.pieces && self.trainable_layers == 0
    }

    /// Rows to plan the network for.
    pub(crate) fn rows(&self) -> usize {
        if self.demand.pieces { self.micro_batch } else { self.batch }
    }

    /// Rows of a batch that passes in pieces: as they were put, and once more the first group's first.
    pub(crate) fn table_rows(&self) -> usize {
        if self.demand.pieces { self.batch.saturating_mul(2) } else { 0 }
    }

    /// Number of the first layer that is trained.
    ///
    /// # Errors
    /// [`Status::Range`] when there are not as many layers with parameters.
    pub(crate) fn first_trained<const N: usize>(&self, graph: &Graph<N>) -> Result<usize, Status> {
        if self.trainable_layers == 0 {
            return Ok(0);
        }
        let layers = graph.layers().iter().filter(|layer| !layer.tensors().is_empty()).count();
        if self.trainable_layers > layers {
            return Err(Status::Range);
        }
        Ok(graph.last_layers(self.trainable_layers))
    }
}

/// Where everything lies in the arena.
pub(crate) struct Layout {
    /// Its table holds the rows of a batch that passes in pieces: [`Order::table_rows`].
    pub(crate) session: Session,
    /// `[classes]`: what of a sample counts in the second group: 1 of the tail's and 0 of the others', or a share.
    pub(crate) shares: Span,
    pub(crate) floats: usize,
    /// Numbers of frozen layers, which lie elsewhere.
    pub(crate) frozen: usize,
    /// The network's input, and one image of it.
    pub(crate) images: Span,
    pub(crate) image: Shape,
    pub(crate) labels: Span,
    pub(crate) weights: [Span; 2],
    pub(crate) terms: [Span; 3],
    pub(crate) normalization: Span,
    pub(crate) order: Order,
    pub(crate) focal: f32,
    pub(crate) has_focal: bool,
}

impl Layout {
    /// The layout, if its length in bytes can be addressed too.
    pub(crate) fn checked(self) -> Result<Self, Status> {
        let bytes = self.floats.checked_mul(size_of::<f32>());
        if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) { Err(Status::TooLarge) } else { Ok(self) }
    }

    /// Whether a row's image outlasts a pass: no frozen layer takes its memory, and no piece its place.
    pub(crate) fn keeps_rows(&self) -> bool {
        self.frozen == 0 && self.session.piece().is_none()
    }

    /// Rows of a batch that passes in pieces: as they were put, and the first group's first.
    pub(crate) fn tables(&self, rows: usize) -> Result<[Span; 2], Error> {
        let words = |rows: usize| rows.saturating_mul(Row::WORDS);
        let table = self.session.table;
        Ok([table.part(0, words(rows))?, table.part(words(self.order.batch), words(rows))?])
    }

    pub(crate) fn sizes(&self, slots: &[Slot]) -> Sizes {
        let parameters = self.session.vectors.params.length;
        let weights = running(slots).map(|span| span.length).sum::<usize>().saturating_add(parameters);
        Sizes { floats: self.floats, weights, parameters, classes: self.shares.length, frozen: self.frozen }
    }
}

/// Running statistics of the layers that are trained.
pub(crate) fn running(slots: &[Slot]) -> impl Iterator<Item = Span> {
    slots.iter().filter_map(|slot| slot.running).filter(|span| span.space == Space::Work)
}
