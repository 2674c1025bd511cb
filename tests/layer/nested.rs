//! Layers around chains and around other layers: which are asked, which judge, and that all recover.

use std::{
    future::ready,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{advance, sleep},
};
use tower::{Layer, Service, ServiceExt, buffer::Buffer, service_fn, util::BoxCloneSyncService};
use tower_health::{
    BoxError, Exhausted, FallbackChain, HealthCache, HealthLayer, Outcome, Policy, Provider, State,
    Trials,
    error::{self, Kind, NoHealthyProvider},
};

use crate::outage::{OPEN_WINDOW, half_open, trip};

// Groups: a layer around a chain of other providers.

#[tokio::test(start_paused = true)]
async fn group_whose_breakers_all_refuse_has_not_failed() {
    let cache = HealthCache::default();
    let (a, group) = (cache.provider("a"), cache.provider("group"));
    let chain = chain_of([&a], &Backend::default());
    let stack = HealthLayer::new(group.clone()).layer(chain);
    trip(&a);

    assert_group_is_not_judged(&group, stack).await;
}

#[tokio::test(start_paused = true)]
async fn group_of_which_no_provider_takes_the_request_has_not_failed() {
    let cache = HealthCache::default();
    let (a, group) = (cache.provider("a"), cache.provider("group"));
    let chain = FallbackChain::new().entry_if(a, Backend::default().service(), |&()| false);
    let stack = HealthLayer::new(group.clone()).layer(chain);

    assert_group_is_not_judged(&group, stack).await;
}

#[tokio::test(start_paused = true)]
async fn group_of_groups_that_refuse_has_not_failed() {
    let cache = HealthCache::default();
    let (a, inner, group) = (
        cache.provider("a"),
        cache.provider("inner"),
        cache.provider("group"),
    );
    let chain = chain_of([&a], &Backend::default());
    let of_groups = FallbackChain::new().entry(inner, chain);
    let stack = HealthLayer::new(group.clone()).layer(of_groups);
    trip(&a);

    assert_group_is_not_judged(&group, stack).await;
}

/// A closure can tell by the kind of the error.
#[tokio::test(start_paused = true)]
async fn closure_knows_a_group_in_which_nobody_was_called() {
    let cache = HealthCache::default();
    let (a, group) = (cache.provider("a"), cache.provider("group"));
    let chain = chain_of([&a], &Backend::default());
    let stack = HealthLayer::new(group.clone())
        .classify_with(|result: Result<&(), &BoxError>| match result {
            Ok(()) => Outcome::Success,
            Err(error) if Kind::of(&**error).is_some_and(Kind::is_local) => Outcome::Neutral,
            Err(error) => Outcome::failure(error.to_string()),
        })
        .layer(chain);
    trip(&a);

    assert_group_is_not_judged(&group, stack).await;
}

#[tokio::test(start_paused = true)]
async fn half_open_group_whose_breakers_all_refuse_gives_its_slot_back() {
    let cache = HealthCache::default();
    let (a, group) = (cache.provider("a"), cache.provider("group"));
    let chain = chain_of([&a], &Backend::default());
    let stack = HealthLayer::new(group.clone()).layer(chain);
    half_open(&group).await;
    trip(&a);

    stack.clone().oneshot(()).await.unwrap_err();
    a.mark_healthy();
    stack.oneshot(()).await.unwrap();
    assert!(group.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn group_in_which_one_was_called_and_failed_has_failed() {
    let cache = HealthCache::default();
    let (a, b, group) = (
        cache.provider("a"),
        cache.provider("b"),
        cache.provider("group"),
    );
    let backend = Backend::default();
    backend.fall();
    let chain = chain_of([&a, &b], &backend);
    let stack = HealthLayer::new(group.clone()).layer(chain);
    trip(&b);

    let error = stack.oneshot(()).await.unwrap_err();
    assert_eq!(Kind::of(&*error), Some(Kind::NoHealthyProvider));
    assert_eq!(group.health().consecutive_failures, 1);
}

/// A refusal at the end of the chain does not hide an earlier failure.
#[tokio::test(start_paused = true)]
async fn group_in_which_one_failed_and_the_last_was_full_has_failed() {
    let cache = HealthCache::default();
    let (a, b, group) = (
        cache.provider("a"),
        cache.provider("b"),
        cache.provider("group"),
    );
    let fails = service_fn(|()| ready(Err::<(), BoxError>("down".into())));
    let is_full = service_fn(|()| {
        let overloaded = tower::load_shed::error::Overloaded::new();
        ready(Err::<(), BoxError>(overloaded.into()))
    });
    let chain = FallbackChain::new()
        .entry(a, BoxCloneSyncService::new(fails))
        .entry(b, BoxCloneSyncService::new(is_full))
        .when_exhausted(Exhausted::Fail);
    let stack = HealthLayer::new(group.clone()).layer(chain);

    stack.oneshot(()).await.unwrap_err();
    assert_eq!(group.health().consecutive_failures, 1);
}

// A provider's own layer around a chain or another layer.

#[tokio::test(start_paused = true)]
async fn chain_inside_a_layer_of_its_provider_recovers() {
    let backend = Backend::default();
    let provider = provider();
    let chain = chain_of([&provider, &provider], &backend);
    let stack = HealthLayer::new(provider).layer(chain);

    assert_eq!(served_after_an_outage(stack, &backend).await, 60);
}

#[tokio::test(start_paused = true)]
async fn chain_of_layers_inside_a_layer_of_their_provider_recovers() {
    let backend = Backend::default();
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    let chain = FallbackChain::new()
        .entry(provider.clone(), layer.layer(backend.service()))
        .entry(provider, layer.layer(backend.service()));

    assert_eq!(
        served_after_an_outage(layer.layer(chain), &backend).await,
        60
    );
}

// The same, with tasks between the layers.

#[tokio::test(start_paused = true)]
async fn layers_with_a_buffer_between_them_recover() {
    let backend = Backend::default();
    let layer = HealthLayer::new(provider());
    let stack = layer.layer(Buffer::new(layer.layer(backend.service()), 8));

    assert!(served_after_an_outage(stack, &backend).await > 50);
}

#[tokio::test(start_paused = true)]
async fn layers_with_a_task_between_them_recover() {
    let backend = Backend::default();
    let layer = HealthLayer::new(provider());
    let stack = layer.layer(in_a_task(layer.layer(backend.service())));

    assert!(served_after_an_outage(stack, &backend).await > 50);
}

#[tokio::test(start_paused = true)]
async fn four_layers_with_buffers_between_them_recover() {
    let backend = Backend::default();
    let layer = HealthLayer::new(provider());
    let stack = layer.layer(Buffer::new(layer.layer(backend.service()), 8));
    let stack = layer.layer(Buffer::new(layer.layer(Buffer::new(stack, 8)), 8));

    assert!(served_after_an_outage(stack, &backend).await > 50);
}

#[tokio::test(start_paused = true)]
async fn keyed_layers_with_a_buffer_between_them_recover() {
    let backend = Backend::default();
    let layer = HealthLayer::keyed(&HealthCache::default(), |()| "a");
    let stack = layer.layer(Buffer::new(layer.layer(backend.service()), 8));

    assert!(served_after_an_outage(stack, &backend).await > 50);
}

#[tokio::test(start_paused = true)]
async fn chain_behind_a_buffer_inside_a_layer_of_its_provider_recovers() {
    let backend = Backend::default();
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    let chain = FallbackChain::new()
        .entry(provider, Buffer::new(layer.layer(backend.service()), 8))
        .when_exhausted(Exhausted::Fail);
    let stack = layer.layer(Buffer::new(chain, 8));

    assert!(served_after_an_outage(stack, &backend).await > 50);
}

#[tokio::test(start_paused = true)]
async fn layers_around_a_buffer_that_take_two_successes_to_close_recover() {
    let backend = Backend::default();
    let policy = Policy::new().trials(Trials::new(1).to_close(2));
    let provider = HealthCache::new(policy).provider("a");
    let layer = HealthLayer::new(provider.clone());
    let mut stack = layer.layer(Buffer::new(layer.layer(backend.service()), 8));
    half_open(&provider).await;

    stack.ready().await.unwrap().call(()).await.unwrap_err();
    stack.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(
        provider.health().state,
        State::HalfOpen,
        "one call, one success"
    );
    stack.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(provider.health().state, State::Closed);
}

/// Rule 4, whichever layer holds the trial, also beside a service with one layer.
#[tokio::test(start_paused = true)]
async fn half_open_provider_behind_two_layers_gets_one_call_at_once() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    let (running, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let seen = Arc::clone(&most);
    let backend = service_fn(move |()| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&seen));
        async move {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, SeqCst);
            Err::<(), _>(io::Error::other("down"))
        }
    });
    let twice = layer.layer(in_a_task(layer.layer(backend.clone())));
    let once = layer.layer(backend);
    trip(&provider);
    for _ in 0..10 {
        advance(OPEN_WINDOW).await;
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            calls.spawn(twice.clone().oneshot(()));
            calls.spawn(once.clone().oneshot(()));
        }
        while let Some(result) = calls.join_next().await {
            result.unwrap().unwrap_err();
        }
        assert_ne!(provider.health().state, State::Closed);
    }
    assert_eq!(most.load(SeqCst), 1);
}

// Helpers.

fn provider() -> Provider {
    HealthCache::default().provider("a")
}

/// A backend that can be down.
#[derive(Clone, Default)]
struct Backend {
    is_down: Arc<AtomicBool>,
}

impl Backend {
    fn fall(&self) {
        self.is_down.store(true, SeqCst);
    }

    fn rise(&self) {
        self.is_down.store(false, SeqCst);
    }

    fn service(
        &self,
    ) -> impl Service<(), Response = (), Error = io::Error, Future: Send> + Clone + Send + use<>
    {
        let is_down = Arc::clone(&self.is_down);
        service_fn(move |()| {
            ready(if is_down.load(SeqCst) {
                Err(io::Error::other("down"))
            } else {
                Ok(())
            })
        })
    }
}

/// Runs each call in a task of its own.
fn in_a_task<S>(
    service: S,
) -> impl Service<(), Response = (), Error = BoxError, Future: Send> + Clone + Send + use<S>
where
    S: Service<(), Response = (), Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    service_fn(move |()| {
        let call = tokio::spawn(service.clone().oneshot(()));
        async move { call.await? }
    })
}

fn chain_of<const N: usize>(
    providers: [&Provider; N],
    backend: &Backend,
) -> FallbackChain<
    impl Service<(), Response = (), Error = io::Error, Future: Send> + Clone + Send + use<N>,
    (),
> {
    let chain = FallbackChain::new().when_exhausted(Exhausted::Fail);
    providers.into_iter().fold(chain, |chain, provider| {
        chain.entry(provider.clone(), backend.service())
    })
}

async fn assert_group_is_not_judged<S>(group: &Provider, stack: S)
where
    S: Service<(), Response = (), Error = BoxError> + Clone,
{
    for _ in 0..2 {
        let error = stack.clone().oneshot(()).await.unwrap_err();
        assert!(error::find::<NoHealthyProvider>(&*error).is_some());
        assert!(Kind::of(&*error).is_some_and(Kind::is_local), "{error}");
    }
    assert!(group.is_healthy());
    assert_eq!(group.health().consecutive_failures, 0);
}

/// Returns how many of 60 calls are served in the hour after an outage of two calls.
async fn served_after_an_outage<S>(mut stack: S, backend: &Backend) -> usize
where
    S: Service<(), Response = (), Error = BoxError>,
{
    backend.fall();
    for _ in 0..2 {
        stack.ready().await.unwrap().call(()).await.unwrap_err();
    }
    backend.rise();
    let mut served = 0;
    for _ in 0..60 {
        advance(OPEN_WINDOW + Duration::from_secs(1)).await;
        served += usize::from(stack.ready().await.unwrap().call(()).await.is_ok());
    }
    served
}
