//! What people see of a measured target: its next step, what it waits for, its shares.
//!
//! Words that stay the same while nothing turns: figures that tick would have the status written each second.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Judgement;
use crate::epochs::recorded_topology;
use crate::gate::{Gate, Held};
use crate::pods::Scene;
use crate::world::World;
use dbbalance_api::status::{
    BalanceState, BalanceStatus, MisplacedStatus, REWRITE_POINTS, RoleStatus, ShareStatus, Trigger,
};
use dbbalance_core::balance::{BalanceFigures, BalanceVerdict, Decision, Wait};
use dbbalance_core::evidence::descriptions::describe_holdings;
use dbbalance_core::topology::{Role, Topology};

/// The next step in words, as if no gate held it.
pub(super) fn action(scene: &Scene, decision: Option<&Decision>) -> String {
    let (stale, counted) = (scene.stale.len(), scene.counted.len());
    let epoch = scene.target.due_epoch;
    let method = scene.spec.recycle.method.as_str();
    let Some(figures) = decision.and_then(|d| d.verdict.figures()) else {
        return format!("measure {counted} pods, {stale} of them stale at epoch {epoch}");
    };
    let broken = figures.broken_pods;
    if broken > 0 {
        return format!("recycle {broken} of {counted} pods with broken connections by {method}");
    }
    if figures.misplaced.excess > 0 || !figures.under.is_empty() {
        return format!(
            "move the connections of about {} of {counted} pods by {method}",
            figures.least
        );
    }
    format!(
        "stamp {stale} of {counted} pods at epoch {epoch}: their connections are where they should be"
    )
}

/// Why a run begins, and in which words.
pub(super) fn cause(scene: &Scene, judgement: &Judgement) -> (Vec<Trigger>, String) {
    let target = &scene.target;
    let triggers = if scene.stale.is_empty() {
        vec![Trigger::Imbalance]
    } else {
        target.triggers.clone()
    };
    let names: Vec<&str> = triggers.iter().map(|t| t.as_str()).collect();
    let words = format!(
        "target {} ({}): {}; moving connections by {}{}",
        target.name,
        names.join(", "),
        judgement.message,
        scene.spec.recycle.method.as_str(),
        evidence_line(scene, judgement)
    );
    (triggers, words)
}

/// What was seen on one of the broken pods: the evidence that a sweep rests on.
fn evidence_line(scene: &Scene, judgement: &Judgement) -> String {
    let topology = scene.status.topology.as_ref().and_then(recorded_topology);
    let (Some(known), Some(topology)) = (&judgement.known, topology) else {
        return String::new();
    };
    let broken = known.misplaced();
    let mut pods = scene.counted.iter().filter(|p| broken.contains(&p.uid));
    let Some(pod) = pods.next() else {
        return String::new();
    };
    let held = judgement.evidence.pods.get(&pod.uid);
    let lines = held.map_or_else(Vec::new, |h| describe_holdings(h, &topology));
    format!("; for example pod {}: {}", pod.name, lines.join("; "))
}

/// The gate for what the balance waits for.
pub(super) fn waiting(world: &World, wait: Option<&Wait>) -> Held {
    let under = |names: &[dbbalance_core::topology::InstanceId]| {
        let names: Vec<&str> = names.iter().map(|n| n.0.as_str()).collect();
        names.join(" or ")
    };
    match wait {
        Some(Wait::GateClosed { since, .. }) => Held::new(
            Gate::Dns,
            format!(
                "the reader endpoint must lead to a reader with too few connections; asked since {}",
                second(*since)
            ),
        ),
        Some(Wait::NeverNamed { readers, until }) => Held::until(
            Gate::Dns,
            format!("the reader endpoint has not named {} yet", under(readers)),
            *until,
        ),
        Some(Wait::DnsDisagrees { need, .. }) => Held::new(
            Gate::Dns,
            format!(
                "{need} look-ups in a row must lead to the right member{}",
                world
                    .dns
                    .failure()
                    .map_or_else(String::new, |f| format!(" (the last failed: {f})"))
            ),
        ),
        Some(Wait::MeasureFirst { .. } | Wait::Broken { .. }) | None => {
            Held::new(Gate::Evidence, "a new reading of the pods is awaited")
        }
        Some(Wait::Settling { .. }) => Held::new(
            Gate::Pacing,
            "recycled pods are not back; the next go when these were measured",
        ),
        Some(Wait::PodCooldown { until, .. }) => Held::until(
            Gate::Pacing,
            "every pod that could help was recycled just now",
            *until,
        ),
        Some(wait @ (Wait::NothingFree | Wait::GaveUp(_) | Wait::NotTriggered { .. })) => {
            Held::new(Gate::Pacing, wait.to_string())
        }
    }
}

/// Stale pods are misplaced, and no more may be done about it.
pub(super) fn helpless(scene: &Scene) -> Held {
    Held::new(
        Gate::Pacing,
        format!(
            "the connections of up to {} stale pods are misplaced still, and these pods were recycled as often as a pod may be in a run, or cannot be",
            scene.stale.len()
        ),
    )
}

fn second(time: Timestamp) -> Timestamp {
    time.round(jiff::Unit::Second).unwrap_or(time)
}

/// What the status shows of a target's balance; what was shown before stays while nothing has turned and no
/// share has moved by some points.
pub(crate) fn balance_status(
    world: &World,
    scene: &Scene,
    judgement: &Judgement,
    topology: Option<&Topology>,
) -> BalanceStatus {
    let now = status(world, scene, judgement, topology);
    let before = world.status.balance.iter().find(|b| b.target == now.target);
    match before {
        Some(before) if is_alike(before, &now) => before.clone(),
        _ => now,
    }
}

fn status(
    world: &World,
    scene: &Scene,
    judgement: &Judgement,
    topology: Option<&Topology>,
) -> BalanceStatus {
    let verdict = judgement.known.as_ref().map(|k| &k.decision.verdict);
    let figures = verdict.and_then(BalanceVerdict::figures);
    let (state, limited_by) = match verdict {
        Some(BalanceVerdict::Balanced { limited_by, .. }) => (BalanceState::Balanced, *limited_by),
        Some(BalanceVerdict::Unbalanced { .. }) => (BalanceState::Unbalanced, None),
        Some(BalanceVerdict::Unknown { .. }) | None => (BalanceState::Unknown, None),
    };
    let measured = judgement.evidence.pods.keys().filter_map(|uid| {
        let reading = scene.world.evidence.measured.pods.get(uid)?.reading()?;
        Some(reading.at)
    });
    BalanceStatus {
        target: scene.spec.name.clone(),
        state,
        reason: judgement.reason.to_owned(),
        message: judgement.message.clone(),
        limited_by,
        source: world.spec.evidence.source,
        measured_pods: format!("{}/{}", judgement.evidence.pods.len(), scene.counted.len()),
        lowest: figures.map(|f| whole(f.lo.ceil())),
        highest: figures.map(|f| whole(f.hi.floor())),
        shares: figures.map_or_else(Vec::new, |_| shares(judgement, topology)),
        misplaced: figures.map_or_else(MisplacedStatus::default, misplaced),
        measured_time: measured.min().map(|t| Time(second(t))),
    }
}

/// Of every member: a target of readers shows what it wrongly has on the writer.
fn shares(judgement: &Judgement, topology: Option<&Topology>) -> Vec<ShareStatus> {
    let pods = &judgement.evidence.pods;
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
    members
        .into_iter()
        .map(|(instance, role, connections)| ShareStatus {
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

fn misplaced(figures: &BalanceFigures) -> MisplacedStatus {
    let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    MisplacedStatus {
        wrong_role: count(figures.misplaced.wrong_role),
        no_member: count(figures.misplaced.no_member),
        excess: count(figures.misplaced.excess),
    }
}

#[allow(clippy::cast_possible_truncation)] // connections: far within
fn whole(n: f64) -> i32 {
    n.clamp(0.0, f64::from(i32::MAX)) as i32
}

fn is_alike(before: &BalanceStatus, now: &BalanceStatus) -> bool {
    let drifted = |one: &ShareStatus| {
        let mut other = now.shares.iter().filter(|s| s.instance == one.instance);
        other
            .next()
            .is_none_or(|s| s.role != one.role || (s.percent - one.percent).abs() >= REWRITE_POINTS)
    };
    let broken = |b: &BalanceStatus| (b.misplaced.wrong_role > 0, b.misplaced.no_member > 0);
    before.state == now.state
        && before.reason == now.reason
        && before.limited_by == now.limited_by
        && before.source == now.source
        && broken(before) == broken(now)
        && before.shares.len() == now.shares.len()
        && !before.shares.iter().any(drifted)
        // An unknown state is told by its words alone.
        && (now.state != BalanceState::Unknown || before.message == now.message)
}
