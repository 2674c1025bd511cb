use ::http::StatusCode;

/// Converts the numbers given to a setting to statuses. Panics if one is invalid.
#[track_caller]
pub(super) fn statuses(setting: &str, codes: impl IntoIterator<Item = u16>) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for code in codes {
        let Ok(status) = StatusCode::from_u16(code) else {
            panic!("`{setting}`: HTTP status must be between 100 and 999, got {code}");
        };
        statuses.push(status);
    }
    statuses
}
