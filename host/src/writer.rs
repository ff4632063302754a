//! Files written beside the training, by a second thread.
//!
//! There is one place for each kind of file; what waits there is replaced by what is newer, so that a slow disk never
//! holds up the training.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::snapshot::Snapshot;

/// A file to write.
#[derive(Debug)]
pub enum Task {
    /// The best weights so far.
    Best(Arc<Snapshot>),
    /// A checkpoint.
    Checkpoint(Box<Checkpoint>),
}

#[derive(Debug, Default)]
struct Queue {
    best: Option<Arc<Snapshot>>,
    checkpoint: Option<Box<Checkpoint>>,
    busy: bool,
    closed: bool,
    failure: Option<Error>,
}

impl Queue {
    fn is_idle(&self) -> bool {
        !self.busy && self.best.is_none() && self.checkpoint.is_none()
    }

    /// The weights before the checkpoint that counts on them.
    fn next(&mut self) -> Option<Task> {
        let best = self.best.take().map(Task::Best);
        best.or_else(|| self.checkpoint.take().map(Task::Checkpoint))
    }
}

/// What the two threads share.
#[derive(Debug, Default)]
pub struct Desk {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes until the writer is dropped; after a failure nothing more.
    pub fn work(&self, write: impl Fn(Task) -> Result<(), Error>) {
        let mut queue = self.lock();
        loop {
            if let Some(task) = queue.next() {
                let failed = queue.failure.is_some();
                queue.busy = true;
                drop(queue);
                let result = if failed { Ok(()) } else { write(task) };
                queue = self.lock();
                queue.busy = false;
                queue.failure = queue.failure.take().or(result.err());
                self.changed.notify_all();
            } else if queue.closed {
                return;
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// The training's side of the desk.
#[derive(Debug)]
pub struct Writer<'a> {
    desk: &'a Desk,
}

impl<'a> Writer<'a> {
    /// Hands over files at `desk`.
    pub fn new(desk: &'a Desk) -> Self {
        Self { desk }
    }

    /// Hands over a file without waiting for it.
    ///
    /// # Errors
    /// What went wrong with an earlier one.
    pub fn put(&self, task: Task) -> Result<(), Error> {
        let mut queue = self.desk.lock();
        match task {
            Task::Best(snapshot) => queue.best = Some(snapshot),
            Task::Checkpoint(checkpoint) => queue.checkpoint = Some(checkpoint),
        }
        self.desk.changed.notify_all();
        queue.failure.take().map_or(Ok(()), Err)
    }

    /// Whether everything is written.
    pub fn is_idle(&self) -> bool {
        self.desk.lock().is_idle()
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// What went wrong.
    pub fn flush(&self) -> Result<(), Error> {
        let mut queue = self.desk.lock();
        while !queue.is_idle() {
            queue = self.desk.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.failure.take().map_or(Ok(()), Err)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.changed.notify_all();
    }
}
