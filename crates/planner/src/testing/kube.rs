//! A tiny Kubernetes: workload controllers that keep, roll and replace pods, and a clock.
//!
//! It knows nothing of policies. One tick is a second.

use jiff::Timestamp;

use super::{at, seconds};
use crate::world::TargetWorld;
use dbbalance_core::pacing::{resolve_rounded_down, resolve_rounded_up};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Stamp;
use dbbalance_core::workload::RolloutStrategy;

/// Seconds from a pod's creation to its start, and to Ready.
const STARTS_AFTER: i64 = 1;
const READY_AFTER: i64 = 4;
/// Seconds from a pod's deletion to its end.
const GONE_AFTER: i64 = 5;

/// What a pod will become by itself.
#[derive(Clone, Debug)]
struct Fate {
    uid: String,
    starts: Timestamp,
    ready: Timestamp,
    gone: Option<Timestamp>,
}

/// The controllers and kubelets behind the targets of a world.
#[derive(Clone, Debug)]
pub(crate) struct Kube {
    fates: Vec<Fate>,
    serial: u64,
    /// The newest template of each target.
    templates: Vec<u32>,
    /// Pods become Ready; while false, new and restarted pods stay not Ready.
    pub(crate) heals: bool,
}

impl Kube {
    pub(crate) fn new(targets: usize) -> Self {
        Self {
            fates: vec![],
            serial: 0,
            templates: vec![1; targets],
            heals: true,
        }
    }

    /// A number that was never there before.
    pub(crate) fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Deletes a pod, as an eviction does.
    pub(crate) fn delete(&mut self, pod: &mut PodFacts, now: Timestamp) {
        pod.terminating = true;
        pod.ready = false;
        pod.resource_version = format!("rv{}", self.next());
        let gone = now.saturating_add(seconds(GONE_AFTER)).unwrap();
        self.fates.retain(|f| f.uid != pod.uid);
        self.fates.push(Fate {
            uid: pod.uid.clone(),
            starts: Timestamp::MAX,
            ready: Timestamp::MAX,
            gone: Some(gone),
        });
    }

    /// Restarts a pod's container.
    pub(crate) fn restart(&mut self, pod: &mut PodFacts, now: Timestamp) {
        pod.started = None;
        pod.ready = false;
        pod.restarts += 1;
        if let Some(since) = &mut pod.since_claim {
            since.ended = vec!["app".to_owned()];
        }
        self.fates.retain(|f| f.uid != pod.uid);
        self.rises(&pod.uid.clone(), now);
    }

    /// Makes a pod not Ready until it heals.
    pub(crate) fn sicken(&mut self, pod: &mut PodFacts, now: Timestamp, lasts: i64) {
        pod.ready = false;
        self.fates.retain(|f| f.uid != pod.uid);
        self.fates.push(Fate {
            uid: pod.uid.clone(),
            starts: Timestamp::MAX,
            ready: now.saturating_add(seconds(lasts)).unwrap(),
            gone: None,
        });
    }

    /// Changes a target's template: a deploy, or a stamp.
    pub(crate) fn deploy(&mut self, target: usize, found: &mut TargetWorld) {
        let Some(workload) = found.workload.as_mut() else {
            return;
        };
        self.templates[target] += 1;
        workload.generation += 1;
        self.count(target, found);
    }

    /// One second of every controller and kubelet.
    pub(crate) fn tick(&mut self, targets: &mut [TargetWorld], now: Timestamp) {
        for (index, found) in targets.iter_mut().enumerate() {
            for pod in &mut found.pods {
                let Some(fate) = self.fates.iter().find(|f| f.uid == pod.uid) else {
                    continue;
                };
                if fate.starts <= now && pod.started.is_none() {
                    pod.started = Some(now);
                }
                if fate.ready <= now && !pod.ready && self.heals {
                    pod.ready = true;
                }
            }
            let fates = &self.fates;
            let gone = |p: &PodFacts| {
                let mut own = fates.iter().filter(|f| f.uid == p.uid);
                own.any(|f| f.gone.is_some_and(|g| g <= now))
            };
            found.pods.retain(|p| !gone(p));
            self.control(index, found, now);
            self.count(index, found);
        }
        let alive = |uid: &str| {
            let mut all = targets.iter().flat_map(|t| &t.pods);
            all.any(|p| p.uid == uid)
        };
        self.fates.retain(|f| alive(&f.uid));
    }

    /// When something happens by itself next.
    pub(crate) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.fates.iter().flat_map(|f| {
            let ready = Some(f.ready).filter(|_| self.heals);
            [Some(f.starts), ready, f.gone]
        });
        times
            .flatten()
            .filter(|t| *t > now && *t < Timestamp::MAX)
            .min()
    }

    fn control(&mut self, index: usize, found: &mut TargetWorld, now: Timestamp) {
        let Some(workload) = &found.workload else {
            return;
        };
        let wanted = workload.wanted;
        let (surge, missing) = match &workload.strategy {
            RolloutStrategy::RollingUpdate {
                max_unavailable,
                max_surge,
            } => (
                resolve_rounded_up(max_surge, wanted).unwrap(),
                resolve_rounded_down(max_unavailable, wanted).unwrap(),
            ),
            _ => (1, 0),
        };
        let stamp = workload.template_stamp.clone();
        let hash = self.hash(index);
        loop {
            let here: Vec<usize> = (0..found.pods.len())
                .filter(|n| !found.pods[*n].terminating)
                .collect();
            let new = here
                .iter()
                .filter(|n| found.pods[**n].template == hash)
                .count();
            let old = here.len() - new;
            let most = if old > 0 { wanted + surge } else { wanted };
            if new < wanted && here.len() < most {
                let pod = self.birth(&hash, stamp.clone(), now);
                found.pods.push(pod);
                continue;
            }
            let ready = here.iter().filter(|n| found.pods[**n].ready).count();
            // Old ones go as the strategy lets them, the not Ready first; then what is too many,
            // the youngest first.
            let victim = if old > 0 {
                here.iter()
                    .filter(|n| found.pods[**n].template != hash)
                    .filter(|n| !found.pods[**n].ready || ready + missing > wanted)
                    .min_by_key(|n| found.pods[**n].ready)
            } else if here.len() > wanted {
                here.iter()
                    .max_by_key(|n| (!found.pods[**n].ready, found.pods[**n].created))
            } else {
                None
            };
            let Some(victim) = victim else {
                return;
            };
            self.delete(&mut found.pods[*victim], now);
        }
    }

    fn hash(&self, target: usize) -> String {
        format!("t{}", self.templates[target])
    }

    fn birth(&mut self, hash: &str, stamp: Option<Stamp>, now: Timestamp) -> PodFacts {
        let serial = self.next();
        let mut pod = super::pod(&format!("pod-{serial}"), 0);
        pod.created = Timestamp::from_second(now.as_second()).unwrap().max(at(0));
        pod.started = None;
        pod.ready = false;
        pod.has_topology = false;
        pod.template = hash.into();
        pod.stamp = stamp;
        pod.resource_version = format!("rv{serial}");
        self.rises(&pod.uid.clone(), now);
        pod
    }

    fn rises(&mut self, uid: &str, now: Timestamp) {
        self.fates.push(Fate {
            uid: uid.to_owned(),
            starts: now.saturating_add(seconds(STARTS_AFTER)).unwrap(),
            ready: now.saturating_add(seconds(READY_AFTER)).unwrap(),
            gone: None,
        });
    }

    /// What the workload's status says.
    fn count(&self, index: usize, found: &mut TargetWorld) {
        let hash = self.hash(index);
        let here = found.pods.iter().filter(|p| !p.terminating);
        let (present, updated) = here.fold((0, 0), |(p, u), pod| {
            (p + 1, u + usize::from(pod.template == hash))
        });
        if let Some(workload) = &mut found.workload {
            workload.present = present;
            workload.updated = updated;
        }
    }
}
