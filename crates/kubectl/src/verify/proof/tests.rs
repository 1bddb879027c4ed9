#![allow(clippy::unwrap_used)]
use super::*;
use dbbalance_core::evidence::AddressOwner;
use dbbalance_core::testing::socket;
use dbbalance_core::topology::InstanceId;
use std::net::IpAddr;

fn address_map() -> BTreeMap<IpAddr, AddressOwner> {
    let known = |name: &str| AddressOwner {
        instance: InstanceId(name.to_owned()),
        current: true,
        last_seen: None,
    };
    BTreeMap::from([
        ("10.0.0.1".parse().unwrap(), known("orders-2")),
        ("10.0.0.2".parse().unwrap(), known("orders-3")),
    ])
}

fn proof(before: &[(u16, &str)], after: &[(u16, &str)]) -> Proof {
    let sockets = |all: &[(u16, &str)]| -> Vec<Socket> {
        all.iter().map(|(port, to)| socket(*port, to)).collect()
    };
    Proof::compare(&sockets(before), &sockets(after), &address_map())
}

#[test]
fn connections_with_other_ports_are_a_proof() {
    let proof = proof(
        &[(1, "10.0.0.1"), (2, "10.0.0.1")],
        &[(3, "10.0.0.1"), (4, "10.0.0.2")],
    );
    assert!(proof.is_proven() && proof.is_complete());
    assert_eq!(
        proof.figures_text(),
        "  before  2 connections, local ports 1 2\n  after   2 connections, local ports 3 4\n  orders-2  2 → 1\n  orders-3  0 → 1\n"
    );
    assert_eq!(proof.remark(2), None);
}

#[test]
fn a_pool_that_comes_back_smaller_is_proven_but_not_complete() {
    let proof = proof(&[(1, "10.0.0.1"), (2, "10.0.0.1")], &[(3, "10.0.0.1")]);
    assert!(proof.is_proven() && !proof.is_complete());
    assert!(proof.remark(2).unwrap().contains("orders-2 again"));
    assert_eq!(proof.remark(1), None, "there is no other reader");
}

#[test]
fn a_hook_that_does_nothing_is_told_from_one_that_closes_only_idle_connections() {
    let same = [(1, "10.0.0.1"), (2, "10.0.0.1")];
    let nothing = proof(&same, &same);
    assert!(!nothing.is_proven());
    let said = nothing.explain_failure(Method::Signal, 30);
    assert!(
        said.starts_with("not one of 2 connections changed within 30 s: the process catches"),
        "{said}"
    );
    let half = proof(&same, &[(2, "10.0.0.1"), (3, "10.0.0.2")]);
    assert!(!half.is_proven());
    assert!(
        half.explain_failure(Method::Http, 30)
            .starts_with("1 of 2 connections are still the old ones")
    );
}

#[test]
fn closed_and_not_reopened_is_no_proof() {
    let closed = proof(&[(1, "10.0.0.1")], &[]);
    assert!(!closed.is_proven());
    assert!(
        closed
            .explain_failure(Method::Signal, 5)
            .contains("verify under load")
    );
}
