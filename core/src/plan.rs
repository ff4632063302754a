//! Where everything lies: memory is announced before it is lent.

use heapless::Vec;

use crate::backend::{Span, Terms};
use crate::error::Error;
use crate::graph::{Graph, Layer, Node, Op};

/// Hands out consecutive spans of work memory and counts how much is needed.
///
/// Spans start at multiples of the alignment and never straddle two buffers.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    alignment: usize,
    segment: usize,
    next: usize,
}

impl Arena {
    /// An arena in one buffer; `alignment` in `f32`, 1 on a chip.
    pub const fn new(alignment: usize) -> Self {
        Self::segmented(alignment, usize::MAX)
    }

    /// An arena over buffers of `segment` `f32` each, a multiple of the alignment.
    pub const fn segmented(alignment: usize, segment: usize) -> Self {
        Self { alignment: if alignment == 0 { 1 } else { alignment }, segment, next: 0 }
    }

    /// The next `length` numbers of work memory.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past 2^32 numbers, [`Error::Segment`] when no buffer is long enough.
    pub fn allocate(&mut self, length: usize) -> Result<Span, Error> {
        if length > self.segment {
            return Err(Error::Segment { length, segment: self.segment });
        }
        let round = |value: usize, to: usize| value.checked_next_multiple_of(to).ok_or(Error::TooLarge);
        let mut offset = round(self.next, self.alignment)?;
        let left = self.segment.saturating_sub(offset.checked_rem(self.segment).unwrap_or(0));
        if length > left {
            offset = round(offset, self.segment)?;
        }
        let end = offset.checked_add(length).ok_or(Error::TooLarge)?;
        if end as u64 > 1 << 32 {
            return Err(Error::TooLarge);
        }
        self.next = end;
        Ok(Span::work(offset, length))
    }

    /// How many `f32` have been handed out, padding included.
    pub const fn len(&self) -> usize {
        self.next
    }

    /// Whether nothing has been handed out.
    pub const fn is_empty(&self) -> bool {
        self.next == 0
    }
}

/// A stretch of a vector as long as the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// First element, from the start of the vector.
    pub offset: usize,
    /// Number of elements.
    pub length: usize,
}

impl Place {
    /// The stretch inside one particular vector.
    ///
    /// # Errors
    /// [`Error::Bounds`] when the vector is too short.
    pub fn of(self, vector: Span) -> Result<Span, Error> {
        vector.part(self.offset, self.length)
    }
}

/// What happens to the gradient of a batch norm's residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// There is none, or nobody wants its gradient.
    None,
    /// The masked output gradient becomes it, where it lies.
    Inherits,
    /// The masked output gradient is added to what other layers gave.
    Adds,
}

/// Where one layer's numbers lie.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Output, for the largest batch.
    pub activation: Span,
    /// Weight in the parameters.
    pub weight: Place,
    /// Bias in the parameters.
    pub bias: Place,
    /// Running mean and variance, `[2][channels]`, of a batch norm.
    pub running: Option<Span>,
    /// The batch's mean and inverse deviation, `[2][channels]`, of a batch norm.
    pub saved: Option<Span>,
    /// Block that holds the output's gradient when this layer's backward pass begins.
    pub gradient: Option<u8>,
    /// Whether the input's gradient is wanted, and if so whether it is added to what is there.
    pub backward_input: Option<bool>,
    /// What happens to the residual's gradient.
    pub residual: Residual,
}

const BLOCKS: usize = 8;

/// Spans of everything a network needs in training, made for a largest batch.
#[derive(Clone, Debug)]
pub struct Plan<const N: usize> {
    slots: Vec<Slot, N>,
    blocks: Vec<[Span; 2], BLOCKS>,
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
    /// [`Error::Batch`] when `max_batch` is zero, else as [`Arena::allocate`].
    pub fn new(graph: &Graph<N>, max_batch: usize, streams: usize, arena: &mut Arena) -> Result<Self, Error> {
        let last = graph.layers().last().ok_or(Error::Model)?;
        let first = graph.layers().first().ok_or(Error::Model)?;
        if max_batch == 0 {
            return Err(Error::Batch { found: 0, largest: 0 });
        }
        let classes = last.output.len();
        let mut table = |length| arena.allocate(length);
        let mut plan = Self {
            labels: table(max_batch)?,
            weights: [table(max_batch)?, table(max_batch)?],
            terms: [table(classes)?, table(classes)?, table(classes)?],
            normalization: table(first.output.channels.saturating_mul(2))?,
            slots: Vec::new(),
            blocks: Vec::new(),
            parameters: 0,
            trainable: 0,
            max_batch,
        };
        plan.place_layers(graph, arena)?;
        plan.place_gradients(graph, streams, arena)?;
        Ok(plan)
    }

    fn place_layers(&mut self, graph: &Graph<N>, arena: &mut Arena) -> Result<(), Error> {
        let mut vector = Arena::new(arena.alignment);
        for layer in graph.layers() {
            let (weight, bias) = graph.parameters(layer)?;
            let mut place = |length| vector.allocate(length).map(|span| Place { offset: span.offset, length });
            let (weight, bias) = (place(weight)?, place(bias)?);
            let mut table = || arena.allocate(2 * layer.output.channels).map(Some);
            let normalizes = matches!(layer.op, Op::BatchNorm { .. });
            let (running, saved) = if normalizes { (table()?, table()?) } else { (None, None) };
            let values = layer.output.len().saturating_mul(self.max_batch);
            let slot = Slot {
                activation: arena.allocate(values)?,
                weight,
                bias,
                running,
                saved,
                gradient: None,
                backward_input: None,
                residual: Residual::None,
            };
            self.trainable += weight.length + bias.length;
            self.slots.push(slot).map_err(|_| Error::Capacity { what: "layers of a graph", capacity: N })?;
        }
        // Whole lanes, so that a vector's padding is its own and stays zero.
        self.parameters = vector.len().next_multiple_of(vector.alignment.max(1));
        Ok(())
    }

    /// Walks the backward pass once and gives every gradient a block that is free at that time.
    fn place_gradients(&mut self, graph: &Graph<N>, streams: usize, arena: &mut Arena) -> Result<(), Error> {
        let mut pool = Pool::default();
        for (index, layer) in graph.layers().iter().enumerate().rev() {
            if index + 1 == graph.layers().len() {
                let block = pool.take(self.values(layer))?;
                self.slot_mut(index)?.gradient = Some(block);
            }
            let Some(own) = self.slot_mut(index)?.gradient else { continue };
            let residual = self.place_residual(layer, own)?;
            if layer.op != Op::Input && wants_gradient(graph, layer.input)? {
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
            let first = arena.allocate(length)?;
            let second = if streams > 1 { arena.allocate(length)? } else { first };
            let full = Error::Capacity { what: "gradient blocks", capacity: BLOCKS };
            self.blocks.push([first, second]).map_err(|_| full)?;
        }
        Ok(())
    }

    fn place_residual(&mut self, layer: &Layer, own: u8) -> Result<Residual, Error> {
        let Op::BatchNorm { residual: Some(node), .. } = layer.op else { return Ok(Residual::None) };
        let slot = self.slot_mut(node.index())?;
        if slot.gradient.is_some() {
            return Ok(Residual::Adds);
        }
        slot.gradient = Some(own);
        Ok(Residual::Inherits)
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

    /// All slots in the order of the layers.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Length of a vector of parameters, padding included.
    pub const fn parameters(&self) -> usize {
        self.parameters
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

/// Whether a node depends on a parameter.
fn wants_gradient<const N: usize>(graph: &Graph<N>, mut node: Node) -> Result<bool, Error> {
    loop {
        let layer = graph.layer(node)?;
        match layer.op {
            Op::Input => return Ok(false),
            Op::Linear | Op::Conv2d(_) | Op::BatchNorm { .. } => return Ok(true),
            Op::Relu | Op::Shortcut | Op::GlobalAveragePool => node = layer.input,
        }
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
