use serde::{Deserialize, de::DeserializeOwned};

use super::ttl;
use crate::{cache::Provider, view::Override};

const MAX_REASON: usize = 200;

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Force(Override),
    Release,
    Reset,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forced {
    ttl: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Action {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "force-open" => Self::Force(Override::Open),
            "force-closed" => Self::Force(Override::Closed),
            "release" => Self::Release,
            "reset" => Self::Reset,
            _ => return None,
        })
    }

    /// Does it, or says what is wrong with its details, which are JSON.
    pub(super) fn apply(self, provider: &Provider, details: &[u8]) -> Result<(), String> {
        match self {
            Self::Force(to) => {
                let Forced { ttl, reason } = read(details)?;
                let ttl = ttl::parse(&ttl)?;
                let reason = reason.trim();
                if !(1..=MAX_REASON).contains(&reason.len()) {
                    let length = reason.len();
                    return Err(format!(
                        "`reason` must be of 1 to {MAX_REASON} bytes; it is of {length}"
                    ));
                }
                provider.force(to, ttl, reason.to_owned());
            }
            Self::Release => {
                let Nothing {} = read(details)?;
                provider.unforce();
            }
            Self::Reset => {
                let Nothing {} = read(details)?;
                provider.mark_healthy();
            }
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    let read = serde_json::from_slice(json)
        .map_err(|error| format!("not the JSON that is wanted: {error}"))?;
    // Serde would read an array by the order of the fields.
    if json.trim_ascii_start().starts_with(b"{") {
        Ok(read)
    } else {
        Err("not the JSON that is wanted: must be an object".into())
    }
}
