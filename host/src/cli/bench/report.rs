//! What `bench` says.

use std::fs;

use serde::Serialize;
use sse_sam_core::{Model, Shape};

use super::hessian::Cost;
use super::kernels::{Ledger, Line};
use crate::cli::args::BenchArgs;
use crate::device::choose::Device;
use crate::error::Error;
use crate::opencl::{Algorithm, Precision};
use crate::recipe::words::word;

/// What was measured.
pub struct Timing {
    /// Milliseconds of each step, until its result can be read.
    pub step_ms: Vec<f64>,
    /// Of these, the milliseconds in which the host asked for it.
    pub host_ms: Vec<f64>,
    /// Least milliseconds of a step's own operations on vectors.
    pub optimizer_ms: f64,
    /// Kernels launched a step.
    pub launches: u64,
    /// Floating-point operations a step.
    pub flops: u64,
    /// What the device can do at most: operations and bytes a second.
    pub measured: (f64, f64),
    /// Bytes of memory that the backend holds.
    pub device_bytes: u64,
    /// The network's convolutions and their forms.
    pub forms: Vec<Convolutions>,
    /// The operations one by one, where they are asked for.
    pub kernels: Option<Ledger>,
}

/// A kind of convolution, and the form that each of its operations is computed in.
#[derive(Serialize)]
pub struct Convolutions {
    /// Its sizes.
    pub shape: String,
    /// Layers of this kind.
    pub layers: usize,
    pub forward: Algorithm,
    pub backward_input: Algorithm,
    pub backward_weight: Algorithm,
}

impl Convolutions {
    fn row(&self) -> String {
        let Self { shape, layers, forward, backward_input, backward_weight } = self;
        let forms = [forward, backward_input, backward_weight].map(|form| form.name());
        let forms = if forms.iter().all(|form| *form == forms[0]) { forms[0].clone() } else { forms.join(", ") };
        format!("{shape} ({layers}): {forms}")
    }
}

/// The line of `--json`.
#[derive(Serialize)]
pub struct Report {
    device: String,
    model: String,
    batch: u32,
    image: String,
    classes: usize,
    method: String,
    stage: u8,
    conv: String,
    /// The kind of device that kernels are made for; none on the CPU core.
    #[serde(skip_serializing_if = "Option::is_none")]
    tiles: Option<String>,
    precision: String,
    steps: usize,
    /// Median milliseconds of a step.
    step_ms: f64,
    step_ms_min: f64,
    /// At the median.
    images_per_s: f64,
    /// Floating-point operations of a step's convolutions and linear layers, as their formulas say.
    flops: u64,
    /// The same a second at the median, over the device's rate: above 1 where fewer operations do.
    fma_share: f64,
    optimizer_share: f64,
    launches: u64,
    /// Median milliseconds in which the host asks for a step.
    host_ms: f64,
    device_bytes: u64,
    peak_rss_bytes: u64,
    optimizer_ms: f64,
    /// Operations a second that the device does in a register loop.
    fma_flops_per_s: f64,
    /// Bytes a second that a copy reads and writes.
    copy_bytes_per_s: f64,
    convolutions: Vec<Convolutions>,
    /// What a product with the Hessian costs, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hessian: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernels: Option<Vec<Line>>,
    #[serde(skip)]
    kernel_table: Option<String>,
}

impl Report {
    /// Puts everything together.
    pub fn new(args: &BenchArgs, device: &Device, model: &Model, image: Shape, classes: usize, timing: Timing) -> Self {
        let step_ms = median(&timing.step_ms);
        let (fma_rate, bandwidth) = timing.measured;
        Self {
            device: device.name(),
            model: model.to_string(),
            batch: args.network.batch,
            image: format!("{}x{}x{}", image.height, image.width, image.channels),
            classes,
            method: word(&args.method),
            stage: args.stage,
            conv: word(&args.device.conv.unwrap_or_default()),
            tiles: device.tiles().as_ref().map(word),
            precision: word(&device.precision()),
            steps: timing.step_ms.len(),
            step_ms,
            step_ms_min: timing.step_ms.iter().copied().fold(f64::INFINITY, f64::min),
            images_per_s: f64::from(args.network.batch) / step_ms * 1e3,
            flops: timing.flops,
            fma_share: timing.flops as f64 / (step_ms / 1e3) / fma_rate,
            optimizer_share: timing.optimizer_ms / step_ms,
            launches: timing.launches,
            host_ms: median(&timing.host_ms),
            device_bytes: timing.device_bytes,
            peak_rss_bytes: peak_rss_bytes(),
            optimizer_ms: timing.optimizer_ms,
            fma_flops_per_s: fma_rate,
            copy_bytes_per_s: bandwidth,
            convolutions: timing.forms,
            hessian: None,
            kernels: timing.kernels.as_ref().map(Ledger::lines),
            kernel_table: timing.kernels.as_ref().map(Ledger::table),
        }
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let rate = self.flops as f64 / self.step_ms / 1e6;
        let rows = [
            ("step", format!("{:.3} ms median, {:.3} ms least of {}", self.step_ms, self.step_ms_min, self.steps)),
            ("images a second", format!("{:.1}", self.images_per_s)),
            ("arithmetic", format!("{:.3} GFLOP a step, {rate:.1} GFLOP/s", self.flops as f64 / 1e9)),
            ("device", format!("{:.1} GFLOP/s in register tiles", self.fma_flops_per_s / 1e9)),
            ("", format!("{:.1} GB/s in copies", self.copy_bytes_per_s / 1e9)),
            ("share of its rate", format!("{:.1} %", 100.0 * self.fma_share)),
            ("optimizer", format!("{:.3} ms, {:.2} % of the step", self.optimizer_ms, 100.0 * self.optimizer_share)),
            ("host", format!("{:.3} ms, {} launches", self.host_ms, self.launches)),
            ("memory of the device", mib(self.device_bytes)),
            ("peak of the process", mib(self.peak_rss_bytes)),
        ];
        let Self { model, method, stage, batch, image, classes, conv, device, .. } = self;
        let mut text = format!(
            "{model} by {method}, stage {stage}, batch {batch} of {image}, {classes} classes\n{device}, convolutions: {conv}"
        );
        if let Some(tiles) = &self.tiles {
            text.push_str(&format!(", tiles: {tiles}"));
        }
        if self.precision != word(&Precision::default()) {
            text.push_str(&format!(", precision: {}", self.precision));
        }
        text.push('\n');
        let names = ["convolutions"].into_iter().chain(std::iter::repeat(""));
        let forms = names.zip(self.convolutions.iter().map(Convolutions::row));
        for (name, value) in rows.into_iter().chain(forms) {
            text.push_str(&format!("\n  {name:<21} {value}"));
        }
        if let Some(Cost { gradient_ms, product_ms, gradients }) = self.hessian {
            text.push_str(&format!(
                "\n  {:<21} {product_ms:.3} ms, {gradients:.2} gradients of {gradient_ms:.3} ms",
                "product with Hessian"
            ));
        }
        if let Some(table) = &self.kernel_table {
            text.push_str(&format!("\n\n{table}"));
        }
        text
    }

    /// All of it in one line.
    ///
    /// # Errors
    /// None for numbers that are finite.
    pub fn json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::io("standard output", error.into()))
    }
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let upper = times.len() / 2;
    let lower = times.len().saturating_sub(1) / 2;
    times.get(lower).zip(times.get(upper)).map_or(0.0, |(a, b)| (a + b) / 2.0)
}

/// The most memory that this process has held; 0 where the system does not say.
fn peak_rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
