//! A provider that asks for a pause.

use std::time::Duration;

use tokio::time::Instant;
use tower_health::{Cause, Policy, State, Throttle};

use crate::{
    pair::{Answer, MILLISECOND, Pair, SECOND, assert_wait_ends, client_of},
    server::{Script, Server},
};

const TOO_MANY: &str = "429 Too Many Requests";
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Row 35.
#[tokio::test]
async fn a_429_takes_a_out_for_the_time_it_names_however_it_is_spelt() {
    let spellings: [&[_]; 3] = [
        &[("retry-after", "7")],
        &[
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 08:49:44 GMT"),
        ],
        &[("retry-after-ms", "7000")],
    ];
    for headers in spellings {
        assert_out_for(7 * SECOND, headers).await;
    }
}

/// Row 35: a wait of ten years.
#[tokio::test]
async fn a_silly_time_is_clamped() {
    let spellings: [&[_]; 3] = [
        &[("retry-after", "315360000")],
        &[
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("retry-after", "Sat, 06 Nov 2004 08:49:37 GMT"),
        ],
        &[("retry-after-ms", "315360000000")],
    ];
    for headers in spellings {
        assert_out_for(HOUR, headers).await;
    }
}

/// Row 35.
#[tokio::test]
async fn a_is_back_once_the_time_is_over() {
    let a = Server::start(|_| Script::answer(TOO_MANY, &[("retry-after-ms", "200")], ""));
    let mut pair = without_jitter(&a);
    assert_eq!(pair.get().await, Answer::from_b(&["a: 429"]));

    a.becomes(|_| Script::well("a"));
    pair.a_is_half_open().await;
    assert_eq!(pair.get().await, Answer::from_a());

    assert_eq!(pair.state_of_a(), State::Closed);
    assert_eq!(pair.transitions().windows(), [200 * MILLISECOND]);
    assert_eq!(a.requests(), 2);
}

fn without_jitter(a: &Server) -> Pair {
    let throttle = Throttle::default().jitter(0.0);
    Pair::new(Policy::new().throttle(throttle), client_of(a))
}

async fn assert_out_for(time: Duration, headers: &'static [(&str, &str)]) {
    let a = Server::start(move |_| Script::answer(TOO_MANY, headers, ""));
    let mut pair = without_jitter(&a);

    assert_eq!(pair.get().await, Answer::from_b(&["a: 429"]));
    assert_eq!(pair.get().await, Answer::from_b(&["a: circuit open"]));
    assert_eq!(a.requests(), 1);

    let throttled = pair.transitions().first().at;
    let asked = Instant::now();
    let health = pair.a.health();
    assert_wait_ends(health.retry_in, asked, throttled + time);
    assert_eq!(health.cause, Some(Cause::Throttled));
    assert_eq!(health.consecutive_failures, 0);
}
