//! Spectra of Hessians: of the loss of all samples, of the head, the tail, and single classes.
//!
//! The Hessian of a group is that of the mean loss over the group's own training samples with respect to all trained
//! parameters: batch norm normalises by its running statistics, nothing is augmented, no weight decay is added, and a ReLU's
//! second derivative is 0. Products with it are exact ([`sse_sam_core::curvature`]); [`lanczos`] makes a small matrix of
//! them, whose eigenvalues [`quadrature`] reads.

pub mod groups;
pub mod picture;
pub mod quadrature;
pub mod start;
pub mod tridiagonal;
