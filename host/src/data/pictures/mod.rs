//! Pictures from files: what a header says, their pixels, and what is made of these before a network sees them.
//!
//! Nothing here opens a file: callers give bytes and put the file's name before what is [refused](header::Refused).
//! Decoding gives the bytes of Pillow's `Image.open(f).convert("RGB")` (exactly, but within 4 for JPEG and lossy WebP),
//! and the transforms are those of torchvision on Pillow's pictures, byte for byte.

pub(crate) mod decode;
pub(crate) mod header;
pub(crate) mod jitter;
pub(crate) mod resample;
#[cfg(test)]
mod tests;
pub(crate) mod transform;
