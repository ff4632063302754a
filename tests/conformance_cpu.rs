//! The CPU backend agrees with the reference; and no operation is without a conformance test.

use sse_sam_core::machine::backend::OPERATIONS;
use sse_sam_core::ops::{CrossEntropy, Fill, Gather};
use sse_sam_core::{Batch, Cpu, Error, Machine as _, Row, Run, Samples, Shape, Span, Terms};
use sse_sam_tests::conformance::{self, AGREES, Bench, Body, Machine, Memory, Refusal};

struct Processor;

impl Machine for Processor {
    type Error = Error;

    fn name(&self) -> String {
        "the CPU backend".to_owned()
    }

    fn alignment(&self) -> usize {
        1
    }

    fn with(&self, memory: &Memory, body: Body<'_, Error>) -> Result<(), Refusal> {
        let mut work = memory.work.clone();
        body(&mut Cpu::new(&mut work, &memory.constant, &memory.samples));
        Ok(())
    }
}

sse_sam_tests::conformance_tests!(Processor);

/// What one call on little memory returns, with ones in work memory and two samples of one byte.
fn outcome(call: impl Fn(&mut Cpu<'_>) -> Result<(), Error>) -> Result<(), Error> {
    call(&mut Cpu::new(&mut [1.0; 64], &[], &[10, 20, 0, 1]))
}

#[test]
fn the_cpu_names_a_label_that_is_not_a_class() {
    let one = |offset| Span::work(offset, 1);
    let terms = Terms { scale: Span::work(20, 3), shift: Span::work(30, 3), margin: Span::work(40, 3), focal: 0.0 };
    for label in [3.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = outcome(|cpu| {
            cpu.run(&Fill { to: one(10), value: label })?;
            cpu.run(&CrossEntropy {
                dlogits: &[Span::work(0, 3)],
                losses: &[one(5)],
                logits: Span::work(50, 3),
                labels: one(10),
                weights: &[one(11)],
                terms,
            })
        });
        assert!(matches!(result, Err(Error::Label { classes: 3, .. })), "label {label}: {result:?}");
    }
}

#[test]
fn the_cpu_names_a_sample_that_does_not_exist() {
    let one = |offset| Span::work(offset, 1);
    let batch = Batch { images: one(0), labels: one(1), weights: [one(2), one(3)] };
    let (image, normalization) = (Shape::new(1, 1, 1), Span::work(4, 2));
    let samples = Samples { images: Span::samples(0, 2), image, normalization };
    for (index, expected) in [(1, Ok(())), (2, Err(Error::Sample { index: 2, samples: 2 }))] {
        let row = Row { index, label: 0, top: 0, left: 0, flip: false, weights: [1.0, 0.0] };
        let rows = Span::work(8, Row::WORDS);
        let result = outcome(|cpu| {
            cpu.write(rows, &row.encode())?;
            cpu.run(&Gather { batch: &batch, rows, samples: &samples })
        });
        assert_eq!(result, expected);
    }
}

/// A machine on which nothing can be made.
struct Absent(Refusal);

impl Machine for Absent {
    type Error = Error;

    fn name(&self) -> String {
        "a machine that is not there".to_owned()
    }

    fn alignment(&self) -> usize {
        32
    }

    fn with(&self, _: &Memory, _: Body<'_, Error>) -> Result<(), Refusal> {
        Err(self.0.clone())
    }
}

#[test]
fn a_machine_that_is_absent_is_skipped_and_one_that_is_broken_fails() {
    let absent = conformance::run(&Absent(Refusal::Skip("no device".to_owned())));
    assert_eq!((absent.cases, absent.skipped.as_slice()), (0, ["no device".to_owned()].as_slice()));
    absent.assert_clean();
    let broken = conformance::run_one(&Absent(Refusal::Fail("no memory".to_owned())), "fill");
    assert!(broken.cases > 0 && broken.failures.len() == broken.cases, "{broken:?}");
}

/// A machine that never runs what it is given.
struct Idle;

impl Machine for Idle {
    type Error = Error;

    fn name(&self) -> String {
        "an idle machine".to_owned()
    }

    fn alignment(&self) -> usize {
        1
    }

    fn with(&self, _: &Memory, _: Body<'_, Error>) -> Result<(), Refusal> {
        Ok(())
    }
}

#[test]
fn a_check_that_compares_nothing_fails() {
    for check in ["read", "fill", "sgd", "relu_forward", "wrong_lengths_are_refused"] {
        let idle = conformance::run_one(&Idle, check);
        assert!(idle.cases > 0 && idle.failures.len() == idle.cases, "{check}: {idle:?}");
    }
    let mut bench = Bench::new(&Processor, "no case");
    assert_eq!(bench.report().failures.len(), 1);
    bench = Bench::new(&Processor, "no comparison");
    bench.case("a fill that nobody looks at", |case| {
        let to = case.output(3);
        case.run(|backend| backend.run(&Fill { to, value: 1.0 }));
    });
    let report = bench.report();
    assert_eq!((report.cases, report.failures.len()), (2, 2), "{report:?}");
    bench = Bench::new(&Processor, "nothing");
    bench.case("no number is like no number", |case| {
        let none = case.output(0);
        case.run(|_| Ok(()));
        case.same("none", none, &[]);
        case.close("ascend", "none", none, &[]);
    });
    assert!(bench.report().failures.iter().all(|failure| failure.lines().count() == 3));
}

#[test]
fn every_operation_has_a_conformance_test() {
    let mut known = [&["write", "read"], OPERATIONS].concat();
    let mut tested = AGREES.to_vec();
    known.sort_unstable();
    tested.sort_unstable();
    assert_eq!(known, tested);
    let mut refused = conformance::refused();
    refused.sort_unstable();
    assert_eq!(known, refused);
}
