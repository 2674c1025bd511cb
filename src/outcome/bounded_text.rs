//! Texts of others, of which only the beginning is kept.

use std::fmt::{self, Write as _};

/// The most that is kept, in bytes.
pub(super) const MAX_BYTES: usize = 256;

/// The longest prefix of `text` that fits into `max` bytes.
pub(crate) fn prefix(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The beginning of what `value` displays.
pub(crate) fn beginning_of(value: impl fmt::Display) -> String {
    Bounded::of(value).0
}

/// Takes text until it is full, then ends the formatting with an error.
pub(super) struct Bounded(pub(super) String);

impl Bounded {
    pub(super) fn of(value: impl fmt::Display) -> Self {
        let mut text = Self(String::with_capacity(MAX_BYTES));
        // The only error is that it is full, and has what it needs.
        let _ = write!(text, "{value}");
        text
    }

    /// Adds what is not there yet: many errors repeat their source.
    pub(super) fn add(&mut self, Self(said): &Self) {
        if !self.0.contains(said) {
            let separator = if self.0.is_empty() { "" } else { ": " };
            let _ = write!(self, "{separator}{said}");
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
