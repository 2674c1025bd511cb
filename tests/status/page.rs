//! The page as served. The `browser` crate tests its behavior.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};
use tower_health::status::StatusService;

use crate::{cache, get, text};

/// A browser runs the script only if the hashes match. After a change, the failure prints the new hashes.
#[tokio::test(start_paused = true)]
async fn policy_allows_only_the_inline_script_and_style() {
    let answer = get(&StatusService::new(&cache()), "/").await;
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    let page = text(answer).await;
    for name in ["script", "style"] {
        let content = between(&page, &format!("<{name}>"), &format!("</{name}>"));
        let hash = BASE64_STANDARD.encode(digest(&SHA256, content.as_bytes()));
        let expected = format!("{name}-src 'sha256-{hash}'");
        assert!(
            policy.split("; ").any(|it| it == expected),
            "{expected} is not in {policy}"
        );
        assert_eq!(page.matches(&format!("<{name}")).count(), 1);
    }
    for forbidden in ["unsafe", "*", "http"] {
        assert!(!policy.contains(forbidden), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn page_has_no_external_assets() {
    let page = text(get(&StatusService::new(&cache()), "/").await).await;
    let names_svg = "http://www.w3.org/2000/svg";
    assert!(!page.replace(names_svg, "").contains("//www"));
    assert!(!page.replace(names_svg, "").contains("http"));
    for attribute in [" src=", "@import", "url("] {
        assert!(!page.contains(attribute), "{attribute}");
    }
}

#[tokio::test(start_paused = true)]
async fn script_inserts_no_markup() {
    let page = text(get(&StatusService::new(&cache()), "/").await).await;
    for sink in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    ] {
        assert!(!page.contains(sink), "{sink}");
    }
}

#[tokio::test(start_paused = true)]
async fn title_is_escaped() {
    let service = StatusService::new(&cache()).title("</title><script>'\"&");
    let page = text(get(&service, "/").await).await;
    let escaped = "&lt;/title&gt;&lt;script&gt;&#39;&quot;&amp;";
    assert!(page.contains(&format!("<title>{escaped}</title>")));
    assert!(page.contains(&format!("data-title=\"{escaped}\"")));
    assert_eq!(page.matches("</title>").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn control_path_is_on_the_page() {
    let service = StatusService::new(&cache());
    let without = text(get(&service, "/").await).await;
    assert!(without.contains(r#" data-control="""#));
    let with = text(get(&service.control_at("/admin/\"x"), "/").await).await;
    assert!(with.contains(r#" data-control="/admin/&quot;x""#));
}

#[tokio::test(start_paused = true)]
async fn no_placeholder_is_left() {
    let page = text(get(&StatusService::new(&cache()), "/").await).await;
    assert!(!page.contains("{{"));
    assert!(page.contains(r#"data-refresh="5""#));
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}
