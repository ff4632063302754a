//! The machines a run can use, and the memory they lend.

use sse_sam_core::{Arena, Backend, Conv2d, Cpu, Error as CoreError, Model, Space};

use crate::cli::args::DeviceArgs;
use crate::data::Dataset;
use crate::device::cpu;
use crate::device::layout::{Layout, Needs};
use crate::device::open::{choices, open};
use crate::device::room::{Host, Room, largest, lends, mebibytes, refused};
use crate::error::Error;
use crate::opencl::tuning::trial::{Choices, Form, Forms, Table};
use crate::opencl::{self, Broken, Class, Convolution, DeviceInfo, OpenCl, Precision};
use crate::report::progress;
use crate::train::feed::Feeds;

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
        Ok(cpu::multiply_adds())
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
        /// What takes over when the device is too small: nobody asked for it by name. Where it cannot be opened, the CPU
        /// core does.
        instead: Option<Box<Device>>,
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
        let use_opencl = |info: &DeviceInfo, instead: Option<Self>| {
            let memory = info.global_memory.min(limit);
            let mut info = Box::new(info.clone());
            info.tiles = args.tiles.unwrap_or(info.tiles);
            info.precision = args.precision.unwrap_or_default();
            Self::OpenCl {
                info,
                instead: instead.filter(|_| args.precision.is_none()).map(Box::new),
                memory,
                convolution: args.conv.unwrap_or_default(),
                recorded: Table::new(),
                quiet: false,
            }
        };
        let wanted = args.device.trim().to_lowercase();
        let device = match wanted.as_str() {
            "" => return Err(Error::Usage(format!("--device names no device: it takes {NAMES}"))),
            "cpu" => Self::Cpu,
            "auto" => match opencl::survey() {
                Ok(survey) => {
                    warn_of(&survey.broken);
                    let refused = survey.devices.iter().filter_map(|info| Some((info, info.unusable?)));
                    refused
                        .for_each(|(info, reason)| progress::warn(&format!("{} cannot be used: {reason}", info.name)));
                    let usable = opencl::usable(&survey.devices);
                    usable.into_iter().rev().fold(Self::Cpu, |instead, info| use_opencl(info, Some(instead)))
                }
                Err(error) => {
                    progress::warn(&format!("OpenCL cannot be used ({error}); using the CPU core"));
                    Self::Cpu
                }
            },
            name => use_opencl(&named(name)?, None),
        };
        if args.recorded {
            return Ok(device.without_what_it_cannot_do());
        }
        if matches!(device, Self::Cpu) && args.conv == Some(Convolution::Winograd) {
            return Err(Error::Usage(format!("{} has no convolutions in Winograd's form", device.name())));
        }
        if wanted == "cpu" && args.device_memory.is_some() {
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
        let layout = self.layout(model, needs, Host::DATA, &samples)?;
        if self.fits(&layout, samples(needs.batch), Host::DATA) {
            return Ok(layout);
        }
        Err(self.too_small(model, needs, Ok(&layout), Host::DATA, &samples))
    }

    /// As [`Layout::new`]; when the plan grows too large, the error says which batch fits.
    fn layout(
        &self,
        model: &Model,
        needs: &Needs,
        host: Host,
        samples: &impl Fn(usize) -> usize,
    ) -> Result<Layout, Error> {
        match Layout::new(model, needs, self.arena()) {
            Err(Error::Core(error @ (CoreError::TooLarge | CoreError::Segment { .. }))) => {
                Err(self.too_small(model, needs, Err(error), host, samples))
            }
            other => other,
        }
    }

    /// Plans a run of `model` on `dataset`. The second value is given when the data set does not fit beside the
    /// network: rows of a batch that is staged.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has not enough memory, with the largest batch that fits, or when the system does
    /// not lend what the run takes beside it. Otherwise as [`Layout::new`].
    pub fn plan(&self, model: &Model, needs: &Needs, dataset: &Dataset) -> Result<(Layout, Option<usize>), Error> {
        let host = if needs.first == Needs::INFERENCE { Host::DATA } else { Host::CHECKPOINTS };
        let staged = |batch| Feeds::staged_bytes(dataset, batch);
        let layout = self.layout(model, needs, host, &staged)?;
        if self.fits(&layout, Feeds::resident_bytes(dataset), host) {
            return Ok((layout, None));
        }
        if matches!(self, Self::OpenCl { .. }) && self.fits(&layout, staged(needs.batch), host) {
            return Ok((layout, Some(needs.batch)));
        }
        Err(self.too_small(model, needs, Ok(&layout), host, &staged))
    }

    /// What `plan` makes of it; a device that nobody asked for and that is too small is replaced by the next one.
    ///
    /// # Errors
    /// What `plan` reports of the last one.
    pub fn or_next<T>(&mut self, plan: impl Fn(&Self) -> Result<T, Error>) -> Result<T, Error> {
        loop {
            let result = plan(self);
            let (error, next) = match (result, &*self) {
                (Err(error @ Error::Device { .. }), Self::OpenCl { instead: Some(next), .. }) if !self.is_limited() => {
                    (error, next.clone())
                }
                (result, _) => return result,
            };
            *self = *next;
            progress::warn(&format!("{error}; using {}", self.name()));
        }
    }

    /// Whether less of its memory may be used than it has.
    fn is_limited(&self) -> bool {
        matches!(self, Self::OpenCl { info, memory, .. } if *memory < info.global_memory)
    }

    /// Whether the device has room for a plan and so many bytes of samples, and the host for what lies there.
    fn fits(&self, layout: &Layout, samples: usize, host: Host) -> bool {
        let pieces = host.pieces(layout, samples);
        match self {
            Self::Cpu => lends(&[&[layout.words], &pieces[..]].concat()),
            Self::OpenCl { info, memory, .. } => {
                Room::of(info, layout, samples).fits(info.largest_allocation, *memory) && lends(&pieces)
            }
        }
    }

    /// The error for a plan that does not fit: needed, available, and the largest batch that fits.
    fn too_small(
        &self,
        model: &Model,
        needs: &Needs,
        layout: Result<&Layout, CoreError>,
        host: Host,
        samples: &impl Fn(usize) -> usize,
    ) -> Error {
        let largest = largest(needs.batch, |batch| {
            let smaller = Layout::new(model, &Needs { batch, ..*needs }, self.arena());
            smaller.is_ok_and(|layout| self.fits(&layout, samples(batch), host.with_some_to_spare()))
        });
        let message = self.shortage(layout, needs.batch, samples(needs.batch), host);
        Error::Device { device: self.name(), message, hint: Some(self.way_out(largest)) }
    }

    /// What is missing where a plan, if there is one, does not fit.
    fn shortage(&self, layout: Result<&Layout, CoreError>, batch: usize, samples: usize, host: Host) -> String {
        match (self, layout) {
            (Self::OpenCl { info, memory, .. }, Ok(layout)) => {
                let room = Room::of(info, layout, samples);
                if !room.fits(info.largest_allocation, *memory) {
                    return room.shortage(batch, info.largest_allocation, *memory);
                }
                refused(&host.pieces(layout, samples))
            }
            (Self::Cpu, Ok(layout)) => refused(&[&[layout.words], &host.pieces(layout, samples)[..]].concat()),
            (_, Err(CoreError::Segment { length, segment })) => {
                let (needed, there) = (mebibytes(length), segment >> 18);
                format!("{needed} MiB in one piece are needed at batch {batch}, {there} MiB are there")
            }
            _ => format!("batch {batch} needs more memory than can be addressed"),
        }
    }

    /// What to do where only so large a batch fits.
    fn way_out(&self, largest: usize) -> String {
        let more = if self.is_limited() { "; a larger --device-memory allows more" } else { "" };
        match (largest, self) {
            (0, _) if self.is_limited() => format!("not even one sample a batch fits{more}"),
            (0, Self::OpenCl { .. }) => {
                "not even one sample a batch fits; --device cpu takes the computer's own memory".into()
            }
            (0, Self::Cpu) => "not even one sample a batch fits with some to spare; try a smaller model".into(),
            (batch, _) => format!("--batch {batch} fits{more}"),
        }
    }

    /// Runs a job with the work memory of `layout`, the numbers of its frozen layers and these samples.
    ///
    /// # Errors
    /// Whatever the job or the device reports.
    pub fn run<J: Job>(&self, layout: &Layout, frozen: &[f32], samples: &[u8], job: J) -> Result<J::Output, Error> {
        if let Self::OpenCl { info, instead, convolution, recorded, quiet, .. } = self {
            let chosen = || match convolution {
                Convolution::Auto => choices(info, layout, recorded, *quiet),
                Convolution::Direct | Convolution::Winograd => Ok(Choices::default()),
            };
            match chosen().and_then(|choices| open(info, layout, (frozen, samples), *convolution, choices)) {
                Ok(mut backend) => return job.run(&mut backend),
                Err(error) if instead.is_some() => progress::warn(&format!("{error}; using the CPU core")),
                Err(error) => return Err(error.into()),
            }
        }
        let mut memory = Vec::new();
        memory.try_reserve_exact(layout.words).map_err(|_| Error::Device {
            device: Self::Cpu.name(),
            message: refused(&[layout.words]),
            hint: Some("try a smaller --batch or a smaller model".into()),
        })?;
        memory.resize(layout.words, 0.0);
        job.run(&mut Cpu::new(&mut memory, frozen, samples))
    }
}

/// What `--device` takes.
const NAMES: &str = "auto, cpu, opencl, opencl:P.D, or a part of a device's name; sse-sam devices lists what there is";

/// The OpenCL device with this name.
fn named(name: &str) -> Result<DeviceInfo, Error> {
    let survey = opencl::survey()?;
    if let Some(broken) = survey.broken.iter().find(|broken| broken.is_device(name)) {
        return Err(broken.error.clone().into());
    }
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
        Err(error) => Err(Error::Usage(format!("no device {name}: {error}; sse-sam devices lists what there is"))),
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
