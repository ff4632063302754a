//! Where samples come from: pictures, each with a class.

use std::fmt;
use std::sync::Arc;

use sse_sam_core::{Error as CoreError, Shape};

use crate::Error;

/// Samples in a fixed order, wherever they come from. Threads read them side by side.
#[allow(clippy::len_without_is_empty)] // `is_empty` is there once, for all of them.
pub trait Source: Send + Sync + fmt::Debug {
    /// Number of samples.
    fn len(&self) -> usize;

    /// The class of sample `index`, which is below [`Source::len`].
    fn label(&self, index: usize) -> u32;

    /// Puts the picture of sample `index`, which is below [`Source::len`], into `to`, in its own shape.
    ///
    /// # Errors
    /// What keeps it from being read.
    fn picture(&self, index: usize, to: &mut Picture) -> Result<(), Error>;

    /// Puts the picture of sample `index` into `to` as it was stored, before it was brought to the size of all.
    ///
    /// # Errors
    /// What keeps it from being read.
    fn original(&self, index: usize, to: &mut Picture) -> Result<(), Error> {
        self.picture(index, to)
    }

    /// A text that differs wherever pictures or labels differ.
    fn fingerprint(&self) -> String;

    /// All of it as bytes, where that is how it lies in memory.
    fn resident(&self) -> Option<&Split> {
        None
    }
}

impl dyn Source {
    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The classes of all samples.
    pub fn labels(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).map(|index| self.label(index))
    }

    /// Number of samples of each class; labels from `classes` on are not counted.
    pub fn counts(&self, classes: usize) -> Vec<u32> {
        count(self.labels(), classes)
    }
}

/// How many times each class occurs.
pub(in crate::data) fn count(labels: impl Iterator<Item = u32>, classes: usize) -> Vec<u32> {
    let mut counts = vec![0; classes];
    for label in labels {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    counts
}

/// One picture as bytes. Memory for the next one is that of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its size.
    pub shape: Shape,
    /// `[height][width][channels]`.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// No picture yet.
    pub const fn new() -> Self {
        Self { shape: Shape::new(0, 0, 0), bytes: Vec::new() }
    }

    /// Makes it another picture.
    pub fn set(&mut self, shape: Shape, bytes: &[u8]) {
        self.shape = shape;
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes of a picture that has to be as large as the network's input.
    ///
    /// # Errors
    /// [`CoreError::Image`] when it has another size.
    pub fn sized(&self, shape: Shape) -> Result<&[u8], Error> {
        let Shape { height, width, channels } = self.shape;
        if self.shape == shape && self.bytes.len() == shape.len() {
            return Ok(&self.bytes);
        }
        Err(CoreError::Image { what: "the network's input", found: (height, width, channels) }.into())
    }
}

impl Default for Picture {
    fn default() -> Self {
        Self::new()
    }
}

/// Pictures of one size in memory, with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// One picture.
    pub image: Shape,
    /// `[samples][height][width][channels]`.
    pub images: Vec<u8>,
    /// `[samples]`, class indices.
    pub labels: Vec<u32>,
}

impl Split {
    /// No samples of pictures of this size.
    pub const fn empty(image: Shape) -> Self {
        Self { image, images: Vec::new(), labels: Vec::new() }
    }

    /// The bytes of a picture; none past the end.
    pub fn bytes(&self, index: usize) -> &[u8] {
        let length = self.image.len();
        let start = index.saturating_mul(length);
        self.images.get(start..start.saturating_add(length)).unwrap_or_default()
    }

    /// These samples in this order.
    fn part(&self, indices: &[u32]) -> Self {
        let images = indices.iter().flat_map(|&index| self.bytes(index as usize)).copied().collect();
        Self { image: self.image, images, labels: indices.iter().map(|&index| self.label(index as usize)).collect() }
    }
}

impl Source for Split {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn picture(&self, index: usize, to: &mut Picture) -> Result<(), Error> {
        to.set(self.image, self.bytes(index));
        Ok(())
    }

    /// CRC-32 of images and of labels: a byte each while all are below 256, four of little end otherwise.
    fn fingerprint(&self) -> String {
        let bytes: Result<Vec<u8>, _> = self.labels.iter().map(|&label| u8::try_from(label)).collect();
        let labels = bytes.unwrap_or_else(|_| self.labels.iter().flat_map(|label| label.to_le_bytes()).collect());
        format!("{:08x}-{:08x}", crc32fast::hash(&self.images), crc32fast::hash(&labels))
    }

    fn resident(&self) -> Option<&Split> {
        Some(self)
    }
}

/// Some samples of another source.
#[derive(Debug)]
struct Part {
    whole: Arc<dyn Source>,
    indices: Vec<u32>,
}

impl Source for Part {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.whole.label(self.indices[index] as usize)
    }

    fn picture(&self, index: usize, to: &mut Picture) -> Result<(), Error> {
        self.whole.picture(self.indices[index] as usize, to)
    }

    fn original(&self, index: usize, to: &mut Picture) -> Result<(), Error> {
        self.whole.original(self.indices[index] as usize, to)
    }

    fn fingerprint(&self) -> String {
        let indices: Vec<u8> = self.indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        format!("{}-{:08x}", self.whole.fingerprint(), crc32fast::hash(&indices))
    }
}

/// These samples of a source in this order; indices past the end are left out.
pub(super) fn part(whole: Arc<dyn Source>, indices: &[u32]) -> Arc<dyn Source> {
    let indices: Vec<u32> = indices.iter().copied().filter(|&index| (index as usize) < whole.len()).collect();
    match whole.resident().map(|split| split.part(&indices)) {
        Some(split) => Arc::new(split),
        None => Arc::new(Part { whole, indices }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(labels: Vec<u32>) -> Split {
        let images = (0..labels.len()).flat_map(|index| [index as u8, 9]).collect();
        Split { image: Shape::new(1, 2, 1), images, labels }
    }

    /// A source that is nowhere in memory.
    #[derive(Debug)]
    struct Elsewhere(Split);

    impl Source for Elsewhere {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn label(&self, index: usize) -> u32 {
            self.0.label(index)
        }

        fn picture(&self, index: usize, to: &mut Picture) -> Result<(), Error> {
            self.0.picture(index, to)
        }

        fn fingerprint(&self) -> String {
            self.0.fingerprint()
        }
    }

    #[test]
    fn a_part_has_the_same_samples_wherever_they_lie() {
        let whole = split(vec![3, 1, 2, 1]);
        for source in [Arc::new(whole.clone()) as Arc<dyn Source>, Arc::new(Elsewhere(whole))] {
            let is_resident = source.resident().is_some();
            let part = part(source, &[3, 0, 4, u32::MAX]);
            assert_eq!((part.labels().collect::<Vec<_>>(), part.counts(3)), (vec![1, 3], vec![0, 1, 0]));
            let mut picture = Picture::new();
            part.picture(0, &mut picture).unwrap();
            assert_eq!(picture, Picture { shape: Shape::new(1, 2, 1), bytes: vec![3, 9] });
            assert_eq!(part.resident().is_some(), is_resident);
        }
    }

    #[test]
    fn a_fingerprint_tells_labels_apart_that_no_byte_holds() {
        let of = |labels: [u32; 2]| split(labels.into()).fingerprint();
        assert_eq!(of([1, 255]), format!("{:08x}-{:08x}", crc32fast::hash(&[0, 9, 1, 9]), crc32fast::hash(&[1, 255])));
        assert!(of([1, 256]) != of([1, 0]) && of([1, 256]) != of([257, 256]));
    }

    #[test]
    fn a_picture_of_another_size_is_refused_by_its_size() {
        let mut picture = Picture::new();
        picture.set(Shape::new(3, 2, 1), &[0; 6]);
        assert_eq!(picture.sized(Shape::new(3, 2, 1)).unwrap(), [0; 6]);
        let refused = picture.sized(Shape::new(2, 3, 1)).unwrap_err();
        assert_eq!(refused.to_string(), "the network's input cannot take images of 3 x 2 x 1");
    }
}
