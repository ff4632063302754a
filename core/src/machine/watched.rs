//! Wraps a machine and reports every operation.

use crate::machine::backend::{Machine, Run};
use crate::memory::Span;
use crate::ops::operation::{Access, Operation};

/// Receives the calls.
pub trait Watch<M: Machine> {
    /// Called in place of an operation: has the machine run it, and may do anything before and after.
    ///
    /// # Errors
    /// What the machine reports.
    fn around<O: Operation>(&mut self, machine: &mut M, operation: &O) -> Result<(), M::Error>
    where
        M: Run<O>;

    /// Is told of numbers that the host reads or writes.
    fn passed(&mut self, _access: Access, _span: Span) {}
}

/// Passes everything on to a machine and reports it.
#[derive(Debug)]
pub struct Watched<'m, M, W> {
    /// The machine that does the work.
    pub inner: &'m mut M,
    /// What receives the calls.
    pub watch: W,
}

impl<'m, M: Machine, W: Watch<M>> Watched<'m, M, W> {
    /// Reports the calls of `inner` to `watch`.
    pub fn new(inner: &'m mut M, watch: W) -> Self {
        Self { inner, watch }
    }
}

impl<M: Machine, W: Watch<M>> Machine for Watched<'_, M, W> {
    type Error = M::Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), M::Error> {
        self.watch.passed(Access::Write, to);
        self.inner.write(to, values)
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), M::Error> {
        self.watch.passed(Access::Read, from);
        self.inner.read(values, from)
    }

    fn pairs_norms(&self) -> bool {
        self.inner.pairs_norms()
    }
}

impl<O: Operation, M: Run<O>, W: Watch<M>> Run<O> for Watched<'_, M, W> {
    fn run(&mut self, operation: &O) -> Result<(), M::Error> {
        self.watch.around(self.inner, operation)
    }
}
