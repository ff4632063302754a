//! The device's buffers: work space in one or more, constants, samples and scratch.

use std::collections::VecDeque;

use ocl::core::{self, CommandQueue, Event, Mem, MemFlags, OclPrm};
use sse_sam_core::ops::Operation;
use sse_sam_core::ops::operation::Access;
use sse_sam_core::{Error as CoreError, Space, Span};

use crate::opencl::runtime::device::DeviceInfo;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::program::Built;

/// Spans start at multiples of this many `f32`.
pub(crate) const ALIGNMENT: usize = 32;
/// Bytes and writes that may be on their way to the device before another one waits: initial values are written 32 at a
/// time, 666,000 times for a ResNet-34.
const PENDING: (usize, usize) = (64 << 20, 4096);

/// One buffer and the first element in it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub memory: &'a Mem,
    pub offset: usize,
}

/// Host memory that a write still reads.
enum Bytes {
    Floats(Vec<f32>),
    Samples(Vec<u8>),
}

impl Bytes {
    fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len() * 4,
            Self::Samples(values) => values.len(),
        }
    }
}

/// What a machine has of its device's memory.
pub(crate) struct Buffers {
    device: String,
    segments: Vec<Mem>,
    segment: usize,
    lengths: [usize; 3],
    constant: Mem,
    samples: Mem,
    scratch: Mem,
    scratch_length: usize,
    pending: VecDeque<(Event, Bytes)>,
    pending_bytes: usize,
}

/// Most elements of a buffer: kernels count in 32 bits, and their last work-groups reach beyond the end.
const LONGEST: usize = u32::MAX as usize - (1 << 12);

/// `Ok` when kernels can count the elements of a buffer of `f32`.
fn countable(length: usize) -> Result<(), Error> {
    if length > LONGEST { Err(CoreError::TooLarge.into()) } else { Ok(()) }
}

/// Elements of one work buffer on `device`.
pub(crate) fn segment_length(device: &DeviceInfo) -> usize {
    let elements = usize::try_from(device.largest_allocation / 4).unwrap_or(usize::MAX).min(LONGEST);
    (elements / ALIGNMENT * ALIGNMENT).max(ALIGNMENT)
}

impl Buffers {
    /// Buffers for `work` zeros, `constant` and `samples`; scratch memory of `scratch` `f32`.
    pub fn new(
        built: &Built,
        queue: &CommandQueue,
        (work, segment): (usize, usize),
        constant: &[f32],
        samples: &[u8],
        scratch: usize,
    ) -> Result<Self, Error> {
        let info = &built.info;
        let total = 4 * (work + constant.len() + scratch) as u64 + samples.len() as u64;
        fits("all", info, total, info.global_memory)?;
        [constant.len(), scratch].into_iter().try_for_each(countable)?;
        let zeros = vec![0.0f32; work.min(1 << 22)];
        let mut segments = Vec::new();
        for start in (0..work.max(1)).step_by(segment) {
            let memory = allocate::<f32>(built, "work", (work - start).min(segment))?;
            clear(built, queue, &memory, (work - start).min(segment), &zeros)?;
            segments.push(memory);
        }
        let this = Self {
            device: info.name.clone(),
            segments,
            segment,
            lengths: [work, constant.len(), samples.len()],
            constant: allocate::<f32>(built, "constant", constant.len())?,
            samples: allocate::<u8>(built, "samples", samples.len())?,
            scratch: allocate::<f32>(built, "scratch", scratch)?,
            scratch_length: scratch,
            pending: VecDeque::new(),
            pending_bytes: 0,
        };
        this.upload(queue, &this.constant, constant)?;
        this.upload(queue, &this.samples, samples)?;
        Ok(this)
    }

    /// Makes scratch memory hold at least `length` `f32`; what it held is lost.
    pub fn reserve(&mut self, built: &Built, length: usize) -> Result<(), Error> {
        if length <= self.scratch_length {
            return Ok(());
        }
        let more = 4 * (length - self.scratch_length) as u64;
        fits("all", &built.info, self.size().saturating_add(more), built.info.global_memory)?;
        countable(length)?;
        // The old one goes first: there may be no room for both.
        self.scratch_length = 0;
        self.scratch = allocate::<f32>(built, "scratch", 0)?;
        self.scratch = allocate::<f32>(built, "scratch", length)?;
        self.scratch_length = length;
        Ok(())
    }

    /// Bytes of all buffers.
    pub fn size(&self) -> u64 {
        let [work, constant, samples] = self.lengths;
        // A buffer without elements has one.
        4 * (work.max(1) + constant.max(1) + self.scratch_length) as u64 + samples.max(1) as u64
    }

    /// `length` numbers of scratch memory from `offset`.
    pub fn scratch(&self, offset: usize, length: usize) -> Result<At<'_>, Error> {
        if offset + length > self.scratch_length {
            return Err(Error::Scratch { needed: offset + length, reserved: self.scratch_length });
        }
        Ok(At { memory: &self.scratch, offset })
    }

    /// `Ok` when every operand lies inside its memory.
    pub fn admit(&self, operation: &impl Operation) -> Result<(), Error> {
        let mut found = Ok(());
        operation.operands(|access, span| {
            let place = match access {
                Access::Write | Access::Update => self.written(span),
                Access::Read | Access::Again => self.read(span),
                Access::Bytes => self.bytes(span),
            };
            if let (Ok(()), Err(error)) = (&found, place) {
                found = Err(error);
            }
        });
        found
    }

    /// Where a span of `f32` lies that is read.
    pub fn read(&self, span: Span) -> Result<At<'_>, Error> {
        match span.space {
            Space::Work => self.written(span),
            Space::Constant => Ok(At { memory: &self.constant, offset: self.inside(span)? }),
            found @ Space::Samples => Err(CoreError::Space { found }.into()),
        }
    }

    /// Where a span of `f32` lies that is written.
    pub fn written(&self, span: Span) -> Result<At<'_>, Error> {
        if span.space != Space::Work {
            return Err(CoreError::Space { found: span.space }.into());
        }
        let start = self.inside(span)?;
        let (index, offset) = (start / self.segment, start % self.segment);
        if offset + span.length > self.segment {
            return Err(CoreError::Segment { length: span.length, segment: self.segment }.into());
        }
        let index = index.min(self.segments.len() - 1);
        Ok(At { memory: &self.segments[index], offset })
    }

    /// Where bytes of samples lie.
    pub fn bytes(&self, span: Span) -> Result<At<'_>, Error> {
        match span.space {
            Space::Samples => Ok(At { memory: &self.samples, offset: self.inside(span)? }),
            found => Err(CoreError::Space { found }.into()),
        }
    }

    /// The span's first element, when all of them lie inside their memory.
    fn inside(&self, Span { space, offset, length }: Span) -> Result<usize, Error> {
        let available = self.lengths[match space {
            Space::Work => 0,
            Space::Constant => 1,
            Space::Samples => 2,
        }];
        match offset.checked_add(length) {
            Some(end) if end <= available => Ok(offset),
            _ => Err(CoreError::Bounds { space, offset, length, available }.into()),
        }
    }

    /// Writes numbers without waiting for what the device does.
    pub fn write(&mut self, queue: &CommandQueue, to: Span, values: Vec<f32>) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let at = self.written(to)?;
        let mut event = Event::null();
        // SAFETY: `values` moves into `pending` unchanged on the heap and stays there until the event has come.
        let result = unsafe {
            core::enqueue_write_buffer(queue, at.memory, false, at.offset, &values, None::<()>, Some(&mut event))
        };
        result.map_err(|error| Error::of(&self.device, &error))?;
        self.keep(queue, event, Bytes::Floats(values))
    }

    /// Writes bytes of samples without waiting for what the device does.
    pub fn write_samples(&mut self, queue: &CommandQueue, offset: usize, values: Vec<u8>) -> Result<(), Error> {
        let at = self.bytes(Span::samples(offset, values.len()))?;
        if values.is_empty() {
            return Ok(());
        }
        let mut event = Event::null();
        // SAFETY: as in `write`.
        let result = unsafe {
            core::enqueue_write_buffer(queue, at.memory, false, at.offset, &values, None::<()>, Some(&mut event))
        };
        result.map_err(|error| Error::of(&self.device, &error))?;
        self.keep(queue, event, Bytes::Samples(values))
    }

    /// Keeps the memory that a write reads until it is done; waits when too many writes are pending.
    fn keep(&mut self, queue: &CommandQueue, event: Event, bytes: Bytes) -> Result<(), Error> {
        self.pending_bytes += bytes.len();
        self.pending.push_back((event, bytes));
        while let Some((event, bytes)) = self.pending.front() {
            let done = core::event_is_complete(event).map_err(|error| Error::of(&self.device, &error))?;
            if !done {
                break;
            }
            self.pending_bytes -= bytes.len();
            self.pending.pop_front();
        }
        if self.pending_bytes > PENDING.0 || self.pending.len() > PENDING.1 {
            self.finish(queue)?;
        }
        Ok(())
    }

    /// Reads numbers after all queued work is done.
    pub fn get(&mut self, queue: &CommandQueue, values: &mut [f32], from: Span) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let at = self.read(from)?;
        // SAFETY: the read blocks, so `values` is not lent beyond it.
        let result = unsafe {
            core::enqueue_read_buffer(queue, at.memory, true, at.offset, values, None::<()>, None::<&mut Event>)
        };
        result.map_err(|error| Error::of(&self.device, &error))?;
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Waits until all queued work is done.
    pub fn finish(&mut self, queue: &CommandQueue) -> Result<(), Error> {
        core::finish(queue).map_err(|error| Error::of(&self.device, &error))?;
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Leaks the memory that pending writes read: waiting for the device has failed.
    pub fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.pending));
    }

    fn upload<T: OclPrm>(&self, queue: &CommandQueue, memory: &Mem, values: &[T]) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: the write blocks, so `values` is not lent beyond it.
        let result =
            unsafe { core::enqueue_write_buffer(queue, memory, true, 0, values, None::<()>, None::<&mut Event>) };
        result.map_err(|error| Error::of(&self.device, &error))
    }
}

fn fits(what: &'static str, info: &DeviceInfo, needed: u64, available: u64) -> Result<(), Error> {
    if needed <= available {
        return Ok(());
    }
    Err(Error::Memory { what, device: info.name.clone(), needed, available })
}

/// A buffer of `length` elements, at least one.
fn allocate<T: OclPrm>(built: &Built, what: &'static str, length: usize) -> Result<Mem, Error> {
    let info = &built.info;
    fits(what, info, (length * size_of::<T>()) as u64, info.largest_allocation)?;
    // SAFETY: no host memory is lent to the buffer.
    let memory = unsafe { core::create_buffer::<_, T>(&built.context, MemFlags::READ_WRITE, length.max(1), None) };
    memory.map_err(|error| Error::of(&info.name, &error))
}

/// Fills a new buffer with zeros, piece by piece.
fn clear(built: &Built, queue: &CommandQueue, memory: &Mem, length: usize, zeros: &[f32]) -> Result<(), Error> {
    for start in (0..length).step_by(zeros.len().max(1)) {
        let piece = &zeros[..(length - start).min(zeros.len())];
        // SAFETY: the write blocks, so `piece` is not lent beyond it.
        let result =
            unsafe { core::enqueue_write_buffer(queue, memory, true, start, piece, None::<()>, None::<&mut Event>) };
        result.map_err(|error| Error::of(&built.info.name, &error))?;
    }
    Ok(())
}
