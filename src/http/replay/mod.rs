//! Buffering request bodies, so that requests can be sent again.

mod body;
mod error;
mod future;
mod layer;
mod reading;
mod service;

pub use self::{
    body::ReplayBody, error::ReplayError, future::ReplayFuture, layer::ReplayLayer, service::Replay,
};
