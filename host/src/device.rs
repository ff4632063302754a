//! The machines a run can use, and the memory they lend.

use sse_sam_core::{Arena, Backend, Conv2d, Cpu, Error as CoreError, Model, Space};

use crate::args::DeviceArgs;
use crate::data::Dataset;
use crate::error::Error;
use crate::feed::Feeds;
use crate::forms::{choices, open, scratch};
use crate::layout::{Layout, Needs};
use crate::opencl::choice::{Choices, Form, Forms, Table};
use crate::opencl::{self, Broken, Class, Convolution, DeviceInfo, OpenCl, Precision};
use crate::{progress, rates};

/// A backend with what only the host asks for.
pub trait Machine: Backend {
    /// Puts bytes into the samples from `offset` on, after all that was asked for before, without waiting.
    ///
    /// # Errors
    /// When they reach past the samples, or when the samples cannot be written.
    fn write_samples(&mut self, offset: usize, bytes: Vec<u8>) -> Result<(), Self::Error>;

    /// Kernels launched so far; 0 where there are none.
    fn launches(&self) -> u64;

    /// Bytes of memory that it holds.
    fn bytes(&self) -> u64;

    /// Floating-point operations a second in multiply-adds from registers to registers, measured now.
    ///
    /// # Errors
    /// When the device fails.
    fn fma_rate(&mut self) -> Result<f64, Self::Error>;

    /// Has every launch timed from now on, where the machine can.
    ///
    /// # Errors
    /// When the device fails.
    fn time_launches(&mut self) -> Result<Clock, Self::Error>;

    /// Nanoseconds of each launch since the last call of this or of [`Machine::time_launches`], in order.
    ///
    /// # Errors
    /// When the device fails.
    fn take_times(&mut self) -> Result<Vec<u64>, Self::Error>;

    /// The forms in which a convolution and its gradients with so many images are computed.
    fn forms(&self, conv: &Conv2d, images: usize) -> Forms;

    /// What decides the bits of its results.
    fn identity(&self) -> Identity;
}

/// What times a machine's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's clock: operations are done when they return.
    Host,
    /// The device, each launch by itself.
    Device,
    /// Nothing: the device cannot, and operations return before they are done.
    Absent,
}

/// Which device, driver and kernels: results of equal ones are equal bit for bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What `--device` calls it.
    pub selector: String,
    /// What it calls itself.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// How its kernels were built, and from which sources.
    pub kernels: String,
    /// The forms of convolutions, where it had a choice.
    pub convolutions: Table,
}

impl Identity {
    /// That of the CPU core.
    fn of_cpu() -> Self {
        let driver = concat!("sse-sam ", env!("CARGO_PKG_VERSION")).into();
        let (name, kernels) = ("CPU core".into(), "none".into());
        Self { selector: "cpu".into(), name, driver, kernels, convolutions: Table::new() }
    }

    /// That of an OpenCL device with these choices.
    pub(crate) fn new(info: &DeviceInfo, convolution: Convolution, choices: &Choices) -> Self {
        Self {
            selector: info.selector(),
            name: format!("{} ({})", info.name, info.platform_name),
            driver: info.driver.clone(),
            kernels: opencl::kernel_table(info, convolution),
            convolutions: if convolution == Convolution::Auto { choices.table().clone() } else { Table::new() },
        }
    }
}

impl Machine for Cpu<'_> {
    /// The CPU core reads samples where they are: nothing is ever staged for it.
    fn write_samples(&mut self, _: usize, _: Vec<u8>) -> Result<(), CoreError> {
        Err(CoreError::Space { found: Space::Samples })
    }

    fn launches(&self) -> u64 {
        0
    }

    fn bytes(&self) -> u64 {
        Self::bytes(self) as u64
    }

    fn fma_rate(&mut self) -> Result<f64, CoreError> {
        Ok(rates::multiply_adds())
    }

    fn time_launches(&mut self) -> Result<Clock, CoreError> {
        Ok(Clock::Host)
    }

    fn take_times(&mut self) -> Result<Vec<u64>, CoreError> {
        Ok(Vec::new())
    }

    fn forms(&self, _: &Conv2d, _: usize) -> Forms {
        [Form::Direct; 3]
    }

    fn identity(&self) -> Identity {
        Identity::of_cpu()
    }
}

impl Machine for OpenCl {
    fn write_samples(&mut self, offset: usize, bytes: Vec<u8>) -> Result<(), opencl::Error> {
        self.stage(offset, bytes)
    }

    fn launches(&self) -> u64 {
        Self::launches(self)
    }

    fn bytes(&self) -> u64 {
        Self::bytes(self)
    }

    fn fma_rate(&mut self) -> Result<f64, opencl::Error> {
        Self::fma_rate(self)
    }

    fn time_launches(&mut self) -> Result<Clock, opencl::Error> {
        Ok(if Self::time_launches(self)? { Clock::Device } else { Clock::Absent })
    }

    fn take_times(&mut self) -> Result<Vec<u64>, opencl::Error> {
        Self::take_times(self)
    }

    fn forms(&self, conv: &Conv2d, images: usize) -> Forms {
        Self::forms(self, conv, images)
    }

    fn identity(&self) -> Identity {
        Identity::new(self.device(), self.convolution(), self.choices())
    }
}

/// Work that runs on whichever backend a device has.
pub trait Job {
    /// What it returns.
    type Output;

    /// Runs on `backend`, whose work memory is all zeros.
    fn run<B: Machine>(self, backend: &mut B) -> Result<Self::Output, Error>
    where
        Error: From<B::Error>;
}

/// A machine that was chosen but lends no memory yet.
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU core of this program, one thread.
    Cpu,
    /// An OpenCL device.
    OpenCl {
        /// Which.
        info: Box<DeviceInfo>,
        /// Whether the CPU core takes over when the device cannot be used: nobody asked for it by name.
        replaceable: bool,
        /// Bytes of its memory that may be used.
        memory: u64,
        /// How it computes convolutions.
        convolution: Convolution,
        /// Choices among forms of convolutions that were made for this run already.
        recorded: Table,
        /// Whether to say nothing of choices that are made.
        quiet: bool,
    },
}

impl Device {
    /// The device of `--device`: `auto` (a GPU, else an accelerator, else an OpenCL CPU, else the CPU core), `cpu`,
    /// `opencl`, `opencl:P.D`, or a part of an OpenCL device's name.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that mean nothing or that no device answers to, [`Error::Device`] when the OpenCL
    /// library fails and was asked for.
    pub fn choose(args: &DeviceArgs) -> Result<Self, Error> {
        let limit = limit(args.device_memory)?;
        let use_opencl = |info: &DeviceInfo, replaceable| {
            let memory = info.global_memory.min(limit);
            let mut info = Box::new(info.clone());
            info.tiles = args.tiles.unwrap_or(info.tiles);
            info.precision = args.precision.unwrap_or_default();
            Self::OpenCl {
                info,
                replaceable: replaceable && args.precision.is_none(),
                memory,
                convolution: args.conv.unwrap_or_default(),
                recorded: Table::new(),
                quiet: false,
            }
        };
        let device = match args.device.trim().to_lowercase().as_str() {
            "" => return Err(Error::Usage(format!("--device names no device: it takes {NAMES}"))),
            "cpu" => Self::Cpu,
            "auto" => match opencl::survey() {
                Ok(survey) => {
                    warn_of(&survey.broken);
                    let refused = survey.devices.iter().filter_map(|info| Some((info, info.unusable?)));
                    refused
                        .for_each(|(info, reason)| progress::warn(&format!("{} cannot be used: {reason}", info.name)));
                    opencl::preferred(&survey.devices).map_or(Self::Cpu, |info| use_opencl(info, true))
                }
                Err(error) => {
                    progress::warn(&format!("OpenCL cannot be used ({error}); using the CPU core"));
                    Self::Cpu
                }
            },
            name => use_opencl(&named(name)?, false),
        };
        if args.recorded {
            return Ok(device.without_what_it_cannot_do());
        }
        if matches!(device, Self::Cpu) && args.conv == Some(Convolution::Winograd) {
            return Err(Error::Usage(format!("{} has no convolutions in Winograd's form", device.name())));
        }
        if args.device == "cpu" && args.device_memory.is_some() {
            return Err(Error::Usage("--device-memory is about OpenCL devices, and the device is the CPU core".into()));
        }
        if matches!(device, Self::Cpu) && args.tiles.is_some() {
            let message = format!("--tiles is about kernels of OpenCL devices: {} has none", device.name());
            return Err(Error::Usage(message));
        }
        if args.precision == Some(Precision::Tf32) && !device.multiplies_matrices() {
            let message = "--precision tf32 needs a GPU with matrix instructions";
            return Err(Error::Usage(format!("{message}: {} has none that this program knows", device.name())));
        }
        Ok(device)
    }

    fn without_what_it_cannot_do(mut self) -> Self {
        let matrices = self.multiplies_matrices();
        if let Self::OpenCl { info, .. } = &mut self
            && !matrices
        {
            info.precision = Precision::Fp32;
        }
        self
    }

    /// Of what was recorded with another device, what this one can do; the rest is left out with a warning.
    #[must_use]
    pub fn applicable(&self, args: &DeviceArgs) -> DeviceArgs {
        let mut now = args.clone();
        if !args.recorded {
            return now;
        }
        if matches!(self, Self::Cpu) {
            (now.tiles, now.device_memory) = (None, None);
            now.conv = now.conv.filter(|&conv| conv != Convolution::Winograd);
        }
        now.precision = now.precision.filter(|&precision| precision == self.precision());
        let left_out = [("tiles", now.tiles != args.tiles), ("precision", now.precision != args.precision)];
        for (option, _) in left_out.into_iter().chain([("conv", now.conv != args.conv)]).filter(|(_, out)| *out) {
            let name = self.name();
            progress::warn(&format!("warning: the configuration's {option} is left out: {name} has no such thing"));
        }
        now
    }

    /// What decides the bits of its results, as far as that is known before it is open.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Cpu => Identity::of_cpu(),
            Self::OpenCl { info, convolution, .. } => Identity::new(info, *convolution, &Choices::default()),
        }
    }

    /// Has runs follow the choices that a run made `before`, where that was on this very device, driver and kernels.
    pub fn follow(&mut self, before: impl FnOnce(&Identity) -> Table) {
        if let Self::OpenCl { info, convolution, recorded, .. } = self {
            *recorded = before(&Identity::new(info, *convolution, &Choices::default()));
        }
    }

    /// Has runs say nothing but warnings.
    pub fn silence(&mut self) {
        if let Self::OpenCl { quiet, .. } = self {
            *quiet = true;
        }
    }

    /// What to call it in reports.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => "CPU core, one thread".into(),
            Self::OpenCl { info, .. } => format!("{} ({}, {})", info.name, info.platform_name, info.selector()),
        }
    }

    /// Whether matrix instructions multiply what its kernels want multiplied.
    fn multiplies_matrices(&self) -> bool {
        matches!(self, Self::OpenCl { info, .. } if info.multiplies_matrices())
    }

    /// How the factors of its convolutions are rounded.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu => Precision::Fp32,
            Self::OpenCl { info, .. } => info.precision,
        }
    }

    /// The kind of device that its kernels are made for, where it has any.
    pub fn tiles(&self) -> Option<Class> {
        match self {
            Self::Cpu => None,
            Self::OpenCl { info, .. } => Some(info.tiles),
        }
    }

    fn arena(&self) -> Arena {
        match self {
            Self::Cpu => Arena::new(1),
            Self::OpenCl { info, .. } => Arena::segmented(OpenCl::alignment(), OpenCl::segment(info)),
        }
    }

    /// Plans a network with so many bytes of samples for a batch.
    ///
    /// # Errors
    /// As [`Device::plan`].
    pub fn plan_network(
        &self,
        model: &Model,
        needs: &Needs,
        samples: impl Fn(usize) -> usize,
    ) -> Result<Layout, Error> {
        let layout = self.layout(model, needs, &samples)?;
        if self.fits(&layout, samples(needs.batch)) {
            return Ok(layout);
        }
        Err(self.too_small(model, needs, Some(&layout), samples))
    }

    /// As [`Layout::new`]; when the plan grows too large, the error says which batch fits.
    fn layout(&self, model: &Model, needs: &Needs, samples: &impl Fn(usize) -> usize) -> Result<Layout, Error> {
        match Layout::new(model, needs, self.arena()) {
            Err(Error::Core(CoreError::TooLarge | CoreError::Segment { .. })) => {
                Err(self.too_small(model, needs, None, samples))
            }
            other => other,
        }
    }

    /// Plans a run of `model` on `dataset`. The second value is given when the data set does not fit beside the
    /// network: rows of a batch that is staged.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has not enough memory, with the largest batch that fits. Otherwise as
    /// [`Layout::new`].
    pub fn plan(&self, model: &Model, needs: &Needs, dataset: &Dataset) -> Result<(Layout, Option<usize>), Error> {
        let staged = |batch| Feeds::staged_bytes(dataset, batch);
        let layout = self.layout(model, needs, &staged)?;
        if self.fits(&layout, Feeds::resident_bytes(dataset)) {
            return Ok((layout, None));
        }
        if self.fits(&layout, staged(needs.batch)) {
            return Ok((layout, Some(needs.batch)));
        }
        Err(self.too_small(model, needs, Some(&layout), staged))
    }

    /// Whether the device has room for a plan and so many bytes of samples.
    fn fits(&self, layout: &Layout, samples: usize) -> bool {
        match self {
            Self::Cpu => true,
            Self::OpenCl { info, memory, .. } => Room::of(info, layout, samples).fits(info.largest_allocation, *memory),
        }
    }

    /// The error for a plan that does not fit: needed, available, and the largest batch that fits.
    fn too_small(
        &self,
        model: &Model,
        needs: &Needs,
        layout: Option<&Layout>,
        samples: impl Fn(usize) -> usize,
    ) -> Error {
        let largest = largest(needs.batch, |batch| {
            let smaller = Layout::new(model, &Needs { batch, ..*needs }, self.arena());
            smaller.is_ok_and(|layout| self.fits(&layout, samples(batch)))
        });
        let batch = needs.batch;
        let message = match (self, layout) {
            (Self::OpenCl { info, memory, .. }, Some(layout)) => {
                Room::of(info, layout, samples(batch)).shortage(batch, info.largest_allocation, *memory)
            }
            _ => format!("batch {batch} needs more memory than can be addressed"),
        };
        Error::Device {
            device: self.name(),
            message,
            hint: Some(match largest {
                0 => "not even one sample a batch fits; try a smaller model".into(),
                batch => format!("--batch {batch} fits"),
            }),
        }
    }

    /// Runs a job with the work memory of `layout`, the numbers of its frozen layers and these samples.
    ///
    /// # Errors
    /// Whatever the job or the device reports.
    pub fn run<J: Job>(&self, layout: &Layout, frozen: &[f32], samples: &[u8], job: J) -> Result<J::Output, Error> {
        if let Self::OpenCl { info, replaceable, convolution, recorded, quiet, .. } = self {
            let chosen = || match convolution {
                Convolution::Auto => choices(info, layout, recorded, *quiet),
                Convolution::Direct | Convolution::Winograd => Ok(Choices::default()),
            };
            match chosen().and_then(|choices| open(info, layout, (frozen, samples), *convolution, choices)) {
                Ok(mut backend) => return job.run(&mut backend),
                Err(error) if *replaceable => progress::warn(&format!("{error}; using the CPU core")),
                Err(error) => return Err(error.into()),
            }
        }
        let mut memory = Vec::new();
        memory.try_reserve_exact(layout.words).map_err(|_| Error::from(CoreError::TooLarge))?;
        memory.resize(layout.words, 0.0);
        job.run(&mut Cpu::new(&mut memory, frozen, samples))
    }
}

/// What `--device` takes.
const NAMES: &str = "auto, cpu, opencl, opencl:P.D, or a part of a device's name; sse-sam devices lists what there is";

/// The OpenCL device with this name.
fn named(name: &str) -> Result<DeviceInfo, Error> {
    let survey = opencl::survey()?;
    let found = opencl::select(&survey.devices, name);
    // Who names a number means that device and no other.
    if !found.as_ref().is_ok_and(|info| info.selector() == name) {
        warn_of(&survey.broken);
    }
    match found {
        Ok(info) => Ok(info.clone()),
        Err(error) if name == "opencl" => Err(error.into()),
        Err(error @ opencl::Error::Device { .. }) => {
            Err(Error::Usage(format!("no device {name}: {error}; --device takes {NAMES}")))
        }
        Err(error) => Err(Error::Usage(format!("no device {name}: {error}"))),
    }
}

/// Says what is broken beside the devices that there are.
fn warn_of(broken: &[Broken]) {
    broken.iter().for_each(|broken| progress::warn(&format!("warning: {broken}")));
}

/// Bytes of `--device-memory`.
fn limit(mib: Option<f64>) -> Result<u64, Error> {
    match mib {
        None => Ok(u64::MAX),
        Some(mib) if mib.is_finite() && mib >= 1.0 => Ok((mib * f64::from(1 << 20)) as u64),
        Some(mib) => Err(Error::Usage(format!("--device-memory must be a number of MiB from 1 on, got {mib}"))),
    }
}

/// Bytes that a plan, what its operations need beside it, and the samples take on a device.
#[derive(Clone, Copy, Debug)]
struct Room {
    all: u64,
    /// In one buffer: work memory alone has several.
    largest: u64,
}

impl Room {
    fn of(info: &DeviceInfo, layout: &Layout, samples: usize) -> Self {
        let [work, frozen, scratch] = [layout.words, layout.plan.frozen().length, scratch(info, layout)];
        Self::new([work, frozen, scratch].map(|words| 4 * words as u64), samples as u64)
    }

    fn new([work, frozen, scratch]: [u64; 3], samples: u64) -> Self {
        Self { all: work + frozen + scratch + samples, largest: frozen.max(scratch).max(samples) }
    }

    /// Whether a device has it that allows so much in one buffer and in all.
    fn fits(self, allocation: u64, memory: u64) -> bool {
        self.largest <= allocation && self.all <= memory
    }

    /// What is missing where it does not fit.
    fn shortage(self, batch: usize, allocation: u64, memory: u64) -> String {
        let (needed, there, how) =
            if self.all > memory { (self.all, memory, "") } else { (self.largest, allocation, " in one piece") };
        let (needed, there) = (needed.div_ceil(1 << 20), there >> 20);
        format!("{needed} MiB{how} are needed at batch {batch}, {there} MiB are there")
    }
}

/// The largest batch below `batch` that fits, 0 when none does.
fn largest(batch: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, batch);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

impl From<opencl::Error> for Error {
    fn from(error: opencl::Error) -> Self {
        match error {
            opencl::Error::Core(error) => Self::Core(error),
            other @ opencl::Error::Matrix { .. } => Self::Device {
                device: "OpenCL".into(),
                message: other.to_string(),
                hint: Some("leave out --precision tf32".into()),
            },
            other => Self::Device {
                device: "OpenCL".into(),
                message: other.to_string(),
                hint: Some("sse-sam devices lists what there is; --device cpu needs no OpenCL".into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_batch_that_fits_is_found() {
        assert_eq!(largest(128, |batch| batch <= 37), 37);
        assert_eq!(largest(128, |_| false), 0);
        assert_eq!(largest(2, |batch| batch <= 1), 1);
    }

    #[test]
    fn scratch_memory_must_fit_in_one_piece_and_beside_all_else() {
        let mib = |n: u64| n << 20;
        // Work memory may lie in several buffers, what lies beside it may not.
        let room = Room::new([mib(20), mib(1), mib(8)], mib(2));
        assert!(room.fits(mib(8), mib(31)));
        assert!(!room.fits(mib(8) - 1, mib(31)) && !room.fits(mib(8), mib(31) - 1));
        assert_eq!(room.shortage(7, mib(8), mib(30)), "31 MiB are needed at batch 7, 30 MiB are there");
        assert_eq!(room.shortage(7, mib(4), mib(40)), "8 MiB in one piece are needed at batch 7, 4 MiB are there");
    }

    #[test]
    fn device_memory_is_a_number_of_mib() {
        assert_eq!(limit(None).unwrap(), u64::MAX);
        assert_eq!([1.0, 1.5].map(|mib| limit(Some(mib)).unwrap()), [1 << 20, 3 << 19]);
        for mib in [-1.0, 0.0, 0.99, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = limit(Some(mib)).unwrap_err();
            assert_eq!(error.to_string(), format!("--device-memory must be a number of MiB from 1 on, got {mib}"));
            assert_eq!(error.exit_code(), 2);
        }
    }
}
