//! The trial `slices` on a chip, with nothing printed but its label.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
sse_sam_chip::program!(trains sse_sam_trials::slices, sse_sam_trials::SLICES_WORK, ());

#[cfg(not(target_os = "none"))]
fn main() {}
