//! A network's numbers in the order in which chips hold them: parameters, then running statistics (mean, then variance of
//! each batch norm), layer by layer, channels last.

use sse_sam_core::{Arena, Backend, Cpu, Memory, Span};

use crate::error::Error;
use crate::layout::{Layout, Needs};
use crate::snapshot::Snapshot;
use crate::state::Weights;
use crate::weights::Tensor;

/// A network in the memory of this machine, laid out as on a chip.
#[derive(Debug)]
pub struct Numbers {
    layout: Layout,
    memory: Vec<f32>,
}

impl Numbers {
    /// The numbers of a weights file.
    ///
    /// # Errors
    /// [`Error::Weights`] when its tensors do not fit the model that it names.
    pub fn new(weights: &Weights) -> Result<Self, Error> {
        let description = &weights.description;
        let classes = description.counts.len();
        let needs = Needs {
            image: description.image,
            classes,
            batch: 1,
            piece: None,
            points: 0,
            memory: Memory::Full,
            first: 0,
            rows: 1,
        };
        let layout = Layout::new(&description.model, &needs, Arena::new(1))?;
        let mut memory = vec![0.0; layout.words];
        weights.load(&mut Cpu::new(&mut memory, &[], &[]), &layout)?;
        Ok(Self { layout, memory })
    }

    /// How many of them are parameters.
    pub fn parameters(&self) -> usize {
        self.layout.plan.parameters()
    }

    /// All of them.
    ///
    /// # Errors
    /// [`Error::Core`] when plan and memory do not belong together.
    pub fn values(&mut self) -> Result<Vec<f32>, Error> {
        let mut values = Vec::new();
        for span in self.spans() {
            let first = values.len();
            values.resize(first + span.length, 0.0);
            Cpu::new(&mut self.memory, &[], &[]).read(&mut values[first..], span)?;
        }
        Ok(values)
    }

    /// Puts others in their place, as many.
    ///
    /// # Errors
    /// [`Error::Core`] when there are not as many.
    pub fn replace(&mut self, values: &[f32]) -> Result<(), Error> {
        let expected = self.spans().iter().map(|span| span.length).sum();
        if values.len() != expected {
            return Err(sse_sam_core::Error::Length { what: "a network", expected, found: values.len() }.into());
        }
        let mut rest = values;
        for span in self.spans() {
            let (own, after) = rest.split_at(span.length);
            Cpu::new(&mut self.memory, &[], &[]).write(span, own)?;
            rest = after;
        }
        Ok(())
    }

    /// The network's state with PyTorch's names and orders.
    ///
    /// # Errors
    /// As [`Numbers::values`].
    pub fn tensors(&mut self) -> Result<Vec<Tensor>, Error> {
        Snapshot::read(&mut Cpu::new(&mut self.memory, &[], &[]), &self.layout, 0, &[])?.tensors(&self.layout)
    }

    fn spans(&self) -> Vec<Span> {
        let running = self.layout.plan.slots().iter().filter_map(|slot| slot.running);
        std::iter::once(self.layout.vectors.params).chain(running).collect()
    }
}
