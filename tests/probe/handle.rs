//! A handle stops its probe, which records nothing afterwards.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tower_health::{HealthCache, HealthProbe, ProbeHandle};

use crate::{
    Backend, CannotBeDropped, HOUR, SECOND, all_of, assert_nothing_recorded, ids, pass, steady,
    trips_at_once,
};

#[tokio::test(start_paused = true)]
async fn stop_ends_the_probe() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    pass(SECOND).await;
    probe.stop().await;
    pass(HOUR).await;
    assert_eq!(backend.asked(), [0]);
}

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn stop_cancels_a_running_round_and_nothing_is_recorded_after_it() {
    let cache = trips_at_once();
    let backend = Backend::taking(2 * SECOND);
    backend.goes_down();
    let probe = steady(&cache).concurrency(200);
    let probe = all_of(&ids(300), probe, &backend).spawn();
    pass(SECOND).await;
    // More than the runtime cancels at once.
    assert_eq!(backend.running(), 200);

    let start = Instant::now();
    probe.stop().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(backend.running(), 0, "cancelled, and dropped by now");
    pass(HOUR).await;
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn stop_before_the_first_round_checks_nothing() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).check("a", backend.check());
    probe.spawn().stop().await;
    assert_eq!(backend.asked(), []);
}

/// Scenario 25. The check has ended by then, but the probe has not yet seen its result.
#[tokio::test(start_paused = true)]
async fn result_that_is_not_recorded_at_the_stop_never_is() {
    let cache = trips_at_once();
    let own_handle = Arc::new(Mutex::new(None::<ProbeHandle>));
    let check = {
        let own_handle = Arc::clone(&own_handle);
        move || ready(own_handle.lock().unwrap().take().is_none())
    };
    let probe = HealthProbe::new(&cache).check("a", check).spawn();
    *own_handle.lock().unwrap() = Some(probe);
    pass(SECOND).await;
    assert!(own_handle.lock().unwrap().is_none(), "dropped by the check");
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn stopping_twice_is_fine() {
    let cache = HealthCache::default();
    let backend = Backend::taking(SECOND);
    let probe = steady(&cache).check("a", backend.check()).spawn();
    let other = probe.clone();
    pass(Duration::ZERO).await;
    tokio::join!(probe.stop(), other.stop(), probe.stop());
    probe.stop().await;
    other.stop().await;
    assert_eq!(backend.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_works_when_the_probe_has_ended_by_itself() {
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).spawn();
    drop(cache);
    pass(SECOND).await;
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dropped_stop_stops_all_the_same() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    pass(SECOND).await;
    drop(probe.stop());
    pass(HOUR).await;
    assert_eq!(backend.asked(), [0]);
}

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_stops_the_probe() {
    let cache = trips_at_once();
    let backend = Backend::taking(2 * SECOND);
    backend.goes_down();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    let other = probe.clone();
    pass(SECOND).await;
    drop(probe);
    pass(Duration::ZERO).await;
    assert_eq!(backend.running(), 1, "there is still a handle");
    drop(other);
    pass(Duration::ZERO).await;
    assert_eq!(backend.running(), 0);
    pass(HOUR).await;
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn stop_survives_a_check_that_panics_when_it_is_cancelled() {
    let cache = trips_at_once();
    let probe = HealthProbe::new(&cache)
        .check("a", || CannotBeDropped { ends: false })
        .check("b", || CannotBeDropped { ends: false })
        .spawn();
    pass(SECOND).await;
    probe.stop().await;
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn check_may_stop_its_own_probe() {
    let cache = HealthCache::default();
    let (send, receive) = tokio::sync::watch::channel(None);
    let check = move || {
        let mut handle = receive.clone();
        async move {
            let handle = handle.wait_for(Option::is_some).await.unwrap().clone();
            Option::<ProbeHandle>::unwrap(handle).stop().await;
        }
    };
    let probe = HealthProbe::new(&cache).check("a", check).spawn();
    send.send_replace(Some(probe.clone()));
    pass(Duration::ZERO).await;
    timeout(Duration::ZERO, probe.stop())
        .await
        .expect("it has ended");
}

/// Scenario 25.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_recorded_after_stop_on_many_threads() {
    for _ in 0..200 {
        let cache = trips_at_once();
        let probe = HealthProbe::new(&cache).interval(Duration::from_millis(1));
        let probe = all_of(&ids(8), probe, &Backend::default()).spawn();
        tokio::task::yield_now().await;
        probe.stop().await;
        let checked = || {
            cache
                .snapshot()
                .providers
                .into_iter()
                .map(|row| row.last_check)
        };
        let before: Vec<_> = checked().collect();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(checked().eq(before));
    }
}

/// Scenario 25.
#[test]
fn runtime_that_shuts_down_records_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let cache = trips_at_once();
    let backend = Backend::taking(2 * SECOND);
    let probe = steady(&cache).check("a", backend.check());
    let probe = runtime.block_on(async {
        let probe = probe.spawn();
        pass(SECOND).await;
        probe
    });
    assert_eq!(backend.running(), 1);
    drop(runtime);
    assert_eq!(backend.running(), 0);
    assert_nothing_recorded(&cache);
    drop(probe);
}
