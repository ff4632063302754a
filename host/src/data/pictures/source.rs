//! Encoded pictures as a training sees them: decoded whenever they are wanted, at the network's size.

use std::sync::{Mutex, PoisonError};

use sse_sam_core::Shape;

use crate::data::pictures::decode::{Decoding, decode};
use crate::data::pictures::resample::Scratch;
use crate::data::pictures::samples::Samples;
use crate::data::pictures::transform::Evaluation;
use crate::data::{Picture, Source};
use crate::error::Error;

/// How encoded pictures become the network's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The network's picture.
    pub image: Shape,
    /// How they are decoded.
    pub decoding: Decoding,
    /// How they come to that size; none where all of them have it.
    pub evaluation: Option<Evaluation>,
    /// What numbers in lists begin with, where labels were such.
    pub label_base: Option<u32>,
}

impl View {
    /// The picture that is resized, where it is.
    ///
    /// # Errors
    /// What a picture is that would become larger than pictures may be.
    pub fn sized(&self, original: &Picture, scratch: &mut Scratch, to: &mut Picture) -> Result<(), String> {
        let Some(evaluation) = &self.evaluation else {
            to.clone_from(original);
            return Ok(());
        };
        let Shape { height, width, .. } = original.shape;
        let (short, long) = (height.min(width).max(1) as u64, height.max(width) as u64);
        let resized = u64::from(evaluation.resize);
        let pixels = resized.saturating_mul(resized.saturating_mul(long) / short);
        if pixels > self.decoding.max_pixels {
            return Err(format!(
                "is too thin: {width} x {height} pixels, resized to {resized} on the shorter side, are more than --max-pixels"
            ));
        }
        evaluation.apply(original, scratch, to);
        Ok(())
    }
}

/// A set of encoded pictures.
#[derive(Debug)]
pub struct Pictures {
    samples: Samples,
    view: View,
    desks: Mutex<Vec<Desk>>,
}

/// Memory that a thread works in.
#[derive(Debug, Default)]
struct Desk {
    encoded: Vec<u8>,
    decoded: Picture,
    scratch: Scratch,
}

impl Pictures {
    /// These samples, seen like this.
    pub fn new(samples: Samples, view: View) -> Self {
        Self { samples, view, desks: Mutex::default() }
    }

    /// Does something at a desk that no other thread uses.
    fn at_desk<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        let desks = || self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut desk = desks().pop().unwrap_or_default();
        let result = work(&mut desk);
        desks().push(desk);
        result
    }

    fn decode(&self, index: usize, encoded: &mut Vec<u8>, to: &mut Picture) -> Result<(), Error> {
        self.samples.read(index, encoded)?;
        decode(encoded, &self.view.decoding, to).map_err(|refused| {
            Error::file(self.samples.place(index), refused.to_string())
                .with_hint("--verify finds such pictures before training, and with --bad-images skip leaves them out")
        })
    }
}

impl Source for Pictures {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.samples.labels()[index]
    }

    fn picture(&self, index: usize, to: &mut Picture) -> Result<(), Error> {
        if self.view.evaluation.is_none() {
            return self.original(index, to);
        }
        self.at_desk(|desk| {
            self.decode(index, &mut desk.encoded, &mut desk.decoded)?;
            let sized = self.view.sized(&desk.decoded, &mut desk.scratch, to);
            sized.map_err(|why| Error::file(self.samples.place(index), why))
        })
    }

    fn original(&self, index: usize, to: &mut Picture) -> Result<(), Error> {
        self.at_desk(|desk| self.decode(index, &mut desk.encoded, to))
    }

    /// CRC-32 of names, labels and lengths of files, and how pictures are decoded and brought to size: not of their content.
    fn fingerprint(&self) -> String {
        let (mut crc, mut bytes) = (crc32fast::Hasher::new(), Vec::new());
        for index in 0..self.samples.len() {
            bytes.clear();
            self.samples.identity(index, &mut bytes);
            crc.update(&bytes);
        }
        crc.update(&self.samples.lengths().to_le_bytes());
        let View { decoding: Decoding { channels, exif, grey16, .. }, evaluation, .. } = &self.view;
        let how = format!("{channels:?} {exif:?} {grey16:?} {evaluation:?}");
        format!("{:08x}-{:08x}", crc.finalize(), crc32fast::hash(how.as_bytes()))
    }
}
