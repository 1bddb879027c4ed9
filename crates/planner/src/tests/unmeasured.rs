//! Measured targets that lack readings, or room: they wait with an end, and hold no other.

use crate::testing::measured::{measured, read, silence, unread};
use crate::testing::{due_at, look, record, verify};
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;

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
