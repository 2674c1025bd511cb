//! Redaction of error texts.

use std::io;

use tower_health::{Override, Reason, status::StatusService};

use crate::{HOUR, cache, events::Reader, get, json};

#[tokio::test(start_paused = true)]
async fn labels_replace_texts() {
    let cache = cache();
    let service = StatusService::new(&cache).redact(true);
    let secret = "no such host db.internal";
    let reasons = [
        Reason::labelled("503", secret),
        Reason::error(&io::Error::new(io::ErrorKind::ConnectionReset, secret)),
        Reason::from(secret.to_owned()),
    ];
    for (id, reason) in ["a", "b", "c"].into_iter().zip(reasons) {
        cache.provider(id).mark_unhealthy(reason);
    }

    let labels = ["503", "reset", "error"];
    let health = json(get(&service, "/health.json").await).await;
    let rows = health["providers"].as_array().unwrap();
    assert_eq!(rows.len(), labels.len());
    for (row, label) in rows.iter().zip(labels) {
        assert_eq!(
            (&row["last_error"], &row["reason"]),
            (&label.into(), &label.into())
        );
    }
    let mut reader = Reader::of(&service).await;
    let frame = reader.next().await;
    let history = frame.data("history");
    let transitions = history["transitions"].as_array().unwrap();
    assert_eq!(transitions.len(), labels.len());
    for (transition, label) in transitions.iter().zip(labels) {
        assert_eq!(transition["reason"], label);
    }
    cache.provider("d").mark_unhealthy(secret.to_owned());
    let live = reader.next().await;
    let transitions = live.data("transitions");
    assert_eq!(transitions["transitions"][0]["provider"], "d");
    assert_eq!(transitions["transitions"][0]["reason"], "error");
    for text in [health.to_string(), frame.text, live.text] {
        assert!(!text.contains("internal"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn operator_reasons_are_removed() {
    let cache = cache();
    let service = StatusService::new(&cache).redact(true);
    let groq = cache.provider("groq");
    groq.mark_unhealthy("503");
    groq.force(Override::Open, HOUR, "paid too late".to_owned());
    groq.force(Override::Closed, HOUR, "paid at last".to_owned());

    let health = json(get(&service, "/health.json").await).await;
    let row = &health["providers"][0];
    assert_eq!(row["cause"], "forced");
    assert!(row["reason"].is_null());
    assert_eq!(row["last_error"], "503");
    let frame = Reader::of(&service).await.next().await;
    assert!(!frame.text.contains("paid"), "{}", frame.text);
}

#[tokio::test(start_paused = true)]
async fn texts_are_shown_by_default() {
    let cache = cache();
    let service = StatusService::new(&cache);
    cache
        .provider("a")
        .mark_unhealthy(Reason::labelled("503", "overloaded"));
    let health = json(get(&service, "/health.json").await).await;
    assert_eq!(health["providers"][0]["last_error"], "503: overloaded");
    let frame = Reader::of(&service).await.next().await;
    assert_eq!(
        frame.data("history")["transitions"][0]["reason"],
        "503: overloaded"
    );
}
