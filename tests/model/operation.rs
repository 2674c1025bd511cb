//! The steps of a run, each read from eight bytes.

use std::time::Duration;

use tower_health::Override;

use super::rules::{Rate, Rules, TripRule};

/// A pause, then an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) pause: Pause,
    pub(crate) operation: Operation,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pause {
    For(Duration),
    /// Until a nanosecond before a call is admitted.
    AlmostUntilAdmitted,
    UntilAdmitted,
}

/// An operation on the breaker. `which` selects a call or check in flight, modulo their number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Admit,
    Judge {
        which: u8,
        verdict: Verdict,
    },
    Drop {
        which: u8,
    },
    ReleaseSlot {
        which: u8,
    },
    /// Calls that begin and end without a look at the breaker in between.
    Burst {
        calls: u8,
        verdict: Verdict,
    },
    BeginCheck {
        is_functional: bool,
    },
    EndCheck {
        which: u8,
        passes: bool,
    },
    Check {
        is_functional: bool,
        passes: bool,
    },
    MarkHealthy,
    MarkUnhealthy,
    GrantTrial,
    Force {
        to: Override,
        ttl: Duration,
    },
    Unforce,
    SetPolicy(Rules),
    Look(View),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Success,
    Failure { retry_after: Option<Duration> },
    Fatal,
    Throttled { retry_after: Option<Duration> },
    Answered,
    Neutral,
}

/// The view that is read first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View {
    Provider,
    Cache,
    Snapshot,
    SnapshotOf,
}

const MOMENT: Duration = Duration::from_nanos(1);
const HOUR: Duration = secs(3_600);
const YEAR: Duration = secs(365 * 24 * 3_600);

const PAUSES: [Duration; 17] = [
    MOMENT,
    secs(1).saturating_sub(MOMENT),
    secs(1),
    secs(1).saturating_add(MOMENT),
    secs(3),
    secs(5),
    secs(7),
    secs(10).saturating_sub(MOMENT),
    secs(10),
    secs(30),
    secs(60),
    secs(300),
    secs(600),
    HOUR,
    HOUR.saturating_mul(24),
    YEAR,
    YEAR.saturating_mul(100),
];

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl From<[u8; 8]> for Step {
    fn from(bytes: [u8; 8]) -> Self {
        let mut choices = Choices(u64::from_le_bytes(bytes));
        Self {
            pause: choices.pause(),
            operation: choices.operation(),
        }
    }
}

impl Rules {
    /// The rules at the beginning of a run.
    pub(crate) fn first() -> Self {
        Choices(0).rules()
    }
}

/// A number from which choices are read, one after the other.
struct Choices(u64);

impl Choices {
    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.0.to_le_bytes();
        self.0 >>= 8;
        byte
    }

    fn one_of<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        let index = usize::try_from(self.0 % N as u64);
        self.0 /= N as u64;
        all[index.expect("less than N")]
    }

    fn pause(&mut self) -> Pause {
        match self.byte() {
            0..128 => Pause::For(Duration::ZERO),
            128..144 => Pause::AlmostUntilAdmitted,
            144..168 => Pause::UntilAdmitted,
            other => Pause::For(PAUSES[usize::from(other) % PAUSES.len()]),
        }
    }

    fn operation(&mut self) -> Operation {
        match self.byte() % 64 {
            0..16 => Operation::Admit,
            16..27 => Operation::Judge {
                which: self.byte(),
                verdict: self.verdict(),
            },
            27..30 => Operation::Drop { which: self.byte() },
            30..33 => Operation::ReleaseSlot { which: self.byte() },
            33..37 => Operation::Burst {
                calls: self.byte() % 32,
                verdict: self.verdict(),
            },
            37..39 => Operation::BeginCheck {
                is_functional: self.one_of([false, true]),
            },
            39..42 => Operation::EndCheck {
                which: self.byte(),
                passes: self.one_of([false, true]),
            },
            42..48 => Operation::Check {
                is_functional: self.one_of([false, true]),
                passes: self.one_of([false, false, true]),
            },
            48 => Operation::MarkHealthy,
            49..53 => Operation::MarkUnhealthy,
            53..56 => Operation::GrantTrial,
            56..58 => Operation::Force {
                to: self.one_of([Override::Open, Override::Closed]),
                ttl: self.wait(),
            },
            58 => Operation::Unforce,
            59 => Operation::SetPolicy(self.rules()),
            _ => Operation::Look(self.one_of([
                View::Provider,
                View::Cache,
                View::Snapshot,
                View::SnapshotOf,
            ])),
        }
    }

    fn wait(&mut self) -> Duration {
        self.one_of([
            Duration::ZERO,
            MOMENT,
            secs(1),
            secs(5),
            secs(7),
            secs(30),
            secs(90),
            secs(700),
            2 * HOUR,
            Duration::MAX,
        ])
    }

    fn verdict(&mut self) -> Verdict {
        let wait = self.wait();
        self.one_of([
            Verdict::Success,
            Verdict::Success,
            Verdict::Success,
            Verdict::Failure { retry_after: None },
            Verdict::Failure { retry_after: None },
            Verdict::Failure {
                retry_after: Some(wait),
            },
            Verdict::Answered,
            Verdict::Answered,
            Verdict::Neutral,
            Verdict::Throttled { retry_after: None },
            Verdict::Throttled {
                retry_after: Some(wait),
            },
            Verdict::Fatal,
        ])
    }

    fn rules(&mut self) -> Rules {
        let failures = self.one_of([2, 1, 3, 5]);
        let rate = Rate {
            one_in: self.one_of([2, 4, 1]),
            window: self.one_of([secs(10), secs(60), Duration::MAX]),
            min_calls: self.one_of([3, 1, 8]),
        };
        let backoff = self.one_of([secs(60), secs(1), secs(10)]);
        Rules {
            trip: self.one_of([
                TripRule::Consecutive(failures),
                TripRule::Rate(rate),
                TripRule::Either(failures, rate),
            ]),
            exact: self.one_of([false, true]),
            within: self.one_of([secs(300), secs(7)]),
            slow_call: self.one_of([None, None, Some(secs(5))]),
            cancelled_after: self.one_of([None, None, Some(secs(5)), Some(Duration::ZERO)]),
            backoff,
            factor: self.one_of([1, 2, 3]),
            longest_backoff: backoff * self.one_of([1, 9, 90]),
            max_hold: self.one_of([secs(600), secs(30), secs(10), Duration::MAX]),
            at_once: self.one_of([1, 2, 3]),
            to_close: self.one_of([1, 2, 3]),
            lease: self.one_of([secs(60), secs(30), secs(5)]),
            pause: self.one_of([secs(1), Duration::ZERO, secs(30), secs(100)]),
            by_probe_only: self.one_of([false, false, true]),
            default_wait: self.one_of([secs(15), secs(2)]),
            max_wait: self.one_of([HOUR, secs(30)]),
            observe_only: self.one_of([false, false, false, true]),
            slow_start: self.one_of([false, true]),
        }
    }
}
