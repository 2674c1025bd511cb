//! Feature `tracing`: the lines that a subscriber writes.

use std::{
    future::ready,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{runtime::Builder, time::advance};
use tower::{Layer, Service, service_fn};
use tower_health::{BoxError, FallbackChain, HealthCache, HealthLayer, Override, Policy, Throttle};
use tracing::{Level, info_span, subscriber::with_default};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Returns the lines written since the last call of this method.
    fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// Runs a test in paused time, with a subscriber of its own.
fn logged<F: Future>(most: Level, test: impl FnOnce(Log) -> F) -> F::Output {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(most)
        .with_ansi(false)
        .without_time()
        .finish();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    with_default(subscriber, || runtime.unwrap().block_on(test(log)))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn each_transition_is_one_event_and_a_warning_where_it_opens() {
    logged(Level::INFO, async |log| {
        let provider = HealthCache::default().provider("groq");
        provider.mark_unhealthy("connection refused");
        assert!(log.lines().is_empty(), "a blip");
        provider.mark_unhealthy("connection refused");
        advance(secs(60)).await;
        provider.admit().unwrap().success();
        provider.force(Override::Open, secs(600), "maintenance");
        let expected = [
            r#"WARN tower_health: circuit breaker opened provider=groq from=closed to=open cause=failures reason="connection refused" open_for=60s"#,
            "INFO tower_health: circuit breaker is half-open provider=groq from=open to=half-open cause=failures",
            "INFO tower_health: circuit breaker closed provider=groq from=half-open to=closed cause=failures",
            r#"WARN tower_health: circuit breaker opened provider=groq from=closed to=open cause=forced reason="maintenance" open_for=600s"#,
        ];
        assert_eq!(log.lines(), expected);
    });
}

#[test]
fn refusals_are_told_once_a_second_with_their_number() {
    logged(Level::DEBUG, async |log| {
        let without_jitter = Policy::new().throttle(Throttle::default().jitter(0.0));
        let provider = HealthCache::new(without_jitter).provider("groq");
        provider.admit().unwrap().throttled(Some(secs(7)), "quota");
        let _opened = log.lines();
        for _ in 0..300 {
            provider.admit().unwrap_err();
            advance(Duration::from_millis(10)).await;
        }
        provider.admit().unwrap_err();
        let told = |wait, refused| {
            format!(
                r#"DEBUG tower_health: calls refused provider=groq state=open cause=throttled reason="quota" retry_in={wait}s refused={refused}"#
            )
        };
        let expected = [told(7, 1), told(6, 100), told(5, 100), told(4, 100)];
        assert_eq!(log.lines(), expected);
    });
}

#[test]
fn calls_while_closed_are_no_events() {
    logged(Level::TRACE, async |log| {
        let provider = HealthCache::default().provider("groq");
        provider.admit().unwrap().success();
        provider.admit().unwrap().neutral();
        drop(provider.admit().unwrap());
        assert!(log.lines().is_empty());
    });
}

#[test]
fn attempts_of_a_chain_are_events_in_the_span_of_its_caller() {
    logged(Level::DEBUG, async |log| {
        let cache = HealthCache::default();
        cache
            .provider("a")
            .force(Override::Open, secs(60), "maintenance");
        let (mut chain, _opened) = (FallbackChain::new(), log.lines());
        for id in ["a", "b", "c"] {
            let answer = service_fn(move |()| {
                ready(if id == "c" {
                    Ok(())
                } else {
                    Err(BoxError::from("no room"))
                })
            });
            let provider = cache.provider(id);
            chain = chain.entry(provider.clone(), HealthLayer::new(provider).layer(answer));
        }
        let request = info_span!("request", id = 7).entered();
        chain.call(()).await.unwrap();
        drop(request);
        let expected = [
            r#"DEBUG request{id=7}: tower_health: provider did not serve provider=a reason="circuit open" elapsed=0ns"#,
            r#"DEBUG request{id=7}: tower_health: provider did not serve provider=b reason="no room" elapsed=0ns"#,
        ];
        assert_eq!(log.lines(), expected);
    });
}

/// Rule 8; scenario 11: a writer that reads the breaker and panics.
#[test]
fn rule_8_subscriber_may_read_the_breaker_and_panic() {
    struct Reads(HealthCache);

    impl Write for Reads {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            assert!(self.0.is_healthy("groq"), "this is a panic");
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let cache = HealthCache::default();
    let read = cache.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || Reads(read.clone()))
        .finish();
    with_default(subscriber, || {
        let provider = cache.provider("groq");
        let mut transitions = cache.subscribe();
        provider.mark_unhealthy("down");
        provider.mark_unhealthy("down");
        assert!(!provider.is_healthy());
        provider.mark_healthy();
        assert!(provider.is_healthy());
        let told = [(); 2].map(|()| tokio_test::block_on(transitions.recv()).unwrap());
        assert_eq!(told.map(|it| it.to.as_str()), ["open", "closed"]);
    });
}

#[test]
fn what_providers_are_called_and_say_stays_within_its_line() {
    const RUDE: &str = "a\nWARN b\r\u{1b}[2J\u{9b}\u{85}\u{2028}\u{202e}";
    logged(Level::DEBUG, async |log| {
        let provider = HealthCache::default().provider(RUDE);
        provider.mark_unhealthy(RUDE);
        provider.mark_unhealthy(RUDE);
        assert!(provider.admit().is_err());
        let down = service_fn(|()| ready(Err::<(), _>(BoxError::from(RUDE))));
        let chain =
            FallbackChain::new().entry(provider.clone(), HealthLayer::new(provider).layer(down));
        let mut chain = chain;
        chain.call(()).await.unwrap_err();
        let lines = log.lines();
        assert!(lines.len() >= 3, "{lines:?}");
        for line in lines {
            assert!(
                line.contains(r"a\nWARN b\r\u{1b}[2J\u{9b}\u{85}\u{2028}\u{202e}"),
                "{line}"
            );
            assert!(
                !line.contains(|char: char| char.is_control() || "\u{2028}\u{202e}".contains(char))
            );
        }
    });
}

#[cfg(feature = "fleet")]
#[test]
fn lost_store_of_a_fleet_is_one_warning_and_its_return_one_event() {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use tower_health::{
        BoxError,
        fleet::{Entry, Fleet, Reply, Request, Store},
    };

    #[derive(Clone, Default)]
    struct Failing(Arc<AtomicBool>);

    impl Store for Failing {
        async fn exchange(&self, request: &Request) -> Result<Reply, BoxError> {
            if self.0.load(SeqCst) {
                return Err("connection\nrefused".into());
            }
            let unreadable = Entry {
                key: "1/open/\nb".to_owned(),
                token: 1,
                value: String::new(),
                remaining: secs(9),
            };
            Ok(Reply {
                entries: vec![unreadable],
                granted: vec![true; request.leases.len()],
            })
        }
    }

    logged(Level::INFO, async |log| {
        let cache = HealthCache::default();
        let store = Failing::default();
        let fleet = Fleet::new(&cache, store.clone()).replica("r1").spawn();
        tokio::time::sleep(secs(5)).await;
        store.0.store(true, SeqCst);
        tokio::time::sleep(secs(60)).await;
        store.0.store(false, SeqCst);
        tokio::time::sleep(secs(60)).await;
        fleet.stop().await;
        assert_eq!(
            log.lines(),
            [
                "INFO tower_health: store of the fleet reached replica=r1",
                r"WARN tower_health: unreadable entry in the store of the fleet ignored replica=r1 key=1/open/\nb",
                r"WARN tower_health: store of the fleet unreachable, going on alone replica=r1 error=connection\nrefused",
                "INFO tower_health: store of the fleet reached replica=r1",
            ]
        );
    });
}
