//! One client of many providers, each with its own breaker: found by a key of the request, and bounded in number.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{pending, ready},
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use allocation_counter::measure;
use tokio::{
    task::JoinSet,
    time::{advance, sleep},
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_health::{
    BoxError, Cause, ErrorsAsFailures, HealthCache, HealthLayer, HealthProbe, Key,
    KeyedHealthLayer, Outcome, Override, Policy, State, Trip,
    error::{self, CircuitOpen},
};
use tower_test::mock;

const OPEN_WINDOW: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

// Separate breakers.

#[tokio::test(start_paused = true)]
async fn one_that_is_down_leaves_the_others_untouched() {
    let cache = HealthCache::default();
    let mut client = client(&cache);

    trip(&mut client, "a").await;

    let refusal = refused(&mut client, "a").await;
    assert_eq!(refusal.provider(), "a");
    assert_eq!(refusal.cause(), Some(Cause::Failures));
    assert_eq!(refusal.retry_in(), OPEN_WINDOW);
    succeed(&mut client, "b").await;
    let b = cache.get("b").unwrap().health();
    assert_eq!((b.state, b.consecutive_failures), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn new_policy_of_the_cache_is_that_of_new_keys_too() {
    let cache = HealthCache::new(Policy::new().trip(Trip::consecutive(2)));
    let mut client = client(&cache);
    fail(&mut client, "known").await;
    cache.set_policy(Policy::new().trip(Trip::consecutive(5)));
    for _ in 0..3 {
        for host in ["known", "new"] {
            fail(&mut client, host).await;
        }
    }
    assert!(cache.is_healthy("known"), "4 of 5");
    assert!(cache.is_healthy("new"), "3 of 5");
}

#[tokio::test(start_paused = true)]
async fn each_comes_back_by_a_trial_of_its_own() {
    let cache = HealthCache::default();
    let mut client = client(&cache);
    trip(&mut client, "a").await;
    trip(&mut client, "b").await;
    advance(OPEN_WINDOW).await;

    succeed(&mut client, "a").await;
    fail(&mut client, "b").await;

    assert_eq!(state(&cache, "a"), State::Closed);
    assert_eq!(state(&cache, "b"), State::Open);
}

/// Rule 12.
#[tokio::test(start_paused = true)]
async fn clones_and_layers_of_one_cache_share_the_breakers() {
    let cache = HealthCache::default();
    let layer = layer(&cache);
    let mut first = layer.layer(service_fn(send));
    let mut clone = first.clone();
    let mut layered_again = layer.layer(service_fn(send));
    // Each service has called it while it was healthy.
    succeed(&mut first, "a").await;
    succeed(&mut clone, "a").await;
    succeed(&mut layered_again, "a").await;

    fail(&mut first, "a").await;
    fail(&mut clone, "a").await;

    refused(&mut first, "a").await;
    refused(&mut clone, "a").await;
    refused(&mut layered_again, "a").await;
    assert!(!cache.provider("a").is_healthy());
}

#[tokio::test(start_paused = true)]
async fn clone_for_each_request_shares_the_breakers() {
    let cache = HealthCache::default();
    let client = client(&cache);

    for _ in 0..2 {
        client.clone().oneshot(failing("a")).await.unwrap_err();
    }

    refused(&mut client.clone(), "a").await;
}

/// Rule 4; scenario 6.
#[tokio::test(start_paused = true)]
async fn one_trial_each_however_many_ask() {
    let cache = HealthCache::default();
    let mut client = client(&cache);
    trip(&mut client, "a").await;
    trip(&mut client, "b").await;
    advance(OPEN_WINDOW).await;

    let mut callers = JoinSet::new();
    for number in 0..1000 {
        let host = if number % 2 == 0 { "a" } else { "b" };
        callers.spawn(client.clone().oneshot(slow(host)));
    }
    let results = callers.join_all().await;

    let answered = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(answered, 2);
    assert_eq!(state(&cache, "a"), State::Closed);
    assert_eq!(state(&cache, "b"), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn known_provider_keeps_its_own_policy() {
    let cache = HealthCache::default();
    let patient = Policy::new().trip(Trip::consecutive(3));
    let _ = cache.provider_with("patient", patient);
    let mut client = client(&cache);

    trip(&mut client, "patient").await;

    fail(&mut client, "patient").await;
    refused(&mut client, "patient").await;
}

#[tokio::test(start_paused = true)]
async fn layer_around_another_of_the_same_provider_judges_alone() {
    let cache = HealthCache::default();
    let stack = ServiceBuilder::new()
        .layer(layer(&cache))
        .layer(layer(&cache));
    let mut client = stack.service(service_fn(send));

    fail(&mut client, "a").await;

    assert_eq!(cache.provider("a").health().consecutive_failures, 1);
}

// Keys.

/// Scenario 21.
#[tokio::test(start_paused = true)]
async fn request_without_a_key_passes_and_counts_for_nobody() {
    let cache = HealthCache::default();
    let mut client = client(&cache);

    for _ in 0..5 {
        fail(&mut client, "").await;
    }

    succeed(&mut client, "").await;
    assert!(cache.snapshot().providers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn request_without_a_key_cannot_throttle_another() {
    let cache = HealthCache::default();
    let throttled = |_: Result<&(), &io::Error>| Outcome::throttled(Some(HOUR), "429");
    let mut client = layer(&cache)
        .classify_with(throttled)
        .layer(service_fn(send));

    succeed(&mut client, "").await;

    succeed(&mut client, "").await;
}

#[tokio::test(start_paused = true)]
async fn key_may_be_put_together() {
    #[derive(Clone)]
    struct HostAndZone;

    impl Key<Call> for HostAndZone {
        fn with_key<R>(&self, request: &Call, look_up: impl FnOnce(&str) -> R) -> R {
            look_up(&format!("{}/eu", request.host))
        }
    }

    let cache = HealthCache::default();
    let mut client = KeyedHealthLayer::new(&cache, HostAndZone).layer(service_fn(send));

    trip(&mut client, "a").await;

    assert!(!cache.is_healthy("a/eu"));
}

// The tower contract.

#[tokio::test(start_paused = true)]
async fn refused_call_does_not_reach_the_service() {
    let cache = HealthCache::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let mut client = layer(&cache).layer(service_fn(move |call| {
        counted.fetch_add(1, Ordering::Relaxed);
        send(call)
    }));
    trip(&mut client, "a").await;

    refused(&mut client, "a").await;

    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_that_of_the_service() {
    let cache = HealthCache::default();
    let (mut client, mut server) = mock::spawn_layer::<Call, (), _>(layer(&cache));

    server.allow(0);
    assert_pending!(client.poll_ready());
    server.allow(1);
    assert_ready_ok!(client.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn refusal_leaves_the_service_ready() {
    let cache = HealthCache::default();
    let down = cache.provider("down");
    down.force(Override::Open, HOUR, "maintenance");
    let (mut client, mut server) = mock::spawn_layer::<Call, (), _>(layer(&cache));
    server.allow(1);
    assert_ready_ok!(client.poll_ready());

    client.call(working("down")).await.unwrap_err();

    assert_ready_ok!(client.poll_ready());
    let answer = client.call(working("up"));
    server.next_request().await.unwrap().1.send_response(());
    answer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn service_that_is_never_ready_again_counts_against_nobody() {
    let cache = HealthCache::default();
    let _ = cache.provider("a");
    let (mut client, mut server) = mock::spawn_layer::<Call, (), _>(layer(&cache));

    server.send_error(reset());

    let error = assert_ready_err!(client.poll_ready());
    assert!(error::find::<io::Error>(&*error).is_some());
    assert_eq!(cache.provider("a").health().last_error, None);
}

#[tokio::test(start_paused = true)]
async fn dropped_call_says_nothing() {
    let cache = HealthCache::default();
    let mut client = layer(&cache).layer(service_fn(|_: Call| pending::<io::Result<()>>()));

    for _ in 0..3 {
        drop(client.ready().await.unwrap().call(working("a")));
    }

    assert_eq!(cache.provider("a").health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn classifier_judges() {
    let cache = HealthCache::default();
    let blameless = |_: Result<&(), &io::Error>| Outcome::Neutral;
    let mut client = layer(&cache)
        .classify_with(blameless)
        .layer(service_fn(send));

    trip(&mut client, "a").await;

    succeed(&mut client, "a").await;
}

// Removed providers.

#[tokio::test(start_paused = true)]
async fn removed_one_is_new_to_every_clone() {
    let cache = HealthCache::default();
    let mut first = client(&cache);
    trip(&mut first, "a").await;
    let mut second = first.clone();
    refused(&mut second, "a").await;

    cache.remove("a");

    fail(&mut first, "a").await;
    fail(&mut second, "a").await;
    refused(&mut first, "a").await;
}

#[tokio::test(start_paused = true)]
async fn removed_one_makes_room_for_one() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 3);
    for host in ["a", "b", "c"] {
        succeed(&mut client, host).await;
    }

    cache.remove("b");

    succeed(&mut client, "b").await;
    assert_eq!(known(&cache), ["a", "b", "c"]);
    for host in ["d", "e"] {
        succeed(&mut client, host).await;
    }
    assert_eq!(known(&cache), ["b", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn removed_ill_one_makes_room_for_one() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 2);
    // All three are found unhealthy, and "a" is evicted.
    for host in ["a", "b", "c"] {
        trip(&mut client, host).await;
    }

    cache.remove("b");

    trip(&mut client, "d").await;
    assert_eq!(known(&cache), ["c", "d"]);
    for host in ["e", "f"] {
        trip(&mut client, host).await;
    }
    assert_eq!(known(&cache), ["e", "f"]);
}

// Bounds.

#[test]
#[should_panic(expected = "`KeyedHealthLayer::max_providers` must be at least 1, got 0")]
fn bound_of_none_is_refused() {
    let _ = layer(&HealthCache::default()).max_providers(0);
}

#[tokio::test(start_paused = true)]
async fn default_bound_is_ten_thousand() {
    let cache = HealthCache::default();
    let mut client = client(&cache);

    for number in 0..10_001 {
        succeed(&mut client, &number.to_string()).await;
    }

    assert_eq!(cache.snapshot().providers.len(), 10_000);
    assert!(cache.get("0").is_none());
    assert!(cache.get("10000").is_some());
}

#[tokio::test(start_paused = true)]
async fn oldest_that_was_called_only_once_goes_first() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 3);
    for host in ["a", "b", "c"] {
        succeed(&mut client, host).await;
    }
    succeed(&mut client, "a").await;

    succeed(&mut client, "d").await;
    assert_eq!(known(&cache), ["a", "c", "d"]);
    succeed(&mut client, "e").await;
    assert_eq!(known(&cache), ["a", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_called_now_and_then_outlives_a_flood() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 10);
    fail(&mut client, "regular").await;
    succeed(&mut client, "regular").await;

    for number in 0..1000 {
        succeed(&mut client, &number.to_string()).await;
        if number % 5 == 0 {
            succeed(&mut client, "regular").await;
        }
    }

    // The breaker is the one from the beginning.
    assert!(cache.get("regular").unwrap().health().last_error.is_some());
}

#[tokio::test(start_paused = true)]
async fn one_that_clones_call_once_each_outlives_others() {
    let cache = HealthCache::default();
    let client = bounded(&cache, 2);

    for host in ["a", "b", "a", "c"] {
        succeed(&mut client.clone(), host).await;
    }

    assert_eq!(known(&cache), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_called_once_long_ago_has_no_second_chance_for_ever() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 2);
    for host in ["old", "old", "other", "other"] {
        succeed(&mut client, host).await;
    }

    succeed(&mut client, "new").await;
    succeed(&mut client, "newer").await;

    assert_eq!(known(&cache), ["new", "newer"]);
}

#[tokio::test(start_paused = true)]
async fn ill_one_never_goes_before_a_well_one() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 6);
    for host in ["half-open", "forced", "open", "streak", "well", "weller"] {
        succeed(&mut client, host).await;
    }
    trip(&mut client, "half-open").await;
    advance(OPEN_WINDOW).await;
    let forced = cache.get("forced").unwrap();
    forced.force(Override::Closed, HOUR, "we know better");
    trip(&mut client, "open").await;
    fail(&mut client, "streak").await;

    for number in 0..100 {
        let host = number.to_string();
        succeed(&mut client, &host).await;
        // Called twice: an unhealthy provider is not evicted before one in regular use either.
        succeed(&mut client, &host).await;
    }

    for ill in ["half-open", "forced", "open", "streak"] {
        assert!(cache.get(ill).is_some(), "{ill} is forgotten");
    }
    assert_eq!(state(&cache, "half-open"), State::HalfOpen);
    assert_eq!(known(&cache).len(), 6);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_recovered_goes_before_the_ill() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 3);
    for host in ["a", "b", "c"] {
        trip(&mut client, host).await;
    }
    // All are found unhealthy, and "a" is evicted.
    trip(&mut client, "d").await;
    advance(OPEN_WINDOW).await;
    succeed(&mut client, "c").await;

    fail(&mut client, "e").await;

    assert_eq!(known(&cache), ["b", "d", "e"]);
}

/// Rule 5.
#[tokio::test(start_paused = true)]
async fn one_whose_streak_is_too_old_to_count_goes_before_the_ill() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 2);
    succeed(&mut client, "ill").await;
    succeed(&mut client, "aged").await;
    fail(&mut client, "aged").await;
    advance(6 * MINUTE).await;
    trip(&mut client, "ill").await;

    succeed(&mut client, "new").await;

    assert_eq!(known(&cache), ["ill", "new"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_has_called_for_an_hour_since_it_was_open_goes_before_the_ill() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 2);
    succeed(&mut client, "ill").await;
    trip(&mut client, "abandoned").await;
    advance(OPEN_WINDOW).await;
    trip(&mut client, "ill").await;
    advance(HOUR).await;

    succeed(&mut client, "new").await;

    assert_eq!(known(&cache), ["ill", "new"]);
}

/// The provider counts as healthy from the nanosecond in which its override ends.
#[tokio::test(start_paused = true)]
async fn one_that_is_forced_no_more_goes_before_the_ill() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 2);
    trip(&mut client, "ill").await;
    for _ in 0..2 {
        succeed(&mut client, "forced").await;
    }
    let forced = cache.get("forced").unwrap();
    forced.force(Override::Closed, MINUTE, "we know better");
    advance(MINUTE).await;

    succeed(&mut client, "new").await;

    assert_eq!(known(&cache), ["ill", "new"]);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_ill_one_that_nobody_asks_for_goes() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 3);
    for host in ["a", "b", "c"] {
        trip(&mut client, host).await;
    }
    for number in 0..20 {
        refused(&mut client, "b").await;
        trip(&mut client, &number.to_string()).await;
    }

    assert_eq!(state(&cache, "b"), State::Open);
    assert_eq!(known(&cache), ["18", "19", "b"]);
}

#[tokio::test(start_paused = true)]
async fn newest_is_guarded_also_where_all_are_ill() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 1);
    trip(&mut client, "a").await;

    trip(&mut client, "b").await;

    refused(&mut client, "b").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_asked_for_by_name_stays_and_does_not_count() {
    let cache = HealthCache::default();
    let _ = cache.provider("named");
    let mut client = bounded(&cache, 1);

    for host in ["named", "a", "b"] {
        succeed(&mut client, host).await;
    }

    assert_eq!(known(&cache), ["b", "named"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_asked_for_by_name_later_stays_as_it_is() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 2);
    trip(&mut client, "a").await;
    succeed(&mut client, "b").await;

    assert!(!cache.provider("a").is_healthy());
    assert_eq!(known(&cache), ["a", "b"]);
    for host in ["c", "d", "e"] {
        trip(&mut client, host).await;
    }

    refused(&mut client, "a").await;
    assert_eq!(known(&cache), ["a", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_looked_at_may_go() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 1);
    succeed(&mut client, "a").await;

    assert!(cache.get("a").is_some_and(|provider| provider.is_healthy()));
    succeed(&mut client, "b").await;

    assert_eq!(known(&cache), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_probed_stays() {
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).check("probed", || ready(true));
    let mut client = bounded(&cache, 1);

    for host in ["probed", "a", "b"] {
        succeed(&mut client, host).await;
    }

    assert!(cache.get("probed").is_some());
    probe.round().await;
}

#[tokio::test(start_paused = true)]
async fn forgotten_one_is_new_when_it_is_called_again() {
    let cache = HealthCache::default();
    let mut client = bounded(&cache, 1);
    let mut clone = client.clone();
    trip(&mut client, "a").await;
    refused(&mut clone, "a").await;

    succeed(&mut client, "b").await;

    fail(&mut clone, "a").await;
    fail(&mut client, "a").await;
    refused(&mut clone, "a").await;
}

#[tokio::test(start_paused = true)]
async fn all_layers_of_a_cache_share_its_bound() {
    let cache = HealthCache::default();
    let mut wide = bounded(&cache, 3);
    let mut narrow = bounded(&cache, 2);
    for host in ["a", "b", "c"] {
        succeed(&mut wide, host).await;
    }

    succeed(&mut narrow, "d").await;

    assert_eq!(known(&cache), ["b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn memory_of_long_keys_is_bounded() {
    let cache = HealthCache::default();
    let mut client = client(&cache);
    for number in 0..100 {
        succeed(&mut client, &format!("{number}-{}", "k".repeat(1_000_000))).await;
    }
    let kept: usize = known(&cache).iter().map(String::len).sum();
    assert!(kept <= 100 * 256, "{kept} bytes of keys for 100 requests");
}

#[tokio::test(start_paused = true)]
async fn long_keys_have_a_breaker_each_which_their_keys_find() {
    let cache = HealthCache::default();
    let mut client = client(&cache);
    let [one, other] = ["1", "2"].map(|end| "é".repeat(10_000) + end);
    trip(&mut client, &one).await;
    refused(&mut client.clone(), &one).await;
    succeed(&mut client, &other).await;

    assert!(!cache.is_healthy(&one));
    assert!(cache.is_healthy(&other));
    let [one_id, other_id] = <[String; 2]>::try_from(known(&cache)).unwrap();
    assert!(one_id.starts_with("éé") && other_id.starts_with("éé"));
    cache.remove(&one);
    succeed(&mut client, &one).await;
}

#[tokio::test(start_paused = true)]
async fn provider_that_is_named_later_by_a_long_key_stays_open() {
    let cache = HealthCache::default();
    let mut client = client(&cache);
    let long = "k".repeat(10_000);
    trip(&mut client, &long).await;

    let named = cache.provider(long.as_str());
    assert_eq!(named.id(), long);
    assert!(!named.is_healthy());
    assert_eq!(known(&cache), [long.as_str()]);
    assert_eq!(refused(&mut client, &long).await.provider(), long);
    named.mark_healthy();
    succeed(&mut client, &long).await;
}

#[tokio::test(start_paused = true)]
async fn service_may_call_more_providers_than_it_has_handles() {
    let cache = HealthCache::default();
    let mut client = client(&cache);
    let hosts: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    for host in &hosts {
        trip(&mut client, host).await;
    }

    for host in &hosts {
        refused(&mut client, host).await;
    }
}

/// Scenario 23: providers beyond the bound take no memory.
#[test]
fn million_providers_take_the_memory_of_the_bound() {
    const BOUND: usize = 1000;
    let cache = HealthCache::default();
    let mut client = at_once(&cache, BOUND);
    let mut call_range = |hosts: std::ops::Range<usize>| {
        measure(|| hosts.for_each(|number| drop(call_now(&mut client, &format!("host-{number}")))))
            .bytes_max
    };

    let filling = call_range(0..2 * BOUND);
    let flooding = call_range(2 * BOUND..1_000_000);

    assert_eq!(cache.snapshot().providers.len(), BOUND);
    assert!(
        flooding < filling / 2,
        "{flooding} bytes more than {filling}"
    );
}

/// Only unhealthy providers can be evicted.
#[test]
fn flood_of_failing_providers_keeps_within_the_bound() {
    const BOUND: usize = 1000;
    let cache = HealthCache::default();
    let mut client = layer(&cache)
        .max_providers(BOUND)
        .layer(service_fn(|_: Call| ready(Err::<(), _>(reset()))));

    for number in 0..100_000 {
        assert!(call_now(&mut client, &number.to_string()).is_err());
        assert!(number % 10_000 > 0 || cache.snapshot().providers.len() <= BOUND);
    }

    assert_eq!(cache.snapshot().providers.len(), BOUND);
}

#[test]
fn bound_holds_between_threads() {
    const BOUND: usize = 50;
    const THREADS: usize = 4;
    let cache = HealthCache::default();
    let client = at_once(&cache, BOUND);

    thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut client = client.clone();
            scope.spawn(move || {
                for number in 0..5000 {
                    // Some hosts shared by all threads, others of its own.
                    let _ = call_now(&mut client, &(number % 40).to_string());
                    let _ = call_now(&mut client, &format!("{thread}-{number}"));
                }
            });
        }
    });

    assert_eq!(cache.snapshot().providers.len(), BOUND);
}

// Cost.

#[test]
fn call_to_a_known_provider_allocates_nothing() {
    let cache = HealthCache::default();
    let mut client = at_once(&cache, 10);
    let hosts = ["a", "b", "c"].map(working);
    for call in hosts.clone() {
        assert!(drive(&mut client, call).is_ok());
    }

    let calls = Cell::new(0);
    let allocated = measure(|| {
        for call in hosts {
            assert!(drive(&mut client, call).is_ok());
            calls.set(calls.get() + 1);
        }
    });

    assert_eq!((calls.get(), allocated.count_total), (3, 0));
}

/// Only the error is allocated, in its box.
#[test]
fn refusal_allocates_once() {
    let cache = HealthCache::default();
    let mut client = at_once(&cache, 10);
    let provider = cache.provider("a");
    provider.mark_unhealthy("connection refused".to_owned());
    provider.mark_unhealthy("connection refused".to_owned());
    assert!(call_now(&mut client, "a").is_err());
    let call = working("a");

    let refusal = measure(|| assert!(drive(&mut client, call).is_err()));

    assert_eq!(refusal.count_total, 1);
}

// Parts.

#[derive(Clone)]
struct Call {
    host: String,
    ending: Ending,
}

#[derive(Clone, Copy)]
enum Ending {
    Works,
    Fails,
    /// Works after a second.
    IsSlow,
}

async fn send(call: Call) -> io::Result<()> {
    match call.ending {
        Ending::Works => Ok(()),
        Ending::Fails => Err(reset()),
        Ending::IsSlow => {
            sleep(Duration::from_secs(1)).await;
            Ok(())
        }
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn call(host: &str, ending: Ending) -> Call {
    Call {
        host: host.to_owned(),
        ending,
    }
}

fn working(host: &str) -> Call {
    call(host, Ending::Works)
}

fn failing(host: &str) -> Call {
    call(host, Ending::Fails)
}

fn slow(host: &str) -> Call {
    call(host, Ending::IsSlow)
}

trait Client: Service<Call, Response = (), Error = BoxError> {}

impl<S: Service<Call, Response = (), Error = BoxError>> Client for S {}

fn layer(
    cache: &HealthCache,
) -> KeyedHealthLayer<ErrorsAsFailures, impl Fn(&Call) -> &str + Clone + use<>> {
    HealthLayer::keyed(cache, |call: &Call| call.host.as_str())
}

fn client(
    cache: &HealthCache,
) -> impl Service<Call, Response = (), Error = BoxError, Future: Send> + Clone + Send + use<> {
    layer(cache).layer(service_fn(send))
}

fn bounded(cache: &HealthCache, bound: usize) -> impl Client + Clone + use<> {
    layer(cache).max_providers(bound).layer(service_fn(send))
}

/// A client that needs no executor, which would allocate.
fn at_once(cache: &HealthCache, bound: usize) -> impl Client + Clone + Send + use<> {
    layer(cache)
        .max_providers(bound)
        .layer(service_fn(|_: Call| ready(Ok::<_, Infallible>(()))))
}

fn call_now(client: &mut impl Client, host: &str) -> Result<(), BoxError> {
    drive(client, working(host))
}

fn drive(client: &mut impl Client, call: Call) -> Result<(), BoxError> {
    let mut context = Context::from_waker(Waker::noop());
    assert!(client.poll_ready(&mut context).is_ready());
    match pin!(client.call(call)).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the inner service answers at once"),
    }
}

async fn succeed(client: &mut impl Client, host: &str) {
    let answer = client.ready().await.unwrap().call(working(host));
    answer.await.unwrap();
}

/// Makes a call that fails.
async fn fail(client: &mut impl Client, host: &str) {
    let answer = client.ready().await.unwrap().call(failing(host));
    let error = answer.await.unwrap_err();
    assert!(error.is::<io::Error>(), "{error}");
}

async fn trip(client: &mut impl Client, host: &str) {
    for _ in 0..2 {
        fail(client, host).await;
    }
}

async fn refused(client: &mut impl Client, host: &str) -> CircuitOpen {
    let answer = client.ready().await.unwrap().call(working(host));
    let error = answer.await.unwrap_err();
    error::find::<CircuitOpen>(&*error).unwrap().clone()
}

fn state(cache: &HealthCache, host: &str) -> State {
    cache.get(host).unwrap().health().state
}

fn known(cache: &HealthCache) -> Vec<String> {
    let providers = cache.snapshot().providers;
    providers.iter().map(|row| row.id.to_string()).collect()
}
