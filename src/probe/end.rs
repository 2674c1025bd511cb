use std::time::Duration;

use crate::Reason;

/// How a check has ended.
pub(crate) enum CheckEnd {
    Passed,
    Failed(Reason),
    /// It took longer than it may.
    TimedOut(Duration),
    /// With this text.
    Panicked(String),
}

impl CheckEnd {
    pub(super) fn into_result(self) -> Result<(), Reason> {
        match self {
            Self::Passed => Ok(()),
            Self::Failed(reason) => Err(reason),
            Self::TimedOut(limit) => Err(format!("check timed out after {limit:?}").into()),
            Self::Panicked(text) => Err(format!("check panicked: {text}").into()),
        }
    }
}
