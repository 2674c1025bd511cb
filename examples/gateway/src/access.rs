//! The access log: a line for each request, once its answer has ended or its client has left.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http_body::{Body, Frame};
use reqwest::{Response, StatusCode};
use tower_health::{
    BoxError, ServedBy,
    error::{NoHealthyProvider, find},
};

/// An entry of the log, written when it is dropped.
#[derive(Debug)]
pub(crate) struct Access {
    alias: String,
    pub(crate) served_by: Option<Arc<str>>,
    pub(crate) calls: usize,
    pub(crate) status: Option<StatusCode>,
    started: Instant,
    first_token: Option<Duration>,
    is_complete: bool,
}

impl Access {
    pub(crate) fn start(alias: &str) -> Self {
        Self {
            alias: alias.into(),
            served_by: None,
            calls: 0,
            status: None,
            started: Instant::now(),
            first_token: None,
            is_complete: false,
        }
    }

    /// Records the provider that served, and the number of calls.
    pub(crate) fn note(&mut self, result: &Result<Response, BoxError>) {
        match result {
            Ok(answer) => {
                let served_by = answer.extensions().get::<ServedBy>();
                self.served_by = served_by.map(|it| Arc::clone(&it.provider));
                self.calls = served_by.map_or(0, ServedBy::calls);
            }
            Err(failed) => self.calls = find(&**failed).map_or(0, NoHealthyProvider::calls),
        }
    }
}

/// A body that records the time of its first frame, and whether it was sent to the end.
pub(crate) struct Logged<B> {
    pub(crate) body: B,
    pub(crate) access: Access,
}

impl<B: Body + Unpin> Body for Logged<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let after = self.access.started.elapsed();
        self.access.first_token.get_or_insert(after);
        self.access.is_complete |= next.is_none();
        Poll::Ready(next)
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        tracing::info!(
            target: "gateway::access",
            alias = self.alias,
            status = self.status.map(|it| it.as_u16()),
            served_by = self.served_by.as_deref(),
            attempts = self.calls,
            first_token_ms = self.first_token.map(|it| it.as_millis()),
            total_ms = self.started.elapsed().as_millis(),
            is_complete = self.is_complete,
        );
    }
}
