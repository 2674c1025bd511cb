//! Asks two providers through async-openai. The first fails in several ways; the second is healthy.
//!
//! Run with: `cargo run -p async-openai-client`

use std::time::Duration;

use async_openai_client::{Condition, Limits, Upstream, ask, client, http_client, stream};
use tower_health::{BoxError, HealthCache, Reason};

const LIMITS: Limits = Limits {
    head: Duration::from_millis(500),
    answer: Duration::from_millis(500),
    silence: Duration::from_millis(500),
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let http = http_client()?;
    let openai = Upstream::start("openai", Condition::Well).await?;

    println!("groq                 | answer      | stream         | groq's breaker");
    for condition in Condition::ALL {
        let groq = Upstream::start("groq", condition).await?;
        let cache = HealthCache::default();
        let endpoints = [groq.endpoint(), openai.endpoint()];
        let client = client(&cache, &http, endpoints, LIMITS);

        let answer = ask(&client).await?;
        let mut streamed = String::new();
        if stream(&client, &mut streamed).await.is_err() {
            streamed.push_str("(broken)");
        }
        let health = cache.provider("groq").health();
        let last_error = health.last_error.as_ref().map_or("-", Reason::label);
        println!(
            "{condition:20} | {answer:11} | {streamed:14} | {}, last error: {last_error}",
            health.state,
        );
    }
    Ok(())
}
