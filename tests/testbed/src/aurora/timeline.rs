//! Timelines: how long each step of Aurora takes, from data files in which every figure has its source beside it.
//!
//! Decides no order of steps, only offsets; the steps are in [`super::script`]. A profile is chosen by name for each
//! cluster. Figures are for ever checked to be whole: a file with a missing one does not load.

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
pub struct Figure {
    /// Seconds after the start of what it belongs to.
    pub seconds: f64,
    /// Where it is from; "no public figure" where there is none.
    pub source: String,
}

impl Figure {
    /// As a duration; figures are never negative, [`Profile::named`] sees to that.
    #[must_use]
    pub fn after(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

/// All of a profile.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub profile: String,
    /// What it is for.
    pub why: String,
    /// `CreateDBInstance`.
    pub create: Create,
    /// `DeleteDBInstance`.
    pub delete: Delete,
    /// `FailoverDBCluster`.
    pub failover: Failover,
    /// The writer's record going new → old → new, counted from its first change.
    pub flicker: Flicker,
    /// `RebootDBInstance`.
    pub reboot: Reboot,
    /// A process that died.
    pub crash: Crash,
}

/// From the call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// `available`, with an endpoint and its own address record.
    pub available: Figure,
    /// In the reader endpoint, counted from `available`.
    pub dns: Figure,
}

/// From the call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Out of the reader endpoint.
    pub dns: Figure,
    /// Its process ends, with all connections.
    pub killed: Figure,
    /// Not listed any more.
    pub unlisted: Figure,
}

/// From the call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Failover {
    /// The cluster is `failing-over`.
    pub status: Figure,
    /// The old writer stops, with all connections.
    pub cut: Figure,
    /// The target restarts, and is promoted.
    pub promoted: Figure,
    /// The old writer serves as a reader at its old address.
    pub rejoined: Figure,
    /// `IsClusterWriter` moves.
    pub api: Figure,
    /// The cluster endpoint moves.
    pub dns_writer: Figure,
    /// The cluster is `available`.
    pub available: Figure,
    /// The reader endpoint swaps target and old writer.
    pub dns_readers: Figure,
}

/// From the first change of the writer's record.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flicker {
    /// The old answer again.
    pub back: Figure,
    /// The new one, for good.
    pub again: Figure,
}

/// From the call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    /// The process restarts.
    pub restart: Figure,
    /// `available`.
    pub available: Figure,
}

/// From the death.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// A writer's: the failover starts.
    pub noticed: Figure,
    /// Another's, or without a reader: it runs again.
    pub restarted: Figure,
}

impl Profile {
    /// The names there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// The profile of this name.
    pub fn named(name: &str) -> Result<Self> {
        let Some((_, text)) = FILES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = Self::names().collect();
            bail!(
                "there is no profile {name}; there are: {}",
                known.join(", ")
            );
        };
        let profile: Self = serde_json::from_str(text)
            .with_context(|| format!("the timeline {name} is not readable"))?;
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn figures(value: &Value, path: &str, into: &mut Vec<(String, f64, String)>) {
        let Some(object) = value.as_object() else {
            return;
        };
        if let (Some(seconds), Some(source)) = (object.get("seconds"), object.get("source")) {
            into.push((
                path.to_owned(),
                seconds.as_f64().unwrap(),
                source.as_str().unwrap().to_owned(),
            ));
        }
        for (key, child) in object {
            figures(child, &format!("{path}.{key}"), into);
        }
    }

    #[test]
    fn every_profile_loads_and_every_figure_has_its_source() {
        for (name, text) in FILES {
            assert_eq!(Profile::named(name).unwrap().profile, name);
            let mut found = Vec::new();
            figures(&serde_json::from_str(text).unwrap(), name, &mut found);
            assert_eq!(found.len(), 19, "{name}");
            for (path, seconds, source) in found {
                assert!(seconds >= 0.0, "{path}");
                assert!(source.len() > 10, "{path} has no source");
            }
        }
        assert!(
            Profile::named("none")
                .unwrap_err()
                .to_string()
                .contains("quick")
        );
    }

    #[test]
    fn the_order_of_a_failover_is_the_same_in_every_profile() {
        for name in Profile::names() {
            let told = Profile::named(name).unwrap().failover;
            let order = [
                &told.status,
                &told.cut,
                &told.promoted,
                &told.rejoined,
                &told.api,
                &told.dns_writer,
                &told.available,
                &told.dns_readers,
            ];
            assert!(
                order
                    .windows(2)
                    .all(|pair| pair[0].seconds < pair[1].seconds),
                "{name}"
            );
        }
    }
}
