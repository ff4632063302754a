//! The backend: one device, one queue, its kernels and memories.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ocl::core::{self, CommandQueue, CommandQueueProperties, Event, Kernel, ProfilingInfo};
use sse_sam_core::ops::Operation;
use sse_sam_core::ops::operation::disjoint;
use sse_sam_core::{Error as CoreError, Machine, Span};

use crate::opencl::algorithm::Policy;
use crate::opencl::runtime::blocks;
use crate::opencl::runtime::buffers::{self, ALIGNMENT, Buffers};
use crate::opencl::runtime::device::DeviceInfo;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::{LAUNCHED, Launch};
use crate::opencl::runtime::measure;
use crate::opencl::runtime::program::{Built, KERNELS, kernel_names};
use crate::opencl::runtime::tiles::Tiles;

/// A [`Backend`](sse_sam_core::Backend) on an OpenCL device.
///
/// Kernels are built when it is made. A call sets arguments and enqueues; it neither waits nor allocates.
pub struct OpenCl {
    buffers: Buffers,
    kernels: Vec<Option<Kernel>>,
    /// What each kernel's arguments were last set to: most are the same again, and setting them takes time.
    last: Vec<Vec<usize>>,
    queue: CommandQueue,
    launches: u64,
    /// What decides how convolutions are computed.
    pub(crate) policy: Policy,
    /// The launches since the last look, where they are timed.
    timed: Option<Vec<Event>>,
    pub(crate) built: Arc<Built>,
}

impl OpenCl {
    /// `f32` of scratch memory that every backend has: enough for all operations but large convolutions.
    pub const SCRATCH: usize = 1 << 20;

    /// A backend on `device` with `work_len` zeros of work memory, and copies of `constant` and `samples`.
    ///
    /// # Errors
    /// [`Error::Memory`] when they do not fit the device, [`Error::Build`] when a kernel does not build for it,
    /// [`Error::Call`] when the driver fails.
    pub fn new(device: &DeviceInfo, work_len: usize, constant: &[f32], samples: &[u8]) -> Result<Self, Error> {
        Self::with_segment(device, work_len, constant, samples, Self::segment(device))
    }

    /// As [`OpenCl::new`] with another length of the work buffers.
    #[doc(hidden)]
    pub fn with_segment(
        device: &DeviceInfo,
        work_len: usize,
        constant: &[f32],
        samples: &[u8],
        segment: usize,
    ) -> Result<Self, Error> {
        let built = Built::of(device)?;
        let queue = core::create_command_queue(&built.context, device.id, None)
            .map_err(|error| Error::of(&device.name, &error))?;
        let buffers = Buffers::new(&built, &queue, (work_len, segment.max(1)), constant, samples, Self::SCRATCH)?;
        Ok(Self {
            buffers,
            kernels: built.kernels()?,
            last: vec![Vec::new(); KERNELS],
            queue,
            launches: 0,
            policy: Policy { refused: blocks::too_large(device), ..Policy::default() },
            timed: None,
            built,
        })
    }

    /// The most `f32` that one span can have on `device`; spans do not straddle multiples of it.
    pub fn segment(device: &DeviceInfo) -> usize {
        buffers::segment_length(device)
    }

    /// `f32` of scratch memory that batch normalisation of `channels` and cross-entropy of `rows` need on `device`.
    pub fn scratch_of_layers(device: &DeviceInfo, channels: usize, rows: usize) -> usize {
        let parts = Tiles::for_device(device).row_parts + 1;
        channels.saturating_mul(3 * parts).max(rows)
    }

    /// What spans are aligned to, in `f32`.
    pub const fn alignment() -> usize {
        ALIGNMENT
    }

    /// The device.
    pub fn device(&self) -> &DeviceInfo {
        &self.built.info
    }

    /// Kernels launched so far.
    pub fn launches(&self) -> u64 {
        self.launches
    }

    /// Kernels of this device that no backend of the process has launched yet.
    #[doc(hidden)]
    pub fn kernels_never_launched(&self) -> Vec<&'static str> {
        let kernels = kernel_names().zip(&self.kernels).zip(&LAUNCHED);
        let never = kernels.filter(|((_, kernel), launched)| kernel.is_some() && !launched.load(Relaxed));
        never.map(|((name, _), _)| name).collect()
    }

    /// Makes room for batch normalisation of `channels` and cross-entropy of `rows`; to be called before training.
    ///
    /// # Errors
    /// [`Error::Memory`] when the device has no room.
    pub fn reserve(&mut self, channels: usize, rows: usize) -> Result<(), Error> {
        self.reserve_scratch(Self::scratch_of_layers(self.device(), channels, rows))
    }

    /// Makes scratch memory hold `needed` `f32`; what it held is lost. To be called before training.
    ///
    /// # Errors
    /// [`Error::Memory`] when the device has no room, [`sse_sam_core::Error::TooLarge`] when kernels cannot count so far.
    pub fn reserve_scratch(&mut self, needed: usize) -> Result<(), Error> {
        self.buffers.finish(&self.queue)?;
        // Another buffer may lie where the old one lay.
        self.last.iter_mut().for_each(Vec::clear);
        self.buffers.reserve(&self.built, needed)
    }

    /// Queues a write of bytes into the samples at `offset`; does not wait.
    ///
    /// # Errors
    /// [`sse_sam_core::Error::Bounds`] when they reach past the samples, [`Error::Call`] when the driver fails.
    pub fn stage(&mut self, offset: usize, bytes: Vec<u8>) -> Result<(), Error> {
        self.buffers.write_samples(&self.queue, offset, bytes)
    }

    /// Bytes of the device's memory that it holds.
    pub fn bytes(&self) -> u64 {
        self.buffers.size()
    }

    /// Floating-point operations a second that the device does in multiply-adds from registers to registers, measured
    /// by running them for a moment.
    ///
    /// # Errors
    /// [`Error::Build`] when the kernel does not build, [`Error::Call`] when the driver fails.
    pub fn fma_rate(&mut self) -> Result<f64, Error> {
        measure::fma_rate(&self.built, &self.queue)
    }

    /// Has every launch timed from now on, by another queue. `false`, and nothing changes, where the device cannot.
    ///
    /// # Errors
    /// [`Error::Call`] when the driver fails.
    pub fn time_launches(&mut self) -> Result<bool, Error> {
        if !self.built.info.profiling {
            return Ok(false);
        }
        self.finish()?;
        let properties = Some(CommandQueueProperties::PROFILING_ENABLE);
        self.queue = core::create_command_queue(&self.built.context, self.built.info.id, properties)
            .map_err(|error| Error::of(&self.built.info.name, &error))?;
        self.timed = Some(Vec::new());
        Ok(true)
    }

    /// Nanoseconds of each launch since the last call of this or of [`OpenCl::time_launches`], in order; waits for them.
    ///
    /// # Errors
    /// [`Error::Call`] when the driver fails.
    pub fn take_times(&mut self) -> Result<Vec<u64>, Error> {
        self.finish()?;
        let events = self.timed.as_mut().map(std::mem::take).unwrap_or_default();
        let moment = |event: &Event, which| {
            let moment = core::get_event_profiling_info(event, which).and_then(|moment| moment.time());
            moment.map_err(|error| Error::of(&self.built.info.name, &error))
        };
        let time = |event| Ok(moment(event, ProfilingInfo::End)?.saturating_sub(moment(event, ProfilingInfo::Start)?));
        events.iter().map(time).collect()
    }

    /// Waits until all queued work is done.
    ///
    /// # Errors
    /// [`Error::Call`] when the driver fails.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.buffers.finish(&self.queue)
    }

    pub(crate) fn tiles(&self) -> &Tiles {
        &self.built.tiles
    }

    /// `Ok` when an operation's operands fit together, lie inside their memories, and none that is written shares an element
    /// with another.
    pub(crate) fn admit(&self, operation: &impl Operation) -> Result<(), Error> {
        operation.extent()?;
        disjoint(operation)?;
        self.buffers.admit(operation)
    }

    /// What launches kernels, and the buffers that their arguments lie in.
    pub(crate) fn split(&mut self) -> (Launch<'_>, &Buffers) {
        let Self { kernels, last, queue, launches, timed, built, buffers, .. } = self;
        let (tiles, device) = (&built.tiles, &built.info.name);
        (Launch { kernels, last, queue, launches, timed, built, tiles, device }, buffers)
    }
}

impl Drop for OpenCl {
    fn drop(&mut self) {
        if self.buffers.finish(&self.queue).is_err() {
            // A destructor cannot report errors; but memory that a pending write reads must not be freed.
            self.buffers.leak();
        }
    }
}

impl Machine for OpenCl {
    type Error = Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), Error> {
        expect(to, values)?;
        self.buffers.written(to)?;
        self.buffers.write(&self.queue, to, values.to_vec())
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), Error> {
        expect(from, values)?;
        self.buffers.get(&self.queue, values, from)
    }

    fn pairs_norms(&self) -> bool {
        true
    }
}

/// `Ok` when there are as many values as the span has numbers.
fn expect(span: Span, values: &[f32]) -> Result<(), CoreError> {
    let (what, expected, found) = ("values", span.length, values.len());
    if expected == found { Ok(()) } else { Err(CoreError::Length { what, expected, found }) }
}
