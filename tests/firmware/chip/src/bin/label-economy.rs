//! The last part of the trial `economy`, which takes the least memory, with nothing printed but its label.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
sse_sam_chip::program!(trains sse_sam_trials::smallest, sse_sam_trials::SMALLEST_WORK, sse_sam_trials::Room<{ sse_sam_trials::MLP_LAYERS }>);

#[cfg(not(target_os = "none"))]
fn main() {}
