//! The request is cloned only as often as necessary.

use std::rc::Rc;

use tower::{Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_health::{BoxError, Exhausted, FallbackChain};

use crate::{Counted, chain_of, stubs};

#[tokio::test(start_paused = true)]
async fn request_is_not_cloned_for_the_last_entry() {
    let [a, b, c] = stubs();
    let request = Counted::default();
    let only = chain_of([&a]);
    only.oneshot(request.handle()).await.unwrap();
    assert_eq!(request.clones(), 0);

    a.fails("timeout");
    b.fails("timeout");
    let all = chain_of([&a, &b, &c]);
    all.oneshot(request.handle()).await.unwrap();
    assert_eq!((request.clones(), c.calls()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn request_is_not_cloned_for_entries_that_do_not_take_it() {
    let [a, b] = stubs();
    let request = Counted::default();
    let chain = chain_of([&a]).entry_if(b.provider(), b.stack(), |_: &Counted| false);

    chain.oneshot(request.handle()).await.unwrap();
    assert_eq!(request.clones(), 0);
}

#[tokio::test(start_paused = true)]
async fn request_is_kept_for_a_second_chance() {
    let [a, b] = stubs();
    a.open();
    b.fails("timeout");
    let request = Counted::default();
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::LastResort);

    assert_eq!(chain.oneshot(request.handle()).await.unwrap(), "a");
    assert_eq!((request.clones(), b.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn request_need_not_be_sendable_nor_live_for_ever() {
    async fn measure((_, text): (Rc<()>, &str)) -> Result<usize, BoxError> {
        Ok(text.len())
    }
    let text = String::from("borrowed");
    let [a] = stubs();
    let chain = FallbackChain::new().entry(a.provider(), service_fn(measure));

    assert_eq!(chain.oneshot((Rc::new(()), &*text)).await.unwrap(), 8);
}

#[test]
fn chain_and_future_can_cross_threads() {
    fn crosses<T: Send + Sync>(_: &T) {}
    fn moves<T: Send + 'static>(_: &T) {}
    let [a] = stubs();
    let mut chain = chain_of([&a]);
    crosses(&chain);
    moves(&chain.call(()));
}

/// Called as by a server's handler: with `oneshot`, rustc cannot see that the future is `Send`.
#[tokio::test(start_paused = true)]
async fn chain_of_boxed_stacks_is_called_from_a_task() {
    let [a] = stubs();
    let mut chain = FallbackChain::new().entry(a.provider(), BoxCloneSyncService::new(a.stack()));
    let task = tokio::spawn(async move { chain.call(()).await.unwrap() });
    assert_eq!(task.await.unwrap(), "a");
}
