//! What the best weights of a run are chosen by, and how their file is called.

use crate::data::Dataset;

/// What the best epoch of a run is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The validation set.
    Validation,
    /// The test set: its accuracy is then no estimate for other data.
    Test,
}

impl Choice {
    /// Both, the better one first.
    pub const ALL: [Self; 2] = [Self::Validation, Self::Test];

    /// What there is to choose by.
    pub fn of(dataset: &Dataset) -> Self {
        if dataset.validation.is_some() { Self::Validation } else { Self::Test }
    }

    /// The file of the best epoch's weights.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Validation => "best.safetensors",
            Self::Test => "best-on-test.safetensors",
        }
    }
}
