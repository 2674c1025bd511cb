use super::{classify::ErrorsAsFailures, future::ResponseFuture, reentrancy};
use crate::{breaker::LayerId, cache::Provider, util::errors::BoxError};

impl Provider {
    /// Runs `future` as one call to this provider and records its outcome. Use it for calls that are not made by a tower service.
    ///
    /// The breaker admits or refuses the call when the returned future is first polled. If it refuses, `future` is dropped
    /// unpolled.
    ///
    /// [`ErrorsAsFailures`] classifies the result: `Ok` is a success, and an error is a failure with its
    /// [kind](crate::error::Kind) in the reason. Errors of a [neutral](crate::error::Kind::is_neutral) kind are neutral. To
    /// classify results yourself, take a [`Permit`](crate::Permit) from [`admit`](Self::admit).
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
    /// [`CircuitOpen`](crate::error::CircuitOpen) if the call is refused; otherwise the error of `future`, boxed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops `future`. The call is then neutral, unless
    /// [`Trip::cancelled_after`](crate::Trip::cancelled_after) counts it as a failure.
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
