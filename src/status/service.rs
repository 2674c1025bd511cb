use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{
    HeaderName, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, RETRY_AFTER},
};
use tower_service::Service;

#[cfg(feature = "fleet")]
use super::settings::FleetJson;
use super::{
    answer::{Answer, JSON, answer, json, read_only, text, with},
    body::StatusBody,
    chains::Document,
    events::Events,
    frames::Frames,
    history::History,
    page::page,
    rule::UnhealthyWhen,
    settings::Settings,
    subscribers::Subscribers,
};
use crate::{
    cache::{HealthCache, Snapshot},
    util::settings::positive,
};

const MAX_SUBSCRIBERS: usize = 64;

/// Serves the health of all providers of a cache as a live page and as JSON.
///
/// | `GET`, `HEAD` | response |
/// |---|---|
/// | `/` | the page: the state of each provider, its cause and duration, the next trial, and the last 15 minutes; one file without external assets |
/// | `/health.json` | a [`Snapshot`] as JSON; 200, or 503 by [`unhealthy_when`](Self::unhealthy_when) |
/// | `/healthz` | 200 with `ok`, or 503 with `unhealthy`, by the same rule |
/// | `/chains.json` | the [named chains](crate::FallbackChain::named): see [Chains](#chains) |
/// | `/fleet.json` | the shared health, if a [fleet](Self::fleet) is set |
/// | `/events` | server-sent events, which the page uses |
///
/// Other methods get 405, other paths 404.
///
/// # Security
///
/// The service is read-only and has no authentication. Serve it where only operators can reach it, or
/// [redact](Self::redact) error texts.
///
/// If only the network protects it, also check `Host`. Otherwise a site that an operator visits can point its own name at
/// your address and read the page (DNS rebinding). A cookie or a password prevents that too, because a browser ties it to
/// your host name.
///
/// Text from providers cannot inject markup or scripts: the page inserts it as text, and its content security policy allows
/// only its own script.
///
/// # Mounting
///
/// It works under any path, with or without a trailing slash; see the [module](super) for axum. With hyper alone, wrap it in
/// `hyper_util::service::TowerToHyperService`. To serve a [`ControlService`](super::ControlService) beside it, route by path
/// and strip the prefix before control.
///
/// # Clones and history
///
/// Clones share subscribers and history. The service keeps the cache alive and spawns no task.
///
/// It keeps the last 64 transitions of each provider, and at most 1,024 in all. Requests for `/health.json`, `/healthz` or
/// `/events` collect them. If more than 1,024 happen between two such requests, the oldest are dropped.
///
/// # Events
///
/// The first frame is sent at once. Another follows every [refresh](Self::refresh) (default: 5 s), and sooner when a state
/// changes, an open window ends or an override changes, but at most four per second. All subscribers share each frame.
///
/// A browser opens at most six HTTP/1.1 connections per host, and each open page holds one. Serve many pages over HTTP/2. A
/// proxy's read timeout must be longer than the refresh.
///
/// | `event` | `data` |
/// |---|---|
/// | `history`, once | an object with the fields below |
/// | `transitions` | the same, with only the transitions since the last frame |
/// | `health` | the same as `/health.json` |
/// | `chains` | the same as `/chains.json` |
/// | `fleet`, if there is a fleet | the same as `/fleet.json` |
///
/// | field | value |
/// |---|---|
/// | `version` | 1 |
/// | `watched_seconds` | seconds since the service was created |
/// | `transitions` | the kept [transitions](crate::Transition), oldest first |
/// | `missed` | number of transitions dropped between two requests |
/// | `gap_seconds_ago` | seconds since the first transition after the last drop; `null` if none was dropped |
/// | `gaps` | for each provider with more transitions than are kept, seconds since the latest one that is missing |
///
/// # Chains
///
/// A named chain is shown by the cache of each of its providers until its last clone and its last request are gone. Requests whose
/// caller left before the end are not counted.
///
/// | field of `/chains.json` | value |
/// |---|---|
/// | `version` | 1 |
/// | `period_seconds` | 300: the time that the counts cover |
/// | `chains` | for each chain, in the order of their names, the fields below |
///
/// | field of a chain | value |
/// |---|---|
/// | `name` | its name |
/// | `serving` | the provider whose response or error the chain returned last. A [last answer](crate::FallbackChain::last_answer) does not count. `null` if there was none |
/// | `served_seconds_ago` | seconds since then, up to one second too many; `null` if there was none |
/// | `unserved` | number of requests that no provider served, including those that got a last answer |
/// | `entries` | for each entry, in order: its `provider`, and `passed_by`, the number of requests for which it was skipped or failed, by the [label](crate::Reason::label) of the reason |
///
/// ```
/// use std::time::Duration;
/// use tower_health::{HealthCache, status::{StatusService, UnhealthyWhen}};
///
/// let cache = HealthCache::default();
/// let by_default = StatusService::new(&cache);
///
/// let public = StatusService::new(&cache)
///     .title("Search")
///     .expected(["primary", "standby"])
///     .redact(true)
///     .unhealthy_when(UnhealthyWhen::AllDown)
///     .max_subscribers(500)
///     .refresh(Duration::from_secs(15));
/// ```
#[derive(Clone, Debug)]
#[must_use = "services do nothing unless they are called"]
pub struct StatusService {
    cache: HealthCache,
    settings: Arc<Settings>,
    history: Arc<History>,
    frames: Arc<Frames>,
    subscribers: Arc<Subscribers>,
}

impl StatusService {
    /// Creates a service for all providers of `cache`. It records transitions from now on.
    pub fn new(cache: &HealthCache) -> Self {
        let (settings, history) = (Arc::default(), Arc::new(History::of(cache)));
        Self {
            cache: cache.clone(),
            settings: Arc::clone(&settings),
            history: Arc::clone(&history),
            frames: Arc::new(Frames::of(settings, history)),
            subscribers: Arc::new(Subscribers::new(MAX_SUBSCRIBERS)),
        }
    }

    /// Sets the title of the page. Default: `Provider health`.
    pub fn title(self, title: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.title = title.into())
    }

    /// Shows these providers even before their first call. Default: none.
    pub fn expected<I>(self, ids: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Arc<str>>,
    {
        self.set(|settings| settings.expected = ids.into_iter().map(Into::into).collect())
    }

    /// Hides the texts of errors and reasons from viewers and shows only their [labels](crate::Reason::label). An operator's
    /// reasons are left out. Ids of providers and names of chains stay visible. Default: false.
    pub fn redact(self, redact: bool) -> Self {
        self.set(|settings| settings.is_redacted = redact)
    }

    /// Sets when `/health.json` and `/healthz` return 503. Default: [`UnhealthyWhen::Never`].
    pub fn unhealthy_when(self, rule: UnhealthyWhen) -> Self {
        self.set(|settings| settings.unhealthy_when = rule)
    }

    /// Sets the maximum number of concurrent `/events` subscribers. Default: 64; 0 disables events.
    ///
    /// Further subscribers get a 503. Their page then shows `/health.json` and retries every few seconds.
    pub fn max_subscribers(mut self, max: usize) -> Self {
        self.subscribers = Arc::new(Subscribers::new(max));
        self
    }

    /// Sets how often `/events` sends health when nothing changes. Default: 5 s.
    ///
    /// # Panics
    ///
    /// If `interval` is zero.
    #[track_caller]
    pub fn refresh(self, interval: Duration) -> Self {
        let interval = positive("StatusService::refresh", interval);
        self.set(|settings| settings.refresh = interval)
    }

    /// Sets the path of a [`ControlService`](super::ControlService) for the same cache, and shows its buttons on the page.
    /// Default: no path and no buttons.
    ///
    /// The path must have the same origin as the page; it may be relative to the page. This setting grants no access:
    /// authenticate requests in front of the control service.
    pub fn control_at(self, path: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.control_at = Some(path.into()))
    }

    /// Shows the shared health of a [fleet](crate::fleet) on the page, in `/fleet.json` and in `/events`. Default: no fleet.
    ///
    /// A column of the page shows the open windows that replicas share. If replicas
    /// [share their health](crate::fleet::Fleet::share_health), a table shows the state of each unhealthy provider on each
    /// replica.
    ///
    /// | field of `/fleet.json` | value |
    /// |---|---|
    /// | `version` | 1 |
    /// | `replica` | this replica's name |
    /// | `connected` | whether this replica is in the fleet: false from the second failed exchange with the store in a row |
    /// | `error` | the error of the last exchange while not connected; otherwise `null` |
    /// | `windows` | a list of `provider`, `cause`, `remaining_seconds` and `reason` (a label) |
    /// | `replicas` | for each replica, a list of `provider`, `state` and `cause` |
    #[cfg(feature = "fleet")]
    pub fn fleet(self, fleet: &crate::fleet::FleetHandle) -> Self {
        let shown = fleet.shown();
        self.set(|settings| {
            settings.fleet = Some(FleetJson(Arc::new(move |redact| shown.json(redact))));
        })
    }

    /// Ends all `/events` responses of all clones and refuses new ones with 503.
    ///
    /// Call it before a graceful shutdown, which would otherwise wait for open pages. The pages reconnect to the next server.
    ///
    /// ```no_run
    /// # use axum::Router;
    /// # use tower_health::{HealthCache, status::StatusService};
    /// # async fn serve(listener: tokio::net::TcpListener, cache: HealthCache) -> std::io::Result<()> {
    /// let status = StatusService::new(&cache);
    /// let router = Router::new().nest_service("/status", status.clone());
    /// axum::serve(listener, router)
    ///     .with_graceful_shutdown(async move {
    ///         tokio::signal::ctrl_c().await.unwrap();
    ///         status.close();
    ///     })
    ///     .await
    /// # }
    /// ```
    pub fn close(&self) {
        self.subscribers.close();
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        // Frames depend on the settings, so a clone with other settings must not share them.
        let (settings, history) = (Arc::clone(&self.settings), Arc::clone(&self.history));
        self.frames = Arc::new(Frames::of(settings, history));
        self
    }

    fn answer(&self, method: &Method, path: &str) -> Answer {
        let is_head = *method == Method::HEAD;
        let show: fn(&Self, bool) -> Answer = match path {
            "" | "/" => |this, _| page(&this.settings),
            "/health.json" => |this, _| this.health(),
            "/healthz" => |this, _| this.healthz(),
            "/chains.json" => |this, _| json(StatusCode::OK, &Document::of(&this.cache.chains())),
            "/fleet.json" if self.settings.fleet.is_some() => |this, _| this.fleet_json(),
            "/events" => Self::events,
            _ => return text(StatusCode::NOT_FOUND, "not found\n"),
        };
        if !is_head && *method != Method::GET {
            return read_only();
        }
        let answer = show(self, is_head);
        if is_head {
            answer.map(|_| StatusBody::default())
        } else {
            answer
        }
    }

    /// Takes a snapshot, and collects transitions so that the subscription does not overflow while no page is open.
    fn snapshot(&self) -> Snapshot {
        let snapshot = self.settings.snapshot(&self.cache);
        self.history.collect();
        snapshot
    }

    fn health(&self) -> Answer {
        let snapshot = self.snapshot();
        let status = if self.settings.unhealthy_when.is_met_by(&snapshot) {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        json(status, &snapshot)
    }

    fn fleet_json(&self) -> Answer {
        let json = self.settings.fleet().unwrap_or_default();
        answer(StatusCode::OK, JSON, StatusBody::whole(json))
    }

    fn healthz(&self) -> Answer {
        let snapshot = self.snapshot();
        if self.settings.unhealthy_when.is_met_by(&snapshot) {
            text(StatusCode::SERVICE_UNAVAILABLE, "unhealthy\n")
        } else {
            text(StatusCode::OK, "ok\n")
        }
    }

    fn events(&self, is_head: bool) -> Answer {
        const EVENTS: &str = "text/event-stream";
        // Otherwise proxies such as nginx buffer the events.
        let unbuffered = |answer| with(answer, HeaderName::from_static("x-accel-buffering"), "no");
        if is_head {
            let mut head = answer(StatusCode::OK, EVENTS, StatusBody::default());
            head.headers_mut().remove(CONTENT_LENGTH);
            return unbuffered(head);
        }
        let Some(slot) = self.subscribers.slot() else {
            let why = if self.subscribers.are_closed() {
                "server is shutting down\n"
            } else {
                "too many subscribers\n"
            };
            return with(text(StatusCode::SERVICE_UNAVAILABLE, why), RETRY_AFTER, "5");
        };
        let events = Events::of(&self.cache, Arc::clone(&self.frames), slot);
        unbuffered(answer(StatusCode::OK, EVENTS, StatusBody::events(events)))
    }
}

impl<B> Service<Request<B>> for StatusService {
    type Response = Response<StatusBody>;
    type Error = Infallible;
    type Future = StatusFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> StatusFuture {
        let answer = self.answer(request.method(), request.uri().path());
        StatusFuture(ready(Ok(answer)))
    }
}

/// Response future of [`StatusService`]. It is ready at the first poll.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct StatusFuture(Ready<Result<Response<StatusBody>, Infallible>>);

impl Future for StatusFuture {
    type Output = Result<Response<StatusBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}
