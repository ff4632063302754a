//! Lays a case's arguments out between canaries, runs it, and looks at everything it left behind.

use sse_sam_core::{Backend, Space, Span};

use super::{Machine, Memory, Refusal, Report, tolerance};
use crate::random::Numbers;
use crate::reference::{relative_error, vectors, wide};

/// The bits around every span, and of what an operation has to overwrite: a quiet NaN that no operation produces.
const CANARY: u32 = 0x7fc5_a5a5;

/// Where spans start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// At multiples of this, and of 32.
    Aligned(usize),
    /// At odd offsets.
    Odd,
}

impl Placement {
    /// The first offset for a span when `used` elements are taken: at least three canaries lie between.
    fn next(self, used: usize) -> usize {
        match self {
            Self::Aligned(alignment) => (used + 3).next_multiple_of(alignment.max(32)),
            Self::Odd => (used + 3) | 1,
        }
    }
}

/// One check on one machine: runs cases and collects what went wrong.
pub struct Bench<'m, M: Machine> {
    machine: &'m M,
    check: String,
    report: Report,
}

impl<'m, M: Machine> Bench<'m, M> {
    /// A bench for the check of this name.
    pub fn new(machine: &'m M, check: &str) -> Self {
        Self { machine, check: check.to_owned(), report: Report::default() }
    }

    /// What became of the cases; a check without any has failed.
    pub fn report(mut self) -> Report {
        if self.report.cases == 0 && self.report.skipped.is_empty() {
            self.report.failures.push(format!("{}: no case ran on {}", self.check, self.machine.name()));
        }
        self.report
    }

    /// Runs `body` in each placement that the machine allows; `description` seeds its numbers.
    pub fn case(&mut self, description: &str, body: impl Fn(&mut Case<'m, M>)) {
        let alignment = self.machine.alignment();
        for placement in [Some(Placement::Aligned(alignment)), (alignment == 1).then_some(Placement::Odd)] {
            let Some(placement) = placement else { continue };
            let numbers = Numbers::named(&format!("{} {description}", self.check));
            let title = format!("{}: {description}", self.check);
            let mut case = Case::new(self.machine, placement, numbers);
            body(&mut case);
            self.collect(case, &title);
        }
    }

    fn collect(&mut self, mut case: Case<'m, M>, title: &str) {
        if let Some(reason) = case.skipped {
            if !self.report.skipped.contains(&reason) {
                self.report.skipped.push(reason);
            }
            return;
        }
        self.report.cases += usize::from(case.ran);
        if case.ran {
            case.expect(case.comparisons > 0, || "nothing was compared".to_owned());
        }
        if !case.problems.is_empty() {
            let name = self.machine.name();
            let head = format!("{title} on {name} ({:?}, seed {:#x})", case.placement, case.seed);
            self.report.failures.push(format!("{head}\n  {}", case.problems.join("\n  ")));
        }
    }
}

/// One call on one machine: its memories, what it may write, and what was wrong with the outcome.
pub struct Case<'m, M: Machine> {
    /// The case's own numbers.
    pub numbers: Numbers,
    machine: &'m M,
    placement: Placement,
    seed: u64,
    memory: Memory,
    written: Vec<Span>,
    ran: bool,
    comparisons: usize,
    skipped: Option<String>,
    problems: Vec<String>,
}

impl<'m, M: Machine> Case<'m, M> {
    fn new(machine: &'m M, placement: Placement, numbers: Numbers) -> Self {
        let (memory, seed) = (Memory::default(), numbers.seed);
        let (ran, comparisons, skipped, written, problems) = (false, 0, None, Vec::new(), Vec::new());
        Self { numbers, machine, placement, seed, memory, written, ran, comparisons, skipped, problems }
    }

    /// Puts numbers into work memory that the operation may read.
    pub fn input(&mut self, values: &[f32]) -> Span {
        let offset = place(&mut self.memory.work, self.placement, values);
        Span::work(offset, values.len())
    }

    /// Puts numbers into constant memory.
    pub fn constant(&mut self, values: &[f32]) -> Span {
        let offset = place(&mut self.memory.constant, self.placement, values);
        Span { space: Space::Constant, offset, length: values.len() }
    }

    /// Puts bytes into sample memory.
    pub fn bytes(&mut self, values: &[u8]) -> Span {
        let offset = self.placement.next(self.memory.samples.len());
        self.memory.samples.resize(offset, 0xa5);
        self.memory.samples.extend_from_slice(values);
        Span::samples(offset, values.len())
    }

    /// Puts numbers into work memory that the operation may read and write.
    pub fn in_out(&mut self, values: &[f32]) -> Span {
        let span = self.input(values);
        self.written.push(span);
        span
    }

    /// A span that the operation has to overwrite; it holds canaries.
    pub fn output(&mut self, length: usize) -> Span {
        self.in_out(&vec![f32::from_bits(CANARY); length])
    }

    /// A span for a gradient: numbers to add to when `accumulate`, else canaries; and what it starts from.
    pub fn gradient(&mut self, length: usize, accumulate: bool) -> (Span, Vec<f32>) {
        if !accumulate {
            return (self.output(length), vec![0.0; length]);
        }
        let start = self.numbers.list(length);
        (self.in_out(&start), start)
    }

    /// Makes a backend, runs `body` on it, and checks that only written spans have changed.
    pub fn run(&mut self, body: impl Fn(&mut dyn Backend<Error = M::Error>) -> Result<(), M::Error>) {
        let before = self.finish();
        let (outcome, after) = self.execute(body);
        if let Some(Err(error)) = outcome {
            self.problems.push(format!("failed: {error:?}"));
        }
        let written = self.written.clone();
        self.unchanged(&before, &after, &written);
        self.memory.work = after;
    }

    /// Makes a backend and checks that `body` fails on it and changes nothing.
    pub fn refused(&mut self, what: &str, body: impl Fn(&mut dyn Backend<Error = M::Error>) -> Result<(), M::Error>) {
        self.refused_after(&[], what, body);
    }

    /// The same where `early` may have been written before.
    pub fn refused_after(
        &mut self,
        early: &[Span],
        what: &str,
        body: impl Fn(&mut dyn Backend<Error = M::Error>) -> Result<(), M::Error>,
    ) {
        let before = self.finish();
        let (outcome, after) = self.execute(body);
        self.comparisons += 1;
        if let Some(Ok(())) = outcome {
            self.problems.push(format!("{what} was not refused"));
        }
        self.unchanged(&before, &after, early);
    }

    /// Closes the memories with canaries; returns work memory as it is before the call.
    fn finish(&mut self) -> Vec<f32> {
        let (work, end) = (&mut self.memory.work, 64);
        work.resize(work.len() + end, f32::from_bits(CANARY));
        self.memory.constant.resize(self.memory.constant.len() + end, f32::from_bits(CANARY));
        self.memory.samples.resize(self.memory.samples.len() + end, 0xa5);
        work.clone()
    }

    fn execute(
        &mut self,
        body: impl Fn(&mut dyn Backend<Error = M::Error>) -> Result<(), M::Error>,
    ) -> (Option<Result<(), M::Error>>, Vec<f32>) {
        let mut after = self.memory.work.clone();
        let (mut outcome, mut readback) = (None, Ok(()));
        let all = Span::work(0, after.len());
        self.ran = true;
        let made = self.machine.with(&self.memory, &mut |backend| {
            outcome = Some(body(backend));
            readback = backend.read(&mut after, all);
        });
        match made {
            Ok(()) if outcome.is_none() => self.problems.push("the machine made no backend and did not say so".into()),
            Ok(()) => {}
            Err(Refusal::Skip(reason)) => self.skipped = Some(reason),
            Err(Refusal::Fail(reason)) => self.problems.push(format!("no backend: {reason}")),
        }
        if let Err(error) = readback {
            self.problems.push(format!("reading back failed: {error:?}"));
        }
        (outcome, after)
    }

    /// Notes the first number outside `written` whose bits differ.
    fn unchanged(&mut self, before: &[f32], after: &[f32], written: &[Span]) {
        let may_change = |at: usize| written.iter().any(|span| at >= span.offset && at < span.offset + span.length);
        let changed = (0..before.len()).find(|&at| before[at].to_bits() != after[at].to_bits() && !may_change(at));
        if let Some(at) = changed {
            let (was, is) = (before[at].to_bits(), after[at].to_bits());
            self.problems
                .push(format!("work[{at}] was not to be written: {was:#x} became {is:#x}; written: {written:?}"));
        }
    }

    /// What a span of work memory holds after the run.
    pub fn get(&self, span: Span) -> Vec<f32> {
        self.memory.work[span.offset..span.offset + span.length].to_vec()
    }

    /// Notes when `holds` is false.
    pub fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.comparisons += 1;
        if !holds && self.skipped.is_none() {
            self.problems.push(otherwise());
        }
    }

    /// Notes when a span does not hold these bits; NaNs are alike.
    pub fn same(&mut self, what: &str, span: Span, expected: &[f32]) {
        let found = self.get(span);
        let alike = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let untouched = found.iter().position(|value| value.to_bits() == CANARY);
        let different = found.iter().zip(expected).position(|(&a, &b)| !alike(a, b)).or(untouched);
        let alike = !expected.is_empty() && found.len() == expected.len() && different.is_none();
        self.expect(alike, || {
            let at = different.unwrap_or(0);
            format!("{what}[{at}] must be {:?}, got {:?}", expected.get(at), found.get(at))
        });
    }

    /// Notes when a span is further from the reference than the operation's tolerance allows.
    pub fn close(&mut self, operation: &str, what: &str, span: Span, expected: &[f64]) {
        self.close_to_scale(operation, what, span, expected, 0.0);
    }

    /// The same relative to `scale`, the norm of the terms that were added, where that is larger than their sum's.
    pub fn close_to_scale(&mut self, operation: &str, what: &str, span: Span, expected: &[f64], scale: f64) {
        let found = wide(&self.get(span));
        let norm = vectors::squared_norm(expected).sqrt();
        let shrink = if scale > norm { norm / scale } else { 1.0 };
        let error = if norm == 0.0 && scale > 0.0 {
            let length = if !found.is_empty() && found.len() == expected.len() { 0.0 } else { f64::INFINITY };
            length + vectors::squared_norm(&found).sqrt() / scale
        } else {
            relative_error(&found, expected) * shrink
        };
        let bound = tolerance(operation);
        self.expect(error <= bound, || format!("{what}: relative error {error:.2e}, allowed {bound:.0e}"));
    }
}

/// Appends canaries and `values`; returns where these start.
fn place(memory: &mut Vec<f32>, placement: Placement, values: &[f32]) -> usize {
    let offset = placement.next(memory.len());
    memory.resize(offset, f32::from_bits(CANARY));
    memory.extend_from_slice(values);
    offset
}
