//! The trial `residual` on a chip.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
sse_sam_chip::program!(
    sse_sam_trials::residual,
    sse_sam_trials::RESIDUAL_WORK,
    sse_sam_trials::Room<{ sse_sam_trials::RESIDUAL_LAYERS }>
);

#[cfg(not(target_os = "none"))]
fn main() {}
