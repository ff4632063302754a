//! Pictures in files: where they are, how they are read, and how they come to the network's size.

pub mod binding;
pub mod coco;
pub mod decode;
pub mod find;
pub mod folder;
pub mod header;
pub mod index;
pub mod jitter;
pub mod kept;
pub mod load;
pub mod names;
pub mod options;
pub mod resample;
pub mod samples;
pub mod source;
pub mod table;
#[cfg(test)]
mod tests;
pub mod transform;
