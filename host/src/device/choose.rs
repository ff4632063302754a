//! Chooses a device, and checks that a run fits its memory.

use sse_sam_core::{Arena, Error as CoreError, Model};

use crate::device::layout::{Layout, Needs};
use crate::device::machine::{Core, Identity, Job};
use crate::device::open::{open, selection};
use crate::device::room::{Host, Room, largest, lends, mebibytes, refused};
use crate::device::threads::{Cores, Threads};
use crate::error::Error;
use crate::opencl::{self, AlgorithmTable, Broken, Convolution, DeviceInfo, OpenCl, Precision, Selection, Tiling};
use crate::recipe::{DeviceOptions, defaults};
use crate::report::Observer;

/// A machine that was chosen but lends no memory yet.
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU core of this program.
    Cpu(Cores),
    /// An OpenCL device.
    OpenCl {
        /// Which.
        info: Box<DeviceInfo>,
        /// The device that takes over when this one is too small, where none was named; the CPU core
        /// where it cannot be opened.
        instead: Option<Box<Device>>,
        /// Bytes of its memory that may be used.
        memory: u64,
        /// How it computes convolutions.
        convolution: Convolution,
        /// Algorithms of convolutions that were chosen for this run already.
        recorded: AlgorithmTable,
    },
}

impl Device {
    /// The CPU core, all threads that the computer has.
    pub fn cpu() -> Self {
        Self::Cpu(Cores::default())
    }

    /// The device of `--device`: `auto` (a GPU, else an accelerator, else an OpenCL CPU, else the CPU core), `cpu`,
    /// `opencl`, `opencl:P.D`, or a part of an OpenCL device's name.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that mean nothing or that no device answers to, [`Error::Device`] when the OpenCL
    /// library fails and was asked for.
    pub fn choose(args: &DeviceOptions, observer: &dyn Observer) -> Result<Self, Error> {
        let limit = limit(args.device_memory)?;
        let cores = cores(args, observer)?;
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
                recorded: AlgorithmTable::new(),
            }
        };
        let wanted = args.device.as_deref().unwrap_or(defaults::DEVICE).trim().to_lowercase();
        let device = match wanted.as_str() {
            "" => return Err(Error::Usage(format!("--device names no device: it takes {NAMES}"))),
            "cpu" => Self::Cpu(cores),
            "auto" => match opencl::survey() {
                Ok(survey) => {
                    warn_of(&survey.broken, observer);
                    let refused = survey.devices.iter().filter_map(|info| Some((info, info.unusable?)));
                    refused
                        .for_each(|(info, reason)| observer.warn(&format!("{} cannot be used: {reason}", info.name)));
                    let usable = opencl::usable(&survey.devices);
                    usable.into_iter().rev().fold(Self::Cpu(cores), |instead, info| use_opencl(info, Some(instead)))
                }
                Err(error) => {
                    observer.warn(&format!("OpenCL cannot be used ({error}); using the CPU core"));
                    Self::Cpu(cores)
                }
            },
            name => use_opencl(&named(name, observer)?, None),
        };
        if args.recorded {
            return Ok(device.without_what_it_cannot_do());
        }
        if matches!(device, Self::Cpu(_)) && args.conv == Some(Convolution::Winograd) {
            return Err(Error::Usage(format!("{} has no convolutions in Winograd's form", device.name())));
        }
        if wanted == "cpu" && args.device_memory.is_some() {
            return Err(Error::Usage("--device-memory is about OpenCL devices, and the device is the CPU core".into()));
        }
        if matches!(device, Self::Cpu(_)) && args.tiles.is_some() {
            let message = format!("--tiles is about kernels of OpenCL devices: {} has none", device.name());
            return Err(Error::Usage(message));
        }
        let of_cpu = [("--threads", args.threads.is_some()), ("--simd", args.simd.is_some())];
        if let (Self::OpenCl { .. }, Some((option, _))) = (&device, of_cpu.into_iter().find(|(_, is_given)| *is_given))
        {
            let message = format!("{option} is about the CPU core, and the device is {}", device.name());
            return Err(Error::Usage(format!("{message}; --device cpu takes the CPU core")));
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
    pub fn applicable(&self, args: &DeviceOptions, observer: &dyn Observer) -> DeviceOptions {
        let mut now = args.clone();
        if !args.recorded {
            return now;
        }
        if matches!(self, Self::Cpu(_)) {
            (now.tiles, now.device_memory) = (None, None);
            now.conv = now.conv.filter(|&conv| conv != Convolution::Winograd);
        } else {
            (now.threads, now.simd) = (None, None);
        }
        now.precision = now.precision.filter(|&precision| precision == self.precision());
        let left_out = [("tiles", now.tiles != args.tiles), ("precision", now.precision != args.precision)];
        for (option, _) in left_out.into_iter().chain([("conv", now.conv != args.conv)]).filter(|(_, out)| *out) {
            let name = self.name();
            observer.warn(&format!("warning: the configuration's {option} is left out: {name} has no such thing"));
        }
        now
    }

    /// What decides the bits of its results, as far as that is known before it is open.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Cpu(_) => Identity::of_cpu(),
            Self::OpenCl { info, convolution, .. } => Identity::new(info, *convolution, &Selection::default()),
        }
    }

    /// Makes runs use the algorithms of an earlier run (`before`), if it ran on this device, driver and kernels.
    pub fn follow(&mut self, before: impl FnOnce(&Identity) -> Option<AlgorithmTable>) {
        if let Self::OpenCl { info, convolution, recorded, .. } = self {
            *recorded = before(&Identity::new(info, *convolution, &Selection::default())).unwrap_or_default();
        }
    }

    /// What to call it in reports.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(cores) => format!("CPU core, {cores}"),
            Self::OpenCl { info, .. } => format!("{} ({}, {})", info.name, info.platform_name, info.selector()),
        }
    }

    /// The cores of the computer that it takes: all for what another device leaves.
    pub(crate) fn cores(&self) -> Cores {
        if let Self::Cpu(cores) = self { *cores } else { Cores::default() }
    }

    /// Whether matrix instructions multiply what its kernels want multiplied.
    fn multiplies_matrices(&self) -> bool {
        matches!(self, Self::OpenCl { info, .. } if info.multiplies_matrices())
    }

    /// How the factors of its convolutions are rounded.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu(_) => Precision::Fp32,
            Self::OpenCl { info, .. } => info.precision,
        }
    }

    /// The kind of device that its kernels are made for, where it has any.
    pub fn tiles(&self) -> Option<Tiling> {
        match self {
            Self::Cpu(_) => None,
            Self::OpenCl { info, .. } => Some(info.tiling()),
        }
    }

    /// The same device in full precision, with convolutions by their definition.
    #[must_use]
    pub fn exact(&self) -> Self {
        let mut exact = self.clone();
        if let Self::OpenCl { info, convolution, .. } = &mut exact {
            info.precision = Precision::Fp32;
            *convolution = Convolution::Direct;
        }
        exact
    }

    /// An arena over its memory.
    pub(crate) fn arena(&self) -> Arena {
        match self {
            Self::Cpu(_) => Arena::new(1),
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

    /// Plans a run of `model` on samples of so many bytes, or on such that differ from epoch to epoch; staged batch by batch
    /// they take `staged(rows)`. The second value is given when they do not fit beside the network as a whole, or differ: rows
    /// of a batch that is staged.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has not enough memory, with the largest batch that fits, or when the system does
    /// not lend what the run takes beside it. Otherwise as [`Layout::new`].
    pub fn plan(
        &self,
        model: &Model,
        needs: &Needs,
        resident: Option<usize>,
        staged: &impl Fn(usize) -> usize,
    ) -> Result<(Layout, Option<usize>), Error> {
        let host = if needs.first == Needs::INFERENCE { Host::DATA } else { Host::CHECKPOINTS };
        let layout = self.layout(model, needs, host, staged)?;
        if resident.is_some_and(|bytes| self.fits(&layout, bytes, host)) {
            return Ok((layout, None));
        }
        // What does not fit into the computer's memory is not staged for its own core.
        let can_stage = matches!(self, Self::OpenCl { .. }) || resident.is_none();
        if can_stage && self.fits(&layout, staged(needs.batch), host) {
            return Ok((layout, Some(needs.batch)));
        }
        Err(self.too_small(model, needs, Ok(&layout), host, staged))
    }

    /// What `plan` makes of it; a device that nobody asked for and that is too small is replaced by the next one.
    ///
    /// # Errors
    /// What `plan` reports of the last one.
    pub fn or_next<T>(
        &mut self,
        plan: impl Fn(&Self) -> Result<T, Error>,
        observer: &dyn Observer,
    ) -> Result<T, Error> {
        loop {
            let result = plan(self);
            let (error, next) = match (result, &*self) {
                (Err(error @ Error::Device { .. }), Self::OpenCl { instead: Some(next), .. }) if !self.is_limited() => {
                    (error, next.clone())
                }
                (result, _) => return result,
            };
            *self = *next;
            observer.warn(&format!("{error}; using {}", self.name()));
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
            Self::Cpu(_) => lends(&[&[layout.words], &pieces[..]].concat()),
            Self::OpenCl { info, memory, .. } => {
                Room::of(info, layout, samples).fits(info.largest_allocation, *memory) && lends(&pieces)
            }
        }
    }

    /// How many of so many runs with this plan and these samples the device and the computer have memory for at once: 1 at
    /// least, for a single one was planned.
    pub(crate) fn side_by_side(&self, layout: &Layout, samples: usize, wanted: usize) -> usize {
        let mut pieces = Host::CHECKPOINTS.pieces(layout, samples);
        let mut most = wanted;
        match self {
            Self::Cpu(_) => pieces.push(layout.words),
            Self::OpenCl { info, memory, .. } => most = most.min(Room::of(info, layout, samples).times(*memory)),
        }
        (2..=most).rev().find(|&count| lends(&pieces.repeat(count))).unwrap_or(1)
    }

    /// The same device, of whose cores so many runs take an equal share each, one thread at least.
    #[must_use]
    pub(crate) fn shared(mut self, runs: usize) -> Self {
        if let Self::Cpu(cores) = &mut self {
            cores.threads = (cores.threads / runs.max(1)).max(1);
        }
        self
    }

    /// Whether a plan that is used for evaluation fits beside so many bytes of samples: `Some(false)` when it does beside all
    /// of them, `Some(true)` when only beside those of staged batches.
    pub(crate) fn lays_out(&self, layout: &Layout, resident: usize, staged: usize) -> Option<bool> {
        if self.fits(layout, resident, Host::DATA) {
            return Some(false);
        }
        (matches!(self, Self::OpenCl { .. }) && self.fits(layout, staged, Host::DATA)).then_some(true)
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
            (Self::Cpu(_), Ok(layout)) => refused(&[&[layout.words], &host.pieces(layout, samples)[..]].concat()),
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
            (0, Self::Cpu(_)) => "not even one sample a batch fits with some to spare; try a smaller model".into(),
            (batch, _) => format!("--batch {batch} fits{more}"),
        }
    }

    /// Runs a job with the work memory of `layout`, the numbers of its frozen layers and these samples.
    ///
    /// # Errors
    /// Whatever the job or the device reports.
    pub fn run<J: Job>(
        &self,
        layout: &Layout,
        frozen: &[f32],
        samples: &[u8],
        job: J,
        observer: &dyn Observer,
    ) -> Result<J::Output, Error> {
        if let Self::OpenCl { info, instead, convolution, recorded, .. } = self {
            let selected = match convolution {
                Convolution::Auto => selection(info, layout, recorded, observer),
                Convolution::Direct | Convolution::Winograd => Ok(Selection::default()),
            };
            let memory = (frozen, samples);
            match selected.and_then(|selection| open(info, layout, memory, *convolution, selection, observer)) {
                Ok(mut backend) => return job.run(&mut backend),
                Err(error) if instead.is_some() => observer.warn(&format!("{error}; using the CPU core")),
                Err(error) => return Err(error.into()),
            }
        }
        let cores = self.cores();
        let mut memory = Vec::new();
        memory.try_reserve_exact(layout.words).map_err(|_| Error::Device {
            device: Self::Cpu(cores).name(),
            message: refused(&[layout.words]),
            hint: Some("try a smaller --batch or a smaller model".into()),
        })?;
        memory.resize(layout.words, 0.0);
        let threads = Threads::new(cores);
        if threads.count() < cores.threads {
            let (wanted, count) = (cores.threads, threads.count());
            observer.warn(&format!("warning: the system gives {count} of {wanted} threads; computing with those"));
        }
        job.run(&mut Core::new(threads, &mut memory, frozen, samples))
    }
}

/// The cores of `--threads` and `--simd`.
fn cores(options: &DeviceOptions, observer: &dyn Observer) -> Result<Cores, Error> {
    let mut cores = Cores::default();
    if let Some(level) = options.simd {
        if !level.is_there() {
            let (name, widest) = (level.name(), cores.level.name());
            return Err(Error::Usage(format!(
                "--simd {name}: this processor has none of that, its widest is {widest}"
            )));
        }
        cores.level = level;
    }
    match options.threads {
        Some(0) => Err(Error::Usage("--threads must be at least 1, got 0".into())),
        Some(wanted) => {
            let threads = (wanted as usize).min(Cores::most());
            if threads < wanted as usize {
                let most = format!("{threads}, {} for each processor", Cores::A_PROCESSOR);
                observer.warn(&format!("warning: --threads {wanted} is more than helps: computing with {most}"));
            }
            Ok(Cores { threads, ..cores })
        }
        None => Ok(cores),
    }
}

/// What `--device` takes.
const NAMES: &str = "auto, cpu, opencl, opencl:P.D, or a part of a device's name; sse-sam devices lists what there is";

/// The OpenCL device with this name.
fn named(name: &str, observer: &dyn Observer) -> Result<DeviceInfo, Error> {
    let survey = opencl::survey()?;
    if let Some(broken) = survey.broken.iter().find(|broken| broken.is_device(name)) {
        return Err(broken.error.clone().into());
    }
    let found = opencl::select(&survey.devices, name);
    // Who names a number means that device and no other.
    if !found.as_ref().is_ok_and(|info| info.selector() == name) {
        warn_of(&survey.broken, observer);
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
fn warn_of(broken: &[Broken], observer: &dyn Observer) {
    broken.iter().for_each(|broken| observer.warn(&format!("warning: {broken}")));
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
