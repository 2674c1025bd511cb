//! The `openai` package for Node, beside the build.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// Pinned, because the tests describe the behavior of this version.
const PACKAGE: &str = "openai@7.59.0";

/// A directory in which Node finds the package.
#[derive(Clone, Debug)]
pub(crate) struct Node(PathBuf);

impl Node {
    /// Returns `None` if Node or its package is missing. In CI, panics instead.
    pub(crate) fn find(directory: &Path) -> Option<Self> {
        static NODE: OnceLock<Option<Node>> = OnceLock::new();
        NODE.get_or_init(|| Self::prepare(directory)).clone()
    }

    fn prepare(directory: &Path) -> Option<Self> {
        run(Command::new("node").arg("--version")).map_or_else(skipped, Some)?;
        let directory = directory.join(PACKAGE);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("client.mjs"), include_str!("client.mjs")).unwrap();
        if !directory.join("node_modules/openai/package.json").exists() {
            let install = [
                "install",
                "--no-audit",
                "--no-fund",
                "--prefix",
                ".",
                PACKAGE,
            ];
            run(Command::new("npm").args(install).current_dir(&directory))
                .map_or_else(skipped, Some)?;
        }
        Some(Self(directory))
    }

    pub(crate) fn run(&self, asked: &str) -> Result<Output, String> {
        run(Command::new("node")
            .args(["client.mjs", asked])
            .current_dir(&self.0))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "passed to `map_or_else`")]
fn skipped(problem: String) -> Option<Output> {
    let is_ci = env::var_os("CI").is_some_and(|it| !it.is_empty());
    assert!(!is_ci, "CI tests with {PACKAGE}: {problem}");
    eprintln!("*** SKIPPED, NOT TESTED with {PACKAGE} ***\n{problem}");
    None
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{told}", output.status))
}
