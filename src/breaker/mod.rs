//! One provider's circuit breaker.
//!
//! ```text
//!                 Provider::admit                                  Permit::{success, record, drop}
//!                        │                                                       │
//!                        ▼                                                       ▼
//!   HotSlot ──── one load: does it admit? ──── Ticket (epoch) ──── one load: does a success change nothing?
//!     ▲                  │ no                                                    │ no
//!     │                  ▼                                                       ▼
//!   SharedBreaker::update ── lock ── Breaker (machine, pure in time) ── Outbox ── listeners, after the lock
//!     └──────────── shows the new HotState before it lets go of the lock
//! ```
//!
//! - [`machine`]: the state machine. It knows no lock, no clock and no listener.
//! - [`shared`]: the only lock and the only atomics. A [`HotSlot`] is what healthy calls read of a breaker; it outlives it, so
//!   that a permit needs no reference count. The store of a [`HotState`](shared) is a release, under the lock; the loads of
//!   calls are acquires, so that a call that sees a state also sees what was written before it.
//! - [`Ticket`]: what a permit remembers of its admission. One of an earlier epoch is late, and moves nothing.
//! - [`SuccessCounter`](success_counter): successes that a failure rate counts without the lock.

mod listeners;
mod machine;
mod permit;
mod shared;
mod success_counter;
mod ticket;

pub use self::permit::Permit;
pub(crate) use self::{
    listeners::Listeners,
    machine::{Breaker, Depth, LayerId},
    shared::{AdmissionChanged, HotSlot, SharedBreaker},
    ticket::Ticket,
};
