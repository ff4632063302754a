//! The functions of `sse_sam.h` as a static library, with a panic handler for bare chips.
#![cfg_attr(target_os = "none", no_std)]

pub use sse_sam_capi::*;

/// What a panic would call: a function that the firmware would have to define.
///
/// An optimised build has no panic path and never refers to it: that it links is the proof.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn sse_sam_panicked() -> !;
    }
    // SAFETY: takes nothing and does not return.
    unsafe { sse_sam_panicked() }
}
