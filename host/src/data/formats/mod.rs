//! The formats in which data sets are stored.

pub(crate) mod cifar;
pub(crate) mod cifar_python;
pub(crate) mod digits;
pub(crate) mod idx;
pub(crate) mod npy;
pub(crate) mod npz;
#[cfg_attr(not(test), expect(dead_code))]
pub(crate) mod parquet;
pub(crate) mod pickle;
#[cfg_attr(not(test), expect(dead_code))]
pub(crate) mod shards;
#[cfg_attr(not(test), expect(dead_code))]
pub(crate) mod webdataset;
pub(crate) mod zip;
