//! Decides which readers a user's request drains, and refuses a request that would do harm.
//!
//! A drained reader has no weight: its connections leave, and it receives none. Nothing is emptied that the others cannot
//! take.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::topology::{InstanceId, Topology};
use crate::weights::{ReaderWeights, WeightsNote};

/// How many instances a request may name: all members of a cluster.
const MAX_INSTANCES: usize = 16;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainRefusal {
    /// It names no instances, or too many.
    Unreadable(String),
    /// It names the writer.
    Writer(InstanceId),
    /// No reader would be left that has a weight.
    NoReaderLeft,
    /// The rest cannot take the connections.
    NoRoom {
        /// The first reader that cannot.
        instance: InstanceId,
        /// What it would have to hold.
        needs: u64,
        /// What it may hold.
        has: u64,
    },
}

impl DrainRefusal {
    /// Returns the reason in one word.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "InvalidAnnotation",
            Self::Writer(_) => "IsWriter",
            Self::NoReaderLeft => "NoReaderWithWeight",
            Self::NoRoom { .. } => "NoRoom",
        }
    }
}

impl fmt::Display for DrainRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => write!(
                f,
                "the annotation dbbalance.io/drain is {text:?}: it must name 1 to {MAX_INSTANCES} instances, separated by commas"
            ),
            Self::Writer(instance) => write!(
                f,
                "{instance} is the writer, and only readers are drained: fail over first"
            ),
            Self::NoReaderLeft => f.write_str(
                "no reader with a weight would be left: add a reader, or give another one a weight",
            ),
            Self::NoRoom {
                instance,
                needs,
                has,
            } => write!(
                f,
                "the other readers cannot take the connections: {instance} needs {needs}, has {has}"
            ),
        }
    }
}

/// Parses the names of a request.
///
/// # Errors
/// If there are none, too many, or one that cannot be an instance's.
pub fn parse_drain(text: &str) -> Result<Vec<InstanceId>, DrainRefusal> {
    let names: BTreeSet<&str> = text.split(',').map(str::trim).collect();
    let is_name = |name: &&str| {
        let mut letters = name.chars();
        letters.next().is_some_and(|c| c.is_ascii_lowercase())
            && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && name.len() <= 63
    };
    if names.len() > MAX_INSTANCES || !names.iter().all(is_name) {
        let shown: String = text.chars().take(64).collect();
        return Err(DrainRefusal::Unreadable(shown));
    }
    let names = names.into_iter().map(|name| InstanceId(name.to_owned()));
    Ok(names.collect())
}

/// What the readers that stay would have to take.
#[derive(Clone, Copy, Debug)]
pub struct DrainLoad<'a> {
    /// All connections to readers, of all policies of the cluster.
    pub connections: u64,
    /// What each instance may hold, by the budget; an instance without a known limit is not judged.
    pub budgets: &'a BTreeMap<InstanceId, u64>,
}

/// Checks a request; `weights` are those with the named readers drained. Returns the named instances that are readers:
/// the others are not listed, or no more, and there is nothing to drain.
///
/// # Errors
/// Why it is refused as a whole.
pub fn check_drain(
    names: &[InstanceId],
    topology: &Topology,
    weights: &ReaderWeights,
    load: DrainLoad<'_>,
) -> Result<Vec<InstanceId>, DrainRefusal> {
    if let Some(writer) = names.iter().find(|n| **n == topology.writer.instance) {
        return Err(DrainRefusal::Writer(writer.clone()));
    }
    let readers = || topology.readers.iter().map(|r| &r.instance);
    let drained: Vec<InstanceId> = readers().filter(|r| names.contains(r)).cloned().collect();
    if drained.is_empty() {
        return Ok(drained);
    }
    let staying: Vec<(&InstanceId, u64)> = readers()
        .filter(|r| !drained.contains(r))
        .map(|r| (r, u64::from(weights.weight(r))))
        .collect();
    let sum: u64 = staying.iter().map(|(_, weight)| weight).sum();
    // Where every reader has weight 0, none of the weights counts.
    if sum == 0 || weights.note == Some(WeightsNote::NoReaderLeft) {
        return Err(DrainRefusal::NoReaderLeft);
    }
    for (instance, weight) in staying {
        let needs = (load.connections * weight).div_ceil(sum);
        let has = load.budgets.get(instance).copied();
        if let Some(has) = has.filter(|has| needs > *has) {
            return Err(DrainRefusal::NoRoom {
                instance: instance.clone(),
                needs,
                has,
            });
        }
    }
    Ok(drained)
}

#[cfg(test)]
mod tests;
