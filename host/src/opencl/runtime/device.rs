//! Which OpenCL devices there are, and which one a name means.

use std::ffi::c_void;
use std::fmt;
use std::sync::Mutex;

use ocl::core::{self, DeviceId};
use ocl::ffi;

use crate::opencl::algorithm::Matrix;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::loader;

const DEVICE_NOT_FOUND: i32 = -1;
const PLATFORM_NOT_FOUND: i32 = -1001;

const FP_DENORM: u64 = 1 << 0;
const FP_FMA: u64 = 1 << 5;
const FP_CORRECTLY_ROUNDED: u64 = 1 << 7;

/// What kind of device: `auto` prefers them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceType {
    /// A graphics processor.
    Gpu,
    /// A device made for computing only.
    Accelerator,
    /// The host's own processor.
    Cpu,
    /// None of these.
    Other,
}

/// Whose tiles kernels are made with: how they cut work into pieces. Those of CPUs give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tiling {
    /// A work-item has a tile in vector registers, and a core to itself; for registers as wide as the device says
    Cpu,
    /// The same for registers of 4 numbers (NEON)
    #[value(name = "cpu4")]
    #[serde(rename = "cpu4")]
    Cpu4,
    /// Of 8 (AVX2)
    #[value(name = "cpu8")]
    #[serde(rename = "cpu8")]
    Cpu8,
    /// Of 16 (AVX-512)
    #[value(name = "cpu16")]
    #[serde(rename = "cpu16")]
    Cpu16,
    /// A work-group has a block in local memory
    Gpu,
}

/// How the factors of large products are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Not at all, 24 bits of fraction
    #[default]
    Fp32,
    /// To 10 bits of fraction, for matrix instructions, which add up with 24
    Tf32,
}

impl Tiling {
    /// That of a device of this kind; `SSE_SAM_OPENCL_TILES`, a value of `--tiles`, picks another, for tests.
    pub(crate) fn of(kind: DeviceType) -> Self {
        let named = std::env::var("SSE_SAM_OPENCL_TILES").ok();
        match (named.and_then(|name| <Self as clap::ValueEnum>::from_str(&name, false).ok()), kind) {
            (Some(named), _) => named,
            (None, DeviceType::Cpu) => Self::Cpu,
            (None, DeviceType::Gpu | DeviceType::Accelerator | DeviceType::Other) => Self::Gpu,
        }
    }

    /// Whether tiles lie in vector registers.
    pub fn is_cpu(self) -> bool {
        self != Self::Gpu
    }

    /// What it means on a device with registers of so many numbers: never [`Tiling::Cpu`].
    #[must_use]
    pub fn on(self, lanes: u64) -> Self {
        match (self, lanes) {
            (Self::Cpu, 16..) => Self::Cpu16,
            (Self::Cpu, 8..) => Self::Cpu8,
            (Self::Cpu, _) => Self::Cpu4,
            (named, _) => named,
        }
    }
}

/// One OpenCL device and what it can do.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    pub(crate) id: DeviceId,
    /// Its platform's number, from 0.
    pub platform: usize,
    /// Its number on the platform, from 0.
    pub device: usize,
    /// The platform's name.
    pub platform_name: String,
    /// The device's name.
    pub name: String,
    /// What kind of device it is.
    pub kind: DeviceType,
    /// Units that run independently.
    pub compute_units: u32,
    /// Bytes of memory.
    pub global_memory: u64,
    /// Bytes of the largest buffer.
    pub largest_allocation: u64,
    /// The driver's version.
    pub driver: String,
    /// Whether `fma` is an instruction.
    pub fma: bool,
    /// Whether numbers below the smallest normal one are kept.
    pub subnormals: bool,
    /// Whether division and root are correctly rounded.
    pub correctly_rounded: bool,
    /// Whether it times the kernels of a queue that asks for it.
    pub profiling: bool,
    /// Bytes of local memory that a work-group can have.
    pub local_memory: u64,
    /// Most work-items of a work-group.
    pub largest_group: usize,
    /// Why it cannot be used, where it says so itself.
    pub unusable: Option<&'static str>,
    /// What multiplies matrices beside its work-items.
    pub matrix: Matrix,
    /// Numbers (`f32`) of a vector register, as its driver says.
    pub lanes: u64,
    /// Whose tiles its kernels are made with; [`DeviceInfo::tiling`] says what that means here.
    pub tiles: Tiling,
    /// How they round the factors of large products.
    pub precision: Precision,
}

impl DeviceInfo {
    /// Whether matrix instructions multiply what its kernels want multiplied.
    pub fn multiplies_matrices(&self) -> bool {
        self.multiplier() != Matrix::Absent
    }

    /// Whose tiles its kernels are made with, by the width of its registers.
    pub fn tiling(&self) -> Tiling {
        self.tiles.on(self.lanes)
    }

    /// What multiplies the matrices of its kernels.
    pub(crate) fn multiplier(&self) -> Matrix {
        match (self.tiles, self.precision) {
            (Tiling::Gpu, Precision::Tf32) => self.matrix,
            _ => Matrix::Absent,
        }
    }

    /// `opencl:P.D`, which selects this device.
    pub fn selector(&self) -> String {
        format!("opencl:{}.{}", self.platform, self.device)
    }
}

/// A platform, or one device of it, that its driver does not describe.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// The platform's number, from 0.
    pub platform: usize,
    /// Its name, where it says one.
    pub platform_name: String,
    /// The device's number on it, where others may be whole.
    pub device: Option<usize>,
    /// What failed.
    pub error: Error,
}

impl Broken {
    /// Whether it is the one device that `opencl:P.D` selects.
    pub fn is_device(&self, selector: &str) -> bool {
        self.device.is_some_and(|device| format!("opencl:{}.{device}", self.platform) == selector)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { platform, platform_name, device, error } = self;
        match device {
            Some(device) => write!(f, "OpenCL device opencl:{platform}.{device}")?,
            None => write!(f, "OpenCL platform {platform}")?,
        }
        if !platform_name.is_empty() {
            write!(f, " ({platform_name})")?;
        }
        write!(f, " cannot be used: {error}")
    }
}

/// Every device that there is, and what is broken beside them.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Devices, in the order of their numbers.
    pub devices: Vec<DeviceInfo>,
    /// Platforms and devices that fail.
    pub broken: Vec<Broken>,
}

/// Every device of every platform; none where there is no OpenCL library or no driver. A platform that fails takes no
/// other's devices away, nor a device the others of its platform.
///
/// # Errors
/// [`Error::Call`] when the library does not say which platforms there are.
pub fn survey() -> Result<Survey, Error> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let mut survey = Survey::default();
    if loader::library().is_err() {
        return Ok(survey);
    }
    for (number, platform) in platforms()?.into_iter().enumerate() {
        survey.add(number, &Platform(platform));
    }
    Ok(survey)
}

/// Every device of every platform; none where there is no OpenCL library or no driver.
///
/// # Errors
/// [`Error::Call`] when a driver refuses to say what it has, and no other has a device.
pub fn devices() -> Result<Vec<DeviceInfo>, Error> {
    let Survey { devices, broken } = survey()?;
    match broken.into_iter().next() {
        Some(broken) if devices.is_empty() => Err(broken.error),
        _ => Ok(devices),
    }
}

impl Survey {
    /// Adds what a platform says of itself and its devices.
    fn add(&mut self, platform: usize, calls: &Platform) {
        let broken = |name: &str, device, error| Broken { platform, platform_name: name.to_owned(), device, error };
        let name = match calls.name() {
            Ok(name) => name,
            Err(error) => return self.broken.push(broken("", None, error)),
        };
        let ids = match calls.devices() {
            Ok(ids) => ids,
            Err(error) => return self.broken.push(broken(&name, None, error)),
        };
        for (device, id) in ids.into_iter().enumerate() {
            match describe(id, (platform, device), &name) {
                Ok(info) => self.devices.push(info),
                Err(error) => self.broken.push(broken(&name, Some(device), error)),
            }
        }
    }
}

/// The devices that `auto` takes, the first that has room: GPUs, then accelerators, then OpenCL CPUs; of those that can be
/// used.
pub fn usable(devices: &[DeviceInfo]) -> Vec<&DeviceInfo> {
    let usable = devices.iter().filter(|device| device.kind != DeviceType::Other && device.unusable.is_none());
    let mut usable: Vec<_> = usable.collect();
    usable.sort_by_key(|device| device.kind);
    usable
}

/// The first of the [`usable`] devices.
pub fn preferred(devices: &[DeviceInfo]) -> Option<&DeviceInfo> {
    usable(devices).first().copied()
}

/// The device that `wanted` means: `opencl` the preferred one, `opencl:P.D` by number, anything else by a part of the
/// device's or the platform's name, whatever the case.
///
/// # Errors
/// [`Error::Device`] when there is none, [`Error::Unusable`] when it cannot be used.
pub fn select<'a>(devices: &'a [DeviceInfo], wanted: &str) -> Result<&'a DeviceInfo, Error> {
    let part = wanted.trim().to_lowercase();
    let found = match part.as_str() {
        "" => None,
        "opencl" => preferred(devices).or(devices.first()),
        number if number.starts_with("opencl:") => devices.iter().find(|device| device.selector() == part),
        part => {
            let names = |device: &DeviceInfo| [&device.name, &device.platform_name].map(|name| name.to_lowercase());
            let mut named = devices.iter().filter(|device| names(device).iter().any(|name| name.contains(part)));
            let first = named.next();
            first
                .filter(|device| device.unusable.is_none())
                .or(named.find(|device| device.unusable.is_none()))
                .or(first)
        }
    };
    match (found, loader::library()) {
        (Some(device), _) => match device.unusable {
            None => Ok(device),
            Some(reason) => Err(Error::Unusable { device: device.name.clone(), reason }),
        },
        (None, Err(reason)) => Err(Error::Library { reason: reason.to_owned() }),
        (None, Ok(_)) => {
            let found = devices.iter().map(|device| format!("{} ({})", device.selector(), device.name)).collect();
            Err(Error::Device { wanted: wanted.to_owned(), found })
        }
    }
}

/// An error for a call made before a device is chosen.
fn check(code: i32) -> Result<(), Error> {
    if code == 0 {
        return Ok(());
    }
    let (call, code) =
        loader::take_failure().map_or(("clGetPlatformIDs", code), |failure| (failure.call, failure.code));
    Err(Error::Call { call, device: String::new(), code })
}

/// Platforms, asked for directly: `ocl` waits ten seconds when there is none.
fn platforms() -> Result<Vec<ffi::cl_platform_id>, Error> {
    let mut count = 0;
    // SAFETY: asks for the number only.
    let code = unsafe { ffi::clGetPlatformIDs(0, std::ptr::null_mut(), &mut count) };
    if code == PLATFORM_NOT_FOUND {
        return Ok(Vec::new());
    }
    check(code)?;
    let mut found = vec![std::ptr::null_mut(); count as usize];
    if count > 0 {
        // SAFETY: `found` holds `count` entries.
        check(unsafe { ffi::clGetPlatformIDs(count, found.as_mut_ptr(), std::ptr::null_mut()) })?;
    }
    Ok(found)
}

/// What a platform is asked.
struct Platform(ffi::cl_platform_id);

impl Platform {
    fn name(&self) -> Result<String, Error> {
        text(|size, value, returned| {
            // SAFETY: `text` lends a buffer of `size` bytes.
            unsafe { ffi::clGetPlatformInfo(self.0, ffi::CL_PLATFORM_NAME, size, value, returned) }
        })
    }

    fn devices(&self) -> Result<Vec<DeviceId>, Error> {
        let mut count = 0;
        // SAFETY: asks for the number only.
        let code = unsafe { ffi::clGetDeviceIDs(self.0, ffi::CL_DEVICE_TYPE_ALL, 0, std::ptr::null_mut(), &mut count) };
        if code == DEVICE_NOT_FOUND || (code == 0 && count == 0) {
            return Ok(Vec::new());
        }
        check(code)?;
        let mut found = vec![std::ptr::null_mut(); count as usize];
        // SAFETY: `found` holds `count` entries.
        check(unsafe {
            ffi::clGetDeviceIDs(self.0, ffi::CL_DEVICE_TYPE_ALL, count, found.as_mut_ptr(), std::ptr::null_mut())
        })?;
        // SAFETY: the entries are devices that the platform just named.
        Ok(found.into_iter().map(|id| unsafe { DeviceId::from_raw(id) }).collect())
    }
}

/// A text that `get` writes, once asked for its size and once for its bytes.
fn text(get: impl Fn(usize, *mut c_void, *mut usize) -> i32) -> Result<String, Error> {
    let mut size = 0;
    check(get(0, std::ptr::null_mut(), &mut size))?;
    let mut bytes = vec![0u8; size];
    check(get(size, bytes.as_mut_ptr().cast(), std::ptr::null_mut()))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim().to_owned())
}

fn describe(id: DeviceId, (platform, device): (usize, usize), platform_name: &str) -> Result<DeviceInfo, Error> {
    let name = property_text(&id, ffi::CL_DEVICE_NAME)?;
    let floats = number(&id, ffi::CL_DEVICE_SINGLE_FP_CONFIG)?;
    let kind = number(&id, ffi::CL_DEVICE_TYPE)?;
    let kind = match kind {
        kind if kind & ffi::CL_DEVICE_TYPE_GPU != 0 => DeviceType::Gpu,
        kind if kind & ffi::CL_DEVICE_TYPE_ACCELERATOR != 0 => DeviceType::Accelerator,
        kind if kind & ffi::CL_DEVICE_TYPE_CPU != 0 => DeviceType::Cpu,
        _ => DeviceType::Other,
    };
    let largest_group = largest_group(&id)?;
    Ok(DeviceInfo {
        platform,
        device,
        platform_name: platform_name.to_owned(),
        name,
        kind,
        compute_units: number(&id, ffi::CL_DEVICE_MAX_COMPUTE_UNITS)? as u32,
        global_memory: number(&id, ffi::CL_DEVICE_GLOBAL_MEM_SIZE)?,
        largest_allocation: number(&id, ffi::CL_DEVICE_MAX_MEM_ALLOC_SIZE)?,
        driver: property_text(&id, ffi::CL_DRIVER_VERSION)?,
        fma: floats & FP_FMA != 0,
        subnormals: floats & FP_DENORM != 0,
        correctly_rounded: floats & FP_CORRECTLY_ROUNDED != 0,
        local_memory: number(&id, ffi::CL_DEVICE_LOCAL_MEM_SIZE)?,
        largest_group,
        unusable: unusable(&id)?,
        matrix: if largest_group < MATRIX_ITEMS { Matrix::Absent } else { matrix(&id)? },
        lanes: number(&id, ffi::CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT)?,
        tiles: Tiling::of(kind),
        precision: Precision::default(),
        profiling: number(&id, ffi::CL_DEVICE_QUEUE_PROPERTIES)? & ffi::CL_QUEUE_PROFILING_ENABLE != 0,
        id,
    })
}

/// Most work-items of a group, all in one row, as this program's groups are.
fn largest_group(id: &DeviceId) -> Result<usize, Error> {
    let group = number(id, ffi::CL_DEVICE_MAX_WORK_GROUP_SIZE)?;
    // One `size_t` for each dimension.
    let row = property(id, ffi::CL_DEVICE_MAX_WORK_ITEM_SIZES)?;
    let row = row.first_chunk().map_or(usize::MAX, |bytes| usize::from_ne_bytes(*bytes));
    Ok(usize::try_from(group).unwrap_or(usize::MAX).min(row).max(1))
}

/// Why a device that is listed cannot be used, if it cannot.
fn unusable(id: &DeviceId) -> Result<Option<&'static str>, Error> {
    let says = |name| number(id, name).map(|flag| flag != 0);
    Ok(match () {
        () if !says(ffi::CL_DEVICE_AVAILABLE)? => Some("its driver says that it is not available"),
        () if !says(ffi::CL_DEVICE_COMPILER_AVAILABLE)? => Some("its driver has no compiler for OpenCL C"),
        () if says(ffi::CL_DEVICE_ENDIAN_LITTLE)? != cfg!(target_endian = "little") => {
            Some("it orders bytes in another way than this machine")
        }
        () => None,
    })
}

/// Work-items of the smallest block that matrix instructions multiply.
const MATRIX_ITEMS: usize = 64;

/// `CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV`, and the first one with instructions for TF32.
const COMPUTE_CAPABILITY: u32 = 0x4000;
const AMPERE: u64 = 8;

fn matrix(id: &DeviceId) -> Result<Matrix, Error> {
    if std::env::var("SSE_SAM_OPENCL_MATRIX").as_deref() == Ok("emulated") {
        return Ok(Matrix::Emulated);
    }
    let extensions = property_text(id, ffi::CL_DEVICE_EXTENSIONS)?;
    let nvidia = extensions.split_whitespace().any(|name| name == "cl_nv_device_attribute_query");
    let able = nvidia && number(id, COMPUTE_CAPABILITY)? >= AMPERE;
    Ok(if able { Matrix::Instructions } else { Matrix::Absent })
}

fn property(id: &DeviceId, name: ffi::cl_device_info) -> Result<Vec<u8>, Error> {
    core::get_device_info_raw(id, name).map_err(|error| Error::of("", &error))
}

fn property_text(id: &DeviceId, name: ffi::cl_device_info) -> Result<String, Error> {
    let bytes = property(id, name)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim().to_owned())
}

/// Reads a number of 4 or 8 bytes.
fn number(id: &DeviceId, name: ffi::cl_device_info) -> Result<u64, Error> {
    let bytes = property(id, name)?;
    if let Some(bytes) = bytes.first_chunk::<8>() {
        return Ok(u64::from_ne_bytes(*bytes));
    }
    Ok(bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes).into()))
}
