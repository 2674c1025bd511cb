//! Providers are tried in the order of their entries.

use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::Service;

use crate::{Stub, ask, chain_of, stubs};

#[tokio::test(start_paused = true)]
async fn first_provider_serves_and_no_other_is_touched() {
    let [a, b] = stubs();
    let chain = chain_of([&a, &b]);
    let clones = b.clones();

    assert_eq!(ask(&chain).await.unwrap(), "a");
    assert_eq!((b.clones(), b.polls(), b.calls()), (clones, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn failure_goes_on_to_the_next_in_order() {
    let [a, b, c] = stubs();
    a.fails("timeout");
    b.fails("connection refused");

    assert_eq!(ask(&chain_of([&a, &b, &c])).await.unwrap(), "c");
    assert_eq!([&a, &b, &c].map(Stub::calls), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_pass_tries_each_provider_once() {
    let [a, b] = stubs();
    a.fails("timeout");
    b.fails("timeout");

    ask(&chain_of([&a, &b])).await.unwrap_err();
    assert_eq!([&a, &b].map(Stub::calls), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn provider_is_waited_for_until_it_is_ready() {
    let [a, b] = stubs();
    a.is_unready();
    let mut call = task::spawn(chain_of([&a, &b]).call(()));
    assert_pending!(call.poll());

    a.serves();
    assert!(call.is_woken());
    assert_eq!(assert_ready_ok!(call.poll()), "a");
}

#[tokio::test(start_paused = true)]
async fn chain_is_always_ready() {
    let [a] = stubs();
    a.is_unready();
    let mut chain = task::spawn(chain_of::<(), 1>([&a]));
    assert_ready_ok!(chain.enter(|cx, mut chain| chain.poll_ready(cx)));
    assert_eq!(a.polls(), 0);
}
