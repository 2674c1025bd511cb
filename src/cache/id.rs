use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hasher},
};

use crate::outcome::prefix;

/// Maximum length in bytes of an id that is not shortened, if it comes from a request or a snapshot. Longer than any origin with a
/// valid host name.
pub(crate) const LONGEST: usize = 320;

/// Number of bytes of a longer id that stay in front of its hash.
const READABLE: usize = 192;

/// Returns the id, or a short form of a long one, so that clients cannot fill the memory with long keys.
///
/// The hash is the same in every process, so that a snapshot fits the next process. So it has no secret, and a client can make ids
/// collide. It gains nothing: by sending the other key itself, it reaches the same breaker.
pub(super) fn bounded(id: &str) -> Cow<'_, str> {
    if id.len() <= LONGEST {
        return id.into();
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(id.as_bytes());
    let hash = hasher.finish();
    format!("{}...{hash:016x}", prefix(id, READABLE)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_up_to_the_longest_are_kept() {
        for length in [0, 1, 256, LONGEST] {
            let id = "x".repeat(length);
            assert_eq!(bounded(&id), id);
        }
    }

    #[test]
    fn longer_ones_are_short_readable_and_different() {
        let long = "é".repeat(LONGEST);
        let one = bounded(&long);
        let other = bounded(&long[2..]);
        assert_ne!(one, other);
        assert_eq!(one.len(), READABLE + 3 + 16);
        assert!(one.starts_with("éé"), "{one}");
        assert_eq!(bounded(&one), one, "a short form is not shortened again");
    }
}
