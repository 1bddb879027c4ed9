//! Safety rules 1 to 4 at a step of a measured target, held by what was read of the pods, without asking the
//! plan's code.

use std::collections::BTreeMap;

use super::super::{pods_of, seconds};
use super::{Pools, READER, WRITER};
use crate::world::TopologyState;
use crate::{Plan, PodStep};
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;
use dbbalance_core::evidence::Socket;
use dbbalance_core::pacing::{STORM_CAP_PER_SECOND, resolve_rounded_down};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::topology::Topology;

impl Pools {
    pub(super) fn reading(&self, uid: &str) -> Option<&[Socket]> {
        let pods = &self.world.targets[0].evidence.measured.pods;
        Some(&pods.get(uid)?.reading()?.sockets)
    }

    /// Connections of one pod by letter, as read.
    fn read_of(&self, uid: &str) -> BTreeMap<char, usize> {
        let mut sums = BTreeMap::new();
        for socket in self.reading(uid).unwrap_or_default() {
            if let std::net::IpAddr::V4(to) = socket.remote.ip() {
                *sums.entry(char::from(to.octets()[3])).or_default() += 1;
            }
        }
        sums
    }

    /// Connections of all counted pods by letter, as read.
    pub(super) fn totals(&self) -> BTreeMap<char, usize> {
        let mut sums = BTreeMap::new();
        for pod in self.pods().iter().filter(|p| p.is_counted()) {
            for (letter, n) in self.read_of(&pod.uid) {
                *sums.entry(letter).or_default() += n;
            }
        }
        sums
    }

    /// Whether a pod has connections to a wrong role or to no member, as read.
    fn is_broken(&self, uid: &str) -> bool {
        let topology = &self.settled;
        let held = self.read_of(uid);
        let to = |letter: &str| -> usize {
            let letter = letter.chars().next().unwrap();
            held.get(&letter).copied().unwrap_or(0)
        };
        let on_writer = to(&topology.writer.instance.0);
        let on_readers: usize = topology.readers.iter().map(|r| to(&r.instance.0)).sum();
        let no_member = held.values().sum::<usize>() - on_writer - on_readers;
        let lone = topology.readers.is_empty();
        let wrong = if self.both {
            let swapped = self.previous_writer.as_deref().map_or(0, to) > 0;
            on_writer != usize::from(WRITER) || swapped
        } else {
            on_writer > 0
        };
        no_member > 0 || (wrong && !lone)
    }

    /// Whether a pod holds connections to a reader above its fair share, as read.
    fn has_excess(&self, uid: &str) -> bool {
        let topology = &self.settled;
        let totals = self.totals();
        let held = self.read_of(uid);
        let readers: Vec<char> = topology
            .readers
            .iter()
            .filter_map(|r| r.instance.0.chars().next())
            .collect();
        let of = |c: &char| totals.get(c).copied().unwrap_or(0);
        let sum: usize = readers.iter().map(of).sum();
        let is_above = |c: &char| of(c) * readers.len() > sum && held.contains_key(c);
        readers.iter().any(is_above)
    }

    /// Safety rules 1 and 3, by what was measured.
    pub(super) fn check(&self, plan: &Plan) {
        let steps = pods_of(plan.targets[0].step.as_ref());
        if steps.is_empty() {
            return;
        }
        let recorded = &self.world.status.targets[0];
        let run = recorded.run.as_ref().expect("a step without a run");
        let opened = recorded.open_time.as_ref().map(|t| t.0);
        let is_stamps = recorded.triggers.contains(&Trigger::Manual)
            // Evidence is not whole 30 s after a failover.
            || self.is_blind();
        let stale = |pod: &PodFacts| {
            opened.is_some_and(|o| pod.created < o)
                && pod
                    .stamp
                    .as_ref()
                    .is_none_or(|s| s.epoch < recorded.due_epoch)
        };
        let found = &self.world.targets[0];
        let find = |uid: &str| found.pods.iter().find(|p| p.uid == uid).unwrap();
        let recycle = &self.world.spec.targets[0].recycle;
        let timeout = recycle.http.as_ref().map_or(10, |h| h.timeout_seconds);
        let most = seconds(i64::from(timeout) + 30);
        let flies = |p: &PodFacts| {
            p.claim.as_ref().is_some_and(|c| {
                c.epoch == recorded.due_epoch && self.now.duration_since(c.time) <= most
            })
        };
        let mark = self.world.policy.mark();
        let (mut taken, mut replaced) = (0, 0);
        for step in steps {
            let pod = find(&step.uid);
            assert!(pod.is_counted());
            let broken = self.is_broken(&pod.uid);
            let redone = pod.claim.is_some();
            assert!(
                broken || self.has_excess(&pod.uid) || (is_stamps && stale(pod)),
                "{} is where it should be: {:?} of {:?}, run {:?}",
                pod.name,
                self.read_of(&pod.uid),
                self.totals(),
                run.epoch,
            );
            let gentle = step.method != Method::Evict;
            let exempt = gentle && (broken || pod.is_urgent(&mark, recorded));
            if pod.ready || gentle {
                taken += usize::from(!exempt && !redone);
            } else {
                replaced += usize::from(!redone);
            }
        }
        assert!(steps.len() <= STORM_CAP_PER_SECOND, "a storm");
        let wanted = found.workload.as_ref().unwrap().wanted;
        let may = resolve_rounded_down(&self.world.spec.pacing.max_unavailable, wanted)
            .unwrap_or(1)
            .max(1);
        let up = |p: &&PodFacts| p.ready && p.started.is_some() && !p.terminating;
        let serving = found.pods.iter().filter(up).count();
        let flying = found.pods.iter().filter(up).filter(|p| flies(p)).count();
        let mine = |p: &PodFacts| {
            p.since_claim.as_ref().is_some_and(|s| {
                s.epoch == recorded.due_epoch && s.claimed >= run.start_time.0 - seconds(1)
            })
        };
        let missing = if recycle.method == Method::Evict || recycle.method == Method::Rollout {
            wanted.saturating_sub(serving)
        } else {
            let counted = || self.pods().iter().filter(|p| p.is_counted() && !p.ready);
            let worse = counted().filter(|p| mine(p) && p.claim.is_none());
            let worse = worse.filter(|p| p.since_claim.as_ref().is_some_and(|s| s.was_ready));
            let others = counted().filter(|p| !mine(p));
            worse.count().saturating_sub(others.count())
        };
        assert!(
            replaced <= may,
            "{replaced} that are not Ready at once, may {may}"
        );
        assert!(
            taken == 0 || taken + flying + missing <= may,
            "takes {taken} with {flying} in flight and {missing} missing, may {may}"
        );
        // Broken connections that are closed before others are opened need no room.
        let frees = |s: &PodStep| {
            let by_stamps =
                is_stamps && find(&s.uid).is_urgent(&self.world.policy.mark(), recorded);
            s.method != Method::Evict && (self.is_broken(&s.uid) || by_stamps)
        };
        if !steps.iter().all(frees) {
            self.check_budget(steps, flying);
        }
    }

    fn is_blind(&self) -> bool {
        let target = &self.world.status.targets[0];
        let urgent = target.urgent_open_time.as_ref();
        let counted = self.pods().iter().filter(|p| p.is_counted());
        let (read, all) = counted.fold((0, 0), |(read, all), p| {
            (read + usize::from(self.reading(&p.uid).is_some()), all + 1)
        });
        urgent.is_some_and(|t| self.now.duration_since(t.0) >= seconds(30)) && read * 10 < all * 9
    }

    /// What is measured, and what pods in flight and this step may add, all on one instance.
    fn check_budget(&self, steps: &[PodStep], flying: usize) {
        let Some(limit) = self.world.spec.budget.max_connections else {
            return;
        };
        let each = usize::from(READER);
        let fresh = steps
            .iter()
            .filter(|s| s.claim.attempt.number() == 1)
            .count();
        if fresh == 0 {
            return;
        }
        let budget = usize::try_from(limit).unwrap() * 85 / 100;
        let TopologyState::Current(view) = &self.world.topology else {
            panic!("a step without a topology");
        };
        let is_reader = |topology: &Topology, name: &str| {
            let mut readers = topology.readers.iter();
            readers.any(|r| r.instance.0 == name)
        };
        let is_member =
            |name: &str| is_reader(&view.topology, name) || view.topology.writer.instance.0 == name;
        for (letter, held) in self.totals() {
            let name = letter.to_string();
            let may_serve = is_reader(&self.settled, &name) && is_member(&name);
            if may_serve || is_reader(&view.topology, &name) {
                let sum = held + (flying + fresh) * each;
                assert!(sum <= budget, "{sum} exceed {budget} on {letter}");
            }
        }
    }
}
