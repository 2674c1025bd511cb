//! The options of the command line.

use std::{env, process, time::Duration};

use tower_health::BoxError;

const HELP: &str = "\
Serves a status page of six servers, most of them failing, until Ctrl-C.

Options:
    --port PORT     port on 127.0.0.1 (default: 3000; 0 for any free one)
    --for SECONDS   ends after this time (20 or 20s; default: with Ctrl-C)
    --help          prints this";

pub(crate) struct Arguments {
    pub(crate) port: u16,
    pub(crate) run_for: Option<Duration>,
}

impl Arguments {
    /// Parses the command line. `--help` prints the help and exits.
    pub(crate) fn parse() -> Result<Self, BoxError> {
        let mut parsed = Self {
            port: 3000,
            run_for: None,
        };
        let mut given = env::args().skip(1);
        while let Some(name) = given.next() {
            if matches!(&*name, "--help" | "-h") {
                println!("{HELP}");
                process::exit(0);
            }
            let value = given.next().unwrap_or_default();
            let invalid = |wanted| format!("{name}: {wanted}, got {value:?}");
            match &*name {
                "--port" => {
                    let port = value.parse();
                    parsed.port = port.map_err(|_| invalid("must be a port from 0 to 65535"))?;
                }
                "--for" => {
                    let seconds = value.trim_end_matches('s').parse();
                    let seconds = seconds.map_err(|_| invalid("must be whole seconds"))?;
                    parsed.run_for = Some(Duration::from_secs(seconds));
                }
                _ => return Err(format!("unknown option {name}; see --help").into()),
            }
        }
        Ok(parsed)
    }
}
