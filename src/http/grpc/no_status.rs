use crate::util::errors::BoxError;

pub(super) fn unavailable(error: BoxError) -> BoxError {
    error
}
