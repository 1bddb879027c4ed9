//! What other policies hold: who counts, for how much, and who is named.

use crate::Gate;
use crate::is_acting;
use crate::policy::{Policy, PolicyFindings};
use crate::testing::{look, quiet, verified, view};
use crate::world::{ClusterPeers, PeerHolding, World};
use dbbalance_api::spec::{BudgetSpec, Method, Mode};
use dbbalance_api::status::Trigger;
use dbbalance_core::budget::{Holding, Load};
use dbbalance_core::topology::InstanceId;

fn peer(namespace: &str, name: &str, reader: u64) -> PeerHolding {
    PeerHolding {
        namespace: namespace.into(),
        name: name.into(),
        held: Holding {
            estimated: Load { reader, writer: 0 },
            ..Holding::default()
        },
        ..PeerHolding::default()
    }
}

/// What counts for a policy of namespace `shop` on a writer and two readers of a thousand connections each.
fn sum(peers: &[PeerHolding]) -> ClusterPeers {
    let budget = BudgetSpec {
        max_connections: Some(1000),
        ..BudgetSpec::default()
    };
    ClusterPeers::sum(peers, "shop", Some(&view("abc")), &budget)
}

#[test]
fn what_another_namespace_only_claims_counts_up_to_a_part_of_what_the_instances_take() {
    let one = sum(&[peer("dev", "wild", 9000)]);
    assert_eq!(one.held.estimated.reader, 666);
    let many = [peer("dev", "a", 9000), peer("dev", "b", 9000)];
    assert_eq!(
        sum(&many).held.estimated.reader,
        666,
        "by namespace, not by policy"
    );
    let mut flying = peer("dev", "wild", 0);
    flying.in_flight.reader = 9000;
    assert_eq!(sum(&[flying]).in_flight.reader, 100);
}

#[test]
fn what_the_own_namespace_claims_and_what_was_measured_counts_whole() {
    assert_eq!(
        sum(&[peer("shop", "pay", 9000)]).held.estimated.reader,
        9000
    );
    let mut measured = peer("dev", "wild", 0);
    let b = InstanceId("b".into());
    measured.held.measured.insert(b.clone(), 900);
    assert_eq!(sum(&[measured]).held.measured[&b], 900);
}

#[test]
fn what_pods_of_one_other_namespace_print_holds_no_failover() {
    for method in [Method::Evict, Method::Signal] {
        let mut world = verified(method, 4, Trigger::Failover);
        world.spec.budget.max_connections = Some(1000);
        let mut printed = peer("dev", "wild", 0);
        for instance in ["a", "b", "c"] {
            let measured = &mut printed.held.measured;
            measured.insert(InstanceId(instance.into()), 1600);
        }
        world.peers = sum(std::slice::from_ref(&printed));
        let plan = look(&world, 111);
        assert!(!plan.takes().is_empty(), "{method:?}: {}", plan.why());

        printed.namespace = "shop".into();
        world.peers = sum(&[printed]);
        let plan = look(&world, 111);
        assert_eq!(
            plan.takes().is_empty(),
            method == Method::Evict,
            "what the own namespace measures counts: {}",
            plan.why()
        );
    }
}

#[test]
fn no_claim_of_one_other_namespace_holds_a_small_step() {
    let mut world = verified(Method::Evict, 4, Trigger::ReaderAdded);
    world.spec.budget.max_connections = Some(1000);
    let mut wild = peer("dev", "wild", 9000);
    wild.held.estimated.writer = 9000;
    wild.in_flight = wild.held.estimated;
    world.peers = sum(&[wild]);
    assert_eq!(look(&world, 111).gate(), None);
}

#[test]
fn another_namespace_never_takes_all_runs_of_the_cluster() {
    let running = |namespace: &str, running| PeerHolding {
        running,
        ..peer(namespace, "p", 0)
    };
    assert_eq!(sum(&[running("dev", 5)]).running, 2);
    assert_eq!(sum(&[running("shop", 5)]).running, 5);
    assert_eq!(sum(&[running("dev", 2), running("test", 1)]).running, 3);
}

#[test]
fn the_budget_names_the_largest_holders() {
    let mut world = verified(Method::Signal, 4, Trigger::ReaderAdded);
    let peers = [
        peer("shop", "small", 10),
        peer("shop", "pay", 800),
        peer("shop", "orders", 1900),
        peer("shop", "idle", 0),
        peer("shop", "web", 20),
    ];
    world.peers = sum(&peers);
    let plan = look(&world, 111);
    assert_eq!(plan.gate(), Some(Gate::Budget));
    let named =
        "of the cluster hold shop/orders 1900, shop/pay 800, shop/web 20 and 1 more policies";
    assert!(plan.why().contains(named), "{}", plan.why());
}

#[test]
fn only_a_policy_that_acts_counts_for_others() {
    let acts = |change: &dyn Fn(&mut World)| {
        let mut world = quiet(Method::Evict, 3);
        change(&mut world);
        let parsed = Policy::try_from_spec(&world.spec, PolicyFindings::of(&world));
        is_acting(&world, &parsed)
    };
    assert!(acts(&|_| {}));
    let pause = |w: &mut World| w.policy.pause_until = Some("2100-01-01T00:00:00Z".into());
    assert!(acts(&pause), "a pause ends by itself");
    assert!(!acts(&|w| w.spec.mode = Mode::Observe));
    assert!(!acts(&|w| w.spec.suspend = true));
    assert!(!acts(&|w| w.policy.deleting = true));
    assert!(!acts(&|w| w.role_allowed = false));
    assert!(!acts(&|w| w.targets[0].owned_by = Some("older".into())));
    assert!(!acts(&|w| w.targets[0].workload = None));
}
