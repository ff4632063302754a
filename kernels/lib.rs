//! The OpenCL C sources of sse-sam, embedded as strings.
#![no_std]
