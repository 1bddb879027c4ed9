//! Narrows and widens names. Widening comes before all else of a pass, waits for no gate and no rate limit, and is fenced
//! by the lease alone.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{sleep, timeout};

use crate::aurora::ClusterKey;
use crate::controller::context::{Context, EffectContext};
use crate::controller::guard::PolicyGuard;
use crate::controller::observe::{is_steered_by, last_view, observe_steered, steered_key};
use crate::k8s::steering::{AllowedRanges, NameKey, NameLead, NameWrite, refresh_name, write_name};
use crate::metrics::NameWriteKind;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::SteeringVia;
use dbbalance_core::narrow::{NameAction, NarrowClaim, WidenReason};
use dbbalance_core::stamp::PolicyMark;
use dbbalance_core::topology::InstanceId;
use dbbalance_planner::Plan;
use dbbalance_planner::world::World;

/// How often a name that another client has changed meanwhile is read again and widened, before that is left to the next
/// pass.
const WIDEN_ATTEMPTS: u32 = 3;
/// The longest time for which the end of the operator waits for names to be widened: two writes that are not answered.
/// With the grace period of 30 s that Kubernetes gives, the lease is still given back.
const LAST_WIDENING: Duration = Duration::from_secs(7);
/// How old the address of an instance may be when it is written into a slice. AWS may replace a host under its name.
const ADDRESS_AGE: SignedDuration = SignedDuration::from_secs(5);
/// How long after its hold a name is widened by its claim alone. The policy's own reconcile is given this time.
const OVERDUE: SignedDuration = SignedDuration::from_secs(5);
/// The hold of a policy that is not known: the most that the schema allows.
const LONGEST_HOLD: SignedDuration = SignedDuration::from_secs(300);

/// What became of the name of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameApplied {
    /// There was nothing to do.
    Kept,
    /// It was narrowed or widened. The next pass acts on that.
    Written,
    /// It was tried and failed, or not possible now.
    Failed,
}

/// Narrows or widens the name of the policy as planned.
pub async fn apply_name_action(
    policy: &DbBalancePolicy,
    world: &World,
    plan: &Plan,
    cluster: &ClusterKey,
    ctx: EffectContext<'_>,
) -> NameApplied {
    let of = &world.policy;
    let key = steered_key(ctx.names, &of.namespace, &world.spec, Some(&world.status));
    let Some(key) = key else {
        return NameApplied::Kept;
    };
    match &plan.name_action {
        NameAction::Keep => NameApplied::Kept,
        NameAction::Narrow(claim) => {
            let observed = world.steered_name.as_ref().map(|name| &name.observed);
            let is_as_planned = observed == Some(&observe_steered(world, &key, ctx.names));
            if !is_as_planned || !PolicyGuard::new(policy).stands(ctx.stores) {
                return NameApplied::Failed;
            }
            narrow(world, &key, claim, cluster, ctx).await
        }
        NameAction::Widen(reason) => {
            let reader = last_view(&world.topology).and_then(|v| v.endpoints.reader.clone());
            widen(&key, *reason, reader, ctx).await
        }
    }
}

async fn narrow(
    world: &World,
    key: &NameKey,
    claim: &NarrowClaim,
    cluster: &ClusterKey,
    ctx: EffectContext<'_>,
) -> NameApplied {
    let lead = match find_lead(world, key, claim, cluster, ctx).await {
        Ok(lead) => lead,
        Err(error) => {
            warn_of_failure(key, NameWriteKind::Narrow, &error, ctx);
            return NameApplied::Failed;
        }
    };
    if !ctx.leadership.is_leading() || ctx.names.is_closed() {
        return NameApplied::Failed;
    }
    fail::fail_point!("narrowing");
    let written = write_name(ctx.client, ctx.names, key, &lead).await;
    fail::fail_point!("narrowed");
    match written {
        NameWrite::Written => {
            ctx.metrics.count_name_write(NameWriteKind::Narrow, true);
            tracing::info!(name = key.name, via = key.via.as_str(), instance = %claim.instance, "Narrowed name");
            NameApplied::Written
        }
        NameWrite::LostRace => NameApplied::Failed,
        NameWrite::Failed(error) => {
            warn_of_failure(key, NameWriteKind::Narrow, &error, ctx);
            NameApplied::Failed
        }
    }
}

/// Returns the host and the address of the instance that a name is narrowed to, by the names that the RDS API gave.
async fn find_lead(
    world: &World,
    key: &NameKey,
    claim: &NarrowClaim,
    cluster: &ClusterKey,
    ctx: EffectContext<'_>,
) -> Result<NameLead, String> {
    let view = world
        .topology
        .current()
        .ok_or("the topology is not current")?;
    let facts = view.facts.get(&claim.instance);
    let host = facts.and_then(|facts| facts.endpoint.clone());
    let host = host.ok_or_else(|| format!("the endpoint of {} is not known", claim.instance))?;
    let address = match key.via {
        SteeringVia::Service => None,
        SteeringVia::Slice => Some(find_address(ctx, cluster, &claim.instance).await?),
    };
    Ok(NameLead::Instance {
        claim: claim.clone(),
        host,
        address,
    })
}

/// Looks up the address of an instance, and checks that a slice may hold it.
async fn find_address(
    ctx: EffectContext<'_>,
    cluster: &ClusterKey,
    instance: &InstanceId,
) -> Result<Ipv4Addr, String> {
    let found = ctx.dns.look_up_instance(cluster, instance).await;
    let (addresses, at) =
        found.ok_or_else(|| format!("the endpoint of {instance} cannot be looked up"))?;
    if (ctx.clock)().duration_since(at) > ADDRESS_AGE {
        return Err(format!("the look-up of {instance} took too long"));
    }
    choose_address(instance, &addresses, &ctx.names.config().ranges)
}

fn choose_address(
    instance: &InstanceId,
    addresses: &[IpAddr],
    ranges: &AllowedRanges,
) -> Result<Ipv4Addr, String> {
    let allowed = addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) if ranges.may_lead_to(*address) => Some(*v4),
        _ => None,
    });
    allowed.ok_or_else(|| {
        format!(
            "{instance} has the addresses {addresses:?}, none of which is within the chart's value steering.allowedCIDRs \
             ({ranges})"
        )
    })
}

/// Widens a name, and reads it again where another client has changed it meanwhile.
async fn widen(
    key: &NameKey,
    reason: WidenReason,
    reader: Option<String>,
    ctx: EffectContext<'_>,
) -> NameApplied {
    let claim = ctx.names.state(key).and_then(|state| state.claim());
    let lead = NameLead::Aurora { reader };
    for _ in 0..WIDEN_ATTEMPTS {
        if !ctx.leadership.is_leading() {
            return NameApplied::Failed;
        }
        fail::fail_point!("widening");
        match write_name(ctx.client, ctx.names, key, &lead).await {
            NameWrite::Written => {
                ctx.metrics.count_name_write(NameWriteKind::Widen, true);
                let since = claim.as_ref().map(|claim| claim.time);
                let seconds = since.map(|since| (ctx.clock)().duration_since(since).as_secs());
                tracing::info!(
                    name = key.name,
                    via = key.via.as_str(),
                    reason = reason.as_str(),
                    seconds,
                    "Widened name"
                );
                return NameApplied::Written;
            }
            NameWrite::Failed(error) => {
                warn_of_failure(key, NameWriteKind::Widen, &error, ctx);
                return NameApplied::Failed;
            }
            NameWrite::LostRace => {}
        }
        if let Err(error) = refresh_name(ctx.client, ctx.names, key).await {
            warn_of_failure(key, NameWriteKind::Widen, &error, ctx);
            return NameApplied::Failed;
        }
        // Widened, or narrowed anew by another plan.
        if ctx.names.state(key).and_then(|state| state.claim()) != claim {
            return NameApplied::Written;
        }
    }
    NameApplied::Failed
}

fn warn_of_failure(key: &NameKey, kind: NameWriteKind, error: &str, ctx: EffectContext<'_>) {
    ctx.metrics.count_name_write(kind, false);
    tracing::warn!(
        namespace = key.namespace,
        name = key.name,
        via = key.via.as_str(),
        action = kind.as_str(),
        error,
        "Cannot lead the steered name"
    );
}

/// Returns why a claim is widened by itself, without the plan of a policy: no policy that is reconciled explains it, or
/// its policy has not widened it in time. `None` leaves it to its policy.
#[must_use]
pub fn find_orphan(
    key: &NameKey,
    claim: &NarrowClaim,
    policies: &[&DbBalancePolicy],
    now: jiff::Timestamp,
) -> Option<WidenReason> {
    let own = policies.iter().find(|policy| {
        let uid = policy.metadata.uid.as_deref().unwrap_or_default();
        PolicyMark::from_uid(uid) == claim.policy
    });
    let Some(own) = own else {
        return Some(WidenReason::Deleted);
    };
    if !is_steered_by(own, key) {
        return Some(WidenReason::NotSteered);
    }
    let steering = own.spec.dns.steering.as_ref();
    let hold = steering.map_or(LONGEST_HOLD, |s| {
        SignedDuration::from_secs(s.hold_seconds.into())
    });
    (now.duration_since(claim.time) > hold + OVERDUE).then_some(WidenReason::HoldOver)
}

/// Widens the names that no policy would widen: those of policies that are deleted, cannot be read, or do not steer the
/// name any more; and those whose policy has not widened them in time, because its reconcile fails.
pub async fn widen_orphans(ctx: &Context) {
    let effects = ctx.for_effects();
    let claims = ctx.names.claims();
    if claims.is_empty() || !ctx.leadership.is_leading() {
        return;
    }
    let policies = ctx.stores.policies();
    let policies: Vec<_> = policies.iter().filter_map(|p| p.0.as_ref().ok()).collect();
    for (key, claim) in claims {
        if let Some(reason) = find_orphan(&key, &claim, &policies, (ctx.clock)()) {
            let _ = widen(&key, reason, None, effects).await;
        }
    }
}

/// Widens all names before this replica gives the lease back, and lets none be narrowed any more. It tries for a few
/// seconds: what is left is widened by the next leader.
pub async fn widen_before_exit(ctx: &Context) {
    ctx.names.close();
    let effects = ctx.for_effects();
    let widening = async {
        loop {
            let claims = ctx.names.claims();
            if claims.is_empty() || !ctx.leadership.is_leading() {
                return;
            }
            for (key, _) in claims {
                let _ = widen(&key, WidenReason::ShuttingDown, None, effects).await;
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    if timeout(LAST_WIDENING, widening).await.is_err() {
        tracing::warn!("Some names are still narrowed: the next leader widens them");
    }
}

#[cfg(test)]
mod tests;
