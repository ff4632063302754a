//! Long-tailed classification with SSE-SAM, SAM, ImbSAM and SGD.
