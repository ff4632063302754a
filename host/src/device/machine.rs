//! Backends as the host sees them.

use std::borrow::Cow;

use sse_sam_core::ops::lent::Compute;
use sse_sam_core::{Backend, Conv2d, Cpu, Error as CoreError, Run, Space, Span};

use crate::device::cpu;
use crate::device::threads::Threads;
use crate::error::Error;
use crate::opencl::{self, Algorithm, AlgorithmTable, Algorithms, Convolution, DeviceInfo, OpenCl, Selection};

/// A backend with what only the host asks for.
pub trait Machine: Backend {
    /// Queues a write of bytes into the samples at `offset`; does not wait.
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

    /// Times every launch from now on, where the machine can.
    ///
    /// # Errors
    /// When the device fails.
    fn time_launches(&mut self) -> Result<Clock, Self::Error>;

    /// Nanoseconds of each launch since the last call of this or of [`Machine::time_launches`], in order.
    ///
    /// # Errors
    /// When the device fails.
    fn take_times(&mut self) -> Result<Vec<u64>, Self::Error>;

    /// The algorithms by which a convolution and its gradients with so many images are computed.
    fn algorithms(&self, conv: &Conv2d, images: usize) -> Algorithms;

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
    /// The algorithms of convolutions, where it had a choice.
    pub convolutions: AlgorithmTable,
}

impl Identity {
    /// That of the CPU core.
    pub(crate) fn of_cpu() -> Self {
        let driver = concat!("sse-sam ", env!("CARGO_PKG_VERSION")).into();
        let (name, kernels) = ("CPU core".into(), "none".into());
        Self { selector: "cpu".into(), name, driver, kernels, convolutions: AlgorithmTable::new() }
    }

    /// That of an OpenCL device with this selection.
    pub(crate) fn new(info: &DeviceInfo, convolution: Convolution, selection: &Selection) -> Self {
        Self {
            selector: info.selector(),
            name: format!("{} ({})", info.name, info.platform_name),
            driver: info.driver.clone(),
            kernels: opencl::kernel_table(info, convolution),
            convolutions: if convolution == Convolution::Auto {
                selection.table().clone()
            } else {
                AlgorithmTable::new()
            },
        }
    }
}

/// The CPU core, whose samples may be staged.
#[derive(Debug)]
pub struct Core<'a> {
    threads: Threads,
    work: &'a mut [f32],
    constant: &'a [f32],
    /// A copy of their own once they are written.
    samples: Cow<'a, [u8]>,
}

impl<'a> Core<'a> {
    /// These threads on this memory.
    pub fn new(threads: Threads, work: &'a mut [f32], constant: &'a [f32], samples: &'a [u8]) -> Self {
        Self { threads, work, constant, samples: Cow::Borrowed(samples) }
    }

    fn cpu(&mut self) -> Cpu<'_, &Threads> {
        Cpu::with(&self.threads, self.work, self.constant, &self.samples)
    }
}

impl sse_sam_core::machine::backend::Machine for Core<'_> {
    type Error = CoreError;

    fn write(&mut self, to: Span, values: &[f32]) -> Result<(), CoreError> {
        self.cpu().write(to, values)
    }

    fn read(&mut self, values: &mut [f32], from: Span) -> Result<(), CoreError> {
        self.cpu().read(values, from)
    }
}

impl<O: Compute> Run<O> for Core<'_> {
    fn run(&mut self, operation: &O) -> Result<(), CoreError> {
        self.cpu().run(operation)
    }
}

impl Machine for Core<'_> {
    fn write_samples(&mut self, offset: usize, bytes: Vec<u8>) -> Result<(), CoreError> {
        let (length, available) = (bytes.len(), self.samples.len());
        let refused = CoreError::Bounds { space: Space::Samples, offset, length, available };
        let end = offset.checked_add(length).ok_or(refused)?;
        self.samples.to_mut().get_mut(offset..end).ok_or(refused)?.copy_from_slice(&bytes);
        Ok(())
    }

    fn launches(&self) -> u64 {
        0
    }

    fn bytes(&self) -> u64 {
        (size_of_val(self.work) + size_of_val(self.constant) + self.samples.len()) as u64
    }

    fn fma_rate(&mut self) -> Result<f64, CoreError> {
        Ok(cpu::multiply_adds(&self.threads))
    }

    fn time_launches(&mut self) -> Result<Clock, CoreError> {
        Ok(Clock::Host)
    }

    fn take_times(&mut self) -> Result<Vec<u64>, CoreError> {
        Ok(Vec::new())
    }

    fn algorithms(&self, _: &Conv2d, _: usize) -> Algorithms {
        [Algorithm::Direct; 3]
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

    fn algorithms(&self, conv: &Conv2d, images: usize) -> Algorithms {
        Self::algorithms(self, conv, images)
    }

    fn identity(&self) -> Identity {
        Identity::new(self.device(), self.convolution(), self.selection())
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
