use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, Span, debug, enabled, event, field, info_span, span::Entered};

use crate::{
    outcome::Reason,
    util::{line::Line, panics::catch, time::MonotonicNanos},
    view::{CircuitOpen, State, Transition},
};

const TARGET: &str = "tower_health";

/// Minimum time between two events about the refusals of a provider.
const REFUSALS_PAUSE: Duration = Duration::from_secs(1);

/// Logs a change of state of a circuit breaker.
pub(crate) fn changed(transition: &Transition) {
    let Transition {
        provider,
        from,
        to,
        cause,
        reason,
        retry_in,
        ..
    } = transition;
    let provider = Line(provider);
    let reason = reason.as_ref().map(Reason::to_string);
    macro_rules! log {
        ($level:expr, $($message:tt)+) => {
            event!(
                target: TARGET,
                $level,
                %provider,
                %from,
                %to,
                cause = cause.map(field::display),
                reason = reason.as_deref(),
                open_for = retry_in.map(field::debug),
                $($message)+
            )
        };
    }
    catch(|| match to {
        State::Open => log!(Level::WARN, "circuit breaker opened"),
        State::HalfOpen => log!(Level::INFO, "circuit breaker is half-open"),
        State::Closed => log!(Level::INFO, "circuit breaker closed"),
    });
}

#[cfg(feature = "fleet")]
pub(super) fn fleet_connected(replica: &str) {
    let replica = Line(replica);
    catch(|| event!(target: TARGET, Level::INFO, %replica, "store of the fleet reached"));
}

#[cfg(feature = "fleet")]
pub(super) fn fleet_disconnected(replica: &str, error: &Reason) {
    let replica = Line(replica);
    catch(|| {
        event!(target: TARGET, Level::WARN, %replica, %error, "store of the fleet unreachable, going on alone");
    });
}

#[cfg(feature = "fleet")]
pub(super) fn fleet_entry_ignored(replica: &str, key: &str) {
    let (replica, key) = (Line(replica), Line(key));
    catch(|| {
        event!(target: TARGET, Level::WARN, %replica, %key, "unreadable entry in the store of the fleet ignored");
    });
}

/// Logs, in the caller's span, that a provider of a chain did not serve the request.
pub(crate) fn attempted(provider: &Arc<str>, reason: &Reason, elapsed: Duration) {
    catch(|| {
        let (provider, reason) = (Line(provider), &*reason.to_string());
        debug!(target: TARGET, %provider, reason, ?elapsed, "provider did not serve");
    });
}

/// The span of one attempt of a chain, within the caller's span.
#[derive(Clone)]
pub(crate) struct AttemptSpan(Span);

impl AttemptSpan {
    /// Starts the span of the attempt that comes after `earlier` others.
    pub(crate) fn start(provider: &Arc<str>, earlier: impl FnOnce() -> usize) -> Self {
        let mut span = Span::none();
        catch(|| {
            let earlier = earlier();
            span = info_span!(
                target: TARGET,
                "attempt",
                provider = %Line(provider),
                attempt = earlier + 1,
                "error.type" = field::Empty,
                http.request.resend_count = (earlier > 0).then_some(earlier),
                otel.status_code = field::Empty,
            );
        });
        Self(span)
    }

    pub(crate) fn enter(&self) -> Entered<'_> {
        self.0.enter()
    }

    pub(crate) fn is_recorded(&self) -> bool {
        !self.0.is_disabled()
    }

    pub(crate) fn failed(&self, reason: &Reason) {
        catch(|| {
            self.0.record("error.type", reason.label());
            self.0.record("otel.status_code", "ERROR");
        });
    }
}

/// The refusals of one provider that are not yet logged.
#[derive(Default)]
pub(crate) struct Refusals {
    unlogged: AtomicU64,
    /// The time of the last event, as [`MonotonicNanos::bits`].
    logged_at: AtomicU64,
}

impl Refusals {
    pub(crate) fn refused(&self, refusal: &CircuitOpen) {
        catch(|| {
            if enabled!(target: TARGET, Level::DEBUG) {
                self.unlogged.fetch_add(1, Ordering::Relaxed);
                if self.takes_turn() {
                    self.log(refusal);
                }
            }
        });
    }

    fn log(&self, refusal: &CircuitOpen) {
        debug!(
            target: TARGET,
            provider = %Line(refusal.provider()),
            state = %refusal.state(),
            cause = refusal.cause().map(field::display),
            reason = refusal.last_error().map(Reason::to_string),
            retry_in = ?refusal.retry_in(),
            refused = self.unlogged.swap(0, Ordering::Relaxed),
            "calls refused",
        );
    }

    /// Returns true for one thread per [`REFUSALS_PAUSE`].
    fn takes_turn(&self) -> bool {
        let now = MonotonicNanos::of(Instant::now()).bits();
        let logged_at = self.logged_at.load(Ordering::Relaxed);
        let is_due =
            logged_at == 0 || Duration::from_nanos(now.saturating_sub(logged_at)) >= REFUSALS_PAUSE;
        let (order, on_failure) = (Ordering::Relaxed, Ordering::Relaxed);
        is_due
            && self
                .logged_at
                .compare_exchange(logged_at, now, order, on_failure)
                .is_ok()
    }
}
