//! Providers that hang, with `slow_call` and `release_on_open`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use tower::ServiceExt;
use tower_health::{
    Exhausted, HealthCache, Policy, State, Trials, Trip,
    error::{CircuitOpen, Kind, find, is_refusal},
};

use crate::{MINUTE, SECOND, ask, ask_at_once, chain_of, lines, no_provider, stubs_of};

const LIMIT: Duration = Duration::from_secs(3);

fn releasing() -> HealthCache {
    HealthCache::new(
        Policy::new()
            .trip(Trip::default().slow_call(LIMIT))
            .release_on_open(true),
    )
}

#[tokio::test(start_paused = true)]
async fn callers_that_wait_are_served_by_the_next_provider() {
    let [a, b] = stubs_of(&releasing());
    a.hangs();
    b.serves_after(SECOND);
    let began = Instant::now();

    assert_eq!(ask_at_once(50, &chain_of([&a, &b])).await, [("b", 50)]);
    assert_eq!(began.elapsed().as_secs(), (LIMIT + SECOND).as_secs());
    assert_eq!(a.running(), 0, "nobody waits for it any more");
    assert_eq!((a.calls(), b.calls()), (50, 50));
}

#[tokio::test(start_paused = true)]
async fn attempt_that_was_released_says_so_and_how_long_it_took() {
    let [a, b] = stubs_of(&releasing());
    a.hangs();
    b.fails("connection refused");
    let chain = chain_of([&a, &b]);
    let mut both: JoinSet<_> = (0..2).map(|_| chain.clone().oneshot(())).collect();
    let error = no_provider(both.join_next().await.unwrap().unwrap());

    let [released, refused] = lines(&error.attempts).try_into().unwrap();
    assert!(
        released.starts_with("`a`: released: circuit breaker of `a` opened"),
        "{released}"
    );
    assert!(refused.starts_with("`b`: connection refused"), "{refused}");
    assert_eq!(error.attempts[0].reason.label(), "released");
    assert!(error.attempts[0].elapsed >= LIMIT);
}

/// A released call may have reached the provider, so the error is no refusal.
#[tokio::test(start_paused = true)]
async fn chain_whose_calls_were_all_released_has_called_a_provider() {
    let [a] = stubs_of(&releasing());
    a.hangs();
    let chain = chain_of([&a]);
    let mut both: JoinSet<_> = (0..2).map(|_| chain.clone().oneshot(())).collect();
    let error = both.join_next().await.unwrap().unwrap().unwrap_err();

    assert!(!is_refusal(&*error));
    assert_eq!(Kind::of(&*error), Some(Kind::NoHealthyProvider));
    let released = find::<CircuitOpen>(&*error).expect("the source");
    assert!(released.is_released());
}

#[tokio::test(start_paused = true)]
async fn slow_start_sends_to_the_next_provider_what_it_holds_back() {
    let [a, b] = stubs_of(&HealthCache::new(Policy::failover_after(LIMIT)));
    let chain = chain_of([&a, &b]);
    a.open();
    tokio::time::advance(SECOND).await;
    a.serves_after(SECOND);
    b.serves_after(SECOND);

    for (first, second) in [(1, 39), (2, 38), (4, 36), (8, 32), (16, 24), (32, 8)] {
        assert_eq!(a.provider().health().state, State::HalfOpen);
        let served = ask_at_once(40, &chain).await;
        assert_eq!(served, [("a", first), ("b", second)]);
    }
    // Less than half of its 64 slots are in use.
    for _ in 0..2 {
        ask(&chain).await.unwrap();
    }
    assert_eq!(a.provider().health().state, State::Closed);
    assert_eq!(ask_at_once(40, &chain).await, [("a", 40)]);
}

/// A thousand callers wait for one provider: no more reach it than twice as many as it has served.
#[tokio::test(start_paused = true)]
async fn those_who_wait_come_back_as_fast_as_the_provider_serves() {
    let policy = Policy::new().trials(Trials::new(1).slow_start());
    let [a] = stubs_of(&HealthCache::new(policy));
    a.open();
    a.serves_after(SECOND);
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(10 * MINUTE));
    let served = Arc::new(AtomicUsize::new(0));
    let mut callers: JoinSet<_> = (0..1_000)
        .map(|_| {
            let (chain, served) = (chain.clone(), served.clone());
            async move {
                ask(&chain).await.unwrap();
                served.fetch_add(1, Relaxed);
            }
        })
        .collect();

    let mut most = 0;
    while callers.join_next().await.is_some() {
        let running = a.running();
        assert!(running <= 2 * served.load(Relaxed), "{running} at once");
        most = running.max(most);
    }
    assert!(most >= 256, "it is their number that is bounded: {most}");
}
