//! `--for 20s`, `--port 8080`.

use std::{env, time::Duration};

use tower_health::BoxError;

pub(crate) struct Arguments {
    pub(crate) port: u16,
    pub(crate) lasts: Option<Duration>,
}

impl Arguments {
    pub(crate) fn parse() -> Result<Self, BoxError> {
        let mut parsed = Self {
            port: 3000,
            lasts: None,
        };
        let mut given = env::args().skip(1);
        while let Some(name) = given.next() {
            let value = given.next().unwrap_or_default();
            match &*name {
                "--port" => parsed.port = value.parse()?,
                "--for" => {
                    let seconds = value.trim_end_matches('s').parse()?;
                    parsed.lasts = Some(Duration::from_secs(seconds));
                }
                _ => return Err(format!("there are --for 20s and --port 8080, not {name}").into()),
            }
        }
        Ok(parsed)
    }
}
