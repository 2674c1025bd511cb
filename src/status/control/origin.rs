use ::http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{HOST, ORIGIN},
};

use super::refusal::Refusal;

/// Refuses what a page of another origin has made a browser send. What is no browser says nothing of it. Whether `Host` is a
/// name of ours is not known here.
pub(super) fn refuse_strangers(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let mut sites = headers.get_all("sec-fetch-site").iter().peekable();
    // Of several headers each has to be that of a page of ours.
    let is_own = if sites.peek().is_some() {
        // `none`: the user did it, not a page.
        sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
    } else {
        let mut hosts: Vec<_> = headers.get_all(HOST).iter().map(text).collect();
        if hosts.is_empty() {
            // Over HTTP/2 the host is that of the URI.
            hosts.extend(uri.authority().map(ToString::to_string));
        }
        let mut origins = headers.get_all(ORIGIN).iter().map(text);
        origins.all(|origin| {
            // Without the scheme: a proxy in front may have taken the encryption off.
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
            "this is not for pages of other origins",
        ))
    }
}
