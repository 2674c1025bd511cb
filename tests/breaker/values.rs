//! Values as text: reasons, and the names of states, causes and overrides.

use std::{borrow::Cow, error::Error, fmt::Display, str::FromStr};

use tower_health::{Cause, Override, Reason, State, error::ParseStateError};

/// Asserts that each value is displayed as its name, and parsed from it.
fn are_named<T, const N: usize>(named: [(T, &str); N])
where
    T: Display + FromStr<Err = ParseStateError> + PartialEq + std::fmt::Debug,
{
    for (value, name) in named {
        assert_eq!(value.to_string(), name);
        assert_eq!(format!("{value:>12}"), format!("{name:>12}"));
        assert_eq!(name.parse::<T>().unwrap(), value);
        let capital = name.to_uppercase();
        capital.parse::<T>().unwrap_err();
    }
}

#[test]
fn names_are_displayed_and_parsed() {
    are_named([
        (State::Closed, "closed"),
        (State::Open, "open"),
        (State::HalfOpen, "half-open"),
    ]);
    are_named([
        (Cause::Failures, "failures"),
        (Cause::Throttled, "throttled"),
        (Cause::Probe, "probe"),
        (Cause::Peer, "peer"),
        (Cause::Forced, "forced"),
    ]);
    are_named([(Override::Open, "open"), (Override::Closed, "closed")]);
}

#[test]
fn unknown_name_is_refused_with_those_that_are_known() {
    let state = "half_open".parse::<State>().unwrap_err();
    assert_eq!(
        state.to_string(),
        r#"state must be `closed`, `open` or `half-open`, got "half_open""#
    );
    let cause = "".parse::<Cause>().unwrap_err();
    assert!(cause.to_string().starts_with("cause must be `failures`, "));
    assert!(cause.to_string().ends_with(r#", got """#));
    let forced = "half-open".parse::<Override>().unwrap_err();
    assert_eq!(
        forced.to_string(),
        r#"override must be `open` or `closed`, got "half-open""#
    );
    let error: &dyn Error = &"x".repeat(1_000_000).parse::<State>().unwrap_err();
    assert!(error.to_string().len() < 400, "its text is bounded");
}

#[test]
fn reason_is_made_of_borrowed_and_owned_text_without_a_label() {
    let body = b"no such \xff model".to_vec();
    let borrowed = Reason::from(Cow::Borrowed("quota"));
    let lossy = Reason::from(String::from_utf8_lossy(&body));
    assert_eq!(lossy, "no such \u{fffd} model");
    for reason in [borrowed, lossy, Cow::Owned::<str>("quota".into()).into()] {
        assert_eq!(reason.label(), "error");
    }
    let long = "é".repeat(1_000);
    assert_eq!(Reason::from(Cow::from(&long)).len(), Reason::MAX_BYTES);
}

/// Equal texts made in a row share memory, but not labels.
#[test]
fn reasons_made_in_turn_each_keep_their_own_text_and_label() {
    let (slow, reset) = ("slow: no answer", "reset: by peer");
    let made: Vec<_> = (0..3)
        .flat_map(|_| {
            [
                Reason::labelled("slow", "no answer"),
                Reason::display(slow),
                Reason::labelled("reset", "by peer"),
            ]
        })
        .collect();
    for reasons in made.chunks(3) {
        let shown = reasons
            .iter()
            .map(|reason| (reason.as_str(), reason.label()));
        let own = [(slow, "slow"), (slow, "error"), (reset, "reset")];
        assert!(shown.eq(own), "{reasons:?}");
    }
}
