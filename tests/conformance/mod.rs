//! One body of tests for every backend: each operation of a [`Backend`] against the reference, on awkward sizes.
//!
//! A target for a machine writes `sse_sam_tests::conformance_tests!(MyMachine::new());` and gets a test for each
//! operation; a target that finds its machines at run time calls [`run`] for each and asserts that the report is clean.

mod bench;
mod convolution;
mod edges;
mod linear;
mod loss;
mod memory;
mod normalization;
mod pointwise;
mod refusals;
mod tolerances;
mod vectors;

use core::fmt;

use sse_sam_core::{Backend, Error};

pub use bench::{Bench, Case};
pub use refusals::names as refused;
pub use tolerances::{Tolerance, tolerance};

/// What a case puts into a machine's memories before it runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Read-write numbers.
    pub work: Vec<f32>,
    /// Read-only numbers.
    pub constant: Vec<f32>,
    /// Read-only bytes.
    pub samples: Vec<u8>,
}

/// Why a machine did not run a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not there; nothing is wrong.
    Skip(String),
    /// It is there and does not work.
    Fail(String),
}

/// Something that a [`Backend`] can be made on, many times: a processor, or one OpenCL device.
///
/// Every case asks for a fresh backend; what is slow to make (a context, compiled programs) belongs in the machine.
pub trait Machine {
    /// What the backend's methods return when they fail.
    type Error: From<Error> + fmt::Debug;

    /// As it should be called in a report.
    fn name(&self) -> String;

    /// A span of `f32` must start at a multiple of this; 1 where it may start anywhere. The rows of
    /// `gather` are a part of an epoch's table and start at any multiple of 4.
    fn alignment(&self) -> usize;

    /// Makes a backend that holds `memory` and hands it to `body`, once.
    ///
    /// # Errors
    /// A [`Refusal`] when no backend could be made; `body` has not been called then.
    fn with(&self, memory: &Memory, body: Body<'_, Self::Error>) -> Result<(), Refusal>;
}

/// What a case does with its backend.
pub type Body<'b, E> = &'b mut dyn FnMut(&mut dyn Backend<Error = E>);

/// What became of the checks that ran on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of cases that ran.
    pub cases: usize,
    /// Why cases were skipped, each reason once.
    pub skipped: Vec<String>,
    /// A paragraph for each case that failed.
    pub failures: Vec<String>,
}

impl Report {
    /// Prints what was skipped; panics with the first failures when there are any.
    ///
    /// # Panics
    /// When a case failed, or when none ran and none was skipped.
    #[track_caller]
    pub fn assert_clean(&self) {
        for reason in &self.skipped {
            println!("skipped: {reason}");
        }
        assert!(self.cases > 0 || !self.skipped.is_empty(), "no case ran");
        let shown: String = self.failures.iter().take(8).map(|failure| format!("\n{failure}")).collect();
        assert!(self.failures.is_empty(), "{} of {} cases failed:{shown}", self.failures.len(), self.cases);
    }

    fn append(&mut self, other: Self) {
        self.cases += other.cases;
        self.failures.extend(other.failures);
        let new: Vec<String> = other.skipped.into_iter().filter(|reason| !self.skipped.contains(reason)).collect();
        self.skipped.extend(new);
    }
}

/// The checks: `agrees` holds one for each operation, by its name, and for reading and writing; `claims` what is promised beyond the formulas.
macro_rules! checks {
    (agrees { $($operation:ident => $agrees:path,)* } claims { $($claim:ident => $claims:path,)* }) => {
        /// Operations that have a check.
        pub const AGREES: &[&str] = &[$(stringify!($operation)),*];
        /// Promises beyond an operation's formula.
        pub const CLAIMS: &[&str] = &[$(stringify!($claim)),*];

        /// Runs one check of [`AGREES`] or [`CLAIMS`] on a machine.
        ///
        /// # Panics
        /// When there is no check of this name.
        pub fn run_one<M: Machine>(machine: &M, check: &str) -> Report {
            let mut bench = Bench::new(machine, check);
            match check {
                $(stringify!($operation) => $agrees(&mut bench),)*
                $(stringify!($claim) => $claims(&mut bench),)*
                unknown => panic!("there is no check called {unknown}"),
            }
            bench.report()
        }

        /// A test for each check on the machine that an expression makes.
        #[macro_export]
        macro_rules! conformance_tests {
            ($machine:expr) => {
                mod agrees_with_its_definition {
                    use super::*;
                    $(#[test] fn $operation() {
                        $crate::conformance::run_one(&$machine, stringify!($operation)).assert_clean();
                    })*
                }
                mod keeps_a_promise {
                    use super::*;
                    $(#[test] fn $claim() {
                        $crate::conformance::run_one(&$machine, stringify!($claim)).assert_clean();
                    })*
                }
            };
        }
    };
}

checks! {
    agrees {
        write => memory::write,
        read => memory::read,
        fill => memory::fill,
        copy => memory::copy,
        gather => memory::gather,
        axpy => vectors::axpy,
        dots => vectors::dots,
        combine => vectors::combine,
        ascend => vectors::ascend,
        sgd => vectors::sgd,
        decay => vectors::decay,
        descend => vectors::descend,
        linear_forward => linear::forward,
        linear_backward_input => linear::backward_input,
        linear_backward_weight => linear::backward_weight,
        conv2d_forward => convolution::forward,
        conv2d_backward_input => convolution::backward_input,
        conv2d_backward_weight => convolution::backward_weight,
        conv2d_batch_norm_forward => normalization::of_a_convolution,
        batch_norm_forward => normalization::forward,
        batch_norm_inference => normalization::inference,
        batch_norm_backward => normalization::backward,
        batch_norm_inference_backward => normalization::inference_backward,
        relu_forward => pointwise::relu_forward,
        relu_backward => pointwise::relu_backward,
        shortcut_forward => pointwise::shortcut_forward,
        shortcut_backward => pointwise::shortcut_backward,
        global_average_pool_forward => pointwise::global_average_pool_forward,
        global_average_pool_backward => pointwise::global_average_pool_backward,
        max_pool_forward => pointwise::max_pool_forward,
        max_pool_backward => pointwise::max_pool_backward,
        max_pool_tangent => pointwise::max_pool_tangent,
        cross_entropy => loss::cross_entropy,
        cross_entropy_tangent => loss::tangent,
    }
    claims {
        ascend_of_a_zero_gradient_stays_at_the_parameters => edges::ascend_of_zero,
        dots_of_a_row_do_not_depend_on_other_rows => vectors::dots_of_each_row_alone,
        sgd_changes_nothing_when_the_gradient_is_not_finite => edges::sgd_refuses,
        sgd_keeps_the_number_of_the_first_failure => edges::sgd_keeps_first_failure,
        descend_keeps_the_parameters_and_clears_a_velocity_that_is_not_finite => edges::descend_refuses,
        running_statistics_of_a_single_value_stand_still => edges::single_value,
        running_statistics_stand_still_when_the_batch_is_not_finite => edges::not_finite_batch,
        batch_norm_of_values_far_from_zero_keeps_its_digits => edges::far_from_zero,
        cross_entropy_tangent_of_extreme_logits_is_finite => edges::extreme_tangents,
        cross_entropy_tangent_of_a_shift_is_zero => edges::shift,
        cross_entropy_of_extreme_logits_is_finite => edges::extreme_logits,
        cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes => edges::equal_logits,
        cross_entropy_of_a_row_of_weight_zero_is_zero => edges::weight_zero,
        relu_turns_what_is_not_positive_into_plus_zero => edges::relu_specials,
        the_same_calls_give_the_same_bits => edges::same_bits,
        operands_that_fit_together_are_taken => refusals::right,
        spans_past_the_end_are_refused => refusals::past_the_end,
        wrong_lengths_are_refused => refusals::wrong_lengths,
        a_written_span_may_not_overlap_another => refusals::overlap,
        read_only_memory_is_not_written => refusals::read_only,
    }
}

/// Runs every check on a machine.
pub fn run<M: Machine>(machine: &M) -> Report {
    let mut report = Report::default();
    for check in AGREES.iter().chain(CLAIMS) {
        report.append(run_one(machine, check));
    }
    report
}
