//! The breaker itself, with its threads meeting in every order that there is.
//!
//! Run with: `RUSTFLAGS='--cfg loom' cargo test --manifest-path loom/Cargo.toml --target-dir target/loom`
//!
//! Each model is a handful of steps of two or three threads through the public API. [loom](https://docs.rs/loom)
//! runs it again and again, until its locks and its atomics were reached in every order, and each load of an atomic
//! has given every value that its memory ordering allows. There is no limit of runs or of time; where all orders would
//! be too many, the model says how often a thread may be stopped that could go on: twice where there are three. Most
//! models name all the ends that they have, and each of these must be reached.
//!
//! What loom cannot see it does not reorder: counts of references, tokio's channels and wakers, and the clock. That
//! is tokio's, stopped; it moves right after a step of the thread that moves it.

#![cfg(test)]

#[cfg(not(loom))]
compile_error!("these are models for loom: set RUSTFLAGS='--cfg loom'");

mod explorer;
mod listeners;
mod overrides;
mod rates;
mod rules;
mod scene;
mod signs;
mod trials;
mod trips;
mod views;
