//! Converts refusals to tonic's `Status`. Feature `tonic`.
//!
//! tonic recognizes only its own errors; a client reports any other as `UNKNOWN`.

use std::sync::Arc;

use tonic::{Status, metadata::MetadataValue};

use crate::{http::unavailable::pushback, util::errors::BoxError};

/// A status `UNAVAILABLE` with this error as its source.
pub(super) fn unavailable(error: BoxError) -> BoxError {
    let mut status = Status::unavailable(error.to_string());
    if let Some(millis) = pushback(&*error) {
        let metadata = status.metadata_mut();
        metadata.insert("grpc-retry-pushback-ms", MetadataValue::from(millis));
    }
    status.set_source(Arc::from(error));
    status.into()
}
