//! How a data set's bytes reach the device: all at once, or batch by batch from other threads.

use std::sync::mpsc;
use std::thread;

use sse_sam_core::{Samples, Shape, Span};

use crate::data::pictures::resample::Scratch;
use crate::data::pictures::transform::RandomCrop;
use crate::data::{Dataset, Picture, Source, random};
use crate::device::machine::Machine;
use crate::error::Error;

/// Batches of a staged data set that lie on the device at once.
const SLOTS: usize = 4;

/// One split of a data set as steps see it.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// The split on the host.
    pub source: &'a dyn Source,
    /// Where its bytes are looked for on the device.
    pub samples: Samples,
    /// Rows of a batch, where batches are staged.
    staged: Option<usize>,
    /// Threads that read pictures.
    workers: usize,
    /// How pictures are cut out of their originals, where they are.
    cut: Option<Cut>,
}

/// How the pictures of an epoch are cut out of their originals.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// What is drawn, and how it comes to the network's size.
    pub crop: RandomCrop,
    /// Fixes what is drawn.
    pub seed: u64,
    /// The epoch.
    pub epoch: u32,
}

/// Training, validation and test set, and the bytes that the device starts with.
#[derive(Debug)]
pub struct Feeds<'a> {
    /// The initial content of sample memory.
    pub bytes: Vec<u8>,
    /// The training set.
    pub train: Feed<'a>,
    /// The validation set, where there is one.
    pub validation: Option<Feed<'a>>,
    /// The test set.
    pub test: Feed<'a>,
}

impl<'a> Feeds<'a> {
    /// All sets on the device, or, with `staged`, room for a few batches of that many rows; read by so many threads.
    ///
    /// # Errors
    /// What keeps a picture from being read.
    pub fn new(
        dataset: &'a Dataset,
        normalization: Span,
        staged: Option<usize>,
        workers: usize,
    ) -> Result<Self, Error> {
        let image = dataset.image;
        let mut bytes = Vec::new();
        let mut feed = |source: &'a dyn Source| {
            let offset = bytes.len();
            match staged {
                None => put_all(&mut bytes, source, image, workers)?,
                Some(rows) => bytes.resize(offset + SLOTS * rows * image.len(), 0),
            }
            let images = Span::samples(offset, bytes.len() - offset);
            let samples = Samples { images, image, normalization };
            Ok::<_, Error>(Feed { source, samples, staged, workers, cut: None })
        };
        let (train, test) = (feed(&*dataset.train)?, feed(&*dataset.test)?);
        let validation = dataset.validation.as_deref().map(feed).transpose()?;
        Ok(Self { bytes, train, validation, test })
    }

    /// Bytes of sample memory that all sets take when they lie on the device as a whole.
    pub fn resident_bytes(dataset: &Dataset) -> usize {
        let validation = dataset.validation.as_ref().map_or(0, |source| source.len());
        (dataset.train.len() + validation + dataset.test.len()) * dataset.image.len()
    }

    /// Bytes of sample memory for staged batches of `rows`.
    pub fn staged_bytes(dataset: &Dataset, rows: usize) -> usize {
        let sets = 2 + usize::from(dataset.validation.is_some());
        sets * SLOTS * rows * dataset.image.len()
    }
}

/// Adds the pictures of all samples, read by so many threads.
fn put_all(bytes: &mut Vec<u8>, source: &dyn Source, image: Shape, workers: usize) -> Result<(), Error> {
    if let Some(split) = source.resident() {
        bytes.extend_from_slice(&split.images);
        return Ok(());
    }
    let first = bytes.len();
    bytes.resize(first + source.len() * image.len(), 0);
    let share = source.len().div_ceil(workers.max(1)).max(1);
    let parts = bytes[first..].chunks_mut((share * image.len()).max(1)).zip((0..).step_by(share));
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (part, first) in parts {
            let work = move || put(part, image, first.., |index, to| source.picture(index, to));
            let thread = thread::Builder::new().name("pictures".into()).spawn_scoped(scope, work);
            threads.push(thread.map_err(|source| Error::io("the threads that read pictures", source))?);
        }
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(failed())))
    })
}

/// What stands for the error of a thread that panicked.
fn failed() -> Error {
    Error::Usage("a thread that reads pictures failed: this is a fault of the program".into())
}

/// Puts the pictures of these samples one behind the other, as many as there is room for.
fn put(
    to: &mut [u8],
    image: Shape,
    samples: impl Iterator<Item = usize>,
    mut read: impl FnMut(usize, &mut Picture) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut picture = Picture::new();
    to.chunks_exact_mut(image.len().max(1)).zip(samples).try_for_each(|(to, index)| {
        read(index, &mut picture)?;
        to.copy_from_slice(picture.sized(image)?);
        Ok(())
    })
}

impl Feed<'_> {
    /// The same with pictures cut out like this.
    #[must_use]
    pub fn cut(self, cut: Option<Cut>) -> Self {
        Self { cut, ..self }
    }

    /// The index under which step `number` finds sample `index`, its row `row`.
    pub fn index(&self, number: usize, row: usize, index: u32) -> u32 {
        self.staged.map_or(index, |rows| (number % SLOTS * rows + row) as u32)
    }

    /// Calls `each(backend, number)` for every batch of sample indices from number `first` on, in order, with the batch's bytes on the device.
    ///
    /// Staged batches are collected by other threads, a few ahead: steps wait only where these have fallen behind.
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
        let rest = batches.get(first..).unwrap_or_default();
        let workers = self.workers.clamp(1, rest.len().max(1));
        thread::scope(|scope| {
            // Each reads every so manieth batch and holds a few ready. It ends when all are sent, or when the receiver is
            // gone after an error.
            let begin = |worker: usize| {
                let (sender, receiver) = mpsc::sync_channel((SLOTS / 2).div_ceil(workers));
                let mine = rest.iter().skip(worker).step_by(workers);
                let work = move || mine.map(|batch| self.collect(batch)).try_for_each(|part| sender.send(part));
                let thread = thread::Builder::new().name("batches".into()).spawn_scoped(scope, work);
                let thread = thread.map_err(|source| Error::io("the threads that collect batches", source))?;
                Ok((receiver, thread))
            };
            let begun: Vec<_> = (0..workers).map(begin).collect::<Result<_, Error>>()?;
            let (receivers, threads): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
            let mut numbers = (first..batches.len()).zip(receivers.iter().cycle());
            let result = numbers.try_for_each(|(number, receiver)| {
                let images = receiver.recv().map_err(|_| failed())??;
                let slot = number % SLOTS * rows;
                backend.write_samples(self.samples.images.offset + slot * self.samples.image.len(), images)?;
                each(backend, number)
            });
            drop(receivers);
            let ended = threads.into_iter().try_for_each(|thread| thread.join().map(drop).map_err(|_| failed()));
            result.and(ended)
        })
    }

    /// The pictures of a batch.
    fn collect(&self, batch: &[u32]) -> Result<Vec<u8>, Error> {
        let image = self.samples.image;
        let mut bytes = vec![0; batch.len() * image.len()];
        let samples = batch.iter().map(|&index| index as usize);
        match self.cut {
            None => put(&mut bytes, image, samples, |index, to| self.source.picture(index, to))?,
            Some(Cut { crop, seed, epoch }) => {
                let (mut original, mut scratch) = (Picture::new(), Scratch::default());
                put(&mut bytes, image, samples, |index, to| {
                    self.source.original(index, &mut original)?;
                    let Shape { height, width, .. } = original.shape;
                    let words = random::crop(seed, epoch, index as u32);
                    let drawn = crop.draw(&words, width as u32, height as u32);
                    crop.apply(&drawn, &original, &mut scratch, to);
                    Ok(())
                })?;
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::{Format, Split};

    /// Pictures that lie nowhere in memory; the last one is of another size.
    #[derive(Debug)]
    struct Drawn(usize);

    impl Source for Drawn {
        fn len(&self) -> usize {
            self.0
        }

        fn label(&self, index: usize) -> u32 {
            index as u32
        }

        fn picture(&self, index: usize, to: &mut Picture) -> Result<(), Error> {
            let height = if index == 5 { 3 } else { 2 };
            to.set(Shape::new(height, 1, 1), &[index as u8, 7, 9][..height]);
            Ok(())
        }

        fn fingerprint(&self) -> String {
            "drawn".into()
        }
    }

    fn dataset(train: Arc<dyn Source>) -> Dataset {
        let image = Shape::new(2, 1, 1);
        let test = Arc::new(Split { image, images: vec![1, 2, 3, 4], labels: vec![0, 1] });
        Dataset {
            name: "drawn".into(),
            format: Format::Idx,
            image,
            classes: 6,
            class_names: Vec::new(),
            train,
            validation: None,
            test,
            notices: Vec::new(),
            summary: Vec::new(),
            view: None,
        }
    }

    #[test]
    fn pictures_from_anywhere_reach_the_device_as_those_in_memory_do() {
        let dataset = dataset(Arc::new(Drawn(3)));
        let feeds = Feeds::new(&dataset, Span::work(0, 2), None, 2).unwrap();
        assert_eq!(feeds.bytes, [0, 7, 1, 7, 2, 7, 1, 2, 3, 4]);
        assert_eq!(
            [feeds.train, feeds.test].map(|feed| feed.samples.images),
            [Span::samples(0, 6), Span::samples(6, 4)]
        );
        let staged = Feeds::new(&dataset, Span::work(0, 2), Some(2), 2).unwrap();
        assert_eq!(staged.bytes.len(), Feeds::staged_bytes(&dataset, 2));
        assert_eq!(staged.train.collect(&[2, 0]).unwrap(), [2, 7, 0, 7]);
        assert_eq!(staged.test.collect(&[1]).unwrap(), [3, 4]);
    }

    #[test]
    fn a_picture_that_does_not_fit_is_an_error_and_not_a_batch() {
        let dataset = dataset(Arc::new(Drawn(6)));
        let refused = Feeds::new(&dataset, Span::work(0, 2), None, 2).unwrap_err();
        assert_eq!(refused.to_string(), "the network's input cannot take images of 3 x 1 x 1");
        let staged = Feeds::new(&dataset, Span::work(0, 2), Some(2), 2).unwrap();
        assert!(staged.train.collect(&[4]).is_ok() && staged.train.collect(&[4, 5]).is_err());
    }
}
