//! OpenAI's own clients, for Python and for Node.

#[path = "../../../../../openai/src/environment.rs"]
mod environment;
mod node;

use std::path::Path;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use self::{environment::Python, node::Node};
use super::Rig;

/// One of OpenAI's clients.
#[derive(Clone, Debug)]
pub enum Client {
    Python(Python),
    Node(Node),
}

/// Returns the clients that are installed.
pub fn clients() -> Vec<Client> {
    let node = Node::find(directory()).map(Client::Node);
    Client::python().into_iter().chain(node).collect()
}

fn directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The task of a client. By default it makes one streamed call without retries.
#[derive(Clone, Debug)]
pub struct Asked(Value);

impl Asked {
    pub fn of(rig: &Rig, model: &str) -> Self {
        Self(json!({
            "url": rig.url, "model": model, "stream": true, "retries": 0, "tools": false,
            "leave_after": -1, "times": 1, "pause": 0,
        }))
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0[name] = value.into();
        self
    }
}

impl Client {
    pub fn python() -> Option<Self> {
        Python::find(directory()).map(Self::Python)
    }

    /// Makes the calls, and returns the result of each.
    pub async fn call(&self, asked: Asked) -> Vec<Value> {
        let client = self.clone();
        let run = move || {
            let asked = asked.0.to_string();
            match client {
                Self::Python(python) => python.run(["-c", include_str!("client.py"), &asked]),
                Self::Node(node) => node.run(&asked),
            }
        };
        let output = spawn_blocking(run).await.unwrap().unwrap();
        let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub async fn call_once(&self, asked: Asked) -> Value {
        self.call(asked).await.remove(0)
    }
}
