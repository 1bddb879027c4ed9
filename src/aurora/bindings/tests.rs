#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::aurora::access::{RoleKey, SourceKey};
use dbbalance_core::topology::ClusterId;

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

fn key(cluster: &str, role: Option<&str>) -> ClusterKey {
    ClusterKey {
        source: SourceKey {
            role: role.map(|arn| RoleKey {
                arn: arn.to_owned(),
                external_id: Some("x".to_owned()),
            }),
            region: "eu-west-1".to_owned(),
        },
        cluster: ClusterId(cluster.to_owned()),
    }
}

fn bindings(list: &Value) -> ClusterBindings {
    ClusterBindings::parse(&list.to_string()).unwrap()
}

fn may(bindings: &ClusterBindings, namespace: &str, key: &ClusterKey) -> bool {
    bindings.is_allowed(ClusterRequest {
        namespace,
        labels: None,
        key,
        arn: None,
    })
}

#[test]
fn without_bindings_every_namespace_may_name_every_cluster() {
    let none = bindings(&json!([]));
    assert!(may(&none, "dev", &key("orders-db", Some(ROLE))));
}

#[test]
fn a_bound_cluster_is_for_its_namespaces_and_no_other_cluster_is_for_anybody() {
    let list = bindings(&json!([
        {"identifier": "orders-db", "region": "eu-west-1", "namespaces": ["shop"]},
        {"identifier": "dev-*", "namespaces": ["dev", "test-*"]},
        {"identifier": "us-db", "region": "us-east-1", "namespaces": ["*"]},
    ]));
    assert!(may(&list, "shop", &key("orders-db", None)));
    assert!(
        may(&list, "shop", &key("Orders-DB", None)),
        "as AWS compares"
    );
    assert!(!may(&list, "dev", &key("orders-db", None)));
    assert!(!may(&list, "shop", &key("orders-db2", None)));
    assert!(may(&list, "test-7", &key("dev-pay", None)));
    assert!(!may(&list, "shop", &key("dev-pay", None)));
    assert!(
        !may(&list, "shop", &key("us-db", None)),
        "in another region"
    );
}

#[test]
fn a_role_may_be_named_only_where_a_binding_names_it() {
    let list = bindings(&json!([
        {"identifier": "*", "roleARN": ROLE, "namespaces": ["pay"]},
        {"identifier": "orders-db", "namespaces": ["shop"]},
    ]));
    assert!(may(&list, "pay", &key("any", Some(ROLE))));
    assert!(!may(&list, "pay", &key("orders-db", None)));
    assert!(!may(&list, "shop", &key("orders-db", Some(ROLE))));
    assert_eq!(list.roles().collect::<Vec<_>>(), [ROLE]);
}

#[test]
fn an_arn_binds_the_account_as_soon_as_it_is_known() {
    let arn = |account: &str| format!("arn:aws:rds:eu-west-1:{account}:cluster:orders-db");
    let own = bindings(&json!([{"arn": arn("210987654321"), "namespaces": ["shop"]}]));
    let key = key("orders-db", None);
    assert!(may(&own, "shop", &key), "it has to be read first");
    let read = |arn: &str| {
        own.is_allowed(ClusterRequest {
            namespace: "shop",
            labels: None,
            key: &key,
            arn: Some(arn),
        })
    };
    assert!(read(&arn("210987654321")));
    assert!(!read(&arn("123456789012")));
    let by_role =
        bindings(&json!([{"arn": arn("210987654321"), "roleARN": ROLE, "namespaces": ["shop"]}]));
    assert!(!may(&by_role, "shop", &self::key("orders-db", Some(ROLE))));
}

#[test]
fn namespaces_are_selected_by_their_labels() {
    let list = bindings(&json!([
        {"identifier": "orders-db", "namespaceSelector": {"matchLabels": {"team": "shop"}}},
    ]));
    assert!(list.has_selectors());
    let key = key("orders-db", None);
    let labelled = |labels: Option<&BTreeMap<String, String>>| {
        list.is_allowed(ClusterRequest {
            namespace: "any",
            labels,
            key: &key,
            arn: None,
        })
    };
    let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
    assert!(labelled(Some(&labels("shop"))));
    assert!(!labelled(Some(&labels("dev"))));
    assert!(!labelled(None), "unknown labels allow nothing");
}

#[test]
fn a_binding_that_contradicts_itself_is_refused_with_its_place() {
    let refused = |binding: Value| {
        let list = json!([{"identifier": "a", "namespaces": ["b"]}, binding]);
        ClusterBindings::parse(&list.to_string())
            .unwrap_err()
            .to_string()
    };
    for (binding, words) in [
        (json!({"namespaces": ["b"]}), "either identifier or arn"),
        (
            json!({"identifier": "a"}),
            "namespaces or namespaceSelector",
        ),
        (
            json!({"identifier": "a*b", "namespaces": ["b"]}),
            "at the end",
        ),
        (
            json!({"arn": "arn:aws:s3:::x", "namespaces": ["b"]}),
            "none of a cluster",
        ),
        (
            json!({"identifer": "a", "namespaces": ["b"]}),
            "unknown field",
        ),
    ] {
        let message = refused(binding);
        assert!(message.contains(words), "{message}");
    }
    let place = refused(json!({"namespaces": ["b"]}));
    assert!(place.contains("clusters[1]"), "{place}");
}
