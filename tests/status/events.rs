//! Server-sent events: their content, their times, and their subscribers.

use std::{
    collections::HashSet,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake},
    time::Duration,
};

use bytes::Bytes;
use http::{StatusCode, header::RETRY_AFTER};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, task};
use tower::service_fn;
use tower_health::{
    BoxError, FallbackChain, HealthCache, Override,
    status::{StatusBody, StatusService},
};

use crate::{HOUR, cache, get, status_of, text};

/// Reads the events of one subscriber.
pub(crate) struct Reader {
    body: StatusBody,
}

#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) text: String,
}

impl Reader {
    pub(crate) async fn of(service: &StatusService) -> Self {
        let answer = get(service, "/events").await;
        assert_eq!(answer.status(), StatusCode::OK);
        Self {
            body: answer.into_body(),
        }
    }

    async fn try_next(&mut self) -> Option<Events> {
        let data = self.body.frame().await?.unwrap().into_data().unwrap();
        let text = String::from_utf8(data.to_vec()).unwrap();
        Some(Events { text })
    }

    pub(crate) async fn next(&mut self) -> Events {
        self.try_next().await.expect("the events have not ended")
    }
}

impl Events {
    pub(crate) fn data(&self, name: &str) -> Value {
        let start = format!("event: {name}\ndata: ");
        let (_, rest) = self.text.split_once(&start).expect(name);
        let (data, _) = rest.split_once("\n\n").unwrap();
        serde_json::from_str(data).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.text.contains(&format!("event: {name}\n"))
    }

    /// Formats the transitions as `groq: closed -> open`.
    fn transitions(&self, name: &str) -> Vec<String> {
        let data = self.data(name);
        let transitions = data["transitions"].as_array().unwrap().iter();
        let text = |it: &Value, key| it[key].as_str().unwrap().to_owned();
        let line = |it| {
            format!(
                "{}: {} -> {}",
                text(it, "provider"),
                text(it, "from"),
                text(it, "to")
            )
        };
        transitions.map(line).collect()
    }
}

/// Returns the next frame of each reader, and how many distinct frames were built.
async fn shared(readers: &mut [Reader]) -> (Vec<Bytes>, usize) {
    let mut waiting: Vec<_> = readers.iter_mut().map(|it| it.body.frame()).collect();
    let mut frames = vec![None; waiting.len()];
    poll_fn(|cx| {
        for (frame, next) in frames.iter_mut().zip(&mut waiting) {
            if frame.is_none() {
                if let Poll::Ready(next) = Pin::new(next).poll(cx) {
                    *frame = Some(next.unwrap().unwrap().into_data().unwrap());
                }
            }
        }
        if frames.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let frames: Vec<Bytes> = frames.into_iter().flatten().collect();
    let built: HashSet<_> = frames.iter().map(|it| it.as_ptr()).collect();
    let built = built.len();
    (frames, built)
}

#[tokio::test(start_paused = true)]
async fn all_subscribers_share_one_frame() {
    let cache = cache();
    let groq = cache.provider("groq");
    let service = StatusService::new(&cache);
    let mut readers = Vec::new();
    for _ in 0..63 {
        readers.push(Reader::of(&service).await);
    }
    assert_eq!(shared(&mut readers).await.1, 1);
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(shared(&mut readers).await.1, 1);
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }
    advance(Duration::from_secs(1)).await;
    groq.mark_unhealthy("timeout");
    let (frames, built) = shared(&mut readers).await;
    assert_eq!(built, 1);
    let text = String::from_utf8(frames[0].to_vec()).unwrap();
    let frame = Events { text };
    assert_eq!(frame.transitions("transitions"), ["groq: closed -> open"]);
    // A later subscriber shares frames with the others from its second frame on.
    advance(Duration::from_secs(2)).await;
    readers.push(Reader::of(&service).await);
    readers.last_mut().unwrap().next().await;
    let start = Instant::now();
    assert_eq!(shared(&mut readers).await.1, 1);
    assert!(start.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn clone_with_other_settings_shares_no_frames() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let redacted = service.clone().redact(true);
    cache.provider("groq").mark_unhealthy("a secret".to_owned());
    for (service, is_shown) in [(&service, true), (&redacted, false), (&service, true)] {
        let frame = Reader::of(service).await.next().await;
        assert_eq!(frame.text.contains("a secret"), is_shown);
    }
}

#[tokio::test(start_paused = true)]
async fn any_change_makes_a_new_frame() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let rows = async || {
        let frame = Reader::of(&service).await.next().await;
        frame.data("health")["providers"].to_string()
    };
    let mut last = rows().await;
    let groq = cache.provider("groq");
    let changes: [&dyn Fn(); 6] = [
        &|| {},
        &|| groq.mark_unhealthy("timeout"),
        &|| groq.force(Override::Open, HOUR, "maintenance"),
        &|| groq.unforce(),
        &|| groq.mark_healthy(),
        &|| cache.remove("groq"),
    ];
    for change in changes {
        change();
        let next = rows().await;
        assert_ne!(next, last);
        last = next;
    }
}

#[tokio::test(start_paused = true)]
async fn first_frame_is_complete_and_immediate() {
    let cache = cache();
    let service = StatusService::new(&cache).expected(["openai"]);
    advance(Duration::from_secs(3)).await;
    cache.provider("groq").mark_unhealthy("timeout");
    advance(Duration::from_secs(2)).await;

    let asked = Instant::now();
    let frame = Reader::of(&service).await.next().await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert!(frame.text.starts_with("retry: 1000\nevent: history\n"));
    let history = frame.data("history");
    assert_eq!(history["version"], 1);
    assert_eq!(history["watched_seconds"], 5.0);
    assert_eq!(history["missed"], 0);
    assert_eq!(history["gap_seconds_ago"], serde_json::json!(null));
    assert_eq!(history["gaps"], serde_json::json!({}));
    assert_eq!(history["transitions"][0]["seconds_ago"], 2.0);
    assert_eq!(frame.transitions("history"), ["groq: closed -> open"]);
    let snapshot = serde_json::to_value(cache.snapshot_of(["openai"])).unwrap();
    assert_eq!(frame.data("health"), snapshot);
}

#[tokio::test(start_paused = true)]
async fn transition_is_sent_at_once() {
    let cache = cache();
    let mut reader = Reader::of(&StatusService::new(&cache)).await;
    reader.next().await;
    let groq = cache.provider("groq");
    advance(Duration::from_secs(1)).await;
    groq.mark_unhealthy("timeout");
    let happened = Instant::now();
    let frame = reader.next().await;
    // Frames are at least 250 ms apart.
    assert!(happened.elapsed() <= Duration::from_millis(250));
    assert!(!frame.has("history"));
    assert_eq!(frame.transitions("transitions"), ["groq: closed -> open"]);
    assert_eq!(frame.data("health")["providers"][0]["state"], "open");
}

#[tokio::test(start_paused = true)]
async fn override_without_a_transition_is_sent_at_once() {
    let cache = cache();
    let groq = cache.provider("groq");
    let service = StatusService::new(&cache).refresh(HOUR);
    let mut reader = Reader::of(&service).await;
    reader.next().await;
    advance(Duration::from_secs(1)).await;
    groq.force(Override::Closed, HOUR, "maintenance");
    let happened = Instant::now();
    let frame = reader.next().await;
    assert!(happened.elapsed() <= Duration::from_millis(250));
    assert!(!frame.has("transitions"));
    assert_eq!(frame.data("health")["providers"][0]["cause"], "forced");
}

#[tokio::test(start_paused = true)]
async fn transitions_are_batched_into_four_frames_a_second() {
    let cache = cache();
    let mut reader = Reader::of(&StatusService::new(&cache)).await;
    reader.next().await;
    let groq = cache.provider("groq");
    let start = Instant::now();
    let flapping = tokio::spawn(async move {
        for _ in 0..100 {
            groq.mark_unhealthy("timeout");
            groq.mark_healthy();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let (mut frames, mut received) = (0, 0);
    while received < 200 {
        received += reader.next().await.transitions("transitions").len();
        frames += 1;
    }
    flapping.await.unwrap();
    assert_eq!(received, 200);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert_eq!(frames, 4);
}

#[tokio::test(start_paused = true)]
async fn health_is_sent_at_every_refresh_without_changes() {
    let cache = cache();
    let _groq = cache.provider("groq");
    for (service, interval) in [
        (StatusService::new(&cache), 5),
        (
            StatusService::new(&cache).refresh(Duration::from_secs(60)),
            60,
        ),
    ] {
        let mut reader = Reader::of(&service).await;
        reader.next().await;
        for _ in 0..3 {
            let start = Instant::now();
            let frame = reader.next().await;
            assert_eq!(start.elapsed(), Duration::from_secs(interval));
            assert!(frame.has("health") && !frame.has("transitions"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn end_of_an_open_window_is_sent_without_calls() {
    let cache = cache();
    let service = StatusService::new(&cache).refresh(HOUR);
    let mut reader = Reader::of(&service).await;
    cache.provider("groq").mark_unhealthy("timeout");
    let start = Instant::now();
    reader.next().await;
    let frame = reader.next().await;
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    assert_eq!(
        frame.transitions("transitions"),
        ["groq: open -> half-open"]
    );
    assert_eq!(frame.data("health")["providers"][0]["state"], "half-open");
}

#[tokio::test(start_paused = true)]
async fn frames_are_built_only_when_read() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let mut reader = Reader::of(&service).await;
    reader.next().await;
    let groq = cache.provider("groq");
    for _ in 0..3 {
        groq.mark_unhealthy("timeout");
        groq.mark_healthy();
        advance(Duration::from_secs(60)).await;
    }
    // A slow reader gets one frame with all missed transitions, and no queued frames.
    let frame = reader.next().await;
    assert_eq!(frame.transitions("transitions").len(), 6);
    assert_pending!(task::spawn(reader.next()).poll());
}

#[tokio::test(start_paused = true)]
async fn history_includes_transitions_before_the_first_subscriber() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let groq = cache.provider("groq");
    groq.mark_unhealthy("timeout");
    groq.mark_healthy();
    for _ in 0..2 {
        let frame = Reader::of(&service).await.next().await;
        assert_eq!(
            frame.transitions("history"),
            ["groq: closed -> open", "groq: open -> closed"]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn flapping_provider_does_not_evict_the_history_of_others() {
    let cache = cache();
    let service = StatusService::new(&cache);
    cache.provider("quiet").mark_unhealthy("timeout");
    let flapping = cache.provider("flapping");
    for _ in 0..50 {
        flapping.mark_unhealthy("timeout");
        flapping.mark_healthy();
        advance(Duration::from_millis(100)).await;
    }
    let frame = Reader::of(&service).await.next().await;
    let transitions = frame.transitions("history");
    assert_eq!(transitions.len(), 65);
    assert_eq!(transitions[0], "quiet: closed -> open");
    // The end of the last of 18 evicted rounds.
    assert_eq!(
        frame.data("history")["gaps"],
        serde_json::json!({ "flapping": 3.3 })
    );
    assert_eq!(frame.data("history")["missed"], 0);
}

#[tokio::test(start_paused = true)]
async fn health_requests_collect_the_history() {
    let cache = cache();
    for path in ["/healthz", "/health.json"] {
        let service = StatusService::new(&cache);
        let quiet = cache.provider("quiet");
        quiet.mark_unhealthy("timeout");
        let flapping = cache.provider("flapping");
        for round in 0..1_500 {
            flapping.mark_unhealthy("timeout");
            flapping.mark_healthy();
            if round % 500 == 499 {
                assert_eq!(status_of(&service, path).await, StatusCode::OK);
            }
        }
        let frame = Reader::of(&service).await.next().await;
        assert_eq!(frame.data("history")["missed"], 0, "{path}");
        let transitions = frame.transitions("history");
        assert_eq!(transitions.len(), 65);
        assert_eq!(transitions[0], "quiet: closed -> open");
        quiet.mark_healthy();
    }
}

#[tokio::test(start_paused = true)]
async fn history_of_many_providers_is_bounded() {
    let cache = cache();
    let service = StatusService::new(&cache);
    for id in 0..2_000 {
        cache.provider(format!("{id:04}")).mark_unhealthy("timeout");
        if id % 500 == 0 {
            Reader::of(&service).await.next().await;
        }
    }
    let frame = Reader::of(&service).await.next().await;
    let transitions = frame.transitions("history");
    assert_eq!(transitions.len(), 1_024);
    assert_eq!(transitions[0], "0976: closed -> open");
    assert_eq!(transitions[1_023], "1999: closed -> open");
    // Evicted providers have no kept transitions, so they have no gap.
    assert_eq!(frame.data("history")["gaps"], serde_json::json!({}));
}

#[tokio::test(start_paused = true)]
async fn dropped_transitions_are_a_gap_of_known_age() {
    let cache = cache();
    let service = StatusService::new(&cache);
    for id in 0..1_500 {
        cache.provider(format!("{id:04}")).mark_unhealthy("timeout");
        advance(Duration::from_millis(1)).await;
    }
    let mut reader = Reader::of(&service).await;
    let history = reader.next().await.data("history");
    assert_eq!(history["missed"], 1_500 - 1_024);
    assert_eq!(history["gap_seconds_ago"], 1.024);
    advance(Duration::from_secs(5)).await;
    cache.provider("late").mark_unhealthy("timeout");
    let transitions = reader.next().await.data("transitions");
    assert_eq!(transitions["missed"], 1_500 - 1_024);
    assert!(
        transitions["gap_seconds_ago"].as_f64().unwrap() >= 6.024,
        "the gap does not move"
    );
    assert_eq!(history["transitions"].as_array().unwrap().len(), 1_024);
}

#[tokio::test(start_paused = true)]
async fn subscribers_are_limited_and_a_dropped_one_frees_its_slot() {
    let cache = cache();
    for (service, max) in [
        (StatusService::new(&cache), 64),
        (StatusService::new(&cache).max_subscribers(2), 2),
    ] {
        let mut readers = Vec::new();
        for _ in 0..max {
            readers.push(Reader::of(&service).await);
        }
        let full = get(&service.clone(), "/events").await;
        assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(full.headers()[RETRY_AFTER], "5");
        assert_eq!(text(full).await, "too many subscribers\n");
        // Other paths still work.
        assert_eq!(status_of(&service, "/health.json").await, StatusCode::OK);
        readers.pop();
        let mut reader = Reader::of(&service).await;
        reader.next().await;
        assert_eq!(
            status_of(&service, "/events").await,
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
}

#[tokio::test(start_paused = true)]
async fn close_ends_the_events_of_all_clones() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let (mut fresh, mut waiting) = (Reader::of(&service).await, Reader::of(&service).await);
    waiting.next().await;
    let mut next = task::spawn(waiting.try_next());
    assert_pending!(next.poll());
    service.clone().close();
    assert!(next.is_woken());
    assert!(next.await.is_none());
    assert!(fresh.try_next().await.is_none());
    assert!(fresh.try_next().await.is_none());
    let closed = get(&service, "/events").await;
    assert_eq!(closed.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(closed).await, "server is shutting down\n");
    assert_eq!(status_of(&service, "/").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn events_end_with_the_cache() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let mut reader = Reader::of(&service).await;
    reader.next().await;
    let mut next = task::spawn(reader.try_next());
    assert_pending!(next.poll());
    drop(cache);
    assert!(!next.is_woken());
    drop(service);
    assert!(next.is_woken());
    assert!(next.await.is_none());
}

/// Panics when it is woken.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// Registers a waker that panics, for the frame after the next one.
async fn wait_with_panicking_waker(reader: &mut Reader) {
    reader.next().await;
    assert_pending!(task::spawn(reader.next()).poll());
    advance(Duration::from_millis(300)).await;
    let waker = Arc::new(PanickingWaker).into();
    let next = pin!(reader.body.frame());
    assert!(next.poll(&mut Context::from_waker(&waker)).is_pending());
}

#[tokio::test(start_paused = true)]
async fn panicking_waker_of_one_subscriber_affects_no_other() {
    type Change = fn(&HealthCache, StatusService);
    let changes: [Change; 4] = [
        |cache, _| {
            let provider = cache.provider("groq");
            provider.force(Override::Open, HOUR, "maintenance");
        },
        |cache, _| cache.provider("groq").mark_unhealthy("timeout"),
        |_, service| service.close(),
        |_, service| drop(service),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let cache = cache();
        let _groq = cache.provider("groq");
        let service = StatusService::new(&cache).refresh(HOUR);
        let (mut panicking, mut other) = (Reader::of(&service).await, Reader::of(&service).await);
        wait_with_panicking_waker(&mut panicking).await;
        other.next().await;
        let mut next = task::spawn(other.try_next());
        assert_pending!(next.poll());
        advance(Duration::from_millis(300)).await;
        assert_pending!(next.poll());
        change(&cache, service);
        drop(cache);
        assert!(next.is_woken(), "{index}");
    }
}

#[tokio::test(start_paused = true)]
async fn line_breaks_in_provider_text_cannot_inject_events() {
    let cache = HealthCache::default();
    let service = StatusService::new(&cache);
    let id: Arc<str> = "a\n\nevent: health\r\ndata: {}\u{2028}</script>".into();
    cache
        .provider(Arc::clone(&id))
        .force(Override::Open, HOUR, "\n\ndata: x\0".to_owned());
    let ask = service_fn(|(): ()| async { Ok::<_, BoxError>(()) });
    let _chain = FallbackChain::<_, ()>::new()
        .named(Arc::clone(&id))
        .guard(cache.provider(Arc::clone(&id)), ask);
    let frame = Reader::of(&service).await.next().await;
    let lines: Vec<_> = frame.text.split(['\n', '\r']).collect();
    assert_eq!(
        lines.iter().filter(|it| it.starts_with("event: ")).count(),
        3,
        "history, health and chains"
    );
    assert_eq!(
        lines.iter().filter(|it| it.starts_with("data: ")).count(),
        3
    );
    let health = frame.data("health");
    assert_eq!(health["providers"][0]["id"], *id);
    assert_eq!(health["providers"][0]["reason"], "\n\ndata: x\0");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "`StatusService::refresh` must be longer than zero, got 0ns")]
async fn refresh_of_zero_is_refused() {
    let _ = StatusService::new(&cache()).refresh(Duration::ZERO);
}
