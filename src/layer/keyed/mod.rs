//! One service that calls many providers, with a breaker for each.

mod key;
mod layer;
mod providers;
mod service;

pub use self::{key::Key, layer::KeyedHealthLayer, service::KeyedHealth};
