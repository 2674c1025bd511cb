use super::{classify::ErrorsAsFailures, future::ResponseFuture, reentrancy};
use crate::{breaker::LayerId, cache::Provider, util::errors::BoxError};

impl Provider {
    /// Runs `future` as one call to this provider, and records what came of it: for what is not a tower service.
    ///
    /// The call is admitted when the returned future is first polled; where it is refused, `future` is dropped without having
    /// been polled. Its result is judged by [`ErrorsAsFailures`]: `Ok` is a success, an error a failure with the error's
    /// [kind](crate::error::Kind) in its reason, except that an error of this side is neutral. For another judgement, take
    /// a [`Permit`](crate::Permit) from [`admit`](Self::admit).
    ///
    /// ```
    /// use std::io;
    /// use tower_health::{BoxError, HealthCache, error};
    ///
    /// # async fn select_one() -> io::Result<u32> { Err(io::ErrorKind::ConnectionRefused.into()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let database = HealthCache::default().provider("database");
    /// for _ in 0..2 {
    ///     let failed = database.call(select_one()).await.unwrap_err();
    ///     assert!(!error::is_refusal(&*failed));
    /// }
    ///
    /// let refused = database.call(async { Ok::<_, BoxError>("not run") }).await.unwrap_err();
    /// assert!(error::is_refusal(&*refused));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CircuitOpen`](crate::error::CircuitOpen) where the call is refused, and otherwise the error of `future`, unchanged in
    /// its box.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `future`: the call is neutral, unless
    /// [`Trip::cancelled_after`](crate::Trip::cancelled_after) says otherwise.
    pub fn call<F, T, E>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<T, BoxError>> + use<F, T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        let provider = self.clone();
        async move {
            let permit = reentrancy::admit(&provider, LayerId::NONE)?;
            let call = async { future.await.map_err(Into::into) };
            ResponseFuture::new(call, permit, ErrorsAsFailures).await
        }
    }
}
