use ::http::StatusCode;

/// The statuses of these numbers. Panics where one is none.
#[track_caller]
pub(super) fn statuses(codes: impl IntoIterator<Item = u16>) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for code in codes {
        let Ok(status) = StatusCode::from_u16(code) else {
            panic!("a status is a number from 100 to 999, got {code}");
        };
        statuses.push(status);
    }
    statuses
}
