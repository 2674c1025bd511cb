//! Providers in order of preference, and the service that serves from the first that can.

mod attempt;
mod future;
mod journey;
mod rule;
mod wait;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

pub use self::{
    attempt::{Attempt, NoHealthyProvider, ServedBy},
    future::FallbackFuture,
    rule::{Advance, AdvanceWhen, ErrorsAdvance},
};
use crate::{
    BoxError, Provider,
    error::{CircuitOpen, find},
    policy::positive,
    telemetry::{self, Fallbacks},
};

/// Walks providers in order of preference, and serves from the first that can.
///
/// Each entry is a provider and that provider's whole stack as a service, its
/// [`HealthLayer`](crate::HealthLayer) in it: request mapping, `Retry` and timeouts are ordinary
/// layers of that stack. One pass: an entry whose breaker would refuse is skipped, and its service
/// neither cloned nor polled; the others are called in turn, until the [rule](Advance) returns a
/// result to the caller. The request is cloned only if another entry is left that takes it.
///
/// A clone is cheap, and is the same chain: the entries are shared. So the future is `Send` only if the
/// services are `Sync` too. Where the entries' stacks are of different types, box them in tower's
/// `BoxCloneSyncService`.
///
/// The chain is always ready, so that it can be called without being asked; it waits for an entry's
/// readiness when it comes to it. A stack that can be full should have a `LoadShed`, so that being full
/// is an error, from which the chain goes on.
///
/// ```
/// use std::{io, time::Duration};
/// use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};
/// use tower_health::{BoxError, Exhausted, FallbackChain, HealthCache, HealthLayer, error};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # async fn ask_groq(_: String) -> io::Result<String> { Err(io::Error::other("connection refused")) }
/// # async fn ask_together(prompt: String) -> io::Result<String> { Ok(format!("{prompt}: 42")) }
/// let cache = HealthCache::default();
/// let (groq, together) = (cache.provider("groq"), cache.provider("together"));
/// let groq_stack = ServiceBuilder::new()
///     .layer(HealthLayer::new(groq.clone()))
///     .service_fn(ask_groq);
/// let together_stack = ServiceBuilder::new()
///     .layer(HealthLayer::new(together.clone()))
///     .service_fn(ask_together);
///
/// // Every error goes on to the next provider.
/// let mut chain = FallbackChain::new()
///     .entry(groq.clone(), BoxCloneSyncService::new(groq_stack.clone()))
///     .entry(together, BoxCloneSyncService::new(together_stack));
/// let answer = chain.call("6 * 7".to_owned()).await?;
/// assert_eq!(answer, "6 * 7: 42");
///
/// // Only for short prompts, and no longer than 10 s; a bad request is the caller's own.
/// let mut customized = FallbackChain::new()
///     .entry_if(groq, groq_stack, |prompt: &String| prompt.len() < 1_000)
///     .advance_when(|result| match result {
///         Ok(answer) => answer.is_empty(),
///         Err(error) => error::find::<io::Error>(error)
///             .is_none_or(|error| error.kind() != io::ErrorKind::InvalidInput),
///     })
///     .deadline(Duration::from_secs(10))
///     .when_exhausted(Exhausted::LastResort);
/// let error = customized.call("6 * 7".to_owned()).await.unwrap_err();
/// let exhausted = error::find::<error::NoHealthyProvider>(&error).unwrap();
/// assert_eq!(exhausted.attempts[0].reason, "connection refused");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`NoHealthyProvider`] where no entry is left, or the time is up; otherwise the error of an entry
/// that the rule returns, unchanged.
///
/// # Cancel safety
///
/// Dropping the future drops the call that is running; its permit is neutral, and its trial's slot
/// free again.
#[must_use]
pub struct FallbackChain<S, Req, R = ErrorsAdvance> {
    entries: Arc<Vec<Entry<S, Req>>>,
    rule: R,
    deadline: Option<Duration>,
    max_attempts: usize,
    exhausted: Exhausted,
}

/// What a chain does when it has come to its end, and providers were skipped because their breakers refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exhausted {
    /// It fails at once.
    #[default]
    Fail,
    /// It waits, for so long at most, until the first of these providers would admit a call, and
    /// tries it, once. Where another caller was faster it waits on.
    Wait(Duration),
    /// It asks them in order for [a trial before its time](Provider::grant_trial), and tries the
    /// first that grants one, once: not twice in a second, and never before a time that the provider itself named.
    LastResort,
}

#[derive(Clone)]
struct Entry<S, Req> {
    provider: Provider,
    service: S,
    predicate: Option<Arc<Predicate<Req>>>,
    /// What it has left to the entries behind it.
    fallbacks: Fallbacks,
}

type Predicate<Req> = dyn Fn(&Req) -> bool + Send + Sync;

impl<S, Req> FallbackChain<S, Req> {
    /// A chain without entries, whose default rule is [`ErrorsAdvance`].
    pub fn new() -> Self {
        telemetry::chain();
        Self {
            entries: Arc::default(),
            rule: ErrorsAdvance,
            deadline: None,
            max_attempts: usize::MAX,
            exhausted: Exhausted::default(),
        }
    }
}

impl<S, Req, R> FallbackChain<S, Req, R> {
    /// Adds the provider that comes next in preference, and the service that calls it.
    pub fn entry(self, provider: Provider, service: S) -> Self
    where
        S: Clone,
        Req: Clone,
    {
        self.push(provider, service, None)
    }

    /// Adds a provider that takes only requests for which `predicate` is true: those that fit its
    /// context window, say. Others pass it by. The predicate may be asked more than once of a request.
    pub fn entry_if<P>(self, provider: Provider, service: S, predicate: P) -> Self
    where
        S: Clone,
        Req: Clone,
        P: Fn(&Req) -> bool + Send + Sync + 'static,
    {
        self.push(provider, service, Some(Arc::new(predicate)))
    }

    /// Goes on to the next provider where the closure is true. Default: after every error.
    ///
    /// Put it behind the entries, and the response's type is known.
    pub fn advance_when<F>(self, rule: F) -> FallbackChain<S, Req, AdvanceWhen<F>>
    where
        S: Service<Req>,
        F: Fn(Result<&S::Response, &BoxError>) -> bool,
    {
        self.advance(AdvanceWhen(rule))
    }

    /// Goes on to the next provider where `rule` says so. Default: [`ErrorsAdvance`].
    ///
    /// A refusal by the breaker of the entry's own provider always goes on, and is not shown to the rule.
    pub fn advance<A>(self, rule: A) -> FallbackChain<S, Req, A> {
        FallbackChain {
            rule,
            entries: self.entries,
            deadline: self.deadline,
            max_attempts: self.max_attempts,
            exhausted: self.exhausted,
        }
    }

    /// How long a request may take in all, from the call on. Default: without limit.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn deadline(self, limit: Duration) -> Self {
        Self {
            deadline: Some(positive("FallbackChain::deadline", limit)),
            ..self
        }
    }

    /// How many providers are tried for one request at most; those skipped do not count. Default: all.
    ///
    /// # Panics
    ///
    /// If `tries` is 0.
    #[track_caller]
    pub fn max_attempts(self, tries: usize) -> Self {
        assert!(
            tries > 0,
            "`FallbackChain::max_attempts` must be at least 1, got 0"
        );
        Self {
            max_attempts: tries,
            ..self
        }
    }

    /// What to do when no entry is left. Default: [`Exhausted::Fail`].
    ///
    /// The other two clone the request for the last entry too.
    pub fn when_exhausted(self, exhausted: Exhausted) -> Self {
        Self { exhausted, ..self }
    }

    fn push(
        mut self,
        provider: Provider,
        service: S,
        predicate: Option<Arc<Predicate<Req>>>,
    ) -> Self
    where
        S: Clone,
        Req: Clone,
    {
        Arc::make_mut(&mut self.entries).push(Entry {
            provider,
            service,
            predicate,
            fallbacks: Fallbacks::default(),
        });
        self
    }
}

impl<S, Req, R> Service<Req> for FallbackChain<S, Req, R>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    Req: Clone,
    R: Advance<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = FallbackFuture<S, Req, R>;

    // Not asked of the entries: which of them is needed shows only on the way.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        FallbackFuture::new(self.clone(), request)
    }
}

impl<S, Req> Entry<S, Req> {
    fn takes(&self, request: &Req) -> bool {
        self.predicate
            .as_ref()
            .is_none_or(|predicate| predicate(request))
    }

    /// Whether the result is a refusal by this entry's own breaker.
    fn has_refused<Res>(&self, result: &Result<Res, BoxError>) -> bool {
        let refusal = result.as_ref().err().and_then(find::<CircuitOpen>);
        refusal.is_some_and(|refusal| refusal.provider == *self.provider.id())
    }
}

/// By hand: the entries are shared, so that neither services nor requests need be cloned.
impl<S, Req, R: Clone> Clone for FallbackChain<S, Req, R> {
    fn clone(&self) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
            rule: self.rule.clone(),
            deadline: self.deadline,
            max_attempts: self.max_attempts,
            exhausted: self.exhausted,
        }
    }
}

impl<S, Req> Default for FallbackChain<S, Req> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, Req, R: fmt::Debug> fmt::Debug for FallbackChain<S, Req, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            entries,
            rule,
            deadline,
            max_attempts,
            exhausted,
        } = self;
        f.debug_struct("FallbackChain")
            .field("entries", entries)
            .field("rule", rule)
            .field("deadline", deadline)
            .field("max_attempts", max_attempts)
            .field("exhausted", exhausted)
            .finish()
    }
}

impl<S, Req> fmt::Debug for Entry<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("provider", &self.provider)
            .field("is_conditional", &self.predicate.is_some())
            .finish_non_exhaustive()
    }
}
