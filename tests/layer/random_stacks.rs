//! Random stacks of layers: each serves again after an outage.
//!
//! `STACKS=10000 cargo test --all-features --test layer random_stacks` tries more.
//! `STACK=7` tries only one; a failure prints its number.

use std::{
    env,
    future::ready,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::advance;
use tower::{
    Layer, ServiceBuilder, ServiceExt, buffer::Buffer, service_fn, util::BoxCloneSyncService,
};
use tower_health::{
    BoxError, Exhausted, FallbackChain, HealthCache, HealthLayer, Key, KeyedHealthLayer, Provider,
};

/// The number of stacks in CI.
const STACKS: u64 = 300;
const MINUTE: Duration = Duration::from_secs(60);

type Stack = BoxCloneSyncService<(), (), BoxError>;

#[test]
fn every_stack_serves_again_after_an_outage() {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    let stacks = match number("STACK") {
        Some(one) => one..one + 1,
        None => 0..number("STACKS").unwrap_or(STACKS),
    };
    for seed in stacks {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(assert_serves_again(seed));
    }
}

async fn assert_serves_again(seed: u64) {
    let mut draw = Draw(seed);
    let cache = HealthCache::default();
    let providers: Vec<_> = (0..=draw.below(3))
        .map(|id| cache.provider(id.to_string()))
        .collect();
    let is_down = Arc::new(AtomicBool::new(true));
    let mut told = Vec::new();
    let mut stack = backend(&is_down);
    for _ in 0..=draw.below(6) {
        let provider = &providers[draw.index(providers.len())];
        stack = draw.layer(stack, &cache, provider, &is_down, &mut told);
    }

    for _ in 0..5 {
        let _ = stack.clone().oneshot(()).await;
        advance(Duration::from_secs(1)).await;
    }
    is_down.store(false, SeqCst);
    let mut served_in_a_row = 0;
    for _ in 0..60 {
        advance(MINUTE + Duration::from_secs(1)).await;
        let is_served = stack.clone().oneshot(()).await.is_ok();
        served_in_a_row = if is_served { served_in_a_row + 1 } else { 0 };
    }
    assert!(
        served_in_a_row > 20,
        "STACK={seed}: {served_in_a_row} of the last calls were served by {told:?}, innermost first; {:?}",
        cache.snapshot()
    );
}

fn backend(is_down: &Arc<AtomicBool>) -> Stack {
    let is_down = Arc::clone(is_down);
    Stack::new(service_fn(move |()| {
        ready(if is_down.load(SeqCst) {
            Err(io::Error::other("down").into())
        } else {
            Ok(())
        })
    }))
}

/// Random numbers from a seed.
struct Draw(u64);

impl Draw {
    /// Returns a number below `end`, by `SplitMix64`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }

    fn index(&mut self, len: usize) -> usize {
        let index = self.below(len.try_into().unwrap());
        index.try_into().unwrap()
    }

    fn layer(
        &mut self,
        inner: Stack,
        cache: &HealthCache,
        provider: &Provider,
        is_down: &Arc<AtomicBool>,
        told: &mut Vec<String>,
    ) -> Stack {
        let id: Arc<str> = provider.id().into();
        let (name, stack) = match self.below(6) {
            0 => (
                "layer",
                Stack::new(HealthLayer::new(provider.clone()).layer(inner)),
            ),
            1 => {
                let layer = KeyedHealthLayer::new(cache, Always(Arc::clone(&id)));
                ("keyed layer", Stack::new(layer.layer(inner)))
            }
            2 => ("buffer", Stack::new(Buffer::new(inner, 8))),
            3 => ("task", in_a_task(inner)),
            4 => {
                let timeout = ServiceBuilder::new().timeout(MINUTE);
                ("timeout", Stack::new(timeout.service(inner)))
            }
            _ => return self.chain(inner, cache, provider, is_down, told),
        };
        told.push(format!("{name} of {id}"));
        stack
    }

    /// Makes a chain whose first or second entry is the stack so far.
    fn chain(
        &mut self,
        inner: Stack,
        cache: &HealthCache,
        provider: &Provider,
        is_down: &Arc<AtomicBool>,
        told: &mut Vec<String>,
    ) -> Stack {
        let exhausted = match self.below(4) {
            0 => Exhausted::Fail,
            1 => Exhausted::Wait(Duration::from_secs(5)),
            2 => Exhausted::LastResort,
            _ => Exhausted::FailOpen,
        };
        let other = cache.provider(self.below(3).to_string());
        let beside = Stack::new(HealthLayer::new(other.clone()).layer(backend(is_down)));
        told.push(format!(
            "chain of {} and {}, {exhausted:?}",
            provider.id(),
            other.id()
        ));
        let chain = FallbackChain::new()
            .entry(provider.clone(), inner)
            .when_exhausted(exhausted);
        Stack::new(match self.below(2) {
            0 => chain,
            _ => chain.entry(other, beside),
        })
    }
}

/// A key that is the same for every request.
#[derive(Clone)]
struct Always(Arc<str>);

impl Key<()> for Always {
    fn with_key<R>(&self, (): &(), look_up: impl FnOnce(&str) -> R) -> R {
        look_up(&self.0)
    }
}

fn in_a_task(service: Stack) -> Stack {
    Stack::new(service_fn(move |()| {
        let call = tokio::spawn(service.clone().oneshot(()));
        async move { call.await? }
    }))
}
