//! Test support: a browser, and a server that can be killed.

mod driver;
mod page;
mod server;

pub use self::{
    driver::{Browser, Device},
    server::Server,
};
