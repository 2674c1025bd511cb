//! Codes and types of errors, as the APIs document them.

/// The account cannot be used, whatever the model and the request.
pub(super) const FATAL: &[&str] = &[
    "account_deactivated",
    "authentication_error",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_quota",
    "invalid_api_key",
];

pub(super) const THROTTLES: &[&str] = &["rate_limit_error", "rate_limit_exceeded"];

/// Another provider may accept the request.
pub(super) const NOT_HERE: &[&str] = &["context_length_exceeded", "model_not_found"];

/// Errors that are judged as any other, but have a label.
pub(super) const OTHERS: &[&str] = &["api_error", "overloaded_error", "server_error"];
