//! Named tensors in safetensors files, with PyTorch's names and layouts.

pub mod adapt;
mod axes;
mod choice;
mod description;
mod file;
mod find;
mod header;
pub mod onnx;
mod out;
pub mod torch;
mod trained;

pub use axes::{hwio_to_oihw, linear_from_chw, linear_to_chw, nchw_to_nhwc, oihw_to_hwio, transpose};
pub use choice::Choice;
pub use description::Description;
pub use file::*;
pub use find::find;
pub use out::Out;
pub use trained::Weights;
