//! The `devices` command: what there is, and what its compiler makes of the kernels.

use crate::args::DevicesArgs;
use crate::device::Device;
use crate::error::Error;
use crate::opencl::{self, DeviceInfo, KernelUsage, Matrix};
use crate::progress::say;

/// The `devices` command.
///
/// # Errors
/// [`Error::Device`] when the OpenCL library fails, or a kernel does not build; [`Error::Usage`] for kernels of the CPU core.
pub fn run(args: &DevicesArgs) -> Result<(), Error> {
    if args.kernels { kernels(&Device::choose(&args.device)?) } else { list() }
}

/// What every kernel of a device takes of it.
fn kernels(device: &Device) -> Result<(), Error> {
    let Device::OpenCl { info, .. } = device else {
        return Err(Error::Usage(format!("--kernels is about kernels of OpenCL devices: {} has none", device.name())));
    };
    say(&device.name())?;
    say(
        "work-items of a group at most, bytes of local memory of a group, bytes that a work-item has beside its registers",
    )?;
    for KernelUsage { name, largest_group, local, private } in opencl::kernel_usages(info)? {
        say(&format!("  {name:<44} {largest_group:>6} {local:>8} {private:>8}"))?;
    }
    Ok(())
}

/// Every device there is, and which one `auto` takes.
fn list() -> Result<(), Error> {
    let devices = opencl::devices()?;
    let chosen = opencl::preferred(&devices).map(DeviceInfo::selector);
    let mark = |selector: &str| if chosen.as_deref().unwrap_or("cpu") == selector { "  <- auto" } else { "" };
    println!("{:<12} CPU core of this program, one thread{}", "cpu", mark("cpu"));
    for info in &devices {
        let yes = |flag: bool| if flag { "yes" } else { "no" };
        let selector = info.selector();
        println!("{selector:<12} {} ({}){}", info.name, info.platform_name, mark(&selector));
        println!(
            "{:<12} {:?}, {} compute units, {} MiB of memory, {} MiB in one piece, driver {}",
            "",
            info.kind,
            info.compute_units,
            info.global_memory >> 20,
            info.largest_allocation >> 20,
            info.driver
        );
        println!("{:<12} fused multiply-add: {}, subnormal numbers: {}", "", yes(info.fma), yes(info.subnormals));
        let matrix = yes(info.matrix != Matrix::Absent);
        println!("{:<12} {} KiB of local memory, matrix instructions (tf32): {matrix}", "", info.local_memory >> 10);
    }
    if devices.is_empty() {
        match opencl::library_error() {
            Some(reason) => println!("no OpenCL library was found ({reason})"),
            None => println!("there is an OpenCL library, but no OpenCL device"),
        }
    }
    Ok(())
}
