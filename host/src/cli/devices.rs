//! The `devices` command: what there is, and what its compiler makes of the kernels.

use crate::cli::args::DevicesArgs;
use crate::device::choose::Device;
use crate::device::threads::Cores;
use crate::error::Error;
use crate::opencl::{self, DeviceInfo, KernelUsage, Matrix, Survey};
use crate::recipe::words::word;
use crate::recipe::{DeviceOptions, defaults};
use crate::report::console::{Console, say};

/// The `devices` command.
///
/// # Errors
/// [`Error::Device`] when a kernel does not build; [`Error::Usage`] for kernels of the CPU core.
pub fn run(args: &DevicesArgs, console: &Console) -> Result<(), Error> {
    let DeviceOptions { device, device_memory, conv, tiles, precision, threads, simd, .. } = &args.device;
    if args.kernels {
        let unused = [("--device-memory", device_memory.is_some()), ("--conv", conv.is_some())];
        return match unused.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(Error::Usage(format!("{option} does nothing here: all kernels are listed"))),
            None => kernels(&Device::choose(&args.device, console)?),
        };
    }
    let unused = [
        ("--device", device.as_deref().is_some_and(|device| device != defaults::DEVICE)),
        ("--device-memory", device_memory.is_some()),
        ("--conv", conv.is_some()),
        ("--tiles", tiles.is_some()),
        ("--precision", precision.is_some()),
        ("--threads", threads.is_some()),
        ("--simd", simd.is_some()),
    ];
    match unused.into_iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(Error::Usage(format!("{option} does nothing here: it needs --kernels"))),
        None => list(),
    }
}

/// What every kernel of a device takes of it.
fn kernels(device: &Device) -> Result<(), Error> {
    let Device::OpenCl { info, .. } = device else {
        let (name, absence) = (device.name(), opencl::absence());
        return Err(Error::Usage(format!("--kernels is about kernels of OpenCL devices: {name} has none{absence}")));
    };
    say(&format!("{}, tiles: {}", device.name(), word(&info.tiling())))?;
    say(
        "work-items of a group at most, bytes of local memory of a group, bytes that a work-item has beside its registers",
    )?;
    for KernelUsage { name, largest_group, local, private } in opencl::kernel_usages(info)? {
        say(&format!("  {name:<44} {largest_group:>6} {local:>8} {private:>8}"))?;
    }
    Ok(())
}

/// Every device there is, what is broken beside them, and which one `auto` takes.
fn list() -> Result<(), Error> {
    // The CPU core is there whatever the library does.
    let (Survey { devices, broken }, failure) = match opencl::survey() {
        Ok(survey) => (survey, None),
        Err(error) => (Survey::default(), Some(error)),
    };
    let chosen = opencl::preferred(&devices).map_or("cpu".into(), DeviceInfo::selector);
    let mark = |selector: &str| if chosen == selector { "  <- auto" } else { "" };
    say(&format!("{:<12} CPU core of this program, {}{}", "cpu", Cores::default(), mark("cpu")))?;
    for info in &devices {
        let selector = info.selector();
        say(&format!("{selector:<12} {} ({}){}", info.name, info.platform_name, mark(&selector)))?;
        properties(info).iter().try_for_each(|line| say(&format!("{:<12} {line}", "")))?;
    }
    broken.iter().try_for_each(|broken| say(&broken.to_string()))?;
    if let Some(failure) = failure {
        return say(&format!("OpenCL cannot be used: {failure}"));
    }
    match (devices.is_empty() && broken.is_empty(), opencl::library_error()) {
        (true, Some(reason)) => say(&format!("no OpenCL library was found ({reason})")),
        (true, None) => say("there is an OpenCL library, but no OpenCL device"),
        (false, _) => Ok(()),
    }
}

/// What a device has, a line each.
fn properties(info: &DeviceInfo) -> Vec<String> {
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    let mut lines = vec![
        format!(
            "{:?}, {} compute units, {} MiB of memory, {} MiB in one piece, driver {}",
            info.kind,
            info.compute_units,
            info.global_memory >> 20,
            info.largest_allocation >> 20,
            info.driver
        ),
        format!(
            "fused multiply-add: {}, subnormal numbers: {}, vectors of {} numbers, tiles: {}",
            yes(info.fma),
            yes(info.subnormals),
            info.lanes,
            word(&info.tiling())
        ),
        format!(
            "{} KiB of local memory, work-groups of at most {} work-items, matrix instructions (tf32): {}",
            info.local_memory >> 10,
            info.largest_group,
            yes(info.matrix != Matrix::Absent)
        ),
    ];
    lines.extend(info.unusable.map(|reason| format!("cannot be used: {reason}")));
    lines
}
