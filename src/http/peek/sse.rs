use std::mem;

/// A server-sent event, as an `EventSource` of a browser would give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseEvent<'a> {
    /// Its type: `message` where it names none.
    pub event: &'a str,
    /// Its data; of several lines, with a line feed between them.
    pub data: &'a str,
    /// The last id that the stream has named, by this event or an earlier one; empty where none.
    pub id: &'a str,
}

/// Interprets a stream of events byte by byte, so that it cannot matter where frames are split.
///
/// After the [WHATWG's algorithm]. It works on bytes, of which those that delimit lines and fields
/// are part of no other character, and decodes whole lines.
///
/// [WHATWG's algorithm]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
#[derive(Clone, Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    is_past_first_line: bool,
    is_after_cr: bool,
    /// The fields of the event that is being read.
    fields: Fields,
    /// The event that was read last, for as long as it is lent.
    complete: Fields,
    id: String,
}

#[derive(Clone, Debug, Default)]
struct Fields {
    event: String,
    /// Each line of the data ends with a line feed.
    data: String,
}

impl Parser {
    /// The event that ends with this byte.
    pub(super) fn push(&mut self, byte: u8) -> Option<SseEvent<'_>> {
        let is_after_cr = mem::replace(&mut self.is_after_cr, byte == b'\r');
        match byte {
            b'\n' if is_after_cr => None,
            b'\n' | b'\r' => self.end_line(),
            _ => {
                self.line.push(byte);
                None
            }
        }
    }

    fn end_line(&mut self) -> Option<SseEvent<'_>> {
        let line = mem::take(&mut self.line);
        let is_first = !mem::replace(&mut self.is_past_first_line, true);
        let text = match line.strip_prefix(b"\xEF\xBB\xBF") {
            Some(after_mark) if is_first => after_mark,
            _ => &line,
        };
        if text.is_empty() {
            return self.end_event();
        }
        self.read_field(&String::from_utf8_lossy(text));
        None
    }

    fn read_field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.fields.event),
            "data" => self.fields.data.extend([value, "\n"]),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // A comment, whose name is empty; `retry`, which is for those who connect again; others.
            _ => {}
        }
    }

    fn end_event(&mut self) -> Option<SseEvent<'_>> {
        self.complete = mem::take(&mut self.fields);
        // Without a line of data there is no event, whatever its other fields.
        let data = self.complete.data.strip_suffix('\n')?;
        let event = match &*self.complete.event {
            "" => "message",
            named => named,
        };
        Some(SseEvent {
            event,
            data,
            id: &self.id,
        })
    }
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

    fn parse(stream: impl AsRef<[u8]>) -> Vec<Owned> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for byte in stream.as_ref() {
            if let Some(complete) = parser.push(*byte) {
                events.push(event(complete.event, complete.data, complete.id));
            }
        }
        events
    }
}
