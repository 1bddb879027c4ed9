//! Targets whose pods move by a narrowed name: the order of an episode, what ends it, and what it falls back to.

use jiff::SignedDuration;

use super::steer::{EVEN, changed, gate, names};
use crate::testing::measured::{looks, measured, read, read_one, sockets};
use crate::testing::{UID, at, look, record, verify};
use crate::world::{SteeredName, TopologyState, World};
use crate::{Gate, Notice, Plan, Step, describe_steered};
use dbbalance_api::spec::{Method, Mode, SteeringSpec, SteeringVia};
use dbbalance_api::status::{DnsStatus, Trigger};
use dbbalance_core::narrow::{Led, NameAction, NameLook, NarrowClaim, ObservedName, WidenReason};
use dbbalance_core::stamp::PolicyMark;
use dbbalance_core::topology::InstanceId;

fn d() -> InstanceId {
    InstanceId("d".into())
}

/// A third reader, d, has come to an even fleet at second 100; the run is recorded, the method verified. Aurora's own
/// answer is b, which has enough.
fn third_reader(method: Method) -> World {
    let mut world = measured(method, &EVEN);
    world.spec.dns.steering = Some(SteeringSpec {
        via: SteeringVia::Service,
        reader: "orders-ro".into(),
        hold_seconds: 60,
        settle_seconds: 0,
        allow_single_operator: false,
    });
    world.steered_name = Some(SteeredName {
        observed: ObservedName::Found {
            led: Led::Aurora,
            claim: None,
        },
        looks: Vec::new(),
        greatest_ttl: Some(5),
        is_operator_alone: false,
        is_shutting_down: false,
    });
    world = changed(world, "abcd", Trigger::ReaderAdded);
    read(&mut world, 110, &EVEN);
    looks(&mut world, 110, "b", "a");
    world = record(world, 110);
    verify(&mut world);
    world
}

fn name(world: &mut World) -> &mut SteeredName {
    world.steered_name.as_mut().unwrap()
}

/// Records a plan and makes its change of the name.
fn apply(world: &mut World, plan: &Plan) {
    world.status = plan.status.clone();
    let observed = match &plan.name_action {
        NameAction::Keep => return,
        NameAction::Narrow(claim) => ObservedName::Found {
            led: Led::Instance(claim.instance.clone()),
            claim: Some(claim.clone()),
        },
        NameAction::Widen(_) => ObservedName::Found {
            led: Led::Aurora,
            claim: None,
        },
    };
    name(world).observed = observed;
    name(world).looks.clear();
}

/// Twenty look-ups before this second, ten a second, that lead to d.
fn tell(world: &mut World, second: i64) {
    name(world).looks = (0..20)
        .rev()
        .map(|n| NameLook {
            at: at(second) - SignedDuration::from_millis(100) * n,
            led: Some(Led::Instance(d())),
            ttl: 5,
        })
        .collect();
}

/// The name narrowed to d at second 111, told, and recorded at 114.
fn narrowed(method: Method) -> World {
    let mut world = third_reader(method);
    let plan = look(&world, 111);
    apply(&mut world, &plan);
    tell(&mut world, 114);
    read(&mut world, 114, &EVEN);
    // What was found narrowed is recorded with the next step, which this world has not taken.
    world.status.dns = look(&world, 114).status.dns;
    world
}

#[test]
fn a_name_is_narrowed_to_the_empty_reader_before_any_pod_moves() {
    let world = third_reader(Method::Signal);
    let plan = look(&world, 111);
    let NameAction::Narrow(claim) = &plan.name_action else {
        panic!("{:?}: {}", plan.name_action, plan.why());
    };
    let run = world.status.targets[0].run.as_ref().unwrap();
    assert_eq!(claim.policy, PolicyMark::from_uid(UID));
    assert_eq!(
        (&claim.instance, claim.run),
        (&d(), run.start_time.0.as_second())
    );
    assert_eq!((names(&plan).len(), gate(&plan)), (0, Some(Gate::Dns)));
    assert_eq!(plan.why(), "orders-ro is to be narrowed to d");
}

#[test]
fn pods_move_once_the_name_is_told_whatever_aurora_answers() {
    let mut world = third_reader(Method::Signal);
    let plan = look(&world, 111);
    apply(&mut world, &plan);
    let plan = look(&world, 112);
    assert_eq!(plan.name_action, NameAction::Keep);
    assert_eq!((names(&plan).len(), gate(&plan)), (0, Some(Gate::Dns)));
    assert_eq!(
        plan.why(),
        "orders-ro is narrowed to d; pods move when all caches follow"
    );
    let until = plan.targets[0].held.as_ref().unwrap().until;
    assert_eq!(until, Some(at(111) + SignedDuration::from_millis(13_500)));
    world.status = plan.status;
    tell(&mut world, 114);
    let plan = look(&world, 114);
    assert_eq!(
        (names(&plan).len(), &plan.name_action),
        (3, &NameAction::Keep)
    );
}

#[test]
fn an_episode_is_narrowed_told_moved_measured_and_widened() {
    let mut world = narrowed(Method::Signal);
    let mut held = EVEN;
    let mut moved = Vec::new();
    for second in 114..140 {
        tell(&mut world, second);
        for (index, to) in held.iter().enumerate() {
            let port = if moved.contains(&format!("web-{index}")) {
                2000
            } else {
                1000
            };
            read_one(&mut world, second, index, &sockets(port, to));
        }
        let plan = look(&world, second);
        if let NameAction::Widen(reason) = plan.name_action {
            assert_eq!(reason, WidenReason::Reached);
            // Six, six and none: four make it even, and no more go.
            assert_eq!(moved.len(), 4, "{moved:?}");
            apply(&mut world, &plan);
            let plan = look(&world, second + 1);
            assert!(
                plan.notices
                    .iter()
                    .any(|n| matches!(n, Notice::Widened(text)
                if text.starts_with("orders-ro leads to Aurora's own answer again after")
                    && text.ends_with("s at d (Reached)"))),
                "{:?}",
                plan.notices
            );
            return;
        }
        assert_eq!(plan.name_action, NameAction::Keep);
        apply(&mut world, &plan);
        if let Some(Step::Pods { pods, stamp, .. }) = &plan.targets[0].step {
            for step in pods {
                let found = &mut world.targets[0];
                let index = found.pods.iter().position(|p| p.uid == step.uid).unwrap();
                let before = found.evidence.measured.pods[&step.uid].reading().unwrap();
                let before = before.sockets.clone();
                found.evidence.before.insert(step.uid.clone(), before);
                found.pods[index].stamp = Some(stamp.clone());
                found.pods[index].moved.clone_from(&step.moved);
                held[index] = &[("d", 10)];
                moved.push(step.name.clone());
            }
        }
    }
    panic!("it is narrowed still: {:?}", look(&world, 140).targets[0]);
}

type Change = (fn(&mut World), WidenReason);

#[test]
fn whatever_stops_the_episode_widens_the_name_in_the_same_pass() {
    let changes: [Change; 12] = [
        (|w| w.spec.suspend = true, WidenReason::Suspended),
        (|w| w.spec.mode = Mode::Observe, WidenReason::Observed),
        (
            |w| w.policy.pause_until = Some("2030-01-01T00:00:00Z".into()),
            WidenReason::Paused,
        ),
        (|w| w.policy.deleting = true, WidenReason::Deleted),
        (|w| w.policy.generation = Some(2), WidenReason::Edited),
        (|w| w.role_allowed = false, WidenReason::InvalidSpec),
        (|w| w.spec.dns.steering = None, WidenReason::NotSteered),
        (
            |w| w.topology = TopologyState::Pending,
            WidenReason::TopologyNotCurrent,
        ),
        (
            |w| name(w).is_shutting_down = true,
            WidenReason::ShuttingDown,
        ),
        (
            |w| name(w).is_operator_alone = true,
            WidenReason::SingleOperator,
        ),
        (|w| w.status.targets[0].run = None, WidenReason::Unexplained),
        (
            |w| {
                if let TopologyState::Current(view) = &mut w.topology {
                    view.facts.get_mut(&d()).unwrap().is_available = false;
                }
            },
            WidenReason::ReceiverGone,
        ),
    ];
    for (change, reason) in changes {
        let mut world = narrowed(Method::Signal);
        change(&mut world);
        let plan = look(&world, 114);
        assert_eq!(plan.name_action, NameAction::Widen(reason));
        let steps = plan.targets.first().map_or(0, |_| names(&plan).len());
        assert_eq!(steps, 0, "{reason}: no pod is sent to where the name led");
    }
}

#[test]
fn a_failover_widens_the_name_while_it_still_settles() {
    let mut world = narrowed(Method::Signal);
    world.spec.triggers.failover.settle_seconds = 30;
    world.topology = TopologyState::Current(crate::testing::view("bacd"));
    let plan = look(&world, 114);
    assert_eq!(plan.name_action, NameAction::Widen(WidenReason::Urgent));
}

#[test]
fn a_new_leader_widens_what_the_recorded_run_does_not_explain() {
    let mut world = third_reader(Method::Signal);
    name(&mut world).observed = ObservedName::Found {
        led: Led::Instance(d()),
        claim: Some(NarrowClaim {
            policy: PolicyMark::from_uid(UID),
            run: 7,
            generation: 1,
            instance: d(),
            time: at(100),
        }),
    };
    let plan = look(&world, 111);
    assert_eq!(
        plan.name_action,
        NameAction::Widen(WidenReason::Unexplained)
    );
}

#[test]
fn a_name_that_is_not_followed_moves_nobody_and_is_given_up_after_the_second_time() {
    let mut world = third_reader(Method::Signal);
    let mut second = 111;
    for time in 1..=2 {
        read(&mut world, second, &EVEN);
        let plan = look(&world, second);
        assert!(
            matches!(plan.name_action, NameAction::Narrow(_)),
            "{time}: {}",
            plan.why()
        );
        apply(&mut world, &plan);
        second += 14;
        read(&mut world, second, &EVEN);
        let plan = look(&world, second);
        assert_eq!(plan.name_action, NameAction::Widen(WidenReason::NotLed));
        assert_eq!(names(&plan).len(), 0);
        apply(&mut world, &plan);
        second += 11;
    }
    let dns = world.status.dns.clone().unwrap();
    assert_eq!((dns.led.as_str(), dns.not_led), ("d", 2));
    // Today's steering: Aurora answers d by luck.
    read(&mut world, second, &EVEN);
    looks(&mut world, second, "d", "a");
    let plan = look(&world, second);
    assert_eq!(
        (&plan.name_action, names(&plan).len()),
        (&NameAction::Keep, 3)
    );
    let policy = crate::testing::parse_policy(&world);
    let state = describe_steered(&world, &policy, &plan.status, at(second)).unwrap();
    assert_eq!((state.is_steered, state.reason), (Some(false), "NotLed"));
}

#[test]
fn a_name_that_cannot_be_used_leaves_everything_as_without_steering() {
    for observed in [
        ObservedName::Missing,
        ObservedName::WrongType,
        ObservedName::NotAllowed,
        ObservedName::HasSelector { claim: None },
        ObservedName::ForeignSlice { claim: None },
    ] {
        for answer in ["b", "d"] {
            let mut world = third_reader(Method::Signal);
            looks(&mut world, 111, answer, "a");
            name(&mut world).observed = observed.clone();
            let with = look(&world, 111);
            world.spec.dns.steering = None;
            world.steered_name = None;
            let without = look(&world, 111);
            assert_eq!(with.targets, without.targets, "{observed:?}");
            assert_eq!(with.name_action, NameAction::Keep);
        }
    }
}

#[test]
fn another_policys_claim_is_waited_for() {
    let mut world = third_reader(Method::Signal);
    name(&mut world).observed = ObservedName::Found {
        led: Led::Instance(d()),
        claim: Some(NarrowClaim {
            policy: PolicyMark::from_uid("ffffffff-4e5f"),
            run: 7,
            generation: 1,
            instance: d(),
            time: at(100),
        }),
    };
    tell(&mut world, 111);
    let plan = look(&world, 111);
    assert_eq!(
        (&plan.name_action, names(&plan).len()),
        (&NameAction::Keep, 0)
    );
    assert!(
        plan.why()
            .contains("by the policy whose UID begins with \"ffffffff\""),
        "{}",
        plan.why()
    );
}

#[test]
fn a_rollout_of_the_target_holds_narrowing_and_ends_it() {
    let roll = |world: &mut World| {
        let workload = world.targets[0].workload.as_mut().unwrap();
        workload.updated = workload.wanted - 1;
    };
    let mut world = third_reader(Method::Signal);
    roll(&mut world);
    assert_eq!(look(&world, 111).name_action, NameAction::Keep);
    let mut world = narrowed(Method::Signal);
    roll(&mut world);
    let plan = look(&world, 114);
    assert_eq!(
        plan.name_action,
        NameAction::Widen(WidenReason::TargetMoving)
    );
}

#[test]
fn an_eviction_is_not_begun_too_late_for_its_successor_to_look_up_the_narrowed_name() {
    for (method, second, moves) in [
        (Method::Signal, 168, true),
        (Method::Signal, 169, false),
        (Method::Evict, 141, true),
        (Method::Evict, 142, false),
    ] {
        let mut world = narrowed(method);
        tell(&mut world, second);
        read(&mut world, second, &EVEN);
        let plan = look(&world, second);
        assert_eq!(!names(&plan).is_empty(), moves, "{method:?} at {second}");
        let widened = NameAction::Widen(WidenReason::HoldOver);
        assert_eq!(
            plan.name_action == widened,
            !moves,
            "{method:?} at {second}"
        );
        if !moves {
            let rest = plan.status.dns.unwrap().rest_until.unwrap().0;
            assert_eq!(
                rest,
                at(second + 60),
                "others get Aurora's answer for as long"
            );
        }
    }
}

#[test]
fn a_receiver_without_room_for_all_that_may_land_there_is_not_narrowed_to() {
    let mut world = third_reader(Method::Signal);
    // Twelve pods of ten, three of them not Ready: room for three that move, but not for three more that start.
    world.spec.budget.headroom_percent = 0;
    world.spec.budget.max_connections = Some(100);
    assert!(matches!(
        look(&world, 111).name_action,
        NameAction::Narrow(_)
    ));
    for pod in &mut world.targets[0].pods[..2] {
        pod.ready = false;
    }
    world.spec.budget.max_connections = Some(85);
    let with = look(&world, 111);
    assert_eq!(with.name_action, NameAction::Keep, "{}", with.why());
}

#[test]
fn the_status_shows_where_the_name_leads_and_is_written_only_on_change() {
    let mut world = third_reader(Method::Signal);
    let dns = look(&world, 111).status.dns.unwrap();
    assert_eq!(
        (dns.service.as_str(), dns.led.as_str()),
        ("orders-ro", DnsStatus::AURORA)
    );
    assert_eq!((dns.cache_seconds, dns.narrowed_since), (Some(11), None));
    let plan = look(&world, 111);
    apply(&mut world, &plan);
    let plan = look(&world, 112);
    assert!(
        plan.notices
            .iter()
            .any(|n| matches!(n, Notice::Narrowed(text)
        if text == "orders-ro leads to d alone until connections have moved there"))
    );
    let dns = plan.status.dns.clone().unwrap();
    assert_eq!(dns.led, "d");
    assert_eq!(dns.narrowed_since.as_ref().unwrap().0, at(111));
    world.status = plan.status;
    let again = look(&world, 113);
    assert_eq!(again.status.dns, Some(dns));
    assert!(
        !again
            .notices
            .iter()
            .any(|n| matches!(n, Notice::Narrowed(_)))
    );
}
