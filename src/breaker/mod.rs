//! One provider's circuit breaker.
//!
//! ```text
//!   Provider::admit, layer::reentrancy::admit              Permit::{success, record, drop}
//!        │                                                         │
//!        ▼                                                         ▼
//!   HotSlot: admits every call? ── yes ──▶ Ticket           HotSlot: a success changes nothing? ── yes ──▶ done
//!        │ no                                                      │ no, or not a success
//!        ▼                                                         ▼
//!   Refusal: still holds? ── yes ──▶ CircuitOpen            SuccessCounter: counting is enough? ── yes ──▶ done
//!        │ no                                                      │ no, or not a success
//!        └──────────────▶ SharedBreaker::update ◀──────────────────┘
//!                                  │ lock
//!                                  ▼
//!                         Breaker: advance to now, then one event ──▶ Outbox
//!                                  │                                     │
//!                                  ▼                                     │
//!                         show: Refusal, SuccessCounter, HotSlot         │
//!                                  │ unlock                              ▼
//!                                  └──────────────▶ listeners, one transition at a time, in order
//! ```
//!
//! A healthy call loads the [`HotSlot`] twice and takes no lock. If its permit is dropped, the breaker does not change. A refused
//! call gets its thread's copy of the refusal. A thread makes its copy under the lock, again after each change.
//!
//! A call of a policy with a time limit or with `release_on_open` has a `Watch` until its answer begins: a timer, and a waker in one of
//! the breaker's `lanes`.
//!
//! `machine` is the state machine, without locks or clocks. `shared` has the lock and, with `success_counter`, the atomics. A
//! [`Ticket`] holds the epoch in which the call was admitted. Each change of phase (the state without an override) begins a new
//! epoch, and an outcome of an earlier epoch is late.
//!
//! | writer, under the breaker's lock | reader, without it | the reader then sees |
//! |---|---|---|
//! | `HotSlot::show`: Release, last of all | `HotSlot::state`: Acquire | the refusal's id and the counters of that state |
//! | `SharedBreaker::show` (`refusal_id`): Relaxed, before `HotSlot::show` | `standing_refusal`: Relaxed, after `HotSlot::state` | a refusal no older than that state |
//! | `SharedBreaker::show` (`refuses_until`): Release | `is_healthy_again`: Acquire | that time; after it, the reader takes the lock |
//! | `SuccessCounter::restart` (`until`): Release | `count`: Acquire | the restarted counters |
//! | `Counter::{restart, take}`: AcqRel | `Counter::{start, add_one}`: Acquire, AcqRel | each success in exactly one count |
//! | `Lanes::release_before`: Release, then `wake_released`, under each lane's lock | `has_released`: Acquire, after `register`, under its lane's lock | that its call is released, or it is woken |
//! | `mark_removed`, under the cache's lock: SeqCst | `unmeter_if_removed`: SeqCst | the removal. If it does not, the cache sees the new meters and removes them |

mod lanes;
mod listeners;
mod machine;
mod permit;
mod shared;
mod simulate;
mod success_counter;
mod ticket;
mod watch;

#[cfg(feature = "fleet")]
pub(crate) use self::machine::{LeaseTimes, PeerEffect, PeerWindow, Report, ReportedPhase};
pub(crate) use self::{
    listeners::Listeners,
    machine::{Breaker, Depth, LayerId},
    shared::{AdmissionChanged, HotSlot, SharedBreaker},
    ticket::Ticket,
};
pub use self::{permit::Permit, simulate::Simulation};
