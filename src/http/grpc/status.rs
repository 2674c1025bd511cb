//! Refusals as tonic's clients expect them. Feature `tonic`.
//!
//! A client of tonic makes a `Status` of any error, and one that tonic does not know is `UNKNOWN`. It knows its own alone.

use std::sync::Arc;

use tonic::{Status, metadata::MetadataValue};

use crate::{http::unavailable::pushback, util::errors::BoxError};

/// A status `UNAVAILABLE` with the error as its source.
pub(super) fn unavailable(error: BoxError) -> BoxError {
    let mut status = Status::unavailable(error.to_string());
    if let Some(millis) = pushback(&*error) {
        let metadata = status.metadata_mut();
        metadata.insert("grpc-retry-pushback-ms", MetadataValue::from(millis));
    }
    status.set_source(Arc::from(error));
    status.into()
}
