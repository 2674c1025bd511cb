//! Runs `promtool`, Prometheus's own checker.

use std::{
    env,
    io::{self, ErrorKind, Write},
    process::{Command, Stdio},
};

/// Asserts that `promtool` accepts its input and the given files, and returns its output; `None` if it is not installed.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str], input: &str) -> Option<String> {
    let child = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tell_that_it_is_missing();
            return None;
        }
        Err(error) => panic!("promtool: {error}"),
    };
    // It may stop reading early, so a failed write is ignored.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    let said = said.concat();
    assert!(
        output.status.success(),
        "promtool {}: {}\n{said}\n{input}",
        arguments.join(" "),
        output.status
    );
    Some(said)
}

fn tell_that_it_is_missing() {
    let install = "apt-get install prometheus";
    assert!(
        env::var_os("CI").is_none_or(|it| it.is_empty()),
        "CI asks promtool, and there is none: {install}",
    );
    // Written past the test harness, which hides the output of tests that pass.
    let _ = writeln!(
        io::stderr(),
        "\n*** NOT TESTED: there is no promtool here: {install} ***\n",
    );
}
