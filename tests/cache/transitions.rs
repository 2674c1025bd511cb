//! Rule 8: every listener receives each transition once, in order, and cannot do harm.

use std::{
    collections::HashMap,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Wake},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, advance, timeout},
};
use tokio_test::task::spawn;
use tower::{ServiceExt, service_fn};
use tower_health::{
    Backoff, BoxError, Cause, Exhausted, FallbackChain, HealthCache, Override, Policy, Provider,
    State, Transitions, Trials, Trip,
};

use crate::rig::{MOMENT, Race, Rig, assert_same, just_under, received, secs};

/// The number of transitions kept for a slow subscriber.
const BACKLOG: usize = 1_024;

/// All transitions that can be received without waiting, as they are displayed.
fn shown(transitions: &mut Transitions) -> Vec<String> {
    let all = received(transitions);
    all.iter().map(ToString::to_string).collect()
}

/// Opens the breaker and closes it again.
fn flap(provider: &Provider) {
    provider.mark_unhealthy("down");
    provider.mark_healthy();
}

fn touchy() -> Policy {
    Policy::new().trip(Trip::consecutive(1))
}

// Announcements.

#[tokio::test(start_paused = true)]
async fn each_step_is_seen_once_in_order_with_cause_reason_and_time() {
    let rig = Rig::new(Policy::new());
    let mut transitions = rig.cache.subscribe();
    let start = Instant::now();
    rig.trip();
    rig.await_half_open().await;
    rig.call().failure("still down");
    rig.await_half_open().await;
    rig.throttle(secs(5));
    rig.await_half_open().await;
    advance(secs(2)).await;
    rig.succeed();

    let all = received(&mut transitions);
    let displayed: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(
        displayed,
        [
            "a: closed -> open (failures: down)",
            "a: open -> half-open (failures)",
            "a: half-open -> open (failures: still down)",
            "a: open -> half-open (failures)",
            "a: half-open -> open (throttled: slow down)",
            "a: open -> half-open (throttled)",
            "a: half-open -> closed (was open: throttled)",
        ]
    );
    let at: Vec<_> = all.iter().map(|seen| (seen.at - start).as_secs()).collect();
    assert_eq!(at, [0, 60, 60, 120, 120, 125, 127]);
}

#[tokio::test(start_paused = true)]
async fn marks_and_grants_are_seen() {
    let rig = Rig::new(touchy());
    let mut transitions = rig.cache.subscribe();
    rig.mark_unhealthy("marked");
    assert!(rig.grant_trial());
    rig.mark_unhealthy("marked again");
    rig.mark_healthy();
    assert_eq!(
        shown(&mut transitions),
        [
            "a: closed -> open (failures: marked)",
            "a: open -> half-open (failures)",
            "a: half-open -> open (failures: marked again)",
            "a: open -> closed (was open: failures)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn forces_are_seen_with_the_operators_reason_and_end_when_they_ended() {
    let rig = Rig::new(touchy());
    let start = Instant::now();
    let mut transitions = rig.cache.subscribe();
    rig.force(Override::Open, secs(10), "maintenance");
    rig.force(Override::Closed, secs(10), "done early");
    rig.mark_unhealthy("down");
    rig.unforce();
    rig.force(Override::Closed, secs(10), "trust me");
    advance(secs(30)).await;

    assert!(!rig.is_healthy());
    let all = received(&mut transitions);
    let displayed: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(
        displayed,
        [
            "a: closed -> open (forced: maintenance)",
            "a: open -> closed (forced: done early)",
            "a: closed -> open (failures: down)",
            "a: open -> closed (forced: trust me)",
            "a: closed -> open (failures: down)",
        ]
    );
    assert_eq!(all.last().unwrap().at, start + secs(10));
}

#[tokio::test(start_paused = true)]
async fn what_changes_no_state_is_not_announced() {
    let rig = Rig::new(Policy::new());
    let late = rig.call();
    let mut transitions = rig.cache.subscribe();
    rig.fail();
    rig.succeed();
    rig.mark_healthy();
    rig.force(Override::Closed, secs(10), "trust me");
    rig.unforce();
    assert!(shown(&mut transitions).is_empty());

    rig.trip();
    assert_eq!(shown(&mut transitions).len(), 1);
    rig.mark_unhealthy("still down");
    late.throttled(None, "slow down");
    rig.force(Override::Open, secs(10), "maintenance");
    rig.unforce();
    rig.set_policy(touchy());
    assert!(!rig.is_healthy());
    assert!(shown(&mut transitions).is_empty());

    rig.await_half_open().await;
    assert_eq!(shown(&mut transitions).len(), 1);
    drop(rig.trial());
    advance(secs(1)).await;
    rig.trial().neutral();
    rig.trial().release_slot();
    advance(secs(60)).await;
    assert!(rig.is_healthy());
    assert!(shown(&mut transitions).is_empty());
}

/// Rules 7 and 8.
#[tokio::test(start_paused = true)]
async fn half_open_is_announced_once_when_it_is_first_seen_with_the_time_it_began() {
    let looks: [fn(&Rig); 6] = [
        |rig| rig.provider.admit().unwrap().neutral(),
        |rig| assert!(rig.provider.is_healthy()),
        |rig| assert!(rig.cache.is_healthy(Rig::ID)),
        |rig| assert_eq!(rig.provider.health().state, State::HalfOpen),
        |rig| assert_eq!(rig.cache.snapshot().providers.len(), 1),
        |rig| assert_eq!(rig.cache.snapshot_of(["b"]).providers.len(), 2),
    ];
    for look in looks {
        let rig = Rig::open(Policy::new());
        let tripped = Instant::now();
        let mut transitions = rig.cache.subscribe();
        advance(just_under(secs(60))).await;
        assert!(!rig.provider.is_healthy());
        advance(secs(600)).await;
        assert!(received(&mut transitions).is_empty(), "nobody has looked");

        look(&rig);
        look(&rig);
        let all = received(&mut transitions);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].from, all[0].to), (State::Open, State::HalfOpen));
        assert_eq!(all[0].cause, Some(Cause::Failures));
        assert_eq!(all[0].at, tripped + secs(60));
    }
}

#[tokio::test(start_paused = true)]
async fn changes_that_nobody_saw_are_announced_one_after_the_other() {
    let rig = Rig::open(Policy::new());
    let tripped = Instant::now();
    rig.force(Override::Closed, secs(10), "trust me");
    let mut transitions = rig.cache.subscribe();
    advance(secs(100)).await;

    assert!(rig.is_healthy());
    let all = received(&mut transitions);
    let displayed: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(
        displayed,
        [
            "a: closed -> open (failures: down)",
            "a: open -> half-open (failures)",
        ]
    );
    let at: Vec<_> = all.iter().map(|seen| seen.at - tripped).collect();
    assert_eq!(at, [secs(10), secs(60)]);
}

#[tokio::test(start_paused = true)]
async fn verdict_that_comes_after_the_window_ended_is_seen_after_its_end() {
    let rig = Rig::open(touchy());
    let mut transitions = rig.cache.subscribe();
    advance(secs(60)).await;
    rig.mark_unhealthy("still down");
    assert_eq!(
        shown(&mut transitions),
        [
            "a: open -> half-open (failures)",
            "a: half-open -> open (failures: still down)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn removed_provider_is_still_heard_of() {
    let rig = Rig::new(touchy());
    let mut transitions = rig.cache.subscribe();
    rig.cache.remove(Rig::ID);
    rig.mark_unhealthy("down");
    assert_eq!(received(&mut transitions).len(), 1);
}

// Subscribers.

#[tokio::test(start_paused = true)]
async fn every_subscriber_hears_every_provider_from_then_on() {
    let cache = HealthCache::new(touchy());
    let mut early = cache.subscribe();
    let known = cache.provider("a");
    flap(&known);
    let mut late = cache.subscribe();
    flap(&cache.provider("b"));
    flap(&known);

    let providers = |transitions: &mut Transitions| {
        let all = received(transitions);
        let ids: Vec<_> = all.iter().map(|seen| seen.provider.to_string()).collect();
        ids
    };
    assert_eq!(providers(&mut early), ["a", "a", "b", "b", "a", "a"]);
    assert_eq!(providers(&mut late), ["b", "b", "a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn abandoned_wait_loses_no_transition() {
    let rig = Rig::new(touchy());
    let mut transitions = rig.cache.subscribe();
    for _ in 0..3 {
        assert!(spawn(transitions.recv()).poll().is_pending());
    }
    flap(&rig);
    drop(transitions.recv());
    assert_eq!(received(&mut transitions).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn hearing_ends_after_the_last_transition_when_cache_and_providers_are_gone() {
    let rig = Rig::new(touchy());
    let mut transitions = rig.cache.subscribe();
    let Rig { cache, provider } = rig;
    let (permit, too_late) = (provider.admit().unwrap(), provider.admit().unwrap());
    drop(cache);
    let mut waiting = spawn(transitions.recv());
    assert!(waiting.poll().is_pending());
    permit.failure("down");
    assert!(waiting.is_woken());
    drop(waiting);
    drop(provider);
    // A permit in flight does not delay the end of the stream.
    too_late.failure("down");
    assert_eq!(transitions.recv().await.unwrap().to, State::Open);
    assert!(transitions.recv().await.is_none());
    assert!(transitions.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn listener_ends_when_cache_and_providers_are_gone() {
    let rig = Rig::new(touchy());
    let (heard, mut all) = mpsc::unbounded_channel();
    let listener = rig.cache.subscribe().for_each(move |transition| {
        heard.send(transition.to).unwrap();
    });
    let listener = tokio::spawn(listener);
    flap(&rig);
    drop(rig);
    listener.await.unwrap();
    assert_eq!(all.recv().await, Some(State::Open));
    assert_eq!(all.recv().await, Some(State::Closed));
    assert_eq!(all.recv().await, None);
}

// Listeners that lag, panic, or change the breaker.

#[tokio::test(start_paused = true)]
async fn lagging_subscriber_is_told_how_much_it_missed_and_goes_on_in_order() {
    const FLAPS: usize = 1_500;
    let rig = Rig::new(touchy());
    let mut transitions = rig.cache.subscribe();
    let mut prompt = rig.cache.subscribe();
    assert_eq!(transitions.missed(), 0);
    for _ in 0..FLAPS {
        advance(secs(1)).await;
        flap(&rig);
        assert_eq!(
            received(&mut prompt).len(),
            2,
            "nobody waits for the slow one"
        );
    }
    let kept = received(&mut transitions);
    assert_eq!(kept.len(), BACKLOG);
    assert_eq!(transitions.missed(), (2 * FLAPS - BACKLOG) as u64);
    assert_eq!(prompt.missed(), 0);
    assert!(kept.iter().is_sorted_by_key(|transition| transition.at));
    assert_eq!(kept.last().unwrap().at, Instant::now());

    flap(&rig);
    assert_eq!(received(&mut transitions).len(), 2);
    assert_eq!(transitions.missed(), (2 * FLAPS - BACKLOG) as u64);
}

/// Scenario 11.
#[tokio::test(start_paused = true)]
async fn panicking_listener_is_called_again_and_harms_nobody() {
    let rig = Rig::new(touchy());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let listener = tokio::spawn(rig.cache.subscribe().for_each(move |_| {
        counted.fetch_add(1, SeqCst);
        panic!("a listener panics");
    }));
    let mut other = rig.cache.subscribe();
    for _ in 0..5 {
        rig.fail();
        yield_now().await;
        assert_eq!(rig.state(), State::Open);
        rig.mark_healthy();
        yield_now().await;
        rig.succeed();
    }
    assert_eq!(received(&mut other).len(), 10);
    assert!(!listener.is_finished());
    drop((rig, other));
    listener.await.unwrap();
    assert_eq!(calls.load(SeqCst), 10);
}

/// Scenario 11.
#[tokio::test(start_paused = true)]
async fn listener_that_reads_and_changes_the_breaker_sees_the_new_state_and_does_not_deadlock() {
    let rig = Rig::new(touchy());
    let (done, mut handled) = mpsc::unbounded_channel();
    let (cache, provider) = (rig.cache.clone(), rig.provider.clone());
    tokio::spawn(rig.cache.subscribe().for_each(move |transition| {
        let seen = provider.health();
        assert_eq!(seen.state, transition.to);
        assert_same(&seen, cache.snapshot().get(Rig::ID).unwrap());
        match transition.to {
            State::Open => {
                provider.set_policy(Policy::new());
                assert!(provider.admit().is_err());
                assert!(provider.grant_trial());
            }
            State::HalfOpen => provider.admit().unwrap().success(),
            State::Closed => {
                let _ = cache.provider("b");
                cache.remove("b");
            }
        }
        done.send(transition.to_string()).unwrap();
    }));
    rig.mark_unhealthy("down");
    for expected in [
        "a: closed -> open (failures: down)",
        "a: open -> half-open (failures)",
        "a: half-open -> closed (was open: failures)",
    ] {
        let handled = timeout(secs(1), handled.recv()).await;
        assert_eq!(handled.unwrap().unwrap(), expected);
    }
}

/// A listener that runs inside the waker: as close to the breaker's lock as a listener can get.
struct Inline {
    provider: Provider,
    seen: Mutex<Vec<State>>,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let state = self.provider.health().state;
        self.seen.lock().unwrap().push(state);
        match state {
            State::Open => assert!(self.provider.grant_trial()),
            State::HalfOpen => self.provider.admit().unwrap().success(),
            State::Closed => {}
        }
    }
}

/// Scenario 11: no lock is held while a listener is woken.
#[tokio::test(start_paused = true)]
async fn listener_woken_inside_the_call_that_trips_may_use_the_breaker() {
    let rig = Rig::new(touchy());
    let mut others = rig.cache.subscribe();
    let mut transitions = rig.cache.subscribe();
    let inline = Arc::new(Inline {
        provider: rig.provider.clone(),
        seen: Mutex::default(),
    });
    let waker = Arc::clone(&inline).into();
    let mut waiting = Box::pin(transitions.recv());
    let poll = waiting.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());

    rig.fail();
    assert_eq!(*inline.seen.lock().unwrap(), [State::Open]);
    assert_eq!(rig.state(), State::HalfOpen);
    assert_eq!(
        shown(&mut others),
        [
            "a: closed -> open (failures: down)",
            "a: open -> half-open (failures)",
        ]
    );
}

/// Wakers should not panic; the transitions that follow are still received.
#[tokio::test(start_paused = true)]
async fn waker_that_panics_harms_no_call_and_stops_no_transition() {
    struct Broken;
    impl Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("a waker panics");
        }
    }
    let rig = Rig::new(touchy());
    let mut others = rig.cache.subscribe();
    let mut transitions = rig.cache.subscribe();
    let waker = Arc::new(Broken).into();
    let mut waiting = Box::pin(transitions.recv());
    let poll = waiting.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());

    rig.fail();
    assert_eq!(rig.state(), State::Open);
    rig.mark_healthy();
    assert_eq!(received(&mut others).len(), 2);
}

// OS threads.

/// Each round fits into the backlog, so that every transition is checked.
#[test]
fn order_holds_for_each_provider_however_many_threads_change_it() {
    const THREADS: usize = 4;
    const STEPS: usize = BACKLOG / THREADS / 4;
    let policy = touchy()
        .backoff(Backoff::constant(MOMENT))
        .trials(Trials::new(2).pause(Duration::ZERO));
    let cache = HealthCache::new(policy);
    let providers = ["a", "b"].map(|id| cache.provider(id));
    let mut transitions = cache.subscribe();
    let step = |number: usize| {
        let provider = &providers[number % 2];
        match number % 5 {
            0 => provider.mark_healthy(),
            1 => provider.mark_unhealthy("down"),
            2 => provider.force(Override::Open, Duration::ZERO, "flap"),
            _ => drop(provider.admit().map(|permit| permit.failure("down"))),
        }
    };

    let mut latest = HashMap::new();
    let race = Race::default();
    for _ in race.rounds(200) {
        race.run(THREADS, |thread| {
            (0..STEPS).for_each(|number| step(thread + number));
        });
        let states = providers.each_ref().map(|provider| provider.health().state);
        for next in received(&mut transitions) {
            assert_ne!(next.from, next.to);
            if let Some(last) = latest.insert(next.provider.to_string(), next.clone()) {
                assert_eq!(last.to, next.from);
                assert!(last.at <= next.at);
            }
        }
        let seen = ["a", "b"].map(|id| latest.get(id).map_or(State::Closed, |last| last.to));
        assert_eq!(seen, states);
    }
    assert_eq!(transitions.missed(), 0);
    race.assert_contended();
}

#[tokio::test(start_paused = true)]
async fn what_is_displayed_of_a_provider_is_one_line() {
    const RUDE: &str = "a\nb\r\u{1b}[2J\u{9b}\u{2028}\u{202e}";
    const SHOWN: &str = r"a\nb\r\u{1b}[2J\u{9b}\u{2028}\u{202e}";
    let cache = HealthCache::default();
    let mut transitions = cache.subscribe();
    let provider = cache.provider(RUDE);
    provider.mark_unhealthy(RUDE);
    provider.mark_unhealthy(RUDE);
    assert_eq!(
        shown(&mut transitions),
        [format!("{SHOWN}: closed -> open (failures: {SHOWN})")]
    );
    assert_eq!(
        provider.admit().unwrap_err().to_string(),
        format!("circuit breaker of `{SHOWN}` is open, retry in 60.0s: {SHOWN}")
    );
    let down = service_fn(|()| ready(Err::<(), _>(BoxError::from(RUDE))));
    let chain = FallbackChain::new().entry(provider.clone(), down);
    let chain = chain.entry(cache.provider("b\t"), down);
    let chain = chain.when_exhausted(Exhausted::Fail);
    let exhausted = chain.oneshot(()).await.unwrap_err();
    assert_eq!(
        exhausted.to_string(),
        format!(r"no healthy provider: `{SHOWN}`: circuit open, `b\t`: {SHOWN}; retry in 60.0s")
    );
    // Programs read the original text.
    assert_eq!(provider.health().last_error.unwrap().as_str(), RUDE);
    assert_eq!(provider.id(), RUDE);
}
