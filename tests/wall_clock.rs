//! The system clock may be set back: here by half a century, after which it stands still.
//!
//! In a binary of its own, because the system clock is replaced for the whole process.
#![cfg(all(unix, feature = "http"))]

mod rig;

use std::{future::ready, time::SystemTime};

use http::{
    HeaderName, Response, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use mad_turmoil::time::SimClocksGuard;
use rig::{Rig, secs, without_jitter};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{BoxError, HealthLayer, Policy, State};

const NOON: &str = "Sun, 01 Mar 2026 12:00:00 GMT";
const SEVEN_SECONDS_PAST: &str = "Sun, 01 Mar 2026 12:00:07 GMT";

/// Scenario 17.
#[tokio::test(start_paused = true)]
async fn no_open_window_goes_by_it() {
    let _guard = set_back();
    let rig = Rig::open(Policy::new());
    rig.await_half_open().await;
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}

/// Scenario 35.
#[tokio::test(start_paused = true)]
async fn date_is_measured_by_that_of_its_provider() {
    let _guard = set_back();
    let rig = Rig::new(without_jitter(Policy::new()));
    throttle(&rig, &[(DATE, NOON), (RETRY_AFTER, SEVEN_SECONDS_PAST)]).await;
    assert_eq!(rig.wait(), secs(7));
    rig.await_half_open().await;
}

/// Scenario 35: by this machine's clock, the date is half a century ahead.
#[tokio::test(start_paused = true)]
async fn date_of_a_provider_that_does_not_tell_its_own_is_waited_for_no_longer_than_an_hour() {
    let _guard = set_back();
    let rig = Rig::new(without_jitter(Policy::new()));
    throttle(&rig, &[(RETRY_AFTER, SEVEN_SECONDS_PAST)]).await;
    assert_eq!(rig.wait(), secs(60 * 60));
    rig.await_half_open().await;
}

#[track_caller]
fn set_back() -> SimClocksGuard {
    let guard = SimClocksGuard::init();
    assert_eq!(SystemTime::now(), SystemTime::UNIX_EPOCH);
    guard
}

/// Calls a provider that throttles with these headers.
async fn throttle(rig: &Rig, headers: &[(HeaderName, &'static str)]) {
    let mut response = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
    for (name, value) in headers {
        response = response.header(name, *value);
    }
    let response = response.body(String::new()).map_err(BoxError::from);
    let mut response = Some(response);
    let answers = service_fn(move |()| ready(response.take().expect("one call")));
    let service = HealthLayer::http(rig.provider.clone()).layer(answers);
    drop(service.oneshot(()).await.unwrap());
    assert_eq!(rig.state(), State::Open);
}
