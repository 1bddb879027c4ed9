//! Merged watches, trimming and notices, without an API server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::StreamExt;
use futures::channel::mpsc;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};

use super::*;

fn pod(namespace: &str, name: &str, note: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": name, "uid": name, "annotations": {"n": note}}
    }))
    .unwrap()
}

struct Stand {
    parts: Vec<mpsc::UnboundedSender<watcher::Result<Event<Pod>>>>,
    store: Store<Pod>,
    notices: broadcast::Receiver<CacheChange>,
    unread: UnreadLists,
}

impl Stand {
    /// A watch merged of these namespaces.
    fn new(namespaces: &[&str]) -> Self {
        let (notices, received) = broadcast::channel(64);
        let writer = Writer::<Pod>::default();
        let store = writer.as_reader();
        let mut parts = Vec::new();
        let mut streams = Vec::new();
        for ns in namespaces {
            let (tx, rx) = mpsc::unbounded();
            parts.push(tx);
            streams.push(((*ns).to_owned(), rx.boxed()));
        }
        let pump = feed::CacheFeed {
            kind: ObjectKind::Pod,
            writer,
            same: trim::is_same_pod,
            notices,
            index: None,
        };
        let unread = UnreadLists::default();
        let kind = ObjectKind::Pod;
        let merged = merge::merge_watches(streams, kind, store.clone(), unread.clone());
        tokio::spawn(pump.run(merged));
        Self {
            parts,
            store,
            notices: received,
            unread,
        }
    }

    /// Feeds events to the watch of a namespace and lets them be worked off.
    async fn feed(&self, part: usize, events: Vec<Event<Pod>>) {
        for event in events {
            self.parts[part].unbounded_send(Ok(event)).unwrap();
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    /// Fails the watch of a namespace and lets that be worked off.
    async fn fail(&self, part: usize, code: u16) {
        let status = kube::core::Status {
            code,
            ..kube::core::Status::default()
        };
        let error = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        self.parts[part].unbounded_send(Err(error)).unwrap();
        self.feed(part, Vec::new()).await;
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .store
            .state()
            .iter()
            .map(|p| p.metadata.name.clone().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn ready(store: &Store<Pod>) -> bool {
    store.wait_until_ready().now_or_never().is_some()
}

#[tokio::test]
async fn several_namespaces_are_ready_when_the_last_one_is() {
    let stand = Stand::new(&["a", "b"]);
    stand
        .feed(
            0,
            vec![
                Event::Init,
                Event::InitApply(pod("a", "a1", "")),
                Event::InitDone,
            ],
        )
        .await;
    // Changes of the first, while the second is still being listed.
    stand
        .feed(
            0,
            vec![
                Event::Apply(pod("a", "a2", "")),
                Event::Delete(pod("a", "a1", "")),
            ],
        )
        .await;
    assert!(!ready(&stand.store));
    stand
        .feed(
            1,
            vec![
                Event::Init,
                Event::InitApply(pod("b", "b1", "")),
                Event::InitDone,
            ],
        )
        .await;
    assert!(ready(&stand.store));
    assert_eq!(stand.names(), ["a2", "b1"]);
    assert_eq!(objects_in(&stand.store, "b").len(), 1);
    assert!(find_object(&stand.store, "a", "a2").is_some());
    assert!(find_object(&stand.store, "b", "a2").is_none());
}

/// The first list of a namespace with one pod.
fn first_list(namespace: &str, name: &str) -> Vec<Event<Pod>> {
    vec![
        Event::Init,
        Event::InitApply(pod(namespace, name, "")),
        Event::InitDone,
    ]
}

#[tokio::test]
async fn a_namespace_that_is_forbidden_does_not_keep_the_others_from_being_served() {
    let stand = Stand::new(&["a", "gone"]);
    stand.feed(0, first_list("a", "a1")).await;
    stand.fail(1, 403).await;
    assert!(ready(&stand.store));
    assert_eq!(stand.names(), ["a1"]);
    assert_eq!(stand.unread.kinds_in("gone"), [ObjectKind::Pod]);
    assert!(stand.unread.kinds_in("a").is_empty());
    // The right is granted.
    stand.feed(1, first_list("gone", "g1")).await;
    assert_eq!(stand.names(), ["a1", "g1"]);
    assert_eq!(stand.unread.count_namespaces(), 0);
}

#[tokio::test]
async fn a_namespace_that_becomes_forbidden_later_is_unread_and_keeps_its_objects() {
    let stand = Stand::new(&["a"]);
    stand.feed(0, first_list("a", "a1")).await;
    stand.fail(0, 403).await;
    assert_eq!(stand.unread.kinds_in("a"), [ObjectKind::Pod]);
    assert_eq!(stand.names(), ["a1"]);
}

#[tokio::test]
async fn an_api_server_that_fails_is_waited_for() {
    let stand = Stand::new(&["a"]);
    stand.fail(0, 500).await;
    assert!(!ready(&stand.store));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_late_does_not_keep_the_others_from_being_served() {
    let stand = Stand::new(&["a", "slow"]);
    stand.feed(0, first_list("a", "a1")).await;
    let half = vec![Event::Init, Event::InitApply(pod("slow", "s1", ""))];
    stand.feed(1, half).await;
    assert!(!ready(&stand.store));
    tokio::time::sleep(merge::FIRST_LISTS).await;
    stand.feed(0, Vec::new()).await;
    assert!(ready(&stand.store));
    assert_eq!(stand.unread.kinds_in("slow"), [ObjectKind::Pod]);
    // The rest of the list: what came before it stays.
    let rest = vec![Event::InitApply(pod("slow", "s2", "")), Event::InitDone];
    stand.feed(1, rest).await;
    assert_eq!(stand.names(), ["a1", "s1", "s2"]);
    assert!(stand.unread.kinds_in("slow").is_empty());
}

#[tokio::test]
async fn a_list_read_anew_in_one_namespace_leaves_the_others_alone() {
    let mut stand = Stand::new(&["a", "b"]);
    for (part, ns) in ["a", "b"].iter().enumerate() {
        let (one, two) = (format!("{ns}1"), format!("{ns}2"));
        stand
            .feed(
                part,
                vec![
                    Event::Init,
                    Event::InitApply(pod(ns, &one, "")),
                    Event::InitApply(pod(ns, &two, "")),
                    Event::InitDone,
                ],
            )
            .await;
    }
    assert_eq!(stand.notices.try_recv().unwrap(), CacheChange::Everything);
    stand
        .feed(
            0,
            vec![
                Event::Init,
                Event::InitApply(pod("a", "a2", "new")),
                Event::InitDone,
            ],
        )
        .await;
    assert_eq!(stand.names(), ["a2", "b1", "b2"]);
    let changed = CacheChange::Pod(Arc::new(PodChange {
        namespace: "a".into(),
        owner: None,
        labels: BTreeMap::new(),
    }));
    assert_eq!(stand.notices.try_recv().unwrap(), changed, "a2 is new");
    assert_eq!(stand.notices.try_recv().unwrap(), changed, "a1 is gone");
}

#[tokio::test]
async fn a_change_of_nothing_that_matters_is_stored_and_not_noticed() {
    let mut stand = Stand::new(&["a"]);
    stand
        .feed(
            0,
            vec![
                Event::Init,
                Event::InitApply(pod("a", "a1", "x")),
                Event::InitDone,
            ],
        )
        .await;
    assert_eq!(stand.notices.try_recv().unwrap(), CacheChange::Everything);
    let mut again = pod("a", "a1", "x");
    again.metadata.resource_version = Some("9".to_owned());
    stand.feed(0, vec![Event::Apply(again)]).await;
    assert!(stand.notices.try_recv().is_err());
    let stored = find_object(&stand.store, "a", "a1").unwrap();
    assert_eq!(stored.metadata.resource_version.as_deref(), Some("9"));
}

#[test]
fn a_trimmed_pod_keeps_what_the_choice_of_a_process_depends_on() {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "app"}},
        "spec": {
            "hostPID": true, "shareProcessNamespace": true,
            "containers": [{"name": "app", "env": [{"name": "PASSWORD", "value": "x"}]}],
            "initContainers": [{"name": "proxysql", "restartPolicy": "Always"}]
        },
        "status": {"containerStatuses": [{
            "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 2,
            "state": {"running": {"startedAt": "2026-05-04T03:00:09Z"}}
        }]}
    }))
    .unwrap();
    let mut expected = pod.clone();
    super::trim::trim_pod(&mut pod);
    let spec = expected.spec.as_mut().unwrap();
    spec.containers[0].env = None;
    let states = expected.status.as_mut().unwrap();
    let state = &mut states.container_statuses.as_mut().unwrap()[0];
    state.image.clear();
    assert_eq!(pod, expected);
}

fn policy(status: &Value, generation: i64) -> WatchedPolicy {
    serde_json::from_value(json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"namespace": "shop", "name": "orders", "uid": "1", "generation": generation},
        "spec": {
            "cluster": {"identifier": "orders-prod"},
            "targets": [{
                "name": "web",
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "pools": [{"endpoint": "Reader", "connectionsPerPod": 10}],
                "recycle": {"method": "Evict"}
            }]
        },
        "status": status
    }))
    .unwrap()
}

#[test]
fn only_a_wiped_status_of_a_policy_matters() {
    let with = policy(&json!({"epoch": 3, "stale": "1/2"}), 1);
    assert!(with.0.is_ok());
    assert!(trim::is_same_policy(
        &with,
        &policy(&json!({"epoch": 4, "stale": "0/2"}), 1)
    ));
    assert!(!trim::is_same_policy(&with, &policy(&json!({}), 1)));
    assert!(!trim::is_same_policy(
        &with,
        &policy(&json!({"epoch": 3}), 2)
    ));
}

#[test]
fn a_policy_that_cannot_be_read_is_watched_all_the_same() {
    let broken: WatchedPolicy = serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "orders"}, "spec": {"targets": 7}
    }))
    .unwrap();
    assert!(broken.0.is_err());
    assert_eq!(broken.meta().name.as_deref(), Some("orders"));
}

#[test]
fn a_trimmed_pod_keeps_what_is_decided_on_and_drops_the_rest() {
    let mut full: Pod = serde_json::from_value(json!({
        "metadata": {
            "namespace": "shop", "name": "web-1", "uid": "u", "resourceVersion": "7",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "managedFields": [{"manager": "kubelet"}]
        },
        "spec": {
            "nodeName": "n1", "hostNetwork": true,
            "volumes": [{"name": "v"}],
            "containers": [{
                "name": "app", "image": "app:1",
                "env": [{"name": "PGPASSWORD", "value": "secret"}],
                "command": ["app", "--password=secret"],
                "ports": [{"containerPort": 8080}]
            }]
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.9.9.9",
            "conditions": [{"type": "Ready", "status": "True", "message": "written for people"}],
            "initContainerStatuses": [{"name": "init", "ready": true, "restartCount": 0, "image": "i:1", "imageID": "y"}],
            "containerStatuses": [{
                "name": "app", "ready": true, "restartCount": 2, "image": "app:1", "imageID": "x",
                "state": {"running": {"startedAt": "2026-11-22T10:00:00Z"}},
                "lastState": {"terminated": {"exitCode": 1, "message": "long"}}
            }]
        }
    }))
    .unwrap();
    trim::trim_pod(&mut full);
    assert!(!serde_json::to_string(&full).unwrap().contains("secret"));
    assert_eq!(
        full.metadata
            .annotations
            .as_ref()
            .map(std::collections::BTreeMap::len),
        Some(0),
        "an empty map stays a map"
    );
    let left = serde_json::to_value(&full).unwrap();
    assert_eq!(
        left["spec"]["containers"][0]["ports"][0]["containerPort"],
        8080
    );
    assert_eq!(left["spec"]["hostNetwork"], true);
    assert_eq!(left["status"]["podIP"], "10.0.0.1");
    assert_eq!(left["status"]["conditions"][0]["type"], "Ready");
    let started = &left["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
    assert_eq!(started, "2026-11-22T10:00:00Z");
    assert!(left["metadata"].get("managedFields").is_none());
    let text = left.to_string();
    assert!(!text.contains("written for people"), "{text}");

    let spec = full.spec.unwrap();
    let status = full.status.unwrap();
    let rooms = [
        spec.containers.capacity(),
        status.conditions.unwrap().capacity(),
        status.init_container_statuses.unwrap().capacity(),
        status.container_statuses.unwrap().capacity(),
    ];
    assert_eq!(rooms, [1; 4], "no room for elements that are not there");
}

#[tokio::test]
async fn a_pod_whose_labels_change_concerns_those_that_matched_it_before_too() {
    let mut stand = Stand::new(&["a"]);
    let list = vec![
        Event::Init,
        Event::InitApply(pod("a", "a1", "x")),
        Event::InitDone,
    ];
    stand.feed(0, list).await;
    assert_eq!(stand.notices.try_recv().unwrap(), CacheChange::Everything);
    let mut relabelled = pod("a", "a1", "x");
    relabelled.metadata.labels = Some(BTreeMap::from([("app".into(), "web".into())]));
    stand.feed(0, vec![Event::Apply(relabelled)]).await;
    let all_of_namespace = CacheChange::Object {
        kind: ObjectKind::Pod,
        namespace: "a".into(),
        name: "a1".into(),
    };
    assert_eq!(stand.notices.try_recv().unwrap(), all_of_namespace);
}
