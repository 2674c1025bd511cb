use std::{
    any::Any,
    borrow::Cow,
    error::Error,
    fmt,
    hash::{Hash, Hasher},
    mem,
    ops::Deref,
    sync::Arc,
};

use super::{
    bounded_text::{Bounded, MAX_BYTES, prefix},
    kind::Kind,
    kind_of_others::as_error,
};
use crate::util::{errors::sources, line::Line};

/// Why a provider is thought ill, in at most [`Reason::MAX_BYTES`] bytes.
///
/// Longer text is cut at a character boundary, and formatting stops there: a provider that answers
/// with a megabyte of error text fills neither memory nor a log line. Cloning allocates nothing.
///
/// A reason may begin with a [label](Self::label): a word or two of a small set, for metrics and for
/// strangers. The whole text is for logs and operators.
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

/// The label of those that have none.
const NO_LABEL: &str = "error";

#[derive(Clone)]
enum Text {
    Fixed(&'static str),
    /// The label is the first so many bytes.
    Shared(Arc<str>, u16),
}

impl Reason {
    /// The most that is kept of a text: 256 bytes.
    pub const MAX_BYTES: usize = MAX_BYTES;

    /// The beginning of what `value` displays.
    pub fn display(value: impl fmt::Display) -> Self {
        Self::shared(Bounded::of(value), 0)
    }

    /// A [label](Self::label), and the beginning of what there is to say beyond it, which may be nothing.
    pub fn labelled(label: impl fmt::Display, detail: impl fmt::Display) -> Self {
        let mut text = Bounded::of(label);
        let label = text.0.len();
        text.add(&Bounded::of(detail));
        Self::shared(text, label)
    }

    /// The beginning of what `error` says, and of what the errors beneath it add to that; labelled
    /// with the error's [kind](Kind), where it has one, or with the label of the reason that a provider
    /// gave in a body that was [peeked at](crate::http::PeekError).
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
        let label = match Kind::of(error) {
            Some(kind) => kind.as_str(),
            None => label_within(error),
        };
        let mut text = Bounded::of(error);
        if !begins_with_word(&text.0, label) {
            let said = mem::replace(&mut text, Bounded::of(label));
            text.add(&said);
        }
        for source in sources(error) {
            text.add(&Bounded::of(source));
        }
        Self::shared(text, label.len())
    }

    /// [`error`](Self::error) for what a service or a check calls an error, where it is known to be one;
    /// a reason is one already.
    pub(crate) fn of<E: fmt::Display + 'static>(error: &E) -> Self {
        if let Some(reason) = (error as &dyn Any).downcast_ref::<Self>() {
            return reason.clone();
        }
        as_error(error).map_or_else(|| Self::display(error), Self::error)
    }

    fn shared(Bounded(text): Bounded, label: usize) -> Self {
        let label = u16::try_from(label).expect("bounded");
        Self(Text::Shared(text.into(), label))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Shared(text, _) => text,
        }
    }

    /// What a metric can be labelled with, and a stranger be told: not the text of an error, of which
    /// there is no end and which may say too much.
    ///
    /// It is the [kind](Kind) of an error, a status such as `503`, the label of
    /// [`labelled`](Self::labelled), or all of a constant text; of any other reason it is `error`.
    #[must_use]
    pub fn label(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Shared(_, 0) => NO_LABEL,
            Text::Shared(text, label) => &text[..usize::from(*label)],
        }
    }
}

/// The label of a reason that the error carries.
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

/// Copied even where it is borrowed, and without a label: it may come from outside, as by [`String::from_utf8_lossy`].
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

/// The text in one line: control characters are escaped.
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
