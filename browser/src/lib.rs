//! What the tests need: a browser, and a server that can die.

mod driver;
mod page;
mod server;

pub use self::{
    driver::{Browser, Device},
    server::Server,
};
