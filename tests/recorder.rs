//! A backend that writes down what is asked of another one.

use sse_sam_core::machine::watched::{self, Watch, Watched};
use sse_sam_core::{Backend, Span};

/// One call of a Backend method.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Everything it may write.
    pub written: Vec<Span>,
    /// Output gradients it works on; 1 where it takes none.
    pub streams: usize,
}

/// Passes every call on and keeps a list of them.
pub type Recorder<'b, B> = Watched<'b, B, List>;

/// The list of a [`Recorder`].
#[derive(Debug, Default)]
pub struct List {
    /// What was asked for, in order.
    pub calls: Vec<Call>,
}

impl<B: Backend> Watch<B> for List {
    fn around(
        &mut self,
        backend: &mut B,
        call: &watched::Call<'_>,
        run: impl FnOnce(&mut B) -> Result<(), B::Error>,
    ) -> Result<(), B::Error> {
        let watched::Call { method, streams, written, .. } = *call;
        self.calls.push(Call { method, written: written.concat(), streams });
        run(backend)
    }
}
