//! Schedules the reads of the probe: the last reading of each pod, and which read is next.
//!
//! Times are arguments. Requested reads come first, but heartbeats keep a share. Half of the requested reads are those of
//! one target, for a whole round. Within the rest, namespaces take turns, then policies, then what is due longest comes
//! first.

mod bounds;
mod turns;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use bounds::KeptSockets;
use dbbalance_core::evidence::{
    Measured, PodMeasurement, PodReading, Socket, Unreadable, date_sockets,
};
use dbbalance_core::hash::StableHash;
use dbbalance_kube::sockets::PodToRead;
use turns::{ReadTurn, ReadTurns};

/// The time after which a requested read is repeated if it failed for a temporary reason.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// How long a pod is not read again whose read failed for a reason that lasts, at first and at most. The time doubles with
/// each failure: a right or a sidecar is granted within minutes, and until then each attempt is a waste.
pub(super) const LASTING_BACKOFF: (Duration, Duration) =
    (Duration::from_mins(1), Duration::from_mins(5));

/// How much the heartbeat of a policy differs from the configured one, so that policies do not synchronize.
const JITTER_PERCENT: u32 = 10;

/// A target of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey {
    /// The policy's namespace.
    pub namespace: String,
    /// The policy's name.
    pub policy: String,
    /// The policy's UID.
    pub uid: String,
    /// The target's name.
    pub target: String,
}

/// The maximum age of readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// The interval of heartbeats.
    Heartbeat,
    /// Each reading must have started at this time or later. A future time is waited for. A read that fails for a
    /// temporary reason is repeated.
    Since(Timestamp),
}

/// The interval of heartbeats, and the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatPace {
    /// Pods that are measured, over all policies.
    pub pods: usize,
    /// The time between two rounds of a target: the configured one, or longer if there are too many pods for the allowed
    /// rate.
    pub heartbeat: Duration,
    /// Whether it is longer than configured.
    pub slowed: bool,
}

/// Why a pod is read, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReadCause {
    Wanted,
    Heartbeat,
}

/// When a pod is to be read, and why.
type Due = (ReadCause, Instant);

struct PodSlot {
    pod: PodToRead,
    max_age: MaxAge,
    last: Option<PodMeasurement>,
    due: Option<Due>,
    /// When the read in progress started.
    reading: Option<Timestamp>,
    /// Reads in a row that failed for a reason that lasts, and when the next one may start.
    failures: u32,
    not_before: Option<Instant>,
}

struct ProbedTarget {
    pods: BTreeMap<String, PodSlot>,
    /// Since when there have been pods to read.
    since: Option<Timestamp>,
    next_round: Instant,
    /// A reading has not been reported to listeners yet.
    unreported: bool,
}

/// A read that has started.
#[derive(Clone, Debug)]
pub(super) struct ScheduledRead {
    pub key: TargetKey,
    pub pod: PodToRead,
    pub at: Timestamp,
    /// It is a heartbeat.
    pub background: bool,
}

/// When the next read is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextRead {
    /// A read may start now.
    Now,
    /// At this time.
    At(Instant),
    /// After the next request or finished read.
    Idle,
}

pub(super) struct ReadSchedule {
    heartbeat: Duration,
    /// The most heartbeat reads a second.
    background_rate: u32,
    background_slots: usize,
    background: usize,
    turns: ReadTurns,
    targets: HashMap<TargetKey, ProbedTarget>,
}

impl ReadSchedule {
    /// Returns an empty schedule. At most `background_slots` reads at once are heartbeats, and `namespace_slots` of one
    /// namespace.
    pub(super) fn new(
        heartbeat: Duration,
        background_rate: u32,
        background_slots: usize,
        namespace_slots: usize,
    ) -> Self {
        Self {
            heartbeat,
            background_rate,
            background_slots,
            background: 0,
            turns: ReadTurns::new(namespace_slots),
            targets: HashMap::new(),
        }
    }

    pub(super) fn pace(&self) -> HeartbeatPace {
        let pods: usize = self.targets.values().map(|t| t.pods.len()).sum();
        let count = u32::try_from(pods).unwrap_or(u32::MAX);
        let least = Duration::from_secs(1).saturating_mul(count) / self.background_rate;
        HeartbeatPace {
            pods,
            heartbeat: self.heartbeat.max(least),
            slowed: least > self.heartbeat,
        }
    }

    pub(super) fn set_pods(
        &mut self,
        key: &TargetKey,
        pods: Vec<(PodToRead, MaxAge)>,
        wall: Timestamp,
        now: Instant,
    ) {
        let first_round = now + jittered_heartbeat(key, self.pace().heartbeat);
        let target = self
            .targets
            .entry(key.clone())
            .or_insert_with(|| ProbedTarget {
                pods: BTreeMap::new(),
                since: None,
                next_round: first_round,
                unreported: false,
            });
        let mut kept = BTreeMap::new();
        target.since = if pods.is_empty() {
            None
        } else {
            target.since.or(Some(wall))
        };
        for (pod, freshness) in pods {
            let mut slot = match target.pods.remove(&pod.uid) {
                Some(slot) if slot.pod == pod => slot,
                // Another port or container: readings of the old one do not count.
                _ => PodSlot {
                    pod,
                    max_age: freshness,
                    last: None,
                    due: None,
                    reading: None,
                    failures: 0,
                    not_before: None,
                },
            };
            slot.record_refusal(wall);
            slot.max_age = freshness;
            slot.update_due(wall, now);
            kept.insert(slot.pod.uid.clone(), slot);
        }
        // Reads in progress of dropped pods still count against the limit.
        target.pods = kept;
    }

    pub(super) fn measured(&self, key: &TargetKey) -> Measured {
        let pods = self.targets.get(key).into_iter().flat_map(|t| &t.pods);
        Measured {
            pods: pods
                .filter_map(|(uid, slot)| Some((uid.clone(), slot.last.clone()?)))
                .collect(),
        }
    }

    pub(super) fn requested_since(&self, key: &TargetKey) -> Option<Timestamp> {
        self.targets.get(key)?.since
    }

    pub(super) fn is_quiet(&self, key: &TargetKey, now: Instant) -> bool {
        self.targets.get(key).is_none_or(|t| t.is_quiet(now))
    }

    pub(super) fn retain(&mut self, keys: &HashSet<TargetKey>) {
        self.targets.retain(|key, _| keys.contains(key));
        let uids: HashSet<&str> = keys.iter().map(|k| k.uid.as_str()).collect();
        self.turns.retain(|uid| uids.contains(uid));
    }

    /// Starts due rounds, and returns when the next read is due.
    pub(super) fn next_read(&mut self, now: Instant) -> NextRead {
        self.start_rounds(now);
        let mut soonest: Option<Instant> = None;
        let full = self.background >= self.background_slots;
        for (key, target) in &self.targets {
            if !target.pods.is_empty() {
                soonest = Some(earlier_of(soonest, target.next_round));
            }
            let waiting = target.pods.values().filter(|s| s.reading.is_none());
            for (cause, at) in waiting.filter_map(|s| s.due) {
                // A read that ends asks again.
                if (cause == ReadCause::Heartbeat && full) || !self.turns.has_slot(key, cause) {
                    continue;
                }
                if at <= now {
                    return NextRead::Now;
                }
                soonest = Some(earlier_of(soonest, at));
            }
        }
        soonest.map_or(NextRead::Idle, NextRead::At)
    }

    fn start_rounds(&mut self, now: Instant) {
        let heartbeat = self.pace().heartbeat;
        for (key, target) in &mut self.targets {
            if target.next_round > now {
                continue;
            }
            target.next_round = now + jittered_heartbeat(key, heartbeat);
            for slot in target.pods.values_mut() {
                let may = slot.not_before.is_none_or(|at| at <= now);
                let is_idle = slot.due.is_none() && slot.reading.is_none() && may;
                if is_idle && slot.pod.refused.is_none() {
                    slot.due = Some((ReadCause::Heartbeat, now));
                }
            }
        }
    }

    /// Returns the read whose turn it is, if one may start now.
    pub(super) fn take_read(&mut self, wall: Timestamp, now: Instant) -> Option<ScheduledRead> {
        let due = self.targets.iter().filter(|(_, t)| t.has_wanted(now));
        self.turns
            .pass_round(due.map(|(key, target)| (key, target.pods.len())));
        let full = self.background >= self.background_slots;
        let mut best: Option<(ReadTurn, TargetKey, String)> = None;
        for (key, target) in &self.targets {
            let waiting = target.pods.iter().filter(|(_, s)| s.reading.is_none());
            let due = waiting.filter_map(|(uid, s)| Some((s.due?, uid)));
            let may = |(cause, at): Due| {
                let is_held = cause == ReadCause::Heartbeat && full;
                at <= now && !is_held && self.turns.has_slot(key, cause)
            };
            let Some((due, uid)) = due.filter(|(due, _)| may(*due)).min() else {
                continue;
            };
            let turn = self.turns.turn_of(key, due.0, due.1);
            if best.as_ref().is_none_or(|(other, _, _)| turn < *other) {
                best = Some((turn, key.clone(), uid.clone()));
            }
        }
        let (_, key, uid) = best?;
        let slot = self.targets.get_mut(&key)?.pods.get_mut(&uid)?;
        let (cause, _) = slot.due.take()?;
        slot.reading = Some(wall);
        let background = cause == ReadCause::Heartbeat;
        self.background += usize::from(background);
        self.turns.take(&key, cause);
        Some(ScheduledRead {
            key,
            pod: slot.pod.clone(),
            at: wall,
            background,
        })
    }

    /// Records the result of a read. Returns true if it was the last one of its round.
    pub(super) fn finish_read(
        &mut self,
        read: &ScheduledRead,
        result: Result<Vec<Socket>, Unreadable>,
        now: Instant,
    ) -> bool {
        self.background -= usize::from(read.background);
        self.turns.finish(&read.key);
        let result = result.and_then(|sockets| {
            let kept = KeptSockets::count(&self.targets, &read.key.namespace, &read.pod.uid);
            kept.admit(&read.pod, sockets)
        });
        let Some(target) = self.targets.get_mut(&read.key) else {
            return false;
        };
        if let Some(slot) = target.pods.get_mut(&read.pod.uid)
            && slot.pod == read.pod
        {
            slot.reading = None;
            slot.record_result(read.at, result, now);
            target.unreported = true;
        }
        let ended = target.unreported && target.is_quiet(now);
        target.unreported &= !ended;
        ended
    }
}

impl ProbedTarget {
    /// Whether a requested read is due.
    fn has_wanted(&self, now: Instant) -> bool {
        let mut waiting = self.pods.values().filter(|s| s.reading.is_none());
        waiting.any(|s| matches!(s.due, Some((ReadCause::Wanted, at)) if at <= now))
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.pods
            .values()
            .all(|s| s.reading.is_none() && s.due.is_none_or(|(_, at)| at > now))
    }
}

impl PodSlot {
    fn update_due(&mut self, wall: Timestamp, now: Instant) {
        if self.pod.refused.is_some() {
            self.due = None;
            return;
        }
        match self.max_age {
            MaxAge::Heartbeat => {
                let idle = self.last.is_none() && self.reading.is_none();
                match self.due {
                    // The read is not requested any more.
                    Some((ReadCause::Wanted, _)) => {
                        self.due = idle.then_some((ReadCause::Heartbeat, now));
                    }
                    None if idle => self.due = Some((ReadCause::Heartbeat, now)),
                    _ => {}
                }
            }
            MaxAge::Since(since) => {
                let enough = |at: Timestamp| at >= since;
                let is_there = self.last.as_ref().is_some_and(|l| enough(l.at()));
                if is_there || self.reading.is_some_and(enough) {
                    return;
                }
                let wait = since.duration_since(wall);
                let at = now + Duration::try_from(wait).unwrap_or_default();
                let at = self.not_before.map_or(at, |earliest| at.max(earliest));
                self.due = match self.due {
                    Some((ReadCause::Wanted, before)) if before <= now => self.due,
                    _ => Some((ReadCause::Wanted, at)),
                };
            }
        }
    }

    /// Records at once why a pod cannot be read, if that is known without a read.
    fn record_refusal(&mut self, wall: Timestamp) {
        if let Some(why) = &self.pod.refused {
            self.last = Some(PodMeasurement::Unreadable {
                at: wall,
                why: why.clone(),
            });
        }
    }

    fn record_result(
        &mut self,
        at: Timestamp,
        result: Result<Vec<Socket>, Unreadable>,
        now: Instant,
    ) {
        self.not_before = None;
        self.last = Some(match result {
            Ok(mut sockets) => {
                self.failures = 0;
                if let Some(former) = self.last.as_ref().and_then(PodMeasurement::reading) {
                    date_sockets(&mut sockets, former);
                }
                PodMeasurement::Read(PodReading {
                    at,
                    sockets: sockets.into(),
                })
            }
            Err(why) if why.reason.is_structural() => {
                self.failures = self.failures.saturating_add(1);
                let (first, most) = LASTING_BACKOFF;
                let wait = first.saturating_mul(1 << (self.failures - 1).min(8));
                self.not_before = Some(now + wait.min(most));
                PodMeasurement::Unreadable { at, why }
            }
            Err(why) => {
                let requested = matches!(self.max_age, MaxAge::Since(_));
                if requested && self.due.is_none() {
                    self.due = Some((ReadCause::Wanted, now + RETRY));
                }
                PodMeasurement::Unreadable { at, why }
            }
        });
    }
}

fn earlier_of(soonest: Option<Instant>, other: Instant) -> Instant {
    soonest.map_or(other, |s| s.min(other))
}

/// Returns the heartbeat of a target: the configured one plus or minus a jitter, which is constant for a policy.
fn jittered_heartbeat(key: &TargetKey, heartbeat: Duration) -> Duration {
    let hash = StableHash::from_texts([key.uid.as_str()]).value();
    let spread = u64::from(2 * JITTER_PERCENT + 1);
    let percent = 100 - JITTER_PERCENT + u32::try_from(hash % spread).unwrap_or(0);
    heartbeat.saturating_mul(percent) / 100
}
