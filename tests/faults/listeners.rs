use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake},
    time::Duration,
};

use tokio::task::yield_now;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};
use tower_health::{Exhausted, FallbackChain, HealthProbe, Policy, Trip};

use crate::{
    Fault, Hydra, Readiness, answer, assert_well, layer,
    rig::{Rig, secs},
    strike,
};

#[tokio::test(start_paused = true)]
async fn listener_is_called_again_whatever_it_panics_with() {
    let rig = Rig::new(Policy::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let listener = tokio::spawn(rig.cache.subscribe().for_each(move |_| {
        counted.fetch_add(1, SeqCst);
        Hydra::strike();
    }));
    rig.trip();
    rig.mark_healthy();
    yield_now().await;
    assert_eq!(calls.load(SeqCst), 2);

    drop(rig);
    listener.await.unwrap();
}

// Wakers.

/// Panics when it is woken.
struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        Hydra::strike();
    }
}

/// Polls the future with a waker that panics.
#[track_caller]
fn wait_rudely<F: Future>(future: Pin<&mut F>) {
    let rude = Arc::new(Rude).into();
    assert!(future.poll(&mut Context::from_waker(&rude)).is_pending());
}

#[tokio::test(start_paused = true)]
async fn waker_of_a_listener_harms_no_call_and_no_other_listener() {
    let rig = Rig::half_open(Policy::new()).await;
    let (mut one, mut other) = (rig.cache.subscribe(), rig.cache.subscribe());
    let mut rude = pin!(one.recv());
    wait_rudely(rude.as_mut());
    let mut polite = task::spawn(other.recv());
    assert_pending!(polite.poll());

    assert_well(&rig);
    assert!(polite.is_woken());
    assert_ready!(polite.poll());
    assert!(rude.await.is_some());
}

/// The panic itself trips the breaker.
#[tokio::test(start_paused = true)]
async fn waker_of_a_service_harms_no_call_and_no_other_service() {
    let trip = Trip::consecutive(1).cancelled_after(Duration::ZERO);
    let rig = Rig::new(Policy::new().trip(trip));
    let service = || layer(&rig).layer(Readiness(|| Poll::Pending));
    let (mut one, mut other) = (service(), service());
    wait_rudely(pin!(poll_fn(|cx| one.poll_ready(cx))));
    let mut polite = task::spawn(poll_fn(|cx| other.poll_ready(cx)));
    assert_pending!(polite.poll());

    let call = AssertUnwindSafe(|| {
        let _permit = rig.call();
        strike()
    });
    let caught: Result<(), _> = catch_unwind(call);
    assert!(caught.unwrap_err().is::<Fault>());
    assert!(polite.is_woken());
    assert_ready_ok!(polite.poll());
}

#[tokio::test(start_paused = true)]
async fn waker_of_a_chain_harms_nobody_and_no_other_chain() {
    let rig = Rig::open(Policy::new());
    let chain = FallbackChain::new().entry(rig.provider.clone(), answer(Ok(())));
    let chain = chain.when_exhausted(Exhausted::Wait(secs(60)));
    wait_rudely(pin!(chain.clone().oneshot(())));
    let mut polite = task::spawn(chain.oneshot(()));
    assert_pending!(polite.poll());

    rig.mark_healthy();
    assert!(polite.is_woken());
    assert_ready_ok!(polite.poll());
}

#[tokio::test(start_paused = true)]
async fn waker_of_whoever_stops_a_probe_harms_nobody_else_who_does() {
    let rig = Rig::new(Policy::new());
    let probe = HealthProbe::new(&rig.cache).spawn();
    let mut rude = pin!(probe.stop());
    wait_rudely(rude.as_mut());
    let mut polite = task::spawn(probe.stop());
    assert_pending!(polite.poll());

    yield_now().await;
    assert!(polite.is_woken());
    assert_ready!(polite.poll());
}

/// Dropping the last handle wakes all waiters; here a panic drops it.
#[tokio::test(start_paused = true)]
async fn waker_harms_nobody_at_the_end_of_the_cache() {
    let rig = Rig::new(Policy::new());
    let mut listener = rig.cache.subscribe();
    let mut listening = pin!(listener.recv());
    wait_rudely(listening.as_mut());
    let mut probing = pin!(HealthProbe::new(&rig.cache).run());
    wait_rudely(probing.as_mut());

    let end = AssertUnwindSafe(move || {
        let _last = rig;
        strike()
    });
    let caught: Result<(), _> = catch_unwind(end);
    assert!(caught.unwrap_err().is::<Fault>());
    assert_eq!(listening.await, None);
    probing.await;
}
