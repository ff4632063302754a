//! Weights that say what they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::device::layout::Layout;
use crate::error::Error;
use crate::report::Observer;
use crate::weights::adapt::adapt;
use crate::weights::description::Description;
use crate::weights::{self, Tensor, torch};

/// A weights file of this program.
#[derive(Debug)]
pub struct Weights {
    /// What it says about itself.
    pub description: Description,
    path: PathBuf,
    tensors: Vec<Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Weights {
    /// Reads a file that `train` wrote, or the best of a run's folder.
    ///
    /// # Errors
    /// As [`Weights::new`]; [`Error::Io`] when it cannot be read.
    pub fn read(path: &Path, observer: &dyn Observer) -> Result<Self, Error> {
        let path = weights::find(path, observer)?;
        let (tensors, metadata) = weights::read(&path)?;
        Self::new(&path, tensors, &metadata)
    }

    /// The tensors of a file and what they are, checked against each other before memory is taken for what is said of them.
    ///
    /// # Errors
    /// [`Error::Weights`] when it is damaged or does not say what it is.
    pub fn new(path: &Path, tensors: Vec<Tensor>, metadata: &BTreeMap<String, String>) -> Result<Self, Error> {
        let description = Description::from_metadata(metadata).map_err(|message| {
            Error::weights(path, message)
                .with_hint("weights that train wrote say what they are: those from elsewhere go to train --init first")
        })?;
        let layout = description.layout().map_err(|error| Error::weights(path, format!("its metadata: {error}")))?;
        let tensors = adapt(&layout, tensors)?;
        torch::check(&layout, path, &tensors)?;
        Ok(Self { description, path: path.to_owned(), tensors, metadata: metadata.clone() })
    }

    /// Its tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// All that it says about itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All its tensors, under the network's names.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The numbers of frozen layers: of all of them, in a network that is only evaluated.
    ///
    /// # Errors
    /// [`Error::Weights`] when names or shapes do not fit.
    pub fn frozen(&self, layout: &Layout) -> Result<Vec<f32>, Error> {
        torch::frozen(layout, &self.path, &self.tensors)
    }
}
