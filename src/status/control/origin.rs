use ::http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{HOST, ORIGIN},
};

use super::refusal::Refusal;

/// Refuses what a page of another origin has made a browser send. What is no browser says nothing of it. Whether `Host` is a
/// name of ours is not known here.
pub(super) fn refuse_strangers(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let is_own = if let Some(site) = headers.get("sec-fetch-site") {
        // `none`: the user did it, not a page.
        matches!(site.as_bytes(), b"same-origin" | b"none")
    } else if let Some(origin) = headers.get(ORIGIN).map(text) {
        // Over HTTP/2 the host is that of the URI.
        let host = headers.get(HOST).map(text);
        let host = host.or_else(|| uri.authority().map(ToString::to_string));
        // Without the scheme: a proxy in front may have taken the encryption off.
        let origin = origin.split_once("://").map(|(_, host)| host);
        matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(&host))
    } else {
        true
    };
    if is_own {
        Ok(())
    } else {
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this is not for pages of other origins",
        ))
    }
}
