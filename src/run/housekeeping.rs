//! Drops state of deleted policies and updates the gauges while the operator leads, and clears state when leadership
//! changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use kube::{Resource as _, ResourceExt};

use crate::aurora::{BindingVerdict, ClusterKey};
use crate::controller::context::Context;
use crate::controller::observe::{cluster_key, probe_key};
use crate::metrics::{BalanceSums, PolicyBalance, PolicyTotals};
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::{self, ConditionStatus, ConditionType};
use dbbalance_api::prepared::PreparedReason;
use dbbalance_api::spec::Mode;
use dbbalance_planner::Gate;

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
        ctx.records.clear();
        ctx.pollers.retain(&HashSet::new());
        ctx.probe.retain(&HashSet::new());
        ctx.dns.retain(&HashSet::new());
    }
}

pub(super) async fn run_housekeeping(ctx: Arc<Context>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        ctx.metrics
            .set_unread_namespaces(ctx.stores.unread_namespaces());
        if !ctx.leadership.is_leading() {
            ctx.metrics.set_fleet(&PolicyTotals::default());
            // A poll that ended while leadership was lost has counted.
            ctx.pollers.retain(&HashSet::new());
            continue;
        }
        let policies = ctx.stores.policies();
        let uids: HashSet<&str> = policies
            .iter()
            .filter_map(|p| p.meta().uid.as_deref())
            .collect();
        ctx.retain_failures(&uids);
        let policies: Vec<_> = policies.iter().filter_map(|p| p.0.as_ref().ok()).collect();
        let keys: HashSet<ClusterKey> = policies
            .iter()
            .map(|p| (p, cluster_key(&p.spec.cluster, &ctx)))
            .filter(|(p, key)| ctx.check_binding(p, key, None) != BindingVerdict::Refused)
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
            if (type_, value) == (Some(ConditionType::Prepared), ConditionStatus::False) {
                let reason = condition.reason.parse::<PreparedReason>();
                fleet.unprepared.extend(reason.ok());
            }
        }
        fleet.holding.extend(
            status
                .plan
                .iter()
                .filter_map(|plan| find_gate(plan.waiting_for.as_deref()?)),
        );
        for target in &status.targets {
            fleet.stale += usize::try_from(target.stale).unwrap_or(0);
            let waits = status
                .plan
                .iter()
                .any(|p| p.target == target.name && is_intended(p.waiting_for.as_deref()));
            let since = target
                .open_time
                .as_ref()
                .filter(|_| target.stale > 0 && !waits)
                .map(|t| t.0);
            fleet.stale_since = [fleet.stale_since, since].into_iter().flatten().min();
        }
    }
    fleet
}

/// Whether the user has asked for the wait, by the spec or an annotation.
fn is_intended(gate: Option<&str>) -> bool {
    const INTENDED: [Gate; 6] = [
        Gate::Observe,
        Gate::Suspended,
        Gate::Paused,
        Gate::Window,
        Gate::Cooldown,
        Gate::HourlyLimit,
    ];
    INTENDED.iter().any(|g| Some(g.as_str()) == gate)
}

fn find_gate(name: &str) -> Option<&'static str> {
    Gate::ALL
        .iter()
        .map(|gate| gate.as_str())
        .find(|gate| *gate == name)
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

#[cfg(test)]
mod tests;
