//! Foreign texts, cut to a maximum length.

use std::{
    fmt::{self, Write as _},
    ops::Deref,
    str,
};

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

/// A text of at most [`MAX_BYTES`], on the stack. When it is full, writing fails, which ends the formatting.
pub(super) struct Bounded {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl Bounded {
    pub(super) fn of(value: impl fmt::Display) -> Self {
        let mut text = Self {
            bytes: [0; MAX_BYTES],
            length: 0,
        };
        // An error only means that the text is full.
        let _ = write!(text, "{value}");
        text
    }

    /// Appends a text, unless it is contained already: many errors repeat their source.
    pub(super) fn add(&mut self, added: &str) {
        if !self.contains(added) {
            let separator = if self.is_empty() { "" } else { ": " };
            let _ = write!(self, "{separator}{added}");
        }
    }
}

impl Deref for Bounded {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).expect("whole characters")
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fitting = prefix(text, MAX_BYTES - self.length);
        let end = self.length + fitting.len();
        self.bytes[self.length..end].copy_from_slice(fitting.as_bytes());
        self.length = end;
        if fitting.len() == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}
