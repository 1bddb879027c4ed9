//! Timelines: the duration of each step of Aurora, from data files in which every figure has its source beside it.
//!
//! Only offsets; the order of steps is in [`super::script`]. Each cluster selects a profile by name. A file with a
//! missing figure does not load.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// The files, built in: a profile is part of the testbed's version.
const FILES: [(&str, &str); 2] = [
    ("realistic", include_str!("timelines/realistic.json")),
    ("quick", include_str!("timelines/quick.json")),
];

/// The profile where nothing says another.
pub const DEFAULT: &str = "realistic";

/// One figure with its origin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcedDelay {
    /// Seconds after the start of what it belongs to.
    pub seconds: f64,
    /// Where it is from; "no public figure" where there is none.
    pub source: String,
}

impl SourcedDelay {
    /// As a duration; figures are never negative, [`TimingProfile::named`] checks that.
    #[must_use]
    pub fn after(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

/// All of a profile.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimingProfile {
    /// Its name.
    pub profile: String,
    /// What it is for.
    pub why: String,
    /// `CreateDBInstance`.
    pub create: CreateTimings,
    /// `DeleteDBInstance`.
    pub delete: DeleteTimings,
    /// `FailoverDBCluster`.
    pub failover: FailoverTimings,
    /// The writer's record going new → old → new, counted from its first change.
    pub flicker: FlickerTimings,
    /// `RebootDBInstance`.
    pub reboot: RebootTimings,
    /// A process that died.
    pub crash: CrashTimings,
}

/// From the call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTimings {
    /// `available`, with an endpoint and its own address record.
    pub available: SourcedDelay,
    /// In the reader endpoint, counted from `available`.
    pub dns: SourcedDelay,
}

/// From the call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteTimings {
    /// Out of the reader endpoint.
    pub dns: SourcedDelay,
    /// Its process ends, with all connections.
    pub killed: SourcedDelay,
    /// Not listed any more.
    pub unlisted: SourcedDelay,
}

/// From the call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FailoverTimings {
    /// The cluster is `failing-over`.
    pub status: SourcedDelay,
    /// The old writer stops, with all connections.
    pub cut: SourcedDelay,
    /// The target restarts, and is promoted.
    pub promoted: SourcedDelay,
    /// The old writer serves as a reader at its old address.
    pub rejoined: SourcedDelay,
    /// `IsClusterWriter` moves.
    pub api: SourcedDelay,
    /// The cluster endpoint moves.
    pub dns_writer: SourcedDelay,
    /// The cluster is `available`.
    pub available: SourcedDelay,
    /// The reader endpoint swaps target and old writer.
    pub dns_readers: SourcedDelay,
}

/// From the first change of the writer's record.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlickerTimings {
    /// The old answer again.
    pub back: SourcedDelay,
    /// The new one, for good.
    pub again: SourcedDelay,
}

/// From the call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebootTimings {
    /// The process restarts.
    pub restart: SourcedDelay,
    /// `available`.
    pub available: SourcedDelay,
}

/// From the death.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashTimings {
    /// A writer's: the failover starts.
    pub noticed: SourcedDelay,
    /// Another's, or without a reader: it runs again.
    pub restarted: SourcedDelay,
}

impl TimingProfile {
    /// The names there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// The profile of this name.
    pub fn named(name: &str) -> Result<Self> {
        let Some((_, text)) = FILES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = Self::names().collect();
            bail!("unknown profile {name}; known are: {}", known.join(", "));
        };
        let profile: Self = serde_json::from_str(text)
            .with_context(|| format!("the timeline {name} is not readable"))?;
        Ok(profile)
    }
}

#[cfg(test)]
mod tests;
