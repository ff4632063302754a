//! The functions of OpenCL, found at run time.
//!
//! Every `clXxx` that the crates below refer to is defined here, so that the program links without an OpenCL library.
//! Those in use forward to the library that is found at their first call; the others refuse. All calls pass through
//! [`admit`], which can be told to refuse one of them, and what is created and released is counted.
//!
//! `SSE_SAM_OPENCL_LIBRARY` names another library; `SSE_SAM_OPENCL_FAIL=k` or `k:code` makes the k-th call from 1 fail,
//! `k..:code` all from there on, as when a device is lost.

use std::cell::Cell;
use std::env;
use std::error::Error;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use libloading::Library;
use ocl::ffi::*;

/// `CL_OUT_OF_RESOURCES`, which stands for codes that the crates below do not know and would panic on.
const OUT_OF_RESOURCES: cl_int = -5;
/// `CL_INVALID_OPERATION`, the answer of functions that this program never calls.
const INVALID_OPERATION: cl_int = -59;
/// `CL_PLATFORM_NOT_FOUND_KHR`, what a loader without drivers answers.
const PLATFORM_NOT_FOUND: cl_int = -1001;
/// The last of the codes from -30 that the crates below know.
const LAST_KNOWN: cl_int = -70;

/// A call that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub call: &'static str,
    pub code: cl_int,
}

thread_local! {
    static FAILURE: Cell<Option<Failure>> = const { Cell::new(None) };
}

static CALLS: AtomicU64 = AtomicU64::new(0);
static FAIL_AT: AtomicU64 = AtomicU64::new(0);
static FAIL_ON: AtomicBool = AtomicBool::new(false);
static FAIL_CODE: AtomicI64 = AtomicI64::new(OUT_OF_RESOURCES as i64);
static LIVE: AtomicI64 = AtomicI64::new(0);
static LIVE_BUFFERS: AtomicI64 = AtomicI64::new(0);

/// Takes this thread's last failed call.
pub(crate) fn take_failure() -> Option<Failure> {
    FAILURE.take()
}

/// Calls of OpenCL so far, in all threads.
#[doc(hidden)]
pub fn calls() -> u64 {
    CALLS.load(Relaxed)
}

/// Makes the `after`-th call from now fail with `code`; 0 for none.
#[doc(hidden)]
pub fn fail_after(after: u64, code: i32) {
    FAIL_CODE.store(code.into(), Relaxed);
    FAIL_AT.store(if after == 0 { 0 } else { calls() + after }, Relaxed);
}

/// Objects of every kind that were created or retained and not released.
#[doc(hidden)]
pub fn live_objects() -> i64 {
    LIVE.load(Relaxed)
}

/// Memory objects among [`live_objects`].
#[doc(hidden)]
pub fn live_buffers() -> i64 {
    LIVE_BUFFERS.load(Relaxed)
}

/// The functions of OpenCL, defined here for the linker.
fn candidates() -> Vec<String> {
    if let Some(path) = env::var("SSE_SAM_OPENCL_LIBRARY").ok().filter(|path| !path.is_empty()) {
        return vec![path];
    }
    let names: &[&str] = if cfg!(target_os = "macos") {
        &["/System/Library/Frameworks/OpenCL.framework/OpenCL"]
    } else if cfg!(windows) {
        &["OpenCL.dll"]
    } else {
        &["libOpenCL.so.1", "libOpenCL.so"]
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The library, looked for once, or why there is none.
pub(crate) fn library() -> Result<&'static Library, &'static str> {
    static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
    LIBRARY.get_or_init(open).as_ref().map_err(String::as_str)
}

fn open() -> Result<Library, String> {
    if let Ok(order) = env::var("SSE_SAM_OPENCL_FAIL") {
        let (at, code) = order.split_once(':').unwrap_or((&order, "-5"));
        let (at, on) = at.strip_suffix("..").map_or((at, false), |at| (at, true));
        FAIL_ON.store(on, Relaxed);
        if let (Ok(at), Ok(code)) = (at.parse(), code.parse()) {
            fail_after(at, code);
        }
    }
    let mut reasons = Vec::new();
    for name in candidates() {
        // SAFETY: an OpenCL library's initialisation has no requirements of its own.
        match unsafe { Library::new(Path::new(&name)) } {
            // SAFETY: the address is asked for, not used.
            Ok(library) => match unsafe { library.get::<*const c_void>("clGetPlatformIDs") } {
                Ok(_) => return Ok(library),
                Err(_) => reasons.push(format!("{name} is no OpenCL library: it has no clGetPlatformIDs")),
            },
            Err(error) => reasons.push(reason(&name, &error)),
        }
    }
    reasons.dedup();
    Err(reasons.join("; "))
}

/// Why a library was not loaded, as the system says, which may leave out which one.
fn reason(name: &str, error: &libloading::Error) -> String {
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let text = text.trim().trim_end_matches('.');
    if text.contains(name) { text.to_owned() } else { format!("{name}: {text}") }
}

/// The address of function `name`, or why it cannot be called.
fn find(name: &'static str) -> Option<*const c_void> {
    // SAFETY: the symbol's address is only turned into a pointer here; `forward!` gives it the type that the standard
    // says it has.
    let symbol = unsafe { library().ok()?.get::<*const c_void>(name) };
    symbol.ok().map(|address| *address).filter(|address| !address.is_null())
}

/// Counts a call; refuses those that were asked to fail.
fn admit() -> Result<(), cl_int> {
    let (number, at) = (CALLS.fetch_add(1, Relaxed) + 1, FAIL_AT.load(Relaxed));
    let fails = number == at || (number > at && at > 0 && FAIL_ON.load(Relaxed));
    if fails { Err(FAIL_CODE.load(Relaxed) as cl_int) } else { Ok(()) }
}

/// Remembers a failed call and returns its code, or one that stands for it where the crates below know only their own.
fn note(call: &'static str, code: cl_int) -> cl_int {
    if code == 0 {
        return code;
    }
    FAILURE.set(Some(Failure { call, code }));
    let known = (-19..0).contains(&code) || (LAST_KNOWN..=-30).contains(&code) || code == PLATFORM_NOT_FOUND;
    if known { code } else { OUT_OF_RESOURCES }
}

/// Which count a function changes by how much when it succeeds.
#[derive(Clone, Copy)]
enum Count {
    Nothing,
    Object(i64),
    Buffer(i64),
}

impl Count {
    fn apply(self) {
        if let Self::Object(by) | Self::Buffer(by) = self {
            LIVE.fetch_add(by, Relaxed);
        }
        if let Self::Buffer(by) = self {
            LIVE_BUFFERS.fetch_add(by, Relaxed);
        }
    }
}

/// Defines functions of OpenCL that forward to the library: `status` ones return a code, `object` ones put it where
/// their last argument points, `release` ones report success whatever happens, since nobody can act on it.
macro_rules! forward {
    ($(status $name:ident($($arg:ident: $ty:ty),*) $count:expr;)*) => {$(
        #[unsafe(no_mangle)]
        extern "system" fn $name($($arg: $ty),*) -> cl_int {
            static ADDRESS: OnceLock<Option<usize>> = OnceLock::new();
            let name = stringify!($name);
            let Some(address) = *ADDRESS.get_or_init(|| find(name).map(|address| address as usize)) else {
                return note(name, PLATFORM_NOT_FOUND);
            };
            if let Err(code) = admit() {
                return note(name, code);
            }
            // SAFETY: the address belongs to the function of this name, whose type OpenCL 1.2 fixes; arguments are
            // passed on as they came.
            let code = unsafe {
                let function: extern "system" fn($($ty),*) -> cl_int = std::mem::transmute(address);
                function($($arg),*)
            };
            if code == 0 {
                $count.apply();
            }
            note(name, code)
        }
    )*};
    ($(release $name:ident($arg:ident: $ty:ty) $count:expr;)*) => {$(
        #[unsafe(no_mangle)]
        extern "system" fn $name($arg: $ty) -> cl_int {
            static ADDRESS: OnceLock<Option<usize>> = OnceLock::new();
            if let Some(address) = *ADDRESS.get_or_init(|| find(stringify!($name)).map(|address| address as usize)) {
                // SAFETY: as above.
                unsafe {
                    let function: extern "system" fn($ty) -> cl_int = std::mem::transmute(address);
                    function($arg);
                }
                $count.apply();
            }
            0
        }
    )*};
    ($(object $name:ident($($arg:ident: $ty:ty),*) -> $object:ty, $count:expr;)*) => {$(
        #[unsafe(no_mangle)]
        extern "system" fn $name($($arg: $ty,)* errcode_ret: *mut cl_int) -> $object {
            static ADDRESS: OnceLock<Option<usize>> = OnceLock::new();
            let name = stringify!($name);
            let mut code = PLATFORM_NOT_FOUND;
            let mut object = std::ptr::null_mut();
            if let Some(address) = *ADDRESS.get_or_init(|| find(name).map(|address| address as usize)) {
                match admit() {
                    // SAFETY: as above; the code goes to a variable of ours.
                    Ok(()) => unsafe {
                        let function: extern "system" fn($($ty,)* *mut cl_int) -> $object = std::mem::transmute(address);
                        object = function($($arg,)* &mut code);
                    },
                    Err(refused) => code = refused,
                }
            }
            if code == 0 {
                $count.apply();
            }
            let code = note(name, code);
            if !errcode_ret.is_null() {
                // SAFETY: the caller's pointer is null or points to a code, as OpenCL asks.
                unsafe { errcode_ret.write(code) };
            }
            object
        }
    )*};
}

/// Defines functions that the crates below refer to and this program does not call.
macro_rules! refuse {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "system" fn $name() -> cl_int {
            INVALID_OPERATION
        }
    )*};
}

type Notify = Option<extern "C" fn(*const c_char, *const c_void, size_t, *mut c_void)>;

forward! {
    status clGetPlatformIDs(count: cl_uint, platforms: *mut cl_platform_id, found: *mut cl_uint) Count::Nothing;
    status clGetPlatformInfo(platform: cl_platform_id, name: cl_platform_info, size: size_t, value: *mut c_void,
        returned: *mut size_t) Count::Nothing;
    status clGetDeviceIDs(platform: cl_platform_id, kind: cl_device_type, count: cl_uint, devices: *mut cl_device_id,
        found: *mut cl_uint) Count::Nothing;
    status clGetDeviceInfo(device: cl_device_id, name: cl_device_info, size: size_t, value: *mut c_void,
        returned: *mut size_t) Count::Nothing;
    status clGetContextInfo(context: cl_context, name: cl_context_info, size: size_t, value: *mut c_void,
        returned: *mut size_t) Count::Nothing;
    status clGetProgramInfo(program: cl_program, name: cl_program_info, size: size_t, value: *mut c_void,
        returned: *mut size_t) Count::Nothing;
    status clGetProgramBuildInfo(program: cl_program, device: cl_device_id, name: cl_program_build_info, size: size_t,
        value: *mut c_void, returned: *mut size_t) Count::Nothing;
    status clGetKernelInfo(kernel: cl_kernel, name: cl_kernel_info, size: size_t, value: *mut c_void,
        returned: *mut size_t) Count::Nothing;
    status clGetKernelWorkGroupInfo(kernel: cl_kernel, device: cl_device_id, name: cl_kernel_work_group_info, size: size_t,
        value: *mut c_void, returned: *mut size_t) Count::Nothing;
    status clGetEventInfo(event: cl_event, name: cl_event_info, size: size_t, value: *mut c_void,
        returned: *mut size_t) Count::Nothing;
    status clGetEventProfilingInfo(event: cl_event, name: cl_profiling_info, size: size_t, value: *mut c_void,
        returned: *mut size_t) Count::Nothing;
    status clBuildProgram(program: cl_program, count: cl_uint, devices: *const cl_device_id, options: *const c_char,
        notify: Option<extern "C" fn(cl_program, *mut c_void)>, data: *mut c_void) Count::Nothing;
    status clSetKernelArg(kernel: cl_kernel, index: cl_uint, size: size_t, value: *const c_void) Count::Nothing;
    status clFlush(queue: cl_command_queue) Count::Nothing;
    status clFinish(queue: cl_command_queue) Count::Nothing;
    status clEnqueueNDRangeKernel(queue: cl_command_queue, kernel: cl_kernel, dimensions: cl_uint,
        offset: *const size_t, global: *const size_t, local: *const size_t, waits: cl_uint, list: *const cl_event,
        event: *mut cl_event) if event.is_null() { Count::Nothing } else { Count::Object(1) };
    status clEnqueueReadBuffer(queue: cl_command_queue, buffer: cl_mem, block: cl_bool, offset: size_t, size: size_t,
        data: *mut c_void, waits: cl_uint, list: *const cl_event, event: *mut cl_event)
        if event.is_null() { Count::Nothing } else { Count::Object(1) };
    status clEnqueueWriteBuffer(queue: cl_command_queue, buffer: cl_mem, block: cl_bool, offset: size_t, size: size_t,
        data: *const c_void, waits: cl_uint, list: *const cl_event, event: *mut cl_event)
        if event.is_null() { Count::Nothing } else { Count::Object(1) };
    status clRetainContext(context: cl_context) Count::Object(1);
    status clRetainCommandQueue(queue: cl_command_queue) Count::Object(1);
    status clRetainMemObject(memory: cl_mem) Count::Buffer(1);
    status clRetainProgram(program: cl_program) Count::Object(1);
    status clRetainKernel(kernel: cl_kernel) Count::Object(1);
    status clRetainEvent(event: cl_event) Count::Object(1);
}

forward! {
    release clReleaseContext(context: cl_context) Count::Object(-1);
    release clReleaseCommandQueue(queue: cl_command_queue) Count::Object(-1);
    release clReleaseMemObject(memory: cl_mem) Count::Buffer(-1);
    release clReleaseProgram(program: cl_program) Count::Object(-1);
    release clReleaseKernel(kernel: cl_kernel) Count::Object(-1);
    release clReleaseEvent(event: cl_event) Count::Object(-1);
}

forward! {
    object clCreateContext(properties: *const cl_context_properties, count: cl_uint, devices: *const cl_device_id,
        notify: Notify, data: *mut c_void) -> cl_context, Count::Object(1);
    object clCreateCommandQueue(context: cl_context, device: cl_device_id, properties: cl_command_queue_properties)
        -> cl_command_queue, Count::Object(1);
    object clCreateBuffer(context: cl_context, flags: cl_mem_flags, size: size_t, data: *mut c_void)
        -> cl_mem, Count::Buffer(1);
    object clCreateProgramWithSource(context: cl_context, count: cl_uint, sources: *const *const c_char,
        lengths: *const size_t) -> cl_program, Count::Object(1);
    object clCreateKernel(program: cl_program, name: *const c_char) -> cl_kernel, Count::Object(1);
}

refuse! {
    clCompileProgram clCreateContextFromType clCreateFromGLBuffer clCreateFromGLRenderbuffer clCreateFromGLTexture
    clCreateFromGLTexture2D clCreateFromGLTexture3D clCreateImage clCreateKernelsInProgram clCreateProgramWithBinary
    clCreateProgramWithBuiltInKernels clCreateSampler clCreateSubBuffer clCreateSubDevices clCreateUserEvent
    clEnqueueAcquireGLObjects clEnqueueBarrierWithWaitList clEnqueueCopyBuffer clEnqueueCopyBufferRect
    clEnqueueCopyBufferToImage clEnqueueCopyImage clEnqueueCopyImageToBuffer clEnqueueFillBuffer clEnqueueFillImage
    clEnqueueMapBuffer clEnqueueMapImage clEnqueueMarkerWithWaitList clEnqueueMigrateMemObjects clEnqueueNativeKernel
    clEnqueueReadBufferRect clEnqueueReadImage clEnqueueReleaseGLObjects clEnqueueTask clEnqueueUnmapMemObject
    clEnqueueWriteBufferRect clEnqueueWriteImage clGetCommandQueueInfo
    clGetExtensionFunctionAddressForPlatform clGetGLContextInfoKHR clGetImageInfo clGetKernelArgInfo
    clGetMemObjectInfo clGetSamplerInfo clGetSupportedImageFormats clLinkProgram
    clReleaseDevice clReleaseSampler clRetainDevice clRetainSampler clSetEventCallback
    clSetMemObjectDestructorCallback clSetUserEventStatus clUnloadPlatformCompiler clWaitForEvents
}
