//! Faults found by an adversarial review: each test states the right behaviour, and fails.

#![allow(unused_imports)]

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::testing::measured::{looks, measured, read, read_one, sockets, unread};
use crate::testing::{
    at, claim, dns_view, due_at, look, quiet, record, running, since_claim, stamp, verified, verify,
    view,
};
use crate::assess_preparedness;
use crate::testing::parse_policy;
use crate::world::{ClusterPeers, EffectBackoff, PeerHolding, TopologyState};
use crate::{Gate, Notice};
use dbbalance_api::conditions::ConditionStatus;
use dbbalance_api::spec::{BudgetSpec, DnsSpec, Method};
use dbbalance_api::status::{HaltReason, RunResult, Trigger};
use dbbalance_core::budget::Holding;
use dbbalance_core::topology::InstanceId;

#[test]
fn a_new_leader_waits_for_its_first_readings_and_recycles_nothing_blind() {
    // A reader was added 30 minutes ago and a slow episode is still in progress; or a failover 50 s ago. The leader is
    // lost, and its successor has not read a pod yet: that is no silence of the evidence.
    let pods: Vec<&[(&str, u16)]> = vec![&[("b", 10)]; 8];
    for (trigger, opened) in [(Trigger::ReaderAdded, 100), (Trigger::Failover, 1950)] {
        for method in [Method::Signal, Method::Evict] {
            let mut world = due_at(measured(method, &pods), 2, opened, &[trigger]);
            verify(&mut world);
            read(&mut world, 1990, &pods);
            world = record(world, 1990);
            unread(&mut world);
            for second in 2000..2005 {
                let plan = look(&world, second);
                assert!(
                    plan.takes().is_empty(),
                    "{trigger:?}, {method:?}: {:?} recycled without a reading",
                    plan.takes(),
                );
                world = record(world, second);
            }
        }
    }
}

#[test]
fn what_pods_of_another_namespace_print_holds_no_failover() {
    // One pod of namespace dev prints a table of 1600 sockets that do not exist, to each instance.
    let mut measured = Holding::default();
    for instance in ["a", "b", "c"] {
        let id = InstanceId(instance.into());
        measured.measured.insert(id, 1600);
    }
    let hostile = PeerHolding {
        namespace: "dev".into(),
        name: "wild".into(),
        held: measured,
        ..PeerHolding::default()
    };
    for trigger in [Trigger::Failover, Trigger::ReaderAdded] {
        for method in [Method::Evict, Method::Signal] {
            let mut world = verified(method, 4, trigger);
            assert!(!look(&world, 111).takes().is_empty());
            let budget = BudgetSpec::default();
            let peers = std::slice::from_ref(&hostile);
            world.peers = ClusterPeers::sum(peers, "shop", Some(&view("abc")), &budget);
            let plan = look(&world, 111);
            assert!(
                !plan.takes().is_empty(),
                "{trigger:?} by {method:?} is held: {}",
                plan.why()
            );
        }
    }
}

#[test]
fn a_pod_whose_readiness_flaps_does_not_resume_a_halted_run_without_end() {
    let mut world = running(Method::Http, 6, Trigger::ReaderAdded);
    let mut attempts = 0;
    let mut now = 111;
    for _ in 0..40 {
        // The hook answers 500, twice on the first pod: the run halts.
        let plan = look(&world, now);
        let taken: Vec<String> = plan.takes().into_iter().map(str::to_owned).collect();
        attempts += taken.len();
        world.status = plan.status;
        if !taken.is_empty() {
            let run = world.status.targets[0].run.as_mut().unwrap();
            run.last_step_time = Some(Time(at(now)));
        }
        for pod in &mut world.targets[0].pods {
            if taken.contains(&pod.name) {
                pod.since_claim = Some(since_claim(&claim(2, 1, now), true));
                pod.claim = Some(claim(2, 3, now));
            }
        }
        now += 20;
        world = record(world, now);
        // Its readiness flaps, for a reason of its own.
        for pod in &mut world.targets[0].pods {
            pod.ready = pod.claim.is_none();
        }
        now += 20;
        world = record(world, now);
        for pod in &mut world.targets[0].pods {
            pod.ready = true;
        }
        now += 20;
    }
    assert!(
        attempts <= 8,
        "{attempts} first attempts in one epoch, each of them with a redo"
    );
}

#[test]
fn a_crash_hours_after_a_recycle_is_not_laid_to_it() {
    let mut world = verified(Method::Signal, 12, Trigger::ReaderAdded);
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.last_step_time = Some(Time(at(111)));
    for index in [0, 1] {
        let pod = &mut world.targets[0].pods[index];
        pod.since_claim = Some(since_claim(&claim(2, 1, 111), true));
        pod.stamp = Some(stamp(2));
    }
    // Then a window holds the run for the day, and two pods run out of memory in the afternoon.
    world.spec.windows = serde_json::from_value(json!([{
        "name": "day", "type": "Deny", "schedule": "* * * * *", "durationSeconds": 3600,
    }]))
    .unwrap();
    let world = record(world, 120);
    let mut world = record(world, 20_000);
    for index in [0, 1] {
        let pod = &mut world.targets[0].pods[index];
        let since = pod.since_claim.as_mut().unwrap();
        since.ended = vec!["app".to_owned()];
    }
    let plan = look(&world, 25_000);
    assert_eq!(plan.gate(), Some(Gate::Window), "{}", plan.why());
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.result, RunResult::Running, "{:?}", run.halted_reason);
    assert_ne!(run.halted_reason, Some(HaltReason::AppEnded));
}

#[test]
fn the_writers_of_a_failover_do_not_wait_without_end_for_a_reader_that_does_not_come_back() {
    // Two instances; the zone of the old writer is gone. RDS lists it as a reader that reboots, for hours, and the reader
    // endpoint leads to the only instance that serves. Target `web` has pools on both endpoints; its writers are broken.
    let mut world = quiet(Method::Signal, 4);
    world.spec.dns = DnsSpec::default();
    world.topology = TopologyState::Current(view("ab"));
    world = record(record(world, 1), 32);
    world.status.pending_epoch = None;
    world.topology = TopologyState::Current(view("ba"));
    world = record(world, 100);
    let answers = |second| Arc::new(dns_view(second, &"b".repeat(8), &"b".repeat(8)));
    world.dns = answers(120);
    let opening = look(&world, 120).open.unwrap();
    crate::open_epoch(&mut world.status, opening.epoch, at(120));
    verify(&mut world);
    let mut said = false;
    for second in (121..4000).step_by(10) {
        world.dns = answers(second);
        let plan = look(&world, second);
        if !plan.takes().is_empty() {
            return;
        }
        let late = |n: &Notice| matches!(n, Notice::DnsLate(_) | Notice::RunHalted(..));
        said |= plan.notices.iter().any(late);
        said |= plan.targets[0].held.as_ref().is_some_and(|h| h.until.is_some());
        world.status = plan.status;
        world.settling = plan.settling;
    }
    world.dns = answers(4000);
    let plan = look(&world, 4000);
    assert_eq!(plan.gate(), Some(Gate::Dns));
    assert!(
        said,
        "for an hour, with dns.timeoutSeconds 300, nothing is done for the writers, and no event, halt or end says so: {}",
        plan.why()
    );
}

#[test]
fn a_failover_that_a_disruption_budget_refuses_for_hours_ends_or_is_said_by_a_condition() {
    // The budget allows no disruption, ever: every attempt is answered with 429, and put off by 10 s.
    let mut world = verified(Method::Evict, 4, Trigger::Failover);
    for second in (111..15_000).step_by(10) {
        world.targets[0].backoff = Some(EffectBackoff {
            gate: Gate::DisruptionBudget,
            message: "evicting pod shop/web-0: the budget web needs 4 healthy pods".to_owned(),
            until: at(second + 10),
        });
        world = record(world, second);
    }
    let run = world.status.targets[0].run.as_ref().unwrap();
    let prepared = assess_preparedness(&world, &parse_policy(&world), &world.status, at(15_000));
    assert!(
        run.result == RunResult::Halted || prepared.status == ConditionStatus::False,
        "after four hours the run is {:?}, and Prepared is {:?}: {}",
        run.result,
        prepared.status,
        prepared.message
    );
}

#[test]
fn a_measured_run_that_can_take_no_pod_gives_up_its_place_among_the_runs_of_the_cluster() {
    // All connections are on b, none on c. One of four pods crashes in a loop, for days: maxUnavailable leaves none free.
    let pods: Vec<&[(&str, u16)]> = vec![&[("b", 10)]; 4];
    for method in [Method::Signal, Method::Evict] {
        let mut world = due_at(measured(method, &pods), 2, 100, &[Trigger::ReaderAdded]);
        verify(&mut world);
        match method {
            Method::Evict => world.targets[0].pods[3].ready = false,
            // The budget has no room: the sum is not even shown.
            _ => world.spec.budget.max_connections = Some(12),
        }
        let mut plan = look(&world, 110);
        for second in (111..8_000).step_by(5) {
            read(&mut world, second, &pods);
            plan = look(&world, second);
            assert!(plan.takes().is_empty());
            world.status = plan.status.clone();
            world.settling = plan.settling.clone();
        }
        let run = world.status.targets[0].run.as_ref().unwrap();
        assert!(
            run.result != RunResult::Running || !plan.targets[0].running,
            "{method:?}: after two hours the run still holds one of the cluster's three places: {:?}, {}",
            plan.gate(),
            plan.why()
        );
    }
}

#[test]
fn a_run_whose_pods_cannot_be_measured_any_more_ends_or_halts_with_the_reason() {
    // A run evens out connections that nothing has made stale; then its pods cannot be read, for days.
    let pods: Vec<&[(&str, u16)]> = vec![&[("b", 10)]; 4];
    let mut world = due_at(
        measured(Method::Evict, &pods),
        2,
        100,
        &[Trigger::ReaderAdded],
    );
    verify(&mut world);
    for pod in &mut world.targets[0].pods {
        pod.stamp = Some(stamp(2));
    }
    for second in 110..115 {
        read(&mut world, second, &pods);
        world = record(world, second);
    }
    let run = world.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.result, RunResult::Running);
    unread(&mut world);
    let mut passes = 0;
    let mut now = at(120);
    while now < at(8_000) {
        let plan = crate::plan(&world, &parse_policy(&world), now);
        world.status = plan.status;
        world.settling = plan.settling;
        now = plan.wake.unwrap_or(at(8_000));
        passes += 1;
    }
    let run = world.status.targets[0].run.as_ref().unwrap();
    assert_ne!(
        run.result,
        RunResult::Running,
        "after two hours and {passes} passes: {:?}",
        world.status.plan
    );
}

#[test]
fn a_measured_fleet_that_is_read_as_fast_as_the_probe_may_comes_forward_whatever_its_size() {
    // 300 pods on b and none on c; each is read every 15 s, as 20 reads a second allow (`sockets::PER_SECOND`).
    let pods: Vec<&[(&str, u16)]> = vec![&[("b", 10)]; 300];
    let mut world = due_at(
        measured(Method::Signal, &pods),
        2,
        100,
        &[Trigger::ReaderAdded],
    );
    verify(&mut world);
    let held = sockets(1000, &[("b", 10)]);
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
fn a_signal_that_ends_the_app_of_pods_that_are_not_ready_stops_at_the_first_of_them() {
    // Probes ask the database, so a failover makes all pods not Ready; and the app dies of the signal that it catches.
    let mut world = running(Method::Signal, 60, Trigger::Failover);
    for pod in &mut world.targets[0].pods {
        pod.ready = false;
    }
    world.status.targets[0].run.as_mut().unwrap().ready = 0;
    let mut ended = 0;
    for second in 111..125 {
        let plan = look(&world, second);
        let taken: Vec<String> = plan.takes().into_iter().map(str::to_owned).collect();
        world.status = plan.status;
        if !taken.is_empty() {
            let run = world.status.targets[0].run.as_mut().unwrap();
            run.last_step_time = Some(Time(at(second)));
        }
        for pod in &mut world.targets[0].pods {
            if taken.contains(&pod.name) {
                let mut since = since_claim(&claim(2, 1, second), false);
                since.ended = vec!["app".to_owned()];
                pod.since_claim = Some(since);
                pod.stamp = Some(stamp(2));
                pod.restarts += 1;
                ended += 1;
            }
        }
    }
    assert!(
        ended <= 10,
        "the method has ended the apps of {ended} of 60 pods, and none has shown that it works"
    );
}
