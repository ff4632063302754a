//! Everything that a run needs to go on, in one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::device::layout::Layout;
use crate::error::Error;
use crate::run::folder::Saved;
use crate::run::origin::{Origin, PROGRAM};
use crate::run::position::Position;
use crate::run::snapshot::Snapshot;
use crate::weights::{self, Data, Tensor};

/// Prefix of the best weights' tensors.
const BEST: &str = "best/";

/// A run at one instant.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where.
    pub position: Position,
    /// Parameters, velocity, running statistics.
    pub snapshot: Arc<Snapshot>,
    /// The same at the end of the best epoch so far.
    pub best: Option<Arc<Snapshot>>,
}

/// What stands beside the tensors in a checkpoint's file.
#[derive(Clone, Debug)]
pub struct Label {
    /// The run's settings, as in `config.toml`.
    pub settings: toml::Table,
    /// What the numbers come from.
    pub origin: Origin,
}

impl Checkpoint {
    /// The file's name.
    pub fn name(&self) -> String {
        Saved::name(self.position.epoch, self.position.step)
    }

    /// Writes the file: whole or not at all, the same bytes for the same state.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn write(
        &self,
        path: &Path,
        layout: &Layout,
        label: &Label,
        mut metadata: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let mut tensors = self.snapshot.tensors(layout)?;
        tensors.extend(self.snapshot.velocities(layout)?);
        if let Some(best) = &self.best {
            let named = |tensor: Tensor| Tensor { name: format!("{BEST}{}", tensor.name), ..tensor };
            tensors.extend(best.tensors(layout)?.into_iter().map(named));
        }
        let json = |result: serde_json::Result<String>| result.map_err(|error| Error::io(path, error.into()));
        metadata.insert("position".into(), json(serde_json::to_string(&self.position))?);
        metadata.insert("settings".into(), label.settings.to_string());
        metadata.insert("origin".into(), json(serde_json::to_string(&label.origin))?);
        metadata.insert("checksum".into(), checksum(&tensors, &metadata));
        weights::write(path, &tensors, &metadata)
    }

    /// Reads a file of a run of this very form: [`Stored`] in one go.
    ///
    /// # Errors
    /// [`Error::Weights`] when it is damaged, no checkpoint, or of another network or version.
    pub fn read(path: &Path, layout: &Layout) -> Result<(Self, Label), Error> {
        let stored = Stored::read(path)?;
        let label = stored.label()?;
        Ok((stored.checkpoint(layout)?, label))
    }
}

/// A checkpoint's file whose content is as it was written, by whichever version and for whichever network.
#[derive(Debug)]
pub struct Stored {
    path: PathBuf,
    tensors: Vec<Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Stored {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Weights`] when it is damaged or no checkpoint.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let (tensors, mut metadata) = weights::read(path)?;
        let found = metadata.remove("checksum").ok_or_else(|| Error::weights(path, "is no checkpoint"))?;
        if found != checksum(&tensors, &metadata) {
            return Err(Error::weights(path, "is damaged: its checksum does not fit its content"));
        }
        Ok(Self { path: path.to_owned(), tensors, metadata })
    }

    /// What stands beside the tensors.
    ///
    /// # Errors
    /// [`Error::Weights`] when another version wrote it, whose form this one does not know.
    pub fn label(&self) -> Result<Label, Error> {
        let origin = self.text("origin")?;
        let told: serde_json::Value = serde_json::from_str(origin).unwrap_or_default();
        if told["program"] != PROGRAM {
            let program = told["program"].as_str().unwrap_or("another program");
            let error = Error::weights(&self.path, format!("was written by {program}, and this is {PROGRAM}"));
            return Err(error.with_hint("resume this run with that version, or start a new run"));
        }
        let origin = serde_json::from_str(origin).map_err(|error| self.unreadable("origin", &error.to_string()))?;
        let settings = self.text("settings")?.parse();
        let settings = settings.map_err(|error: toml::de::Error| self.unreadable("settings", error.message()))?;
        Ok(Label { settings, origin })
    }

    /// The run at that instant.
    ///
    /// # Errors
    /// [`Error::Weights`] when it is of another network.
    pub fn checkpoint(mut self, layout: &Layout) -> Result<Checkpoint, Error> {
        let position = serde_json::from_str(self.text("position")?);
        let position: Position = position.map_err(|error| self.unreadable("position", &error.to_string()))?;
        let mut take = |prefix, updates| {
            Snapshot::from_tensors(layout, &self.path, &mut self.tensors, prefix, updates).map(Arc::new)
        };
        let snapshot = take("", position.updates)?;
        let best = position.best.as_ref().map(|best| take(BEST, best.updates)).transpose()?;
        Ok(Checkpoint { position, snapshot, best })
    }

    fn text(&self, key: &str) -> Result<&str, Error> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| Error::weights(&self.path, format!("has no {key}")))
    }

    fn unreadable(&self, key: &str, reason: &str) -> Error {
        let error = Error::weights(&self.path, format!("its {key} cannot be read: {reason}"));
        error.with_hint("another build of this version may have written it: resume with that one, or start a new run")
    }
}

/// CRC-32 of names, shapes, numbers and metadata, in an order that does not depend on the file's.
fn checksum(tensors: &[Tensor], metadata: &BTreeMap<String, String>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    let mut sorted: Vec<&Tensor> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    for Tensor { name, shape, data } in sorted {
        hasher.update(format!("{name:?}{shape:?}").as_bytes());
        match data {
            Data::F32(values) => add(&mut hasher, values, |value| value.to_le_bytes()),
            Data::I64(values) => add(&mut hasher, values, |value| value.to_le_bytes()),
        }
    }
    hasher.update(format!("{metadata:?}").as_bytes());
    format!("{:08x}", hasher.finalize())
}

/// Adds values to a checksum, some at a time.
fn add<T: Copy, const N: usize>(hasher: &mut crc32fast::Hasher, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    for part in values.chunks(4096) {
        hasher.update(&part.iter().flat_map(|&value| bytes(value)).collect::<Vec<u8>>());
    }
}
