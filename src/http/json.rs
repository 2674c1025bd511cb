//! A minimal JSON writer for the bodies of error responses ([RFC 8259](https://www.rfc-editor.org/rfc/rfc8259)).

use std::fmt::Write as _;

pub(super) fn string(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            // Section 7 requires escapes for control characters. Writing to a `String` cannot fail.
            '\0'..='\x1f' => drop(write!(json, "\\u{:04x}", u32::from(character))),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    format!("[{}]", items.join(","))
}

/// Member names are not escaped.
pub(super) fn object(members: impl Iterator<Item = (&'static str, String)>) -> String {
    let members: Vec<_> = members
        .map(|(name, value)| format!(r#""{name}":{value}"#))
        .collect();
    format!("{{{}}}", members.join(","))
}
