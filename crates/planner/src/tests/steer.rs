//! Measured targets: connections decide who moves, stamps record.

use crate::testing::measured::{looks, measured, read, read_one, silence, sockets, unread};
use crate::testing::{UID, at, due_at, look, pods_of, record, stamp, verify, view};
use crate::world::{TopologyState, World};
use crate::{Gate, Notice, Plan, Step};
use dbbalance_api::spec::{Method, Mode};
use dbbalance_api::status::{BalanceState, RunResult, Trigger};
use dbbalance_core::stamp::{Attempt, MoveCounter, PolicyMark};

const B: &[(&str, u16)] = &[("b", 10)];
const C: &[(&str, u16)] = &[("c", 10)];
const D: &[(&str, u16)] = &[("d", 10)];

/// Two readers, even.
pub(super) const EVEN: [&[(&str, u16)]; 12] = [B, B, B, B, B, B, C, C, C, C, C, C];

/// The cluster has these members now, as settled in epoch 2 that opened at time 100.
pub(super) fn changed(mut world: World, members: &str, trigger: Trigger) -> World {
    world.topology = TopologyState::Current(view(members));
    let before = world.status.topology.take();
    world.status.topology = Some(super::super::epochs::record_topology(
        &view(members).topology,
    ));
    let writer = before.and_then(|t| t.writer);
    world.status.topology.as_mut().unwrap().previous_writer = writer;
    due_at(world, 2, 100, &[trigger])
}

/// A third reader, d, has come to an even fleet; the run is recorded, the method verified, DNS serves d.
fn third_reader(method: Method) -> World {
    let mut world = measured(method, &EVEN);
    world = changed(world, "abcd", Trigger::ReaderAdded);
    read(&mut world, 110, &EVEN);
    looks(&mut world, 110, "d", "a");
    world = record(world, 110);
    verify(&mut world);
    world
}

pub(super) fn names(plan: &Plan) -> Vec<&str> {
    let steps = pods_of(plan.targets[0].step.as_ref());
    steps.iter().map(|s| s.name.as_str()).collect()
}

pub(super) fn gate(plan: &Plan) -> Option<Gate> {
    plan.targets[0].held.as_ref().map(|h| h.gate)
}

/// What became of the pods of a step: stamped, and marked as moved.
pub(super) fn recycled(world: &mut World, plan: &Plan, second: i64) {
    let Some(Step::Pods { pods, stamp, .. }) = &plan.targets[0].step else {
        unreachable!("there is no step: {:?}", plan.targets[0].held)
    };
    for step in pods {
        let index = world.targets[0]
            .pods
            .iter()
            .position(|p| p.uid == step.uid)
            .unwrap();
        let uid = step.uid.clone();
        let before = world.targets[0].evidence.measured.pods[&uid]
            .reading()
            .unwrap();
        let before = before.sockets.clone();
        world.targets[0].evidence.before.insert(uid, before);
        let pod = &mut world.targets[0].pods[index];
        pod.stamp = Some(stamp.clone());
        pod.moved.clone_from(&step.moved);
    }
    world.status = plan.status.clone();
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.last_step_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(
        second,
    )));
}

#[test]
fn an_idle_new_reader_gets_what_the_others_have_too_much_of_and_no_more() {
    let plan = look(&third_reader(Method::Signal), 111);
    // A quarter of twelve pods, although four are needed.
    assert_eq!(names(&plan).len(), 3, "{:?}", plan.targets[0].held);
    let steps = pods_of(plan.targets[0].step.as_ref());
    assert!(steps.iter().all(|s| s.moved.as_ref().unwrap().count == 1));
    assert_eq!(plan.status.balance[0].state, BalanceState::Unbalanced);
    assert!(
        plan.status.targets[0]
            .balance
            .as_ref()
            .unwrap()
            .batch
            .is_some()
    );
}

#[test]
fn nothing_moves_while_dns_serves_a_reader_that_has_enough() {
    let mut world = third_reader(Method::Signal);
    looks(&mut world, 111, "b", "a");
    let mut view = (*world.dns).clone();
    // It was named once.
    view.reader[0].instance = Some(dbbalance_core::topology::InstanceId("d".into()));
    world.dns = std::sync::Arc::new(view);
    let plan = look(&world, 111);
    assert_eq!((names(&plan).len(), gate(&plan)), (0, Some(Gate::Dns)));
    assert!(plan.targets[0].boost_dns, "looks are wanted");
}

#[test]
fn the_next_batch_waits_until_the_last_has_come_back_and_was_measured() {
    let mut world = third_reader(Method::Signal);
    let plan = look(&world, 111);
    let moved: Vec<String> = names(&plan).into_iter().map(str::to_owned).collect();
    recycled(&mut world, &plan, 111);
    looks(&mut world, 112, "d", "a");
    let plan = look(&world, 112);
    assert_eq!((names(&plan).len(), gate(&plan)), (0, Some(Gate::Pacing)));
    assert!(plan.targets[0].max_reading_age.is_some());
    // They have come back to d, on new ports.
    for (index, to) in EVEN.iter().enumerate() {
        let name = format!("web-{index}");
        if moved.contains(&name) {
            read_one(&mut world, 113, index, &sockets(2000, D));
        } else {
            read_one(&mut world, 113, index, &sockets(1000, to));
        }
    }
    looks(&mut world, 114, "d", "a");
    world.status = look(&world, 114).status;
    let plan = look(&world, 115);
    assert!(
        names(&plan).len() <= 1,
        "one more pod is enough: {:?}",
        names(&plan)
    );
}

#[test]
fn stale_pods_whose_connections_are_right_are_stamped_without_an_effect_or_a_run() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "abc", Trigger::ReaderRemoved);
    read(&mut world, 105, &EVEN);
    let plan = look(&world, 110);
    let Some(Step::Stamp { pods, stamp }) = &plan.targets[0].step else {
        unreachable!("no stamp: {:?}", plan.targets[0].held)
    };
    assert_eq!((pods.len(), stamp.epoch), (12, 2));
    assert_eq!(plan.status.targets[0].run, None);
    assert_eq!(plan.status.balance[0].state, BalanceState::Balanced);
}

#[test]
fn a_reading_from_before_the_epoch_stamps_nothing() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "abc", Trigger::ReaderRemoved);
    read(&mut world, 99, &EVEN);
    let plan = look(&world, 105);
    assert!(plan.targets[0].step.is_none());
    assert_eq!(gate(&plan), Some(Gate::Evidence));
    assert!(plan.targets[0].max_reading_age.is_some());
}

#[test]
fn reader_pools_on_the_new_writer_go_at_once_beyond_max_unavailable_and_others_stay() {
    let mut world = measured(Method::Signal, &EVEN);
    // b is the writer now, a and c are readers.
    world = changed(world, "bac", Trigger::Failover);
    read(&mut world, 102, &EVEN);
    looks(&mut world, 103, "c", "b");
    world = record(world, 103);
    verify(&mut world);
    let plan = look(&world, 104);
    assert_eq!(
        names(&plan),
        ["web-0", "web-1", "web-2", "web-3", "web-4", "web-5"]
    );
}

#[test]
fn an_eviction_of_ready_pods_is_never_beyond_max_unavailable() {
    let mut world = measured(Method::Evict, &EVEN);
    world = changed(world, "bac", Trigger::Failover);
    read(&mut world, 102, &EVEN);
    looks(&mut world, 103, "c", "b");
    world = record(world, 103);
    verify(&mut world);
    assert_eq!(names(&look(&world, 104)).len(), 3);
}

#[test]
fn the_first_eviction_of_a_sweep_waits_for_pods_that_are_missing_too() {
    let mut world = measured(Method::Evict, &EVEN);
    world = changed(world, "bac", Trigger::Failover);
    read(&mut world, 102, &EVEN);
    looks(&mut world, 103, "c", "b");
    world = record(world, 103);
    assert_eq!(names(&look(&world, 104)).len(), 1, "the canary");
    for pod in &mut world.targets[0].pods[9..] {
        pod.ready = false;
    }
    assert_eq!(names(&look(&world, 104)).len(), 0);
    world.targets[0].pods[9].ready = true;
    assert_eq!(names(&look(&world, 104)).len(), 1);
}

#[test]
fn a_first_eviction_that_was_recorded_and_never_made_is_made() {
    let mut world = measured(Method::Evict, &EVEN);
    world = changed(world, "bac", Trigger::Failover);
    read(&mut world, 102, &EVEN);
    looks(&mut world, 103, "c", "b");
    world = record(world, 103);
    // The operator died between the record and the eviction: all pods are there, none is claimed.
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.last_step_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(
        104,
    )));
    looks(&mut world, 106, "c", "b");
    let plan = look(&world, 106);
    assert_eq!(names(&plan).len(), 1, "{:?}", plan.targets[0].held);
}

#[test]
fn looks_that_still_name_the_old_writer_hold_the_sweep() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "bac", Trigger::Failover);
    read(&mut world, 102, &EVEN);
    looks(&mut world, 103, "b", "a");
    world = record(world, 103);
    verify(&mut world);
    let plan = look(&world, 104);
    assert_eq!((names(&plan).len(), gate(&plan)), (0, Some(Gate::Dns)));
}

#[test]
fn the_first_pod_s_connections_must_be_new_before_another_goes() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "bac", Trigger::Failover);
    read(&mut world, 102, &EVEN);
    looks(&mut world, 103, "c", "b");
    world = record(world, 103);
    let plan = look(&world, 104);
    assert_eq!(names(&plan), ["web-0"]);
    recycled(&mut world, &plan, 104);
    // The hook does nothing.
    read(&mut world, 106, &EVEN);
    looks(&mut world, 106, "c", "b");
    let plan = look(&world, 106);
    assert_eq!((names(&plan).len(), gate(&plan)), (0, Some(Gate::Canary)));
    let said = &plan.targets[0].held.as_ref().unwrap().message;
    assert!(said.contains("still holds 10 of 10 connections"), "{said}");
    // It does.
    read_one(&mut world, 107, 0, &sockets(2000, C));
    // So it is when the app has ended and was started again, which a kubelet reports late.
    assert_eq!(gate(&look(&world, 108)), Some(Gate::Canary));
    let plan = look(&world, 109);
    assert!(
        plan.notices
            .iter()
            .any(|n| matches!(n, Notice::CanaryPassed(_)))
    );
    world.status = plan.status;
    read(&mut world, 109, &EVEN);
    read_one(&mut world, 109, 0, &sockets(2000, C));
    looks(&mut world, 110, "c", "b");
    assert_eq!(names(&look(&world, 110)).len(), 5);
}

#[test]
fn a_first_pod_that_keeps_its_connections_halts_the_run_at_the_deadline() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "bac", Trigger::Failover);
    read(&mut world, 102, &EVEN);
    looks(&mut world, 103, "c", "b");
    world = record(world, 103);
    let plan = look(&world, 104);
    recycled(&mut world, &plan, 104);
    read(&mut world, 1100, &EVEN);
    looks(&mut world, 1100, "c", "b");
    let plan = look(&world, 1100);
    assert_eq!(gate(&plan), Some(Gate::Halted));
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.result, RunResult::Halted);
    assert!(
        run.message.as_ref().unwrap().contains("still holds"),
        "{run:?}"
    );
}

#[test]
fn without_evidence_nothing_moves_but_after_a_failover_stamps_decide_in_the_end() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "bac", Trigger::Failover);
    silence(&mut world, 90);
    let plan = look(&world, 110);
    assert_eq!((names(&plan).len(), gate(&plan)), (0, Some(Gate::Evidence)));
    assert_eq!(plan.status.balance[0].state, BalanceState::Unknown);
    world = record(world, 131);
    assert!(
        !names(&look(&world, 132)).is_empty(),
        "30 s after the opening"
    );
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "abcd", Trigger::ReaderAdded);
    unread(&mut world);
    assert_eq!(
        gate(&look(&world, 200)),
        Some(Gate::Evidence),
        "a reader can wait"
    );
}

#[test]
fn a_run_whose_pods_were_replaced_has_them_read_soon() {
    let mut world = third_reader(Method::Signal);
    let plan = look(&world, 111);
    recycled(&mut world, &plan, 111);
    for pod in &mut world.targets[0].pods {
        pod.stamp = Some(stamp(2));
    }
    unread(&mut world);
    let plan = look(&world, 113);
    assert!(plan.targets[0].max_reading_age.is_some());
    assert_eq!(gate(&plan), Some(Gate::Evidence));
    assert!(plan.wake.is_some());
}

#[test]
fn a_claim_whose_maker_died_holds_up_nothing_and_its_pod_may_go_again() {
    let mut world = third_reader(Method::Signal);
    let plan = look(&world, 111);
    let step = pods_of(plan.targets[0].step.as_ref())[0].clone();
    let index = world.targets[0]
        .pods
        .iter()
        .position(|p| p.uid == step.uid)
        .unwrap();
    // Claimed and counted, and the operator died before the effect.
    world.status = plan.status.clone();
    world.status.targets[0].balance.as_mut().unwrap().batch = None;
    let pod = &mut world.targets[0].pods[index];
    pod.claim = Some(step.claim);
    pod.moved = step.moved;
    // Its claim has run out (10 s and 30 s), and its cool-down (35 s).
    read(&mut world, 160, &EVEN);
    looks(&mut world, 161, "d", "a");
    let plan = look(&world, 161);
    let steps = pods_of(plan.targets[0].step.as_ref());
    assert_eq!(steps.len(), 3, "{:?}", plan.targets[0].held);
    if let Some(again) = steps.iter().find(|s| s.uid == step.uid) {
        assert_eq!(again.claim.attempt, Attempt::Retry);
        assert_eq!(again.moved.as_ref().unwrap().count, 2);
    }
}

#[test]
fn a_token_recycles_every_pod() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "abc", Trigger::Manual);
    read(&mut world, 105, &EVEN);
    world = record(world, 110);
    verify(&mut world);
    assert_eq!(names(&look(&world, 111)).len(), 3, "at the ordinary pace");
    assert_eq!(world.targets[0].pods.len(), 12);
}

#[test]
fn unevenness_without_a_change_is_taken_up_after_five_minutes() {
    let skew: Vec<&[(&str, u16)]> = vec![B, B, B, B, B, B, B, B, B, B, C, C];
    let mut world = measured(Method::Signal, &skew);
    assert_eq!(names(&look(&world, 10)).len(), 0);
    world.status = look(&world, 10).status;
    read(&mut world, 200, &skew);
    let plan = look(&world, 200);
    assert_eq!(plan.status.targets[0].run, None);
    world.status = plan.status;
    read(&mut world, 320, &skew);
    looks(&mut world, 320, "c", "a");
    let plan = look(&world, 320);
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.triggers, [Trigger::Imbalance]);
}

#[test]
fn turning_the_evidence_on_moves_nothing_for_what_was_before() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "abcd", Trigger::ReaderAdded);
    world.status.targets[0].balance = None;
    let born = stamp(2);
    for pod in &mut world.targets[0].pods {
        pod.stamp = Some(born.clone());
    }
    read(&mut world, 110, &EVEN);
    looks(&mut world, 110, "d", "a");
    let plan = look(&world, 110);
    assert_eq!(plan.status.targets[0].run, None);
    assert!(plan.targets[0].step.is_none());
}

#[test]
fn the_last_moves_end_the_run_and_say_how_even_it_is() {
    let mut world = third_reader(Method::Signal);
    let even: Vec<&[(&str, u16)]> = vec![B, B, B, B, D, D, C, C, C, C, D, D];
    read(&mut world, 120, &even);
    let mark = PolicyMark::from_uid(UID);
    let born = stamp(2);
    let run = world.status.targets[0].run.clone().unwrap();
    for index in [4, 5, 10, 11] {
        let pod = &mut world.targets[0].pods[index];
        pod.stamp = Some(born.clone());
        pod.moved = Some(MoveCounter {
            policy: mark.clone(),
            epoch: 2,
            run: run.start_time.0.as_second(),
            count: 1,
            time: at(112),
        });
    }
    let plan = look(&world, 121);
    assert!(
        matches!(plan.targets[0].step, Some(Step::Stamp { .. })),
        "{:?}",
        plan.targets[0]
    );
    world.status = plan.status;
    for pod in &mut world.targets[0].pods {
        pod.stamp = Some(born.clone());
    }
    let plan = look(&world, 122);
    assert_eq!(plan.status.history[0].result, RunResult::Succeeded);
    let told = plan.notices.iter().find_map(|n| match n {
        Notice::RunSucceeded(words, _) => Some(words.clone()),
        _ => None,
    });
    assert!(told.unwrap().contains("shares 33/33/33 %, within 15 %"));
}

#[test]
fn an_observed_policy_shows_its_balance_and_moves_nothing() {
    let mut world = third_reader(Method::Signal);
    world.spec.mode = Mode::Observe;
    let plan = look(&world, 111);
    assert!(plan.targets[0].step.is_none());
    assert_eq!(gate(&plan), Some(Gate::Observe));
    assert_eq!(plan.status.balance[0].shares.len(), 4);
}

#[test]
fn a_quiet_measured_policy_is_not_written_again() {
    let mut world = measured(Method::Signal, &EVEN);
    world.status = look(&world, 10).status;
    for second in [60, 120, 180] {
        read(&mut world, second, &EVEN);
        let plan = look(&world, second);
        assert_eq!(plan.status, world.status, "at {second}");
    }
}

#[test]
fn a_deploy_is_trimmed_when_it_has_ended_uneven() {
    let mut world = measured(Method::Signal, &EVEN);
    world.status = look(&world, 10).status;
    let skew: Vec<&[(&str, u16)]> = vec![B, B, B, B, B, B, B, B, B, C, C, C];
    for pod in &mut world.targets[0].pods {
        pod.template = "t2".into();
    }
    read(&mut world, 20, &skew);
    looks(&mut world, 20, "c", "a");
    world.status = look(&world, 20).status;
    read(&mut world, 21, &skew);
    looks(&mut world, 22, "c", "a");
    let plan = look(&world, 22);
    let run = plan.status.targets[0].run.as_ref().expect("a run");
    assert_eq!(run.triggers, [Trigger::Imbalance]);
}

#[test]
fn pods_without_any_connection_need_no_recycle_and_are_stamped() {
    const NONE: &[(&str, u16)] = &[];
    let mut world = measured(Method::Evict, &[NONE; 4]);
    world = changed(world, "abcd", Trigger::ReaderAdded);
    read(&mut world, 105, &[NONE; 4]);
    let plan = look(&world, 110);
    let Some(Step::Stamp { pods, .. }) = &plan.targets[0].step else {
        unreachable!("no stamp: {:?}", plan.targets[0].held)
    };
    assert_eq!(pods.len(), 4);
    read(&mut world, 99, &[NONE; 4]);
    let plan = look(&world, 110);
    assert!(plan.targets[0].step.is_none(), "read before the epoch");
}

#[test]
fn evidence_that_says_nothing_holds_no_longer_than_the_deadline() {
    let mut world = measured(Method::Signal, &EVEN);
    world = changed(world, "abcd", Trigger::ReaderAdded);
    world = record(world, 110);
    silence(&mut world, 90);
    assert_eq!(gate(&look(&world, 999)), Some(Gate::Evidence));
    let world = record(world, 1001);
    let plan = look(&world, 1002);
    assert_eq!(
        names(&plan).len(),
        1,
        "by stamps: {:?}",
        plan.targets[0].held
    );
}

#[test]
fn connections_that_are_none_of_the_clusters_are_no_proof_against_the_first_pod() {
    use std::net::SocketAddr;
    let mut world = third_reader(Method::Signal);
    world.status.targets[0].method_verified = None;
    let plan = look(&world, 111);
    let first = names(&plan)[0].to_owned();
    let index: usize = first.strip_prefix("web-").unwrap().parse().unwrap();
    recycled(&mut world, &plan, 111);
    // A pooler in the pod, kept from before.
    let mut pooler = sockets(3000, D)[0].clone();
    pooler.remote = SocketAddr::from(([127, 0, 0, 1], 5432));
    let uid = format!("uid-{first}");
    let before = &mut world.targets[0].evidence.before;
    let mut kept = before[&uid].to_vec();
    kept.push(pooler.clone());
    before.insert(uid, kept.as_slice().into());
    let mut after = sockets(2000, D);
    after.push(pooler);
    read_one(&mut world, 113, index, &after);
    looks(&mut world, 116, "d", "a");
    let plan = look(&world, 116);
    let passed = |n: &Notice| matches!(n, Notice::CanaryPassed(_));
    assert!(
        plan.notices.iter().any(passed),
        "{:?}",
        plan.targets[0].held
    );
}

#[test]
fn a_measured_fleet_that_is_read_as_fast_as_the_probe_may_comes_forward_whatever_its_size() {
    // 300 pods on b and none on c; each is read every 15 s, as 20 reads a second allow (`sockets::PER_SECOND`).
    let pods: Vec<&[(&str, u16)]> = vec![&[("b", 3)]; 300];
    let mut world = due_at(
        measured(Method::Signal, &pods),
        2,
        100,
        &[Trigger::ReaderAdded],
    );
    verify(&mut world);
    let held = sockets(1000, &[("b", 3)]);
    for second in (110..4_000).step_by(60) {
        for index in 0..300 {
            let age = (second + i64::try_from(index).unwrap()) % 15;
            read_one(&mut world, second - age, index, &held);
        }
        looks(&mut world, second, "c", "a");
        let plan = look(&world, second);
        if !plan.takes().is_empty() {
            return;
        }
        world.status = plan.status;
        world.settling = plan.settling;
    }
    let target = &world.status.targets[0];
    panic!(
        "after an hour no pod was taken, {} are stale, the run is {:?}: {:?}",
        target.stale,
        target.run.as_ref().map(|r| r.result),
        world.status.plan[0].message
    );
}

#[test]
fn pods_that_a_failover_has_left_in_place_are_stamped_while_others_wait() {
    let mut world = changed(measured(Method::Signal, &EVEN), "bac", Trigger::Failover);
    verify(&mut world);
    for second in 110..113 {
        read(&mut world, second, &EVEN);
        looks(&mut world, second, "b", "a");
        world = record(world, second);
    }
    let plan = look(&world, 112);
    assert_eq!(
        plan.gate(),
        Some(Gate::Dns),
        "those on b wait: {}",
        plan.why()
    );
    let Some(Step::Stamp { pods, .. }) = &plan.targets[0].step else {
        panic!("{:?}", plan.targets[0].step);
    };
    let stamped: Vec<&str> = pods.iter().map(|p| p.name.as_str()).collect();
    let on_c = ["web-6", "web-7", "web-8", "web-9", "web-10", "web-11"];
    assert_eq!(stamped, on_c);
    world.spec.suspend = true;
    assert!(look(&world, 112).targets[0].step.is_none());
}
