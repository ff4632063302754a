//! The weights and checkpoints that a training leaves in its folder, where it has one.

use std::path::PathBuf;

use crate::error::Error;
use crate::report::{Event, Observer};
use crate::run::checkpoint::Label;
use crate::run::folder::RunFolder;
use crate::run::snapshot::Snapshot;
use crate::run::writer::Task;
use crate::train::place::Placed;

/// Writes a training's weights and checkpoints; without a folder nothing.
pub struct Keeper<'a> {
    /// The training.
    pub placed: &'a Placed<'a>,
    /// Its folder.
    pub folder: Option<&'a RunFolder>,
    /// Who is told of checkpoints.
    pub observer: &'a dyn Observer,
    /// What stands beside the tensors of a checkpoint.
    pub label: Label,
}

impl Keeper<'_> {
    /// Writes a file: the second thread's part.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses.
    pub fn write(&self, task: Task) -> Result<(), Error> {
        let (Some(folder), prepared) = (self.folder, self.placed.prepared) else { return Ok(()) };
        match task {
            Task::Best(Some(snapshot)) => self.placed.save(&folder.best(), &snapshot),
            Task::Best(None) => folder.remove_best(),
            Task::Checkpoint(checkpoint) => {
                folder.synchronise()?;
                let write = || {
                    let path = folder.checkpoint(&checkpoint.name())?;
                    let metadata = prepared.description.metadata();
                    checkpoint.write(&path, &self.placed.layout, &self.label, metadata).map(|()| path)
                };
                // Somebody may remove the folder while it is written to.
                let path = write().or_else(|error| if error.is_missing() { write() } else { Err(error) })?;
                self.observer.observe(&Event::Checkpoint { path: path.display().to_string() });
                folder.prune(prepared.recipe.keep as usize, checkpoint.position.target)
            }
        }
    }

    /// Writes the weights at the end of a run, and says where.
    ///
    /// # Errors
    /// As [`Keeper::write`].
    pub fn last(&self, snapshot: &Snapshot) -> Result<Option<PathBuf>, Error> {
        let path = self.folder.map(RunFolder::last);
        path.map(|path| self.placed.save(&path, snapshot).map(|()| path)).transpose()
    }
}
