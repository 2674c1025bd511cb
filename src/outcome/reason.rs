use std::{
    any::Any,
    borrow::Cow,
    cell::RefCell,
    error::Error,
    fmt,
    hash::{Hash, Hasher},
    mem,
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use super::{
    bounded_text::{Bounded, MAX_BYTES, prefix},
    kind::Kind,
    kind_of_others::as_error,
};
use crate::util::{errors::sources, line::Line, sync::local};

/// The reason of a failure, in at most [`Reason::MAX_BYTES`] bytes of text.
///
/// Longer text is cut at a character boundary, and formatting stops there, so that a megabyte of error text fills neither memory
/// nor a log line. Cloning does not allocate.
///
/// A reason may begin with a [label](Self::label): a short name from a small set, for metrics and for viewers who must not see
/// error texts. The whole text is for logs and operators.
///
/// ```
/// use std::io;
/// use tower_health::Reason;
///
/// let fixed = Reason::from("timeout");
/// let free = Reason::display("no more than 3 requests, please");
/// let error = Reason::error(&io::Error::from(io::ErrorKind::ConnectionReset));
/// let labelled = Reason::labelled("quota", format_args!("{} of {} used", 3, 3));
///
/// assert_eq!((fixed.as_str(), fixed.label()), ("timeout", "timeout"));
/// assert_eq!((free.as_str(), free.label()), ("no more than 3 requests, please", "error"));
/// assert_eq!((error.as_str(), error.label()), ("reset: connection reset", "reset"));
/// assert_eq!((labelled.as_str(), labelled.label()), ("quota: 3 of 3 used", "quota"));
/// assert!(Reason::from("é".repeat(1_000)).len() <= Reason::MAX_BYTES);
/// ```
#[derive(Clone)]
pub struct Reason(Text);

/// The label of a reason without one.
const NO_LABEL: &str = "error";

#[derive(Clone)]
enum Text {
    Fixed(&'static str),
    /// The text, and the length of the label at its beginning.
    Shared(Arc<str>, u16),
}

impl Reason {
    /// Maximum length of a text: 256 bytes.
    pub const MAX_BYTES: usize = MAX_BYTES;

    /// Creates a reason from the text that `value` displays, without a label.
    pub fn display(value: impl fmt::Display) -> Self {
        Self::shared(&Bounded::of(value), 0)
    }

    /// Creates a reason from a [label](Self::label) and a detail, which may be empty.
    pub fn labelled(label: impl fmt::Display, detail: impl fmt::Display) -> Self {
        let mut text = Bounded::of(label);
        let label = text.len();
        text.add(&Bounded::of(detail));
        Self::shared(&text, label)
    }

    /// Creates a reason from the texts of an error and of its sources, without repetitions.
    ///
    /// The label is the error's [kind](Kind), if it has one. Otherwise it is the label of the reason that the provider gave in a
    /// [peeked](crate::http::PeekError) body.
    ///
    /// ```
    /// # use std::{error::Error, fmt, io};
    /// # use tower_health::Reason;
    /// # #[derive(Debug)] struct Connect(io::Error);
    /// # impl fmt::Display for Connect { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("client error") } }
    /// # impl Error for Connect { fn source(&self) -> Option<&(dyn Error + 'static)> { Some(&self.0) } }
    /// let error = Connect(io::Error::other("connection refused"));
    /// assert_eq!(Reason::error(&error), "client error: connection refused");
    /// ```
    pub fn error(error: &(dyn Error + 'static)) -> Self {
        Self::of_kind(error, Kind::of(error))
    }

    /// Like [`error`](Self::error), if the error's kind is already known.
    pub(super) fn of_kind(error: &(dyn Error + 'static), kind: Option<Kind>) -> Self {
        let label = match kind {
            Some(kind) => kind.as_str(),
            None => label_within(error),
        };
        let mut text = Bounded::of(error);
        if !begins_with_word(&text, label) {
            let unlabelled = mem::replace(&mut text, Bounded::of(label));
            text.add(&unlabelled);
        }
        for source in sources(error) {
            text.add(&Bounded::of(source));
        }
        Self::shared(&text, label.len())
    }

    /// Creates the reason of a call without an answer within `limit`.
    pub(crate) fn slow(limit: Duration) -> Self {
        Self::labelled("slow", format_args!("no answer within {limit:?}"))
    }

    /// Creates a reason from the error of a service or a check. If its type does not show that it is an error, only its text is
    /// used; a `Reason` is cloned.
    pub(crate) fn of<E: fmt::Display + 'static>(error: &E) -> Self {
        if let Some(reason) = (error as &dyn Any).downcast_ref::<Self>() {
            return reason.clone();
        }
        as_error(error).map_or_else(|| Self::display(error), Self::error)
    }

    fn shared(text: &str, label: usize) -> Self {
        let label = u16::try_from(label).expect("bounded");
        Self(Text::Shared(shared(text), label))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Shared(text, _) => text,
        }
    }

    /// Returns a label for metrics and for viewers who must not see error texts. It has few values and no details.
    ///
    /// The label is the [kind](Kind) of an error, a status such as `503`, the label of [`labelled`](Self::labelled), or the whole
    /// of a constant text. For any other reason it is `error`.
    #[must_use]
    pub fn label(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Shared(_, 0) => NO_LABEL,
            Text::Shared(text, label) => &text[..usize::from(*label)],
        }
    }
}

/// Returns a copy of the text. If it is equal to this thread's last one, as in an outage, it is shared instead.
fn shared(text: &str) -> Arc<str> {
    local! {
        static LAST: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    }
    let share = |last: &RefCell<Option<Arc<str>>>| {
        let mut last = last.borrow_mut();
        match &*last {
            Some(same) if **same == *text => Arc::clone(same),
            _ => Arc::clone(last.insert(text.into())),
        }
    };
    // An error only means that the thread ends.
    LAST.try_with(share).unwrap_or_else(|_| text.into())
}

/// Returns the label of the reason inside an error, or nothing.
fn label_within<'a>(error: &'a (dyn Error + 'static)) -> &'a str {
    let label = Reason::within(error).map_or("", Reason::label);
    if label == NO_LABEL { "" } else { label }
}

fn begins_with_word(text: &str, word: &str) -> bool {
    let rest = text.strip_prefix(word);
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self(Text::Fixed(prefix(text, Self::MAX_BYTES)))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Cow::from(text).into()
    }
}

/// Copies the text, without a label, because it may be foreign, for example from [`String::from_utf8_lossy`].
impl From<Cow<'_, str>> for Reason {
    fn from(text: Cow<'_, str>) -> Self {
        Self(Text::Shared(prefix(&text, Self::MAX_BYTES).into(), 0))
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Reason {}

impl Hash for Reason {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl AsRef<str> for Reason {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Reason {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Reason {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Displays the text in one line, with control characters escaped.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line(self).fmt(f)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
