//! `Prepared`: what would hold a failover is said before one comes.

mod disruption;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::testing::measured::{measured, read};
use crate::testing::{
    at, baseline, dns_view, due_at, look, owner, parse_policy, quiet, record, target, unseen,
    verified, verify, view,
};
use crate::world::{TopologyError, TopologyState, World};
use crate::{Preparedness, assess_preparedness};
use dbbalance_api::conditions::ConditionStatus;
use dbbalance_api::prepared::PreparedReason::{self, *};
use dbbalance_api::spec::{EvidenceSource, Method, Mode, OnTimeout};
use dbbalance_api::status::Trigger;
use dbbalance_core::budget::Load;
use dbbalance_core::pod::DisruptionVeto;
use dbbalance_core::workload::{RolloutStrategy, WorkloadFacts};

/// A target with these pods at rest, whose method was seen to work.
fn at_rest(method: Method, pods: usize) -> World {
    let mut world = quiet(method, pods);
    verify(&mut world);
    world
}

fn judge(world: &World, second: i64) -> Preparedness {
    let parsed = parse_policy(world);
    assess_preparedness(world, &parsed, &look(world, second).status, at(second))
}

/// Asserts that it is so, for this reason, and returns the message.
fn assert_prepared(world: &World, status: ConditionStatus, reason: PreparedReason) -> String {
    let judged = judge(world, 10);
    let shown = (judged.status, judged.reason);
    assert_eq!(shown, (status, reason), "{}", judged.message);
    judged.message
}

fn assert_unprepared(world: &World, reason: PreparedReason) -> String {
    assert_prepared(world, ConditionStatus::False, reason)
}

fn workload(world: &mut World) -> &mut WorkloadFacts {
    world.targets[0].workload.as_mut().unwrap()
}

/// Records a judgement as the operator would.
fn record_condition(world: &mut World, type_: &str, status: &str, reason: &str, second: i64) {
    world.status.conditions.retain(|c| c.type_ != type_);
    world.status.conditions.push(Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: "as recorded".into(),
        last_transition_time: Time(at(second)),
        observed_generation: world.policy.generation,
    });
}

/// Has each pod of a measured target hold so many connections on instance a, of 1600.
fn crowded(method: Method, each: u16) -> World {
    let pod: &[(&str, u16)] = &[("a", each)];
    let mut world = measured(method, &[pod; 4]);
    world.spec.targets[0].pools = serde_json::from_value(
        serde_json::json!([{"endpoint": "Writer", "connectionsPerPod": 10}]),
    )
    .unwrap();
    let mut world = baseline(world);
    verify(&mut world);
    world
}

#[test]
fn nothing_would_hold_a_failover_of_a_healthy_target_by_any_method() {
    for method in [
        Method::Signal,
        Method::Http,
        Method::Annotate,
        Method::Evict,
        Method::Rollout,
    ] {
        let world = at_rest(method, 4);
        assert_prepared(&world, ConditionStatus::True, Prepared);
    }
}

#[test]
fn a_method_that_was_never_seen_to_work_is_said_and_holds_nothing() {
    let world = quiet(Method::Signal, 4);
    let message = assert_prepared(&world, ConditionStatus::True, MethodNotVerified);
    assert!(message.contains("one goes first"), "{message}");
    for (method, pods) in [(Method::Signal, 0), (Method::Rollout, 4)] {
        assert_prepared(&quiet(method, pods), ConditionStatus::True, Prepared);
    }
}

#[test]
fn a_policy_that_does_not_act_is_not_prepared() {
    type Change = fn(&mut World);
    let cases: [(Change, PreparedReason); 5] = [
        (|w| w.spec.mode = Mode::Observe, Observe),
        (|w| w.spec.suspend = true, Suspended),
        (|w| w.policy.pause_until = Some(at(60).to_string()), Paused),
        (|w| w.role_allowed = false, InvalidSpec),
        (
            |w| w.spec.triggers.failover.enabled = false,
            FailoverDisabled,
        ),
    ];
    for (change, reason) in cases {
        let mut world = at_rest(Method::Signal, 4);
        change(&mut world);
        assert_unprepared(&world, reason);
    }
}

#[test]
fn a_pause_names_its_end_and_ends_by_itself() {
    let mut world = at_rest(Method::Signal, 4);
    world.policy.pause_until = Some(at(60).to_string());
    let message = assert_unprepared(&world, Paused);
    assert!(message.contains(&at(60).to_string()), "{message}");
    assert_eq!(judge(&world, 60).reason, Prepared);
}

#[test]
fn a_target_of_an_older_policy_or_without_its_workload_is_named() {
    let targets = vec![target("a", Method::Signal), target("b", Method::Signal)];
    let mut world = baseline(unseen(targets, 4));
    verify(&mut world);
    world.targets[1].workload = None;
    let message = assert_unprepared(&world, TargetNotFound);
    assert!(message.starts_with("b: Deployment b is not"), "{message}");
    world.targets[0].owned_by = Some("older".into());
    let message = assert_unprepared(&world, TargetConflict);
    assert!(message.contains("; b: Deployment b is not"), "{message}");
}

#[test]
fn a_right_that_was_not_granted_is_said_before_it_is_needed() {
    let mut world = at_rest(Method::Signal, 4);
    world.signal_allowed = false;
    let message = assert_unprepared(&world, NotGranted);
    assert!(message.contains("signal.namespaces"), "{message}");
    for (method, reason) in [(Method::Http, NotGranted), (Method::Rollout, Prepared)] {
        let mut world = at_rest(method, 4);
        world.spec.evidence.source = EvidenceSource::ProcNet;
        world.evidence_allowed = false;
        assert_eq!(judge(&world, 10).reason, reason, "{method:?}");
    }
}

#[test]
fn a_hooks_secret_that_cannot_be_read_is_said_before_it_is_needed() {
    let mut world = at_rest(Method::Http, 4);
    world.targets[0].header_problem = Some("Secret shop/hook: there is none".into());
    let message = assert_unprepared(&world, HeaderSecretUnreadable);
    assert_eq!(message, "web: Secret shop/hook: there is none");
}

#[test]
fn a_method_that_recycles_none_or_not_all_of_the_pods_is_said_with_the_pods() {
    let mut world = at_rest(Method::Evict, 4);
    world.targets[0].pods[2].disruption_veto = Some(DisruptionVeto::Karpenter);
    let message = assert_unprepared(&world, MethodRefused);
    assert!(
        message.starts_with("web: Evict does not recycle web-2 (its annotation karpenter.sh"),
        "{message}"
    );
    for pod in &mut world.targets[0].pods {
        pod.owner = Some(owner("Job", "nightly"));
    }
    let message = assert_unprepared(&world, MethodRefused);
    assert!(
        message.contains("none of its pods: Job nightly"),
        "{message}"
    );
    let mut world = at_rest(Method::Signal, 4);
    for pod in &mut world.targets[0].pods {
        pod.method_refusal = Some("name the container".into());
    }
    let message = assert_unprepared(&world, MethodRefused);
    assert!(message.ends_with("name the container"), "{message}");
}

#[test]
fn a_workload_that_cannot_roll_within_the_limits_is_refused_before_a_failover() {
    let mut world = at_rest(Method::Rollout, 4);
    workload(&mut world).strategy = RolloutStrategy::Recreate;
    let message = assert_unprepared(&world, MethodRefused);
    assert!(message.contains("strategy Recreate"), "{message}");
    let mut world = at_rest(Method::Signal, 4);
    workload(&mut world).strategy = RolloutStrategy::Recreate;
    assert_prepared(&world, ConditionStatus::True, Prepared);
}

#[test]
fn a_lone_pod_is_not_evicted_unless_the_user_allows_it() {
    let mut world = at_rest(Method::Evict, 1);
    let message = assert_unprepared(&world, LonePod);
    assert!(message.contains("recycle.allowSingleReplica"), "{message}");
    world.spec.targets[0].recycle.allow_single_replica = Some(true);
    verify(&mut world);
    assert_prepared(&world, ConditionStatus::True, Prepared);
    assert_prepared(&at_rest(Method::Signal, 1), ConditionStatus::True, Prepared);
    assert_prepared(&at_rest(Method::Evict, 0), ConditionStatus::True, Prepared);
}

#[test]
fn a_rollout_that_does_not_end_by_itself_is_said_if_it_would_hold_the_method() {
    let failed: fn(&mut WorkloadFacts) = |w| {
        w.updated = 2;
        w.rollout_failed = true;
    };
    let on_delete: fn(&mut WorkloadFacts) = |w| {
        w.updated = 2;
        w.strategy = RolloutStrategy::OnDelete;
    };
    let stopped: fn(&mut WorkloadFacts) = |w| {
        w.updated = 2;
        w.paused = true;
    };
    let cases = [
        (Method::Rollout, failed, RolloutStuck),
        (Method::Evict, failed, Prepared),
        (Method::Signal, failed, Prepared),
        (Method::Evict, on_delete, RolloutStuck),
        (Method::Annotate, on_delete, Prepared),
        (Method::Evict, stopped, RolloutStuck),
        (Method::Signal, stopped, Prepared),
        // It ends, and a failover waits for it.
        (Method::Evict, |w| w.updated = 2, Prepared),
        // A stamp on the template of a paused Deployment rolls nothing.
        (Method::Rollout, |w| w.paused = true, RolloutStuck),
        (Method::Evict, |w| w.paused = true, Prepared),
    ];
    for (index, (method, change, reason)) in cases.into_iter().enumerate() {
        let mut world = at_rest(method, 4);
        change(workload(&mut world));
        assert_eq!(judge(&world, 10).reason, reason, "case {index}");
    }
}

#[test]
fn measured_connections_that_leave_no_room_for_one_pod_hold_an_eviction_and_no_signal() {
    // 1600 less 15 % is 1360: with 1352 held, no pod of 10 fits.
    let world = crowded(Method::Evict, 338);
    let message = assert_unprepared(&world, BudgetNeverFits);
    assert!(
        message.contains(
            "needs 10 connections on a (1600 max_connections less 15% headroom is 1360), and more than 1350 are held, as measured"
        ),
        "{message}"
    );
    assert_prepared(
        &crowded(Method::Evict, 337),
        ConditionStatus::True,
        Prepared,
    );
    assert_prepared(
        &crowded(Method::Signal, 338),
        ConditionStatus::True,
        Prepared,
    );
}

#[test]
fn the_sum_of_the_budget_does_not_change_with_what_is_held() {
    let mut world = crowded(Method::Evict, 338);
    let before = judge(&world, 10);
    let pod: &[(&str, u16)] = &[("a", 345)];
    read(&mut world, 5, &[pod; 4]);
    assert_eq!(judge(&world, 10), before);
}

#[test]
fn a_pod_whose_own_pools_pass_the_limit_never_fits_whatever_is_held() {
    let mut world = at_rest(Method::Evict, 4);
    world.spec.budget.max_connections = Some(11);
    let message = assert_unprepared(&world, BudgetNeverFits);
    assert!(
        message.contains("(11 max_connections less 15% headroom is 9)"),
        "{message}"
    );
    let mut world = at_rest(Method::Signal, 4);
    world.spec.budget.max_connections = Some(11);
    assert_prepared(&world, ConditionStatus::True, OnlyFailoversFit);
}

#[test]
fn an_estimate_holds_runs_for_readers_and_no_failover() {
    let mut world = at_rest(Method::Evict, 4);
    world.spec.budget.max_connections = Some(50);
    let message = assert_prepared(&world, ConditionStatus::True, OnlyFailoversFit);
    assert!(
        message.contains("runs for changes of readers are held: needs 10 connections on a"),
        "{message}"
    );
    assert!(message.contains("by the estimate"), "{message}");
    world.spec.triggers.reader_added.enabled = false;
    world.spec.triggers.reader_removed.enabled = false;
    assert_prepared(&world, ConditionStatus::True, Prepared);
}

#[test]
fn an_unknown_limit_holds_runs_for_readers_that_surge_and_no_failover() {
    for (method, reason) in [(Method::Evict, BudgetUnknown), (Method::Signal, Prepared)] {
        let mut world = at_rest(method, 4);
        let mut unknown = view("abc");
        unknown.facts.clear();
        world.topology = TopologyState::Current(unknown);
        let message = assert_prepared(&world, ConditionStatus::True, reason);
        assert_eq!(
            message.contains("budget.maxConnections"),
            reason == BudgetUnknown
        );
    }
}

#[test]
fn the_budgets_verdict_stays_while_pods_are_recycled() {
    let mut world = crowded(Method::Evict, 330);
    world.peers.in_flight = Load {
        reader: 0,
        writer: 100,
    };
    assert_prepared(&world, ConditionStatus::True, Prepared);
    record_condition(&mut world, "Prepared", "False", "BudgetNeverFits", 0);
    let message = assert_unprepared(&world, BudgetNeverFits);
    assert_eq!(message, "as recorded");
    world.policy.generation = Some(2);
    assert_prepared(&world, ConditionStatus::True, Prepared);
}

#[test]
fn readings_that_have_said_nothing_for_minutes_are_said() {
    let mut world = measured(Method::Signal, &[&[("b", 10)], &[("c", 10)]]);
    verify(&mut world);
    world.targets[0].evidence.measured.pods.clear();
    record_condition(&mut world, "Balanced", "Unknown", "EvidencePartial", 0);
    assert_eq!(judge(&world, 299).reason, Prepared, "pods are read anew");
    let judged = judge(&world, 300);
    assert_eq!(judged.reason, EvidenceSaysNothing);
    assert!(
        judged.message.contains("EvidencePartial"),
        "{}",
        judged.message
    );
    read(&mut world, 299, &[&[("b", 10)], &[("c", 10)]]);
    assert_eq!(judge(&world, 300).reason, Prepared);
}

#[test]
fn a_resolver_without_answers_holds_a_policy_that_waits_for_dns() {
    let mut world = at_rest(Method::Signal, 4);
    world.dns = Arc::new(dns_view(9, "--------", "bbbbbbbb"));
    assert_prepared(&world, ConditionStatus::True, Prepared);
    world.spec.dns.on_timeout = OnTimeout::Hold;
    let message = assert_unprepared(&world, DnsUnanswered);
    assert!(message.contains("the cluster endpoint"), "{message}");
    world.dns = Arc::new(dns_view(9, "-------a", "bbbbbbbb"));
    assert_prepared(&world, ConditionStatus::True, Prepared);
}

#[test]
fn without_a_current_topology_only_obstacles_are_known() {
    let failing = |reason| TopologyState::Failing {
        error: TopologyError {
            reason,
            message: "as RDS says".into(),
        },
        last: Some(view("abc")),
    };
    for (reason, shown) in [
        ("Throttled", TopologyNotCurrent),
        (TopologyError::CLUSTER_STOPPED, ClusterStopped),
    ] {
        let mut world = at_rest(Method::Evict, 4);
        world.topology = failing(reason);
        assert_prepared(&world, ConditionStatus::Unknown, shown);
        workload(&mut world).wanted = 1;
        assert_unprepared(&world, LonePod);
    }
}

#[test]
fn a_policy_that_was_never_planned_is_unknown() {
    let world = unseen(vec![target("web", Method::Signal)], 4);
    let parsed = parse_policy(&world);
    let judged = assess_preparedness(&world, &parsed, &world.status, at(0));
    assert_eq!(
        (judged.status, judged.reason),
        (ConditionStatus::Unknown, Pending)
    );
}

#[test]
fn the_judgement_of_an_idle_policy_is_the_same_on_every_pass() {
    let mut busy = verified(Method::Evict, 4, Trigger::ReaderAdded);
    busy.peers.in_flight.reader = 20;
    let mut lone = at_rest(Method::Evict, 1);
    lone.spec.pacing.max_unavailable = IntOrString::Int(1);
    for world in [
        at_rest(Method::Signal, 4),
        quiet(Method::Rollout, 4),
        crowded(Method::Evict, 338),
        busy,
        lone,
    ] {
        let first = judge(&world, 200);
        for second in 201..260 {
            assert_eq!(judge(&world, second), first);
        }
    }
}

#[test]
fn a_judged_obstacle_of_a_failover_is_one_that_the_plan_meets() {
    // The same worlds, with the failover: each is held.
    let mut lone = at_rest(Method::Evict, 1);
    let mut stuck = at_rest(Method::Rollout, 4);
    workload(&mut stuck).updated = 2;
    workload(&mut stuck).rollout_failed = true;
    let mut refused = at_rest(Method::Rollout, 4);
    workload(&mut refused).strategy = RolloutStrategy::OnDelete;
    for world in [&mut lone, &mut stuck, &mut refused] {
        assert_eq!(judge(world, 10).status, ConditionStatus::False);
        let failed_over = due_at(world.clone(), 2, 100, &[Trigger::Failover]);
        let mut failed_over = record(failed_over, 110);
        verify(&mut failed_over);
        for second in 111..400 {
            failed_over = record(failed_over, second);
            assert!(look(&failed_over, second).targets[0].step.is_none());
        }
    }
}
