//! Rows 32 to 48 of the failure modes seen in the field, over real sockets: hyper's client, servers
//! that misbehave by script, and real time.
//!
//! | row | file |
//! |---|---|
//! | 32, 33, 34 | `outages.rs` |
//! | 35 | `throttles.rs` |
//! | 36 to 40 | `bodies.rs` |
//! | 41, 42, 43 | `recovery.rs` |
//! | 44, 45, 48 | `callers.rs` |
//! | 46, 47 | `exhausted.rs` |
//!
//! `streams.rs` tests stream ends, short bodies and early hints; `reqwest.rs`, reqwest's client;
//! `stacks.rs`, the layer in stacks of clients, servers and middleware.
#![cfg(feature = "http")]

mod bodies;
mod callers;
mod exhausted;
mod outages;
mod pair;
mod recovery;
#[cfg(feature = "reqwest")]
mod reqwest;
mod server;
#[cfg(feature = "load")]
mod stacks;
mod streams;
mod throttles;
