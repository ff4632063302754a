//! What a run writes down line by line, where it has a folder: `metrics.jsonl`, TensorBoard's file, `log.txt`.

use crate::error::Error;
use crate::report::observer::Line;
use crate::run::folder::RunFolder;
use crate::run::position::Position;

/// The lines of a run; without a folder nothing is written.
#[derive(Clone, Copy, Debug)]
pub struct Journal<'a> {
    folder: Option<&'a RunFolder>,
    tensorboard: bool,
}

impl<'a> Journal<'a> {
    /// Writes into a folder; for TensorBoard too where that is wanted.
    pub fn new(folder: Option<&'a RunFolder>, tensorboard: bool) -> Self {
        Self { folder, tensorboard }
    }

    /// Cuts everything back to where the run goes on.
    ///
    /// # Errors
    /// As [`RunFolder::rewind`] and [`RunFolder::begin_events`].
    pub fn rewind(&self, position: &Position) -> Result<(), Error> {
        let Some(folder) = self.folder else { return Ok(()) };
        folder.rewind(position.metrics)?;
        if self.tensorboard { folder.begin_events(position.epoch) } else { Ok(()) }
    }

    /// Adds an epoch's line, and returns how long `metrics.jsonl` is with it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn measure(&self, line: &Line<'_>) -> Result<u64, Error> {
        self.folder.map_or(Ok(0), |folder| folder.measure(line))
    }

    /// Adds an epoch for TensorBoard, with numbers that are not in its line.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn show(&self, line: &Line<'_>, more: &[(String, f64)]) -> Result<(), Error> {
        let folder = self.folder.filter(|_| self.tensorboard);
        folder.map_or(Ok(()), |folder| folder.event(line.epoch, line, more))
    }

    /// Adds what has happened to `log.txt`.
    pub fn note(&self, text: &str) {
        if let Some(folder) = self.folder {
            folder.note(text);
        }
    }
}
