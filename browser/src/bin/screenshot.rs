//! Takes a picture of a status page: `screenshot URL FILE.png [desktop|dark-desktop|phone|dark-phone]`.
//!
//! `docs/status.png` shows `cargo run --example dashboard` after some minutes.

use std::{env, fs};

use browser::{Browser, Device};

#[tokio::main]
async fn main() {
    let mut given = env::args().skip(1);
    let (url, file) = given
        .next()
        .zip(given.next())
        .expect("usage: screenshot URL FILE.png [DEVICE]");
    let device = match given.next().as_deref() {
        None | Some("desktop") => Device::Desktop,
        Some("dark-desktop") => Device::DarkDesktop,
        Some("phone") => Device::Phone,
        Some("dark-phone") => Device::DarkPhone,
        Some(other) => panic!("unknown device {other}"),
    };
    let browser = Browser::start(device).await;
    browser.open(&url).await;
    browser.until_live().await;
    let picture = browser
        .client
        .screenshot()
        .await
        .expect("could not take the picture");
    fs::write(file, picture).expect("could not write the file");
    browser.close().await;
}
