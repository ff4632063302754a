//! Named tensors in safetensors files, with PyTorch's names and layouts.

pub mod adapt;
mod axes;
mod file;
mod find;
mod header;
mod out;
pub mod torch;

pub use axes::{hwio_to_oihw, linear_from_chw, linear_to_chw, nchw_to_nhwc, oihw_to_hwio, transpose};
pub use file::*;
pub use find::find;
pub use out::Out;
