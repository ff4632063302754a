//! A second thread that writes files while training goes on.
//!
//! There is one place for each kind of file; what waits there is replaced by what is newer, so that a slow disk never
//! holds up the training.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::run::checkpoint::Checkpoint;
use crate::run::snapshot::Snapshot;

const GONE: &str = "the thread that writes them has ended";

/// A file to write.
#[derive(Debug)]
pub enum Task {
    /// The best weights so far; with none, there is to be no such file.
    Best(Option<Arc<Snapshot>>),
    /// A checkpoint.
    Checkpoint(Box<Checkpoint>),
}

#[derive(Debug, Default)]
struct Queue {
    best: Option<Option<Arc<Snapshot>>>,
    checkpoint: Option<Box<Checkpoint>>,
    busy: bool,
    closed: bool,
    /// Whether the other thread has ended.
    gone: bool,
    failure: Option<Error>,
}

impl Queue {
    fn is_idle(&self) -> bool {
        !self.busy && self.best.is_none() && self.checkpoint.is_none()
    }

    /// The first error; it is reported once.
    fn outcome(&mut self) -> Result<(), Error> {
        match self.failure.take() {
            Some(error) => Err(error),
            None if self.gone && !self.is_idle() => Err(Error::io("checkpoints", io::Error::other(GONE))),
            None => Ok(()),
        }
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

    /// Writes what comes until the writer is dropped; after a failure nothing more. A panic is a failure: nobody waits
    /// for ever.
    pub fn work(&self, write: impl Fn(Task) -> Result<(), Error>) {
        let _gone = Gone(self);
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

/// Tells the training thread that the writer has ended, for whatever reason.
struct Gone<'a>(&'a Desk);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.lock().gone = true;
        self.0.changed.notify_all();
    }
}

/// The training thread's end.
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
        queue.outcome()
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
        while !queue.is_idle() && !queue.gone {
            queue = self.desk.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.outcome()
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;
    use crate::run::position::Position;

    #[test]
    fn a_panic_of_the_writing_thread_is_an_error_and_nobody_waits_for_ever() {
        let desk = Desk::default();
        thread::scope(|scope| {
            let writer = Writer::new(&desk);
            scope
                .spawn(|| catch_unwind(AssertUnwindSafe(|| desk.work(|_| panic!("a bug of the writer")))).unwrap_err());
            let snapshot = Arc::default();
            writer
                .put(Task::Checkpoint(Box::new(Checkpoint { position: Position::default(), snapshot, best: None })))
                .unwrap();
            let error = writer.flush().unwrap_err().to_string();
            assert_eq!(error, format!("checkpoints: {GONE}"));
            let again = writer.put(Task::Best(None)).and_then(|()| writer.flush());
            assert!(again.is_err(), "nothing is taken for written");
        });
    }
}
