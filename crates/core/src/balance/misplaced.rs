//! Selects broken pods: those with connections to the wrong role or to an instance that is not a member.
//!
//! They are recycled at once, because their connections fail already, but only when DNS agrees on the right members:
//! a pod that is sent back to the old writer is broken again.

use jiff::SignedDuration;

use super::dns_gate::RecentAnswers;
use super::inputs::{Inputs, PodView, Reach, Settings};
use super::pod_shares::{PodShares, is_usable};
use super::sweep::{self, Allowance};
use super::verdict::{Wait, add_saturating};
use dbbalance_api::rebalance_state::RebalanceState;

/// The age up to which the newest look says where a pod would be led now: looks are made several times a second
/// (docs/adr/0021-leaving-readers.md).
const NEWEST_LOOK_AGE: SignedDuration = SignedDuration::from_secs(1);

/// The broken pods to recycle, or why they wait.
#[derive(Default)]
pub(super) struct UrgentBatch {
    pub pods: Vec<String>,
    /// Those among them whose misplaced connections no change of the topology explains.
    pub repeats: Vec<String>,
    pub wait: Option<Wait>,
    /// Whether there are broken pods that can still be helped: moves of the excess wait for them.
    pub is_open: bool,
    /// Whether some have no evidence that can be acted on.
    pub measure: bool,
}

pub(super) fn select_misplaced(
    inputs: &Inputs,
    fleet: &PodShares,
    memory: &mut RebalanceState,
) -> UrgentBatch {
    let by = inputs.settings;
    let allowance = sweep::allow_repeats(inputs, fleet, memory);
    let mut incurable = None;
    let mut due = vec![];
    let (mut exhausted, mut recent, mut unmeasured) = (0, 0, 0);
    for row in fleet.rows.iter().filter(|r| r.is_broken()) {
        let pod = row.pod;
        if let (Allowance::None(why), false) = (&allowance, pod.is_explained()) {
            incurable = incurable.or(*why);
        } else if !pod.movable || pod.recycles >= by.max_recycles {
            exhausted += 1;
        } else if pod.in_flight
            || pod
                .last_recycled
                .is_some_and(|done| inputs.now < add_saturating(done, rest_before_redo(pod, by)))
        {
            recent += 1;
        } else if is_usable(inputs, pod) {
            due.push(row);
        } else {
            unmeasured += 1;
        }
    }
    let mut sweep = UrgentBatch {
        is_open: !due.is_empty() || recent > 0 || unmeasured > 0,
        // Pods that were recycled recently need to be verified.
        measure: unmeasured > 0 || recent > 0,
        ..UrgentBatch::default()
    };
    if due.is_empty() {
        if let (Some(why), 0, 0) = (incurable, recent, unmeasured) {
            sweep.wait = Some(Wait::Incurable(why));
        } else if recent > 0 || exhausted > 0 {
            sweep.wait = Some(Wait::Broken { exhausted, recent });
        } else if unmeasured > 0 {
            sweep.wait = Some(Wait::MeasureFirst {
                usable: fleet.count_usable(inputs, None),
                pods: fleet.pods,
            });
        }
        return sweep;
    }
    if let Some(wait) = check_dns_agreement(inputs) {
        sweep.wait = Some(wait);
        return sweep;
    }
    // Pods that are not Ready lose nothing.
    due.sort_by(|a, b| {
        let key = |r: &super::pod_shares::PodShare| {
            let broken = r.wrong_role.saturating_add(r.no_member);
            (r.pod.ready, std::cmp::Reverse(broken))
        };
        key(a).cmp(&key(b)).then_with(|| a.pod.id.cmp(&b.pod.id))
    });
    sweep.measure = true;
    let mut left = match allowance {
        Allowance::Some(left) => left,
        Allowance::Wait | Allowance::None(_) => 0,
    };
    due.retain(|r| {
        let goes = r.pod.is_explained() || left > 0;
        if !r.pod.is_explained() && left > 0 {
            left -= 1;
        }
        goes
    });
    let repeats = due.iter().filter(|r| !r.pod.is_explained());
    sweep.repeats = repeats.map(|r| r.pod.id.clone()).collect();
    if due.is_empty() {
        // The pods that went first are not back, or not measured.
        sweep.wait = Some(Wait::MeasureFirst {
            usable: fleet.count_usable(inputs, memory.sweep.map(|s| s.at)),
            pods: fleet.pods,
        });
    }
    sweep.pods = due.into_iter().map(|r| r.pod.id.clone()).collect();
    sweep
}

/// Returns how long a broken pod is left alone after its last recycle. Its process may keep an address (JVM: 30 s), so
/// the last recycle that it may have waits until that has expired; otherwise all would go to the same wrong address.
fn rest_before_redo(pod: &PodView, by: &Settings) -> SignedDuration {
    if pod.recycles.saturating_add(1) >= by.max_recycles {
        by.redo.max(by.pod_cooldown)
    } else {
        by.redo
    }
}

/// Checks whether the lookups agree; returns what to wait for if they do not. For each endpoint that the pods use,
/// there must be enough lookups, and all must agree: those of the cluster endpoint on the writer; those of the reader
/// endpoint on readers only or, if there are no readers, on the writer. While a reader is being deleted, its connections
/// end soon whatever DNS says: then the newest look at the reader endpoint must lead elsewhere, and others may name it.
fn check_dns_agreement(inputs: &Inputs) -> Option<Wait> {
    if inputs.reach == Reach::Unseen {
        return None;
    }
    let by = inputs.settings;
    let topology = inputs.topology;
    let writer = &topology.writer.instance;
    let serves = |id: &crate::topology::InstanceId| {
        if topology.readers.is_empty() {
            id == writer
        } else {
            topology.readers.iter().any(|r| r.instance == *id)
        }
    };
    let judge = |answers: RecentAnswers, right: &dyn Fn(&crate::topology::InstanceId) -> bool| {
        let (agree, of) = answers.count_agreeing(right);
        let agreed = agree == of && of >= by.looks && answers.count_unknown() <= of;
        (!agreed).then_some(Wait::DnsDisagrees {
            agree,
            of,
            need: by.looks,
        })
    };
    let on_cluster = || {
        let answers = RecentAnswers::from_fresh(inputs.writer_looks, inputs.now, by);
        judge(answers, &|id| id == writer)
    };
    let on_reader = || {
        if !inputs.leaving.is_empty() {
            return check_beside_leaving(inputs, serves);
        }
        judge(
            RecentAnswers::from_fresh(inputs.looks, inputs.now, by),
            &serves,
        )
    };
    let cluster = inputs.pools.has_writer_pools().then(on_cluster).flatten();
    cluster.or_else(|| inputs.pools.has_reader_pools().then(on_reader).flatten())
}

/// Checks whether the newest look at the reader endpoint, of the last second, names a member that serves, and all others
/// name such members or those that are being deleted. A pod that is led to one of those nevertheless goes once more.
fn check_beside_leaving(
    inputs: &Inputs,
    serves: impl Fn(&crate::topology::InstanceId) -> bool,
) -> Option<Wait> {
    let (now, by) = (inputs.now, inputs.settings);
    let is_recent = |at| at <= now && now <= add_saturating(at, NEWEST_LOOK_AGE);
    let recent = inputs.looks.iter().filter(|look| is_recent(look.at));
    let newest = recent.max_by_key(|look| look.at);
    let leads = newest.is_some_and(|look| look.instance.as_ref().is_some_and(&serves));
    let answers = RecentAnswers::from_fresh(inputs.looks, now, by);
    let is_right = |id: &crate::topology::InstanceId| serves(id) || inputs.leaving.contains(id);
    let (agree, of) = answers.count_agreeing(is_right);
    let agreed = leads && agree == of && answers.count_unknown() <= of;
    (!agreed).then_some(Wait::DnsDisagrees { agree, of, need: 1 })
}
