use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hasher},
};

use crate::outcome::prefix;

/// The longest id of a request or of a snapshot that is kept as it is, in bytes: longer than any origin with a valid
/// host name.
pub(crate) const LONGEST: usize = 320;

/// How many bytes of a longer one are kept, in front of its hash.
const READABLE: usize = 192;

/// The id, or a short one in its place: who sends requests decides how long keys are, and must not fill our memory.
///
/// The hash is the same in every process, so that a snapshot fits the next one. It therefore has no secret, and can be made to
/// collide. That lets no more happen than a key does that is copied: it moves the breaker of the key that it collides with.
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
        assert_eq!(bounded(&one), one, "once is enough");
    }
}
