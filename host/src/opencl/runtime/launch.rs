//! Launches of kernels: their arguments, and how many work-items.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use ocl::core::{self, ArgVal, CommandQueue, Event, Kernel};
use sse_sam_core::Error as CoreError;

use crate::opencl::runtime::buffers::At;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::program::{Built, KERNELS, Name};
use crate::opencl::runtime::tiles::Tiles;

/// Which kernels this process has launched, so that a test can find one that was left out.
pub(crate) static LAUNCHED: [AtomicBool; KERNELS] = [const { AtomicBool::new(false) }; KERNELS];

/// One argument of a kernel; a place in a buffer is two, the buffer and the offset of its first element.
#[derive(Clone, Copy)]
pub(crate) enum Argument<'a> {
    Size(usize),
    Number(f32),
    Flag(bool),
    Buffer(At<'a>),
    /// Samples, with an offset of 64 bits.
    Samples(At<'a>),
}

impl<'a> From<At<'a>> for Argument<'a> {
    fn from(at: At<'a>) -> Self {
        Self::Buffer(at)
    }
}

impl From<usize> for Argument<'_> {
    fn from(size: usize) -> Self {
        Self::Size(size)
    }
}

impl From<f32> for Argument<'_> {
    fn from(number: f32) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Argument<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// A kernel's arguments, in its order.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { &[$($crate::opencl::runtime::launch::Argument::from($argument)),*] };
}
pub(crate) use arguments;

/// The sizes that every kernel takes first: those of `input`, then those of `output`.
macro_rules! sizes {
    ($images:expr, $input:expr, $output:expr $(, $more:expr)* $(,)?) => {
        $crate::opencl::runtime::launch::arguments![
            $images, $input.height, $input.width, $input.channels, $output.height, $output.width, $output.channels
            $(, $more)*
        ]
    };
}
pub(crate) use sizes;

/// The queue's side of a backend.
pub(crate) struct Launch<'a> {
    pub kernels: &'a [Option<Kernel>],
    /// What each kernel's arguments were last set to.
    pub last: &'a mut [Vec<usize>],
    pub queue: &'a CommandQueue,
    pub launches: &'a mut u64,
    pub timed: &'a mut Option<Vec<Event>>,
    pub built: &'a Built,
    pub tiles: &'a Tiles,
    pub device: &'a str,
}

impl Launch<'_> {
    /// Launches a kernel without a loop: `items` work-items, a piece each.
    pub fn each(&mut self, name: Name, items: usize, arguments: &[Argument<'_>]) -> Result<(), Error> {
        self.launch(name, items, self.tiles.local.min(items.max(1)), arguments)
    }

    /// Launches a kernel with a loop: `items` work-items, many pieces each.
    pub fn looped(&mut self, name: Name, items: usize, arguments: &[Argument<'_>]) -> Result<(), Error> {
        self.launch(name, items, self.tiles.looped, arguments)
    }

    /// Launches a kernel whose work-groups sum together.
    pub fn groups(&mut self, name: Name, groups: usize, arguments: &[Argument<'_>]) -> Result<(), Error> {
        self.launch(name, groups * self.tiles.group, self.tiles.group, arguments)
    }

    /// Enqueues `items` work-items in groups of `local`.
    pub fn launch(&mut self, name: Name, items: usize, local: usize, arguments: &[Argument<'_>]) -> Result<(), Error> {
        if items == 0 {
            return Ok(());
        }
        let Some(kernel) = &self.kernels[name as usize] else { return Err(Error::absent(self.device)) };
        set(kernel, &mut self.last[name as usize], arguments, self.device)?;
        let local = local.min(self.built.limit(name)).max(1);
        let global = [items.next_multiple_of(local), 1, 1];
        let mut event = self.timed.is_some().then(Event::null);
        // SAFETY: the arguments are those the kernel declares, and every kernel keeps to the lengths among them, which
        // were checked against the memory they lie in.
        let result = unsafe {
            core::enqueue_kernel(self.queue, kernel, 1, None, &global, Some([local, 1, 1]), None::<()>, event.as_mut())
        };
        result.map_err(|error| Error::of(self.device, &error))?;
        if let (Some(timed), Some(event)) = (self.timed.as_mut(), event) {
            timed.push(event);
        }
        *self.launches += 1;
        LAUNCHED[name as usize].store(true, Relaxed);
        Ok(())
    }

    /// Flushes the queue: a driver may hold work back until it is told to begin. Does not wait.
    pub fn flush(&self) -> Result<(), Error> {
        core::flush(self.queue).map_err(|error| Error::of(self.device, &error))
    }
}

/// A count or an offset as kernels take it: 32 bits.
fn word(number: usize) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| CoreError::TooLarge.into())
}

/// Sets those of a kernel's arguments that were not set to the same `last`.
fn set(kernel: &Kernel, last: &mut Vec<usize>, arguments: &[Argument<'_>], device: &str) -> Result<(), Error> {
    let mut index = 0;
    let mut next = |word: usize, value: ArgVal<'_>| -> Result<(), Error> {
        let place = index;
        index += 1;
        if last.get(place) == Some(&word) {
            return Ok(());
        }
        core::set_kernel_arg(kernel, place as u32, value).map_err(|error| Error::of(device, &error))?;
        match last.get_mut(place) {
            Some(known) => *known = word,
            None => last.push(word),
        }
        Ok(())
    };
    for argument in arguments {
        match *argument {
            Argument::Size(size) => next(size, ArgVal::scalar(&word(size)?))?,
            Argument::Number(number) => next(number.to_bits() as usize, ArgVal::scalar(&number))?,
            Argument::Flag(flag) => next(flag.into(), ArgVal::scalar(&u32::from(flag)))?,
            Argument::Buffer(at) => {
                next(at.memory.as_ptr() as usize, ArgVal::mem(at.memory))?;
                next(at.offset, ArgVal::scalar(&word(at.offset)?))?;
            }
            Argument::Samples(at) => {
                next(at.memory.as_ptr() as usize, ArgVal::mem(at.memory))?;
                next(at.offset, ArgVal::scalar(&(at.offset as u64)))?;
            }
        }
    }
    Ok(())
}
