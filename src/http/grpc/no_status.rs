use crate::BoxError;

pub(super) fn unavailable(error: BoxError) -> BoxError {
    error
}
