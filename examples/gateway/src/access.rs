//! The access log: a line for each request, once its answer has ended.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
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

    /// Notes a frame of the body, or its end.
    pub(crate) fn sent<E>(&mut self, next: Option<&Result<Frame<Bytes>, E>>) {
        match next {
            Some(Ok(_)) => drop(
                self.first_token
                    .get_or_insert_with(|| self.started.elapsed()),
            ),
            Some(Err(_)) => {}
            None => self.is_complete = true,
        }
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
