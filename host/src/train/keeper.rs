//! The weights and checkpoints that a training leaves in its folder, where it has one.

use std::path::PathBuf;

use crate::error::Error;
use crate::files::write_whole;
use crate::report::classes::Classes;
use crate::report::confusion::Confusion;
use crate::report::evaluation::Evaluation;
use crate::report::{Event, Observer};
use crate::run::checkpoint::Label;
use crate::run::folder::RunFolder;
use crate::run::snapshot::Snapshot;
use crate::run::writer::Task;
use crate::train::place::Placed;
use crate::weights::{Choice, Description};

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
            Task::Best(Some(snapshot)) => self.placed.save(&folder.best(self.choice()), &snapshot),
            Task::Best(None) => folder.remove_best(self.choice()),
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

    fn choice(&self) -> Choice {
        Choice::of(&self.placed.prepared.dataset)
    }

    /// Writes what the weights at the end of a run make of the test set.
    ///
    /// # Errors
    /// As [`Keeper::write`].
    pub fn evaluation(&self, confusion: &Confusion) -> Result<(), Error> {
        let (Some(folder), prepared) = (self.folder, self.placed.prepared) else { return Ok(()) };
        let name = folder.last().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Description { counts, shots, eta, class_names: names, .. } = &prepared.description;
        let accuracy = &confusion.accuracy(counts, *shots);
        let classes = Classes { confusion, accuracy, counts, eta: *eta, names };
        let evaluation = Evaluation::new(&name, &classes, *shots, prepared.recipe.flip);
        write_whole(&folder.evaluation(), |file| evaluation.write(file))
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
