//! The probe's book: what was read of which pod, and which read is next.
//!
//! Takes the time as an argument and waits for nothing. Reads that somebody waits for come first, heartbeats after them
//! in the order of their age.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use dbbalance_core::evidence::{Measured, PodMeasurement, PodReading, Socket, Unreadable};
use dbbalance_core::hash::StableHash;
use dbbalance_kube::sockets::PodToRead;

/// After this time a read that failed, for a reason that passes, is repeated while somebody waits for it.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// How far a policy's heartbeat is from the ordinary one at most, so that policies do not beat together.
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

/// How new the readings of a target must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// Nobody waits for them: as old as a heartbeat is long.
    Heartbeat,
    /// Each begun at this time or later: a run, an episode or somebody who verifies waits for them. A time to
    /// come is waited for. A read that fails for a reason that passes is repeated.
    Since(Timestamp),
}

/// How fast heartbeats are, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatPace {
    /// Pods that are measured, over all policies.
    pub pods: usize,
    /// The time between two rounds of a target: that of the configuration, or longer where the pods are too many for
    /// the reads that are allowed.
    pub heartbeat: Duration,
    /// Whether it is longer.
    pub slowed: bool,
}

/// Why a pod is read. The order is that of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ReadCause {
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
    /// Since when it is being read, if it is.
    reading: Option<Timestamp>,
}

struct ProbedTarget {
    pods: BTreeMap<String, PodSlot>,
    next_round: Instant,
    /// Something was read that nobody has been told of.
    news: bool,
}

/// A read that was handed out.
#[derive(Clone, Debug)]
pub(super) struct ScheduledRead {
    pub key: TargetKey,
    pub pod: PodToRead,
    pub at: Timestamp,
    /// Nobody waits for it.
    pub background: bool,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextRead {
    /// A read may go now.
    Now,
    /// Not before this time.
    At(Instant),
    /// Only when something is wanted, or a read has ended.
    Idle,
}

pub(super) struct ReadSchedule {
    heartbeat: Duration,
    /// Heartbeat reads a second, and at once.
    background_rate: u32,
    background_slots: usize,
    background: usize,
    targets: HashMap<TargetKey, ProbedTarget>,
}

impl ReadSchedule {
    pub(super) fn new(heartbeat: Duration, background_rate: u32, background_slots: usize) -> Self {
        Self {
            heartbeat,
            background_rate,
            background_slots,
            background: 0,
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
                next_round: first_round,
                news: false,
            });
        let mut kept = BTreeMap::new();
        for (pod, freshness) in pods {
            let mut slot = match target.pods.remove(&pod.uid) {
                Some(slot) if slot.pod == pod => slot,
                // Another port or container: what was read does not count, and what is being read neither.
                _ => PodSlot {
                    pod,
                    max_age: freshness,
                    last: None,
                    due: None,
                    reading: None,
                },
            };
            slot.record_refusal(wall);
            slot.max_age = freshness;
            slot.update_due(wall, now);
            kept.insert(slot.pod.uid.clone(), slot);
        }
        // Reads in progress of pods that are gone still take a place.
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

    pub(super) fn is_quiet(&self, key: &TargetKey, now: Instant) -> bool {
        self.targets.get(key).is_none_or(|t| t.is_quiet(now))
    }

    pub(super) fn retain(&mut self, keys: &HashSet<TargetKey>) {
        self.targets.retain(|key, _| keys.contains(key));
    }

    /// Begins the rounds whose time has come, and says what is next.
    pub(super) fn next_read(&mut self, now: Instant) -> NextRead {
        self.start_rounds(now);
        let mut soonest: Option<Instant> = None;
        let full = self.background >= self.background_slots;
        for target in self.targets.values() {
            if !target.pods.is_empty() {
                soonest = Some(earlier_of(soonest, target.next_round));
            }
            let waiting = target.pods.values().filter(|s| s.reading.is_none());
            for (cause, at) in waiting.filter_map(|s| s.due) {
                if cause == ReadCause::Heartbeat && full {
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
                let is_idle = slot.due.is_none() && slot.reading.is_none();
                if is_idle && slot.pod.refused.is_none() {
                    slot.due = Some((ReadCause::Heartbeat, now));
                }
            }
        }
    }

    /// Hands out the most important read, if one may go now.
    pub(super) fn take_read(&mut self, wall: Timestamp, now: Instant) -> Option<ScheduledRead> {
        let full = self.background >= self.background_slots;
        let mut best: Option<(Due, TargetKey, String)> = None;
        for (key, target) in &self.targets {
            for (uid, slot) in &target.pods {
                let Some(due) = slot.due.filter(|_| slot.reading.is_none()) else {
                    continue;
                };
                let may = due.1 <= now && !(due.0 == ReadCause::Heartbeat && full);
                if may && best.as_ref().is_none_or(|(other, _, _)| due < *other) {
                    best = Some((due, key.clone(), uid.clone()));
                }
            }
        }
        let ((cause, _), key, uid) = best?;
        let slot = self.targets.get_mut(&key)?.pods.get_mut(&uid)?;
        slot.due = None;
        slot.reading = Some(wall);
        let background = cause == ReadCause::Heartbeat;
        self.background += usize::from(background);
        Some(ScheduledRead {
            key,
            pod: slot.pod.clone(),
            at: wall,
            background,
        })
    }

    /// Takes in how a read ended. True if it was the last of a round.
    pub(super) fn finish_read(
        &mut self,
        read: &ScheduledRead,
        result: Result<Vec<Socket>, Unreadable>,
        now: Instant,
    ) -> bool {
        self.background -= usize::from(read.background);
        let Some(target) = self.targets.get_mut(&read.key) else {
            return false;
        };
        if let Some(slot) = target.pods.get_mut(&read.pod.uid)
            && slot.pod == read.pod
        {
            slot.reading = None;
            slot.record_result(read.at, result, now);
            target.news = true;
        }
        let ended = target.news && target.is_quiet(now);
        target.news &= !ended;
        ended
    }
}

impl ProbedTarget {
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
                    // Nobody waits for the repetition any more.
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
                self.due = match self.due {
                    Some((ReadCause::Wanted, before)) if before <= now => self.due,
                    _ => Some((ReadCause::Wanted, at)),
                };
            }
        }
    }

    /// Takes in at once that the pod cannot be read at all.
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
        self.last = Some(match result {
            Ok(sockets) => PodMeasurement::Read(PodReading { at, sockets }),
            Err(why) => {
                let waited_for = matches!(self.max_age, MaxAge::Since(_));
                if waited_for && !why.reason.is_structural() && self.due.is_none() {
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

/// A target's own heartbeat, a little shorter or longer than the ordinary one: always the same for a policy.
fn jittered_heartbeat(key: &TargetKey, heartbeat: Duration) -> Duration {
    let hash = StableHash::from_texts([key.uid.as_str()]).value();
    let spread = u64::from(2 * JITTER_PERCENT + 1);
    let percent = 100 - JITTER_PERCENT + u32::try_from(hash % spread).unwrap_or(0);
    heartbeat.saturating_mul(percent) / 100
}
