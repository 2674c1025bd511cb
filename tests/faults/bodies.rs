use std::{
    future::ready,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, channel::Channel};
use tokio_test::{assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{
    BoxError, FallbackChain, HealthLayer, Outcome,
    http::{Content, PeekLayer, StatusClassifier},
};

use crate::{Part, Rig, StrikesInDrop, Untellable, costs_one_trial, give_up, layer, strike};

// Bodies.

#[tokio::test(start_paused = true)]
async fn panic_in_a_frame_costs_no_more_than_its_call() {
    let (mut upstream, body) = Channel::<Bytes, io::Error>::new(2);
    for chunk in ["first", "second"] {
        upstream.try_send(Frame::data(chunk.into())).unwrap();
    }
    let body = body.map_frame(|frame| match frame.data_ref() {
        Some(data) if data == "second" => strike(),
        _ => frame,
    });
    costs_one_trial(|rig| read(rig, body)).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_telling_the_end_costs_no_more_than_its_call() {
    struct Endless;
    impl Body for Endless {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            Poll::Pending
        }

        fn is_end_stream(&self) -> bool {
            strike()
        }
    }
    costs_one_trial(|rig| read(rig, Endless)).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_drop_of_a_body_costs_no_more_than_its_call() {
    let in_drop = StrikesInDrop::default();
    let (_upstream, body) = Channel::<Bytes, io::Error>::new(1);
    let body = body.map_frame(move |frame| {
        let _ = &in_drop;
        frame
    });
    costs_one_trial(|rig| read(rig, body)).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_any_part_of_the_error_of_a_body_costs_no_more_than_its_call() {
    for part in Part::ALL {
        let (upstream, body) = Channel::<Bytes, Untellable>::new(1);
        upstream.abort(Untellable(part));
        costs_one_trial(|rig| read(rig, body)).await;
    }
}

// Closures that inspect responses.

#[tokio::test(start_paused = true)]
async fn panic_in_a_closure_that_looks_at_heads_costs_no_more_than_its_call() {
    let classifier = StatusClassifier::new().outcome_with(|_, _| -> Option<Outcome> { strike() });
    costs_one_trial(|rig| {
        give_up(layer(rig).classify(classifier).layer(respond("")), ());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_closure_that_looks_at_contents_costs_no_more_than_its_call() {
    let peek = PeekLayer::first_content(|_: &[u8]| -> Content { strike() });
    costs_one_trial(|rig| {
        let stack = peek.layer(respond("hello"));
        give_up(
            HealthLayer::http(rig.provider.clone()).layer(stack),
            Request::new(()),
        );
    })
    .await;
}

/// The body already holds the permit.
#[tokio::test(start_paused = true)]
async fn panic_in_the_rule_costs_no_more_than_its_call() {
    costs_one_trial(|rig| {
        let stack = HealthLayer::http(rig.provider.clone()).layer(respond("hello"));
        let chain = FallbackChain::http().entry(rig.provider.clone(), stack);
        give_up(chain.advance_when(|_| strike()), ());
    })
    .await;
}

/// Reads the body of a response until it is pending or at its end, then drops it.
fn read<B>(rig: &Rig, body: B)
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let mut response = Some(Response::new(body));
    let answers = service_fn(move |()| ready(response.take().ok_or("called twice")));
    let service = HealthLayer::http(rig.provider.clone()).layer(answers);
    let mut body = assert_ready_ok!(task::spawn(service.oneshot(())).poll()).into_body();
    while task::spawn(body.frame()).poll().is_ready() {}
}

fn respond<Req>(
    text: &'static str,
) -> impl Service<Req, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send> + Clone {
    service_fn(move |_| ready(Ok(Response::new(text.into()))))
}
