use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(feature = "fleet")]
use crate::fleet::Share;
use crate::{
    outcome::Reason,
    policy::Jitter,
    view::{Cause, Override, State},
};

/// Implements serde's traits through a mirror of the enum. Variants are serialized as `Display` shows them.
macro_rules! by_mirror {
    ($name:ident, $path:literal, { $($variant:ident),+ }) => {
        const _: () = {
            #[derive(Serialize, Deserialize)]
            #[serde(remote = $path, rename_all = "kebab-case")]
            enum Mirror {
                $($variant),+
            }

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    Mirror::serialize(self, serializer)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    Mirror::deserialize(deserializer)
                }
            }
        };
    };
}

by_mirror!(State, "State", { Closed, Open, HalfOpen });
by_mirror!(Cause, "Cause", { Failures, Throttled, Probe, Forced, Peer });
by_mirror!(Override, "Override", { Open, Closed });
by_mirror!(Jitter, "Jitter", { None, Equal, Full });
#[cfg(feature = "fleet")]
by_mirror!(Share, "Share", { Advise, Quorum, Trust });

/// Serializes the text.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// Deserializes the text, truncated like any other reason. The [label](Reason::label) is lost.
impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
