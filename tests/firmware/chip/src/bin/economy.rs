//! The trial `economy` on a chip.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
sse_sam_chip::program!(
    sse_sam_trials::economy,
    sse_sam_trials::LEAN_WORK,
    sse_sam_trials::Room<{ sse_sam_trials::MLP_LAYERS }>
);

#[cfg(not(target_os = "none"))]
fn main() {}
