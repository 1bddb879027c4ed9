#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::testing::topology;
use crate::weights::ReaderFacts;
use dbbalance_api::spec::{BalanceSpec, InstanceWeight};
use jiff::Timestamp;

fn id(name: &str) -> InstanceId {
    InstanceId(name.to_owned())
}

/// Checks a request on the writer a and readers b, c and d, which hold so many connections and may hold 1950 each; `b`
/// has this weight.
fn check(text: &str, connections: u64, b: i32) -> Result<Vec<InstanceId>, DrainRefusal> {
    let topology = topology("abcd");
    let names = parse_drain(text)?;
    let spec = BalanceSpec {
        weights: vec![InstanceWeight {
            instance: "b".to_owned(),
            weight: b,
        }],
        ..BalanceSpec::default()
    };
    let readers: Vec<ReaderFacts> = topology
        .readers
        .iter()
        .map(|r| ReaderFacts {
            instance: &r.instance,
            class: None,
            came: None,
        })
        .collect();
    let weights = ReaderWeights::compute(&spec, &readers, &names, Timestamp::UNIX_EPOCH);
    let budgets = ["b", "c", "d"].map(|n| (id(n), 1950)).into();
    let load = DrainLoad {
        connections,
        budgets: &budgets,
    };
    check_drain(&names, &topology, &weights, load)
}

#[test]
fn readers_are_drained_if_the_others_can_take_their_connections() {
    assert_eq!(check("d", 3900, 100), Ok(vec![id("d")]));
    assert_eq!(check(" c, d ", 1950, 100), Ok(vec![id("c"), id("d")]));
}

#[test]
fn a_request_is_refused_with_the_sum_if_the_others_cannot() {
    let refused = check("d", 4360, 100).unwrap_err();
    assert_eq!(refused.reason(), "NoRoom");
    assert_eq!(
        refused.to_string(),
        "the other readers cannot take the connections: b needs 2180, has 1950"
    );
    assert!(check("d", 3900, 300).is_err(), "b would get three quarters");
}

#[test]
fn a_request_that_would_leave_no_reader_with_a_weight_is_refused() {
    assert_eq!(check("b,c,d", 10, 100), Err(DrainRefusal::NoReaderLeft));
    assert_eq!(check("c,d", 10, 0), Err(DrainRefusal::NoReaderLeft));
    assert_eq!(check("b,c", 10, 0), Ok(vec![id("b"), id("c")]));
}

#[test]
fn the_writer_is_refused_and_a_stranger_is_nothing_to_drain() {
    assert_eq!(check("a", 10, 100), Err(DrainRefusal::Writer(id("a"))));
    assert_eq!(check("x", 10, 100), Ok(vec![]));
    assert_eq!(check("d,x", 10, 100), Ok(vec![id("d")]));
}

#[test]
fn what_cannot_name_instances_is_refused() {
    for text in ["", ",", "a b", "A", "1a", "a,", "*"] {
        assert!(
            matches!(check(text, 0, 100), Err(DrainRefusal::Unreadable(_))),
            "{text:?}"
        );
    }
}
