use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, debug, enabled, event, field};

use crate::{
    outcome::Reason,
    util::{line::Line, panics::catch, time::MonotonicNanos},
    view::{CircuitOpen, State, Transition},
};

const TARGET: &str = "tower_health";

/// Of one provider's refusals one event in so long says how many there were.
const REFUSALS_PAUSE: Duration = Duration::from_secs(1);

/// A circuit breaker has changed its state.
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
    macro_rules! say {
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
        State::Open => say!(Level::WARN, "circuit breaker opened"),
        State::HalfOpen => say!(Level::INFO, "circuit breaker is half-open"),
        State::Closed => say!(Level::INFO, "circuit breaker closed"),
    });
}

/// A chain has passed by a provider, in the span of its caller.
pub(crate) fn attempted(provider: &Arc<str>, reason: &Reason, elapsed: Duration) {
    catch(|| {
        let (provider, reason) = (Line(provider), &*reason.to_string());
        debug!(target: TARGET, %provider, reason, ?elapsed, "provider did not serve");
    });
}

/// The refusals of one provider, as far as they are still to be told.
#[derive(Default)]
pub(crate) struct Refusals {
    untold: AtomicU64,
    /// As [`MonotonicNanos::bits`].
    told_at: AtomicU64,
}

impl Refusals {
    pub(crate) fn refused(&self, refusal: &CircuitOpen) {
        catch(|| {
            if enabled!(target: TARGET, Level::DEBUG) {
                self.untold.fetch_add(1, Ordering::Relaxed);
                if self.takes_turn() {
                    self.tell(refusal);
                }
            }
        });
    }

    fn tell(&self, refusal: &CircuitOpen) {
        let CircuitOpen {
            provider,
            state,
            cause,
            retry_in,
            last_error,
        } = refusal;
        debug!(
            target: TARGET,
            provider = %Line(provider),
            %state,
            cause = cause.map(field::display),
            reason = last_error.as_ref().map(Reason::to_string),
            ?retry_in,
            refused = self.untold.swap(0, Ordering::Relaxed),
            "calls refused",
        );
    }

    /// One of those that come at once does.
    fn takes_turn(&self) -> bool {
        let now = MonotonicNanos::of(Instant::now()).bits();
        let told_at = self.told_at.load(Ordering::Relaxed);
        let is_due =
            told_at == 0 || Duration::from_nanos(now.saturating_sub(told_at)) >= REFUSALS_PAUSE;
        let (order, on_failure) = (Ordering::Relaxed, Ordering::Relaxed);
        is_due
            && self
                .told_at
                .compare_exchange(told_at, now, order, on_failure)
                .is_ok()
    }
}
