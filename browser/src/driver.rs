use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::Stdio,
    thread,
};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A Chromium of its own, without a window, and the chromedriver that drives it.
#[derive(Debug)]
pub struct Browser {
    pub client: Client,
    driver: Child,
    _profile: TempDir,
}

/// What it pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Desktop,
    DarkDesktop,
    /// 360 pixels wide.
    Phone,
    DarkPhone,
}

const FLAGS: [&str; 11] = [
    "--headless",
    // As root, as in containers, there is none.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1240,1000",
];

impl Browser {
    /// `None`, after saying so, where Chromium is not installed; in CI that is a failure.
    pub async fn start(device: Device) -> Option<Self> {
        let installed = find("chromedriver").zip(
            ["chromium", "chromium-browser", "google-chrome"]
                .into_iter()
                .find_map(find),
        );
        let Some((driver, chromium)) = installed else {
            tell_that_it_is_missing();
            return None;
        };
        let profile = TempDir::with_prefix("chromium-").expect("a directory for the profile");
        let (driver, port) = start_driver(driver).await;
        let capabilities = capabilities(device, &chromium, &profile);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().cloned().unwrap_or_default())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("chromedriver starts Chromium");
        Some(Self {
            client,
            driver,
            _profile: profile,
        })
    }

    /// The good end. A test that panics ends it by [dropping](Drop) it.
    pub async fn close(self) {
        self.client.clone().close().await.expect("Chromium ends");
    }
}

/// Chromium would outlive its driver, so the end comes to the whole group of processes.
impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = self.driver.id() {
            let ended = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{group}")])
                .status();
            assert!(ended.is_ok_and(|it| it.success()) || thread::panicking());
        }
    }
}

impl Device {
    fn is_dark(self) -> bool {
        matches!(self, Self::DarkDesktop | Self::DarkPhone)
    }

    fn is_phone(self) -> bool {
        matches!(self, Self::Phone | Self::DarkPhone)
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&path).map(|directory| directory.join(program));
    candidates.find(|candidate| candidate.is_file())
}

fn tell_that_it_is_missing() {
    let install = "apt-get install chromium chromium-driver";
    assert!(
        env::var_os("CI").is_none_or(|it| it.is_empty()),
        "CI tests the page in a browser, and there is none: {install}",
    );
    // Past the test harness, which hides what tests print that pass.
    let _ = writeln!(
        io::stderr(),
        "\n*** NOT TESTED: there is no Chromium with its chromedriver here: {install} ***\n",
    );
}

async fn start_driver(program: PathBuf) -> (Child, u16) {
    let mut driver = Command::new(program)
        .arg("--port=0")
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("chromedriver starts");
    let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
    while let Some(line) = lines.next_line().await.expect("chromedriver speaks") {
        let port = line.split_once("started successfully on port ");
        if let Some((_, port)) = port {
            let port = port.trim_end_matches('.').parse().expect("a port");
            // Whatever it says later is read, so that it does not wait for a reader.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, port);
        }
    }
    panic!("chromedriver has ended without telling its port");
}

fn capabilities(device: Device, chromium: &PathBuf, profile: &TempDir) -> Value {
    let mut flags: Vec<_> = FLAGS.map(str::to_owned).into();
    flags.push(format!("--user-data-dir={}", profile.path().display()));
    if device.is_dark() {
        flags.push("--blink-settings=preferredColorScheme=0".to_owned());
    }
    let mut options = json!({ "binary": chromium, "args": flags });
    if device.is_phone() {
        let metrics = json!({ "width": 360, "height": 780, "pixelRatio": 2.0 });
        options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
    }
    json!({ "browserName": "chrome", "goog:chromeOptions": options })
}
