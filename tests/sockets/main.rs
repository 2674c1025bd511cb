//! Rows 32 to 48 of what was seen in the field, over real sockets: hyper's client, servers that
//! misbehave exactly as told, and real time.
//!
//! | row | shown in |
//! |---|---|
//! | 32, 33, 34 | `outages.rs` |
//! | 35 | `throttles.rs` |
//! | 36 to 40 | `bodies.rs` |
//! | 41, 42, 43 | `recovery.rs` |
//! | 44, 45, 48 | `callers.rs` |
//! | 46, 47 | `exhausted.rs` |
//!
//! `streams.rs` shows the ends of streams, short bodies and what is no answer; `reqwest.rs`, reqwest's client;
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
