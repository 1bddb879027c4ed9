#![allow(clippy::unwrap_used, clippy::panic)]
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::k8s::steering::testing::{READER, service, slice, state_of};

const CLAIM: &str = "6f1c9a2b/1764460000-3 orders-4 2026-11-29T15:40:01Z";

/// What is seen by a policy of a cluster with the readers `orders-3` and `orders-4`; `is_read` is whether its topology is.
fn observe(state: &NameState, is_read: bool) -> ObservedName {
    let id = |name: &str| InstanceId(name.to_owned());
    let mut instances = BTreeMap::new();
    let mut book = AddressBook::default();
    if is_read {
        for (name, last) in [("orders-3", 3), ("orders-4", 4)] {
            let host = format!("{name}.x.eu-west-1.rds.amazonaws.com");
            instances.insert(id(name), host);
            book.record_lookup(&id(name), &[[10, 0, 0, last].into()], Timestamp::UNIX_EPOCH);
        }
    }
    observe_name(
        state,
        ClusterHosts {
            reader: is_read.then_some(READER),
            instances: &instances,
            book: &book,
        },
    )
}

fn led(object: &Value) -> Led {
    match observe(&state_of(object), true) {
        ObservedName::Found { led, .. } => led,
        other => panic!("{other:?}"),
    }
}

fn led_to(name: &str) -> Led {
    Led::Instance(InstanceId(name.to_owned()))
}

fn with(mut object: Value, path: &str, key: &str, value: Value) -> Value {
    object.pointer_mut(path).unwrap()[key] = value;
    object
}

#[test]
fn a_service_leads_to_aurora_to_an_instance_or_elsewhere_by_its_host() {
    assert_eq!(led(&service(READER)), Led::Aurora);
    let upper = format!("{}.", READER.to_uppercase());
    assert_eq!(led(&service(&upper)), Led::Aurora);
    let instance = "orders-4.x.eu-west-1.rds.amazonaws.com";
    assert_eq!(led(&service(instance)), led_to("orders-4"));
    assert_eq!(led(&service("proxy.example.com")), Led::Unknown);
    // An instance of another cluster.
    let other = "orders-4.y.eu-west-1.rds.amazonaws.com";
    assert_eq!(led(&service(other)), Led::Unknown);
}

#[test]
fn a_slice_leads_to_aurora_while_it_is_empty() {
    assert_eq!(led(&slice(&[])), Led::Aurora);
    // As the API server shows it.
    let null = with(slice(&[]), "", "endpoints", Value::Null);
    assert_eq!(led(&null), Led::Aurora);
    assert_eq!(led(&slice(&["10.0.0.4"])), led_to("orders-4"));
    assert_eq!(led(&slice(&["10.0.0.4", "10.0.0.3"])), Led::Unknown);
    assert_eq!(led(&slice(&["10.9.9.9"])), Led::Unknown);
    assert_eq!(led(&slice(&["not an address"])), Led::Unknown);
}

#[test]
fn before_the_topology_is_read_the_claim_says_where_a_service_leads() {
    let host = "orders-4.x.eu-west-1.rds.amazonaws.com";
    let claimed = |text: &str| {
        let notes = json!({"dbbalance.io/narrowed": text});
        with(service(host), "/metadata", "annotations", notes)
    };
    let ObservedName::Found { led, claim } = observe(&state_of(&claimed(CLAIM)), false) else {
        panic!("not found");
    };
    assert_eq!(led, led_to("orders-4"));
    assert_eq!(claim.unwrap().to_string(), CLAIM);
    let other = CLAIM.replace("orders-4", "orders-3");
    let seen = observe(&state_of(&claimed(&other)), false);
    assert!(
        matches!(
            seen,
            ObservedName::Found {
                led: Led::Unknown,
                ..
            }
        ),
        "{seen:?}"
    );
}

#[test]
fn an_object_of_another_make_is_left_alone() {
    let spec = |key: &str, value: Value| with(service(READER), "/spec", key, value);
    let label = |key: &str, value: &str| with(slice(&[]), "/metadata/labels", key, json!(value));
    for (object, wanted) in [
        (spec("type", json!("ClusterIP")), ObservedName::WrongType),
        (
            spec("selector", json!({"app": "db"})),
            ObservedName::HasSelector { claim: None },
        ),
        (
            label(
                "endpointslice.kubernetes.io/managed-by",
                "endpointslice-controller.k8s.io",
            ),
            ObservedName::ForeignSlice { claim: None },
        ),
        (
            label("kubernetes.io/service-name", "other"),
            ObservedName::WrongType,
        ),
        (
            with(slice(&[]), "", "addressType", json!("FQDN")),
            ObservedName::WrongType,
        ),
    ] {
        assert_eq!(observe(&state_of(&object), true), wanted, "{object}");
    }
    assert_eq!(
        observe(&state_of(&spec("selector", json!({}))), true),
        observe(&state_of(&service(READER)), true),
    );
}

#[test]
fn a_second_slice_of_the_service_is_foreign() {
    let NameState::Slice { slice, .. } = state_of(&slice(&[])) else {
        panic!("not a slice");
    };
    let others = vec!["orders-ro-x7k2p".to_owned()];
    let seen = observe(&NameState::Slice { slice, others }, true);
    assert_eq!(seen, ObservedName::ForeignSlice { claim: None });
}

#[test]
fn what_was_not_read_is_missing_or_refused_is_said_so() {
    for (state, wanted) in [
        (NameState::Unread, ObservedName::Unread),
        (NameState::Missing, ObservedName::Missing),
        (NameState::Forbidden, ObservedName::NotAllowed),
    ] {
        assert_eq!(observe(&state, true), wanted);
    }
}
