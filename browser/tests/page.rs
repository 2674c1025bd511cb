//! The status page in a real browser.

use std::time::{Duration, Instant};

use axum::Router;
use browser::{Browser, Device, Server};
use fantoccini::key::Key;
use tower::{ServiceExt as _, service_fn};
use tower_health::{
    Backoff, BoxError, FallbackChain, HealthCache, Override, Policy, Trip,
    fleet::{Fleet, MemoryStore},
    status::{ControlService, StatusService},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Opens at the first failure.
fn cache(open_for: Duration) -> HealthCache {
    let trip = Trip::consecutive(1);
    HealthCache::new(
        Policy::new()
            .trip(trip)
            .backoff(Backoff::constant(open_for)),
    )
}

fn at_root(service: StatusService) -> Router {
    Router::new().fallback_service(service)
}

/// An expression for the row of a provider.
fn row(id: &str) -> String {
    let id = serde_json::to_string(id).unwrap();
    format!("[...document.querySelectorAll('#providers tr')].find((it) => it.dataset.id === {id})")
}

fn cell(id: &str, class: &str) -> String {
    format!("{}.querySelector('.{class}').innerText", row(id))
}

#[tokio::test]
async fn states_change_without_a_reload() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(Duration::from_secs(20));
    let (groq, _openai) = (cache.provider("groq"), cache.provider("openai"));
    let server = Server::start(at_root(StatusService::new(&cache).title("Gateway"))).await;
    browser.open_live(&server.url("/")).await;
    browser
        .until("document.querySelector('#summary').textContent === 'All 2 are up'")
        .await;
    assert_eq!(browser.text("document.title").await, "Gateway");
    browser.run("window.neverReloaded = true").await;

    groq.mark_unhealthy("connection refused");
    browser
        .until(&format!("{}.dataset.state === 'open'", row("groq")))
        .await;
    assert!(
        browser
            .text(&cell("groq", "state"))
            .await
            .starts_with("Down\nopen for ")
    );
    assert_eq!(
        browser.text(&cell("groq", "why")).await,
        "Calls failed\nconnection refused · 1 failure in a row"
    );
    assert!(browser.text(&cell("groq", "next")).await.starts_with("in "));
    assert_eq!(
        browser
            .text("document.querySelector('#summary').textContent")
            .await,
        "1 of 2 down"
    );
    assert_eq!(browser.text("document.title").await, "(1) Gateway");
    let strip = format!("{}.querySelector('.strip')", row("groq"));
    assert!(
        browser
            .is(&format!("{strip}.querySelector('.open') !== null"))
            .await
    );
    let label = browser
        .text(&format!("{strip}.getAttribute('aria-label')"))
        .await;
    assert_eq!(label, "1 change in the last 2 minutes, now down");

    // No call is made: the open window ends by time.
    browser
        .until(&format!("{}.dataset.state === 'half-open'", row("groq")))
        .await;
    assert_eq!(
        browser.text(&cell("groq", "next")).await,
        "on the next call"
    );
    let trial = groq.admit().unwrap();
    trial.success();
    browser
        .until(&format!("{}.dataset.state === 'closed'", row("groq")))
        .await;
    browser
        .until("document.querySelector('#summary').textContent === 'All 2 are up'")
        .await;
    let changes = browser
        .text("document.querySelector('#changes').innerText")
        .await;
    for change in ["closed → open", "open → half-open", "half-open → closed"] {
        assert!(changes.contains(change), "{changes}");
    }
    assert!(browser.is("window.neverReloaded").await);
    browser.close().await;
}

/// A transition to closed has no cause of its own. Only the opening before it has one.
#[tokio::test]
async fn closing_does_not_read_as_a_failure() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let service = StatusService::new(&cache);
    let groq = cache.provider("groq");
    groq.mark_unhealthy("connection refused");
    groq.mark_healthy();
    groq.mark_unhealthy("connection refused");
    groq.force(Override::Closed, HOUR, "false alarm");
    let server = Server::start(at_root(service)).await;
    browser.open_live(&server.url("/")).await;
    let changes = "[...document.querySelectorAll('#changes li')].map((it) =>
        [it.children[2].textContent, it.querySelector('.detail').textContent])";
    let opened = ["closed → open", "Calls failed: connection refused"];
    assert_eq!(
        browser.eval(changes).await,
        serde_json::json!([
            ["open → closed", "Forced by an operator: false alarm"],
            opened,
            ["open → closed", ""],
            opened,
        ])
    );
    browser.close().await;
}

#[tokio::test]
async fn countdown_runs_by_itself() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(Duration::from_secs(50));
    cache.provider("groq").mark_unhealthy("timeout");
    let server = Server::start(at_root(StatusService::new(&cache).refresh(HOUR))).await;
    browser.open_live(&server.url("/")).await;
    let left = format!("parseInt({}.slice('in '.length))", cell("groq", "next"));
    browser.run(&format!("window.first = {left}")).await;
    assert!(browser.is("window.first > 0").await);
    browser.until(&format!("{left} <= window.first - 2")).await;
    let events = "performance.getEntriesByType('resource').length";
    assert!(browser.is(&format!("{events} <= 1")).await);
    browser.close().await;
}

#[tokio::test]
async fn provider_text_cannot_inject_markup() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let attack = |mark: &str| {
        format!(
            "</script></td></table><script>window.harmed='{mark}'</script>\
             <img src=x onerror=\"window.harmed='{mark}'\"><svg onload=window.harmed='{mark}'>\
             '\"><b>{mark}</b>&lt;"
        )
    };
    let (id, error) = (attack("id"), attack("error"));
    let evil = cache.provider(id.as_str());
    let server = Server::start(
        Router::new()
            .nest_service("/control", ControlService::new(&cache))
            .fallback_service(
                StatusService::new(&cache)
                    .title(attack("title"))
                    .control_at("control"),
            ),
    )
    .await;
    browser.open_live(&server.url("/")).await;
    evil.mark_unhealthy(error.clone());
    browser
        .until("document.querySelector('#providers tr').dataset.state === 'open'")
        .await;
    evil.force(Override::Open, HOUR, attack("reason"));
    evil.force(Override::Closed, HOUR, attack("reason"));
    browser
        .until("document.querySelector('#changes').children.length === 2")
        .await;
    browser.click("#providers .override").await;

    // It is shown as text.
    assert_eq!(
        browser
            .text("document.querySelector('#providers tr').dataset.id")
            .await,
        id
    );
    for place in ["#providers .name", "dialog h2", "#changes b"] {
        assert_eq!(
            browser
                .text(&format!("document.querySelector('{place}').textContent"))
                .await,
            id
        );
    }
    assert_eq!(
        browser
            .text("document.querySelector('h1').textContent")
            .await,
        attack("title")
    );
    assert!(
        browser
            .text("document.querySelector('#changes').textContent")
            .await
            .contains(&error)
    );
    assert!(browser.is("window.harmed === undefined").await);
    assert!(browser.is("document.querySelectorAll('img, main script, main style, #changes b b').length === 0").await);
    browser.close().await;
}

/// The content security policy holds even if markup is injected.
#[tokio::test]
async fn no_other_script_runs_on_the_page() {
    let browser = Browser::start(Device::Desktop).await;
    let server = Server::start(at_root(StatusService::new(&cache(HOUR)))).await;
    browser.open_live(&server.url("/")).await;
    browser
        .run(
            "window.refused = [];
             document.addEventListener('securitypolicyviolation', (it) => window.refused.push(it.effectiveDirective));
             document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=\"window.harmed = true\">');
             document.body.insertAdjacentHTML('beforeend', '<b onclick=\"window.harmed = true\">x</b>');
             document.body.lastElementChild.click();
             const script = document.createElement('script');
             script.textContent = 'window.harmed = true';
             document.body.append(script);
             fetch('http://127.0.0.1:9/').catch(() => {});",
        )
        .await;
    for directive in [
        "img-src",
        "script-src-attr",
        "script-src-elem",
        "connect-src",
    ] {
        browser
            .until(&format!("window.refused.includes('{directive}')"))
            .await;
    }
    assert!(browser.is("window.harmed === undefined").await);
    browser.close().await;
}

#[tokio::test]
async fn five_hundred_providers_stay_usable() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let id = |number: usize| format!("provider-{number:03}");
    let providers: Vec<_> = (0..500).map(|number| cache.provider(id(number))).collect();
    let service = StatusService::new(&cache);
    let server = Server::start(at_root(service)).await;
    browser.open(&server.url("/")).await;
    browser
        .until("document.querySelectorAll('#providers tr').length === 500")
        .await;
    browser
        .run(&format!("window.before = {}", row(&id(444))))
        .await;

    for provider in providers.iter().step_by(5) {
        provider.mark_unhealthy("503");
    }
    browser
        .until("document.querySelector('#summary').textContent === '100 of 500 down'")
        .await;
    let states = "[...document.querySelectorAll('#providers tr')].map((it) => it.dataset.state)";
    assert!(
        browser
            .is(&format!("{states}.lastIndexOf('open') === 99"))
            .await
    );
    // Rows are updated, not replaced.
    assert!(
        browser
            .is(&format!("window.before === {}", row(&id(444))))
            .await
    );

    let shown = "[...document.querySelectorAll('#providers tr')].filter((it) => it.checkVisibility()).length";
    browser.write("#filter", "PROVIDER-44").await;
    browser.until(&format!("{shown} === 10")).await;
    assert_eq!(
        browser
            .text("document.querySelector('#shown').textContent")
            .await,
        "10 of 500 shown"
    );
    browser.click("#only-unhealthy").await;
    browser.until(&format!("{shown} === 2")).await;
    // The filters also apply to later changes.
    providers[444].mark_unhealthy("503");
    providers[111].mark_unhealthy("503");
    browser
        .until("document.querySelector('#summary').textContent === '102 of 500 down'")
        .await;
    assert!(browser.is(&format!("{shown} === 3")).await);
    browser.close().await;
}

#[tokio::test]
async fn rows_come_and_go_with_their_providers() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let _kept = cache.provider("kept");
    let service = StatusService::new(&cache).refresh(Duration::from_millis(300));
    let server = Server::start(at_root(service)).await;
    browser.open(&server.url("/")).await;
    browser
        .until("document.querySelectorAll('#providers tr').length === 1")
        .await;
    let _new = cache.provider("new");
    browser
        .until(&format!("{} !== undefined", row("new")))
        .await;
    cache.remove("new");
    browser
        .until(&format!("{} === undefined", row("new")))
        .await;
    assert!(browser.is(&format!("{} !== undefined", row("kept"))).await);
    browser.close().await;
}

#[tokio::test]
async fn page_reconnects_after_a_server_restart() {
    let browser = Browser::start(Device::Desktop).await;
    let (before, after) = (cache(HOUR), cache(HOUR));
    before.provider("groq").mark_unhealthy("503");
    let server = Server::start(at_root(StatusService::new(&before))).await;
    let address = server.address;
    browser.open(&server.url("/")).await;
    browser
        .until(&format!("{}?.dataset.state === 'open'", row("groq")))
        .await;
    browser.run("window.neverReloaded = true").await;

    server.kill();
    browser.until("document.querySelector('#connection').textContent.startsWith('disconnected, last update ')").await;
    assert!(
        browser
            .is("document.body.classList.contains('stale')")
            .await
    );
    // The last known state stays visible.
    assert!(
        browser
            .is(&format!("{}.dataset.state === 'open'", row("groq")))
            .await
    );

    let _providers = (after.provider("groq"), after.provider("openai"));
    let _server = Server::start_at(address, at_root(StatusService::new(&after))).await;
    browser.until_live().await;
    browser
        .until("document.querySelector('#summary').textContent === 'All 2 are up'")
        .await;
    assert!(
        browser
            .is("!document.body.classList.contains('stale')")
            .await
    );
    // The page shows the history of the new server.
    assert!(
        browser
            .is("document.querySelector('#changes').children.length === 0")
            .await
    );
    assert!(browser.is("window.neverReloaded").await);
    browser.close().await;
}

#[tokio::test]
async fn page_over_the_subscriber_limit_polls_and_retries() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let groq = cache.provider("groq");
    let service = StatusService::new(&cache).max_subscribers(1);
    let other = service
        .clone()
        .oneshot(axum::http::Request::get("/events").body(()).unwrap());
    let other = other.await.unwrap();
    let server = Server::start(at_root(service)).await;
    browser.open(&server.url("/")).await;
    browser
        .until("document.querySelector('#connection').textContent === 'not live: too many viewers'")
        .await;
    // It still shows current health.
    assert!(
        browser
            .is(&format!("{}?.checkVisibility()", row("groq")))
            .await
    );
    groq.mark_unhealthy("503");
    browser
        .until(&format!("{}.dataset.state === 'open'", row("groq")))
        .await;
    drop(other);
    browser.until_live().await;
    browser.close().await;
}

#[tokio::test]
async fn page_shows_the_status_of_a_refused_connection() {
    let browser = Browser::start(Device::Desktop).await;
    let service = StatusService::new(&cache(HOUR));
    let forbids = || axum::routing::any(async || axum::http::StatusCode::UNAUTHORIZED);
    let router = Router::new()
        .route("/events", forbids())
        .route("/health.json", forbids());
    let server = Server::start(router.fallback_service(service)).await;
    browser.open(&server.url("/")).await;
    browser
        .until("document.querySelector('#connection').textContent === 'server returned 401'")
        .await;
    browser.close().await;
}

#[tokio::test]
async fn page_reconnects_to_a_silent_server_after_its_timeout() {
    let browser = Browser::start(Device::Desktop).await;
    let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
    let is_silent = axum::routing::get(async move || {
        asked.send(Instant::now()).unwrap();
        std::future::pending::<()>().await;
    });
    // The page reconnects after three refreshes and 5 s of silence.
    let service = StatusService::new(&cache(HOUR)).refresh(Duration::from_millis(1));
    let router = Router::new().route("/events", is_silent);
    let server = Server::start(router.fallback_service(service)).await;
    browser.open(&server.url("/")).await;
    let mut last = asks.recv().await.unwrap();
    for _ in 0..2 {
        let next = asks.recv().await.unwrap();
        assert!(next - last > Duration::from_secs(4), "{:?}", next - last);
        last = next;
    }
    assert_eq!(
        browser
            .text("document.querySelector('#connection').textContent")
            .await,
        "disconnected"
    );
    browser.close().await;
}

#[tokio::test]
async fn changes_of_other_days_have_a_date() {
    let browser = Browser::start(Device::Desktop).await;
    let server = Server::start(at_root(StatusService::new(&cache(HOUR)))).await;
    browser.open(&server.url("/")).await;
    let noon = "new Date(new Date().setHours(12, 0, 0))";
    assert_eq!(browser.text(&format!("clock({noon})")).await, "12:00:00");
    let yesterday = browser
        .text(&format!("clock(new Date({noon} - 24 * 3600e3))"))
        .await;
    assert!(yesterday.ends_with(", 12:00:00"), "{yesterday}");
    browser.close().await;
}

/// Opens the page, and waits until it shows a part that is hidden at first.
async fn open_showing(device: Device, router: Router, part: &str) -> (Browser, Server) {
    let browser = Browser::start(device).await;
    let server = Server::start(router).await;
    browser.open_live(&server.url("/")).await;
    let is_shown = format!("!document.querySelector('{part}').hidden");
    browser.until(&is_shown).await;
    (browser, server)
}

async fn assert_fits_on_a_phone(router: Router, part: &str) {
    let (browser, _server) = open_showing(Device::Phone, router, part).await;
    assert!(
        browser
            .is("document.documentElement.scrollWidth <= innerWidth")
            .await
    );
    browser.close().await;
}

/// Keeps a value alive.
struct Kept<T>(#[allow(dead_code)] T);

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {}
}

/// Two replicas, of which `other` has providers that are down. The page is that of `one`.
fn fleet(down: &[&str]) -> (Router, impl Drop) {
    let store = MemoryStore::default();
    let [one, other] = [(); 2].map(|()| cache(HOUR));
    for id in down {
        let _ = one.provider(*id);
        other.provider(*id).mark_unhealthy("timeout");
    }
    let spawn = |cache: &_, name| {
        let fleet = Fleet::new(cache, store.clone()).replica(name);
        fleet
            .share_health(true)
            .poll_interval(Duration::from_millis(100))
            .spawn()
    };
    let fleets = [spawn(&one, "one"), spawn(&other, "other")];
    let status = StatusService::new(&one).refresh(Duration::from_millis(500));
    let router = at_root(status.fleet(&fleets[0]));
    (router, Kept((one, other, fleets)))
}

#[tokio::test]
async fn fleet_is_a_column_and_a_table_of_replicas() {
    let browser = Browser::start(Device::Desktop).await;
    let (router, _kept) = fleet(&["groq", "<b>x</b>"]);
    let server = Server::start(router).await;
    browser.open_live(&server.url("/")).await;
    let column = format!("{}.querySelector('.fleet').innerText", row("groq"));
    browser
        .until(&format!(
            "{column}.includes('unhealthy on 1 of 2 replicas')"
        ))
        .await;
    assert!(browser.text(&column).await.starts_with("Calls failed: "));
    let matrix = browser
        .text("document.querySelector('#matrix').innerText")
        .await;
    let rows: Vec<_> = matrix.lines().collect();
    assert_eq!(rows[0], "Provider\tone\tother");
    assert!(matrix.contains("<b>x</b>"), "as text: {matrix}");
    assert!(matrix.contains("groq\tUp\tDown"), "{matrix}");
    let note = browser
        .text("document.querySelector('#fleet-note').innerText")
        .await;
    assert_eq!(note, "This replica is one.");
}

#[tokio::test]
async fn phone_shows_the_fleet_without_overflow() {
    let (router, _kept) = fleet(&["groq/llama-3.3-70b-versatile"]);
    assert_fits_on_a_phone(router, "#matrix").await;
}

#[tokio::test]
async fn page_without_a_fleet_has_no_column() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let _groq = cache.provider("groq");
    let server = Server::start(at_root(StatusService::new(&cache))).await;
    browser.open_live(&server.url("/")).await;
    browser
        .until(&format!("{}.dataset.state === 'closed'", row("groq")))
        .await;
    for part in ["#fleet", "#fleet-head"] {
        let is_hidden = format!("document.querySelector('{part}').hidden");
        assert!(browser.is(&is_hidden).await, "{part}");
    }
    let cell = format!("{}.querySelector('.fleet').offsetWidth === 0", row("groq"));
    assert!(browser.is(&cell).await);
}

/// A chain of `groq`, which is down, and `<b>x</b>`, which serves.
async fn with_chain() -> (Router, impl Drop) {
    let cache = cache(HOUR);
    let answer = |is_up: bool| {
        service_fn(move |(): ()| async move {
            if is_up {
                Ok(())
            } else {
                Err(BoxError::from("503"))
            }
        })
    };
    let chain = FallbackChain::new()
        .named("<i>chat</i>")
        .guard(cache.provider("groq"), answer(false))
        .guard(cache.provider("<b>x</b>"), answer(true));
    for _ in 0..3 {
        chain.clone().oneshot(()).await.unwrap();
    }
    let status = StatusService::new(&cache).refresh(Duration::from_millis(500));
    (at_root(status), Kept((cache, chain)))
}

#[tokio::test]
async fn chain_shows_which_provider_served_and_which_did_not() {
    let (router, _kept) = with_chain().await;
    let (browser, _server) = open_showing(Device::Desktop, router, "#chains").await;
    let shown = browser
        .text("document.querySelector('#chains').innerText")
        .await;
    for part in [
        "Skipped or failed in the last 5 min",
        "<i>chat</i>",
        "<b>x</b> Up\n",
        "groq: 2 × circuit open, 1 × error",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(!shown.contains("No provider served"), "{shown}");
    browser.close().await;
}

#[tokio::test]
async fn phone_shows_chains_without_overflow() {
    let (router, _kept) = with_chain().await;
    assert_fits_on_a_phone(router, "#chains").await;
}

#[tokio::test]
async fn no_providers_are_not_all_up() {
    let browser = Browser::start(Device::Desktop).await;
    let server = Server::start(at_root(StatusService::new(&cache(HOUR)))).await;
    browser.open_live(&server.url("/")).await;
    let summary = "document.querySelector('#summary')";
    assert_eq!(
        browser.text(&format!("{summary}.textContent")).await,
        "No providers yet"
    );
    assert_eq!(
        browser.text(&format!("{summary}.dataset.tone")).await,
        "none"
    );
    browser.close().await;
}

#[tokio::test]
async fn observed_provider_would_be_down() {
    let browser = Browser::start(Device::Desktop).await;
    let policy = Policy::new().trip(Trip::consecutive(1)).observe_only(true);
    let cache = HealthCache::new(policy);
    let (groq, _openai) = (cache.provider("groq"), cache.provider("openai"));
    groq.mark_unhealthy("503");
    let status = StatusService::new(&cache).refresh(Duration::from_millis(500));
    let server = Server::start(at_root(status)).await;
    browser.open_live(&server.url("/")).await;
    assert!(
        browser
            .text(&cell("groq", "state"))
            .await
            .starts_with("Would be down\n")
    );
    assert_eq!(
        browser
            .text("document.querySelector('#summary').textContent")
            .await,
        "1 of 2 would be down"
    );
    groq.admit().unwrap().success();
    groq.admit().unwrap().failure("503");
    browser
        .until(&format!(
            "{}.includes('since start, 2 calls would have been refused: 1 were answered, 1 failed')",
            cell("groq", "why")
        ))
        .await;
    browser.close().await;
}

#[tokio::test]
async fn running_trial_shows_the_time_of_the_next() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(Duration::from_millis(1));
    let groq = cache.provider("groq");
    groq.mark_unhealthy("503");
    tokio::time::sleep(Duration::from_millis(2)).await;
    let trial = groq.admit().unwrap();
    let server = Server::start(at_root(StatusService::new(&cache))).await;
    browser.open_live(&server.url("/")).await;
    let next = browser.text(&cell("groq", "next")).await;
    assert!(next.starts_with("running, next in "), "{next}");
    trial.success();
    browser
        .until(&format!("{} === ''", cell("groq", "next")))
        .await;
    browser.close().await;
}

/// Before a gap in the history the strip stays empty.
#[tokio::test]
async fn strips_start_after_the_last_gap() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let service = StatusService::new(&cache);
    let (quiet, flapping) = (cache.provider("quiet"), cache.provider("flapping"));
    quiet.mark_unhealthy("503");
    quiet.mark_healthy();
    for _ in 0..600 {
        flapping.mark_unhealthy("503");
        flapping.mark_healthy();
    }
    let server = Server::start(at_root(service)).await;
    browser.open_live(&server.url("/")).await;
    assert_eq!(
        browser
            .text("document.querySelector('#gaps').textContent")
            .await,
        "178 older changes were not kept."
    );
    quiet.mark_unhealthy("503");
    let strip = format!("{}.querySelector('.strip')", row("quiet"));
    browser
        .until(&format!("{strip}.querySelector('.open') !== null"))
        .await;
    // Up since the gap, then down.
    assert!(
        browser
            .is(&format!("{strip}.querySelector('.closed') !== null"))
            .await
    );
    // The page also evicts old changes.
    for _ in 0..100 {
        flapping.mark_unhealthy("503");
        flapping.mark_healthy();
    }
    flapping.mark_unhealthy("503");
    browser
        .until(&format!("{}.dataset.state === 'open'", row("flapping")))
        .await;
    assert!(
        browser
            .is("rows.get('flapping').changes.length === CHANGES_KEPT_PER_PROVIDER")
            .await
    );
    browser.close().await;
}

#[tokio::test]
async fn page_finds_its_events_wherever_it_is_mounted() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let _groq = cache.provider("groq");
    let service = StatusService::new(&cache);
    let router = Router::new().nest_service("/ops/status", service.clone());
    let server = Server::start(router.fallback_service(service)).await;
    for path in [
        "/",
        "/ops/status",
        "/ops/status/",
        "/ops/status?from=mail#top",
    ] {
        browser.open(&server.url(path)).await;
        browser.until_live().await;
        browser
            .until(&format!("{} !== undefined", row("groq")))
            .await;
    }
    browser.close().await;
}

#[tokio::test]
async fn operator_overrides_health_from_the_page() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let id = "groq/<llama> 100%?#";
    let groq = cache.provider(id);
    let service = StatusService::new(&cache)
        .control_at("control")
        .refresh(HOUR);
    let router = Router::new()
        .nest_service("/status", service)
        .nest_service("/status/control", ControlService::new(&cache));
    let server = Server::start(router).await;
    browser.open_live(&server.url("/status")).await;

    browser.click(".override").await;
    browser.write("dialog input[name=ttl]", "10 years").await;
    browser
        .write("dialog input[name=reason]", "maintenance")
        .await;
    browser.click("dialog button[value=force-open]").await;
    browser.until("document.querySelector('dialog .error').textContent.startsWith('`ttl` must be a duration from 1s to 7d')").await;
    assert!(groq.is_healthy());

    browser.write("dialog input[name=ttl]", "2h").await;
    browser.click("dialog button[value=force-open]").await;
    browser
        .until("document.querySelector('dialog') === null")
        .await;
    let health = groq.health();
    assert!(health.forced_for.unwrap() > Duration::from_secs(7_100));
    assert_eq!(health.reason.as_deref(), Some("maintenance"));
    browser
        .until(&format!("{}.dataset.state === 'open'", row(id)))
        .await;
    let why = browser.text(&cell(id, "why")).await;
    assert!(
        why.starts_with("Forced by an operator\nmaintenance · "),
        "{why}"
    );
    assert!(browser.text(&cell(id, "state")).await.starts_with("Down"));

    // Release and reset need no fields.
    browser.click(".override").await;
    browser.click("dialog button[value=release]").await;
    browser
        .until(&format!("{}.dataset.state === 'closed'", row(id)))
        .await;
    assert!(groq.is_healthy());
    groq.mark_unhealthy("503");
    browser
        .until(&format!("{}.dataset.state === 'open'", row(id)))
        .await;
    browser.click(".override").await;
    browser.click("dialog button[value=reset]").await;
    browser
        .until(&format!("{}.dataset.state === 'closed'", row(id)))
        .await;
    assert!(groq.is_healthy());

    browser.click(".override").await;
    browser.click("dialog button[value=cancel]").await;
    browser
        .until("document.querySelector('dialog') === null")
        .await;
    browser.close().await;
}

/// A browser removes `.`, `..` and empty segments from a path.
#[tokio::test]
async fn ids_that_no_path_can_contain_can_be_overridden() {
    let browser = Browser::start(Device::Desktop).await;
    for id in [".", "..", "", "a+b c&d=é"] {
        let cache = cache(HOUR);
        let provider = cache.provider(id);
        let router = Router::new()
            .nest_service("/status/control", ControlService::new(&cache))
            .nest_service("/status", StatusService::new(&cache).control_at("control"));
        let server = Server::start(router).await;
        browser.open_live(&server.url("/status")).await;
        browser.click(".override").await;
        browser
            .write("dialog input[name=reason]", "maintenance")
            .await;
        browser.click("dialog button[value=force-open]").await;
        browser
            .until(&format!("{}.dataset.state === 'open'", row(id)))
            .await;
        assert!(!provider.is_healthy(), "{id}");
    }
    browser.close().await;
}

#[tokio::test]
async fn provider_text_is_direction_isolated() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let id = "\u{202e}evil\u{2069}\u{202e}";
    let router = Router::new()
        .nest_service("/control", ControlService::new(&cache))
        .fallback_service(StatusService::new(&cache).control_at("control"));
    let server = Server::start(router).await;
    cache
        .provider(id)
        .mark_unhealthy("\u{202e}refused".to_owned());
    browser.open_live(&server.url("/")).await;
    browser.click(".override").await;
    for place in [
        "#providers .name",
        "#providers .detail",
        "dialog h2",
        "#changes b",
        "#changes .detail",
    ] {
        assert!(
            browser
                .is(&format!(
                    "(() => {{ const text = document.querySelector('{place} > bdi'); \
                     const style = getComputedStyle(text); \
                     return style.unicodeBidi === 'isolate' && text.textContent.startsWith('\u{202e}') \
                     && (style.display === 'inline-block') === text.textContent.includes('\u{2069}'); }})()"
                ))
                .await,
            "{place}"
        );
    }
    browser.close().await;
}

#[tokio::test]
async fn dialog_works_with_the_keyboard() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let groq = cache.provider("groq");
    let router = Router::new()
        .nest_service("/control", ControlService::new(&cache))
        .fallback_service(StatusService::new(&cache).control_at("/control"));
    let server = Server::start(router).await;
    browser.open_live(&server.url("/")).await;
    let press = async |key: Key| {
        let focused = browser.client.active_element().await.unwrap();
        focused
            .send_keys(&char::from(key).to_string())
            .await
            .unwrap();
    };
    browser
        .run("document.querySelector('.override').focus()")
        .await;
    press(Key::Enter).await;
    browser.until("document.activeElement.name === 'ttl'").await;
    // Enter in a field presses no button.
    browser
        .run("document.querySelector('dialog form').addEventListener('submit', () => { window.submitted = true; })")
        .await;
    browser
        .write("dialog input[name=reason]", "maintenance")
        .await;
    press(Key::Enter).await;
    assert!(browser.is("window.submitted === undefined").await);
    assert!(groq.is_healthy());
    // The row moves while the dialog is open, and still gets the focus back.
    groq.mark_unhealthy("503");
    browser
        .until(&format!("{}.dataset.state === 'open'", row("groq")))
        .await;
    press(Key::Escape).await;
    browser
        .until("document.querySelector('dialog') === null")
        .await;
    browser
        .until("document.activeElement.className === 'override'")
        .await;
    browser.close().await;
}

/// Presses Reset and waits for the dialog to show this error.
async fn press_reset_and_expect(browser: &Browser, error: &str) {
    browser.click(".override").await;
    browser.click("dialog button[value=reset]").await;
    browser
        .until(&format!(
            "document.querySelector('dialog .error').textContent === '{error}'"
        ))
        .await;
}

#[tokio::test]
async fn dialog_shows_a_refusal_by_status() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let groq = cache.provider("groq");
    let forbids = axum::routing::any(async || axum::http::StatusCode::FORBIDDEN);
    let router = Router::new()
        .route("/control/{*any}", forbids)
        .fallback_service(StatusService::new(&cache).control_at("control"));
    let server = Server::start(router).await;
    browser.open_live(&server.url("/")).await;
    press_reset_and_expect(&browser, "Server returned 403.").await;
    assert!(groq.is_healthy());
    browser.close().await;
}

#[tokio::test]
async fn redirect_to_a_login_page_is_an_error() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let groq = cache.provider("groq");
    let sign_in = axum::routing::get(async || axum::response::Html("Who are you?"));
    let guard = axum::routing::post(async || axum::response::Redirect::to("/sign-in"));
    let router = Router::new()
        .route("/control/{*any}", guard)
        .route("/sign-in", sign_in)
        .fallback_service(StatusService::new(&cache).control_at("control"));
    let server = Server::start(router).await;
    browser.open_live(&server.url("/")).await;
    press_reset_and_expect(&browser, "Signed out: sign in again.").await;
    assert!(groq.is_healthy());
    browser.close().await;
}

#[tokio::test]
async fn page_without_control_has_no_buttons() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let _groq = cache.provider("groq");
    let server = Server::start(at_root(StatusService::new(&cache))).await;
    browser.open_live(&server.url("/")).await;
    browser
        .until(&format!("{} !== undefined", row("groq")))
        .await;
    assert!(
        browser
            .is("document.querySelectorAll('button, dialog, .control').length === 0")
            .await
    );
    browser.close().await;
}

#[tokio::test]
async fn pages_of_other_origins_cannot_override() {
    let browser = Browser::start(Device::Desktop).await;
    let cache = cache(HOUR);
    let groq = cache.provider("groq");
    let control = Server::start(Router::new().fallback_service(ControlService::new(&cache))).await;
    let evil = axum::response::Html(
        "<iframe name=sent></iframe><form method=post target=sent enctype=text/plain><input name=a></form>",
    );
    let evil = Server::start(Router::new().fallback(async move || evil)).await;
    browser.open(&evil.url("/")).await;
    let command = serde_json::json!({ "ttl": "1h", "reason": "evil" }).to_string();
    let target = control.url("/providers/groq/force-open");
    browser
        .run(&format!(
            "window.ended = 0;
             const target = {target:?}, body = {command:?};
             const sent = (options) => fetch(target, {{ method: 'POST', body, ...options }})
                 .catch(() => {{}}).finally(() => {{ window.ended += 1; }});
             sent({{ mode: 'no-cors' }});
             sent({{ mode: 'no-cors', headers: {{ 'content-type': 'text/plain' }} }});
             sent({{ headers: {{ 'content-type': 'application/json' }} }});
             sent({{ headers: {{ 'content-type': 'application/json' }}, credentials: 'include' }});
             const form = document.querySelector('form');
             document.querySelector('iframe').onload = () => {{ window.ended += 1; }};
             form.action = target;
             form.submit();"
        ))
        .await;
    browser.until("window.ended >= 5").await;
    assert!(groq.is_healthy());
    assert_eq!(groq.health().forced_for, None);

    // The same request from a client that is not a page succeeds.
    let request = axum::http::Request::post("/providers/groq/force-open")
        .header("content-type", "application/json")
        .body(command)
        .unwrap();
    let accepted = ControlService::new(&cache).oneshot(request).await.unwrap();
    assert_eq!(accepted.status(), axum::http::StatusCode::OK);
    assert!(!groq.is_healthy());
    browser.close().await;
}

#[tokio::test]
async fn phone_shows_everything_without_overflow() {
    let browser = Browser::start(Device::Phone).await;
    let cache = cache(HOUR);
    let long = "provider-without-any-space-in-its-name/".repeat(6);
    cache
        .provider(long.as_str())
        .mark_unhealthy("e".repeat(250));
    let _providers = cache.provider("openai");
    cache
        .provider("trying")
        .admit()
        .unwrap()
        .throttled(Some(Duration::from_millis(1)), "429");
    let service = StatusService::new(&cache).control_at("control");
    let server = Server::start(at_root(service)).await;
    browser.open_live(&server.url("/")).await;
    browser
        .until(&format!("{}?.dataset.state === 'half-open'", row("trying")))
        .await;
    assert!(browser.is("innerWidth === 360").await);
    assert!(
        browser
            .is("document.documentElement.scrollWidth <= innerWidth")
            .await
    );
    let overflows = "[...document.querySelectorAll('#providers td')].some((it) =>
        it.getBoundingClientRect().right > it.parentElement.getBoundingClientRect().right - 10)";
    assert!(!browser.is(overflows).await);
    let text = browser
        .text("document.querySelector('#providers').innerText")
        .await;
    for shown in [long.as_str(), "Down", "Calls failed", "\nin ", "Up"] {
        assert!(text.contains(shown), "{shown} is not in {text}");
    }
    browser.click(".override").await;
    assert!(
        browser
            .is("document.querySelector('dialog').getBoundingClientRect().right <= innerWidth")
            .await
    );
    browser.close().await;
}

/// WCAG 2.2, 1.4.3: a contrast of at least 4.5 to 1.
#[tokio::test]
async fn text_has_enough_contrast_in_light_and_dark() {
    for device in [Device::Desktop, Device::DarkDesktop] {
        let browser = Browser::start(device).await;
        let cache = cache(Duration::from_secs(1));
        cache
            .provider("down")
            .force(Override::Open, HOUR, "maintenance");
        cache.provider("trying").mark_unhealthy("503");
        let _up = cache.provider("up");
        let server = Server::start(at_root(StatusService::new(&cache).control_at("control"))).await;
        browser.open(&server.url("/")).await;
        browser
            .until(&format!("{}?.dataset.state === 'half-open'", row("trying")))
            .await;
        browser
            .run(
                "const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
                 const light = (colour) => {
                     const [r, g, b] = parts(colour).map((it) => it / 255)
                         .map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
                     return 0.2126 * r + 0.7152 * g + 0.0722 * b;
                 };
                 const back = (node) => {
                     const colour = getComputedStyle(node).backgroundColor;
                     const isClear = parts(colour)[3] === 0;
                     return isClear ? back(node.parentElement) : colour;
                 };
                 const texts = [...document.body.querySelectorAll('*')].filter((it) => it.checkVisibility()
                     && [...it.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
                 window.seen = texts.length;
                 window.faint = texts.flatMap((it) => {
                     const [one, other] = [light(getComputedStyle(it).color), light(back(it))];
                     const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
                     return contrast < 4.5 ? [`${it.textContent}: ${contrast.toFixed(2)}`] : [];
                 });",
            )
            .await;
        let is_dark = browser
            .is("matchMedia('(prefers-color-scheme: dark)').matches")
            .await;
        assert_eq!(is_dark, device == Device::DarkDesktop);
        assert!(browser.is("window.seen > 20").await);
        assert_eq!(
            browser.eval("window.faint").await,
            serde_json::json!([]),
            "{device:?}"
        );
        browser.close().await;
    }
}
