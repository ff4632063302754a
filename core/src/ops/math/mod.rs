//! What operations are made of: sums in a fixed order, register tiles, exponentials, rows.

pub(crate) mod elementary;
pub(crate) mod reduce;
pub(crate) mod rows;
pub(crate) mod tile;
