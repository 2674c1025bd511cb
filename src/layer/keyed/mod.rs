//! Middleware for one service that calls many providers, with one breaker per provider.

mod key;
mod layer;
mod providers;
mod service;

pub use self::{key::Key, layer::KeyedHealthLayer, service::KeyedHealth};
