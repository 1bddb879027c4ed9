//! Timestamped events of the fleet, to be compared with samples and with the logs of apps.

use serde::{Deserialize, Serialize};

use super::published_state::StateChange;
use super::script::{DatabaseAction, ScriptAction};

/// Who it happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It was requested.
    Asked,
    /// A database completed it.
    Did,
    /// The API reports it from now on.
    Api,
    /// The name server answers it from now on.
    Dns,
    /// A database failed to do it.
    Failed,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetEvent {
    /// Milliseconds since 1970.
    pub at: i64,
    /// The cluster.
    pub cluster: String,
    /// Who.
    pub kind: EventKind,
    /// What: `failover`, `promoted`, `writer`, …
    pub what: String,
    /// The instance, if it is about one.
    pub instance: Option<String>,
}

/// Now, as events and samples count time.
#[must_use]
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl FleetEvent {
    /// A request.
    #[must_use]
    pub fn asked(cluster: &str, what: &str, instance: Option<&str>) -> Self {
        Self::noted(cluster, EventKind::Asked, what, instance)
    }

    /// A step that was executed or published.
    #[must_use]
    pub fn step(cluster: &str, what: &ScriptAction) -> Self {
        match what {
            ScriptAction::Do(act) => {
                let (verb, instance) = act.describe();
                Self::noted(cluster, EventKind::Did, verb, Some(instance))
            }
            ScriptAction::Say(word) => Self::from_change(cluster, word),
        }
    }

    /// A step that failed.
    #[must_use]
    pub fn failed(cluster: &str, act: &DatabaseAction, error: &anyhow::Error) -> Self {
        let (verb, instance) = act.describe();
        let what = format!("{verb}: {error:#}");
        Self::noted(cluster, EventKind::Failed, &what, Some(instance))
    }

    fn from_change(cluster: &str, word: &StateChange) -> Self {
        let (kind, what, instance) = match word {
            StateChange::Status(status) => (EventKind::Api, *status, None),
            StateChange::Writer(name) => (EventKind::Api, "writer", Some(name)),
            StateChange::Instance(name, status) => (EventKind::Api, *status, Some(name)),
            StateChange::Endpoint(name, _) => (EventKind::Dns, "endpoint", Some(name)),
            StateChange::Unlisted(name) => (EventKind::Api, "unlisted", Some(name)),
            StateChange::DnsWriter(name) => (EventKind::Dns, "writer", Some(name)),
            StateChange::DnsReader(name, true) => (EventKind::Dns, "reader-in", Some(name)),
            StateChange::DnsReader(name, false) => (EventKind::Dns, "reader-out", Some(name)),
            StateChange::DnsGone(name) => (EventKind::Dns, "endpoint-gone", Some(name)),
        };
        Self::noted(cluster, kind, what, instance.map(String::as_str))
    }

    /// Any other.
    #[must_use]
    pub fn noted(cluster: &str, kind: EventKind, what: &str, instance: Option<&str>) -> Self {
        Self {
            at: now_millis(),
            cluster: cluster.to_owned(),
            kind,
            what: what.to_owned(),
            instance: instance.map(str::to_owned),
        }
    }
}
