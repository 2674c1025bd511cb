//! The `openai` client for Python, in a virtual environment of its own beside the build.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

use crate::Proxy;

/// Exactly this, since the tests tell what it does.
const PACKAGE: &str = "openai==3.57.0";
const CLIENT: &str = include_str!("client.py");

/// A Python that has the package.
#[derive(Clone, Debug)]
pub struct Python(PathBuf);

/// What the caller saw.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// The error's class, and its status if it has one.
    pub error: Option<String>,
}

impl Python {
    /// `None`, after saying so, where Python or the package cannot be had; in CI that is a failure.
    #[must_use]
    pub fn find(directory: &Path) -> Option<Self> {
        static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
        let python = PYTHON.get_or_init(|| match Self::prepare(directory) {
            Ok(python) => Some(python),
            Err(problem) => {
                tell_that_it_is_missing(&problem);
                None
            }
        });
        python.clone()
    }

    fn prepare(directory: &Path) -> Result<Self, String> {
        let environment = directory.join(PACKAGE);
        let python = Self(environment.join("bin/python"));
        if python.run(["-c", "import openai"]).is_ok() {
            return Ok(python);
        }
        // What an earlier attempt has left, if it was cut off.
        let _ = fs::remove_dir_all(&environment);
        let system = Self("python3".into());
        system.run(["-m".as_ref(), "venv".as_ref(), environment.as_os_str()])?;
        python.run(["-m", "pip", "install", "--quiet", PACKAGE])?;
        Ok(python)
    }

    /// Streams one chat completion through the proxy.
    pub async fn stream(&self, proxy: &Proxy) -> Answer {
        let (python, base_url) = (self.clone(), proxy.base_url.clone());
        let output = tokio::task::spawn_blocking(move || python.run(["-c", CLIENT, &base_url]));
        let output = output
            .await
            .expect("no panic")
            .expect("the client ends well");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Answer {
            text: text(&answer["text"]).expect("a text"),
            error: text(&answer["error"]),
        }
    }

    fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output, String> {
        let mut command = Command::new(&self.0);
        // The proxy under test is on loopback.
        command.args(arguments).env("NO_PROXY", "127.0.0.1");
        let output = command
            .output()
            .map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() {
            Ok(output)
        } else {
            let told = String::from_utf8_lossy(&output.stderr);
            Err(format!("{command:?}: {}\n{told}", output.status))
        }
    }
}

fn tell_that_it_is_missing(problem: &str) {
    let install = "it takes python3 with venv, and pip to install";
    assert!(
        env::var_os("CI").is_none_or(|it| it.is_empty()),
        "CI tests with OpenAI's client: {install} {PACKAGE}: {problem}",
    );
    // Past the test harness, which hides what tests print that pass.
    let _ = writeln!(
        io::stderr(),
        "\n*** SKIPPED, NOT TESTED with OpenAI's client: {install} {PACKAGE} ***\n{problem}\n",
    );
}
