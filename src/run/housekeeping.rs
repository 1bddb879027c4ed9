//! Drops state of deleted policies and updates the gauges while the operator leads, and clears state when leadership
//! changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use kube::ResourceExt;

use crate::aurora::ClusterKey;
use crate::controller::context::Context;
use crate::controller::observe::{cluster_key, probe_key};
use crate::metrics::{BalanceSums, PolicyBalance, PolicyTotals};
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::{self, ConditionStatus, ConditionType};
use dbbalance_api::spec::Mode;

/// How often the gauges are updated and the state of deleted policies is dropped.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Clears the cached state and reconciles all policies whenever this replica becomes the leader: another replica may
/// have acted in the meantime.
pub(super) async fn follow_leadership(ctx: Arc<Context>, elected: mpsc::UnboundedSender<()>) {
    loop {
        ctx.leadership.wait_until_acquired().await;
        tracing::info!(identity = ctx.leadership.identity(), "Started leading");
        ctx.state.clear();
        ctx.ledger.clear();
        let _ = elected.unbounded_send(());
        ctx.leadership.wait_until_lost().await;
        tracing::warn!(
            identity = ctx.leadership.identity(),
            "Lost leadership: no effects until this replica leads again"
        );
        ctx.pollers.retain(&HashSet::new());
        ctx.probe.retain(&HashSet::new());
        ctx.dns.retain(&HashSet::new());
    }
}

pub(super) async fn run_housekeeping(ctx: Arc<Context>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        if !ctx.leadership.is_leading() {
            ctx.metrics.set_fleet(&PolicyTotals::default());
            continue;
        }
        let policies = ctx.stores.policies();
        let policies: Vec<_> = policies.iter().filter_map(|p| p.0.as_ref().ok()).collect();
        let keys: HashSet<ClusterKey> = policies
            .iter()
            .map(|p| (p, cluster_key(&p.spec.cluster, &ctx)))
            .filter(|(p, key)| ctx.may_name_cluster(p, key, None))
            .map(|(_, key)| key)
            .collect();
        ctx.pollers.retain(&keys);
        let measured = policies
            .iter()
            .flat_map(|p| p.spec.targets.iter().map(|t| probe_key(p, t)));
        ctx.probe.retain(&measured.collect());
        ctx.dns.retain(&keys);
        let uids = policies.iter().filter_map(|p| p.uid()).collect();
        ctx.state.retain(&uids);
        ctx.ledger.retain(&uids);
        ctx.metrics.set_fleet(&count_fleet(&policies));
    }
}

/// Counts policies, conditions and stale pods from the specs and statuses.
fn count_fleet(policies: &[&DbBalancePolicy]) -> PolicyTotals {
    let mut fleet = PolicyTotals::default();
    for policy in policies {
        fleet.modes.push(policy.spec.mode);
        let paused = policy.spec.suspend
            || policy
                .annotations()
                .contains_key(dbbalance_api::annotations::PAUSE_UNTIL);
        fleet.paused += usize::from(paused && policy.spec.mode == Mode::Enforce);
        fleet.balances.push(policy_balance(policy));
        let Some(status) = &policy.status else {
            continue;
        };
        for condition in &status.conditions {
            let type_ = ConditionType::ALL
                .iter()
                .copied()
                .find(|t| t.as_str() == condition.type_);
            let value = parse_status(&condition.status);
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

/// Returns the balance of one policy from its status.
fn policy_balance(policy: &DbBalancePolicy) -> PolicyBalance {
    let status = policy.status.as_ref();
    let condition =
        status.and_then(|s| conditions::find_condition(&s.conditions, ConditionType::Balanced));
    PolicyBalance {
        namespace: policy.namespace().unwrap_or_default(),
        policy: policy.name_any(),
        balanced: condition.map_or(ConditionStatus::Unknown, |c| parse_status(&c.status)),
        figures: status.and_then(|s| BalanceSums::sum_statuses(&s.balance)),
    }
}

fn parse_status(word: &str) -> ConditionStatus {
    match word {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}
