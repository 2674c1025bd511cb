//! Checks that one replica makes for all.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use tokio::time::sleep;
use tower_health::{Cause, Check, HealthProbe, ProbeHandle, State, fleet::Share};

use super::{Fault, MINUTE, POLL, Replica, SECOND, replicas};

/// A provider as its checks see it, with a count of the checks.
#[derive(Clone, Default)]
struct Backend {
    is_down: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
}

impl Backend {
    fn check(&self, replica: &Replica, functional: bool) -> ProbeHandle {
        let backend = self.clone();
        let check = Check::new(move || {
            backend.checks.fetch_add(1, SeqCst);
            let is_up = !backend.is_down.load(SeqCst);
            async move { is_up }
        });
        let check = if functional {
            check.functional()
        } else {
            check
        };
        HealthProbe::new(&replica.cache)
            .check_with("a", check)
            .fleet(&replica.fleet)
            .spawn()
    }

    fn take_checks(&self) -> usize {
        self.checks.swap(0, SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn one_replica_checks_in_each_interval() {
    let (replicas, _store) = replicas::<20>(Share::Advise).await;
    let backend = Backend::default();
    let _probes = replicas.each_ref().map(|it| backend.check(it, false));
    sleep(10 * MINUTE).await;
    let checks = backend.take_checks();
    assert!(
        (18..=23).contains(&checks),
        "{checks} checks in 20 intervals"
    );
    for replica in &replicas {
        assert!(
            replica.provider.health().last_check.is_some(),
            "the result is applied"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn failed_checks_of_two_replicas_open_all() {
    let (replicas, _store) = replicas::<5>(Share::Advise).await;
    let backend = Backend::default();
    backend.is_down.store(true, SeqCst);
    let _probes = replicas.each_ref().map(|it| backend.check(it, false));
    sleep(10 * MINUTE).await;
    for replica in &replicas {
        assert_eq!(replica.state(), State::Open);
    }
    let checks = backend.take_checks();
    // One check in each of 20 rounds, and at most one more to confirm its failure.
    assert!(checks <= 40, "{checks} checks");
}

#[tokio::test(start_paused = true)]
async fn failed_checks_of_one_replica_open_no_other() {
    let ([broken, healthy], _store) = replicas(Share::Advise).await;
    let (bad, good) = (Backend::default(), Backend::default());
    bad.is_down.store(true, SeqCst);
    let _probes = [bad.check(&broken, false), good.check(&healthy, false)];
    for _ in 0..600 {
        sleep(SECOND).await;
        assert_eq!(healthy.state(), State::Closed);
    }
    assert!(bad.take_checks() > 0 && good.take_checks() > 0);
}

#[tokio::test(start_paused = true)]
async fn functional_check_of_one_replica_closes_all() {
    let ([one, two, three], _store) = replicas(Share::Trust).await;
    let backend = Backend::default();
    one.trip();
    sleep(POLL).await;
    assert_eq!(three.cause(), Some(Cause::Peer));
    let _probes = [&one, &two, &three].map(|it| backend.check(it, true));
    sleep(2 * POLL).await;
    for replica in [&one, &two, &three] {
        assert_eq!(replica.state(), State::Closed);
    }
    assert_eq!(backend.take_checks(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_replica_checks_at_the_end_of_an_open_window() {
    let (replicas, _store) = replicas::<10>(Share::Advise).await;
    let backend = Backend::default();
    let _probes = replicas.each_ref().map(|it| backend.check(it, true));
    sleep(5 * SECOND).await;
    backend.is_down.store(true, SeqCst);
    for replica in &replicas {
        replica.trip();
    }
    // The checks of the second round fail in this time, and extend the windows.
    sleep(50 * SECOND).await;
    backend.is_down.store(false, SeqCst);
    backend.take_checks();
    sleep(40 * SECOND).await;
    for replica in &replicas {
        assert_eq!(replica.state(), State::Closed);
    }
    assert!(backend.take_checks() <= 3);
}

#[tokio::test(start_paused = true)]
async fn each_replica_checks_while_the_store_is_gone() {
    let ([one, two], store) = replicas(Share::Advise).await;
    store.set(Fault::Refusing);
    let backend = Backend::default();
    let _probes = [&one, &two].map(|it| backend.check(it, false));
    sleep(5 * MINUTE).await;
    let checks = backend.take_checks();
    assert!(
        checks >= 18,
        "{checks} checks of two replicas in ten intervals"
    );

    store.set(Fault::None);
    sleep(MINUTE).await;
    backend.take_checks();
    sleep(5 * MINUTE).await;
    let checks = backend.take_checks();
    assert!(
        (9..=12).contains(&checks),
        "{checks} checks in ten intervals"
    );
}

#[tokio::test(start_paused = true)]
async fn failed_trial_of_another_replica_disproves_a_check_that_only_reaches() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    one.trip();
    other.trip();
    let reaches = || HealthProbe::new(&other.cache).check("a", || std::future::ready(true));
    sleep(MINUTE).await;
    one.win_trial().await.failure("timeout");
    sleep(POLL).await;
    assert_eq!(other.state(), State::Open);
    reaches().round().await;
    assert_eq!(other.state(), State::Open);
}
