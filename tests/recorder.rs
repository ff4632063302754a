//! Records what a machine is asked for.

use sse_sam_core::machine::watched::{Watch, Watched};
use sse_sam_core::ops::Operation;
use sse_sam_core::ops::operation::Access;
use sse_sam_core::{Machine, Run, Span};

/// One thing that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The operation, or `read` or `write`.
    pub name: &'static str,
    /// Everything it may write.
    pub written: Vec<Span>,
    /// Output gradients it works on; 1 where it takes none.
    pub streams: usize,
}

/// Passes every call on and keeps a list of them.
pub type Recorder<'m, M> = Watched<'m, M, List>;

/// The list of a [`Recorder`].
#[derive(Debug, Default)]
pub struct List {
    /// What was asked for, in order.
    pub calls: Vec<Call>,
}

impl<M: Machine> Watch<M> for List {
    fn around<O: Operation>(&mut self, machine: &mut M, operation: &O) -> Result<(), M::Error>
    where
        M: Run<O>,
    {
        let mut written = Vec::new();
        operation.operands(|access, span| written.extend(access.writes().then_some(span)));
        self.calls.push(Call { name: O::NAME, written, streams: operation.streams() });
        machine.run(operation)
    }

    fn passed(&mut self, access: Access, span: Span) {
        let (name, written) = if access.writes() { ("write", vec![span]) } else { ("read", Vec::new()) };
        self.calls.push(Call { name, written, streams: 1 });
    }
}
