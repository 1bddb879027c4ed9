//! The house: what is forgotten and counted while the operator leads, and when leadership changes.
//!
//! Touches memory and metrics only, never a policy or a pod.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use kube::ResourceExt;

use crate::aurora::ClusterKey;
use crate::controller::context::Context;
use crate::controller::observe::{cluster_key, probe_key};
use crate::metrics::{Fleet, PolicyBalance, Sums};
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::{self, ConditionStatus, ConditionType};
use dbbalance_api::spec::Mode;

/// How often the fleet is counted and what is gone is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Begins anew whenever this replica comes to lead: what it remembers may be outdated.
pub(super) async fn follow_leadership(ctx: Arc<Context>, elected: mpsc::UnboundedSender<()>) {
    loop {
        ctx.leadership.acquired().await;
        tracing::info!(identity = ctx.leadership.identity(), "leading");
        ctx.memory.clear();
        let _ = elected.unbounded_send(());
        ctx.leadership.lost().await;
        tracing::warn!(
            identity = ctx.leadership.identity(),
            "not leading any more: no effects until it leads again"
        );
        ctx.pollers.retain(&HashSet::new());
        ctx.probe.retain(&HashSet::new());
        ctx.dns.retain(&HashSet::new());
    }
}

pub(super) async fn keep_house(ctx: Arc<Context>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        if !ctx.leadership.leads() {
            ctx.metrics.fleet(&Fleet::default());
            continue;
        }
        let policies = ctx.stores.policies();
        let policies: Vec<_> = policies.iter().filter_map(|p| p.0.as_ref().ok()).collect();
        let keys: HashSet<ClusterKey> = policies
            .iter()
            .map(|p| cluster_key(&p.spec.cluster, &ctx))
            .collect();
        ctx.pollers.retain(&keys);
        let measured = policies
            .iter()
            .flat_map(|p| p.spec.targets.iter().map(|t| probe_key(p, t)));
        ctx.probe.retain(&measured.collect());
        ctx.dns.retain(&keys);
        ctx.memory
            .retain(&policies.iter().filter_map(|p| p.uid()).collect());
        ctx.metrics.fleet(&count(&policies));
    }
}

/// The fleet as its policies' specs and statuses say.
fn count(policies: &[&DbBalancePolicy]) -> Fleet {
    let mut fleet = Fleet::default();
    for policy in policies {
        fleet.modes.push(policy.spec.mode);
        let paused = policy.spec.suspend
            || policy
                .annotations()
                .contains_key(dbbalance_api::annotations::PAUSE_UNTIL);
        fleet.paused += usize::from(paused && policy.spec.mode == Mode::Enforce);
        fleet.balances.push(balance(policy));
        let Some(status) = &policy.status else {
            continue;
        };
        for condition in &status.conditions {
            let type_ = ConditionType::ALL
                .into_iter()
                .find(|t| t.as_str() == condition.type_);
            let value = status_of(&condition.status);
            fleet.conditions.extend(type_.map(|t| (t, value)));
        }
        for target in &status.targets {
            fleet.stale += usize::try_from(target.stale).unwrap_or(0);
            let since = target
                .open_time
                .as_ref()
                .filter(|_| target.stale > 0)
                .map(|t| t.0);
            fleet.stale_since = [fleet.stale_since, since].into_iter().flatten().min();
        }
    }
    fleet
}

/// How one policy's connections stand, by its status.
fn balance(policy: &DbBalancePolicy) -> PolicyBalance {
    let status = policy.status.as_ref();
    let condition =
        status.and_then(|s| conditions::find_condition(&s.conditions, ConditionType::Balanced));
    PolicyBalance {
        namespace: policy.namespace().unwrap_or_default(),
        policy: policy.name_any(),
        balanced: condition.map_or(ConditionStatus::Unknown, |c| status_of(&c.status)),
        figures: status.and_then(|s| Sums::of(&s.balance)),
    }
}

fn status_of(word: &str) -> ConditionStatus {
    match word {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}
