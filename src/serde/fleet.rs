use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, Serializer};

use crate::{
    fleet::{FleetView, ReplicaRow},
    outcome::Reason,
    view::{Cause, State},
};

/// Incremented with every change that an older reader would misunderstand.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    replica: &'a str,
    connected: bool,
    error: Option<&'a Reason>,
    windows: Vec<Window<'a>>,
    replicas: BTreeMap<&'a str, Vec<Row<'a>>>,
}

#[derive(Serialize)]
struct Window<'a> {
    provider: &'a str,
    cause: Cause,
    remaining_seconds: f64,
    /// The label: the store holds no more of a reason.
    reason: &'a str,
}

#[derive(Serialize)]
struct Row<'a> {
    provider: &'a str,
    state: State,
    cause: Option<Cause>,
}

impl Serialize for FleetView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let windows = self.windows.iter().map(|(provider, window)| Window {
            provider,
            cause: window.cause,
            remaining_seconds: window.remaining.as_secs_f64(),
            reason: window.reason.label(),
        });
        let replicas = self.replicas.iter().map(rows);
        let document = Document {
            version: VERSION,
            replica: &self.replica,
            connected: self.connected,
            error: self.error.as_ref(),
            windows: windows.collect(),
            replicas: replicas.collect(),
        };
        document.serialize(serializer)
    }
}

fn rows<'a>((replica, rows): (&'a Arc<str>, &'a Vec<ReplicaRow>)) -> (&'a str, Vec<Row<'a>>) {
    let rows = rows.iter().map(|row| Row {
        provider: &row.provider,
        state: row.state,
        cause: row.cause,
    });
    (replica, rows.collect())
}
