//! The machines a run can use, and the memory they lend.

use sse_sam_core::{Backend, Cpu, Error as CoreError};

use crate::error::Error;

/// Work that runs on whichever backend a device has.
pub trait Job {
    /// What it returns.
    type Output;

    /// Runs on `backend`, whose work memory is all zeros.
    fn run<B: Backend>(self, backend: &mut B) -> Result<Self::Output, Error>
    where
        Error: From<B::Error>;
}

/// A machine that was chosen but lends no memory yet.
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU core of this program, one thread.
    Cpu,
}

impl Device {
    /// The device of `--device`.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such device.
    pub fn choose(name: &str) -> Result<Self, Error> {
        match name {
            "auto" | "cpu" => Ok(Self::Cpu),
            _ => Err(Error::Usage(format!("no device {name}; there are auto and cpu"))),
        }
    }

    /// What to call it in reports.
    pub fn name(&self) -> String {
        "CPU core, one thread".into()
    }

    /// Alignment of spans, in `f32`.
    pub fn alignment(&self) -> usize {
        1
    }

    /// Runs a job with `work` numbers of work memory and these samples.
    ///
    /// # Errors
    /// Whatever the job or the device reports.
    pub fn run<J: Job>(&self, work: usize, samples: &[u8], job: J) -> Result<J::Output, Error> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(work).map_err(|_| Error::from(CoreError::TooLarge))?;
        memory.resize(work, 0.0);
        job.run(&mut Cpu::new(&mut memory, &[], samples))
    }
}
