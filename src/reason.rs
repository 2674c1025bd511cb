use std::{
    error::Error,
    fmt::{self, Write as _},
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// Why a provider is thought ill, in at most [`Reason::MAX_BYTES`] bytes.
///
/// Longer text is cut at a character boundary, and formatting stops there: a provider that answers
/// with a megabyte of error text fills neither memory nor a log line. Cloning allocates nothing.
///
/// ```
/// use tower_health::Reason;
///
/// let fixed = Reason::from("timeout");
/// let error = Reason::display(std::io::Error::other("connection reset"));
///
/// assert_eq!(fixed, "timeout");
/// assert_eq!(error, "connection reset");
/// assert!(Reason::from("é".repeat(1_000)).len() <= Reason::MAX_BYTES);
/// ```
#[derive(Clone)]
pub struct Reason(Text);

#[derive(Clone)]
enum Text {
    Fixed(&'static str),
    Shared(Arc<str>),
}

impl Reason {
    /// The most that is kept of a text: 256 bytes.
    pub const MAX_BYTES: usize = 256;

    /// The beginning of what `value` displays.
    pub fn display(value: impl fmt::Display) -> Self {
        let mut text = Bounded(String::new());
        // The only error is that of a full `Bounded`, which has what it needs.
        let _ = write!(text, "{value}");
        Self(Text::Shared(text.0.into()))
    }

    /// The beginning of what `error` says, and of what the errors beneath it add to that.
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
        let mut text = Bounded(String::new());
        let mut next = Some(error);
        while let Some(error) = next {
            let said = Self::display(error);
            let separator = if text.0.is_empty() { "" } else { ": " };
            // Many errors repeat their source.
            if !text.0.contains(&*said) && write!(text, "{separator}{said}").is_err() {
                break;
            }
            next = error.source();
        }
        Self(Text::Shared(text.0.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// The longest prefix of `text` that fits into `max` bytes.
fn prefix(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Takes text until it is full, then ends the formatting with an error.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fitting = prefix(text, Reason::MAX_BYTES - self.0.len());
        self.0.push_str(fitting);
        if fitting.len() == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self(Text::Fixed(prefix(text, Self::MAX_BYTES)))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self(Text::Shared(prefix(&text, Self::MAX_BYTES).into()))
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
