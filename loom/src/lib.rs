//! Models of the breaker, in which loom tries every interleaving of threads.
//!
//! Run with: `RUSTFLAGS='--cfg loom' cargo test --manifest-path loom/Cargo.toml --target-dir target/loom`
//!
//! Each model has a few steps of two or three threads through the public API. [loom](https://docs.rs/loom) runs it until locks and
//! atomics were accessed in every order, and each load has returned every value that its memory ordering allows. Neither runs nor
//! time are limited. If all orders are too many, the model limits preemptions, for example to two with three threads. Most
//! models list all possible results, and each one must occur.
//!
//! loom does not reorder reference counts, tokio's channels and wakers, or the clock. The clock is tokio's paused one, and advances
//! directly after a step of the thread that advances it.

#![cfg(test)]

#[cfg(not(loom))]
compile_error!("these are models for loom: set RUSTFLAGS='--cfg loom'");

mod explorer;
mod hanging;
mod listeners;
mod overrides;
mod rates;
mod rules;
mod scene;
mod slots;
mod trials;
mod trips;
mod views;
