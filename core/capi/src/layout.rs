//! What a training was planned for, and where its numbers lie.

use sse_sam_core::network::plan::Slot;
use sse_sam_core::training::method::Groups;
use sse_sam_core::{Arena, Error, Graph, Losses, Memory, Row, Sgd, Shape, Space, Span, Vectors};

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
    pub(crate) micro_batch: usize,
    pub(crate) memory: Memory,
    trainable_layers: usize,
    pub(crate) groups: u32,
    pub(crate) points: usize,
}

impl Order {
    /// What steps up to `largest` on up to `batch` rows need.
    ///
    /// # Errors
    /// What is out of range, or does not go together.
    pub(crate) fn new(batch: usize, largest: &Update, options: &Options) -> Result<Self, Status> {
        let points = largest.grouped()?.all().perturbed().count();
        let memory = match options.memory {
            SSE_SAM_MEMORY_FULL => Memory::Full,
            SSE_SAM_MEMORY_LEAN => Memory::Lean,
            SSE_SAM_MEMORY_RECOMPUTE => Memory::Recompute,
            _ => return Err(Status::Range),
        };
        if memory != Memory::Full && largest.nesterov != 0 {
            return Err(Status::Nesterov);
        }
        if options.micro_batch > batch {
            return Err(Status::Batch);
        }
        let (trainable_layers, micro_batch) = (options.trainable_layers as usize, options.micro_batch);
        Ok(Self { batch, micro_batch, memory, trainable_layers, groups: largest.groups, points })
    }

    /// Whether it is what options of 0 mean.
    pub(crate) fn is_usual(&self) -> bool {
        self.memory == Memory::Full && self.micro_batch == 0 && self.trainable_layers == 0
    }

    /// Rows to plan the network for.
    pub(crate) fn rows(&self) -> usize {
        if self.micro_batch > 0 { self.micro_batch } else { self.batch }
    }

    /// Gradients of one activation at a time.
    pub(crate) fn streams(&self) -> usize {
        match self.memory {
            _ if self.micro_batch > 0 => 1,
            Memory::Full => self.groups as usize,
            Memory::Lean => self.points.max(1),
            Memory::Recompute => 1,
        }
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

/// The rows of a batch that passes in pieces, `[batch][Row::WORDS]`: as they were put, and the first group's first.
pub(crate) struct Table {
    pub(crate) asked: Span,
    pub(crate) ordered: Span,
    /// `[1]`: the loss of a piece.
    pub(crate) scratch: Span,
}

impl Table {
    pub(crate) fn new(arena: &mut Arena, batch: usize) -> Result<Self, Error> {
        let words = batch.checked_mul(Row::WORDS).ok_or(Error::TooLarge)?;
        Ok(Self { asked: arena.allocate(words)?, ordered: arena.allocate(words)?, scratch: arena.allocate(1)? })
    }
}

/// Where everything lies in the arena.
pub(crate) struct Layout {
    pub(crate) vectors: Vectors,
    /// `[classes]`: 1 for a class of the tail, else 0.
    pub(crate) tail: Span,
    pub(crate) table: Option<Table>,
    /// Losses of two groups, at the parameters and at the points; squared norms of the update and of both groups; the
    /// failure.
    pub(crate) slots: Span,
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
    pub(crate) is_perceptron: bool,
}

impl Layout {
    /// The layout, if its length in bytes can be addressed too.
    pub(crate) fn checked(self) -> Result<Self, Status> {
        let bytes = self.floats.checked_mul(size_of::<f32>());
        if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) { Err(Status::TooLarge) } else { Ok(self) }
    }

    pub(crate) fn slot(&self, at: usize) -> Result<Span, Error> {
        self.slots.part(at, 1)
    }

    pub(crate) fn losses(&self) -> Result<Losses, Error> {
        Ok(Losses { plain: [self.slot(0)?, self.slot(1)?], perturbed: [self.slot(2)?, self.slot(3)?] })
    }

    /// Whether a row's image outlasts a pass: no frozen layer takes its memory, and no piece its place.
    pub(crate) fn keeps_rows(&self) -> bool {
        self.frozen == 0 && self.table.is_none()
    }

    pub(crate) fn sizes(&self, slots: &[Slot]) -> Sizes {
        let parameters = self.vectors.params.length;
        let weights = running(slots).map(|span| span.length).sum::<usize>().saturating_add(parameters);
        Sizes { floats: self.floats, weights, parameters, classes: self.tail.length, frozen: self.frozen }
    }
}

/// Running statistics of the layers that are trained.
pub(crate) fn running(slots: &[Slot]) -> impl Iterator<Item = Span> {
    slots.iter().filter_map(|slot| slot.running).filter(|span| span.space == Space::Work)
}
