//! A stream of server-sent events below a `PeekLayer`, cut into arbitrary frames. The closure receives the events that a
//! browser would receive, the result does not depend on the cuts, and the bytes held back are replayed unchanged.
//! A `Parser` reads the same events, and the one that the end of the stream completes.
//!
//! `cargo fuzz run server_sent_events`
#![no_main]

use std::{cell::RefCell, future::ready, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{
    BoxError, Reason,
    http::{Content, PeekBody, PeekError, PeekLayer, SseEvent, sse::Parser},
};
use tower_health_fuzz::{Ending, Reset, Script, paused};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// The lengths of successive frames, repeated.
    cuts: [u8; 4],
    up_to: u16,
    end: End,
    stream: &'a [u8],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum End {
    Plain,
    Announced,
    Trailers,
    Reset,
    Silence,
}

#[derive(Clone, Debug, PartialEq)]
struct Event {
    kind: String,
    data: String,
    id: String,
}

/// The result of a call through the layer.
#[derive(Debug, PartialEq)]
enum Verdict {
    Begun,
    Broken(Reason),
    Ended,
    Reset,
    TimedOut,
}

const WITHIN: Duration = Duration::from_secs(10);
/// Exceeds the length of any input.
const ALL: usize = 1 << 20;

fuzz_target!(|input: Input<'_>| {
    let cut = input.frames();
    assert_as_expected(&cut, input.end, usize::from(input.up_to).max(1));

    for up_to in [1, usize::from(input.up_to).max(1)] {
        assert_bounded(&cut, up_to);
    }
    assert_parsed(&cut);
    let whole = vec![Bytes::copy_from_slice(input.stream)];
    let single = input.stream.chunks(1).map(Bytes::copy_from_slice).collect();
    let verdict = assert_as_expected(&whole, input.end, ALL);
    for frames in [cut, single] {
        assert_eq!(assert_as_expected(&frames, input.end, ALL), verdict);
    }
});

impl Input<'_> {
    fn frames(&self) -> Vec<Bytes> {
        let mut left = self.stream;
        let mut cuts = self.cuts.iter().cycle().copied().map(usize::from);
        let mut frames = Vec::new();
        while !left.is_empty() {
            // Some frames are empty, but not all.
            let least = frames.len() % 2;
            let length = cuts.next().expect("no end").max(least);
            let (frame, rest) = left.split_at(length.min(left.len()));
            frames.push(Bytes::copy_from_slice(frame));
            left = rest;
        }
        frames
    }
}

/// Asserts that the crate behaves as expected, and returns the result.
fn assert_as_expected(frames: &[Bytes], end: End, up_to: usize) -> Verdict {
    let (expected, judged) = expected(frames, end, up_to);
    let given = RefCell::new(Vec::new());
    let layer = PeekLayer::first_sse_event(|event| {
        let event = Event::from(*event);
        let content = judge(&event);
        given.borrow_mut().push(event);
        content
    });
    let service = layer.within(WITHIN).up_to(up_to).layer(service_fn(|_| {
        let body = Script::new(frames.iter().cloned(), end.into());
        let response = Response::builder().header("content-type", "text/event-stream");
        ready(Ok::<_, BoxError>(response.body(body).expect("a response")))
    }));
    let verdict = paused(async {
        let start = Instant::now();
        match service.oneshot(Request::new(())).await {
            Ok(response) => {
                let mut body = response.into_body();
                for sent in frames {
                    let frame = body.frame().await.expect("a frame").expect("data");
                    assert_eq!(frame.into_data().expect("data"), sent);
                }
                assert_ending(end, body).await;
                Verdict::Begun
            }
            Err(error) if error.is::<Reset>() => Verdict::Reset,
            Err(error) => match *error.downcast().expect("an error of the layer's") {
                PeekError::Broken(reason) => Verdict::Broken(reason),
                PeekError::Ended => Verdict::Ended,
                PeekError::TimedOut(within) => {
                    assert_eq!((within, start.elapsed()), (WITHIN, WITHIN));
                    Verdict::TimedOut
                }
                other => panic!("{other:?}"),
            },
        }
    });
    assert_eq!(given.into_inner(), judged);
    assert_eq!(verdict, expected);
    verdict
}

fn assert_parsed(frames: &[Bytes]) {
    let mut parser = Parser::new();
    let mut read = Vec::new();
    for frame in frames {
        let mut bytes = &**frame;
        while let Some(event) = parser.read(&mut bytes) {
            assert!(!event.is_truncated);
            read.push(Event::from(event));
        }
        assert!(bytes.is_empty());
    }
    let stream = frames.concat();
    assert_eq!(read, events(&stream));
    read.extend(parser.finish().map(Event::from));
    // Two more line ends: the first may complete a line end of the stream.
    assert_eq!(read, events(&[&*stream, b"\n\n"].concat()));
}

fn assert_bounded(frames: &[Bytes], up_to: usize) {
    let mut parser = Parser::new().up_to(up_to);
    for frame in frames {
        let mut bytes = &**frame;
        while let Some(event) = parser.read(&mut bytes) {
            assert!(event.data.len() <= up_to, "{event:?}");
        }
    }
}

impl From<SseEvent<'_>> for Event {
    fn from(event: SseEvent<'_>) -> Self {
        Self {
            kind: event.event.to_owned(),
            data: event.data.to_owned(),
            id: event.id.to_owned(),
        }
    }
}

async fn assert_ending(end: End, mut body: PeekBody<Script>) {
    match end {
        End::Plain | End::Announced => assert!(body.frame().await.is_none()),
        End::Trailers => {
            let frame = body.frame().await.expect("a frame").expect("trailers");
            assert_eq!(frame.into_trailers().expect("trailers"), trailers());
            assert!(body.frame().await.is_none());
        }
        End::Reset => drop(body.frame().await.expect("an end").expect_err("a reset")),
        End::Silence => {}
    }
}

/// The expected result, and the events judged until then.
fn expected(frames: &[Bytes], end: End, up_to: usize) -> (Verdict, Vec<Event>) {
    let (mut seen, mut judged, mut held) = (Vec::new(), Vec::new(), 0);
    for frame in frames {
        seen.extend_from_slice(frame);
        for event in events(&seen).split_off(judged.len()) {
            let content = judge(&event);
            judged.push(event);
            match content {
                Content::Begun => return (Verdict::Begun, judged),
                Content::Broken(reason) => return (Verdict::Broken(reason), judged),
                _ => {}
            }
        }
        held += frame.len().max(1);
        if held >= up_to {
            return (Verdict::Begun, judged);
        }
    }
    // The provider has answered even if no event was content.
    let has_data = judged.iter().any(|event| !event.data.is_empty());
    let verdict = match end {
        End::Plain | End::Announced | End::Trailers if has_data => Verdict::Begun,
        End::Trailers if held + 1 >= up_to => Verdict::Begun,
        End::Plain | End::Announced | End::Trailers => Verdict::Ended,
        End::Reset => Verdict::Reset,
        End::Silence => Verdict::TimedOut,
    };
    (verdict, judged)
}

fn judge(event: &Event) -> Content {
    if event.kind == "error" {
        Content::broken(event.data.clone())
    } else if event.data.contains("go") {
        Content::Begun
    } else {
        Content::NotYet
    }
}

/// All events of a stream according to WHATWG: decoded as one text, then cut into lines.
fn events(stream: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<_> = text.split('\n').collect();
    // The last line has no end yet.
    lines.pop();

    let (mut events, mut id) = (Vec::new(), "");
    let (mut kind, mut data) = ("", Vec::new());
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match (name, value.strip_prefix(' ').unwrap_or(value)) {
            _ if line.is_empty() => {
                if !data.is_empty() {
                    events.push(Event {
                        kind: if kind.is_empty() { "message" } else { kind }.to_owned(),
                        data: data.join("\n"),
                        id: id.to_owned(),
                    });
                }
                (kind, data) = ("", Vec::new());
            }
            ("event", value) => kind = value,
            ("data", value) => data.push(value),
            ("id", value) if !value.contains('\0') => id = value,
            _ => {}
        }
    }
    events
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("1"));
    trailers
}

impl From<End> for Ending {
    fn from(end: End) -> Self {
        match end {
            End::Plain => Self::Plain,
            End::Announced => Self::Announced,
            End::Trailers => Self::Trailers(trailers()),
            End::Reset => Self::Reset,
            End::Silence => Self::Silence,
        }
    }
}
