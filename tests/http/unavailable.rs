//! Responses of a server whose providers are unavailable: the status, the retry time, and the details shown.

use std::{future::ready, io, time::Duration};

use http::{
    Request, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Empty;
use tokio::time::advance;
use tower::{
    Layer, Service, ServiceExt, load_shed::error::Overloaded, service_fn, timeout::error::Elapsed,
    util::BoxCloneSyncService,
};
use tower_health::{
    Backoff, BoxError, Exhausted, FallbackChain, HealthCache, HealthLayer, Override, Policy,
    Provider,
    error::{NoHealthyProvider, find},
    http::{
        ReplayError, ReplayLayer, StatusClassifier, grpc_unavailable_response,
        unavailable_response, unavailable_response_with_details,
    },
};

use crate::cache_without_jitter;

mod grpc {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusal_is_a_14_with_the_time_that_is_left() {
        let search = HealthCache::default().provider("search");
        search.mark_unhealthy("key of 10.0.0.7");
        search.mark_unhealthy("key of 10.0.0.7");
        advance(Duration::from_micros(20_500_001)).await;
        let response = answer(search.admit().unwrap_err());
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers[CONTENT_TYPE], "application/grpc");
        assert_eq!(headers["grpc-status"], "14");
        assert_eq!(headers["grpc-message"], "circuit open");
        // 39,499.999 ms, rounded up.
        assert_eq!(headers["grpc-retry-pushback-ms"], "39500");
        assert_eq!(headers.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn exhausted_chain_is_a_14() {
        let mut chain = Chain::of([("a", Answer::Status(500))]);
        let response = answer(chain.fails().await);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "no healthy provider");
    }

    #[test]
    fn other_errors_are_told_by_their_kind() {
        for (error, status, message) in [
            (Elapsed::new().into(), "4", "timeout"),
            (Overloaded::new().into(), "14", "overloaded"),
            (BoxError::from("no such table"), "14", "error"),
            (
                ReplayError::Unreadable("gone".into()).into(),
                "3",
                "request",
            ),
        ] {
            let response = answer(error);
            assert_eq!(response.headers()["grpc-status"], status);
            assert_eq!(response.headers()["grpc-message"], message);
            assert_eq!(response.headers().get("grpc-retry-pushback-ms"), None);
        }
    }

    fn answer(error: impl Into<BoxError>) -> Response<Empty<bytes::Bytes>> {
        grpc_unavailable_response(&*error.into())
    }
}

mod chains {
    use super::*;

    /// Scenario 47.
    #[tokio::test(start_paused = true)]
    async fn breakers_that_are_open_make_a_503_with_the_soonest_return() {
        let mut chain = Chain::of([("a", Answer::Status(500)), ("b", Answer::Status(502))]);
        chain.fails().await;
        advance(Duration::from_secs(10)).await;
        chain.fails().await;
        advance(Duration::from_millis(20_500)).await;

        chain.chain = chain.chain.when_exhausted(Exhausted::Fail);
        let response = unavailable_response(&*chain.fails().await);
        assert_eq!(response.status(), 503);
        // 39.5 s, rounded up.
        assert_eq!(response.headers()[RETRY_AFTER], "40");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(
            response.body(),
            r#"{"error":"no healthy provider","attempts":[{"provider":"a","reason":"circuit open"},{"provider":"b","reason":"circuit open"}]}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn breakers_that_this_request_has_opened_are_heeded_too() {
        let mut chain = Chain::of([("a", Answer::Status(500))]);
        let first = unavailable_response(&*chain.fails().await);
        assert_eq!(first.headers().get(RETRY_AFTER), None);

        let error = chain.fails().await;
        assert_eq!(find::<NoHealthyProvider>(&*error).unwrap().retry_in, None);
        let second = unavailable_response(&*error);
        assert_eq!(second.status(), 503);
        assert_eq!(second.headers()[RETRY_AFTER], "60");
        assert_eq!(reasons(&second), ["500"]);
    }

    #[tokio::test(start_paused = true)]
    async fn longest_wait_is_written_in_whole_seconds() {
        let mut chain = Chain::of([("a", Answer::Status(500))]);
        let mut exhausted: Box<NoHealthyProvider> = chain.fails().await.downcast().unwrap();
        exhausted.attempts.clear();
        exhausted.retry_in = Some(Duration::MAX);

        let response = unavailable_response(&*exhausted);
        assert_eq!(response.headers()[RETRY_AFTER], u64::MAX.to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn providers_that_all_want_a_pause_make_a_429() {
        let mut chain = Chain::of([("a", Answer::Pause(30)), ("b", Answer::Pause(7))]);
        let asked = unavailable_response(&*chain.fails().await);
        assert_eq!(asked.status(), 429);
        assert_eq!(asked.headers()[RETRY_AFTER], "7");
        assert_eq!(reasons(&asked), ["429", "429"]);

        advance(Duration::from_secs(2)).await;
        let skipped = unavailable_response(&*chain.fails().await);
        assert_eq!(skipped.status(), 429);
        assert_eq!(skipped.headers()[RETRY_AFTER], "5");
        assert_eq!(reasons(&skipped), ["circuit open", "circuit open"]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_provider_that_failed_makes_it_a_503() {
        for answers in [
            [("a", Answer::Pause(7)), ("b", Answer::Status(503))],
            [("a", Answer::Status(503)), ("b", Answer::Pause(7))],
        ] {
            let mut chain = Chain::of(answers);
            for _ in 0..3 {
                let error = chain.fails().await;
                assert!(!find::<NoHealthyProvider>(&*error).unwrap().is_throttled());
                assert_eq!(unavailable_response(&*error).status(), 503);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn provider_that_an_operator_holds_open_makes_it_a_503() {
        let mut chain = Chain::of([("a", Answer::Pause(7)), ("b", Answer::Pause(7))]);
        let hour = Duration::from_secs(3600);
        chain.provider("b").force(Override::Open, hour, "drained");
        let response = unavailable_response(&*chain.fails().await);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
    }

    #[tokio::test(start_paused = true)]
    async fn provider_that_does_not_take_the_request_does_not_matter() {
        let cache = cache_without_jitter();
        let paused = cache.provider("paused");
        paused
            .admit()
            .unwrap()
            .throttled(Some(Duration::from_secs(7)), "429");
        let large = cache.provider("large");
        large.force(Override::Open, Duration::from_secs(3), "drained");

        let serves = || service_fn(|_: Request<()>| ready(io::Result::Ok(Response::new(()))));
        let chain = FallbackChain::http().entry_if(large, serves(), |_| false);
        let error = chain.clone().oneshot(Request::default()).await.unwrap_err();
        let response = unavailable_response(&*error);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get(RETRY_AFTER), None);
        assert_eq!(reasons(&response), ["not eligible"]);

        let chain = chain.entry(paused, serves());
        let error = chain.oneshot(Request::default()).await.unwrap_err();
        let response = unavailable_response(&*error);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
        assert_eq!(reasons(&response), ["not eligible", "circuit open"]);
    }

    #[tokio::test(start_paused = true)]
    async fn chain_without_entries_makes_a_503() {
        let response = unavailable_response(&*Chain::of([]).fails().await);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get(RETRY_AFTER), None);
        assert_eq!(
            response.body(),
            r#"{"error":"no healthy provider","attempts":[]}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn chain_is_found_beneath_other_layers() {
        let error = Chain::of([("a", Answer::Pause(7))]).fails().await;
        let wrapped = io::Error::other(io::Error::other(error));
        assert_eq!(unavailable_response(&wrapped).status(), 429);
    }
}

mod breakers {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn breaker_that_is_open_makes_a_503() {
        let provider = provider();
        provider.mark_unhealthy("secret");
        provider.mark_unhealthy("secret");
        advance(Duration::from_millis(1)).await;
        let error = io::Error::other(provider.admit().unwrap_err());

        let response = unavailable_response(&error);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "60");
        assert_eq!(
            response.body(),
            r#"{"error":"circuit open","attempts":[{"provider":"groq","reason":"circuit open"}]}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn provider_that_wants_a_pause_makes_a_429() {
        let provider = provider();
        let permit = provider.admit().unwrap();
        permit.throttled(Some(Duration::from_secs(7)), "429");
        let response = unavailable_response(&provider.admit().unwrap_err());
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
    }

    #[tokio::test(start_paused = true)]
    async fn seconds_are_rounded_up() {
        for (wait, seconds) in [
            (Duration::from_nanos(1), "1"),
            (Duration::from_millis(999), "1"),
            (Duration::from_secs(1), "1"),
            (Duration::from_millis(1_001), "2"),
        ] {
            let policy = Policy::new().backoff(Backoff::constant(wait));
            let provider = HealthCache::new(policy).provider("groq");
            provider.mark_unhealthy("timeout");
            provider.mark_unhealthy("timeout");
            let response = unavailable_response(&provider.admit().unwrap_err());
            assert_eq!(response.headers()[RETRY_AFTER], seconds, "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_that_is_over_says_so() {
        let provider = provider();
        provider.mark_unhealthy("timeout");
        provider.mark_unhealthy("timeout");
        let refusal = provider.admit().unwrap_err();
        advance(Duration::from_secs(60)).await;

        let response = unavailable_response(&refusal);
        assert_eq!(response.headers()[RETRY_AFTER], "0");
    }
}

mod failures {
    use super::*;

    #[test]
    fn status_goes_by_the_kind() {
        let io = |kind: io::ErrorKind| BoxError::from(io::Error::from(kind));
        for (error, status, name) in [
            (io(io::ErrorKind::TimedOut), 504, "timeout"),
            (Elapsed::new().into(), 504, "timeout"),
            (io(io::ErrorKind::ConnectionRefused), 502, "connect"),
            (io(io::ErrorKind::ConnectionReset), 502, "reset"),
            (io(io::ErrorKind::NotFound), 502, "error"),
            ("the secret is 42".into(), 502, "error"),
            (Overloaded::new().into(), 503, "overloaded"),
            (
                ReplayError::Unreadable("secret".into()).into(),
                400,
                "request",
            ),
            (io::Error::other(Elapsed::new()).into(), 504, "timeout"),
        ] {
            let response = unavailable_response(&*error);
            assert_eq!(response.status(), status, "{error}");
            assert_eq!(response.headers().get(RETRY_AFTER), None);
            let body = format!(r#"{{"error":"{name}","attempts":[]}}"#);
            assert_eq!(*response.body(), body);
        }
    }

    /// Scenario 48.
    #[tokio::test]
    async fn request_that_is_too_large_is_a_413() {
        let never = service_fn(|_| ready(io::Result::Ok(())));
        let service = ReplayLayer::up_to(1).layer(never);
        let error = service.oneshot(Request::new("more".to_owned())).await;
        let response = unavailable_response(&*error.unwrap_err());
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(response.body(), r#"{"error":"request","attempts":[]}"#);
    }
}

mod texts {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn text_of_an_error_is_told_to_those_who_may_know() {
        let mut chain = Chain::of([("a", Answer::Error(|| "key sk-1 is used up".into()))]);
        let error = chain.fails().await;
        assert_eq!(
            unavailable_response(&*error).body(),
            r#"{"error":"no healthy provider","attempts":[{"provider":"a","reason":"error"}]}"#
        );
        assert_eq!(
            unavailable_response_with_details(&*error).body(),
            concat!(
                r#"{"error":"no healthy provider","#,
                r#""attempts":[{"provider":"a","reason":"error","details":"key sk-1 is used up"}],"#,
                r#""details":"no healthy provider: `a`: key sk-1 is used up"}"#
            )
        );
    }

    #[tokio::test(start_paused = true)]
    async fn last_error_of_a_breaker_is_told_to_those_who_may_know() {
        let provider = provider();
        provider.mark_unhealthy("timeout");
        provider.mark_unhealthy("key sk-1 is used up");
        let error: BoxError = provider.admit().unwrap_err().into();

        assert!(!unavailable_response(&*error).body().contains("sk-1"));
        let detailed = unavailable_response_with_details(&*error);
        let attempt =
            r#"{"provider":"groq","reason":"circuit open","details":"key sk-1 is used up"}"#;
        assert!(detailed.body().contains(attempt), "{}", detailed.body());
        assert_eq!(detailed.status(), 503);
        assert_eq!(detailed.headers()[RETRY_AFTER], "60");
    }

    #[tokio::test(start_paused = true)]
    async fn reason_of_an_attempt_is_a_label() {
        let mut chain = Chain::of([
            (
                "a",
                Answer::Error(|| io::Error::from(io::ErrorKind::ConnectionReset).into()),
            ),
            ("b", Answer::Error(|| Overloaded::new().into())),
            ("c", Answer::Status(521)),
        ]);
        let response = unavailable_response(&*chain.fails().await);
        assert_eq!(reasons(&response), ["reset", "overloaded", "521"]);
    }

    #[tokio::test(start_paused = true)]
    async fn any_text_makes_valid_json() {
        let id = "a \"quoted\" \\ id\r\n\t\u{0}\u{1f}\u{7f} \u{2028} ключ 🔑";
        let provider = HealthCache::default().provider(id);
        provider.mark_unhealthy("timeout");
        provider.mark_unhealthy("timeout");
        let response = unavailable_response(&provider.admit().unwrap_err());

        let escaped =
            "a \\\"quoted\\\" \\\\ id\\u000d\\u000a\\u0009\\u0000\\u001f\u{7f} \u{2028} ключ 🔑";
        let provider = format!(r#"{{"provider":"{escaped}","reason":"circuit open"}}"#);
        assert!(response.body().contains(&provider), "{}", response.body());
    }
}

type Stack = BoxCloneSyncService<Request<()>, Response<()>, BoxError>;

/// The response of a provider to every request.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    Pause(u64),
    Error(fn() -> BoxError),
}

impl Answer {
    fn give(self) -> Result<Response<Empty<&'static [u8]>>, BoxError> {
        let response = match self {
            Self::Status(status) => Response::builder().status(status),
            Self::Pause(seconds) => Response::builder()
                .status(StatusCode::TOO_MANY_REQUESTS)
                .header(RETRY_AFTER, seconds),
            Self::Error(error) => return Err(error()),
        };
        Ok(response.body(Empty::new()).unwrap())
    }
}

struct Chain {
    cache: HealthCache,
    chain: FallbackChain<Stack, Request<()>, StatusClassifier>,
}

impl Chain {
    fn of<const N: usize>(answers: [(&'static str, Answer); N]) -> Self {
        let cache = cache_without_jitter();
        let entries = answers.into_iter();
        let chain = entries.fold(FallbackChain::http(), |chain, (id, answer)| {
            let answers = service_fn(move |_| ready(answer.give()));
            let layer = HealthLayer::http(cache.provider(id));
            let stack = layer
                .layer(answers)
                .map_response(|response| response.map(drop));
            chain.entry(cache.provider(id), BoxCloneSyncService::new(stack))
        });
        Self { cache, chain }
    }

    fn provider(&self, id: &str) -> Provider {
        self.cache.get(id).unwrap()
    }

    async fn fails(&mut self) -> BoxError {
        self.chain.call(Request::default()).await.unwrap_err()
    }
}

fn provider() -> Provider {
    cache_without_jitter().provider("groq")
}

/// The reasons of the attempts in the body.
fn reasons(response: &Response<String>) -> Vec<&str> {
    let attempts = response.body().split(r#""reason":""#).skip(1);
    attempts
        .map(|rest| rest.split('"').next().unwrap())
        .collect()
}
