//! Plans of faults: what goes wrong, and when.

use std::{array, ops::Range, time::Duration};

use fastrand::Rng;
use tokio::time::{Instant, sleep_until};

use crate::{
    MILLISECOND,
    server::{Script, Server},
};

const CHUNKS: usize = 8;

/// How a server treats each request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Serves,
    Unavailable,
    /// Asks for a pause of this length.
    Throttles(Duration),
    Hangs,
    /// Resets the connection after this many chunks; after none, before the head.
    Resets(usize),
    /// Falls silent after this many chunks.
    Stalls(usize),
    /// Pauses before each chunk.
    Trickles(Duration),
    /// Does not listen, and has no connections.
    Away,
}

/// Modes in order, and how long each lasts.
pub(crate) type Plan = Vec<(Mode, Duration)>;

/// Draws all faults in random order, each followed by a time without one.
pub(crate) fn draw(rng: &mut Rng) -> Plan {
    let flap = millis(rng, 20..60);
    // The longer wait exceeds the policy's maximum.
    let wait = rng.choice([100, 10_000]).unwrap() * MILLISECOND;
    let mut faults = [
        lasting(Mode::Hangs, rng),
        lasting(Mode::Away, rng),
        lasting(Mode::Resets(rng.usize(..CHUNKS)), rng),
        lasting(Mode::Stalls(rng.usize(..CHUNKS)), rng),
        lasting(Mode::Trickles(millis(rng, 5..60)), rng),
        lasting(Mode::Throttles(wait), rng),
        // Flaps.
        [(Mode::Unavailable, flap), (Mode::Serves, flap)].repeat(4),
        // A restart.
        vec![(Mode::Away, millis(rng, 5..30))],
    ];
    rng.shuffle(&mut faults);
    let mut plan = Plan::new();
    for fault in faults {
        plan.extend(fault);
        plan.push((Mode::Serves, millis(rng, 100..200)));
    }
    plan
}

fn lasting(mode: Mode, rng: &mut Rng) -> Plan {
    vec![(mode, millis(rng, 100..600))]
}

pub(crate) fn millis(rng: &mut Rng, range: Range<u32>) -> Duration {
    rng.u32(range) * MILLISECOND
}

pub(crate) fn well(name: &'static str) -> Server {
    Server::start(move |request| Mode::Serves.answer(name, request))
}

/// Plays the plan to its end, and returns the server.
pub(crate) async fn play(mut server: Server, name: &'static str, plan: Plan) -> Server {
    let mut until = Instant::now();
    for (mode, time) in plan {
        until += time;
        if let Mode::Away = mode {
            server.is_away_until(until).await;
        } else {
            server.becomes(move |request| mode.answer(name, request));
            sleep_until(until).await;
        }
    }
    server
}

impl Mode {
    fn answer(self, server: &str, request: &str) -> Script {
        let chunks = chunks(server, path(request));
        let first = |count| {
            let first = chunks.iter().take(count);
            first.fold(Script::stream(), |script, chunk| script.chunk(chunk))
        };
        match self {
            Self::Serves => first(CHUNKS).last_chunk().keep(),
            Self::Unavailable => Script::status("503 Service Unavailable").keep(),
            Self::Throttles(wait) => {
                let wait = wait.as_millis().to_string();
                Script::answer("429 Too Many Requests", &[("retry-after-ms", &wait)], "").keep()
            }
            Self::Hangs => Script::default().hang(),
            Self::Resets(0) => Script::default().reset(),
            Self::Resets(count) => first(count).reset(),
            Self::Stalls(count) => first(count).hang(),
            Self::Trickles(pause) => {
                let trickle = |script: Script, chunk: &String| script.pause(pause).chunk(chunk);
                let all = chunks.iter().fold(Script::stream(), trickle);
                all.last_chunk().keep()
            }
            Self::Away => unreachable!("nobody listens"),
        }
    }
}

/// The chunks of an answer, each of which names the server and the path.
pub(crate) fn chunks(server: &str, path: &str) -> [String; CHUNKS] {
    array::from_fn(|number| format!("{server} on {path}: part {number}\n"))
}

/// Returns the path of a request, such as `/17`.
pub(crate) fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}
