//! HTTP and gRPC: what counts as a failure, the bodies of requests and responses, and what a server answers.
#![cfg(feature = "http")]

mod body;
#[cfg(feature = "hyper")]
mod errors;
mod grpc;
#[cfg(feature = "llm")]
mod llm;
mod peek;
mod read_errors;
mod replay;
mod statuses;
mod unavailable;
