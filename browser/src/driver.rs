use std::{
    env,
    path::{Path, PathBuf},
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

/// A headless Chromium with a fresh profile, and the driver that controls it.
#[derive(Debug)]
pub struct Browser {
    pub client: Client,
    driver: Child,
    _profile: TempDir,
}

/// The emulated device.
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
    // The sandbox does not work as root, as in containers.
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
    /// Starts Chromium.
    ///
    /// # Panics
    ///
    /// If Chromium or its driver is not installed, so that a test without a browser fails.
    pub async fn start(device: Device) -> Self {
        let driver = find(&["chromedriver"]);
        let chromium = find(&["chromium", "chromium-browser", "google-chrome"]);
        let profile =
            TempDir::with_prefix("chromium-").expect("could not create the profile directory");
        let (driver, port) = start_driver(driver).await;
        let capabilities = capabilities(device, &chromium, &profile);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().cloned().unwrap_or_default())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("ChromeDriver could not start Chromium");
        Self {
            client,
            driver,
            _profile: profile,
        }
    }

    /// Ends the session. If a test panics, [`Drop`] ends it.
    pub async fn close(self) {
        self.client
            .clone()
            .close()
            .await
            .expect("Chromium did not end");
    }
}

/// Kills the whole process group, because Chromium would outlive its driver.
impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = self.driver.id() {
            let killed = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{group}")])
                .status();
            assert!(killed.is_ok_and(|it| it.success()) || thread::panicking());
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

/// Finds the first of these programs that is in `PATH`.
fn find(programs: &[&str]) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = env::split_paths(&path).collect();
    let mut candidates = programs
        .iter()
        .flat_map(|program| directories.iter().map(move |it| it.join(program)));
    candidates
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            let program = programs[0];
            panic!("{program} is not in PATH: apt-get install chromium chromium-driver")
        })
}

async fn start_driver(program: PathBuf) -> (Child, u16) {
    let mut driver = Command::new(program)
        .arg("--port=0")
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("could not start ChromeDriver");
    let mut lines = BufReader::new(driver.stdout.take().expect("stdout is piped")).lines();
    while let Some(line) = lines
        .next_line()
        .await
        .expect("could not read from ChromeDriver")
    {
        let port = line.split_once("started successfully on port ");
        if let Some((_, port)) = port {
            let port = port
                .trim_end_matches('.')
                .parse()
                .expect("ChromeDriver printed an invalid port");
            // Read the remaining output, so that a full pipe does not block it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, port);
        }
    }
    panic!("ChromeDriver ended before it printed its port");
}

fn capabilities(device: Device, chromium: &Path, profile: &TempDir) -> Value {
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

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    #[should_panic(expected = "no-such-driver is not in PATH")]
    fn missing_browser_fails_the_test() {
        find(&["no-such-driver"]);
    }
}
