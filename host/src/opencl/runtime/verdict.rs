//! What was found wrong with an algorithm on a device.

use std::collections::BTreeMap;
use std::fmt;

use crate::opencl::algorithm::{Algorithm, Block, Direction};
use crate::opencl::runtime::error::Error;

/// Largest error of a result, relative to all of it.
pub(crate) const BOUND: f64 = 1e-5;

/// Why an algorithm is not used.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Its result differs from the general kernel's, relative to all of it by so much; or it is no number.
    Wrong(f64),
    /// A call for it failed.
    Fails(Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(error) if error.is_finite() => {
                write!(f, "its result differs from the general kernel's by {error:.1e}, where {BOUND:e} is allowed")
            }
            Self::Wrong(_) => f.write_str("its result is not finite"),
            Self::Fails(error) => error.fmt(f),
        }
    }
}

/// An algorithm that is not used.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// For which of a convolution's operations.
    pub direction: Direction,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Why.
    pub fault: Fault,
    /// Whether this was found now, not earlier in this process.
    pub first: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, algorithm, fault, .. } = self;
        write!(f, "{} is skipped for the {direction}: {fault}", algorithm.name())
    }
}

/// What was found about blocks, with no fault where they are right.
pub(crate) type Verdicts = BTreeMap<(Direction, Block), Option<Fault>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_sentence() {
        let refusal = |fault| {
            let algorithm = Algorithm::Block(Block::B64x16);
            Refusal { direction: Direction::BackwardWeight, algorithm, fault, first: true }.to_string()
        };
        let wrong = "64x16 is skipped for the weight gradient: its result differs from the general kernel's by 2.5e-1, \
                     where 1e-5 is allowed";
        assert_eq!(refusal(Fault::Wrong(0.25)), wrong);
        assert_eq!(
            refusal(Fault::Wrong(f64::NAN)),
            "64x16 is skipped for the weight gradient: its result is not finite"
        );
        let call = Error::Call { call: "clEnqueueNDRangeKernel", device: "a card".into(), code: -54 };
        let fails = "64x16 is skipped for the weight gradient: clEnqueueNDRangeKernel failed with -54 \
                     (CL_INVALID_WORK_GROUP_SIZE) on a card";
        assert_eq!(refusal(Fault::Fails(call)), fails);
    }
}
