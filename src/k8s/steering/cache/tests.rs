#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;
use crate::k8s::steering::testing::{READER, key, names, service, state_of};

fn at_version(version: &str, host: &str) -> NameState {
    let mut object = service(host);
    object["metadata"]["resourceVersion"] = json!(version);
    state_of(&object)
}

fn host(names: &SteeredNames) -> Option<String> {
    match names.state(&key(SteeringVia::Service))? {
        NameState::Service(service) => service.spec.as_ref()?.external_name.clone(),
        _ => None,
    }
}

#[test]
fn a_name_that_the_chart_does_not_list_is_not_known() {
    let names = names();
    let other = names.key_of(SteeringVia::Service, "pay", "orders-ro");
    names.record(&other, at_version("1", READER));
    assert!(names.state(&other).is_none());
    assert_eq!(names.keys().len(), 2);
}

#[test]
fn a_watch_that_is_behind_a_write_does_not_undo_it_and_a_deletion_does() {
    let names = names();
    let key = key(SteeringVia::Service);
    names.record(&key, at_version("10", "narrowed"));
    names.record(&key, at_version("9", "before"));
    assert_eq!(host(&names).as_deref(), Some("narrowed"));
    names.record(&key, NameState::Missing);
    assert!(matches!(names.state(&key), Some(NameState::Missing)));
    names.record(&key, at_version("11", "after"));
    assert_eq!(host(&names).as_deref(), Some("after"));
}

#[test]
fn a_slice_serves_the_endpoint_that_it_was_listed_with_alone() {
    let names = names();
    let slice = key(SteeringVia::Slice);
    assert_eq!(slice.namespace, "dbbalance");
    assert!(names.may_serve(&slice, &format!("{READER}.")));
    assert!(!names.may_serve(&slice, "ledger.cluster-ro-x.eu-west-1.rds.amazonaws.com"));
    assert!(names.may_serve(&key(SteeringVia::Service), "any"));
}

#[test]
fn pods_look_up_the_service_or_auroras_own_name() {
    let names = names();
    let looked_up = |via| names.looked_up_name(&key(via)).unwrap();
    assert_eq!(
        looked_up(SteeringVia::Service),
        "orders-ro.shop.svc.cluster.local"
    );
    assert_eq!(looked_up(SteeringVia::Slice), READER);
}

#[test]
fn a_narrowed_name_is_counted_by_its_claim() {
    let names = names();
    let mut object: Value = service("orders-4.x.eu-west-1.rds.amazonaws.com");
    object["metadata"]["annotations"] = json!({
        "dbbalance.io/narrowed": "6f1c9a2b/1764460000-3 orders-4 2026-11-29T15:40:01Z",
        "dbbalance.io/widens-to": READER,
    });
    assert!(names.claims().is_empty());
    let mut changes = names.changes();
    names.record(&key(SteeringVia::Service), state_of(&object));
    assert_eq!(changes.try_recv().unwrap(), key(SteeringVia::Service));
    let claims = names.claims();
    assert_eq!(claims[0].0, key(SteeringVia::Service));
    assert_eq!(claims[0].1.instance.0, "orders-4");
    let state = names.state(&key(SteeringVia::Service)).unwrap();
    assert_eq!(state.widens_to(), Some(READER));
}
