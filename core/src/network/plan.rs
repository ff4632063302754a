//! Plans memory: says how much a network needs, and where everything lies, before memory is lent.

use heapless::Vec;

use crate::error::{Error, Quantity};
use crate::memory::{Arena, Place, Span};
use crate::network::graph::Graph;
use crate::network::layer::{Layer, Node, Op};
use crate::ops::gather::Row;
use crate::ops::loss::Terms;
use crate::space::Space;

/// What happens to the gradient of a batch norm's residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// There is no residual, or its gradient is not needed.
    None,
    /// The masked output gradient becomes it, where it lies.
    Inherits,
    /// The masked output gradient is added to what other layers gave.
    Adds,
}

/// Where one layer's numbers lie.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Output, for the largest batch. Those of frozen layers may share memory: see [`Plan::fine_tuning`].
    pub activation: Span,
    /// Weight in the parameters; in [`Plan::frozen`] for a frozen layer.
    pub weight: Place,
    /// Bias in the same vector.
    pub bias: Place,
    /// Running mean and variance, `[2][channels]`, of a batch norm; in constant memory for a frozen layer.
    pub running: Option<Span>,
    /// The batch's mean and inverse deviation, `[2][channels]`, of a batch norm.
    pub saved: Option<Span>,
    /// Block that holds the output's gradient when this layer's backward pass begins.
    pub gradient: Option<u8>,
    /// Whether the input's gradient is wanted, and if so whether it is added to what is there.
    pub backward_input: Option<bool>,
    /// What becomes of the residual's gradient.
    pub residual: Residual,
}

const BLOCKS: usize = 8;

/// `f32` of work memory that a plan takes, by what they are for; without padding, in all what the arena handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Labels and weights of the batch, tables of the loss, normalisation.
    pub tables: usize,
    /// Outputs of the layers.
    pub activations: usize,
    /// Running statistics, and those of a batch.
    pub statistics: usize,
    /// Gradients of the outputs.
    pub gradients: usize,
}

/// Spans of everything a network needs, made for a largest batch.
#[derive(Clone, Debug)]
pub struct Plan<const N: usize> {
    slots: Vec<Slot, N>,
    blocks: Vec<[Span; 2], BLOCKS>,
    usage: Usage,
    images: bool,
    first: usize,
    frozen: usize,
    parameters: usize,
    trainable: usize,
    max_batch: usize,
    /// Labels of the batch, `[batch]`.
    pub labels: Span,
    /// Factors of the samples' losses in the two groups, `[batch]` each.
    pub weights: [Span; 2],
    /// Tables of the loss, `[classes]` each.
    pub terms: [Span; 3],
    /// Mean and inverse deviation of the bytes of each channel, `[2][channels]`.
    pub normalization: Span,
}

impl<const N: usize> Plan<N> {
    /// Plans training of `graph` with batches up to `max_batch` and `streams` (1 or 2) gradients at once.
    ///
    /// # Errors
    /// [`Error::Batch`] when `max_batch` is zero, [`Error::Range`] when there are more than [`Row::CLASSES`] outputs, else
    /// as [`Arena::allocate`].
    pub fn new(graph: &Graph<N>, max_batch: usize, streams: usize, arena: &mut Arena) -> Result<Self, Error> {
        // Not through `fine_tuning`: a chip that freezes nothing then links no code for sharing activations.
        // Built in the place it is returned in: a plan is large for a chip's stack.
        let mut plan = Self::outline(graph, 0, max_batch, arena);
        if let Ok(plan) = &mut plan {
            plan.place_gradients(graph, streams, arena)?;
        }
        plan
    }

    /// Plans evaluation alone: every layer is frozen, no gradient has a place, and an activation's memory is used again
    /// when its last reader is done.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn inference(graph: &Graph<N>, max_batch: usize, arena: &mut Arena) -> Result<Self, Error> {
        Self::fine_tuning(graph, graph.layers().len(), max_batch, 1, arena)
    }

    /// Plans training of the layers from number `first` on; those before it are frozen.
    ///
    /// A frozen layer reads its parameters and running statistics from [`Plan::frozen`], in constant memory, and
    /// normalises by them as in evaluation. It has neither gradient nor velocity, no backward pass reaches it, and its
    /// activation lasts until its last reader is done, or, where a trained layer reads it, as long as the batch does.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn fine_tuning(
        graph: &Graph<N>,
        first: usize,
        max_batch: usize,
        streams: usize,
        arena: &mut Arena,
    ) -> Result<Self, Error> {
        let mut plan = Self::outline(graph, first, max_batch, arena)?;
        plan.share_activations(graph, arena)?;
        if plan.first < graph.layers().len() {
            plan.place_gradients(graph, streams, arena)?;
        }
        Ok(plan)
    }

    /// Tables and layers, but for the activations of frozen ones and for gradients.
    fn outline(graph: &Graph<N>, first: usize, max_batch: usize, arena: &mut Arena) -> Result<Self, Error> {
        let last = graph.layers().last().ok_or(Error::Graph)?;
        let input = graph.layers().first().ok_or(Error::Graph)?;
        if max_batch == 0 {
            return Err(Error::Batch { found: 0, largest: 0 });
        }
        let first = first.min(graph.layers().len());
        let classes = if first < graph.layers().len() { last.output.len() } else { 0 };
        if classes > Row::CLASSES {
            let (high, found) = (Row::CLASSES as f32, classes as f32);
            return Err(Error::Range { what: Quantity::Classes, low: 1.0, high, found });
        }
        let mut tables = 0_usize;
        let mut table = |length: usize| {
            tables = tables.saturating_add(length);
            arena.allocate(length)
        };
        let mut plan = Self {
            labels: table(max_batch)?,
            weights: [table(max_batch)?, table(max_batch)?],
            terms: [table(classes)?, table(classes)?, table(classes)?],
            normalization: table(input.output.channels.saturating_mul(2))?,
            slots: Vec::new(),
            blocks: Vec::new(),
            usage: Usage::default(),
            images: true,
            first,
            frozen: 0,
            parameters: 0,
            trainable: 0,
            max_batch,
        };
        plan.usage.tables = tables;
        plan.images = first == 0 || graph.layers().iter().skip(first).any(|layer| layer.reads(0));
        plan.place_layers(graph, arena)?;
        Ok(plan)
    }

    fn place_layers(&mut self, graph: &Graph<N>, arena: &mut Arena) -> Result<(), Error> {
        let (mut vector, mut frozen) = (Arena::new(arena.alignment), Arena::new(arena.alignment));
        for (index, layer) in graph.layers().iter().enumerate() {
            let is_frozen = index < self.first;
            let owner = if is_frozen { &mut frozen } else { &mut vector };
            let (weight, bias) = layer.parameters(graph.shape(layer.input)?);
            let mut place = |length| owner.allocate(length).map(|span| Place { offset: span.offset, length });
            let (weight, bias) = (place(weight)?, place(bias)?);
            let statistics = 2 * layer.output.channels;
            let (running, saved) = match layer.normalises() {
                true if is_frozen => (Some(Span { space: Space::Constant, ..frozen.allocate(statistics)? }), None),
                true => {
                    self.usage.statistics += 2 * statistics;
                    (Some(arena.allocate(statistics)?), Some(arena.allocate(statistics)?))
                }
                false => (None, None),
            };
            let kept = if is_frozen { 0 } else { self.values(layer) };
            self.usage.activations = self.usage.activations.saturating_add(kept);
            let slot = Slot {
                activation: arena.allocate(kept)?,
                weight,
                bias,
                running,
                saved,
                gradient: None,
                backward_input: None,
                residual: Residual::None,
            };
            self.trainable += if is_frozen { 0 } else { weight.length + bias.length };
            self.slots.push(slot).map_err(|_| Error::Capacity { what: "layers of a graph", capacity: N })?;
        }
        // Rounded up to the alignment, so that a vector's padding belongs to it alone and stays zero.
        self.parameters = vector.len().next_multiple_of(vector.alignment.max(1));
        self.frozen = frozen.len();
        Ok(())
    }

    /// Walks the forward pass of the frozen layers once and gives every output a block that is free at that time. One
    /// that a trained layer reads, or that no layer reads, is never free again.
    fn share_activations(&mut self, graph: &Graph<N>, arena: &mut Arena) -> Result<(), Error> {
        let mut pool = Pool::default();
        let mut owners: Vec<(usize, u8), N> = Vec::new();
        for (index, layer) in graph.layers().iter().enumerate().take(self.first) {
            let owner = (index, pool.take(self.values(layer))?);
            owners.push(owner).map_err(|_| Error::Capacity { what: "layers of a graph", capacity: N })?;
            let is_read_later = |read| graph.layers().iter().skip(index + 1).any(|later| later.reads(read));
            for &(read, block) in owners.iter().filter(|(read, _)| *read < index && layer.reads(*read)) {
                if !is_read_later(read) {
                    pool.give(block);
                }
            }
        }
        let mut spans: Vec<Span, BLOCKS> = Vec::new();
        for block in &pool.blocks {
            let full = Error::Capacity { what: "activation blocks", capacity: BLOCKS };
            spans.push(arena.allocate(block.length)?).map_err(|_| full)?;
            self.usage.activations = self.usage.activations.saturating_add(block.length);
        }
        for &(index, block) in &owners {
            let missing = Error::Capacity { what: "activation blocks", capacity: spans.len() };
            let span = spans.get(usize::from(block)).ok_or(missing)?;
            let values = self.values(graph.layers().get(index).ok_or(Error::Graph)?);
            self.slot_mut(index)?.activation = span.part(0, values)?;
        }
        Ok(())
    }

    /// Walks the backward pass once and gives every gradient a block that is free at that time.
    fn place_gradients(&mut self, graph: &Graph<N>, streams: usize, arena: &mut Arena) -> Result<(), Error> {
        let mut pool = Pool::default();
        for (index, layer) in graph.layers().iter().enumerate().rev() {
            if index < self.first {
                break;
            }
            if index + 1 == graph.layers().len() {
                let block = pool.take(self.values(layer))?;
                self.slot_mut(index)?.gradient = Some(block);
            }
            let Some(own) = self.slot_mut(index)?.gradient else { continue };
            let residual = self.place_residual(graph, layer, own)?;
            // Batch norm writes all its gradients in one operation: its input's needs a place even if unread.
            if !matches!(layer.op, Op::Input) && (layer.normalises() || self.wants_gradient(graph, layer.input)?) {
                let input = layer.input.index();
                let accumulate = match self.slot_mut(input)?.gradient {
                    Some(_) => true,
                    None => {
                        let block = pool.take(self.values(graph.layer(layer.input)?))?;
                        self.slot_mut(input)?.gradient = Some(block);
                        false
                    }
                };
                self.slot_mut(index)?.backward_input = Some(accumulate);
            }
            self.slot_mut(index)?.residual = residual;
            if residual != Residual::Inherits {
                pool.give(own);
            }
        }
        for length in pool.blocks.iter().map(|block| block.length) {
            self.usage.gradients = self.usage.gradients.saturating_add(length.saturating_mul(streams.clamp(1, 2)));
            let first = arena.allocate(length)?;
            let second = if streams > 1 { arena.allocate(length)? } else { first };
            let full = Error::Capacity { what: "gradient blocks", capacity: BLOCKS };
            self.blocks.push([first, second]).map_err(|_| full)?;
        }
        Ok(())
    }

    fn place_residual(&mut self, graph: &Graph<N>, layer: &Layer, own: u8) -> Result<Residual, Error> {
        let Some(node) = layer.residual() else { return Ok(Residual::None) };
        if !self.wants_gradient(graph, node)? {
            return Ok(Residual::None);
        }
        let slot = self.slot_mut(node.index())?;
        if slot.gradient.is_some() {
            return Ok(Residual::Adds);
        }
        slot.gradient = Some(own);
        Ok(Residual::Inherits)
    }

    /// Whether a node depends on a parameter that is trained.
    fn wants_gradient(&self, graph: &Graph<N>, mut node: Node) -> Result<bool, Error> {
        loop {
            let layer = graph.layer(node)?;
            if node.index() < self.first || matches!(layer.op, Op::Input) {
                return Ok(false);
            }
            if !layer.tensors().is_empty() {
                return Ok(true);
            }
            node = layer.input;
        }
    }

    fn values(&self, layer: &Layer) -> usize {
        layer.output.len().saturating_mul(self.max_batch)
    }

    fn slot_mut(&mut self, index: usize) -> Result<&mut Slot, Error> {
        let error = Error::Length { what: "the plan", expected: index + 1, found: self.slots.len() };
        self.slots.get_mut(index).ok_or(error)
    }

    /// Where a layer's numbers lie.
    ///
    /// # Errors
    /// [`Error::Length`] when the plan was made for a shorter graph.
    pub fn slot(&self, node: Node) -> Result<&Slot, Error> {
        self.slot_at(node.index())
    }

    pub(crate) fn slot_at(&self, index: usize) -> Result<&Slot, Error> {
        let error = Error::Length { what: "the plan", expected: index + 1, found: self.slots.len() };
        self.slots.get(index).ok_or(error)
    }

    /// The block of a gradient, one span for each stream.
    pub(crate) fn block(&self, block: u8) -> Result<[Span; 2], Error> {
        let error = Error::Capacity { what: "gradient blocks", capacity: self.blocks.len() };
        self.blocks.get(usize::from(block)).copied().ok_or(error)
    }

    /// How many gradients it has room for at once: 0 in a plan for inference, 1 or 2.
    pub(crate) fn streams(&self) -> usize {
        match self.blocks.as_slice() {
            [] => 0,
            blocks if blocks.iter().any(|[first, second]| first == second) => 1,
            _ => 2,
        }
    }

    /// All slots in the order of the layers.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Length of a vector of trained parameters, padding included.
    pub const fn parameters(&self) -> usize {
        self.parameters
    }

    /// Where the parameters and running statistics of frozen layers lie, padding included: the first numbers of constant
    /// memory.
    pub const fn frozen(&self) -> Span {
        Span { space: Space::Constant, offset: 0, length: self.frozen }
    }

    /// Number of the first layer that is trained; that of no layer when the plan is for inference.
    pub const fn first_trained(&self) -> usize {
        self.first
    }

    /// Whether a sample's output depends on no other sample of its batch: no layer that is trained normalises.
    pub fn is_separable(&self) -> bool {
        self.slots.iter().all(|slot| slot.saved.is_none())
    }

    /// Whether the images of a batch outlast a forward pass: a frozen layer alone reads them once.
    pub(crate) fn keeps_images(&self) -> bool {
        self.images
    }

    /// What takes how much of work memory.
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Number of trainable parameters, padding excluded.
    pub const fn trainable(&self) -> usize {
        self.trainable
    }

    /// The largest batch.
    pub const fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// The loss's tables with a focal exponent.
    pub const fn terms(&self, focal: f32) -> Terms {
        let [scale, shift, margin] = self.terms;
        Terms { scale, shift, margin, focal }
    }
}

#[derive(Clone, Copy)]
struct Block {
    length: usize,
    free: bool,
}

/// Gradient blocks while they are being planned: a free one is reused, and grows when it is too short.
#[derive(Default)]
struct Pool {
    blocks: Vec<Block, BLOCKS>,
}

impl Pool {
    fn take(&mut self, length: usize) -> Result<u8, Error> {
        let free = || self.blocks.iter().enumerate().filter(|(_, block)| block.free);
        let smallest = free().filter(|(_, block)| block.length >= length).min_by_key(|(_, block)| block.length);
        let best = smallest.or_else(|| free().max_by_key(|(_, block)| block.length)).map(|(index, _)| index);
        let index = best.unwrap_or(self.blocks.len());
        match self.blocks.get_mut(index) {
            Some(block) => *block = Block { length: block.length.max(length), free: false },
            None => {
                let full = Error::Capacity { what: "gradient blocks", capacity: BLOCKS };
                self.blocks.push(Block { length, free: false }).map_err(|_| full)?;
            }
        }
        Ok(index as u8)
    }

    fn give(&mut self, block: u8) {
        if let Some(block) = self.blocks.get_mut(usize::from(block)) {
            block.free = true;
        }
    }
}
