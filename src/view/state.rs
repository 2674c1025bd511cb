use std::{error::Error, fmt, str::FromStr, time::Duration};

use crate::outcome::Reason;

/// Gives each variant of an enum a name, by which it is displayed and parsed.
macro_rules! named {
    ($type:ident, $what:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Returns the name, which `Display` prints too.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        /// Parses the name that `Display` prints.
        impl FromStr for $type {
            type Err = ParseStateError;

            fn from_str(text: &str) -> Result<Self, ParseStateError> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(ParseStateError {
                        what: $what,
                        names: &[$($name),+],
                        text: Reason::display(text),
                    }),
                }
            }
        }
    };
}

/// State of a circuit breaker: `closed`, `open` or `half-open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls are admitted.
    Closed,
    /// Calls are refused until a deadline.
    Open,
    /// A few calls are admitted as trials, which decide whether the breaker closes or opens again.
    HalfOpen,
}

named!(State, "state", { Closed => "closed", Open => "open", HalfOpen => "half-open" });

/// The cause of an open circuit breaker: `failures`, `throttled`, `probe`, `forced` or `peer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Calls failed, or the application called [`mark_unhealthy`](crate::Provider::mark_unhealthy).
    Failures,
    /// The provider asked for a pause.
    Throttled,
    /// Checks of a [`HealthProbe`](crate::HealthProbe) failed.
    Probe,
    /// An operator called [`force`](crate::Provider::force).
    Forced,
    /// Another replica of the [fleet](https://docs.rs/tower-health/latest/tower_health/fleet/) found the provider down.
    Peer,
}

named!(Cause, "cause", {
    Failures => "failures",
    Throttled => "throttled",
    Probe => "probe",
    Forced => "forced",
    Peer => "peer",
});

/// The state at which an operator holds a breaker, `open` or `closed`: see [`Provider::force`](crate::Provider::force).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Override {
    /// Refuse every call.
    Open,
    /// Admit every call.
    Closed,
}

named!(Override, "override", { Open => "open", Closed => "closed" });

impl Override {
    /// Maximum duration of an override that comes from a control request or a snapshot: 7 days.
    pub(crate) const LONGEST_FROM_OUTSIDE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
}

impl From<Override> for State {
    fn from(forced: Override) -> Self {
        match forced {
            Override::Open => Self::Open,
            Override::Closed => Self::Closed,
        }
    }
}

/// The error of parsing a [`State`], a [`Cause`] or an [`Override`] from an unknown name.
///
/// ```
/// use tower_health::State;
///
/// assert_eq!("half-open".parse(), Ok(State::HalfOpen));
/// assert_eq!(
///     "ajar".parse::<State>().unwrap_err().to_string(),
///     r#"state must be `closed`, `open` or `half-open`, got "ajar""#
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseStateError {
    what: &'static str,
    names: &'static [&'static str],
    /// The beginning of the text, which may have any length.
    text: Reason,
}

impl fmt::Display for ParseStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, names, text } = self;
        write!(f, "{what} must be ")?;
        for (index, name) in names.iter().enumerate() {
            let separator = match index {
                0 => "",
                _ if index + 1 == names.len() => " or ",
                _ => ", ",
            };
            write!(f, "{separator}`{name}`")?;
        }
        write!(f, ", got {text:?}")
    }
}

impl Error for ParseStateError {}
