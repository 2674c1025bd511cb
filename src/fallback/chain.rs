use std::{error::Error, fmt, sync::Arc, time::Duration};

use tower_service::Service;

use super::{
    providers::Providers,
    rule::{AdvanceWhen, ErrorsAdvance, GuardRule},
};
use crate::{
    cache::Provider,
    layer::Health,
    telemetry::{self, Fallbacks, Log},
    util::{
        errors::BoxError,
        settings::{at_least_one, positive},
    },
};

/// Service that tries providers in order of preference and returns the first acceptable result.
///
/// Each entry is a provider and its stack: a service that calls the provider, inside ordinary layers such as timeouts and request
/// mapping.
/// [`guard`](Self::guard) adds the provider's [`HealthLayer`](crate::HealthLayer) to the stack; [`entry`](Self::entry) takes a
/// stack that already has it.
///
/// For each request, the chain goes through the entries in order:
///
/// 1. It skips an entry whose breaker would refuse, without cloning or polling its service.
/// 2. Otherwise, it calls the entry. The [rule](crate::Advance) then decides whether to return the result or to go on.
/// 3. If no entry is left and some breakers refused, [`when_exhausted`](Self::when_exhausted) decides whether to try those again.
///
/// The request is cloned only if another entry may still need it. If it cannot be cloned, the chain fails.
///
/// Clones are cheap. The chain's clones and futures share the entries, so a future is `Send` only if the services are `Sync` too.
/// All stacks have the same type; to mix types, box them with tower's `BoxCloneSyncService`.
///
/// The chain is always ready, so `call` does not need `poll_ready` first. It waits for an entry to be ready when it reaches that
/// entry. If a stack limits concurrency or rate, add a `LoadShed`: at the limit, the chain then gets an error and goes on.
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
/// // Every error is a failure, and the chain goes on to the next provider.
/// let mut chain = FallbackChain::new()
///     .guard(groq.clone(), BoxCloneSyncService::new(groq_stack.clone()))
///     .guard(together, BoxCloneSyncService::new(service_fn(ask_together).map_err(BoxError::from)));
/// let answer = chain.call("6 * 7".to_owned()).await?;
/// assert_eq!(answer, "6 * 7: 42");
///
/// // Short prompts only, at most 10 s in total. A bad request is returned to the caller.
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
/// [`NoHealthyProvider`](crate::error::NoHealthyProvider) if no entry is left or the deadline has passed. If the rule
/// returns an entry's error to the caller, the chain boxes that error.
///
/// # Cancel safety
///
/// Dropping the future drops the call in flight and its permit. That call is then neutral. If it was a trial, its slot is freed
/// after [`Trials::pause`](crate::Trials::pause). With [`Trip::cancelled_after`](crate::Trip::cancelled_after), a call that has
/// run for at least that long is a failure instead.
#[must_use]
pub struct FallbackChain<S, Req, R = ErrorsAdvance> {
    pub(super) entries: Arc<Vec<Entry<S, Req>>>,
    pub(super) clone_request: CloneRequest<Req>,
    pub(super) rule: R,
    pub(super) deadline: Option<Duration>,
    pub(super) max_attempts: usize,
    pub(super) exhausted: Exhausted,
    pub(super) last_answer: bool,
    pub(super) log: Log,
}

/// Decides what a chain does if no entry has served the request and some breakers refused.
///
/// | variant | calls to providers whose breakers refused | use for |
/// |---|---|---|
/// | `LastResort` | at most one trial per second and provider | most chains |
/// | `Fail` | none | callers that retry later |
/// | `Wait` | one, when a breaker admits it | background work |
/// | `FailOpen` | all | chains that must not lose all providers to a false alarm |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exhausted {
    /// Requests an [early trial](Provider::grant_trial) from each provider that refused, in order, and calls the first that
    /// grants it. Each provider grants at most one per second, and none before its retry time, such as a `Retry-After`.
    ///
    /// The default. Suppose repeated bad requests open the breakers of all providers: without early trials, every request would
    /// then fail for a minute. With them, the next good request closes a breaker.
    #[default]
    LastResort,
    /// Fails at once.
    Fail,
    /// Waits until one of the providers that refused would admit a call, and calls it once. The duration is the maximum wait. If
    /// another caller takes the trial first, the chain keeps waiting.
    Wait(Duration),
    /// Calls all providers that refused, in order, as if their breakers were closed: Envoy's [panic mode].
    ///
    /// This applies only if all of them refused because of failures ([`Cause::Failures`](crate::Cause::Failures),
    /// [`Cause::Probe`](crate::Cause::Probe) or [`Cause::Peer`](crate::Cause::Peer)). If one is throttled or forced open, or its retry time has not passed, the
    /// chain does what [`LastResort`](Self::LastResort) does.
    ///
    /// A layer admits these calls only in the chain's own task. Behind a `Buffer` or a spawned task, it refuses as usual.
    ///
    /// At most one of these calls per second and provider is a trial, whose success can close the breaker. All of these calls
    /// appear in metrics and among the attempts. If a call is not a trial, only the outcome
    /// [`Throttled`](crate::Outcome::Throttled) changes the breaker.
    ///
    /// If an outer provider of an [entry](FallbackChain::entry) refuses, the chain does what `LastResort` does, too.
    ///
    /// [panic mode]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold
    FailOpen,
}

pub(super) struct Entry<S, Req> {
    pub(super) providers: Providers,
    pub(super) service: S,
    predicate: Option<Arc<Predicate<Req>>>,
    /// Counts requests that went on from this entry to a later one.
    pub(super) fallbacks: Fallbacks,
}

type Predicate<Req> = dyn Fn(&Req) -> bool + Send + Sync;

/// Not a bound on `Req`: a request of reqwest is not `Clone`, because its body may be a stream.
type CloneRequest<Req> = fn(&Req) -> Result<Req, BoxError>;

impl<S, Req> FallbackChain<S, Req> {
    /// Creates a chain without entries. Default rule: [`ErrorsAdvance`].
    pub fn new() -> Self
    where
        Req: Clone,
    {
        Self::cloning_by(|request| Ok(request.clone()))
    }

    /// Creates a chain without entries. The error of `clone_request` is returned to the caller.
    pub(crate) fn cloning_by(clone_request: CloneRequest<Req>) -> Self {
        telemetry::chain();
        Self {
            entries: Arc::default(),
            clone_request,
            rule: ErrorsAdvance,
            deadline: None,
            max_attempts: usize::MAX,
            exhausted: Exhausted::default(),
            last_answer: false,
            log: Log::default(),
        }
    }
}

impl<S, Req, R: GuardRule> FallbackChain<Health<S, R::Classifier>, Req, R> {
    /// Appends a provider with its `stack`, and puts a [`HealthLayer`](crate::HealthLayer) around the stack.
    ///
    /// The layer uses the [classifier](GuardRule) of the chain's current rule, so the rule decides both health and fallback.
    /// Set the rule *before* the entries: start with `FallbackChain::http` or `FallbackChain::grpc`, or call
    /// [`advance`](Self::advance). The default rule and [`advance_when`](Self::advance_when) have the same classifier,
    /// [`ErrorsAsFailures`](crate::ErrorsAsFailures), so `advance_when` can follow the entries.
    ///
    /// If the stack needs a layer outside the `HealthLayer`, for example a `Retry`, use [`entry`](Self::entry).
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
    /// // Goes on after a 404 too: the next provider may know the model.
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
    {
        let guarded = self.guarded(&provider, stack);
        self.push(provider.into(), guarded, None)
    }

    /// Like [`guard`](Self::guard), but the provider is skipped unless `predicate` accepts the request; see
    /// [`entry_if`](Self::entry_if).
    pub fn guard_if<P>(self, provider: Provider, stack: S, predicate: P) -> Self
    where
        S: Clone,
        P: Fn(&Req) -> bool + Send + Sync + 'static,
    {
        let guarded = self.guarded(&provider, stack);
        self.push(provider.into(), guarded, Some(Arc::new(predicate)))
    }

    fn guarded(&self, provider: &Provider, stack: S) -> Health<S, R::Classifier> {
        Health::new(stack, provider.clone(), self.rule.classifier())
    }
}

impl<S, Req, R> FallbackChain<S, Req, R> {
    /// Appends a provider and the service that calls it.
    ///
    /// The service must include the provider's [`HealthLayer`](crate::HealthLayer). The chain only reads health; without the
    /// layer, no outcome is recorded and the breaker never opens. [`guard`](Self::guard) adds the layer.
    ///
    /// If the stack goes through the layers of two providers, name both, the outer one first:
    ///
    /// ```
    /// # async fn ask(prompt: String) -> std::io::Result<String> { Ok(prompt) }
    /// # tokio_test::block_on(async {
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use tower_health::{ErrorsAsFailures, FallbackChain, HealthCache, HealthLayer, Outcome};
    ///
    /// let cache = HealthCache::default();
    /// let (openai, gpt) = (cache.provider("openai"), cache.provider("openai/gpt"));
    /// let stack = ServiceBuilder::new()
    ///     // A refused key takes out all models. Anything else concerns this one.
    ///     .layer(HealthLayer::new(openai.clone()).classify_with(|result: Result<_, &_>| match result {
    ///         Err(error) if is_about_the_key(error) => Outcome::fatal("key refused"),
    ///         Ok(_) => Outcome::Success,
    ///         Err(_) => Outcome::Neutral,
    ///     }))
    ///     .layer(HealthLayer::new(gpt.clone()))
    ///     .service(service_fn(ask));
    /// let chain = FallbackChain::new().entry([openai, gpt], stack);
    /// # chain.oneshot(String::new()).await.unwrap();
    /// # });
    /// # fn is_about_the_key(_: &tower_health::BoxError) -> bool { true }
    /// ```
    pub fn entry(self, provider: impl Into<Providers>, service: S) -> Self
    where
        S: Clone,
    {
        self.push(provider.into(), service, None)
    }

    /// Like [`entry`](Self::entry), but the provider is skipped unless `predicate` accepts the request. For example, a
    /// predicate can reject requests that exceed a model's context window. The predicate may run more than once per request.
    pub fn entry_if<P>(self, provider: impl Into<Providers>, service: S, predicate: P) -> Self
    where
        S: Clone,
        P: Fn(&Req) -> bool + Send + Sync + 'static,
    {
        self.push(provider.into(), service, Some(Arc::new(predicate)))
    }

    /// Sets a closure that returns true to go on to the next provider. Default: goes on after every error.
    ///
    /// Call it after adding the entries, so that the compiler can infer the response type.
    pub fn advance_when<F>(self, rule: F) -> FallbackChain<S, Req, AdvanceWhen<F>>
    where
        S: Service<Req>,
        F: Fn(Result<&S::Response, &(dyn Error + 'static)>) -> bool,
    {
        self.advance(AdvanceWhen(rule))
    }

    /// Sets the rule that decides when to go on to the next provider. Default: [`ErrorsAdvance`].
    ///
    /// If an entry's own breaker refuses the call, the chain always goes on, without asking the rule. Entries already added by
    /// [`guard`](Self::guard) keep the classifier of the previous rule.
    pub fn advance<A>(self, rule: A) -> FallbackChain<S, Req, A> {
        FallbackChain {
            rule,
            entries: self.entries,
            clone_request: self.clone_request,
            deadline: self.deadline,
            max_attempts: self.max_attempts,
            exhausted: self.exhausted,
            last_answer: self.last_answer,
            log: self.log,
        }
    }

    /// Sets the maximum time for a request across all entries, counted from `call`. Default: unlimited.
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

    /// Sets the maximum number of providers called per request. Skipped providers do not count. Default: all.
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

    /// Sets what to do if no entry has served the request and some breakers refused. Default: [`Exhausted::LastResort`].
    ///
    /// [`Exhausted::Wait`] clones the request for the last entry too. The other variants do so only if an entry refused.
    ///
    /// # Panics
    ///
    /// If the duration of [`Exhausted::Wait`] is zero.
    #[track_caller]
    pub fn when_exhausted(self, exhausted: Exhausted) -> Self {
        if let Exhausted::Wait(limit) = exhausted {
            positive("Exhausted::Wait", limit);
        }
        Self { exhausted, ..self }
    }

    /// Sets whether an exhausted chain returns the last response that the rule rejected, instead of an error. Default: false.
    ///
    /// The caller then gets a provider's own 429 or 503, for example, instead of
    /// [`NoHealthyProvider`](crate::error::NoHealthyProvider).
    ///
    /// The chain keeps that response while it goes on and while it applies [`when_exhausted`](Self::when_exhausted). It returns
    /// the kept response if no entry serves the request, or if [`deadline`](Self::deadline) or
    /// [`max_attempts`](Self::max_attempts) stops the chain.
    ///
    /// Only responses are kept, not errors. If every call failed with an error, the chain returns
    /// [`NoHealthyProvider`](crate::error::NoHealthyProvider), with the last error as its source.
    ///
    /// Before the chain returns the kept response, it calls the rule's [`served`](crate::Advance::served), as for any response.
    /// Over HTTP, `served` adds a [`ServedBy`](crate::ServedBy) extension with all other attempts. Keeping a response also keeps
    /// its connection busy while other providers are tried.
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

    /// Names the chain, and shows it on the [status page](crate::status::StatusService) of its providers' caches. Default: no
    /// name.
    ///
    /// A named chain logs the provider that served last. For each entry, it counts the requests of the last five minutes for
    /// which the entry was skipped or failed, by reason. Clones share the log. Each request reads the clock once more. It takes
    /// a lock if an entry was skipped or failed. If several chains have the same name, the page shows the one built last.
    ///
    /// ```
    /// use tower::service_fn;
    /// use tower_health::{BoxError, FallbackChain, HealthCache, status::StatusService};
    ///
    /// # async fn ask(prompt: String) -> Result<String, BoxError> { Ok(prompt) }
    /// let cache = HealthCache::default();
    /// let status = StatusService::new(&cache);
    /// let chain = FallbackChain::new()
    ///     .named("chat")
    ///     .guard(cache.provider("groq"), service_fn(ask))
    ///     .guard(cache.provider("openai"), service_fn(ask));
    /// # let _ = (status, tower::ServiceExt::oneshot(chain, String::new()));
    /// ```
    #[cfg(feature = "status")]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        let log = Log::named(name.into());
        Self { log, ..self }.logging_anew()
    }

    /// Starts the log anew, for the present entries.
    fn logging_anew(self) -> Self {
        let providers = self.entries.iter().map(|entry| entry.providers.own());
        let logs = providers.map(|own| (own.shared_id(), own.chain_logs()));
        let log = self.log.renewed(logs);
        Self { log, ..self }
    }

    fn push(
        mut self,
        providers: Providers,
        service: S,
        predicate: Option<Arc<Predicate<Req>>>,
    ) -> Self
    where
        S: Clone,
    {
        Arc::make_mut(&mut self.entries).push(Entry {
            providers,
            service,
            predicate,
            fallbacks: Fallbacks::default(),
        });
        self.logging_anew()
    }
}

impl<S, Req> Entry<S, Req> {
    pub(super) fn accepts(&self, request: &Req) -> bool {
        self.predicate
            .as_ref()
            .is_none_or(|predicate| predicate(request))
    }

    /// Returns whether the result is a refusal by one of this entry's own breakers.
    pub(super) fn has_refused<Res>(&self, result: &Result<Res, BoxError>) -> bool {
        let error = result.as_ref().err();
        error.is_some_and(|error| self.providers.have_refused(error))
    }
}

/// Not derived: the entries are shared, so `S` and `Req` need not be `Clone`.
impl<S, Req, R: Clone> Clone for FallbackChain<S, Req, R> {
    fn clone(&self) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
            clone_request: self.clone_request,
            rule: self.rule.clone(),
            deadline: self.deadline,
            max_attempts: self.max_attempts,
            exhausted: self.exhausted,
            last_answer: self.last_answer,
            log: self.log.clone(),
        }
    }
}

impl<S, Req: Clone> Default for FallbackChain<S, Req> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, Req, R: fmt::Debug> fmt::Debug for FallbackChain<S, Req, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            entries,
            clone_request: _,
            rule,
            deadline,
            max_attempts,
            exhausted,
            last_answer,
            log: _,
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

/// Not derived: `Req` need not be `Clone`.
impl<S: Clone, Req> Clone for Entry<S, Req> {
    fn clone(&self) -> Self {
        Self {
            providers: self.providers.clone(),
            service: self.service.clone(),
            predicate: self.predicate.clone(),
            fallbacks: self.fallbacks.clone(),
        }
    }
}

impl<S, Req> fmt::Debug for Entry<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("providers", &self.providers)
            .field("is_conditional", &self.predicate.is_some())
            .finish_non_exhaustive()
    }
}
