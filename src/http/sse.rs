//! A parser for server-sent events, the format of `text/event-stream`.
//!
//! Used by [`PeekLayer::first_sse_event`](super::PeekLayer::first_sse_event) and
//! [`StatusClassifier::judge_sse`](super::StatusClassifier::judge_sse), and available for custom layers.

use std::{borrow::Cow, mem, str};

use ::http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};

use crate::{outcome::prefix, util::settings::at_least_one};

/// A server-sent event, as dispatched by a browser's `EventSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseEvent<'a> {
    /// The event type. `message` if the event has none.
    pub event: &'a str,
    /// The data. Several lines are joined by line feeds.
    pub data: &'a str,
    /// The last id in the stream, from this event or an earlier one. Empty if there was none.
    pub id: &'a str,
    /// Whether the data was cut at the parser's [limit](Parser::up_to).
    pub is_truncated: bool,
}

/// A parser for a stream of server-sent events, split into pieces of any size.
///
/// Follows the [WHATWG's algorithm]: lines end with LF, CR or CRLF; comments and unknown fields are skipped; invalid
/// UTF-8 is replaced by U+FFFD.
///
/// Parsing takes linear time and [bounded](Self::up_to) memory.
///
/// ```
/// use tower_health::http::sse::Parser;
///
/// let mut parser = Parser::new();
/// let mut seen = Vec::new();
/// for piece in [": keep-alive\n\ndata: He", "llo\n\nevent: end\ndata\n"] {
///     let mut bytes = piece.as_bytes();
///     while let Some(event) = parser.read(&mut bytes) {
///         seen.push((event.event.to_owned(), event.data.to_owned()));
///     }
/// }
/// assert_eq!(seen, [("message".into(), "Hello".into())]);
///
/// // The stream ended without a blank line after its last event.
/// assert_eq!(parser.finish().unwrap().event, "end");
/// ```
///
/// [WHATWG's algorithm]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
// Splits bytes, because the delimiters of lines and fields are never part of a multi-byte character. Decodes whole
// lines.
#[derive(Clone, Debug)]
#[must_use]
pub struct Parser {
    up_to: usize,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// Whether the end of the line was dropped.
    is_line_cut: bool,
    is_past_first_line: bool,
    is_after_cr: bool,
    /// The fields of the incomplete event.
    fields: Fields,
    /// The fields of the last complete event, which `read` returns borrowed.
    complete: Fields,
    id: String,
}

#[derive(Clone, Debug, Default)]
struct Fields {
    event: String,
    /// Each line ends with a line feed.
    data: String,
    is_truncated: bool,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            up_to: 1024 * 1024,
            line: Vec::new(),
            is_line_cut: false,
            is_past_first_line: false,
            is_after_cr: false,
            fields: Fields::default(),
            complete: Fields::default(),
            id: String::new(),
        }
    }
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maximum length of a line, and of an event's data, in bytes. Default: 1 MiB.
    ///
    /// Longer data is cut, and the event marked as [truncated](SseEvent::is_truncated). The event type is kept, even if
    /// it follows the data.
    ///
    /// # Panics
    ///
    /// If `bytes` is 0.
    #[track_caller]
    pub fn up_to(mut self, bytes: usize) -> Self {
        self.up_to = at_least_one("Parser::up_to", bytes);
        self
    }

    /// Reads the next event and advances `bytes` past it. Returns `None` once all bytes are read and the next event is
    /// incomplete.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Option<SseEvent<'_>> {
        while let Some(first) = bytes.first() {
            if mem::take(&mut self.is_after_cr) && *first == b'\n' {
                *bytes = &bytes[1..];
                continue;
            }
            let Some(length) = bytes.iter().position(|byte| b"\r\n".contains(byte)) else {
                self.keep(mem::take(bytes));
                break;
            };
            let (line, rest) = bytes.split_at(length);
            self.is_after_cr = rest[0] == b'\r';
            *bytes = &rest[1..];
            if self.end_line(line) {
                return Some(self.lend());
            }
        }
        None
    }

    /// Ends the stream, and returns a last event without a blank line after it. Browsers drop such an event.
    ///
    /// Bytes read afterwards begin a new event of the same stream.
    pub fn finish(&mut self) -> Option<SseEvent<'_>> {
        let is_complete = self.end_line(b"") || self.end_event();
        is_complete.then(|| self.lend())
    }

    /// Keeps part of an incomplete line, up to the limit.
    fn keep(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.up_to - self.line.len());
        self.line.extend_from_slice(&bytes[..kept]);
        self.is_line_cut |= kept < bytes.len();
    }

    /// Ends a line with these last bytes. Returns whether that ends an event.
    fn end_line(&mut self, rest: &[u8]) -> bool {
        if self.line.is_empty() && rest.len() <= self.up_to {
            return self.read_line(rest, false);
        }
        self.keep(rest);
        let mut line = mem::take(&mut self.line);
        let is_cut = mem::take(&mut self.is_line_cut);
        let ends_event = self.read_line(&line, is_cut);
        line.clear();
        self.line = line;
        ends_event
    }

    fn read_line(&mut self, line: &[u8], is_cut: bool) -> bool {
        let is_first = !mem::replace(&mut self.is_past_first_line, true);
        let text = match line.strip_prefix(b"\xEF\xBB\xBF") {
            Some(after_mark) if is_first => after_mark,
            _ => line,
        };
        if text.is_empty() {
            return self.end_event();
        }
        self.read_field(&decode(text, is_cut), is_cut);
        false
    }

    fn read_field(&mut self, line: &str, is_cut: bool) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.fields.event),
            "data" => self.fields.add_data(value, is_cut, self.up_to),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // Comments, which have an empty name; `retry`, for clients that reconnect; unknown fields.
            _ => {}
        }
    }

    /// Ends the event. Returns false for an event without a `data` line, which is dropped.
    fn end_event(&mut self) -> bool {
        mem::swap(&mut self.complete, &mut self.fields);
        self.fields.clear();
        !self.complete.data.is_empty()
    }

    fn lend(&self) -> SseEvent<'_> {
        let Fields {
            event,
            data,
            is_truncated,
        } = &self.complete;
        SseEvent {
            event: if event.is_empty() { "message" } else { event },
            data: data.strip_suffix('\n').unwrap_or(data),
            id: &self.id,
            is_truncated: *is_truncated,
        }
    }
}

impl Fields {
    /// Adds a line of data, up to the limit.
    fn add_data(&mut self, line: &str, is_cut: bool, up_to: usize) {
        if self.is_truncated {
            return;
        }
        // The line feed of the line before it is now part of the event's data.
        let Some(room) = up_to.checked_sub(self.data.len()) else {
            self.is_truncated = true;
            return;
        };
        let fitting = prefix(line, room);
        self.data.extend([fitting, "\n"]);
        self.is_truncated = is_cut || fitting.len() < line.len();
    }

    fn clear(&mut self) {
        self.event.clear();
        self.data.clear();
        self.is_truncated = false;
    }
}

/// Decodes a line, which may be cut within a character.
fn decode(line: &[u8], is_cut: bool) -> Cow<'_, str> {
    match str::from_utf8(line) {
        Err(error) if is_cut && error.error_len().is_none() => {
            String::from_utf8_lossy(&line[..error.valid_up_to()])
        }
        _ => String::from_utf8_lossy(line),
    }
}

/// Returns whether the response is an event stream that is not compressed.
pub(super) fn is_readable(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers).unwrap_or_default();
    media_type.eq_ignore_ascii_case(b"text/event-stream") && !is_compressed(headers)
}

/// The media type of a response, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    let end_of_type = |byte: &u8| *byte == b';';
    let content_type = headers.get(CONTENT_TYPE)?.as_bytes();
    content_type
        .split(end_of_type)
        .next()
        .map(<[u8]>::trim_ascii)
}

/// Returns whether the response has a content coding other than `identity`.
pub(super) fn is_compressed(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING).into_iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_make_an_event() {
        let events = parse("event: delta\nid: 7\nretry: 100\ndata: Hello\n\n");
        assert_eq!(events, [event("delta", "Hello", "7")]);
    }

    #[test]
    fn an_event_that_names_no_type_is_a_message() {
        assert_eq!(parse("data: Hello\n\n"), [message("Hello")]);
        assert_eq!(parse("event\ndata: Hello\n\n"), [message("Hello")]);
        assert_eq!(parse("event: \ndata: Hello\n\n"), [message("Hello")]);
    }

    #[test]
    fn of_two_types_of_one_event_the_later_holds() {
        let events = parse("event: delta\nevent: error\ndata: x\n\n");
        assert_eq!(events, [event("error", "x", "")]);
    }

    #[test]
    fn a_type_is_of_one_event_only() {
        let events = parse("event: delta\ndata: 1\n\ndata: 2\n\n");
        assert_eq!(events, [event("delta", "1", ""), message("2")]);
    }

    #[test]
    fn lines_of_data_are_joined() {
        assert_eq!(parse("data: 1\ndata: 2\n\n"), [message("1\n2")]);
        assert_eq!(parse("data: 1\ndata:\ndata: 3\n\n"), [message("1\n\n3")]);
        assert_eq!(parse("data\ndata\n\n"), [message("\n")]);
    }

    #[test]
    fn empty_lines_of_data_count_towards_the_limit() {
        for (empty, is_truncated) in [(6, false), (7, true)] {
            let stream = format!("data: ab\n{}\n", "data:\n".repeat(empty));
            let mut parser = Parser::new().up_to(8);
            let event = parser.read(&mut stream.as_bytes()).unwrap();
            assert_eq!(
                (event.data, event.is_truncated),
                ("ab\n\n\n\n\n\n", is_truncated)
            );
        }
    }

    #[test]
    fn data_may_be_empty_but_not_absent() {
        assert_eq!(parse("data\n\n"), [message("")]);
        assert_eq!(parse("data:\n\n"), [message("")]);
        assert_eq!(parse("event: error\n\n"), []);
        assert_eq!(
            parse("event: error\n\ndata: next\n\n"),
            [message("next")],
            "the type goes with the event that was none"
        );
    }

    #[test]
    fn one_space_after_the_colon_is_not_of_the_value() {
        assert_eq!(parse("data:x\n\n"), [message("x")]);
        assert_eq!(parse("data: x\n\n"), [message("x")]);
        assert_eq!(parse("data:  x \n\n"), [message(" x ")]);
        assert_eq!(parse("data: a: b\n\n"), [message("a: b")]);
    }

    #[test]
    fn comments_and_unknown_fields_are_nothing() {
        let stream = ": ping\n:\nData: x\n data: x\ndata : x\nfoo\nfoo: bar\n\n";
        assert_eq!(parse(stream), []);
        assert_eq!(
            parse("data: 1\n: ping\ndata: 2\n\n"),
            [message("1\n2")],
            "a comment does not end an event"
        );
    }

    #[test]
    fn an_id_stays_until_another_is_named() {
        let stream = "id: 7\ndata: 1\n\ndata: 2\n\nid\ndata: 3\n\n";
        let expected = [
            event("message", "1", "7"),
            event("message", "2", "7"),
            message("3"),
        ];
        assert_eq!(parse(stream), expected);
    }

    #[test]
    fn an_id_is_named_by_what_is_no_event_too() {
        let events = parse("id: 7\n\ndata: 1\n\n");
        assert_eq!(events, [event("message", "1", "7")]);
    }

    #[test]
    fn an_id_with_a_nul_is_ignored() {
        let events = parse("id: 7\nid: 8\0\ndata: 1\n\n");
        assert_eq!(events, [event("message", "1", "7")]);
    }

    #[test]
    fn lines_end_with_lf_cr_or_crlf() {
        for stream in [
            "data: 1\ndata: 2\n\ndata: 3\n\n",
            "data: 1\rdata: 2\r\rdata: 3\r\r",
            "data: 1\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n",
            "data: 1\rdata: 2\r\n\ndata: 3\n\r",
        ] {
            assert_eq!(parse(stream), [message("1\n2"), message("3")], "{stream:?}");
        }
    }

    #[test]
    fn an_event_ends_with_its_cr_before_the_lf_has_come() {
        assert_eq!(parse("data: 1\r\n\r"), [message("1")]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_very_beginning_only() {
        assert_eq!(parse("\u{FEFF}data: 1\n\n"), [message("1")]);
        assert_eq!(parse("\u{FEFF}\n\ndata: 1\n\n"), [message("1")]);
        assert_eq!(parse("\u{FEFF}\u{FEFF}data: 1\n\n"), []);
        assert_eq!(parse("\n\u{FEFF}data: 1\n\n"), []);
        assert_eq!(parse("data: \u{FEFF}\n\n"), [message("\u{FEFF}")]);
    }

    #[test]
    fn what_is_no_utf_8_is_replaced() {
        for (stream, data) in [
            (&b"data: \xFF\n\n"[..], "\u{FFFD}"),
            (b"data: a\xE2\x82\n\n", "a\u{FFFD}"),
            (b"data: \xE2\x82\xAC\n\n", "\u{20AC}"),
        ] {
            assert_eq!(parse(stream), [message(data)], "{stream:?}");
        }
    }

    #[test]
    fn an_event_without_its_blank_line_is_none() {
        assert_eq!(parse("data: 1"), []);
        assert_eq!(parse("data: 1\n"), []);
        assert_eq!(parse("data: 1\n\ndata: 2\n"), [message("1")]);
    }

    #[test]
    fn an_event_that_the_stream_ends_in_is_there_at_the_end() {
        for (stream, last) in [
            ("data: 1", Some(message("1"))),
            ("data: 1\r", Some(message("1"))),
            ("event: end\ndata: 1\nid: 7", Some(event("end", "1", "7"))),
            ("data: 1\n\n", None),
            ("data: 1\n\n: ping", None),
            ("", None),
        ] {
            let mut parser = Parser::new();
            read(&mut parser, stream.as_bytes());
            assert_eq!(parser.finish().as_ref().map(owned), last, "{stream:?}");
            assert_eq!(parser.finish(), None, "it is there once");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        for (stream, data, is_truncated) in [
            ("data: 12\n\n", "12", false),
            ("data: 1234\n\n", "12", true),
            ("data: 1é\n\n", "1", true),
            ("data:1\ndata:2\ndata:34567\n\n", "1\n2\n345", true),
            ("data:1234567\ndata:8\n\n", "123", true),
            ("data:1234567\nevent:e\n\n", "123", true),
            ("data:12345678\n\ndata:1\n\n", "123", true),
        ] {
            for length in [1, 3, stream.len()] {
                let mut parser = Parser::new().up_to(8);
                let mut first = None;
                for mut piece in stream.as_bytes().chunks(length) {
                    while let Some(event) = parser.read(&mut piece) {
                        first.get_or_insert((event.data.to_owned(), event.is_truncated));
                    }
                }
                assert_eq!(first, Some((data.to_owned(), is_truncated)), "{stream:?}");
            }
        }
    }

    #[test]
    fn a_type_is_kept_after_data_that_is_too_long() {
        let mut parser = Parser::new().up_to(8);
        let mut stream = &b"data:123456789\nevent:e\n\n"[..];
        assert_eq!(parser.read(&mut stream).unwrap().event, "e");
    }

    #[test]
    fn memory_is_bounded() {
        let mut parser = Parser::new().up_to(64);
        for _ in 0..1_000 {
            for mut piece in [
                &[b'x'; 100][..],
                b"\ndata: ",
                &[0xFF; 100],
                b"\nid: ",
                &[b'x'; 100],
            ] {
                assert_eq!(parser.read(&mut piece), None);
            }
        }
        let Parser {
            line, fields, id, ..
        } = &parser;
        for capacity in [line.capacity(), fields.data.capacity(), id.capacity()] {
            assert!(capacity <= 4 * 64, "{capacity}");
        }
    }

    #[test]
    #[should_panic(expected = "`Parser::up_to` must be at least 1, got 0")]
    fn no_bytes_are_refused() {
        let _ = Parser::new().up_to(0);
    }

    #[test]
    fn only_plain_event_streams_are_readable() {
        for (media_type, coding, is_read) in [
            ("text/event-stream", "", true),
            ("Text/Event-Stream ; charset=utf-8", "identity", true),
            ("text/event-stream", "gzip", false),
            ("text/event-stream", "identity, br", false),
            ("text/event-streams", "", false),
            ("application/json", "", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, media_type.parse().unwrap());
            headers.insert(CONTENT_ENCODING, coding.parse().unwrap());
            assert_eq!(is_readable(&headers), is_read, "{media_type} {coding}");
        }
        assert!(!is_readable(&HeaderMap::new()));
    }

    #[derive(Debug, PartialEq)]
    struct Owned {
        event: String,
        data: String,
        id: String,
    }

    fn event(event: &str, data: &str, id: &str) -> Owned {
        Owned {
            event: event.to_owned(),
            data: data.to_owned(),
            id: id.to_owned(),
        }
    }

    fn message(data: &str) -> Owned {
        event("message", data, "")
    }

    fn owned(read: &SseEvent<'_>) -> Owned {
        event(read.event, read.data, read.id)
    }

    fn read(parser: &mut Parser, mut piece: &[u8]) -> Vec<Owned> {
        let mut events = Vec::new();
        while let Some(complete) = parser.read(&mut piece) {
            events.push(owned(&complete));
        }
        assert!(piece.is_empty());
        events
    }

    fn parse(stream: impl AsRef<[u8]>) -> Vec<Owned> {
        let mut parser = Parser::new();
        let mut events = Vec::new();
        for mut byte in stream.as_ref().chunks(1) {
            if let Some(complete) = parser.read(&mut byte) {
                events.push(owned(&complete));
            }
        }
        assert_eq!(read(&mut Parser::new(), stream.as_ref()), events);
        events
    }
}
