use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    health_probe::HealthProbe,
    in_flight::{InFlight, Occasion},
    schedule::{Schedule, Wake},
};
use crate::{
    cache::{Provider, Transitions, WeakCache},
    util::time::{FAR, after},
    view::{State, Transition},
};

/// Event loop of a running probe.
pub(super) struct Driver<'a> {
    probe: &'a HealthProbe,
    cache: WeakCache,
    transitions: Transitions,
    overrides: watch::Receiver<()>,
    missed: u64,
    /// Beyond this number of planned windows, some belong to removed providers, so all are planned again.
    most_windows: usize,
    schedule: Schedule,
    in_flight: InFlight<'a>,
}

enum Event {
    Stop,
    CheckEnded,
    Changed(Transition),
    Overridden,
    Due,
}

impl<'a> Driver<'a> {
    /// Plans the first round; `None` if the cache no longer exists.
    pub(super) fn new(probe: &'a HealthProbe) -> Option<Self> {
        let cache = probe.cache.upgrade()?;
        let mut driver = Self {
            probe,
            cache: probe.cache.clone(),
            transitions: cache.subscribe(),
            overrides: cache.overrides(),
            missed: 0,
            most_windows: 0,
            schedule: Schedule::default(),
            in_flight: InFlight::new(probe),
        };
        driver.plan_windows();
        let now = Instant::now();
        for id in probe.checks.keys() {
            let first = after(now, probe.first_pause());
            driver.schedule.turn(first, Arc::clone(id));
        }
        Some(driver)
    }

    pub(super) async fn run(mut self, mut stop: Pin<&mut impl Future<Output = ()>>) {
        loop {
            match self.next_event(stop.as_mut()).await {
                Event::Stop => return self.in_flight.shutdown().await,
                Event::CheckEnded => {}
                Event::Changed(transition) => self.changed(&transition),
                Event::Overridden => self.plan_windows(),
                Event::Due => self.wake(),
            }
        }
    }

    async fn next_event(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Event {
        let due = self.schedule.next();
        let mut timer = pin!(sleep_until(
            due.unwrap_or_else(|| after(Instant::now(), FAR))
        ));
        let mut cache_gone = pin!(self.cache.gone());
        let mut transition = pin!(self.transitions.recv());
        let mut overridden = pin!(self.overrides.changed());
        poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() || cache_gone.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Stop);
            }
            if let Poll::Ready(Some(())) = self.in_flight.poll_ended(cx) {
                return Poll::Ready(Event::CheckEnded);
            }
            // Before transitions: a provider with many of them must not starve the timer.
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Due);
            }
            if let Poll::Ready(transition) = transition.as_mut().poll(cx) {
                // `None`: the cache was dropped since `cache_gone` was polled.
                return Poll::Ready(transition.map_or(Event::Stop, Event::Changed));
            }
            let overridden = overridden.as_mut().poll(cx);
            overridden.map(|overridden| overridden.map_or(Event::Stop, |()| Event::Overridden))
        })
        .await
    }

    fn changed(&mut self, transition: &Transition) {
        let missed = self.transitions.missed();
        if missed > self.missed || self.schedule.windows() > self.most_windows {
            self.missed = missed;
            self.plan_windows();
        } else if transition.to == State::Open {
            if let Some(provider) = self.probe.provider(&transition.provider) {
                self.plan_window(&provider);
            }
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        while let Some((due, wake)) = self.schedule.pop(now) {
            match wake {
                Wake::Turn(id) => {
                    if self.probe.takes_turn(&id) {
                        self.in_flight.push(Arc::clone(&id), Occasion::Turn);
                    }
                    let pause = self.probe.pause(&id);
                    // Missed turns are skipped, not made up for.
                    let on_time = Some(after(due, pause)).filter(|next| *next > now);
                    let next = on_time.unwrap_or_else(|| after(now, pause));
                    self.schedule.turn(next, id);
                }
                Wake::WindowEnd(id) => {
                    if let Some(provider) = self.probe.provider(&id) {
                        self.window_ended(&provider);
                    }
                }
            }
        }
    }

    /// Checks the provider at once if it is half-open. Reading the state also announces the end of the window.
    fn window_ended(&mut self, provider: &Provider) {
        self.plan_window(provider);
        if provider.is_half_open() {
            let id = Arc::clone(provider.shared_id());
            self.in_flight.push(id, Occasion::WindowEnd);
        }
    }

    fn plan_windows(&mut self) {
        let Some(cache) = self.cache.upgrade() else {
            return;
        };
        self.schedule.forget_windows();
        for provider in cache.providers() {
            self.plan_window(&provider);
        }
        // Doubled, so that planning costs each window amortized constant time.
        self.most_windows = 2 * self.schedule.windows() + 32;
    }

    /// Plans a wake for the end of the provider's open window or override.
    fn plan_window(&mut self, provider: &Provider) {
        if let Some(end) = provider.changes_at() {
            self.schedule.window_end(end, provider.shared_id());
        }
    }
}
