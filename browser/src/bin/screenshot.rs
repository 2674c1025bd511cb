//! Pictures of a page: `screenshot URL FILE.png [desktop|dark-desktop|phone|dark-phone]`. Those in `docs/` are of
//! `cargo run --example dashboard`, some minutes old.

use std::{env, fs};

use browser::{Browser, Device};

#[tokio::main]
async fn main() {
    let mut given = env::args().skip(1);
    let (url, file) = given.next().zip(given.next()).expect("a URL and a file");
    let device = match given.next().as_deref() {
        None | Some("desktop") => Device::Desktop,
        Some("dark-desktop") => Device::DarkDesktop,
        Some("phone") => Device::Phone,
        Some("dark-phone") => Device::DarkPhone,
        Some(other) => panic!("there is no device {other}"),
    };
    let Some(browser) = Browser::start(device).await else {
        return;
    };
    browser.open(&url).await;
    browser.until_live().await;
    let picture = browser.client.screenshot().await.expect("a picture");
    fs::write(file, picture).expect("a file");
    browser.close().await;
}
