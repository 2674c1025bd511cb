//! Callers, and the outcomes that they see.

use std::{task::Poll, time::Duration};

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use tokio::{select, time::sleep};
use tokio_test::task::spawn;
use tower::Service;
use tower_health::{
    ServedBy,
    error::{self, NoHealthyProvider},
};

use crate::{
    MILLISECOND,
    chain::{Chain, DEADLINE, HttpBody, IDLE},
    faults::chunks,
};

/// How a call ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The whole answer of one provider.
    Served(String),
    /// An error within the answer of one provider.
    Broken,
    /// An error at the end of the chain.
    Exhausted,
    WalkedAway,
}

pub(crate) async fn call(mut chain: Chain, path: String) -> Outcome {
    let request = Request::get(&path).body(Empty::new()).unwrap();
    match within(DEADLINE, chain.call(request)).await {
        Ok(response) => read(response, &path).await,
        Err(error) => {
            error::find::<NoHealthyProvider>(&*error).expect("the end of the chain");
            Outcome::Exhausted
        }
    }
}

async fn read(response: Response<HttpBody>, path: &str) -> Outcome {
    let (head, mut body) = response.into_parts();
    assert_eq!(head.status, 200);
    let ServedBy { provider, .. } = head.extensions.get().unwrap();
    let whole = chunks(provider, path).concat().into_bytes();
    let mut read = Vec::new();
    while let Some(frame) = within(IDLE, body.frame()).await {
        let Ok(frame) = frame else {
            let after = spawn(body.frame()).poll();
            assert!(!matches!(after, Poll::Ready(Some(_))), "nothing is spliced");
            return Outcome::Broken;
        };
        read.extend(frame.into_data().unwrap());
        let text = String::from_utf8_lossy(&read);
        assert!(whole.starts_with(&read), "{path} from {provider}: {text}");
    }
    assert_eq!(read, whole);
    Outcome::Served(provider.to_string())
}

/// Panics if `wait` takes longer than `limit`. Reliable on a busy machine too: the timer that `wait` starts when it is
/// first polled is the older one, and is looked at first.
async fn within<T>(limit: Duration, wait: impl Future<Output = T>) -> T {
    select! {
        biased;
        output = wait => output,
        () = async { sleep(limit + 20 * MILLISECOND).await } => panic!("more than {limit:?}"),
    }
}
