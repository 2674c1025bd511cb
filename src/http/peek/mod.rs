//! Holding a response back until its body has begun.

mod body;
mod content;
mod error;
mod future;
mod layer;
mod peeking;
mod service;
mod watch;

pub use self::{
    body::PeekBody,
    content::Content,
    error::PeekError,
    future::PeekFuture,
    layer::PeekLayer,
    service::Peek,
    watch::{FirstContent, FirstFrame, FirstSseEvent, Watch, Whole},
};
