use std::{num::NonZeroU64, time::Duration};

use tokio::time::Instant;

use crate::util::time::MonotonicNanos;

/// What a permit remembers of its admission: two words, which a healthy call keeps in registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The epoch, the number of a trial, and marks; of a healthy call's ticket the epoch alone.
    word: u64,
    started: Option<MonotonicNanos>,
}

/// At a thousand changes of state a second, enough for three decades.
const EPOCH: u64 = (1 << TRIAL_SHIFT) - 1;
const TRIAL_SHIFT: u32 = 40;
const TRIAL: u64 = (ELSEWHERE - 1) & !EPOCH;
/// Another permit judges the call.
const ELSEWHERE: u64 = 1 << 60;
/// Its answer has begun, soon enough or not.
const ANSWER_BEGAN: u64 = 1 << 61;
/// Its answer was too long in coming.
const SLOW: u64 = 1 << 62;
/// Its verdict is always late.
const UNCOUNTED: u64 = 1 << 63;

/// Which trial it is; never two of those that are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::breaker) struct Trial(NonZeroU64);

impl Trial {
    pub(in crate::breaker) const FIRST: Self = Self(NonZeroU64::MIN);

    /// As many as there are names for, so that no two in flight share one.
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

    /// That of a call which is made although the state machine refused it.
    pub(in crate::breaker) fn uncounted(epoch: u64) -> Self {
        Self::live(epoch | UNCOUNTED)
    }

    /// That of a call which another permit judges, or none.
    pub(crate) fn judged_elsewhere(epoch: u64) -> Self {
        Self::live(epoch | UNCOUNTED | ELSEWHERE)
    }

    /// Where its policy has to know when the call began.
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

    /// Whether its verdict is one on the present.
    pub(in crate::breaker) fn is_of(self, epoch: u64) -> bool {
        self.word & (EPOCH | UNCOUNTED) == epoch
    }

    /// As [`is_of`](Self::is_of), of a healthy call.
    #[inline]
    pub(crate) fn is_plainly_of(self, epoch: u64) -> bool {
        self.word == epoch
    }

    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.word
    }

    /// Whether it was given before `epoch` began.
    pub(crate) fn is_from_before(self, epoch: u64) -> bool {
        self.word & EPOCH < epoch
    }

    pub(in crate::breaker) fn epoch(self) -> u64 {
        self.word & EPOCH
    }

    /// That of an outer layer's call, for which the layer beneath is to take a trial's slot.
    pub(in crate::breaker) fn of_passage(self, trial: Trial) -> Self {
        let Self { word, started } = self.of_trial(trial);
        Self {
            word: word | ELSEWHERE,
            started,
        }
    }

    /// Whether it is of a passage, and a trial was numbered since.
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

    /// Whether dropping the permit can change anything.
    #[inline]
    pub(crate) fn minds_drop(self) -> bool {
        self.is_trial() || self.started.is_some()
    }

    /// Whether the beginning of an answer can change anything.
    pub(crate) fn minds_answer(self) -> bool {
        self.minds_drop() && !self.has_answer()
    }

    /// Whether its answer has begun.
    pub(in crate::breaker) fn has_answer(self) -> bool {
        self.word & ANSWER_BEGAN != 0
    }

    /// The answer has begun: from now on it is known whether it was too long in coming.
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
