//! Steps: which pods are taken, how many, and what they count for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::Gate;
use crate::testing::model::Model;
use crate::testing::{
    at, baseline, claim, due, due_at, look, owner, pod, pods_of, quiet, record, running,
    since_claim, stamp, target, unseen, verified, verify, view,
};
use crate::world::{TopologyState, World};
use dbbalance_api::spec::{Fallback, Method};
use dbbalance_api::status::Trigger;
use dbbalance_core::stamp::Attempt;

const ADDED: Trigger = Trigger::ReaderAdded;

fn may(mut world: World, pods: i32) -> World {
    world.spec.pacing.max_unavailable = IntOrString::Int(pods);
    world
}

#[test]
fn an_ignored_pod_is_not_taken_and_not_missing() {
    let mut world = due(Method::Signal, 4, ADDED);
    world.targets[0].pods[0].ignored = true;
    let world = record(world, 110);
    assert_eq!(look(&world, 111).takes(), ["web-1"]);
}

#[test]
fn a_redo_asks_the_budget_for_nothing_as_it_is_counted_already() {
    let mut world = verified(Method::Evict, 4, ADDED);
    world.targets[0].pods[0].claim = Some(claim(2, 1, 112));
    world.spec.budget.max_connections = Some(50);
    world.spec.budget.headroom_percent = 0;
    assert_eq!(look(&world, 130).gate(), Some(Gate::Budget), "in flight");
    assert_eq!(look(&world, 200).takes(), ["web-0"]);
}

#[test]
fn recycles_of_a_later_target_count_in_the_budget_of_an_earlier() {
    let targets = vec![target("a", Method::Signal), target("b", Method::Signal)];
    let world = baseline(unseen(targets, 4));
    let mut world = record(due_at(world, 2, 100, &[ADDED]), 110);
    verify(&mut world);
    world.spec.budget.max_connections = Some(90);
    world.spec.budget.headroom_percent = 0;
    let plan = look(&world, 111);
    assert_eq!(plan.takes(), ["a-0"]);
    assert_eq!(
        plan.targets[1].held.as_ref().map(|h| h.gate),
        Some(Gate::Budget)
    );
    world.targets[1].pods[0].claim = Some(claim(2, 1, 110));
    assert_eq!(look(&world, 111).gate(), Some(Gate::Budget));
}

#[test]
fn pods_that_are_starting_count_in_the_budget() {
    let mut world = may(verified(Method::Evict, 4, ADDED), 4);
    let mut starting = pod("web-new", 111);
    starting.started = None;
    starting.ready = false;
    world.targets[0].pods.push(starting);
    world.spec.budget.headroom_percent = 0;
    world.spec.budget.max_connections = Some(59);
    assert_eq!(look(&world, 112).gate(), Some(Gate::Budget));
    world.spec.budget.max_connections = Some(60);
    assert_eq!(look(&world, 112).takes().len(), 1);
}

#[test]
fn recycles_begun_for_an_older_epoch_count_as_in_flight_and_are_replaced_first() {
    let mut world = due(Method::Signal, 8, ADDED);
    for pod in &mut world.targets[0].pods[4..6] {
        pod.claim = Some(claim(1, 1, 105));
    }
    let mut world = record(world, 110);
    verify(&mut world);
    assert_eq!(look(&world, 111).takes(), ["web-4", "web-5"]);
    assert_eq!(look(&world, 160).takes(), ["web-0", "web-1"]);
}

/// The time of a run's next step, in seconds after its last one.
fn next_step_after(mut world: World) -> i64 {
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.last_step_time = Some(Time(at(120)));
    let is_taken = |second: &i64| !look(&world, 120 + second).takes().is_empty();
    (1..60).find(is_taken).unwrap()
}

#[test]
fn after_a_failover_steps_that_take_nothing_away_wait_only_for_the_caches() {
    let writer = Trigger::Failover;
    assert_eq!(next_step_after(verified(Method::Signal, 8, writer)), 6);
    let mut world = verified(Method::Http, 8, writer);
    world.spec.dns.hold_seconds = 30;
    let paced = next_step_after(verified(Method::Http, 8, ADDED));
    assert!((8..=12).contains(&paced), "{paced} s");
    assert_eq!(next_step_after(world), paced, "never longer than the pace");
    let evicted = next_step_after(verified(Method::Evict, 8, writer));
    assert!((8..=12).contains(&evicted), "{evicted} s");
}

#[test]
fn a_percentage_rounds_up_after_a_failover_where_nothing_is_taken_away() {
    let taken = |world: &World| look(world, 121).takes().len();
    for method in [Method::Signal, Method::Http, Method::Annotate] {
        let mut world = verified(method, 7, Trigger::Failover);
        assert_eq!(taken(&world), 2, "{method:?}");
        assert_eq!(taken(&verified(method, 7, ADDED)), 1, "{method:?}");
        let claimed = claim(2, 1, 112);
        let worse = &mut world.targets[0].pods[6];
        worse.stamp = Some(stamp(2));
        worse.since_claim = Some(since_claim(&claimed, true));
        worse.since_claim.as_mut().unwrap().ended = vec!["app".to_owned()];
        assert_eq!(taken(&world), 1, "{method:?}: a recycle has ended an app");
    }
    assert_eq!(taken(&verified(Method::Evict, 7, Trigger::Failover)), 1);
}

/// Plays a failover with the defaults and pods that nobody has recycled before; returns the seconds until none is stale.
fn renew_after_failover(method: Method, pods: usize) -> i64 {
    let mut world = quiet(method, pods);
    world.spec.dns = dbbalance_api::spec::DnsSpec::default();
    let mut model = Model::new(world, 0);
    model.dns = Some("abc".into());
    model.settle(60);
    let failed = model.now;
    model.world.topology = TopologyState::Current(view("bac"));
    model.dns = Some("bac".into());
    loop {
        model.settle(1);
        let target = &model.world.status.targets[0];
        let seconds = model.now.duration_since(failed).as_secs();
        if target.urgent_epoch == 2 && target.stale == 0 {
            return seconds;
        }
        assert!(seconds < 600, "{method:?}: {target:?}");
        model.wait(1);
    }
}

#[test]
fn with_the_defaults_seven_pods_are_renewed_within_a_minute_of_a_failover() {
    for method in [Method::Signal, Method::Http, Method::Annotate] {
        let seconds = [3, 7, 8, 20].map(|pods| renew_after_failover(method, pods));
        println!("figures: {method:?}: 3, 7, 8 and 20 pods are renewed after {seconds:?} s");
        assert!(seconds[1] <= 60, "{method:?}: {seconds:?}");
    }
}

#[test]
fn a_claim_from_before_a_run_was_resumed_is_left_alone_while_it_may_still_end() {
    let mut world = verified(Method::Signal, 4, ADDED);
    world.targets[0].pods[0].claim = Some(claim(2, 1, 115));
    world.status.targets[0].run.as_mut().unwrap().resumed_time = Some(Time(at(120)));
    assert!(look(&world, 125).takes().is_empty());
    assert_eq!(look(&world, 156).takes(), ["web-0"]);
}

#[test]
fn a_claim_of_the_second_in_which_a_run_was_resumed_counts() {
    let mut world = running(Method::Signal, 4, ADDED);
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.result = dbbalance_api::status::RunResult::Halted;
    run.halted_generation = Some(0);
    let now = at(120) + jiff::SignedDuration::from_millis(300);
    let plan = crate::plan(&world, &crate::testing::parse_policy(&world), now);
    let resumed = plan.status.targets[0].run.clone().unwrap().resumed_time;
    assert_eq!(
        resumed,
        Some(Time(at(120))),
        "a claim holds the second it was made in"
    );
}

#[test]
fn the_only_pod_is_not_evicted_and_the_plan_says_so() {
    let mut world = running(Method::Evict, 1, ADDED);
    assert_eq!(look(&world, 111).gate(), Some(Gate::Refused));
    world.spec.targets[0].recycle.allow_single_replica = Some(true);
    assert_eq!(look(&world, 111).takes(), ["web-0"]);
}

#[test]
fn the_only_pod_is_not_evicted_by_the_fallback_beside_another_step() {
    let mut world = due(Method::Signal, 1, ADDED);
    world.spec.targets[0].recycle.fallback = Some(Fallback::Evict);
    world.targets[0].pods.push(pod("web-1", -3600));
    let mut world = may(record(world, 110), 2);
    world.targets[0].pods[0].claim = Some(claim(2, 3, 105));
    verify(&mut world);
    assert_eq!(look(&world, 111).takes(), ["web-1"]);
    world.spec.targets[0].recycle.allow_single_replica = Some(true);
    verify(&mut world);
    assert_eq!(look(&world, 111).takes(), ["web-1", "web-0"]);
}

#[test]
fn one_step_takes_all_that_max_unavailable_leaves_free() {
    let mut world = may(verified(Method::Evict, 8, ADDED), 3);
    assert_eq!(look(&world, 111).takes().len(), 3);
    world.targets[0].pods[7].ready = false;
    let plan = look(&world, 111);
    assert_eq!(
        plan.takes(),
        ["web-7", "web-0", "web-1"],
        "the one that serves nobody first"
    );
    let urgent = pods_of(plan.targets[0].step.as_ref());
    assert!(
        urgent
            .iter()
            .all(|p| p.claim.attempt == Attempt::First && p.recycles == 1)
    );
}

#[test]
fn pods_that_are_not_ready_are_exempt_up_to_ten_a_second_after_a_failover() {
    let mut world = verified(Method::Signal, 30, Trigger::Failover);
    for pod in &mut world.targets[0].pods[..25] {
        pod.ready = false;
    }
    assert_eq!(
        look(&world, 111).takes().len(),
        10 + 5,
        "and those that serve"
    );
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(111)));
    assert!(look(&world, 111).takes().is_empty());
    assert_eq!(look(&world, 112).takes().len(), 10);
}

#[test]
fn a_selector_takes_pods_by_their_number_and_a_terminating_stateful_pod_is_missing() {
    let mut spec = target("web", Method::Evict);
    spec.workload_ref = None;
    spec.selector = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector::default());
    let mut world = unseen(vec![spec], 4);
    world.targets[0].workload = None;
    let world = due_at(baseline(world), 2, 100, &[ADDED]);
    let mut world = record(world, 110);
    verify(&mut world);
    assert_eq!(look(&world, 111).takes(), ["web-0"]);
    for pod in &mut world.targets[0].pods {
        pod.owner = Some(owner("StatefulSet", "web"));
    }
    world.targets[0].pods[0].terminating = true;
    assert!(look(&world, 111).takes().is_empty());
}

#[test]
fn a_signal_that_was_not_granted_is_refused_before_it_is_due_and_never_tried() {
    let mut quiet = quiet(Method::Signal, 4);
    quiet.signal_allowed = false;
    let held = look(&quiet, 50).targets[0].held.clone().unwrap();
    assert_eq!(held.gate, Gate::Refused);
    assert!(
        held.message.contains("signal.namespaces"),
        "{}",
        held.message
    );

    let mut due = due(Method::Signal, 4, Trigger::Failover);
    due.signal_allowed = false;
    due.spec.targets[0].recycle.fallback = Some(Fallback::Evict);
    let due = record(due, 110);
    assert!(look(&due, 111).takes().is_empty());
    assert_eq!(look(&due, 111).gate(), Some(Gate::Refused));
}

#[test]
fn a_step_that_the_rate_limit_has_cut_goes_on_within_the_interval_and_takes_no_more_than_was_left()
{
    let mut world = may(verified(Method::Signal, 40, ADDED), 10);
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(120)));
    assert!(look(&world, 121).takes().is_empty(), "the interval holds");
    world.targets[0].left_of_step = 4;
    assert_eq!(look(&world, 121).takes().len(), 4);
    // Pods that went meanwhile count as ever.
    for pod in &mut world.targets[0].pods[..8] {
        pod.claim = Some(claim(2, 1, 120));
    }
    assert_eq!(look(&world, 121).takes().len(), 2);
}

#[test]
fn what_is_left_of_a_cut_step_does_not_bound_the_next_one() {
    let mut world = may(verified(Method::Signal, 40, ADDED), 10);
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(120)));
    world.targets[0].left_of_step = 4;
    assert_eq!(look(&world, 140).takes().len(), 10);
}
