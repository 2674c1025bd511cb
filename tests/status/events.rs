//! The events: what they tell, when, and to how many.

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
use tower_health::{
    HealthCache, Override,
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
        self.try_next().await.expect("it has not ended")
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

    /// As `groq: closed -> open`.
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

/// The next frames of all who follow, and how many of them were built.
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
async fn one_frame_is_built_for_all_who_follow() {
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
    // Who comes later follows with the others from then on.
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
    let for_strangers = service.clone().redact(true);
    cache.provider("groq").mark_unhealthy("a secret".to_owned());
    for (service, is_told) in [(&service, true), (&for_strangers, false), (&service, true)] {
        let frame = Reader::of(service).await.next().await;
        assert_eq!(frame.text.contains("a secret"), is_told);
    }
}

#[tokio::test(start_paused = true)]
async fn frame_is_built_anew_where_anything_has_happened() {
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
async fn first_frame_tells_all_at_once() {
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
async fn change_is_told_as_it_happens() {
    let cache = cache();
    let mut reader = Reader::of(&StatusService::new(&cache)).await;
    reader.next().await;
    let groq = cache.provider("groq");
    advance(Duration::from_secs(1)).await;
    groq.mark_unhealthy("timeout");
    let happened = Instant::now();
    let frame = reader.next().await;
    // It may come a frame's distance after one that was just built.
    assert!(happened.elapsed() <= Duration::from_millis(250));
    assert!(!frame.has("history"));
    assert_eq!(frame.transitions("transitions"), ["groq: closed -> open"]);
    assert_eq!(frame.data("health")["providers"][0]["state"], "open");
}

#[tokio::test(start_paused = true)]
async fn override_that_changes_no_state_is_told_as_it_happens() {
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
async fn many_changes_come_together_four_times_a_second() {
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
    let (mut frames, mut told) = (0, 0);
    while told < 200 {
        told += reader.next().await.transitions("transitions").len();
        frames += 1;
    }
    flapping.await.unwrap();
    assert_eq!(told, 200);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert_eq!(frames, 4);
}

#[tokio::test(start_paused = true)]
async fn health_is_told_every_few_seconds_though_nothing_happens() {
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
async fn end_of_a_wait_is_told_on_time_though_nobody_calls() {
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
async fn nothing_is_built_until_it_is_read() {
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
    // One frame for all that a slow reader has slept through, and none behind it.
    let frame = reader.next().await;
    assert_eq!(frame.transitions("transitions").len(), 6);
    assert_pending!(task::spawn(reader.next()).poll());
}

#[tokio::test(start_paused = true)]
async fn service_remembers_what_happened_while_nobody_looked() {
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
async fn one_that_flaps_leaves_the_others_their_history() {
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
    let told = frame.transitions("history");
    assert_eq!(told.len(), 65);
    assert_eq!(told[0], "quiet: closed -> open");
    // The last of the 18 rounds that have made room.
    assert_eq!(
        frame.data("history")["gaps"],
        serde_json::json!({ "flapping": 3.3 })
    );
    assert_eq!(frame.data("history")["missed"], 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_health_keeps_the_history_whole() {
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
        let told = frame.transitions("history");
        assert_eq!(told.len(), 65);
        assert_eq!(told[0], "quiet: closed -> open");
        quiet.mark_healthy();
    }
}

#[tokio::test(start_paused = true)]
async fn history_of_many_is_bounded() {
    let cache = cache();
    let service = StatusService::new(&cache);
    for id in 0..2_000 {
        cache.provider(format!("{id:04}")).mark_unhealthy("timeout");
        if id % 500 == 0 {
            Reader::of(&service).await.next().await;
        }
    }
    let frame = Reader::of(&service).await.next().await;
    let told = frame.transitions("history");
    assert_eq!(told.len(), 1_024);
    assert_eq!(told[0], "0976: closed -> open");
    assert_eq!(told[1_023], "1999: closed -> open");
    // None of them had any before.
    assert_eq!(frame.data("history")["gaps"], serde_json::json!({}));
}

#[tokio::test(start_paused = true)]
async fn transitions_that_nobody_looked_in_time_for_are_a_gap_of_known_age() {
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
    let told = reader.next().await.data("transitions");
    assert_eq!(told["missed"], 1_500 - 1_024);
    assert!(
        told["gap_seconds_ago"].as_f64().unwrap() >= 6.024,
        "it stays where it was"
    );
    assert_eq!(history["transitions"].as_array().unwrap().len(), 1_024);
}

#[tokio::test(start_paused = true)]
async fn subscribers_are_bounded_and_a_dropped_one_makes_room() {
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
        // Nobody else suffers.
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
async fn close_ends_the_events_of_all_clones_for_good() {
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
    assert_eq!(text(closed).await, "this server is closing\n");
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
struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// Waits for the next frame, past the pause after the last one, and panics when it comes.
async fn wait_rudely(reader: &mut Reader) {
    reader.next().await;
    assert_pending!(task::spawn(reader.next()).poll());
    advance(Duration::from_millis(300)).await;
    let rude = Arc::new(Rude).into();
    let next = pin!(reader.body.frame());
    assert!(next.poll(&mut Context::from_waker(&rude)).is_pending());
}

#[tokio::test(start_paused = true)]
async fn waker_of_a_viewer_harms_nobody_and_no_other_viewer() {
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
        let (mut rude, mut polite) = (Reader::of(&service).await, Reader::of(&service).await);
        wait_rudely(&mut rude).await;
        polite.next().await;
        let mut next = task::spawn(polite.try_next());
        assert_pending!(next.poll());
        advance(Duration::from_millis(300)).await;
        assert_pending!(next.poll());
        change(&cache, service);
        drop(cache);
        assert!(next.is_woken(), "{index}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_providers_say_stays_within_its_line() {
    let cache = HealthCache::default();
    let service = StatusService::new(&cache);
    let id: Arc<str> = "a\n\nevent: health\r\ndata: {}\u{2028}</script>".into();
    cache
        .provider(Arc::clone(&id))
        .force(Override::Open, HOUR, "\n\ndata: x\0".to_owned());
    let frame = Reader::of(&service).await.next().await;
    let lines: Vec<_> = frame.text.split(['\n', '\r']).collect();
    assert_eq!(
        lines.iter().filter(|it| it.starts_with("event: ")).count(),
        2
    );
    assert_eq!(
        lines.iter().filter(|it| it.starts_with("data: ")).count(),
        2
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
