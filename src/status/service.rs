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

use super::{
    answer::{Answer, answer, json, only_read, text, with},
    body::StatusBody,
    events::Events,
    frames::Frames,
    history::History,
    page::page,
    rule::UnhealthyWhen,
    settings::Settings,
    viewers::Viewers,
};
use crate::{
    cache::{HealthCache, Snapshot},
    util::settings::positive,
};

const MAX_SUBSCRIBERS: usize = 64;

/// Shows the health of every provider of a cache: to people, as a page that is live, and to programs, as JSON.
///
/// | `GET`, `HEAD` | |
/// |---|---|
/// | `/` | the page: who is ill, why, since when, when it is tried next, and the last 15 minutes of each; one file, from nowhere else |
/// | `/health.json` | a [`Snapshot`] as JSON, with 200, or 503 [by a rule](Self::unhealthy_when) |
/// | `/healthz` | 200 and `ok`, or 503 and `unhealthy`, by the same rule, with no details |
/// | `/events` | what the page lives on: server-sent events |
///
/// It only reads, and whoever reaches it sees it: put it where your operators are, or [redact](Self::redact) it. Where only
/// the network guards it, check `Host`: else a page of any site that an operator visits can read it, by having its own name
/// lead here (DNS rebinding). A cookie or a password stops that too, since a browser ties it to your name.
/// Nothing that a provider says can do harm on the page: it is shown as text, by a script that alone may run there.
///
/// It works under any path, with a slash at its end or without: see [the module](super). From hyper alone, wrap it in
/// `hyper_util::service::TowerToHyperService`; to serve control beside it, choose between the two by the path, and take the
/// prefix off what goes to [`ControlService`](super::ControlService).
///
/// A clone is the same service: subscribers and history are shared. It keeps the cache alive. It spawns nothing;
/// transitions are collected when somebody asks for `/health.json`, `/healthz` or `/events`, and kept: the last 64 of a
/// provider, 1,024 in all. Of those that come between two such looks only the last 1,024 are there.
///
/// # Events
///
/// The first frame comes at once; then there is one [every 5 s](Self::refresh), and sooner where a state changes,
/// a wait ends or an operator overrules, but no more than four a second. One frame is built for all who follow.
///
/// To a browser, HTTP/1.1 is six connections to a host, and each page holds one: serve many pages over HTTP/2. A proxy's read
/// timeout has to be longer than the [refresh](Self::refresh).
///
/// | `event` | `data` |
/// |---|---|
/// | `history`, once | `{"version":1,"watched_seconds":…,"missed":…,"gap_seconds_ago":…,"gaps":{id:…},"transitions":[…]}`: the [transitions](crate::Transition) that are kept, oldest first, and what is not: `missed` counts those that nobody looked in time for, the last of them just before `gap_seconds_ago`, which is `null` where there are none; `gaps` has the providers of whom there were more than are kept, and how many seconds ago the last of the others was |
/// | `transitions` | the same, with those since the last frame |
/// | `health` | what `/health.json` says |
///
/// ```
/// use std::time::Duration;
/// use tower_health::{HealthCache, status::{StatusService, UnhealthyWhen}};
///
/// let cache = HealthCache::default();
/// let by_default = StatusService::new(&cache);
///
/// let for_strangers = StatusService::new(&cache)
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
    viewers: Arc<Viewers>,
}

impl StatusService {
    /// A service that shows all of `cache`. Transitions are seen from now on.
    pub fn new(cache: &HealthCache) -> Self {
        let (settings, history) = (Arc::default(), Arc::new(History::of(cache)));
        Self {
            cache: cache.clone(),
            settings: Arc::clone(&settings),
            history: Arc::clone(&history),
            frames: Arc::new(Frames::of(settings, history)),
            viewers: Arc::new(Viewers::new(MAX_SUBSCRIBERS)),
        }
    }

    /// The title of the page. Default: `Provider health`.
    pub fn title(self, title: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.title = title.into())
    }

    /// These have a row from the beginning, though nobody has asked for them yet. Default: none.
    pub fn expected<I>(self, ids: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Arc<str>>,
    {
        self.set(|settings| settings.expected = ids.into_iter().map(Into::into).collect())
    }

    /// Leaves out the text of errors and reasons, which may say more than a stranger should know, and shows their
    /// [labels](crate::Reason::label) alone. Ids are shown. Default: false.
    pub fn redact(self, redact: bool) -> Self {
        self.set(|settings| settings.is_redacted = redact)
    }

    /// When `/health.json` and `/healthz` answer 503. Default: [never](UnhealthyWhen::Never), for reasons given there.
    pub fn unhealthy_when(self, rule: UnhealthyWhen) -> Self {
        self.set(|settings| settings.unhealthy_when = rule)
    }

    /// How many may follow `/events` at once. One more gets a 503; its page asks again every few seconds.
    /// Default: 64; zero for none.
    pub fn max_subscribers(mut self, max: usize) -> Self {
        self.viewers = Arc::new(Viewers::new(max));
        self
    }

    /// How often `/events` tells of everybody's health though no state changes. Default: 5 s.
    ///
    /// # Panics
    ///
    /// If `interval` is zero.
    #[track_caller]
    pub fn refresh(self, interval: Duration) -> Self {
        let interval = positive("StatusService::refresh", interval);
        self.set(|settings| settings.refresh = interval)
    }

    /// Where a [`ControlService`](super::ControlService) of the same cache is, which the page then has buttons for: a path
    /// of the same origin, absolute or relative to the page. Default: nowhere, and no buttons.
    ///
    /// That is all it does. Who may press them is for whatever stands before the control service to decide.
    pub fn control_at(self, path: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.control_at = Some(path.into()))
    }

    /// Ends the events of every subscriber, now and for good, on all clones: for a server that is to shut down
    /// gracefully, and would otherwise wait for them. The pages ask the next server.
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
        self.viewers.close();
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        // A clone with other settings shows other frames.
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
            "/events" => Self::events,
            _ => return text(StatusCode::NOT_FOUND, "not found\n"),
        };
        if !is_head && *method != Method::GET {
            return only_read();
        }
        let answer = show(self, is_head);
        if is_head {
            answer.map(|_| StatusBody::default())
        } else {
            answer
        }
    }

    /// Whoever asks for health also keeps the history whole, though nobody looks at it for hours.
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
        // Proxies such as nginx would hold the events back.
        let unbuffered = |answer| with(answer, HeaderName::from_static("x-accel-buffering"), "no");
        if is_head {
            let mut head = answer(StatusCode::OK, EVENTS, StatusBody::default());
            head.headers_mut().remove(CONTENT_LENGTH);
            return unbuffered(head);
        }
        let Some(place) = self.viewers.place() else {
            let why = if self.viewers.are_sent_home() {
                "this server is closing\n"
            } else {
                "too many subscribers\n"
            };
            return with(text(StatusCode::SERVICE_UNAVAILABLE, why), RETRY_AFTER, "5");
        };
        let events = Events::of(&self.cache, Arc::clone(&self.frames), place);
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

/// The response of [`StatusService`], which is ready.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct StatusFuture(Ready<Result<Response<StatusBody>, Infallible>>);

impl Future for StatusFuture {
    type Output = Result<Response<StatusBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}
