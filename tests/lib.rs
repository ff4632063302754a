//! What the tests of sse-sam share.
