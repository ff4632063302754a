//! What a device can do at most, measured on the spot.

use std::time::Instant;

use ocl::core::{
    self, ArgVal, CommandQueue, Event, Kernel, KernelWorkGroupInfo as WorkGroup,
    KernelWorkGroupInfoResult as WorkGroupResult, Mem, MemFlags,
};
use sse_sam_kernels as sources;

use crate::opencl::runtime::build::build;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::program::Built;
use crate::opencl::runtime::tiles::Tiles;

/// The kernel of measure.cl.
const KERNEL: &str = "measure_fma";
/// Independent sums of a work-item that it has code for: how many a device needs depends on its registers.
const CHAINS: [usize; 3] = [4, 8, 12];
/// Launches timed for each.
const TRIES: usize = 5;
/// Seconds that a launch should take at least, so that its start does not count.
const LAUNCH: f64 = 0.01;
/// Most multiply-adds in a chain: what a `uint` counts, with room to double.
const ROUNDS: u32 = 1 << 30;

/// Floating-point operations a second in multiply-adds from registers to registers, two each: the best of a few ways.
pub(crate) fn fma_rate(built: &Built, queue: &CommandQueue) -> Result<f64, Error> {
    let Tiles { width, looped, .. } = built.tiles;
    let failed = |error: core::Error| Error::of(&built.info.name, &error);
    let program = build(
        &built.context,
        &built.info,
        &sources::MEASURE,
        &built.tiles.options(built.info.fma, built.info.multiplier()),
    )?;
    let kernel = core::create_kernel(&program, KERNEL).map_err(failed)?;
    let local = match built.ask(&kernel, WorkGroup::WorkGroupSize)? {
        WorkGroupResult::WorkGroupSize(most) => looped.min(most.max(1)),
        _ => looped,
    };
    let items = built.tiles.visitors.next_multiple_of(local);
    // SAFETY: no host memory is lent to the buffer.
    let out = unsafe { core::create_buffer::<_, f32>(&built.context, MemFlags::READ_WRITE, items, None) };
    let loops = Loops { kernel, queue, out: out.map_err(failed)?, items, local };
    let mut best = 0.0f64;
    for chains in CHAINS {
        let mut rounds = 1 << 8;
        loops.seconds(rounds, chains).map_err(failed)?;
        while rounds < ROUNDS && loops.seconds(rounds, chains).map_err(failed)? < LAUNCH {
            rounds *= 2;
        }
        let operations = 2.0 * f64::from(rounds) * (items * chains * width) as f64;
        for _ in 0..TRIES {
            best = best.max(operations / loops.seconds(rounds, chains).map_err(failed)?);
        }
    }
    Ok(best)
}

struct Loops<'a> {
    kernel: Kernel,
    queue: &'a CommandQueue,
    out: Mem,
    items: usize,
    local: usize,
}

impl Loops<'_> {
    /// Seconds that a launch takes.
    fn seconds(&self, rounds: u32, chains: usize) -> Result<f64, core::Error> {
        let Self { kernel, queue, .. } = self;
        core::set_kernel_arg(kernel, 0, ArgVal::scalar(&rounds))?;
        core::set_kernel_arg(kernel, 1, ArgVal::scalar(&(chains as u32)))?;
        core::set_kernel_arg(kernel, 2, ArgVal::scalar(&0.999_f32))?;
        core::set_kernel_arg(kernel, 3, ArgVal::scalar(&0.001_f32))?;
        core::set_kernel_arg(kernel, 4, ArgVal::mem(&self.out))?;
        let (global, local) = ([self.items, 1, 1], [self.local, 1, 1]);
        core::finish(queue)?;
        let start = Instant::now();
        // SAFETY: the arguments are those the kernel declares, and `out` has a number for every work-item.
        unsafe {
            core::enqueue_kernel(queue, kernel, 1, None, &global, Some(local), None::<()>, None::<&mut Event>)?;
        }
        core::finish(queue)?;
        Ok(start.elapsed().as_secs_f64())
    }
}
