//! The functions of `sse_sam.h` as a static library, with what a bare chip needs beside them.
#![cfg_attr(target_os = "none", no_std)]

pub use sse_sam_capi::*;

/// Where a panic would lead, if there were one: a function that the firmware has to define.
///
/// An optimised build has no panic path and refers to no such function; so that it links is the proof.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn sse_sam_panicked() -> !;
    }
    // SAFETY: takes nothing and does not return.
    unsafe { sse_sam_panicked() }
}
