//! How a data set's bytes reach the device: all at once, or batch by batch from a second thread.

use std::sync::mpsc;
use std::thread;

use sse_sam_core::{Samples, Span};

use crate::data::{Dataset, Split};
use crate::device::machine::Machine;
use crate::error::Error;

/// Batches of a staged data set that lie on the device at once.
const SLOTS: usize = 4;

/// One split of a data set as steps see it.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// The split on the host.
    pub split: &'a Split,
    /// Where its bytes are looked for on the device.
    pub samples: Samples,
    /// Rows of a batch, where batches are staged.
    staged: Option<usize>,
}

/// Training and test set, and the bytes that the device starts with.
#[derive(Debug)]
pub struct Feeds<'a> {
    /// The initial content of sample memory.
    pub bytes: Vec<u8>,
    /// The training set.
    pub train: Feed<'a>,
    /// The test set.
    pub test: Feed<'a>,
}

impl<'a> Feeds<'a> {
    /// Both splits on the device, or, with `staged`, room for a few batches of that many rows.
    pub fn new(dataset: &'a Dataset, normalization: Span, staged: Option<usize>) -> Self {
        let mut bytes = Vec::new();
        let mut put = |part: &[u8], slots: usize| {
            let offset = bytes.len();
            bytes.extend_from_slice(part);
            bytes.resize(offset + part.len() + slots, 0);
            Span::samples(offset, part.len() + slots)
        };
        let slots = staged.map(|rows| rows * SLOTS);
        let [train, test] = [&dataset.train, &dataset.test].map(|split| {
            let images = match slots {
                None => put(&split.images, 0),
                Some(slots) => put(&[], slots * dataset.image.len()),
            };
            Feed { split, samples: Samples { images, image: dataset.image, normalization }, staged }
        });
        Self { bytes, train, test }
    }

    /// Bytes of sample memory that both splits take when they lie on the device as a whole.
    pub fn resident_bytes(dataset: &Dataset) -> usize {
        (dataset.train.len() + dataset.test.len()) * dataset.image.len()
    }

    /// Bytes of sample memory for staged batches of `rows`.
    pub fn staged_bytes(dataset: &Dataset, rows: usize) -> usize {
        2 * SLOTS * rows * dataset.image.len()
    }
}

impl Feed<'_> {
    /// The index under which step `number` finds sample `index`, its row `row`.
    pub fn index(&self, number: usize, row: usize, index: u32) -> u32 {
        self.staged.map_or(index, |rows| (number % SLOTS * rows + row) as u32)
    }

    /// Calls `each(backend, number)` for every batch of sample indices from number `first` on, in order, with the batch's bytes on the device.
    ///
    /// Staged batches are collected by a second thread, a few ahead; neither it nor the device is waited for but when
    /// one of them is behind.
    ///
    /// # Errors
    /// What the device or `each` reports.
    pub fn each<B: Machine>(
        &self,
        backend: &mut B,
        batches: &[&[u32]],
        first: usize,
        mut each: impl FnMut(&mut B, usize) -> Result<(), Error>,
    ) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let Some(rows) = self.staged else {
            return (first..batches.len()).try_for_each(|number| each(backend, number));
        };
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(SLOTS / 2);
            // Ends when all batches are sent, or when the receiver is gone after an error.
            let rest = batches.get(first..).unwrap_or_default();
            let work = move || rest.iter().map(|batch| self.collect(batch)).try_for_each(|part| sender.send(part));
            let thread = thread::Builder::new().name("batches".into()).spawn_scoped(scope, work);
            thread.map_err(|source| Error::io("the thread that collects batches", source))?;
            for (number, images) in (first..).zip(receiver.iter()) {
                let first = number % SLOTS * rows;
                backend.write_samples(self.samples.images.offset + first * self.samples.image.len(), images)?;
                each(backend, number)?;
            }
            Ok(())
        })
    }

    fn collect(&self, batch: &[u32]) -> Vec<u8> {
        let length = self.samples.image.len();
        let image = |&index: &u32| &self.split.images[index as usize * length..][..length];
        batch.iter().flat_map(image).copied().collect()
    }
}
