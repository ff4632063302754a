//! The data set that comes with the program: handwritten digits of 8 x 8 pixels with values 0 to 16.
//!
//! E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
//! CC BY 4.0. Packed by `examples/pack_digits.rs`.

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use sse_sam_core::Shape;

use crate::Error;
use crate::data::{Dataset, Format, Split};

/// Gzip of training labels, test labels, training images, test images: a byte a value.
const PACKED: &[u8] = include_bytes!("../../../assets/digits.bin.gz");
const TRAIN: usize = 3823;
const TEST: usize = 1797;
const IMAGE: Shape = Shape::new(8, 8, 1);

/// Unpacks the built-in digits.
pub(crate) fn load() -> Result<Dataset, Error> {
    let name = Format::Digits.word();
    let mut bytes = Vec::with_capacity((TRAIN + TEST) * (1 + IMAGE.len()));
    GzDecoder::new(PACKED).read_to_end(&mut bytes).map_err(|source| Error::io(name, source))?;
    let mut rest = bytes.as_slice();
    let mut take = |length: usize| -> Result<Vec<u8>, Error> {
        let (part, after) =
            rest.split_at_checked(length).ok_or_else(|| Error::file(name, "the built-in data is cut off"))?;
        rest = after;
        Ok(part.to_vec())
    };
    let (train_labels, test_labels) = (take(TRAIN)?, take(TEST)?);
    let mut split = |labels: Vec<u8>| -> Result<_, Error> {
        let images = take(labels.len() * IMAGE.len())?;
        Ok(Arc::new(Split { image: IMAGE, images, labels: labels.into_iter().map(u32::from).collect() }))
    };
    let (train, test) = (split(train_labels)?, split(test_labels)?);
    Ok(Dataset {
        name: name.to_owned(),
        format: Format::Digits,
        image: IMAGE,
        classes: 10,
        class_names: Vec::new(),
        train,
        validation: None,
        test,
        notices: Vec::new(),
        summary: Vec::new(),
        view: None,
    })
}
