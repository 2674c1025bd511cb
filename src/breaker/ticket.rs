use std::num::NonZeroU64;

/// The admission of a call: its epoch, its trial number and flags. A healthy call has the epoch alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

/// Mask of the epoch: 40 bits last for three decades at a thousand changes of state per second.
const EPOCH: u64 = (1 << TRIAL_SHIFT) - 1;
const TRIAL_SHIFT: u32 = 40;
const TRIAL: u64 = (ELSEWHERE - 1) & !EPOCH;
/// The call's outcome is recorded already, or by another permit.
const ELSEWHERE: u64 = 1 << 60;
/// The answer has begun. Set for trials and for watched calls.
const ANSWERED: u64 = 1 << 61;
/// The call has a [`Watch`](super::watch::Watch).
const WATCHED: u64 = 1 << 62;
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
        Self(epoch)
    }

    /// A call that is made although the state machine refused it. Its outcome does not count.
    pub(in crate::breaker) fn uncounted(epoch: u64) -> Self {
        Self(epoch | UNCOUNTED)
    }

    /// A call whose outcome is recorded by another permit, or not at all.
    pub(crate) fn judged_elsewhere(epoch: u64) -> Self {
        Self(epoch).recorded()
    }

    /// A call whose outcome is recorded already.
    pub(in crate::breaker) fn recorded(self) -> Self {
        Self(self.0 | UNCOUNTED | ELSEWHERE)
    }

    pub(in crate::breaker) fn of_trial(self, trial: Trial) -> Self {
        Self(self.0 | (trial.0.get() << TRIAL_SHIFT))
    }

    /// A passage: an outer layer's call that leaves the trial slot to the inner layer.
    pub(in crate::breaker) fn of_passage(self, trial: Trial) -> Self {
        Self(self.of_trial(trial).0 | ELSEWHERE)
    }

    pub(in crate::breaker) fn watched(self) -> Self {
        Self(self.0 | WATCHED)
    }

    pub(in crate::breaker) fn unwatched(self) -> Self {
        Self(self.0 & !(WATCHED | ANSWERED))
    }

    pub(in crate::breaker) fn answered(self) -> Self {
        Self(self.0 | ANSWERED)
    }

    /// Returns whether the outcome counts in `epoch`.
    pub(in crate::breaker) fn is_of(self, epoch: u64) -> bool {
        self.0 & (EPOCH | UNCOUNTED) == epoch
    }

    /// Like [`is_of`](Self::is_of), for a healthy call: no trial and no flags.
    #[inline]
    pub(crate) fn is_plainly_of(self, epoch: u64) -> bool {
        self.0 == epoch
    }

    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    /// Returns whether the call was admitted before `epoch` began.
    pub(crate) fn is_from_before(self, epoch: u64) -> bool {
        self.epoch() < epoch
    }

    pub(in crate::breaker) fn epoch(self) -> u64 {
        self.0 & EPOCH
    }

    /// Returns whether this is a passage, and a later trial number has been issued.
    pub(in crate::breaker) fn is_passage_before(self, next_trial: Trial) -> bool {
        self.is_judged_elsewhere() && self.trial().is_some_and(|trial| trial.next() != next_trial)
    }

    pub(in crate::breaker) fn trial(self) -> Option<Trial> {
        NonZeroU64::new((self.0 & TRIAL) >> TRIAL_SHIFT).map(Trial)
    }

    pub(crate) fn is_trial(self) -> bool {
        self.0 & TRIAL != 0
    }

    #[inline]
    pub(crate) fn is_judged_elsewhere(self) -> bool {
        self.0 & ELSEWHERE != 0
    }

    /// Returns whether the call was admitted although the state machine refused it.
    pub(in crate::breaker) fn is_shadow(self) -> bool {
        self.0 & (UNCOUNTED | ELSEWHERE) == UNCOUNTED
    }

    pub(in crate::breaker) fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }

    /// Returns whether a drop of the permit must be recorded.
    #[inline]
    pub(crate) fn must_record_drop(self) -> bool {
        self.0 & (TRIAL | WATCHED) != 0 || self.is_shadow()
    }

    /// Returns whether the beginning of the answer must be recorded.
    pub(crate) fn must_record_answer(self) -> bool {
        self.0 & (TRIAL | WATCHED) != 0 && self.0 & ANSWERED == 0
    }
}
