use std::time::Duration;
use tokio::time::{Instant, advance};
use tower_health::*;

#[tokio::test(start_paused = true)]
async fn smoke() {
    let cache = HealthCache::default();
    let mut t = cache.subscribe();
    let p = cache.provider("a");
    p.admit().unwrap().failure("x");
    assert!(p.is_healthy());
    p.admit().unwrap().failure("y");
    assert!(!p.is_healthy());
    let e = p.admit().unwrap_err();
    println!("{e}");
    advance(Duration::from_secs(60)).await;
    assert_eq!(p.health().state, State::HalfOpen);
    let trial = p.admit().unwrap();
    assert!(trial.is_trial());
    assert!(p.admit().is_err());
    drop(trial);
    assert_eq!(p.health().retry_in, Some(Duration::from_secs(1)));
    advance(Duration::from_secs(1)).await;
    p.admit().unwrap().success();
    assert_eq!(p.health().state, State::Closed);
    for _ in 0..3 {
        println!("{}", t.recv().await.unwrap());
    }
    let _ = Instant::now();
}
