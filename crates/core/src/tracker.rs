//! The state machine of one cluster: which reading counts, and when a change does.
//!
//! Takes whole readings (`aurora::validate` makes them) and an injected `now`, and says what the confirmed
//! topology is. It must not read a clock, judge whether an answer is whole, or know why a reading was made:
//! settling, gates and epochs come after it.

mod reading;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

pub use reading::{ClusterReading, MemberReading};

use super::topology::{ClusterView, Endpoints, InstanceId, MemberId, Topology};
use reading::MemberAvailability;

/// Readings that must agree before a topology counts. Two, as a single answer may come from a replica of the
/// API that lags (docs/adr/0002).
const AGREEING: u32 = 2;

/// Readings that must agree on a topology that was superseded a moment ago: answers from two replicas of the
/// API can alternate, and at random two in a row come soon (docs/adr/0002).
const AGREEING_TO_RESTORE: u32 = 5;

/// How long a superseded topology is a moment ago (docs/adr/0002).
const RECENT: Duration = Duration::from_mins(1);

/// How long a reader must be surely down before it leaves. Less than a minute down is a restart, whose
/// connections the pools notice themselves (docs/adr/0002).
const DOWN_FOR: Duration = Duration::from_mins(1);

/// What one reading did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Observed {
    /// The confirmed topology is another one than before.
    pub changed: bool,
    /// The reading tells of a topology that is not confirmed yet.
    pub unconfirmed: bool,
    /// A member or the cluster is not `available`, or a change is unconfirmed: look again soon.
    pub moving: bool,
}

/// One cluster, as far as its readings have told.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// What the policy's status remembers from before a restart; never reported as observed.
    hint: Option<Topology>,
    confirmed: Option<ClusterView>,
    /// Members that serve, by the last readings: this may be ahead of what is confirmed.
    inside: BTreeSet<MemberId>,
    /// Since when members are surely down without a break.
    down_since: BTreeMap<MemberId, Timestamp>,
    /// The topology that waits for confirmation, and how many readings in a row have told it.
    pending: Option<(Topology, u32)>,
    /// The instance that DNS agrees to be the writer.
    heard: Option<InstanceId>,
    /// Topologies that were confirmed before, with the time when another one took their place.
    superseded: Vec<(Topology, Timestamp)>,
}

impl Tracker {
    /// A tracker that goes on from `hint`, the topology that the policy's status remembers: a member whose
    /// status word decides nothing is in if it was in there. So a restart of the operator changes nothing.
    #[must_use]
    pub fn with_hint(hint: Topology) -> Self {
        Self {
            hint: Some(hint),
            ..Self::default()
        }
    }

    /// Gives a hint to a tracker that has none and has seen nothing yet; else does nothing.
    pub fn set_hint(&mut self, hint: Topology) {
        let blank = self.hint.is_none() && self.pending.is_none() && self.confirmed.is_none();
        if blank && self.inside.is_empty() {
            self.hint = Some(hint);
        }
    }

    /// Takes in which instance DNS agrees to be the writer, as of now: then one reading that says so is enough
    /// (docs/adr/0002).
    pub fn set_dns_writer(&mut self, writer: Option<InstanceId>) {
        self.heard = writer;
    }

    /// Whether DNS confirms the change to this topology: another writer, the one that DNS names, and nobody left.
    /// A removal needs two readings in any case.
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

    /// The confirmed view; none before two readings have agreed.
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
            // No writer says nothing about the topology, but it does break a row of agreeing readings.
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
                // At first sight a listed member counts, as nothing tells otherwise.
                MemberAvailability::Undecided => known.is_none() || was_in(&self.inside, member),
            };
            if stays {
                inside.insert(member.clone());
            }
        }
        self.inside = inside;
        self.down_since = down_since;
    }

    /// What was known of this very cluster before the reading. Another cluster is seen for the first time.
    fn known_topology(&self, reading: &ClusterReading) -> Option<&Topology> {
        self.confirmed
            .as_ref()
            .map(|view| &view.topology)
            .or(self.hint.as_ref())
            .filter(|t| t.arn == reading.arn && t.resource == reading.resource)
    }

    /// The topology that the reading alone would give; none without a writer.
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

    /// Counts the readings that agree, and confirms when they are enough.
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

/// Whether `span` has passed between the two. A clock that was set back has passed nothing.
fn has_passed(span: Duration, since: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).is_ok_and(|passed| passed >= span)
}

/// Facts are no part of a topology: the last answer counts, and what it leaves out stays as it was.
fn refresh_facts(view: &mut ClusterView, reading: &ClusterReading) {
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
        }
        view.facts.insert(member.instance.clone(), known);
    }
}
