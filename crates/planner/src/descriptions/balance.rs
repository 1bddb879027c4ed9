//! The balance of a measured target, as the status shows it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::waiting::round_to_second;
use crate::selection::assessment::Assessment;
use crate::target::TargetContext;
use dbbalance_api::status::{
    BalanceState, BalanceStatus, MisplacedStatus, REWRITE_POINTS, RoleStatus, ShareStatus,
};
use dbbalance_core::balance::{BalanceFigures, BalanceVerdict};
use dbbalance_core::topology::{InstanceId, Role, Topology};

/// Returns what the status shows of a target's balance. What was shown before stays while its state is the same and no
/// share has moved by some points.
pub(crate) fn describe_balance(
    ctx: &TargetContext,
    assessment: &Assessment,
    topology: Option<&Topology>,
) -> BalanceStatus {
    let now = current_balance(ctx, assessment, topology);
    let before = ctx
        .pass
        .world
        .status
        .balance
        .iter()
        .find(|b| b.target == now.target);
    match before {
        Some(before) if is_alike(before, &now) => before.clone(),
        _ => now,
    }
}

fn current_balance(
    ctx: &TargetContext,
    assessment: &Assessment,
    topology: Option<&Topology>,
) -> BalanceStatus {
    let verdict = assessment.usable.as_ref().map(|k| &k.decision.verdict);
    let figures = verdict.and_then(BalanceVerdict::figures);
    let (state, limited_by) = match verdict {
        Some(BalanceVerdict::Balanced { limited_by, .. }) => (BalanceState::Balanced, *limited_by),
        Some(BalanceVerdict::Unbalanced { .. }) => (BalanceState::Unbalanced, None),
        Some(BalanceVerdict::Unknown { .. }) | None => (BalanceState::Unknown, None),
    };
    // A band of the cluster's sum says nothing about the target's own shares.
    let band = figures.filter(|f| f.others == 0);
    let band = band.and_then(BalanceFigures::common_band);
    let found = &ctx.found.evidence;
    let measured = assessment.evidence.pods.keys();
    let measured = measured.filter_map(|uid| Some(found.reading(uid)?.at));
    BalanceStatus {
        target: ctx.policy.name.clone(),
        state,
        reason: assessment.reason.to_owned(),
        message: assessment.message.clone(),
        limited_by,
        source: ctx.pass.policy.evidence.source,
        measured_pods: format!("{}/{}", assessment.evidence.pods.len(), ctx.counted.len()),
        lowest: band.map(|(lo, _)| clamp_to_i32(lo.ceil())),
        highest: band.map(|(_, hi)| clamp_to_i32(hi.floor())),
        shares: figures.map_or_else(Vec::new, |f| member_shares(assessment, f, topology)),
        misplaced: figures.map_or_else(MisplacedStatus::default, count_misplaced),
        measured_time: measured.min().map(|t| Time(round_to_second(t))),
    }
}

/// Returns the share of every member: a target of readers shows what it wrongly has on the writer.
fn member_shares(
    assessment: &Assessment,
    figures: &BalanceFigures,
    topology: Option<&Topology>,
) -> Vec<ShareStatus> {
    let pods = &assessment.evidence.pods;
    let held = |instance| {
        pods.values().fold(0_u32, |sum, p| {
            sum.saturating_add(p.connections_to(instance))
        })
    };
    let members: Vec<_> = topology
        .iter()
        .flat_map(|t| t.members())
        .map(|(member, role)| (&member.instance, role, held(&member.instance)))
        .collect();
    let total: u64 = members.iter().map(|(_, _, n)| u64::from(*n)).sum();
    let wanted = |instance: &InstanceId| {
        let share = figures.shares.iter().find(|s| s.instance == *instance)?;
        let wanted = figures.wanted_percent(share);
        (!figures.has_equal_shares()).then(|| i32::try_from(wanted).unwrap_or(100))
    };
    let of_cluster = |instance: &InstanceId| {
        let share = figures.shares.iter().find(|s| s.instance == *instance)?;
        let percent = i32::try_from((share.permille + 5) / 10).unwrap_or(100);
        (figures.others > 0).then_some(percent)
    };
    members
        .into_iter()
        .map(|(instance, role, connections)| ShareStatus {
            wanted_percent: wanted(instance),
            cluster_percent: of_cluster(instance),
            instance: instance.0.clone(),
            role: match role {
                Role::Writer => RoleStatus::Writer,
                Role::Reader => RoleStatus::Reader,
            },
            connections: i32::try_from(connections).unwrap_or(i32::MAX),
            percent: i32::try_from((u64::from(connections) * 200 + total) / (2 * total.max(1)))
                .unwrap_or(100),
        })
        .collect()
}

fn count_misplaced(figures: &BalanceFigures) -> MisplacedStatus {
    let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    MisplacedStatus {
        wrong_role: count(figures.misplaced.wrong_role),
        no_member: count(figures.misplaced.no_member),
        excess: count(figures.misplaced.excess),
    }
}

#[allow(clippy::cast_possible_truncation)] // connections: far within
fn clamp_to_i32(n: f64) -> i32 {
    n.clamp(0.0, f64::from(i32::MAX)) as i32
}

fn is_alike(before: &BalanceStatus, now: &BalanceStatus) -> bool {
    // The cluster's sum moves with each target on it, which rewrites the status of this one only with its state.
    let drifted = |one: &ShareStatus| {
        let mut other = now.shares.iter().filter(|s| s.instance == one.instance);
        other.next().is_none_or(|s| {
            s.role != one.role
                || s.wanted_percent != one.wanted_percent
                || (s.percent - one.percent).abs() >= REWRITE_POINTS
                || s.cluster_percent.is_some() != one.cluster_percent.is_some()
        })
    };
    let broken = |b: &BalanceStatus| (b.misplaced.wrong_role > 0, b.misplaced.no_member > 0);
    before.state == now.state
        && before.reason == now.reason
        && before.limited_by == now.limited_by
        && before.source == now.source
        && broken(before) == broken(now)
        && before.shares.len() == now.shares.len()
        && !before.shares.iter().any(drifted)
        // An unknown state differs by its message alone.
        && (now.state != BalanceState::Unknown || before.message == now.message)
}
