use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor, value},
    ser,
};

use super::duration::duration;
use crate::policy::Jitter;

/// A value before validation, so that errors can name the setting and show the value.
#[derive(Clone, Debug)]
pub(super) enum RawValue {
    Text(String),
    Whole(i128),
    Float(f64),
    Flag(bool),
    List(Vec<Self>),
    /// A type that no setting has.
    Other(&'static str),
}

impl RawValue {
    pub(super) fn duration(self) -> Result<Duration, String> {
        let Self::Text(text) = &self else {
            return self.is_not(r#"a duration with its unit, such as "60s""#);
        };
        duration(text).map_err(|error| {
            format!(r#"must be a duration with its unit, such as "60s", got {self}: {error}"#)
        })
    }

    pub(super) fn count(self) -> Result<u32, String> {
        match self {
            Self::Whole(number) => u32::try_from(number).or_else(|_| self.is_not_count()),
            _ => self.is_not_count(),
        }
    }

    fn is_not_count(&self) -> Result<u32, String> {
        self.is_not(&format!("a whole number of at most {}", u32::MAX))
    }

    pub(super) fn number(self) -> Result<f64, String> {
        match self {
            Self::Float(number) => Ok(number),
            #[allow(clippy::cast_precision_loss)]
            Self::Whole(number) => Ok(number as f64),
            _ => self.is_not("a number"),
        }
    }

    pub(super) fn flag(self) -> Result<bool, String> {
        match self {
            Self::Flag(flag) => Ok(flag),
            _ => self.is_not("true or false"),
        }
    }

    #[cfg(feature = "http")]
    pub(super) fn list(self) -> Result<Vec<Self>, String> {
        match self {
            Self::List(items) => Ok(items),
            _ => self.is_not("a list"),
        }
    }

    /// Reads the name of an enum's variant.
    pub(super) fn variant<T: for<'de> Deserialize<'de>>(self) -> Result<T, String> {
        let Self::Text(text) = &self else {
            return self.is_not("a string");
        };
        T::deserialize(text.as_str().into_deserializer())
            .map_err(|error: value::Error| error.to_string())
    }

    fn is_not<T>(&self, wanted: &str) -> Result<T, String> {
        Err(format!("must be {wanted}, got {self}"))
    }
}

impl From<Duration> for RawValue {
    fn from(duration: Duration) -> Self {
        Self::Text(humantime::format_duration(duration).to_string())
    }
}

impl From<u32> for RawValue {
    fn from(count: u32) -> Self {
        Self::Whole(count.into())
    }
}

impl From<f64> for RawValue {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<Jitter> for RawValue {
    fn from(jitter: Jitter) -> Self {
        Self::Text(jitter.to_string())
    }
}

impl From<bool> for RawValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(_) => f.write_str("a list"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl Serialize for RawValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Whole(number) => {
                let number = i64::try_from(*number).map_err(ser::Error::custom)?;
                serializer.serialize_i64(number)
            }
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(items) => serializer.collect_seq(items),
            Self::Other(_) => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsWritten)
    }
}

/// Accepts a value of any type.
struct AsWritten;

impl<'de> Visitor<'de> for AsWritten {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<RawValue, E> {
        Ok(RawValue::Whole(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<RawValue, E> {
        Ok(RawValue::Whole(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<RawValue, E> {
        Ok(RawValue::Float(number))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<RawValue, E> {
        Ok(RawValue::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Other("nothing"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(RawValue::Other("a table"))
    }
}
