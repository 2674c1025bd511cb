use std::{num::NonZeroU64, time::Duration};

use tokio::time::Instant;

use crate::util::time::MonotonicNanos;

/// The admission of a call: its epoch, its trial number and its start. Two machine words, which a healthy call keeps in
/// registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The epoch, the trial's number and flags. A healthy call has the epoch alone.
    word: u64,
    /// Set only if the policy has a time limit for calls.
    started: Option<MonotonicNanos>,
}

/// Mask of the epoch: 40 bits last for three decades at a thousand changes of state per second.
const EPOCH: u64 = (1 << TRIAL_SHIFT) - 1;
const TRIAL_SHIFT: u32 = 40;
const TRIAL: u64 = (ELSEWHERE - 1) & !EPOCH;
/// Another permit records the call's outcome.
const ELSEWHERE: u64 = 1 << 60;
/// The answer has begun, whether slow or not.
const ANSWER_BEGAN: u64 = 1 << 61;
/// The answer began too late.
const SLOW: u64 = 1 << 62;
/// The outcome never counts.
const UNCOUNTED: u64 = 1 << 63;

/// The number of a trial, unique among those in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::breaker) struct Trial(NonZeroU64);

impl Trial {
    pub(in crate::breaker) const FIRST: Self = Self(NonZeroU64::MIN);

    /// Limit of trials in flight, so that each has its own number.
    pub(in crate::breaker) const MOST_AT_ONCE: u32 = (1 << (60 - TRIAL_SHIFT)) - 1;

    pub(in crate::breaker) fn next(self) -> Self {
        let next = (self.0.get() + 1) & (TRIAL >> TRIAL_SHIFT);
        NonZeroU64::new(next).map_or(Self::FIRST, Self)
    }
}

impl Ticket {
    #[inline]
    pub(crate) fn live(epoch: u64) -> Self {
        Self {
            word: epoch,
            started: None,
        }
    }

    /// A call that is made although the state machine refused it. Its outcome does not count.
    pub(in crate::breaker) fn uncounted(epoch: u64) -> Self {
        Self::live(epoch | UNCOUNTED)
    }

    /// A call whose outcome is recorded by another permit, or not at all.
    pub(crate) fn judged_elsewhere(epoch: u64) -> Self {
        Self::live(epoch | UNCOUNTED | ELSEWHERE)
    }

    /// Adds the start of the call, for a policy with a time limit.
    pub(crate) fn started(self, now: Instant) -> Self {
        Self {
            started: Some(MonotonicNanos::of(now)),
            ..self
        }
    }

    pub(in crate::breaker) fn of_trial(self, trial: Trial) -> Self {
        Self {
            word: self.word | (trial.0.get() << TRIAL_SHIFT),
            ..self
        }
    }

    /// Whether the outcome counts in `epoch`.
    pub(in crate::breaker) fn is_of(self, epoch: u64) -> bool {
        self.word & (EPOCH | UNCOUNTED) == epoch
    }

    /// Like [`is_of`](Self::is_of), for a healthy call: no trial and no flags.
    #[inline]
    pub(crate) fn is_plainly_of(self, epoch: u64) -> bool {
        self.word == epoch
    }

    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.word
    }

    /// Whether the call was admitted before `epoch` began.
    pub(crate) fn is_from_before(self, epoch: u64) -> bool {
        self.word & EPOCH < epoch
    }

    pub(in crate::breaker) fn epoch(self) -> u64 {
        self.word & EPOCH
    }

    /// A passage: an outer layer's call that leaves the trial slot to the inner layer.
    pub(in crate::breaker) fn of_passage(self, trial: Trial) -> Self {
        let Self { word, started } = self.of_trial(trial);
        Self {
            word: word | ELSEWHERE,
            started,
        }
    }

    /// Whether this is a passage, and a later trial number has been issued.
    pub(in crate::breaker) fn is_passage_before(self, next_trial: Trial) -> bool {
        self.is_judged_elsewhere() && self.trial().is_some_and(|trial| trial.next() != next_trial)
    }

    pub(in crate::breaker) fn trial(self) -> Option<Trial> {
        NonZeroU64::new((self.word & TRIAL) >> TRIAL_SHIFT).map(Trial)
    }

    pub(crate) fn is_trial(self) -> bool {
        self.word & TRIAL != 0
    }

    #[inline]
    pub(crate) fn is_judged_elsewhere(self) -> bool {
        self.word & ELSEWHERE != 0
    }

    /// Whether a drop of the permit must be recorded.
    #[inline]
    pub(crate) fn must_record_drop(self) -> bool {
        self.is_trial() || self.started.is_some()
    }

    /// Whether the beginning of the answer must be recorded.
    pub(crate) fn must_record_answer(self) -> bool {
        self.must_record_drop() && !self.has_answer()
    }

    /// Whether the answer has begun.
    pub(in crate::breaker) fn has_answer(self) -> bool {
        self.word & ANSWER_BEGAN != 0
    }

    /// Marks the beginning of the answer, and whether it was later than `limit`.
    pub(in crate::breaker) fn answer_began(&mut self, limit: Option<Duration>, now: Instant) {
        if self.was_slow(limit, now) {
            self.word |= SLOW;
        }
        self.word |= ANSWER_BEGAN;
    }

    pub(in crate::breaker) fn was_slow(self, limit: Option<Duration>, now: Instant) -> bool {
        if self.has_answer() {
            self.word & SLOW != 0
        } else {
            self.has_run_for(limit, now)
        }
    }

    pub(in crate::breaker) fn has_run_for(self, limit: Option<Duration>, now: Instant) -> bool {
        match (self.started, limit) {
            (Some(started), Some(limit)) => MonotonicNanos::of(now).since(started) >= limit,
            _ => false,
        }
    }
}
