//! The formats in which data sets are stored.

pub(crate) mod cifar;
pub(crate) mod cifar_python;
pub(crate) mod digits;
pub(crate) mod idx;
pub(crate) mod npy;
pub(crate) mod npz;
pub(crate) mod parquet;
pub(crate) mod pickle;
pub(crate) mod shards;
pub(crate) mod webdataset;
pub(crate) mod zip;
