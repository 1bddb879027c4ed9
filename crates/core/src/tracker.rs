//! Tracks one cluster: decides which readings count, and when a change is confirmed.
//!
//! Takes validated readings and an injected `now`. It does not read a clock, does not validate answers, and does not
//! know why a reading was made. Settling, gates and epochs come after it.

mod reading;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

pub use reading::{ClusterReading, MemberReading};

use super::topology::{ClusterView, Endpoints, InstanceId, MemberId, Topology};
use reading::MemberAvailability;

/// Readings that must agree before a topology is confirmed. Two, because a single answer may come from a replica of
/// the API that lags (docs/adr/0002).
const AGREEING: u32 = 2;

/// Readings that must agree on a topology that was superseded recently. Answers from two replicas of the API can
/// alternate, and two in a row from the stale one are likely (docs/adr/0002).
const AGREEING_TO_RESTORE: u32 = 5;

/// How long a superseded topology counts as recent (docs/adr/0002).
const RECENT: Duration = Duration::from_mins(1);

/// How long a reader must be down before it is removed. Less than a minute is a restart, whose broken connections the
/// pools notice themselves (docs/adr/0002).
const DOWN_FOR: Duration = Duration::from_mins(1);

/// The effect of one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Observed {
    /// Whether the confirmed topology has changed.
    pub changed: bool,
    /// Whether the reading shows a topology that is not confirmed yet.
    pub unconfirmed: bool,
    /// Whether a member or the cluster is not `available`, or a change is unconfirmed: the next reading should come
    /// soon.
    pub moving: bool,
}

/// The state of one cluster, as far as readings have shown it.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// The topology that the policy's status remembers from before a restart; never reported as observed.
    hint: Option<Topology>,
    confirmed: Option<ClusterView>,
    /// Members that serve, by the last readings. This may be ahead of the confirmed topology.
    inside: BTreeSet<MemberId>,
    /// Since when each down member has been down without a break.
    down_since: BTreeMap<MemberId, Timestamp>,
    /// The topology that waits for confirmation, and how many consecutive readings have shown it.
    pending: Option<(Topology, u32)>,
    /// The instance that the DNS samples agree on as the writer.
    heard: Option<InstanceId>,
    /// Topologies that were confirmed before, each with the time at which another replaced it.
    superseded: Vec<(Topology, Timestamp)>,
}

impl Tracker {
    /// Creates a tracker that continues from `hint`, the topology that the policy's status remembers: a member with
    /// an inconclusive status word counts if it is part of the hint. So a restart of the operator changes nothing.
    #[must_use]
    pub fn with_hint(hint: Topology) -> Self {
        Self {
            hint: Some(hint),
            ..Self::default()
        }
    }

    /// Sets the hint of a tracker that has none and has seen no reading; otherwise does nothing.
    pub fn set_hint(&mut self, hint: Topology) {
        let blank = self.hint.is_none() && self.pending.is_none() && self.confirmed.is_none();
        if blank && self.inside.is_empty() {
            self.hint = Some(hint);
        }
    }

    /// Sets the instance that DNS agrees on as the writer now. One reading that shows the same writer is then enough
    /// (docs/adr/0002).
    pub fn set_dns_writer(&mut self, writer: Option<InstanceId>) {
        self.heard = writer;
    }

    /// Forgets since when members have been down: the cluster is not observed, so nobody knows whether they were down
    /// meanwhile. A member that is down at the next reading has its minute again.
    pub fn interrupt(&mut self) {
        self.down_since.clear();
    }

    /// Returns whether DNS confirms the change to this topology: it has another writer, the one that DNS names, and
    /// no member was removed. A removal always needs two readings.
    fn is_confirmed_by_dns(&self, candidate: &Topology) -> bool {
        let Some(view) = &self.confirmed else {
            return false;
        };
        let old = &view.topology;
        let stays = |m: &MemberId| candidate.members().any(|(c, _)| c == m);
        old.resource == candidate.resource
            && old.arn == candidate.arn
            && old.writer != candidate.writer
            && self.heard.as_ref() == Some(&candidate.writer.instance)
            && old.members().all(|(m, _)| stays(m))
    }

    /// Returns the confirmed view; `None` before two readings have agreed.
    #[must_use]
    pub fn view(&self) -> Option<&ClusterView> {
        self.confirmed.as_ref()
    }

    /// Takes in a whole reading made at `now`.
    pub fn observe(&mut self, reading: &ClusterReading, now: Timestamp) -> Observed {
        self.judge_members(reading, now);
        let changed = if let Some(candidate) = self.candidate_topology(reading) {
            self.confirm_if_agreed(candidate, reading, now)
        } else {
            // A reading without a writer says nothing about the topology, but it breaks a series of agreeing
            // readings.
            self.pending = None;
            false
        };
        if let Some(view) = &mut self.confirmed {
            refresh_facts(view, reading);
        }
        let unconfirmed = self.pending.is_some();
        Observed {
            changed,
            unconfirmed,
            moving: unconfirmed || reading.is_restless(),
        }
    }

    /// Decides for each listed member whether it serves.
    fn judge_members(&mut self, reading: &ClusterReading, now: Timestamp) {
        let known = self.known_topology(reading).cloned();
        let was_in = |inside: &BTreeSet<MemberId>, member: &MemberId| {
            inside.contains(member)
                || known
                    .as_ref()
                    .is_some_and(|t| t.members().any(|(m, _)| m == member))
        };
        let mut inside = BTreeSet::new();
        let mut down_since = BTreeMap::new();
        for (member, facts) in &reading.members {
            let stays = match facts.availability() {
                MemberAvailability::Serves => true,
                MemberAvailability::Leaves => false,
                MemberAvailability::Down => {
                    let since = self.down_since.get(member).copied().unwrap_or(now);
                    down_since.insert(member.clone(), since);
                    was_in(&self.inside, member) && !has_passed(DOWN_FOR, since, now)
                }
                // A listed member counts when it is first seen, because nothing contradicts it.
                MemberAvailability::Undecided => known.is_none() || was_in(&self.inside, member),
            };
            if stays {
                inside.insert(member.clone());
            }
        }
        self.inside = inside;
        self.down_since = down_since;
    }

    /// Returns what was known of this cluster before the reading; `None` if the reading shows another cluster.
    fn known_topology(&self, reading: &ClusterReading) -> Option<&Topology> {
        self.confirmed
            .as_ref()
            .map(|view| &view.topology)
            .or(self.hint.as_ref())
            .filter(|t| t.arn == reading.arn && t.resource == reading.resource)
    }

    /// Returns the topology that the reading alone shows; `None` without a writer.
    fn candidate_topology(&self, reading: &ClusterReading) -> Option<Topology> {
        let writer = reading
            .writer
            .as_ref()
            .filter(|w| reading.members.contains_key(w))?;
        Some(Topology {
            arn: reading.arn.clone(),
            resource: reading.resource.clone(),
            writer: writer.clone(),
            readers: self
                .inside
                .iter()
                .filter(|member| *member != writer)
                .cloned()
                .collect(),
        })
    }

    /// Counts the readings that agree, and confirms the topology when they are enough.
    fn confirm_if_agreed(
        &mut self,
        candidate: Topology,
        reading: &ClusterReading,
        now: Timestamp,
    ) -> bool {
        self.superseded
            .retain(|(_, at)| !has_passed(RECENT, *at, now));
        if self
            .confirmed
            .as_ref()
            .is_some_and(|view| view.topology == candidate)
        {
            self.pending = None;
            return false;
        }
        let agreeing = match self.pending.take() {
            Some((pending, count)) if pending == candidate => count + 1,
            _ => 1,
        };
        let restores = self.superseded.iter().any(|(old, _)| *old == candidate);
        let needed = if restores {
            AGREEING_TO_RESTORE
        } else if self.is_confirmed_by_dns(&candidate) {
            1
        } else {
            AGREEING
        };
        if agreeing < needed {
            self.pending = Some((candidate, agreeing));
            return false;
        }
        let view = ClusterView {
            topology: candidate,
            engine: reading.engine.clone(),
            endpoints: Endpoints::default(),
            facts: BTreeMap::new(),
            leaving: BTreeSet::new(),
        };
        if let Some(mut old) = self.confirmed.replace(view) {
            if let Some(view) = &mut self.confirmed {
                view.facts = std::mem::take(&mut old.facts);
                view.endpoints = std::mem::take(&mut old.endpoints);
            }
            self.superseded.push((old.topology, now));
        }
        true
    }
}

/// Returns whether `span` has passed between the two times. If the clock was set back, it has not.
fn has_passed(span: Duration, since: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).is_ok_and(|passed| passed >= span)
}

/// Updates facts that are not part of the topology: the last answer counts, and what it leaves out stays as it was.
fn refresh_facts(view: &mut ClusterView, reading: &ClusterReading) {
    view.leaving = reading.find_leaving();
    let (known, read) = (&mut view.endpoints, &reading.endpoints);
    for (known, read) in [
        (&mut known.writer, &read.writer),
        (&mut known.reader, &read.reader),
    ] {
        if read.is_some() {
            known.clone_from(read);
        }
    }
    known.port = read.port.or(known.port);
    let mut facts = std::mem::take(&mut view.facts);
    for (member, _) in view.topology.members() {
        let mut known = facts.remove(&member.instance).unwrap_or_default();
        if let Some(read) = reading.members.get(member) {
            known.class = read.class.clone().or(known.class);
            known.endpoint = read.endpoint.clone().or(known.endpoint);
            known.serverless = read.serverless.or(known.serverless);
        }
        let read = reading.members.get(member);
        known.is_available = read.is_some_and(MemberReading::is_available);
        view.facts.insert(member.instance.clone(), known);
    }
}
