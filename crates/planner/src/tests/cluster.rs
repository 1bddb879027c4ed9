//! The balance of a cluster over several targets and policies, each of which moves only its own pods.

use std::collections::BTreeMap;

use super::steer::{changed, gate, names};
use crate::testing::measured::{looks, measured, read, read_one, sockets};
use crate::testing::{UID, at, look, pods_of, record, verify, view};
use crate::world::{ClusterPeers, PeerHolding, TopologyState, World};
use crate::{Gate, Plan};
use dbbalance_api::spec::{BudgetSpec, Method};
use dbbalance_api::status::{BalanceState, RunResult, Trigger};
use dbbalance_core::balance::{OtherConnections, ReaderShares};
use dbbalance_core::topology::InstanceId;

const B: &[(&str, u16)] = &[("b", 10)];

/// Others hold so much of each reader, in pods of ten, with nothing in flight.
fn others(held: &[(&str, u32)]) -> OtherConnections {
    let on = |held: &[(&str, u32)]| -> BTreeMap<InstanceId, u32> {
        let named = held.iter().filter(|(_, n)| *n > 0);
        named.map(|(i, n)| (InstanceId((*i).into()), *n)).collect()
    };
    let smallest: Vec<(&str, u32)> = held.iter().map(|(i, n)| (*i, (*n).min(10))).collect();
    OtherConnections {
        measured: on(held),
        expected: on(held),
        smallest: on(&smallest),
        unread: false,
    }
}

/// A service of one pod on b, verified, after the reader c was added and its epoch opened at time 100.
fn service() -> World {
    let mut world = measured(Method::Signal, &[B]);
    world.topology = TopologyState::Current(view("ab"));
    let topology = crate::epochs::record_topology(&view("ab").topology);
    world.status.topology = Some(topology);
    world = changed(world, "abc", Trigger::ReaderAdded);
    read(&mut world, 110, &[B]);
    looks(&mut world, 110, "c", "a");
    verify(&mut world);
    world
}

#[test]
fn a_single_pod_is_moved_for_the_cluster_and_says_so() {
    let mut world = service();
    world.peers.shares = others(&[("b", 190), ("c", 0)]);
    world = record(world, 110);
    looks(&mut world, 111, "c", "a");
    let plan = look(&world, 111);
    assert_eq!(names(&plan), ["web-0"], "{:?}", plan.targets[0].held);
    let balance = &plan.status.balance[0];
    assert_eq!(
        (balance.state, balance.reason.as_str()),
        (BalanceState::Unbalanced, "ClusterUneven")
    );
    let cluster: Vec<_> = balance.shares.iter().map(|s| s.cluster_percent).collect();
    assert_eq!(cluster, [None, Some(100), Some(0)]);
    // The others learn what it moves, before it does.
    let ReaderShares::Read(shares) = &plan.targets[0].shares else {
        panic!("it was read")
    };
    assert_eq!(shares.measured[&InstanceId("b".into())], 10);
    assert_eq!(
        shares.expected,
        BTreeMap::from([(InstanceId("c".into()), 10)])
    );
}

#[test]
fn alone_a_single_pod_is_as_even_as_can_be_as_before() {
    let plan = look(&record(service(), 110), 111);
    assert_eq!(plan.status.balance[0].state, BalanceState::Balanced);
    assert_eq!(plan.status.balance[0].reason, "PodQuantum");
    assert!(
        plan.status.balance[0]
            .shares
            .iter()
            .all(|s| s.cluster_percent.is_none())
    );
}

#[test]
fn what_others_have_reserved_is_waited_for() {
    let mut world = service();
    world.peers.shares = others(&[("b", 190), ("c", 0)]);
    world.peers.shares.expected = others(&[("b", 100), ("c", 90)]).expected;
    for second in 110..113 {
        looks(&mut world, second, "c", "a");
        world = record(world, second);
    }
    looks(&mut world, 113, "c", "a");
    let plan = look(&world, 113);
    assert_eq!((names(&plan).len(), gate(&plan)), (0, Some(Gate::Pacing)));
    assert!(
        plan.why().contains("other targets of the cluster"),
        "{}",
        plan.why()
    );
}

#[test]
fn two_targets_of_a_policy_do_not_both_make_up_for_one_lack() {
    let mut world = service();
    world.spec.targets.push({
        let mut second = world.spec.targets[0].clone();
        second.name = "api".into();
        second.workload_ref.as_mut().unwrap().name = "api".into();
        second
    });
    let mut api = world.targets[0].clone();
    api.workload.as_mut().unwrap().name = "api".into();
    api.pods[0].name = "api-0".into();
    api.pods[0].uid = "uid-api-0".into();
    let reading = api.evidence.measured.pods.remove("uid-web-0").unwrap();
    api.evidence
        .measured
        .pods
        .insert("uid-api-0".into(), reading);
    world.targets.push(api);
    world.status.targets.push({
        let mut status = world.status.targets[0].clone();
        status.name = "api".into();
        status.reference = "Deployment/api".into();
        status
    });
    verify(&mut world);
    let mut moved = Vec::new();
    for second in 110..114 {
        looks(&mut world, second, "c", "a");
        let plan = look(&world, second);
        for target in &plan.targets {
            moved.extend(pods_of(target.step.as_ref()).iter().map(|p| p.name.clone()));
        }
        if !moved.is_empty() {
            assert_eq!(plan.status.balance[0].reason, "ClusterUneven");
            break;
        }
        world.status = plan.status;
    }
    assert_eq!(moved, ["web-0"], "10/10 then");
}

#[test]
fn a_new_leader_moves_no_excess_before_the_others_were_read() {
    let mut world = service();
    let peer = PeerHolding {
        namespace: "shop".into(),
        shares: ReaderShares::Unread,
        ..PeerHolding::default()
    };
    world.peers = ClusterPeers::sum(&[peer], "shop", Some(&view("abc")), &BudgetSpec::default());
    let read_others = others(&[("b", 190), ("c", 0)]);
    world.peers.shares.add(&read_others);
    let moves = |mut world: World| {
        (110..114).any(|second| {
            looks(&mut world, second, "c", "a");
            let plan = look(&world, second);
            world.status = plan.status.clone();
            !names(&plan).is_empty()
        })
    };
    world.peers.is_young = true;
    assert!(!moves(world.clone()));
    world.peers.is_young = false;
    assert!(moves(world), "one that cannot be read holds nobody");
}

/// One of twenty policies.
struct Member {
    world: World,
    shares: ReaderShares,
    running: bool,
    moved: usize,
}

/// What the other policies hold and do, as the ledger has it.
fn peers_of(members: &[Member], me: usize) -> ClusterPeers {
    let others = members.iter().enumerate().filter(|(i, _)| *i != me);
    let peers: Vec<PeerHolding> = others
        .map(|(i, member)| PeerHolding {
            namespace: "shop".into(),
            name: format!("service-{i}"),
            running: usize::from(member.running),
            shares: member.shares.clone(),
            ..PeerHolding::default()
        })
        .collect();
    ClusterPeers::sum(&peers, "shop", Some(&view("abc")), &BudgetSpec::default())
}

/// Carries out a step: the pod is stamped, and its pool has opened ten connections to this reader.
fn land(member: &mut Member, plan: &Plan, second: i64, on: &str) {
    let steps = pods_of(plan.targets[0].step.as_ref());
    let Some(step) = steps.first() else { return };
    let Some(crate::Step::Pods { stamp, .. }) = &plan.targets[0].step else {
        return;
    };
    let found = &mut member.world.targets[0];
    let before = found.evidence.measured.pods[&step.uid].reading().unwrap();
    let before = before.sockets.clone();
    found.evidence.before.insert(step.uid.clone(), before);
    found.pods[0].stamp = Some(stamp.clone());
    found.pods[0].moved.clone_from(&step.moved);
    let run = member.world.status.targets[0].run.as_mut().unwrap();
    run.last_step_time = Some(crate::status_time(at(second)));
    member.moved += 1;
    read_one(
        &mut member.world,
        second + 2,
        0,
        &sockets(3000, &[(on, 10)]),
    );
}

#[test]
fn twenty_one_pod_services_are_even_after_a_reader_joins_and_no_more_move_than_must() {
    let mut members: Vec<Member> = (0..20)
        .map(|i| {
            let mut world = service();
            world.policy.uid = UID.replace("0a1b2c3d", &format!("0a1b2c{i:02}"));
            world.peers = ClusterPeers::default();
            let shares = look(&world, 110).targets[0].shares.clone();
            Member {
                world,
                shares,
                running: false,
                moved: 0,
            }
        })
        .collect();
    let states = |members: &[Member], second| -> Vec<(BalanceState, String)> {
        let planned = members.iter().enumerate().map(|(me, member)| {
            let mut world = member.world.clone();
            world.peers = peers_of(members, me);
            let balance = look(&world, second).status.balance[0].clone();
            (balance.state, balance.reason)
        });
        planned.collect()
    };
    for state in states(&members, 110) {
        assert_eq!(
            state,
            (BalanceState::Unbalanced, "ClusterUneven".to_owned())
        );
    }
    for second in 110..220 {
        for me in 0..members.len() {
            let peers = peers_of(&members, me);
            let member = &mut members[me];
            member.world.peers = peers;
            looks(&mut member.world, second, "c", "a");
            // The heartbeat of its readings.
            if second % 3 == 0 {
                let reading = member.world.targets[0]
                    .evidence
                    .reading("uid-web-0")
                    .unwrap();
                let kept = reading.sockets.clone();
                if reading.at < at(second) {
                    read_one(&mut member.world, second, 0, &kept);
                }
            }
            let plan = look(&member.world, second);
            member.world.status = plan.status.clone();
            member.shares = plan.targets[0].shares.clone();
            member.running = plan.targets[0].running;
            land(member, &plan, second, "c");
        }
    }
    let moved: usize = members.iter().map(|m| m.moved).sum();
    assert_eq!(moved, 9, "eleven and nine of twenty are within 15 %");
    assert!(members.iter().all(|m| m.moved <= 1));
    for state in states(&members, 220) {
        assert_eq!(state.0, BalanceState::Balanced, "{}", state.1);
    }
    for member in &members {
        let target = &member.world.status.targets[0];
        assert!(target.balance.as_ref().unwrap().episode.is_none());
        let run = target.run.as_ref();
        assert!(
            run.is_none_or(|r| r.result == RunResult::Succeeded),
            "{run:?}"
        );
    }
}
