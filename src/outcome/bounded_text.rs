//! Foreign texts, cut to a maximum length.

use std::fmt::{self, Write as _};

/// Maximum length, in bytes.
pub(super) const MAX_BYTES: usize = 256;

/// Returns the longest prefix of `text` that fits into `max` bytes.
pub(crate) fn prefix(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns the beginning of the text that `value` displays.
pub(crate) fn beginning_of(value: impl fmt::Display) -> String {
    Bounded::of(value).0
}

/// A text of at most [`MAX_BYTES`]. When it is full, writing fails, which ends the formatting.
pub(super) struct Bounded(pub(super) String);

impl Bounded {
    pub(super) fn of(value: impl fmt::Display) -> Self {
        let mut text = Self(String::with_capacity(MAX_BYTES));
        // An error only means that the text is full.
        let _ = write!(text, "{value}");
        text
    }

    /// Appends a text, unless it is contained already: many errors repeat their source.
    pub(super) fn add(&mut self, Self(added): &Self) {
        if !self.0.contains(added) {
            let separator = if self.0.is_empty() { "" } else { ": " };
            let _ = write!(self, "{separator}{added}");
        }
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fitting = prefix(text, MAX_BYTES - self.0.len());
        self.0.push_str(fitting);
        if fitting.len() == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}
