//! Foreign text inside one line of output.

use std::fmt;

/// Displays a text with control characters escaped as in Rust, such as `\n` and `\u{1b}`.
///
/// The text cannot end a log line, send commands to a terminal, or reverse the direction of the text after it. All other
/// characters are unchanged.
pub(crate) struct Line<'a>(pub(crate) &'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(is_control) {
            let mut rest = part.chars();
            match rest.next_back() {
                Some(control) if is_control(control) => {
                    f.write_str(rest.as_str())?;
                    write!(f, "{}", control.escape_default())?;
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Includes Unicode's line breaks and bidirectional controls, which `char::is_control` does not.
fn is_control(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped_and_nothing_else() {
        for (text, line) in [
            ("", ""),
            (
                "groq/llama-3.3 \\ \"70b\" é ア 🦀",
                "groq/llama-3.3 \\ \"70b\" é ア 🦀",
            ),
            ("a\nb\r\tc\0", r"a\nb\r\tc\u{0}"),
            ("\u{1b}[31m\u{7f}\u{9b}", r"\u{1b}[31m\u{7f}\u{9b}"),
            ("a\u{2028}\u{2029}\u{85}", r"a\u{2028}\u{2029}\u{85}"),
            (
                "\u{202e}cba\u{202c}\u{2066}x\u{2069}",
                r"\u{202e}cba\u{202c}\u{2066}x\u{2069}",
            ),
            ("\u{61c}\u{200e}\u{200f}x", r"\u{61c}\u{200e}\u{200f}x"),
        ] {
            assert_eq!(Line(text).to_string(), line);
        }
    }
}
