//! Operators' overrides, and the rows of replicas for the status page.

use tokio::time::sleep;
use tower_health::{Cause, Override, State, fleet::Fleet};

use super::{FaultyStore, MINUTE, POLL, Replica};

async fn sharing<const N: usize>() -> ([Replica; N], FaultyStore) {
    let store = FaultyStore::default();
    let replicas = [(); N].map(|()| {
        Replica::of(|cache| {
            Fleet::new(cache, store.clone())
                .share_overrides(true)
                .share_health(true)
        })
    });
    sleep(POLL).await;
    (replicas, store)
}

#[tokio::test(start_paused = true)]
async fn override_holds_on_all_replicas_and_is_lifted_on_any() {
    let ([one, other], _store) = sharing().await;
    one.provider
        .force(Override::Open, 10 * MINUTE, "maintenance");
    sleep(2 * POLL).await;
    let health = other.provider.health();
    assert_eq!(
        (health.state, health.cause),
        (State::Open, Some(Cause::Forced))
    );
    assert_eq!(health.reason.unwrap(), "maintenance");
    assert!(health.forced_for.unwrap() <= 10 * MINUTE);

    other.provider.unforce();
    sleep(3 * POLL).await;
    assert_eq!(one.state(), State::Closed);
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn later_override_replaces_the_earlier() {
    let ([one, other], _store) = sharing().await;
    one.provider.force(Override::Open, 10 * MINUTE, "first");
    sleep(2 * POLL).await;
    other.provider.force(Override::Closed, MINUTE, "second");
    sleep(2 * POLL).await;
    assert_eq!(one.provider.health().reason.unwrap(), "second");
    assert_eq!(other.provider.health().reason.unwrap(), "second");
    sleep(MINUTE).await;
    assert_eq!(one.cause(), None);
    assert_eq!(other.cause(), None);
}

#[tokio::test(start_paused = true)]
async fn override_survives_a_flush_of_the_store() {
    let ([one, other], store) = sharing().await;
    one.provider
        .force(Override::Open, 10 * MINUTE, "maintenance");
    sleep(2 * POLL).await;
    sleep(MINUTE).await;
    assert_eq!(store.writes_of("forced"), 1, "it is written once");
    store.memory.clear();
    sleep(3 * POLL).await;
    assert_eq!(one.cause(), Some(Cause::Forced));
    assert_eq!(other.cause(), Some(Cause::Forced));
    let late = Replica::of(|cache| Fleet::new(cache, store.clone()).share_overrides(true));
    sleep(POLL).await;
    assert_eq!(late.cause(), Some(Cause::Forced), "it is written again");
    one.provider.unforce();
    sleep(3 * POLL).await;
    assert_eq!(other.cause(), None);
}

#[tokio::test(start_paused = true)]
async fn override_stays_local_by_default() {
    let store = FaultyStore::default();
    let [one, other] = [(); 2].map(|()| Replica::of(|cache| Fleet::new(cache, store.clone())));
    sleep(POLL).await;
    one.provider.force(Override::Open, 10 * MINUTE, "here");
    sleep(3 * POLL).await;
    assert_eq!(other.state(), State::Closed);
    assert_eq!(store.writes_of("forced"), 0);
}

#[tokio::test(start_paused = true)]
async fn each_replica_shows_its_unhealthy_providers() {
    let ([one, other], _store) = sharing().await;
    one.trip();
    sleep(2 * POLL).await;
    let view = other.fleet.view();
    assert!(view.connected);
    assert_eq!(view.windows["a"].cause, Cause::Failures);
    assert_eq!(view.windows["a"].reason.label(), "timeout");
    assert_eq!(view.replicas.len(), 2);
    let row = &view.replicas[&one.fleet.view().replica][0];
    assert_eq!((&*row.provider, row.state), ("a", State::Open));
    assert_eq!(view.replicas[&view.replica], []);

    one.fleet.stop().await;
    sleep(POLL).await;
    assert_eq!(other.fleet.view().replicas.len(), 1, "it has left");
}
