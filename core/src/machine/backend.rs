//! The contract between the network and the machine that runs it.
//!
//! Memory is named by [`Span`]s and never owned here. All numbers a step produces stay in memory: only
//! [`Machine::read`] returns any.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::{
    Ascend, Axpy, BatchNormBackward, BatchNormForward, BatchNormInference, BatchNormInferenceBackward, Combine,
    Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dBatchNormForward, Conv2dForward, Copy, CrossEntropy,
    CrossEntropyTangent, Decay, Descend, Dots, Fill, Gather, GlobalAveragePoolBackward, GlobalAveragePoolForward,
    LinearBackwardInput, LinearBackwardWeight, LinearForward, MaxPoolBackward, MaxPoolForward, MaxPoolTangent,
    Operation, ReluBackward, ReluForward, SgdUpdate, ShortcutBackward, ShortcutForward,
};

/// Something with memory, which the host writes and reads.
pub trait Machine {
    /// What can go wrong.
    type Error: From<Error>;

    /// Puts numbers into work memory.
    ///
    /// # Errors
    /// [`Error::Bounds`] and [`Error::Space`] when `to` is not there, [`Error::Length`] when it is of another length.
    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), Self::Error>;

    /// Reads work memory after all queued work is done. Nothing else waits.
    ///
    /// # Errors
    /// As [`Machine::write`].
    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), Self::Error>;

    /// Whether it gains from a convolution and the norm of its output as one operation; else they are asked for one by
    /// one, and nothing of it is linked.
    #[inline(always)]
    fn pairs_norms(&self) -> bool {
        false
    }
}

/// A machine that runs one kind of operation.
pub trait Run<O>: Machine {
    /// Runs it; refuses operands that do not fit together before anything is written.
    ///
    /// # Errors
    /// What is wrong with its operands, or what the machine reports.
    fn run(&mut self, operation: &O) -> Result<(), Self::Error>;
}

/// A machine that runs every operation; one more is added where no composition of these serves.
macro_rules! backend {
    ($($operation:ident $(<$stream:lifetime>)?,)*) => {
        /// A machine that runs every operation there is: what a network may ask for.
        ///
        /// Implement [`Machine`], and [`Run`] for each operation.
        pub trait Backend: $(for<'a> Run<$operation $(<$stream>)?> +)* {}

        impl<M: $(for<'a> Run<$operation $(<$stream>)?> +)*> Backend for M {}

        /// The names of all operations.
        pub const OPERATIONS: &[&str] = &[$($operation::NAME),*];
    };
}

backend! {
    Fill,
    Copy,
    Gather<'a>,
    Axpy,
    Dots,
    Combine,
    Ascend,
    SgdUpdate<'a>,
    Decay<'a>,
    Descend<'a>,
    LinearForward,
    LinearBackwardInput<'a>,
    LinearBackwardWeight<'a>,
    Conv2dForward<'a>,
    Conv2dBackwardInput<'a>,
    Conv2dBackwardWeight<'a>,
    Conv2dBatchNormForward<'a>,
    BatchNormForward,
    BatchNormInference,
    BatchNormBackward<'a>,
    BatchNormInferenceBackward<'a>,
    ReluForward,
    ReluBackward<'a>,
    ShortcutForward,
    ShortcutBackward<'a>,
    GlobalAveragePoolForward,
    GlobalAveragePoolBackward<'a>,
    MaxPoolForward<'a>,
    MaxPoolBackward<'a>,
    MaxPoolTangent<'a>,
    CrossEntropy<'a>,
    CrossEntropyTangent,
}
