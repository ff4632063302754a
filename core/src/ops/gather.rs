//! From stored pictures to the network's input.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::lent::{Compute, Lent};
use crate::ops::math::rows::{expect, rows_mut, whole_rows};
use crate::ops::operation::{Access, Extent, Operation};
use crate::ops::workers::Workers;
use crate::shape::Shape;

/// Where the pictures of a data set lie and how pixels become numbers. Their labels are in the rows: see [`Row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Bytes `[samples][height][width][channels]`.
    pub images: Span,
    /// One image.
    pub image: Shape,
    /// `[2][channels]` in work memory: the mean of the bytes, and one over their standard deviation.
    pub normalization: Span,
}

impl Samples {
    /// How many pictures there are.
    ///
    /// # Errors
    /// [`Error::Length`] when the last one is not whole.
    pub fn count(&self) -> Result<usize, Error> {
        whole_rows("the samples", self.images.length, self.image.len())
    }
}

/// Where [`Gather`] puts a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[rows][height][width][channels]`.
    pub images: Span,
    /// `[rows]`, class indices as numbers.
    pub labels: Span,
    /// `[rows]` for each of the two groups: the factor of a sample's loss in that group.
    pub weights: [Span; 2],
}

/// One row of an epoch's table: which sample, of which class, how it is moved, and its factor in each group.
///
/// Pixel `(y, x)` of the batch is pixel `(y + top, x + left)` of the picture, mirrored left to right first if `flip`;
/// what lies outside the picture is black (byte 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Which sample.
    pub index: u32,
    /// Its class, below [`Row::CLASSES`].
    pub label: u32,
    /// Rows by which the crop starts below the picture's first; negative above.
    pub top: i8,
    /// Columns by which the crop starts right of the picture's first; negative left.
    pub left: i8,
    /// Whether the picture is mirrored left to right before the crop.
    pub flip: bool,
    /// Factors of the sample's loss in the two groups.
    pub weights: [f32; 2],
}

impl Row {
    /// Numbers a row takes in work memory.
    pub const WORDS: usize = 4;

    /// The most classes that rows can name: a label has 15 bits, and the last value is no class.
    pub const CLASSES: usize = (1 << 15) - 1;

    /// The row as it lies in work memory: the bits of the index; of top (8, the lowest), left (8), flip (1) and label (15);
    /// and the two factors. A label beyond the last class becomes [`Row::CLASSES`], which every loss refuses.
    pub fn encode(&self) -> [f32; Self::WORDS] {
        let label = self.label.min(Self::CLASSES as u32) as u16;
        let [low, high] = (label << 1 | u16::from(self.flip)).to_le_bytes();
        let word = u32::from_le_bytes([self.top as u8, self.left as u8, low, high]);
        [f32::from_bits(self.index), f32::from_bits(word), self.weights[0], self.weights[1]]
    }

    /// The inverse of [`Row::encode`].
    pub fn decode(words: &[f32; Self::WORDS]) -> Self {
        let [index, word, head, tail] = *words;
        let [top, left, low, high] = word.to_bits().to_le_bytes();
        let named = u16::from_le_bytes([low, high]);
        Self {
            index: index.to_bits(),
            label: u32::from(named >> 1),
            top: top as i8,
            left: left as i8,
            flip: named & 1 == 1,
            weights: [head, tail],
        }
    }
}

/// Cuts a batch out of the samples by rows of an epoch's table: [`gather`] for each row, on a machine.
///
/// `image = (byte - mean) / deviation` for each channel, NHWC; the rows' labels and group weights beside it. A row that names no
/// sample may be noticed after earlier rows were written, or show as a loss that is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gather<'a> {
    /// Where they go.
    pub batch: &'a Batch,
    /// `[rows][Row::WORDS]`.
    pub rows: Span,
    /// Where they come from.
    pub samples: &'a Samples,
}

impl Operation for Gather<'_> {
    const NAME: &'static str = "gather";

    fn extent(&self) -> Result<Extent, Error> {
        let (Batch { images, labels, weights: [head, tail] }, samples) = (*self.batch, self.samples);
        let size = samples.image.len();
        let count = whole_rows("rows", self.rows.length, Row::WORDS)?;
        samples.count()?;
        expect("images", count.saturating_mul(size), images.length)?;
        for written in [labels, head, tail] {
            expect("labels and weights", count, written.length)?;
        }
        expect("normalization", samples.image.channels.saturating_mul(2), samples.normalization.length)?;
        Ok(Extent::Images(count, samples.image))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        let (Batch { images, labels, weights: [head, tail] }, samples) = (*self.batch, self.samples);
        [images, labels, head, tail].into_iter().for_each(|written| see(Access::Write, written));
        see(Access::Read, self.rows);
        see(Access::Read, samples.normalization);
        // Of the samples as many bytes as the batch has numbers.
        see(Access::Bytes, Span { length: images.length.min(samples.images.length), ..samples.images });
    }
}

impl Compute for Gather<'_> {
    #[inline(never)]
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, _: &W) -> Result<(), Error> {
        self.extent()?;
        let (pictures, size) = (lent.sample_bytes(&self.samples.images)?, self.samples.image.len());
        let Gather { batch, samples, .. } = *self;
        let [head, tail] = &batch.weights;
        let mut memory = lent.memory();
        let (images, labels) = (memory.write(&batch.images), memory.write(&batch.labels));
        let (head, tail, rows) = (memory.write(head), memory.write(tail), memory.read(&self.rows));
        let normalization = memory.read(&samples.normalization);
        memory.found?;
        let (rows, _) = rows.as_chunks();
        let picture = |index: usize| pictures.get(index.checked_mul(size)?..)?.get(..size);
        let outputs = rows_mut(images, size).zip(labels).zip(head).zip(tail);
        for ((((image, label), head), tail), row) in outputs.zip(rows) {
            let row = Row::decode(row);
            let index = row.index as usize;
            let Some(picture) = picture(index) else {
                return Err(Error::Sample { index, samples: samples.count()? });
            };
            gather(image, picture, samples.image, &row, normalization)?;
            *label = row.label as f32;
            [*head, *tail] = row.weights;
        }
        Ok(())
    }
}

/// Cuts one image out of a stored picture: crops, mirrors and normalises.
///
/// `image[y][x][c] = (byte - mean_c) * factor_c`, where `byte` is the picture's at row `y + top` and column
/// `x + left`, mirrored left to right first if `flip`, and 0 outside the picture.
///
/// | argument        | shape                       | meaning                                       |
/// |-----------------|-----------------------------|-----------------------------------------------|
/// | `image`         | `[height][width][channels]` | overwritten                                   |
/// | `picture`       | `[height][width][channels]` | bytes as stored                               |
/// | `shape`         |                             | of both                                       |
/// | `row`           |                             | `top`, `left` and `flip`; the rest is unused  |
/// | `normalization` | `[2][channels]`             | mean of the bytes, one over their deviation   |
///
/// # Errors
/// [`Error::Length`] when a slice does not fit `shape`.
pub fn gather(image: &mut [f32], picture: &[u8], shape: Shape, row: &Row, normalization: &[f32]) -> Result<(), Error> {
    let Shape { height, width, channels } = shape;
    expect("image", shape.len(), image.len())?;
    expect("picture", shape.len(), picture.len())?;
    expect("normalization", channels.saturating_mul(2), normalization.len())?;
    let pitch = width * channels;
    for (y, image) in rows_mut(image, pitch).enumerate() {
        let source = moved(y, row.top, height).and_then(|y| picture.get(y * pitch..(y + 1) * pitch));
        for (x, pixel) in rows_mut(image, channels).enumerate() {
            let column = moved(x, row.left, width).map(|x| if row.flip { width - 1 - x } else { x });
            let bytes = column.zip(source).and_then(|(x, row)| row.get(x * channels..(x + 1) * channels));
            normalize(pixel, bytes.unwrap_or_default(), normalization);
        }
    }
    Ok(())
}

/// `position + by` if that lies inside `size`.
fn moved(position: usize, by: i8, size: usize) -> Option<usize> {
    position.checked_add_signed(isize::from(by)).filter(|position| *position < size)
}

/// One pixel; black where `bytes` ends.
fn normalize(pixel: &mut [f32], bytes: &[u8], normalization: &[f32]) {
    let Some((means, factors)) = normalization.split_at_checked(pixel.len()) else { return };
    let bytes = bytes.iter().copied().chain(core::iter::repeat(0));
    for (((pixel, byte), mean), factor) in pixel.iter_mut().zip(bytes).zip(means).zip(factors) {
        *pixel = (f32::from(byte) - mean) * factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_as_written_up_to_the_last_class() {
        let row = Row { index: u32::MAX, label: 0, top: -128, left: 127, flip: true, weights: [0.25, -1.0] };
        for label in [0, 1, 255, 256, 10_000, 32_766] {
            for flip in [false, true] {
                let row = Row { label, flip, ..row };
                assert_eq!(Row::decode(&row.encode()), row);
            }
        }
        for label in [32_767, 32_768, 65_536, u32::MAX] {
            assert_eq!(Row::decode(&Row { label, ..row }.encode()), Row { label: 32_767, ..row });
        }
    }

    #[test]
    fn crops_come_after_the_mirror_and_black_is_normalised() {
        let (shape, picture) = (Shape::new(2, 3, 1), [1, 2, 3, 4, 5, 6]);
        let mut image = [f32::NAN; 6];
        let row = |top, left, flip| Row { index: 0, label: 0, top, left, flip, weights: [0.0; 2] };
        let cases = [
            (row(0, 0, false), [1., 2., 3., 4., 5., 6.]),
            (row(0, 0, true), [3., 2., 1., 6., 5., 4.]),
            (row(1, -1, false), [0., 4., 5., 0., 0., 0.]),
            (row(-1, 1, true), [0., 0., 0., 2., 1., 0.]),
            (row(-128, 127, true), [0.; 6]),
        ];
        for (row, bytes) in cases {
            gather(&mut image, &picture, shape, &row, &[2.0, 0.5]).unwrap();
            assert_eq!(image, bytes.map(|byte: f32| (byte - 2.0) * 0.5));
        }
        assert!(gather(&mut image, &picture[1..], shape, &row(0, 0, false), &[2.0, 0.5]).is_err());
    }
}
