//! Spectra of Hessians: of the loss of all samples, of the head, the tail, and single classes.
//!
//! The Hessian of a group is that of the mean loss over the group's own training samples with respect to all trained
//! parameters: batch norm normalises by its running statistics, nothing is augmented, no weight decay is added, and a ReLU's
//! second derivative is 0. Products with it are exact ([`sse_sam_core::curvature`]); [`lanczos`] makes a small matrix of
//! them, whose eigenvalues [`quadrature`] reads.

pub mod course;
pub mod directions;
pub mod escape;
pub mod fit;
pub mod groups;
pub mod hessian;
pub mod job;
pub mod lanczos;
pub mod layout;
pub mod measure;
pub mod picture;
pub mod quadrature;
pub mod report;
pub mod source;
pub mod start;
pub mod store;
pub mod tridiagonal;
