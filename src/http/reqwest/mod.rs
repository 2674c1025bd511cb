//! Services of `reqwest::Request` and `reqwest::Response`, such as `reqwest::Client`. Feature `reqwest`.
//!
//! A response is converted into an `http::Response`, treated like any other, and converted back, with its body in a box.
//! A chain clones requests with `try_clone`, which fails if the body is a stream.

mod classify;
mod constructors;
mod message;
