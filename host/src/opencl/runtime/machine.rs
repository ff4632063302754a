//! The backend: one device, one queue, its kernels and memories.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ocl::core::{self, CommandQueue, CommandQueueProperties, Event, Kernel, ProfilingInfo};
use sse_sam_core::ops::Operation as Described;
use sse_sam_core::ops::operation::disjoint;
use sse_sam_core::{Conv2d, Error as CoreError, Machine, Span};

use crate::opencl::convolution;
use crate::opencl::convolution::block::{self, Block};
use crate::opencl::convolution::winograd::{self, Convolution};
use crate::opencl::runtime::device::DeviceInfo;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::launch::{LAUNCHED, Launch};
use crate::opencl::runtime::measure;
use crate::opencl::runtime::memory::{self, ALIGNMENT, Memory};
use crate::opencl::runtime::program::{Built, KERNELS, kernel_names};
use crate::opencl::runtime::tiles::Tiles;
use crate::opencl::tuning::trial::{self, Choices, Form, Forms, Operation};

/// A [`Backend`](sse_sam_core::Backend) on an OpenCL device.
///
/// Kernels are built when it is made. A call sets arguments and enqueues; it neither waits nor allocates.
pub struct OpenCl {
    memory: Memory,
    kernels: Vec<Option<Kernel>>,
    /// What each kernel's arguments were last set to: most are the same again, and setting them takes time.
    last: Vec<Vec<usize>>,
    queue: CommandQueue,
    launches: u64,
    convolution: Convolution,
    choices: Choices,
    /// Blocks that this device cannot launch, or computes wrongly.
    refused: Vec<(Operation, Block)>,
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
        let memory = Memory::new(&built, &queue, (work_len, segment.max(1)), constant, samples, Self::SCRATCH)?;
        Ok(Self {
            memory,
            kernels: built.kernels()?,
            last: vec![Vec::new(); KERNELS],
            queue,
            launches: 0,
            convolution: Convolution::default(),
            choices: Choices::default(),
            refused: block::too_large(device),
            timed: None,
            built,
        })
    }

    /// The most `f32` that one span can have on `device`; spans do not straddle multiples of it.
    pub fn segment(device: &DeviceInfo) -> usize {
        memory::segment_length(device)
    }

    /// `f32` of scratch memory that `conv` and its gradients with `rows` images need on `device`, in any form.
    pub fn scratch(device: &DeviceInfo, conv: &Conv2d, rows: usize) -> usize {
        let (tiles, units) = (Tiles::for_device(device), device.compute_units as usize);
        let other = block::scratch(device, conv, rows).max(winograd::scratch(&tiles, units, conv, rows));
        convolution::scratch(&tiles, conv, rows).max(other)
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

    /// Chooses how 3 x 3 convolutions of stride 1 are computed from now on.
    pub fn set_convolution(&mut self, convolution: Convolution) {
        self.convolution = convolution;
    }

    /// How they are.
    pub fn convolution(&self) -> Convolution {
        self.convolution
    }

    /// Puts these choices in force under [`Convolution::Auto`].
    pub fn set_choices(&mut self, choices: Choices) {
        self.choices = choices;
    }

    /// The choices in force under [`Convolution::Auto`].
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The forms in which `conv` and its gradients with so many images are computed.
    pub fn forms(&self, conv: &Conv2d, images: usize) -> Forms {
        Operation::ALL.map(|operation| self.form(operation, conv, images, true))
    }

    /// The form of one operation, where its memory lies at `whole` quads.
    pub(crate) fn form(&self, operation: Operation, conv: &Conv2d, images: usize, whole: bool) -> Form {
        let chosen = match self.convolution {
            Convolution::Direct => Form::Direct,
            Convolution::Winograd => Form::Winograd,
            Convolution::Auto => {
                let forms = self.choices.forms(conv).unwrap_or_else(|| trial::shipped(self.device(), conv));
                forms[operation as usize]
            }
        };
        self.resolve(operation, chosen, conv, images, whole)
    }

    /// What a form comes to: the blocks of a device that has them go before the direct form.
    pub(crate) fn resolve(&self, operation: Operation, form: Form, conv: &Conv2d, images: usize, whole: bool) -> Form {
        let takes = |block: Block| self.can(operation, block) && block.takes(conv, whole);
        match form {
            Form::Winograd if winograd::fits(self.tiles(), conv) => form,
            _ if !block::fits(self.tiles(), conv, images) => Form::Direct,
            Form::Block(block) | Form::Split(block, _) if takes(block) => form,
            _ => block::shipped(conv, operation, images, self.device().multiplier(), takes)
                .map_or(Form::Direct, Form::Block),
        }
    }

    /// Whether the device computes an operation in this block.
    pub(crate) fn can(&self, operation: Operation, block: Block) -> bool {
        !self.refused.contains(&(operation, block))
    }

    /// Computes nothing in these blocks from now on.
    pub(crate) fn refuse(&mut self, blocks: impl IntoIterator<Item = (Operation, Block)>) {
        self.refused.extend(blocks);
    }

    /// Kernels of this device that no backend of the process has launched yet.
    #[doc(hidden)]
    pub fn kernels_never_launched(&self) -> Vec<&'static str> {
        let kernels = kernel_names().zip(&self.kernels).zip(&LAUNCHED);
        let never = kernels.filter(|((_, kernel), launched)| kernel.is_some() && !launched.load(Relaxed));
        never.map(|((name, _), _)| name).collect()
    }

    /// Makes room for `conv` and its gradients with `rows` images; to be called before training.
    ///
    /// # Errors
    /// [`Error::Memory`] when the device has no room.
    pub fn reserve_convolution(&mut self, conv: &Conv2d, rows: usize) -> Result<(), Error> {
        self.reserve_scratch(Self::scratch(self.device(), conv, rows))
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
        self.memory.finish(&self.queue)?;
        // Another buffer may lie where the old one lay.
        self.last.iter_mut().for_each(Vec::clear);
        self.memory.reserve(&self.built, needed)
    }

    /// Queues a write of bytes into the samples at `offset`; does not wait.
    ///
    /// # Errors
    /// [`sse_sam_core::Error::Bounds`] when they reach past the samples, [`Error::Call`] when the driver fails.
    pub fn stage(&mut self, offset: usize, bytes: Vec<u8>) -> Result<(), Error> {
        self.memory.write_samples(&self.queue, offset, bytes)
    }

    /// Bytes of the device's memory that it holds.
    pub fn bytes(&self) -> u64 {
        self.memory.size()
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
        self.memory.finish(&self.queue)
    }

    pub(crate) fn tiles(&self) -> &Tiles {
        &self.built.tiles
    }

    /// `Ok` when an operation's operands fit together, lie inside their memories, and none that is written shares an element
    /// with another.
    pub(crate) fn admit(&self, operation: &impl Described) -> Result<(), Error> {
        operation.extent()?;
        disjoint(operation)?;
        self.memory.admit(operation)
    }

    /// What launches kernels, and the memory that their arguments lie in.
    pub(crate) fn split(&mut self) -> (Launch<'_>, &Memory) {
        let Self { kernels, last, queue, launches, timed, built, memory, .. } = self;
        let (tiles, device) = (&built.tiles, &built.info.name);
        (Launch { kernels, last, queue, launches, timed, built, tiles, device }, memory)
    }
}

impl Drop for OpenCl {
    fn drop(&mut self) {
        if self.memory.finish(&self.queue).is_err() {
            // A destructor cannot report errors; but memory that a pending write reads must not be freed.
            self.memory.leak();
        }
    }
}

impl Machine for OpenCl {
    type Error = Error;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), Error> {
        expect(to, values)?;
        self.memory.written(to)?;
        self.memory.write(&self.queue, to, values.to_vec())
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), Error> {
        expect(from, values)?;
        self.memory.get(&self.queue, values, from)
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
