//! Measured targets that lack readings, or room: they wait with an end, and hold no other.

use crate::Gate;
use crate::testing::measured::{measured, read, silence, unread};
use crate::testing::{at, due_at, look, parse_policy, record, stamp, verify};
use dbbalance_api::spec::Method;
use dbbalance_api::status::{HaltReason, RunResult, Trigger};

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
            !plan.targets[0].running,
            "{method:?}: after two hours the run still holds one of the cluster's three places: {:?}, {}",
            plan.gate(),
            plan.why()
        );
        match method {
            Method::Evict => assert_eq!(run.halted_reason, Some(HaltReason::NoProgress)),
            _ => assert_eq!(plan.gate(), Some(Gate::Budget), "{}", plan.why()),
        }
        assert!(
            plan.why().contains(if method == Method::Evict {
                "1 of 4"
            } else {
                "needs"
            }),
            "{}",
            plan.why()
        );
        assert!(plan.wake.is_none_or(|w| w >= at(7999)), "{:?}", plan.wake);
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
    assert_eq!(run.halted_reason, Some(HaltReason::NoProgress));
    assert_eq!(world.status.plan[0].waiting_for.as_deref(), Some("Halted"));
    assert!(passes < 400, "{passes} passes");
}

#[test]
fn silence_is_counted_from_the_first_request_of_this_process_or_the_last_evidence() {
    let pods: Vec<&[(&str, u16)]> = vec![&[("b", 10)]; 8];
    for (trigger, patience) in [(Trigger::Failover, 30), (Trigger::ReaderAdded, 900)] {
        let mut world = due_at(measured(Method::Signal, &pods), 2, 100, &[trigger]);
        verify(&mut world);
        silence(&mut world, 2000);
        world = record(world, 2000 + patience - 1);
        assert!(world.status.targets[0].run.is_none(), "{trigger:?}");
        let world = record(world, 2000 + patience);
        let plan = look(&world, 2000 + patience + 1);
        assert!(!plan.takes().is_empty(), "{trigger:?}: {}", plan.why());
    }
}

#[test]
fn where_no_pod_may_be_read_no_reading_is_awaited() {
    let pods: Vec<&[(&str, u16)]> = vec![&[("b", 10)]; 8];
    let mut world = due_at(
        measured(Method::Signal, &pods),
        2,
        100,
        &[Trigger::Failover],
    );
    verify(&mut world);
    unread(&mut world);
    world.evidence_allowed = false;
    let world = record(world, 130);
    assert!(!look(&world, 131).takes().is_empty());
}
