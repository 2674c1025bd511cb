use ::http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{HOST, ORIGIN},
};

use super::refusal::Refusal;

/// Refuses requests that a page of another origin made a browser send. Clients that are not browsers send none of these
/// headers and pass. `Host` itself is not checked, because the server's names are unknown here.
pub(super) fn refuse_cross_origin(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let mut sites = headers.get_all("sec-fetch-site").iter().peekable();
    // If a header is repeated, every value must match.
    let is_own = if sites.peek().is_some() {
        // `none`: the user started the request, not a page.
        sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
    } else {
        let mut hosts: Vec<_> = headers.get_all(HOST).iter().map(text).collect();
        if hosts.is_empty() {
            // HTTP/2 has the host in the URI.
            hosts.extend(uri.authority().map(ToString::to_string));
        }
        let mut origins = headers.get_all(ORIGIN).iter().map(text);
        origins.all(|origin| {
            // The scheme is ignored: a proxy in front may have terminated TLS.
            let is_host = |host: &String| {
                let origin = origin.split_once("://").map(|(_, host)| host);
                origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
            };
            !hosts.is_empty() && hosts.iter().all(is_host)
        })
    };
    if is_own {
        Ok(())
    } else {
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "cross-origin request refused",
        ))
    }
}
