//! Return codes.

use core::ffi::CStr;

use sse_sam_core::Error;

/// What a function returns.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A pointer is NULL.
    Null = 1,
    /// A pointer is not aligned to its type; a handle's memory is to be aligned as a `size_t`.
    Misaligned = 2,
    /// Memory that must not overlap does.
    Overlap = 3,
    /// The memory lent for a handle is shorter than `sse_sam_handle_bytes` or `sse_sam_perceptron_bytes` says.
    ShortHandle = 4,
    /// The memory lent as an arena is shorter than `sse_sam_plan` said.
    ShortArena = 5,
    /// This is no handle that `sse_sam_perceptron`, `sse_sam_mlp` or `sse_sam_resnet` made.
    NoHandle = 6,
    /// `sse_sam_plan`, `sse_sam_lend`, `sse_sam_lend_frozen` or `sse_sam_lend_samples` has to come first.
    Order = 7,
    /// An array has another length than this network's.
    Length = 8,
    /// There is no such network, or a size is 0 or above 2^24 - 1.
    Model = 9,
    /// The network has more layers than a handle holds.
    Layers = 10,
    /// The batch is empty or larger than planned.
    Batch = 11,
    /// A label is not below the number of classes.
    Label = 12,
    /// A number is outside its range, or not finite.
    Range = 13,
    /// The step needs more groups or perturbed points than planned.
    Points = 14,
    /// The plan needs more than this machine can address.
    TooLarge = 15,
    /// The gradient is not finite: the parameters are as before the step, and so is the velocity but in lean memory.
    NotFinite = 16,
    /// The library contradicts itself: a bug, worth a report.
    Internal = 17,
    /// There are fewer numbers for frozen layers than `sse_sam_plan` said.
    ShortFrozen = 18,
    /// Lean memory keeps no gradient, which Nesterov momentum needs.
    Nesterov = 19,
    /// A layer that is trained normalises by its batch, which cannot pass in pieces then.
    Pieces = 20,
    /// What `sse_sam_perceptron` makes takes no focal loss; what `sse_sam_mlp` makes does.
    Focal = 21,
    /// A row holds no image: with frozen layers or a micro-batch, every step and every classification uses them up.
    Rows = 22,
    /// There is no such sample.
    Sample = 23,
    /// What `sse_sam_perceptron` makes takes no options; what `sse_sam_perceptron_with_options` makes does.
    Options = 24,
}

impl Status {
    const ALL: [(Self, &'static CStr); 25] = [
        (Self::Ok, c"done"),
        (Self::Null, c"a pointer is NULL"),
        (Self::Misaligned, c"a pointer is not aligned to its type"),
        (Self::Overlap, c"memory that must not overlap does"),
        (
            Self::ShortHandle,
            c"the handle's memory is shorter than sse_sam_handle_bytes or sse_sam_perceptron_bytes says",
        ),
        (Self::ShortArena, c"the arena is shorter than sse_sam_plan said"),
        (Self::NoHandle, c"this is no handle that sse_sam_perceptron, sse_sam_mlp or sse_sam_resnet made"),
        (
            Self::Order,
            c"sse_sam_plan, then sse_sam_lend (and its kin for frozen layers and samples) have to come first",
        ),
        (Self::Length, c"an array has another length than this network's"),
        (Self::Model, c"there is no such network, or a size is 0 or above 16777215"),
        (Self::Layers, c"the network has more layers than a handle holds"),
        (Self::Batch, c"the batch is empty or larger than planned"),
        (Self::Label, c"a label is not below the number of classes"),
        (Self::Range, c"a number is outside its range or not finite"),
        (Self::Points, c"the step needs more groups or perturbed points than planned"),
        (Self::TooLarge, c"the plan needs more memory than this machine can address"),
        (Self::NotFinite, c"the gradient is not finite; the parameters are as before the step"),
        (Self::Internal, c"the library contradicts itself; please report this"),
        (Self::ShortFrozen, c"there are fewer numbers for frozen layers than sse_sam_plan said"),
        (Self::Nesterov, c"lean memory keeps no gradient, which nesterov momentum needs"),
        (Self::Pieces, c"a micro-batch needs a network that trains no batch norm"),
        (Self::Focal, c"sse_sam_perceptron takes no focal loss; sse_sam_mlp does"),
        (Self::Rows, c"a row was used up; put the batch once more"),
        (Self::Sample, c"there is no such sample"),
        (Self::Options, c"sse_sam_perceptron takes no options; sse_sam_perceptron_with_options does"),
    ];

    /// The sentence for a number that a function returned.
    pub(crate) fn message(status: i32) -> &'static CStr {
        let found = Self::ALL.iter().find(|(known, _)| *known as i32 == status);
        found.map_or(c"there is no such status", |(_, message)| message)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Length { .. } => Self::Length,
            Error::Label { .. } => Self::Label,
            Error::TooLarge => Self::TooLarge,
            Error::Capacity { what: "perturbed points" | "groups", .. } => Self::Points,
            Error::Capacity { .. } => Self::Layers,
            Error::Batch { .. } => Self::Batch,
            Error::Range { .. } => Self::Range,
            Error::Image { .. } | Error::Model => Self::Model,
            Error::Nesterov => Self::Nesterov,
            Error::Pieces => Self::Pieces,
            Error::Sample { .. } => Self::Sample,
            _ => Self::Internal,
        }
    }
}

impl From<Result<(), Status>> for Status {
    fn from(result: Result<(), Status>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(status) => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_message() {
        for (number, (status, message)) in Status::ALL.iter().enumerate() {
            assert_eq!(*status as usize, number);
            assert_eq!(Status::message(*status as i32), *message);
            assert!(Status::ALL.iter().skip(number + 1).all(|(_, other)| other != message));
        }
        assert_eq!(Status::message(25), Status::message(-1));
    }
}
