//! What happened, with its time: the line that samples and applications' logs are laid beside.

use serde::{Deserialize, Serialize};

use super::script::{Act, What};
use super::told::Word;

/// Who it happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody asked for it.
    Asked,
    /// A database did it.
    Did,
    /// The API tells it from now.
    Api,
    /// The name server tells it from now.
    Dns,
    /// A database could not do it.
    Failed,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Milliseconds since 1970.
    pub at: i64,
    /// The cluster.
    pub cluster: String,
    /// Who.
    pub kind: Kind,
    /// What: `failover`, `promoted`, `writer`, …
    pub what: String,
    /// The instance, if it is about one.
    pub instance: Option<String>,
}

/// Now, as events and samples count time.
#[must_use]
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl Event {
    /// That somebody asked for something.
    #[must_use]
    pub fn asked(cluster: &str, what: &str, instance: Option<&str>) -> Self {
        Self::noted(cluster, Kind::Asked, what, instance)
    }

    /// That a step has been done or said.
    #[must_use]
    pub fn step(cluster: &str, what: &What) -> Self {
        match what {
            What::Do(act) => {
                let (verb, instance) = act.words();
                Self::noted(cluster, Kind::Did, verb, Some(instance))
            }
            What::Say(word) => Self::word(cluster, word),
        }
    }

    /// That a database could not.
    #[must_use]
    pub fn failed(cluster: &str, act: &Act, error: &anyhow::Error) -> Self {
        let (verb, instance) = act.words();
        let what = format!("{verb}: {error:#}");
        Self::noted(cluster, Kind::Failed, &what, Some(instance))
    }

    fn word(cluster: &str, word: &Word) -> Self {
        let (kind, what, instance) = match word {
            Word::Status(status) => (Kind::Api, *status, None),
            Word::Writer(name) => (Kind::Api, "writer", Some(name)),
            Word::Instance(name, status) => (Kind::Api, *status, Some(name)),
            Word::Endpoint(name, _) => (Kind::Dns, "endpoint", Some(name)),
            Word::Unlisted(name) => (Kind::Api, "unlisted", Some(name)),
            Word::DnsWriter(name) => (Kind::Dns, "writer", Some(name)),
            Word::DnsReader(name, true) => (Kind::Dns, "reader-in", Some(name)),
            Word::DnsReader(name, false) => (Kind::Dns, "reader-out", Some(name)),
            Word::DnsGone(name) => (Kind::Dns, "endpoint-gone", Some(name)),
        };
        Self::noted(cluster, kind, what, instance.map(String::as_str))
    }

    /// Any other.
    #[must_use]
    pub fn noted(cluster: &str, kind: Kind, what: &str, instance: Option<&str>) -> Self {
        Self {
            at: now(),
            cluster: cluster.to_owned(),
            kind,
            what: what.to_owned(),
            instance: instance.map(str::to_owned),
        }
    }
}
