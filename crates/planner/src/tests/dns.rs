//! The DNS gate in the plan: what is held, what joins while it waits, and what opens.

use std::sync::Arc;

use crate::testing::model::{Crash, Model};
use crate::testing::{at, dns_view, look, quiet, record, target, view};
use crate::world::{TopologyState, World};
use crate::{Gate, Notice, Plan};
use dbbalance_api::spec::{DnsSpec, Endpoint, Method, OnTimeout};
use dbbalance_api::status::{PendingEpochStatus, RunResult, Trigger};
use dbbalance_core::topology::{MemberId, ResourceId, Topology};

/// A quiet policy that waits for DNS: Hold, 300 s.
fn holding() -> World {
    let mut world = quiet(Method::Signal, 4);
    world.spec.dns = DnsSpec::default();
    world
}

/// The world with another topology, looked at and recorded.
fn change(mut world: World, second: i64, names: &str) -> World {
    world.topology = TopologyState::Current(view(names));
    record(world, second)
}

/// The world with what DNS has answered up to this second.
fn answer(mut world: World, second: i64, writer: &str, reader: &str) -> World {
    world.dns = Arc::new(dns_view(second, writer, reader));
    world
}

fn pending(world: &World) -> PendingEpochStatus {
    world.status.pending_epoch.clone().expect("a pending epoch")
}

fn opens(world: &World, second: i64) -> bool {
    look(world, second).open.is_some()
}

/// A reader that has settled at 30 and waits for DNS.
fn added() -> World {
    change(change(holding(), 0, "abcd"), 30, "abcd")
}

#[test]
fn a_new_reader_waits_until_dns_names_it_and_says_so_meanwhile() {
    let world = answer(added(), 40, "aaaaaaaa", "bcbcbcbc");
    let plan = look(&world, 40);
    assert_eq!((plan.open.is_none(), plan.gate()), (true, Some(Gate::Dns)));
    assert!(
        plan.why()
            .ends_with("the reader endpoint must have named d; last answered: b, c")
    );
    assert_eq!(plan.status.plan[0].waiting_for.as_deref(), Some("DNS"));
    assert_eq!(plan.wake, Some(at(45)));
    let world = record(world, 40);
    assert_eq!(look(&world, 41).status, world.status, "written once");
    let world = answer(world, 50, "aaaaaaaa", "bcbcbdbc");
    let opening = look(&world, 50).open.unwrap();
    assert!(!opening.note.contains("DNS"), "{}", opening.note);
}

#[test]
fn a_failover_waits_for_eight_looks_and_flicker_begins_anew() {
    let world = change(holding(), 10, "bac");
    let world = answer(world, 11, "aaabbbbb", "");
    let plan = look(&world, 11);
    assert!(
        plan.why()
            .ends_with("the cluster endpoint must lead to b; last answered: a, b")
    );
    assert!(plan.targets[0].step.is_none());
    assert!(!opens(&answer(world.clone(), 12, "bbbbbbbbbba", ""), 12));
    assert!(!opens(
        &answer(world.clone(), 13, "bbbbbbbabbbbbbb", ""),
        13
    ));
    let followed = |looks: usize| format!("a{}", "b".repeat(looks));
    assert!(!opens(&answer(world.clone(), 14, &followed(8), ""), 14));
    let ten_seconds = 79;
    assert!(!opens(
        &answer(world.clone(), 25, &followed(ten_seconds), ""),
        25
    ));
    assert!(opens(
        &answer(world, 25, &followed(ten_seconds + 1), ""),
        25
    ));
}

/// The world with a failover from a to b that has settled at 10, of which the cluster endpoint has long told.
fn failed_over(mut world: World) -> World {
    world.spec.dns = DnsSpec::default();
    change(world, 10, "bac")
}

/// The world in which the epoch that is pending has opened at this second, and its run has started.
fn opened(world: World, second: i64) -> World {
    let mut world = answer(world, second, "bbbbbbbb", "");
    let opening = look(&world, second).open.unwrap();
    crate::open_epoch(&mut world.status, opening.epoch, at(second));
    record(record(world, second + 1), second + 2)
}

#[test]
fn a_target_with_a_reader_pool_is_held_until_the_reader_endpoint_leads_to_readers_alone() {
    for (pool, waits) in [(Endpoint::Reader, true), (Endpoint::Writer, false)] {
        let mut world = quiet(Method::Signal, 4);
        world.spec.targets[0].pools.retain(|p| p.endpoint == pool);
        let mut world = opened(failed_over(world), 12);
        crate::testing::verify(&mut world);
        let led_to_the_writer = answer(world.clone(), 20, "bbbbbbbb", "bbbbbbbb");
        let plan = look(&led_to_the_writer, 20);
        assert_eq!(plan.takes().is_empty(), waits, "{pool:?}");
        assert!(plan.targets[0].boost_dns);
        if waits {
            assert_eq!(plan.gate(), Some(Gate::Dns));
            assert!(
                plan.why()
                    .starts_with("the reader endpoint must name readers alone"),
                "{}",
                plan.why()
            );
        }
        let readers_alone = answer(world, 20, "bbbbbbbb", "acacacac");
        assert!(!look(&readers_alone, 20).takes().is_empty());
    }
}

#[test]
fn a_reader_that_has_not_settled_yet_does_not_hold_a_failover_when_dns_names_it() {
    let mut world = opened(failed_over(quiet(Method::Signal, 4)), 12);
    crate::testing::verify(&mut world);
    let named = |world: &World| answer(world.clone(), 20, "bbbbbbbb", "acdacdac");
    assert_eq!(
        look(&named(&world), 20).gate(),
        Some(Gate::Dns),
        "nobody knows d"
    );
    world.topology = TopologyState::Current(view("bacd"));
    assert_eq!(look(&named(&world), 20).gate(), None);
}

#[test]
fn a_cluster_of_one_instance_does_not_wait_for_readers() {
    let mut world = crate::testing::unseen(vec![target("web", Method::Signal)], 4);
    world.topology = TopologyState::Current(view("ab"));
    let mut world = crate::testing::baseline(world);
    world.spec.dns = DnsSpec::default();
    let mut world = opened(change(world, 10, "b"), 12);
    crate::testing::verify(&mut world);
    let world = answer(world, 20, "bbbbbbbb", "bbbbbbbb");
    assert!(!look(&world, 20).takes().is_empty());
}

#[test]
fn the_last_step_of_a_blind_failover_is_taken_by_looks_that_began_after_the_step_before_it() {
    let mut world = quiet(Method::Signal, 2);
    world.spec.pacing.interval_seconds = 1;
    let mut world = opened(failed_over(world), 12);
    crate::testing::verify(&mut world);
    world.targets[0].pods[0].stamp = Some(crate::testing::stamp(2));
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.last_step_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(20)));
    let looked = |second| answer(world.clone(), second, "bbbbbbbb", "acacacac");
    let asked_before = look(&looked(20), 24);
    assert_eq!(
        asked_before.gate(),
        Some(Gate::Dns),
        "{}",
        asked_before.why()
    );
    let asked_after = look(&looked(24), 24);
    assert_eq!(asked_after.gate(), None, "{}", asked_after.why());
}

#[test]
fn dns_that_turns_back_between_two_steps_holds_the_next_one() {
    let mut world = opened(failed_over(quiet(Method::Signal, 8)), 12);
    crate::testing::verify(&mut world);
    let world = answer(world, 20, "bbbbbbbbabbbbbbbb", "acacacac");
    assert_eq!(look(&world, 20).gate(), Some(Gate::Dns));
    let mut proceeds = world;
    proceeds.spec.dns.on_timeout = OnTimeout::Proceed;
    proceeds.spec.dns.timeout_seconds = 5;
    assert!(!look(&proceeds, 20).takes().is_empty());
}

#[test]
fn a_replaced_cluster_of_the_same_names_is_waited_for_by_its_addresses() {
    let mut world = holding();
    for member in &mut world.status.topology.as_mut().unwrap().members {
        let letter = member.instance.bytes().next().unwrap();
        member.address = Some(format!("10.0.0.{letter}"));
    }
    let mut replaced = view("abc");
    replaced.topology.resource = ResourceId("cluster-2".into());
    replaced.topology = rename_resources(replaced.topology);
    world.topology = TopologyState::Current(replaced);
    let world = record(world, 10);
    assert_eq!(pending(&world).triggers, [Trigger::Replaced]);
    let world = answer(world, 12, "aaaaaaaa", "bcbcbcbc");
    assert!(!opens(&world, 12), "the addresses of the former cluster");
    let mut moved = (*world.dns).clone();
    for sample in moved.writer.iter_mut().chain(&mut moved.reader) {
        sample.address = Some([10, 0, 1, 1].into());
    }
    let late = world.clone();
    let world = World {
        dns: Arc::new(moved),
        ..world
    };
    assert!(opens(&world, 12));
    let late = answer(late, 700, "aaaaaaaa", "bcbcbcbc");
    assert!(
        opens(&late, 700),
        "an address may be given to another instance"
    );
}

/// The same names, all of them other instances.
fn rename_resources(mut topology: Topology) -> Topology {
    let members = topology.readers.into_iter();
    topology.readers = members.map(rename_resource).collect();
    topology.writer = rename_resource(topology.writer);
    topology
}

fn rename_resource(member: MemberId) -> MemberId {
    MemberId {
        resource: ResourceId(format!("new-{}", member.resource)),
        ..member
    }
}

#[test]
fn a_reader_that_is_replaced_under_its_name_while_another_is_waited_for_is_waited_for_too() {
    let mut world = added();
    let mut anew = view("abcd");
    let is_c = |m: &MemberId| m.instance.0 == "c";
    let c = anew
        .topology
        .readers
        .iter()
        .find(|m| is_c(m))
        .cloned()
        .unwrap();
    anew.topology.readers.remove(&c);
    let resource = ResourceId("new-c".into());
    anew.topology.readers.insert(MemberId { resource, ..c });
    world.topology = TopologyState::Current(anew);
    let world = record(record(world, 40), 70);
    assert_eq!(pending(&world).added, ["d", "c"]);
}

#[test]
fn a_pending_failover_holds_a_run_and_a_pending_reader_epoch_does_not() {
    let steps = |plan: &Plan| plan.targets[0].step.is_some();
    for (names, goes_on) in [("abcd", true), ("bac", false)] {
        let mut world = crate::testing::verified(Method::Signal, 8, Trigger::ReaderRemoved);
        world.spec.dns = DnsSpec::default();
        let world = change(change(world, 120, names), 150, names);
        assert!(world.status.pending_epoch.is_some());
        assert_eq!(steps(&look(&world, 160)), goes_on, "{names}");
    }
}

#[test]
fn with_hold_it_waits_past_its_time_and_says_so_once() {
    let world = answer(record(added(), 31), 329, "", "bcbcbcbc");
    assert!(look(&world, 329).notices.is_empty());
    let late = look(&answer(world.clone(), 330, "", "bcbcbcbc"), 330);
    assert!(matches!(&late.notices[..], [Notice::DnsLate(_)]));
    assert!(late.open.is_none());
    assert!(
        late.why()
            .ends_with("DNS has not followed within 300 s, and dns.onTimeout is Hold")
    );
    let world = record(answer(world, 330, "", "bcbcbcbc"), 330);
    assert!(pending(&world).timed_out);
    assert!(look(&world, 335).notices.is_empty(), "said once");
    assert!(opens(&answer(world, 4000, "", "bcdbcbcb"), 4000));
}

#[test]
fn with_proceed_it_opens_when_its_time_is_over_and_the_event_says_that_dns_had_not_followed() {
    let mut world = added();
    world.spec.dns.on_timeout = OnTimeout::Proceed;
    world.spec.dns.timeout_seconds = 60;
    let world = answer(world, 89, "", "--------");
    let plan = look(&world, 89);
    assert!(plan.open.is_none());
    assert!(plan.why().contains("NXDOMAIN"), "{}", plan.why());
    assert_eq!(plan.status.plan[0].not_before.as_ref().unwrap().0, at(90));
    assert_eq!(plan.wake, Some(at(90)));
    let opening = look(&world, 90).open.unwrap();
    assert!(
        opening
            .note
            .ends_with("DNS had not followed within 60 s, and dns.onTimeout is Proceed")
    );
}

#[test]
fn with_proceed_and_no_time_it_opens_at_once() {
    let mut world = added();
    world.spec.dns.on_timeout = OnTimeout::Proceed;
    world.spec.dns.timeout_seconds = 0;
    let opening = look(&world, 30).open.unwrap();
    assert!(!opening.note.contains("DNS"));
}

#[test]
fn a_token_alone_waits_for_nothing_and_beside_a_pending_epoch_it_waits_with_it() {
    let mut world = holding();
    world.policy.token = Some("now".into());
    assert!(opens(&record(world, 5), 6));
    let mut world = added();
    world.policy.token = Some("now".into());
    let world = record(world, 31);
    assert_eq!(
        pending(&world).triggers,
        [Trigger::ReaderAdded, Trigger::Manual]
    );
    assert!(!opens(&answer(world.clone(), 32, "", "bcbcbcbc"), 32));
    assert!(opens(&answer(world, 33, "", "bcbcdcbc"), 33));
}

#[test]
fn an_epoch_that_concerns_nobody_waits_for_nobody() {
    let mut world = holding();
    world.spec.triggers.reader_added.enabled = false;
    let world = change(change(world, 0, "abcd"), 30, "abcd");
    assert!(opens(&world, 31));
}

#[test]
fn a_second_reader_joins_the_pending_epoch_and_both_are_waited_for() {
    let world = change(change(added(), 40, "abcde"), 70, "abcde");
    let joined = pending(&world);
    assert_eq!(
        (joined.epoch, &joined.added[..]),
        (2, &["d".to_owned(), "e".into()][..])
    );
    assert_eq!(
        joined.settled_time.unwrap().0,
        at(70),
        "its time begins anew"
    );
    assert!(
        joined
            .message
            .starts_with("reader d added, reader e added; before:")
    );
    assert!(!opens(&answer(world.clone(), 75, "", "bcbdbcbc"), 75));
    assert!(opens(&answer(world, 80, "", "bcdecbcb"), 80));
}

#[test]
fn a_reader_that_leaves_before_dns_named_it_is_as_if_it_had_never_come() {
    let world = change(change(added(), 40, "abc"), 70, "abc");
    assert_eq!(world.status.pending_epoch, None);
    assert_eq!(world.status.topology.as_ref().unwrap().reader_count, 2);
    assert_eq!(world.status.epoch, Some(1));
    let rest = look(&world, 71);
    assert!(rest.notices.is_empty() && rest.status.pending_epoch.is_none());
    let again = change(change(world, 100, "abcd"), 130, "abcd");
    assert_eq!(pending(&again).epoch, 2);
}

#[test]
fn a_reader_that_left_and_came_back_is_a_new_one() {
    let world = change(change(holding(), 0, "ab"), 30, "ab");
    let world = change(change(world, 40, "abc"), 70, "abc");
    let back = pending(&world);
    assert_eq!(
        back.triggers,
        [Trigger::ReaderRemoved, Trigger::ReaderAdded]
    );
    assert!(!opens(&answer(world.clone(), 75, "", "bbbbbbbb"), 75));
    assert!(opens(&answer(world, 80, "", "bcbcbcbc"), 80));
}

#[test]
fn a_failover_takes_the_place_of_a_reader_that_is_waited_for_which_settles_anew_after_it() {
    let world = change(added(), 40, "bacd");
    let failover = pending(&world);
    assert_eq!(
        (failover.epoch, &failover.triggers[..]),
        (2, &[Trigger::Failover][..])
    );
    assert_eq!(world.status.topology.as_ref().unwrap().reader_count, 2);
    let world = answer(world, 41, "bbbbbbbb", "acacacac");
    let opening = look(&world, 41).open.unwrap();
    let mut world = world;
    crate::open_epoch(&mut world.status, opening.epoch, at(42));
    assert_eq!(world.status.targets[0].urgent_epoch, 2);
    let world = change(world, 70, "bacd");
    let reader = pending(&world);
    assert_eq!(
        (reader.epoch, &reader.triggers[..]),
        (3, &[Trigger::ReaderAdded][..])
    );
}

#[test]
fn readers_wait_for_a_pending_failover_to_open() {
    let world = change(holding(), 0, "bac");
    let before = pending(&world);
    let world = change(change(world, 10, "bacd"), 50, "bacd");
    let after = pending(&world);
    assert_eq!(
        (after.message, after.settled_time),
        (before.message, before.settled_time)
    );
    assert!(opens(&answer(world, 51, "bbbbbbbb", ""), 51));
}

#[test]
fn a_failover_there_and_back_opens_when_dns_agrees_on_the_first_writer_again() {
    let world = change(change(holding(), 0, "bac"), 10, "abc");
    let back = pending(&world);
    assert_eq!(
        (back.epoch, &back.triggers[..]),
        (2, &[Trigger::Failover][..])
    );
    assert!(!opens(&answer(world.clone(), 11, "bbbbbbbb", ""), 11));
    assert!(opens(&answer(world, 12, "aaaaaaaa", ""), 12));
}

#[test]
fn a_new_reader_that_is_promoted_while_it_is_waited_for_is_the_writer_then() {
    let world = change(added(), 40, "dabc");
    assert_eq!(pending(&world).triggers, [Trigger::Failover]);
    assert_eq!(
        world.status.topology.as_ref().unwrap().writer.as_deref(),
        Some("d")
    );
    assert!(opens(&answer(world, 41, "dddddddd", ""), 41));
}

#[test]
fn a_status_of_a_release_without_the_gate_waits_from_now_on() {
    let mut world = added();
    let old = world.status.pending_epoch.as_mut().unwrap();
    (old.settled_time, old.added) = (None, vec![]);
    // It does not say whom it added, so it waits for nobody.
    assert!(opens(&world, 31));
    let mut world = change(holding(), 0, "bac");
    world.status.pending_epoch.as_mut().unwrap().settled_time = None;
    let world = record(world, 40);
    assert_eq!(pending(&world).settled_time.unwrap().0, at(40));
}

#[test]
fn dns_that_follows_late_recycles_every_pod_once_and_not_before() {
    for method in [Method::Signal, Method::Evict] {
        let mut world = quiet(method, 8);
        world.spec.dns = DnsSpec::default();
        let mut model = Model::new(world, 10);
        model.dns = Some("abc".into());
        model.world.topology = TopologyState::Current(view("bac"));
        model.settle(20);
        assert!(model.effects.is_empty(), "DNS still names a");
        model.dns = Some("bac".into());
        model.crash = Some(Crash::BeforeStatus);
        model.pass();
        model.wait(3);
        model.settle(4000);
        let target = &model.world.status.targets[0];
        assert_eq!((target.due_epoch, target.stale), (2, 0));
        assert_eq!(target.run.as_ref().unwrap().result, RunResult::Succeeded);
        assert_eq!(model.effects.values().sum::<usize>(), 8);
    }
}
