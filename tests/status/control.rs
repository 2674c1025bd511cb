//! Operator overrides over HTTP, and refusal of cross-origin requests.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header::ALLOW, request::Builder};
use http_body_util::{Channel, Full};
use serde_json::{Value, json};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};
use tower::Service;
use tower_health::{Cause, HealthCache, Override, State, status::ControlService};

use crate::{Answer, HOUR, answer, cache, json, text};

fn post(path: &str) -> Builder {
    Request::post(path).header("content-type", "application/json")
}

async fn send(cache: &HealthCache, request: Builder, body: impl Into<String>) -> Answer {
    let request = request.body(Full::<Bytes>::from(body.into())).unwrap();
    answer(ControlService::new(cache), request).await
}

async fn command(cache: &HealthCache, path: &str, body: Value) -> Answer {
    send(cache, post(path), body.to_string()).await
}

async fn error(answer: Answer) -> String {
    let body = json(answer).await;
    body["error"].as_str().unwrap().to_owned()
}

fn maintenance() -> Value {
    json!({ "ttl": "10m", "reason": "maintenance" })
}

mod actions {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn force_open_holds_it_open_for_the_ttl() {
        let cache = cache();
        let groq = cache.provider("groq");
        let answer = command(&cache, "/providers/groq/force-open", maintenance()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let snapshot = serde_json::to_value(cache.snapshot()).unwrap();
        assert_eq!(json(answer).await, snapshot);
        assert_eq!(snapshot["providers"][0]["cause"], "forced");
        assert_eq!(snapshot["providers"][0]["reason"], "maintenance");
        assert_eq!(snapshot["providers"][0]["forced_for_seconds"], 600.0);

        groq.mark_healthy();
        advance(Duration::from_secs(599)).await;
        assert!(groq.admit().is_err());
        advance(Duration::from_secs(1)).await;
        assert!(groq.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn force_closed_admits_every_call() {
        let cache = cache();
        let groq = cache.provider("groq");
        groq.mark_unhealthy("503");
        let answer = command(&cache, "/providers/groq/force-closed", maintenance()).await;
        assert_eq!(json(answer).await["providers"][0]["state"], "closed");
        assert!(groq.admit().is_ok());
        assert_eq!(groq.health().cause, Some(Cause::Forced));
    }

    #[tokio::test(start_paused = true)]
    async fn release_ends_an_override() {
        let cache = cache();
        let groq = cache.provider("groq");
        groq.force(Override::Open, HOUR, "maintenance");
        let answer = command(&cache, "/providers/groq/release", json!({})).await;
        assert_eq!(json(answer).await["providers"][0]["state"], "closed");
        assert_eq!(groq.health().state, State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn reset_clears_failures_but_not_an_override() {
        let cache = cache();
        let groq = cache.provider("groq");
        groq.mark_unhealthy("503");
        let answer = command(&cache, "/providers/groq/reset", json!({})).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(groq.health().state, State::Closed);

        groq.force(Override::Open, HOUR, "maintenance");
        command(&cache, "/providers/groq/reset", json!({})).await;
        assert_eq!(groq.health().state, State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn other_providers_are_unaffected() {
        let cache = cache();
        let _both = (cache.provider("groq"), cache.provider("groq2"));
        command(&cache, "/providers/groq/force-open", maintenance()).await;
        assert!(!cache.is_healthy("groq"));
        assert!(cache.is_healthy("groq2"));
    }
}

mod ids {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn any_string_is_a_valid_id() {
        for (id, written) in [
            ("groq/llama-3.3-70b", "groq%2Fllama-3.3-70b"),
            ("groq/llama-3.3-70b", "groq/llama-3.3-70b"),
            ("a/force-open", "a%2Fforce-open"),
            ("größe ✓", "gr%C3%B6%C3%9Fe%20%e2%9c%93"),
            (
                "<img src=x onerror=alert(1)>",
                "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
            ),
            ("100%25", "100%2525"),
            ("a+b", "a+b"),
            ("", ""),
        ] {
            let cache = cache();
            let provider = cache.provider(id);
            let path = format!("/providers/{written}/force-open");
            let answer = command(&cache, &path, maintenance()).await;
            assert_eq!(answer.status(), StatusCode::OK, "{id}");
            assert_eq!(json(answer).await["providers"][0]["id"], id);
            assert!(!provider.is_healthy(), "{id}");
        }
    }

    /// Browsers and curl remove `.` and `..` from a path, even encoded.
    #[tokio::test(start_paused = true)]
    async fn id_may_be_in_the_query() {
        for (id, written) in [
            (".", "."),
            ("..", ".."),
            ("..", "%2E%2e"),
            ("", ""),
            ("groq/llama 3", "groq/llama%203"),
            ("a&b=c+d#%", "a%26b=c+d%23%25"),
        ] {
            let cache = cache();
            let provider = cache.provider(id);
            let path = format!("/providers/force-open?from=page&id={written}");
            let answer = command(&cache, &path, maintenance()).await;
            assert_eq!(answer.status(), StatusCode::OK, "{id}");
            assert!(!provider.is_healthy(), "{id}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_provider_is_not_created() {
        let cache = cache();
        for action in ["force-open", "force-closed", "release", "reset"] {
            let path = format!("/providers/a%3Cb/{action}");
            let answer = command(&cache, &path, maintenance()).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            assert_eq!(error(answer).await, "unknown provider `a<b`");
        }
        assert!(cache.snapshot().providers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn malformed_percent_encoding_is_refused() {
        for written in ["%", "%4", "%zz", "%ff", "%C3"] {
            let path = format!("/providers/{written}/reset");
            let answer = command(&cache(), &path, json!({})).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{written}");
            let expected = format!("provider id `{written}` is not percent-encoded UTF-8");
            assert_eq!(error(answer).await, expected);
        }
    }
}

mod bodies {
    use super::*;

    async fn refused(body: &str) -> String {
        let cache = cache();
        let groq = cache.provider("groq");
        let answer = send(&cache, post("/providers/groq/force-open"), body).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
        assert!(groq.is_healthy(), "{body}");
        error(answer).await
    }

    #[tokio::test(start_paused = true)]
    async fn ttl_outside_its_limits_is_refused() {
        for ttl in [
            "0s",
            "999ms",
            "8days",
            "600",
            "ten",
            "-1m",
            "",
            "99999999999999999999s",
            "18446744073709551615s 1000000000ns",
            "18446744073709551614s 1000ms 1000000us 1s",
        ] {
            let body = json!({ "ttl": ttl, "reason": "maintenance" });
            let message = refused(&body.to_string()).await;
            let expected = format!(
                "`ttl` must be a duration from 1s to 7d, such as 90s, 10m or 2h, got {ttl:?}"
            );
            assert!(message.starts_with(&expected), "{message}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ttl_accepts_human_readable_durations() {
        for (ttl, seconds) in [
            ("1s", 1),
            ("90s", 90),
            (" 10m ", 600),
            ("1h 30m", 5_400),
            ("7days", 604_800),
        ] {
            let cache = cache();
            let groq = cache.provider("groq");
            let body = json!({ "ttl": ttl, "reason": "maintenance" });
            command(&cache, "/providers/groq/force-open", body).await;
            assert_eq!(groq.health().forced_for, Some(Duration::from_secs(seconds)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reason_outside_its_limits_is_refused() {
        for (reason, length) in [("", 0), ("  ", 0), (&*"é".repeat(101), 202)] {
            let body = json!({ "ttl": "10m", "reason": reason });
            let message = refused(&body.to_string()).await;
            assert_eq!(
                message,
                format!("`reason` must be 1 to 200 bytes, got {length}")
            );
        }
        let cache = cache();
        let groq = cache.provider("groq");
        let longest = "é".repeat(100);
        let body = json!({ "ttl": "10m", "reason": longest });
        command(&cache, "/providers/groq/force-open", body).await;
        assert_eq!(groq.health().reason.as_deref(), Some(&*longest));
    }

    #[tokio::test(start_paused = true)]
    async fn error_names_the_fault_in_the_body() {
        for (body, names) in [
            (r#"{"reason":"x"}"#, "missing field `ttl`"),
            (r#"{"ttl":"10m"}"#, "missing field `reason`"),
            (
                r#"{"ttl":"10m","reason":"x","for":"1h"}"#,
                "unknown field `for`",
            ),
            (
                r#"{"ttl":600,"reason":"x"}"#,
                "invalid type: integer `600`, expected a string",
            ),
            ("", "EOF"),
            ("ttl=10m&reason=x", "invalid JSON body: "),
            (r#"{"ttl":"10m","reason":"x"}{}"#, "trailing characters"),
            (r#"["10m","x"]"#, "must be an object"),
            (r#""10m""#, "invalid type: string"),
            ("null", "invalid type: null"),
        ] {
            let message = refused(body).await;
            assert!(message.contains(names), "{message}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn release_and_reset_accept_no_fields() {
        for action in ["release", "reset"] {
            let cache = cache();
            let groq = cache.provider("groq");
            groq.mark_unhealthy("503");
            let path = format!("/providers/groq/{action}");
            let answer = command(&cache, &path, maintenance()).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
            assert!(error(answer).await.contains("unknown field `"));
            assert_eq!(groq.health().state, State::Open);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn empty_array_is_refused() {
        for action in ["release", "reset"] {
            let cache = cache();
            let groq = cache.provider("groq");
            groq.mark_unhealthy("503");
            let path = format!("/providers/groq/{action}");
            let answer = command(&cache, &path, json!([])).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
            assert!(error(answer).await.ends_with("must be an object"));
            assert_eq!(groq.health().state, State::Open);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn long_content_length_is_refused_before_the_body_is_read() {
        for lengths in [
            &["4097"][..],
            &["99999999999999999999999"],
            &["12", "4097"],
            &["x"],
        ] {
            let cache = cache();
            let _groq = cache.provider("groq");
            // No data is ever sent.
            let (_sender, body) = Channel::<Bytes>::new(1);
            let mut request = post("/providers/groq/reset");
            for length in lengths {
                request = request.header("content-length", *length);
            }
            let request = request.body(body).unwrap();
            let mut call = task::spawn(ControlService::new(&cache).call(request));
            let answer = assert_ready!(call.poll()).unwrap();
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn body_over_4_kib_is_refused() {
        let cache = cache();
        let groq = cache.provider("groq");
        let padded = |length| {
            let body = maintenance().to_string();
            let spaces = " ".repeat(length - body.len());
            body + &spaces
        };
        for (length, status) in [(4_097, 413), (1_000_000, 413), (4_096, 200)] {
            let path = post("/providers/groq/force-open");
            let answer = send(&cache, path, padded(length)).await;
            assert_eq!(answer.status(), status);
            assert_eq!(groq.is_healthy(), status == 413);
            if status == 413 {
                assert_eq!(error(answer).await, "body exceeds 4096 bytes");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn endless_body_is_refused_at_the_limit() {
        let cache = cache();
        let groq = cache.provider("groq");
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let request = post("/providers/groq/force-open").body(body).unwrap();
        let sending = tokio::spawn(async move {
            while sender
                .send_data(Bytes::from_static(&[b' '; 1_000]))
                .await
                .is_ok()
            {}
        });
        let answer = answer(ControlService::new(&cache), request).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        // The rest is not read.
        sending.await.unwrap();
        assert!(groq.is_healthy());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_changes_before_the_body_has_ended() {
        let cache = cache();
        let groq = cache.provider("groq");
        let (mut sender, body) = Channel::<Bytes>::new(2);
        let request = post("/providers/groq/force-open").body(body).unwrap();
        let mut call = task::spawn(ControlService::new(&cache).call(request));
        sender
            .send_data(maintenance().to_string().into())
            .await
            .unwrap();
        assert_pending!(call.poll());
        assert!(groq.is_healthy());
        drop(call);
        assert!(groq.is_healthy());
    }

    #[tokio::test(start_paused = true)]
    async fn failed_body_changes_nothing() {
        let cache = cache();
        let groq = cache.provider("groq");
        let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(2);
        sender
            .send_data(maintenance().to_string().into())
            .await
            .unwrap();
        sender.abort(std::io::Error::other("reset"));
        let request = post("/providers/groq/force-open").body(body).unwrap();
        let answer = answer(ControlService::new(&cache), request).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert!(groq.is_healthy());
    }
}

mod origins {
    use super::*;

    async fn reset_with(headers: &[(&str, &str)]) -> Answer {
        let cache = cache();
        let groq = cache.provider("groq");
        groq.mark_unhealthy("503");
        let mut request = post("/providers/groq/reset");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = send(&cache, request, "{}").await;
        assert_eq!(groq.is_healthy(), answer.status() == StatusCode::OK);
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn cross_origin_requests_are_refused() {
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "")],
            // `Sec-Fetch-Site` takes precedence over `Origin`.
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://me"),
                ("host", "me"),
            ],
            &[("origin", "http://evil.example"), ("host", "me")],
            &[("origin", "http://me.evil.example"), ("host", "me")],
            &[("origin", "http://me:81"), ("host", "me:80")],
            &[("origin", "http://me")],
            &[("origin", "null"), ("host", "null")],
            &[("origin", ""), ("host", "")],
            // Every repeated value counts.
            &[
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "cross-site"),
            ],
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("sec-fetch-site", "same-origin, cross-site")],
            &[
                ("origin", "http://me"),
                ("origin", "http://evil.example"),
                ("host", "me"),
            ],
            &[
                ("origin", "http://evil.example"),
                ("origin", "http://me"),
                ("host", "me"),
            ],
            &[("origin", "http://me"), ("host", "me"), ("host", "you")],
        ] {
            let answer = reset_with(headers).await;
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{headers:?}");
            assert_eq!(error(answer).await, "cross-origin request refused");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn same_origin_and_non_browser_requests_are_accepted() {
        for headers in [
            &[][..],
            &[("host", "me")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin")],
            // Behind a proxy with another name.
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://me"),
                ("host", "10.0.0.1"),
            ],
            &[("origin", "http://me:3000"), ("host", "me:3000")],
            &[("origin", "https://Me"), ("host", "me")],
        ] {
            let answer = reset_with(headers).await;
            assert_eq!(answer.status(), StatusCode::OK, "{headers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn http_2_authority_is_compared_with_the_origin() {
        for (origin, status) in [("https://me", 200), ("https://you", 403)] {
            let cache = cache();
            let _groq = cache.provider("groq");
            let request = post("https://me/providers/groq/reset").header("origin", origin);
            assert_eq!(send(&cache, request, "{}").await.status(), status);
        }
    }

    /// A form on another site can send these content types without a CORS preflight.
    #[tokio::test(start_paused = true)]
    async fn content_types_of_plain_forms_are_refused() {
        for content_type in [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain",
            "text/plain; application/json",
            "application/jsonp",
        ] {
            let cache = cache();
            let groq = cache.provider("groq");
            let request =
                Request::post("/providers/groq/force-open").header("content-type", content_type);
            let answer = send(&cache, request, maintenance().to_string()).await;
            assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert_eq!(error(answer).await, "content type must be application/json");
            assert!(groq.is_healthy());
        }
        let none = send(&cache(), Request::post("/providers/groq/reset"), "{}").await;
        assert_eq!(none.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[tokio::test(start_paused = true)]
    async fn json_content_type_ignores_case_and_parameters() {
        for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
            let cache = cache();
            let _groq = cache.provider("groq");
            let request =
                Request::post("/providers/groq/reset").header("content-type", content_type);
            assert_eq!(send(&cache, request, "{}").await.status(), StatusCode::OK);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn responses_have_no_cors_headers() {
        let cache = cache();
        let _groq = cache.provider("groq");
        let preflight = Request::options("/providers/groq/reset")
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "POST");
        let posted = post("/providers/groq/reset");
        for request in [preflight, posted] {
            let answer = send(&cache, request, "{}").await;
            let names = answer.headers().keys().map(http::HeaderName::as_str);
            assert!(
                !names
                    .into_iter()
                    .any(|it| it.starts_with("access-control-"))
            );
        }
    }
}

mod routes {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn other_methods_than_post_are_refused() {
        let cache = cache();
        let groq = cache.provider("groq");
        groq.mark_unhealthy("503");
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            let request = post("/providers/groq/reset").method(method);
            let answer = send(&cache, request, "{}").await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.headers()[ALLOW], "POST");
        }
        assert!(!groq.is_healthy());
    }

    #[tokio::test(start_paused = true)]
    async fn other_paths_are_not_found() {
        let cache = cache();
        let _groq = cache.provider("groq");
        for path in [
            "/",
            "/providers",
            "/providers/groq",
            "/providers/reset",
            "/providers/groq/",
            "/providers/groq/reset/",
            "/providers/groq/close",
            "/provider/groq/reset",
            "/x/providers/groq/reset",
            "/providers/reset?ids=groq",
            "/providers/reset?id=groq&id=groq",
            "/providers?id=groq",
        ] {
            let answer = command(&cache, path, json!({})).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(
                error(answer)
                    .await
                    .starts_with("unknown path: must be /providers/{id}/{action} ")
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn responses_are_uncached_json() {
        let cache = cache();
        let _groq = cache.provider("groq");
        for path in ["/providers/groq/reset", "/x"] {
            let answer = command(&cache, path, json!({})).await;
            assert_eq!(answer.headers()["cache-control"], "no-store");
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
            assert!(text(answer).await.starts_with('{'));
        }
    }
}
