//! The access log: a line for each request, once its answer has ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http_body::{Body, Frame};
use reqwest::Response;
use tower_health::{
    BoxError, ServedBy,
    error::{NoHealthyProvider, find},
};

#[derive(Debug)]
pub(crate) struct Access {
    alias: String,
    pub(crate) served_by: String,
    pub(crate) attempts: usize,
    started: Instant,
    first_token: Option<Duration>,
    is_complete: bool,
}

impl Access {
    pub(crate) fn start(alias: &str) -> Self {
        Self {
            alias: alias.into(),
            served_by: String::new(),
            attempts: 0,
            started: Instant::now(),
            first_token: None,
            is_complete: false,
        }
    }

    /// Notes who served, and how many were called.
    pub(crate) fn served(&mut self, result: &Result<Response, BoxError>) {
        let past = match result {
            Ok(answer) => answer.extensions().get().map(
                |ServedBy {
                     provider, attempts, ..
                 }| {
                    self.served_by = provider.to_string();
                    self.attempts = 1;
                    attempts
                },
            ),
            Err(failed) => find(&**failed).map(|NoHealthyProvider { attempts, .. }| attempts),
        };
        let past = past.into_iter().flatten();
        self.attempts += past.filter(|it| !it.elapsed.is_zero()).count();
    }
}

/// A body that notes when it is sent.
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
            served_by = self.served_by,
            attempts = self.attempts,
            first_token_ms = self.first_token.map(|it| it.as_millis()),
            total_ms = self.started.elapsed().as_millis(),
            is_complete = self.is_complete,
        );
    }
}
