//! The trial `slices` on a chip.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
sse_sam_chip::program!(sse_sam_trials::slices, sse_sam_trials::SLICES_WORK, ());

#[cfg(not(target_os = "none"))]
fn main() {}
