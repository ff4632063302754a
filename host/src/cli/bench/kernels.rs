//! A table of a step's operations: what each costs, and what it gets out of the device.

use std::fmt::Write;
use std::time::Instant;

use serde::Serialize;
use sse_sam_core::machine::watched::Watch;
use sse_sam_core::ops::Operation;
use sse_sam_core::ops::operation::{Access, Extent};
use sse_sam_core::{Conv2d, Run, Shape, Span};

use crate::device::machine::{Clock, Machine};

/// Calls of one operation with the same sizes.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The operation.
    pub operation: &'static str,
    /// Its sizes: the kind of layer.
    pub shape: String,
    /// Output gradients it works on at once.
    pub streams: usize,
    /// Calls a step.
    pub calls: f64,
    /// Floating-point operations of its inner products, a step.
    pub flops: f64,
    /// Bytes of all that it reads and writes, each once, a step.
    pub bytes: f64,
    /// Least milliseconds of a step.
    pub ms: Option<f64>,
}

/// What identifies calls that are counted together.
type Key = (&'static str, Extent, usize);

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    calls: u64,
    flops: u64,
    bytes: u64,
    /// Nanoseconds in this step.
    now: u64,
    /// Least nanoseconds in a step so far.
    least: Option<u64>,
}

/// Writes down every call of some steps.
#[derive(Debug)]
pub struct Ledger {
    clock: Clock,
    steps: u64,
    entries: Vec<(Key, Sums)>,
    /// The calls of this step: which entry, and how many launches.
    calls: Vec<(usize, u64)>,
}

impl<B: Machine> Watch<B> for Ledger {
    fn around<O: Operation>(&mut self, backend: &mut B, operation: &O) -> Result<(), B::Error>
    where
        B: Run<O>,
    {
        let (launches, start) = (backend.launches(), Instant::now());
        backend.run(operation)?;
        let elapsed = start.elapsed().as_nanos() as u64;
        let (extent, streams) = (operation.extent()?, operation.streams());
        let index = self.entry((O::NAME, extent, streams));
        let sums = &mut self.entries[index].1;
        sums.calls += 1;
        sums.flops += 2 * extent.products() * streams as u64;
        operation.operands(|access, span| sums.bytes += traffic(access, span));
        sums.now += if self.clock == Clock::Host { elapsed } else { 0 };
        self.calls.push((index, backend.launches() - launches));
        Ok(())
    }
}

/// Bytes of an operand that go to and fro.
fn traffic(access: Access, span: Span) -> u64 {
    let times = match access {
        Access::Read | Access::Write | Access::Again => 4,
        Access::Update => 2 * 4,
        Access::Bytes => 1,
    };
    times * span.length as u64
}

impl Ledger {
    /// An empty ledger whose times come from `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, steps: 0, entries: Vec::new(), calls: Vec::new() }
    }

    /// The end of a step, with the nanoseconds of all its launches.
    pub fn finish_step(&mut self, times: &[u64]) {
        let mut times = times.iter();
        for (index, launches) in self.calls.drain(..) {
            self.entries[index].1.now += times.by_ref().take(launches as usize).sum::<u64>();
        }
        for (_, sums) in &mut self.entries {
            let now = std::mem::take(&mut sums.now);
            sums.least = Some(sums.least.map_or(now, |least| least.min(now)));
        }
        self.steps += 1;
    }

    fn entry(&mut self, key: Key) -> usize {
        if let Some(index) = self.entries.iter().position(|(known, _)| *known == key) {
            return index;
        }
        self.entries.push((key, Sums::default()));
        self.entries.len() - 1
    }

    /// All lines, those that take longest first.
    pub fn lines(&self) -> Vec<Line> {
        let steps = self.steps.max(1) as f64;
        let line = |&((operation, extent, streams), sums): &(Key, Sums)| Line {
            operation,
            shape: shape(&extent),
            streams,
            calls: sums.calls as f64 / steps,
            flops: sums.flops as f64 / steps,
            bytes: sums.bytes as f64 / steps,
            ms: sums.least.filter(|_| self.clock != Clock::Absent).map(|least| least as f64 / 1e6),
        };
        let mut lines: Vec<Line> = self.entries.iter().map(line).collect();
        lines.sort_by(|a, b| b.ms.unwrap_or(0.0).total_cmp(&a.ms.unwrap_or(0.0)));
        lines
    }

    /// The table, with a line for each operation and shape, and one for each operation.
    pub fn table(&self) -> String {
        let lines = self.lines();
        let total = lines.iter().filter_map(|line| line.ms).sum();
        let source = match self.clock {
            Clock::Host => "timed by the host's clock",
            Clock::Device => "timed by the device",
            Clock::Absent => "without times: this device does not time its kernels",
        };
        let mut text = format!("operations of a step, {source}; each the least of {} steps\n", self.steps);
        heading(&mut text, "operation", "layer kind");
        lines.iter().for_each(|line| row(&mut text, line, total));
        text.push('\n');
        heading(&mut text, "operation", "all layers");
        sums(&lines).iter().for_each(|line| row(&mut text, line, total));
        let calls = lines.iter().map(|line| line.calls).sum();
        let (flops, bytes) = (lines.iter().map(|line| line.flops).sum(), lines.iter().map(|line| line.bytes).sum());
        let ms = lines.iter().map(|line| line.ms).sum();
        let all = Line { operation: "all", shape: String::new(), streams: 1, calls, flops, bytes, ms };
        row(&mut text, &all, total);
        text.pop();
        text
    }
}

/// One line for each operation.
fn sums(lines: &[Line]) -> Vec<Line> {
    let mut sums: Vec<Line> = Vec::new();
    for line in lines {
        let Some(sum) = sums.iter_mut().find(|sum| sum.operation == line.operation) else {
            sums.push(Line { shape: String::new(), streams: 1, ..line.clone() });
            continue;
        };
        sum.calls += line.calls;
        sum.flops += line.flops;
        sum.bytes += line.bytes;
        sum.ms = sum.ms.zip(line.ms).map(|(a, b)| a + b);
    }
    sums.sort_by(|a, b| b.ms.unwrap_or(0.0).total_cmp(&a.ms.unwrap_or(0.0)));
    sums
}

fn heading(text: &mut String, first: &str, second: &str) {
    let _ = writeln!(
        text,
        "{first:<28}  {second:<36}  {:>6}  {:>9}  {:>8}  {:>7}  {:>6}",
        "calls", "ms", "GFLOP/s", "GB/s", "share"
    );
}

fn row(text: &mut String, line: &Line, total: f64) {
    let per_ms = |amount: f64| line.ms.filter(|&ms| ms > 0.0 && amount > 0.0).map(|ms| amount / ms / 1e6);
    let cell = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    let shape =
        if line.streams > 1 { format!("{}, {} gradients", line.shape, line.streams) } else { line.shape.clone() };
    let share = line.ms.filter(|_| total > 0.0).map(|ms| 100.0 * ms / total);
    let _ = writeln!(
        text,
        "{:<28}  {shape:<36}  {:>6}  {:>9}  {:>8}  {:>7}  {:>6}",
        line.operation,
        line.calls,
        cell(line.ms, 3),
        cell(per_ms(line.flops), 1),
        cell(per_ms(line.bytes), 1),
        share.map_or("-".into(), |share| format!("{share:.1}%"))
    );
}

fn image(shape: Shape) -> String {
    format!("{}x{}x{}", shape.height, shape.width, shape.channels)
}

/// A kind of convolution.
pub fn convolution(conv: &Conv2d) -> String {
    let (kernel, stride) = (conv.kernel, conv.stride);
    let step = if stride > 1 { format!("/{stride}") } else { String::new() };
    format!("{kernel}x{kernel}{step} {} -> {}", image(conv.input), conv.output.channels)
}

fn shape(extent: &Extent) -> String {
    match *extent {
        Extent::Vector(length) => length.to_string(),
        Extent::Rows(rows, width) => format!("{rows} x {width}"),
        Extent::Images(_, shape) => image(shape),
        Extent::Mapped(_, input, output) => format!("{} -> {}", image(input), image(output)),
        Extent::Linear { inputs, outputs, .. } => format!("{inputs} -> {outputs}"),
        Extent::Conv2d(_, conv) => convolution(&conv),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(clock: Clock, nanoseconds: u64) -> Ledger {
        let mut ledger = Ledger::new(clock);
        for (operation, launches) in [("conv2d_forward", 2), ("sgd", 3), ("conv2d_forward", 2)] {
            let index = ledger.entry((operation, Extent::Vector(5), 1));
            ledger.entries[index].1.calls += 1;
            ledger.entries[index].1.flops += 1000;
            ledger.calls.push((index, launches));
        }
        ledger.finish_step(&[nanoseconds; 7]);
        ledger
    }

    #[test]
    fn launches_are_added_up_for_their_operations() {
        let lines = ledger(Clock::Device, 1_000_000).lines();
        let found: Vec<_> = lines.iter().map(|line| (line.operation, line.calls, line.ms)).collect();
        assert_eq!(found, [("conv2d_forward", 2.0, Some(4.0)), ("sgd", 1.0, Some(3.0))]);
    }

    #[test]
    fn a_device_that_does_not_time_its_kernels_is_said_to() {
        let ledger = ledger(Clock::Absent, 0);
        let table = ledger.table();
        assert!(
            table.starts_with("operations of a step, without times: this device does not time its kernels"),
            "{table}"
        );
        assert!(table.contains("conv2d_forward") && !table.contains('%') && !table.contains("NaN"), "{table}");
        assert!(ledger.lines().iter().all(|line| line.ms.is_none()));
    }
}
