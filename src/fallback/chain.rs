use std::{error::Error, fmt, sync::Arc, time::Duration};

use tower_service::Service;

use super::rule::{AdvanceWhen, ErrorsAdvance, GuardRule};
use crate::{
    cache::Provider,
    layer::Health,
    telemetry::{self, Fallbacks},
    util::{
        errors::{BoxError, find},
        settings::{at_least_one, positive},
    },
    view::CircuitOpen,
};

/// Walks providers in order of preference, and serves from the first that can.
///
/// Each entry is a provider and that provider's whole stack as a service: request mapping and timeouts are ordinary
/// layers of that stack. [`guard`](Self::guard) puts the provider's [`HealthLayer`](crate::HealthLayer) around it;
/// [`entry`](Self::entry) takes a stack that brings its own.
///
/// One pass: an entry whose breaker would refuse is skipped, and its service neither cloned nor polled; the others are
/// called in turn, until the [rule](crate::Advance) returns a result to the caller. Where none did, and some were skipped,
/// [`when_exhausted`](Self::when_exhausted) decides. The request is cloned only if another entry may still take it.
///
/// A clone is cheap, and is the same chain: the entries are shared. So the future is `Send` only if the
/// services are `Sync` too. The entries' stacks are of one type; stacks of different types go into tower's
/// `BoxCloneSyncService`.
///
/// The chain is always ready, so that it can be called without being asked; it waits for an entry's
/// readiness when it comes to it. A stack that can be full should have a `LoadShed`, so that being full
/// is an error, from which the chain goes on.
///
/// ```
/// use std::{io, time::Duration};
/// use tower::{
///     Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer, util::BoxCloneSyncService,
/// };
/// use tower_health::{BoxError, Exhausted, FallbackChain, HealthCache, error};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # async fn ask_groq(_: String) -> io::Result<String> { Err(io::Error::other("connection refused")) }
/// # async fn ask_together(prompt: String) -> io::Result<String> { Ok(format!("{prompt}: 42")) }
/// let cache = HealthCache::default();
/// let (groq, together) = (cache.provider("groq"), cache.provider("together"));
/// let groq_stack = ServiceBuilder::new()
///     .layer(TimeoutLayer::new(Duration::from_secs(3)))
///     .service_fn(ask_groq);
///
/// // Every error is a failure, and goes on to the next provider.
/// let mut chain = FallbackChain::new()
///     .guard(groq.clone(), BoxCloneSyncService::new(groq_stack.clone()))
///     .guard(together, BoxCloneSyncService::new(service_fn(ask_together).map_err(BoxError::from)));
/// let answer = chain.call("6 * 7".to_owned()).await?;
/// assert_eq!(answer, "6 * 7: 42");
///
/// // Only for short prompts, and no longer than 10 s; a bad request is returned to the caller.
/// let mut customized = FallbackChain::new()
///     .guard_if(groq, groq_stack, |prompt: &String| prompt.len() < 1_000)
///     .advance_when(|result| match result {
///         Ok(answer) => answer.is_empty(),
///         Err(error) => error::find::<io::Error>(error)
///             .is_none_or(|error| error.kind() != io::ErrorKind::InvalidInput),
///     })
///     .deadline(Duration::from_secs(10))
///     .when_exhausted(Exhausted::Fail);
/// let error = customized.call("6 * 7".to_owned()).await.unwrap_err();
/// let exhausted = error::find::<error::NoHealthyProvider>(&*error).unwrap();
/// assert_eq!(exhausted.attempts[0].reason, "connection refused");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`NoHealthyProvider`](crate::error::NoHealthyProvider) where no entry is left, or the time is up; otherwise the error of an entry
/// that the rule returns, unchanged.
///
/// # Cancel safety
///
/// Dropping the future drops the call that is running; its permit is neutral, and its trial's slot
/// free again.
#[must_use]
pub struct FallbackChain<S, Req, R = ErrorsAdvance> {
    pub(super) entries: Arc<Vec<Entry<S, Req>>>,
    pub(super) rule: R,
    pub(super) deadline: Option<Duration>,
    pub(super) max_attempts: usize,
    pub(super) exhausted: Exhausted,
    pub(super) last_answer: bool,
}

/// What a chain does when it has come to its end, and providers were skipped because their breakers refused.
///
/// | variant | calls to providers that refuse | suits |
/// |---|---|---|
/// | `LastResort` | one trial per provider and second | most chains |
/// | `Fail` | none | callers who can wait and ask again |
/// | `Wait` | one, once a breaker admits it | background work |
/// | `FailOpen` | all | a chain whose providers must never all be kept out by a false alarm |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exhausted {
    /// Asks the providers that refused, in order, for [a trial before its time](Provider::grant_trial), and calls the first
    /// that grants one: at most once a second each, and never before a time that the provider itself named.
    ///
    /// The default, because one bad request that was sent to every provider must not silence them all for a minute: the
    /// next request finds out that they are healthy.
    #[default]
    LastResort,
    /// Fails at once.
    Fail,
    /// Waits, for so long at most, until the first of these providers would admit a call, and calls it, once. Where another
    /// caller was faster it waits on.
    Wait(Duration),
    /// Where all that refused did so because of failures ([`Cause::Failures`](crate::Cause::Failures) and
    /// [`Cause::Probe`](crate::Cause::Probe)), calls them in order as if they were closed: Envoy's [panic mode]. Where one of
    /// them is throttled or forced, or named a time that has not come, does what [`LastResort`](Self::LastResort) does.
    ///
    /// The layer of the entry's provider lets these calls through, if it runs in the same task as the chain: a `Buffer` or a
    /// spawned task between them hides the chain from it, and it refuses as ever. One of these calls a second for each
    /// provider is a trial, whose success can close the breaker. The others are counted in metrics and listed among the
    /// attempts, but move no breaker, unless the provider asks for a pause.
    ///
    /// [panic mode]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold
    FailOpen,
}

#[derive(Clone)]
pub(super) struct Entry<S, Req> {
    pub(super) provider: Provider,
    pub(super) service: S,
    predicate: Option<Arc<Predicate<Req>>>,
    /// What it has left to the entries behind it.
    pub(super) fallbacks: Fallbacks,
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
            last_answer: false,
        }
    }
}

impl<S, Req, R: GuardRule> FallbackChain<Health<S, R::Classifier>, Req, R> {
    /// Adds the provider that comes next in preference, with a [`HealthLayer`](crate::HealthLayer) around its `stack`.
    ///
    /// The layer judges by the [classifier](GuardRule) of the chain's rule, so that health and fallback follow one table, and
    /// the provider is named once. That is the rule at the time of this call: set one with [`advance`](Self::advance), or begin
    /// with `FallbackChain::http` or `FallbackChain::grpc`, *before* the entries. The default rule and those of
    /// [`advance_when`](Self::advance_when) guard with [`ErrorsAsFailures`](crate::ErrorsAsFailures). For a stack with
    /// something around its layer, such as a `Retry`, use [`entry`](Self::entry).
    ///
    /// ```
    /// # async fn ask_groq(prompt: String) -> std::io::Result<String> { Ok(prompt) }
    /// # #[cfg(feature = "http")]
    /// # fn over_http() {
    /// # async fn send(_: http::Request<String>) -> std::io::Result<http::Response<String>> { Ok(Default::default()) }
    /// # let client = service_fn(send);
    /// use tower::service_fn;
    /// use tower_health::{FallbackChain, HealthCache, http::StatusClassifier};
    ///
    /// let cache = HealthCache::default();
    /// let chain = FallbackChain::http()
    ///     .guard(cache.provider("groq"), client.clone())
    ///     .guard(cache.provider("openai"), client.clone());
    ///
    /// // A 404 is neither a failure nor the caller's: the next provider may know the model.
    /// let customized = FallbackChain::new()
    ///     .advance(StatusClassifier::new().advance_on([404]))
    ///     .guard(cache.provider("groq"), client.clone())
    ///     .guard(cache.provider("openai"), client);
    /// # use tower::ServiceExt;
    /// # let _ = (chain.oneshot(Default::default()), customized.oneshot(Default::default()));
    /// # }
    /// ```
    pub fn guard(self, provider: Provider, stack: S) -> Self
    where
        S: Clone,
        Req: Clone,
    {
        let guarded = self.guarded(&provider, stack);
        self.push(provider, guarded, None)
    }

    /// As [`guard`](Self::guard), of a provider that takes only requests for which `predicate` is true; see
    /// [`entry_if`](Self::entry_if).
    pub fn guard_if<P>(self, provider: Provider, stack: S, predicate: P) -> Self
    where
        S: Clone,
        Req: Clone,
        P: Fn(&Req) -> bool + Send + Sync + 'static,
    {
        let guarded = self.guarded(&provider, stack);
        self.push(provider, guarded, Some(Arc::new(predicate)))
    }

    fn guarded(&self, provider: &Provider, stack: S) -> Health<S, R::Classifier> {
        Health::new(stack, provider.clone(), self.rule.classifier())
    }
}

impl<S, Req, R> FallbackChain<S, Req, R> {
    /// Adds the provider that comes next in preference, and the service that calls it.
    ///
    /// The stack must bring the provider's own [`HealthLayer`](crate::HealthLayer): the chain only reads the provider's
    /// health, and without that layer no call is recorded, so that its breaker never opens.
    /// [`guard`](Self::guard) adds the layer.
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
        F: Fn(Result<&S::Response, &(dyn Error + 'static)>) -> bool,
    {
        self.advance(AdvanceWhen(rule))
    }

    /// Goes on to the next provider where `rule` says so. Default: [`ErrorsAdvance`].
    ///
    /// A refusal by the breaker of the entry's own provider always goes on, and is not shown to the rule. Entries that are
    /// [guarded](Self::guard) already keep the classifier of the rule before.
    pub fn advance<A>(self, rule: A) -> FallbackChain<S, Req, A> {
        FallbackChain {
            rule,
            entries: self.entries,
            deadline: self.deadline,
            max_attempts: self.max_attempts,
            exhausted: self.exhausted,
            last_answer: self.last_answer,
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
        Self {
            max_attempts: at_least_one("FallbackChain::max_attempts", tries),
            ..self
        }
    }

    /// What to do when no entry is left and some refused. Default: [`Exhausted::LastResort`].
    ///
    /// [`Exhausted::Wait`] clones the request for the last entry too; the others do so only where an entry refused.
    ///
    /// # Panics
    ///
    /// If it is to wait for no time at all.
    #[track_caller]
    pub fn when_exhausted(self, exhausted: Exhausted) -> Self {
        if let Exhausted::Wait(limit) = exhausted {
            positive("Exhausted::Wait", limit);
        }
        Self { exhausted, ..self }
    }

    /// Returns the last response that a provider gave, though the rule would go on from it, where nobody else is left: the
    /// caller gets a provider's own 429 or 503 instead of a [`NoHealthyProvider`](crate::error::NoHealthyProvider). Default: false.
    ///
    /// [`when_exhausted`](Self::when_exhausted) comes first: a last resort is tried, or a wait is waited for, and only
    /// where that gives no better response is the kept one returned. So it is where the [`deadline`](Self::deadline) or
    /// [`max_attempts`](Self::max_attempts) ends the chain. Only responses are kept. Where no provider gave one, the result is
    /// [`NoHealthyProvider`](crate::error::NoHealthyProvider) as ever, with the last error as its source.
    ///
    /// The rule [sees it served](crate::Advance::served), so that over HTTP it carries a [`ServedBy`](crate::ServedBy) with all the other attempts.
    /// While others are tried, the response is held, and its connection with it.
    ///
    /// ```
    /// use tower::{ServiceExt, service_fn};
    /// use tower_health::{BoxError, FallbackChain, HealthCache};
    ///
    /// # tokio_test::block_on(async {
    /// let cache = HealthCache::default();
    /// let chain = FallbackChain::new()
    ///     .guard(cache.provider("groq"), service_fn(|(): ()| async { Ok::<_, BoxError>("") }))
    ///     .advance_when(|result| result.map_or(true, |answer| answer.is_empty()))
    ///     .last_answer(true);
    /// assert_eq!(chain.oneshot(()).await.unwrap(), "");
    /// # });
    /// ```
    pub fn last_answer(self, returned: bool) -> Self {
        Self {
            last_answer: returned,
            ..self
        }
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

impl<S, Req> Entry<S, Req> {
    pub(super) fn takes(&self, request: &Req) -> bool {
        self.predicate
            .as_ref()
            .is_none_or(|predicate| predicate(request))
    }

    /// Whether the result is a refusal by this entry's own breaker.
    pub(super) fn has_refused<Res>(&self, result: &Result<Res, BoxError>) -> bool {
        let error = result.as_ref().err();
        let refusal = error.and_then(|error| find::<CircuitOpen>(&**error));
        refusal.is_some_and(|refusal| *refusal.provider == *self.provider.id())
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
            last_answer: self.last_answer,
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
            last_answer,
        } = self;
        f.debug_struct("FallbackChain")
            .field("entries", entries)
            .field("rule", rule)
            .field("deadline", deadline)
            .field("max_attempts", max_attempts)
            .field("exhausted", exhausted)
            .field("last_answer", last_answer)
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
