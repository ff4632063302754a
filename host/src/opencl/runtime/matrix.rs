//! Checks that a device's matrix instructions compute the right product.

use ocl::core::{self, ArgVal, Context, Event, Mem, MemFlags};
use sse_sam_kernels as sources;

use crate::opencl::runtime::build::build;
use crate::opencl::runtime::device::DeviceInfo;
use crate::opencl::runtime::error::Error;

/// The kernel of measure.cl.
const KERNEL: &str = "measure_matrix";
/// Rows, terms and columns of the product.
const ROWS: usize = 16;
const TERMS: usize = 8;
const COLUMNS: usize = 8;

/// Runs one product whose numbers are exact in TF32 and f32, but for a factor that has to be rounded.
///
/// # Errors
/// [`Error::Build`] when the driver does not know the instructions, [`Error::Matrix`] when they give another product.
pub(crate) fn check(context: &Context, device: &DeviceInfo, options: &str) -> Result<(), Error> {
    let mut a = whole_numbers(ROWS * TERMS, 37, 15);
    let b = whole_numbers(TERMS * COLUMNS, 29, 13);
    // Halfway between two numbers of TF32: the larger one counts.
    a[0] = 1.0 + 2.0f32.powi(-11);
    let found = product(context, device, options, &a, &b)?;
    a[0] = 1.0 + 2.0f32.powi(-10);
    let expected =
        |row: usize, column: usize| -> f32 { (0..TERMS).map(|k| a[row * TERMS + k] * b[k * COLUMNS + column]).sum() };
    let places = (0..ROWS * COLUMNS).map(|place| (found[place], expected(place / COLUMNS, place % COLUMNS)));
    match places.into_iter().find(|(found, expected)| found != expected) {
        None => Ok(()),
        Some((found, expected)) => Err(Error::Matrix { device: device.name.clone(), found, expected }),
    }
}

/// Small numbers around zero, so different that two that change places are noticed.
fn whole_numbers(length: usize, step: usize, range: usize) -> Vec<f32> {
    (0..length).map(|place| ((place * step + place / range) % range) as f32 - (range / 2) as f32).collect()
}

/// What the kernel makes of two matrices.
fn product(context: &Context, device: &DeviceInfo, options: &str, a: &[f32], b: &[f32]) -> Result<Vec<f32>, Error> {
    let failed = |error: core::Error| Error::of(&device.name, &error);
    let program = build(context, device, &sources::MEASURE, options)?;
    let kernel = core::create_kernel(&program, KERNEL).map_err(failed)?;
    let queue = core::create_command_queue(context, device.id, None).map_err(failed)?;
    let mut c = vec![f32::NAN; ROWS * COLUMNS];
    let [c_memory, a_memory, b_memory]: [Mem; 3] = {
        let memory = |values: &[f32]| -> Result<Mem, Error> {
            // SAFETY: the numbers are copied before the call returns.
            let flags = MemFlags::READ_WRITE | MemFlags::COPY_HOST_PTR;
            unsafe { core::create_buffer(context, flags, values.len(), Some(values)) }.map_err(failed)
        };
        [memory(&c)?, memory(a)?, memory(b)?]
    };
    for (place, memory) in [&c_memory, &a_memory, &b_memory].into_iter().enumerate() {
        core::set_kernel_arg(&kernel, place as u32, ArgVal::mem(memory)).map_err(failed)?;
    }
    let group = [32, 1, 1];
    // SAFETY: the kernel reads and writes as many numbers as the buffers have; the reading blocks.
    let result = unsafe {
        core::enqueue_kernel(&queue, &kernel, 1, None, &group, Some(group), None::<()>, None::<&mut Event>).and_then(
            |()| core::enqueue_read_buffer(&queue, &c_memory, true, 0, &mut c, None::<()>, None::<&mut Event>),
        )
    };
    result.map_err(failed)?;
    Ok(c)
}
