#![allow(clippy::unwrap_used)]

use kube::runtime::reflector::store::Writer;
use serde_json::json;

use super::*;

fn pod(namespace: &str, name: &str, owner: Option<&str>) -> Pod {
    let owners = owner.map(
        |owner| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "u", "controller": true}]),
    );
    serde_json::from_value(
        json!({"metadata": {"namespace": namespace, "name": name, "ownerReferences": owners}}),
    )
    .unwrap()
}

fn replica_set(name: &str) -> OwnerRef {
    OwnerRef {
        kind: "ReplicaSet".into(),
        name: name.into(),
    }
}

#[derive(Default)]
struct Bed {
    writer: Writer<Pod>,
    index: PodIndex,
}

impl Bed {
    fn feed(&mut self, event: &Event<Pod>) {
        self.writer.apply_watcher_event(event);
        self.index.follow(&self.writer.as_reader(), event);
    }

    fn owned(&self, namespace: &str, owner: &str) -> Vec<String> {
        names(&self.index.pods_of(namespace, &replica_set(owner)))
    }
}

fn names(pods: &[Arc<Pod>]) -> Vec<String> {
    let mut names: Vec<_> = pods
        .iter()
        .map(|p| p.metadata.name.clone().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_pod_is_found_under_its_namespace_and_controller() {
    let mut bed = Bed::default();
    bed.feed(&Event::Apply(pod("shop", "a", Some("web"))));
    bed.feed(&Event::Apply(pod("shop", "b", Some("api"))));
    bed.feed(&Event::Apply(pod("shop", "c", None)));
    bed.feed(&Event::Apply(pod("pay", "a", Some("web"))));
    assert_eq!(bed.owned("shop", "web"), ["a"]);
    assert_eq!(names(&bed.index.pods_in("shop")), ["a", "b", "c"]);
    let mut owners = bed.index.owners_in("shop");
    owners.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(owners, [replica_set("api"), replica_set("web")]);
}

#[test]
fn an_adopted_pod_moves_to_its_new_controller_and_a_deleted_one_leaves() {
    let mut bed = Bed::default();
    bed.feed(&Event::Apply(pod("shop", "a", None)));
    bed.feed(&Event::Apply(pod("shop", "a", Some("web"))));
    assert_eq!(bed.owned("shop", "web"), ["a"]);
    assert_eq!(names(&bed.index.pods_in("shop")), ["a"]);
    bed.feed(&Event::Delete(pod("shop", "a", Some("web"))));
    assert!(bed.index.pods_in("shop").is_empty());
    assert!(bed.index.owners_in("shop").is_empty());
}

#[test]
fn a_new_list_replaces_what_was_indexed() {
    let mut bed = Bed::default();
    bed.feed(&Event::Apply(pod("shop", "a", Some("web"))));
    bed.feed(&Event::Init);
    bed.feed(&Event::InitApply(pod("shop", "b", Some("web"))));
    assert_eq!(
        bed.owned("shop", "web"),
        ["a"],
        "until the list is complete"
    );
    bed.feed(&Event::InitDone);
    assert_eq!(bed.owned("shop", "web"), ["b"]);
}
