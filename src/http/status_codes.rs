use ::http::StatusCode;

/// Converts these numbers to statuses. Panics if one is invalid.
#[track_caller]
pub(super) fn statuses(codes: impl IntoIterator<Item = u16>) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for code in codes {
        let Ok(status) = StatusCode::from_u16(code) else {
            panic!("HTTP status must be between 100 and 999, got {code}");
        };
        statuses.push(status);
    }
    statuses
}
