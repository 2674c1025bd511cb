//! A virtual environment with the `openai` package, beside the build.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// Pinned, because the tests describe the behavior of this version.
const PACKAGE: &str = "openai==3.57.0";

/// A Python interpreter with the package.
#[derive(Clone, Debug)]
pub struct Python(PathBuf);

impl Python {
    /// Returns `None` and prints a notice if Python or the package is missing. In CI that is a failure.
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
        // Removes what an interrupted attempt left.
        let _ = fs::remove_dir_all(&environment);
        let system = Self("python3".into());
        system.run(["-m".as_ref(), "venv".as_ref(), environment.as_os_str()])?;
        python.run(["-m", "pip", "install", "--quiet", PACKAGE])?;
        Ok(python)
    }

    /// Runs Python and waits for its end.
    ///
    /// # Errors
    ///
    /// If it cannot be started or fails. The error contains its error output.
    pub fn run<A: AsRef<OsStr>>(
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
    // Written to standard error directly: the test harness hides the output of tests that pass.
    let _ = writeln!(
        io::stderr(),
        "\n*** SKIPPED, NOT TESTED with OpenAI's client: {install} {PACKAGE} ***\n{problem}\n",
    );
}
