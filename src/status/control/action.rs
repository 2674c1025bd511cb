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
struct ForceBody {
    ttl: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyBody {}

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

    /// Applies the action. The error describes the fault in `body`.
    pub(super) fn apply(self, provider: &Provider, body: &[u8]) -> Result<(), String> {
        match self {
            Self::Force(to) => {
                let ForceBody { ttl, reason } = read(body)?;
                let ttl = ttl::parse(&ttl)?;
                let reason = reason.trim();
                if !(1..=MAX_REASON).contains(&reason.len()) {
                    let length = reason.len();
                    return Err(format!(
                        "`reason` must be 1 to {MAX_REASON} bytes, got {length}"
                    ));
                }
                provider.force(to, ttl, reason.to_owned());
            }
            Self::Release => {
                let EmptyBody {} = read(body)?;
                provider.unforce();
            }
            Self::Reset => {
                let EmptyBody {} = read(body)?;
                provider.mark_healthy();
            }
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    let read =
        serde_json::from_slice(json).map_err(|error| format!("invalid JSON body: {error}"))?;
    // Serde also accepts an array, as the fields in their order.
    if json.trim_ascii_start().starts_with(b"{") {
        Ok(read)
    } else {
        Err("invalid JSON body: must be an object".into())
    }
}
