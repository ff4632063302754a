//! Random data of the right shape, a fifth of it from the tail.

use sse_sam_core::training::method::Present;
use sse_sam_core::{Loss, Row, Rule, Samples, Span, Tail, Tally};

use crate::data::random::{self, Purpose};
use crate::device::layout::{Layout, Needs};
use crate::device::machine::Machine;
use crate::error::Error;
use crate::train::start::{initialize, write_terms};

/// Training samples of the head's classes and of the tail's; so many to one they are in a batch.
pub(crate) const COUNTS: [u32; 2] = [4, 1];
pub(crate) const TAIL: Tail = Tail { eta: 2, weight: 1.0 };
/// Mean and deviation of bytes that are all as likely.
const UNIFORM: (f32, f32) = (127.5, 73.9);

/// A batch of random images, and the groups it falls into.
pub struct Workload {
    /// The images.
    pub bytes: Vec<u8>,
    /// Samples a step.
    pub rows: usize,
    /// The groups with samples in the batch.
    pub present: Present,
    words: Vec<f32>,
    needs: Needs,
}

impl Workload {
    /// A batch for `layout`, which was planned for `needs`.
    pub fn new(layout: &Layout, needs: Needs, rule: &Rule<'_>) -> Self {
        let rows = layout.plan.max_batch();
        let mut draw = random::stream(0, Purpose::Bench, 0);
        let bytes: Vec<u8> = (0..rows * needs.image.len()).map(|_| (draw() >> 24) as u8).collect();
        let (mut words, mut tally) = (Vec::new(), Tally::default());
        for row in 0..rows {
            let weights = rule.factors(usize::from(row % 5 == 0), 1.0, rows);
            tally.add(weights);
            let (index, label) = (row as u32, draw() % needs.classes as u32);
            let (top, left, flip) = random::augmentation(0, 0, index);
            words.extend(Row { index, label, top, left, flip, weights }.encode());
        }
        Self { bytes, rows, present: rule.groups.present(tally.present()), words, needs }
    }

    /// Puts weights, tables and the batch's rows where a step looks for them.
    pub fn prepare<B: Machine>(&self, backend: &mut B, layout: &Layout) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        initialize(backend, layout, 0)?;
        let (mean, deviation) = UNIFORM;
        let channels = self.needs.image.channels;
        let normalization = [vec![mean; channels], vec![1.0 / deviation; channels]].concat();
        backend.write(layout.plan.normalization, &normalization)?;
        write_terms(backend, &layout.plan, &Loss::CrossEntropy, &vec![1; self.needs.classes])?;
        backend.write(self.table(layout)?, &self.words)?;
        Ok(())
    }

    /// The batch's rows in work memory.
    pub fn table(&self, layout: &Layout) -> Result<Span, Error> {
        Ok(layout.session.table.part(0, self.words.len())?)
    }

    /// The samples in their memory.
    pub fn samples(&self, layout: &Layout) -> Samples {
        let length = self.rows * self.needs.image.len();
        Samples { images: Span::samples(0, length), image: self.needs.image, normalization: layout.plan.normalization }
    }
}
