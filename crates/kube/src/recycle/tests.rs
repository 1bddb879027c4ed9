#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::methods::testing::{SeenRequest, client_answering_all, failure_body, pod_ref};

const STAMP: &str = "4361b7b0/12-3f9c";

fn target(method: &str) -> TargetSpec {
    serde_json::from_value(json!({
        "name": "web",
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "pools": [{"endpoint": "Reader", "connectionsPerPod": 1}],
        "recycle": {"method": method, "http": {"port": 8080, "path": "/recycle"}}
    }))
    .unwrap()
}

/// Answers hooks with one outcome.
struct Hook(EffectOutcome);

impl CallHook for Hook {
    async fn call_hook(&self, _pod: &Pod, _settings: &HttpSpec) -> EffectOutcome {
        self.0.clone()
    }
}

/// Writes down what is called, and refuses to act from the given question on.
struct Caller {
    calls: Mutex<Vec<String>>,
    asked: AtomicUsize,
    refuses_from: usize,
}

impl Caller {
    fn new(refuses_from: usize) -> Self {
        Self {
            calls: Mutex::default(),
            asked: AtomicUsize::new(0),
            refuses_from,
        }
    }

    fn record(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }
}

impl RecycleCallbacks for Caller {
    async fn wait_for_permit(&self) -> bool {
        self.record("permit");
        self.refuses_from > 0
    }

    fn may_act(&self) -> bool {
        self.record("fence");
        self.asked.fetch_add(1, Ordering::Relaxed) + 1 < self.refuses_from
    }

    fn on_claimed(&self, _claim: &Claim) {
        self.record("claimed");
    }

    fn on_effect(&self, outcome: &EffectOutcome) {
        let done = *outcome == EffectOutcome::Done;
        self.record(if done { "effect" } else { "no effect" });
    }

    fn on_written(&self, outcome: StampOutcome, doing: &'static str) {
        self.record(format!("{doing}: {outcome:?}"));
    }
}

struct Seen {
    recycled: Recycled,
    calls: Vec<String>,
    requests: Vec<SeenRequest>,
}

impl Seen {
    /// The operations of a JSON patch on annotations, as in `remove claim`.
    fn writes(&self, request: usize) -> Vec<String> {
        let ops = self.requests[request].body.as_array().unwrap().iter();
        ops.filter(|op| op["op"] != "test")
            .map(|op| {
                let (_, key) = op["path"].as_str().unwrap().rsplit_once("~1").unwrap();
                format!("{} {key}", op["op"].as_str().unwrap())
            })
            .collect()
    }
}

/// Recycles one pod. `refuses_from`: the question from which on the fence refuses.
async fn recycle(
    method: Method,
    hook: EffectOutcome,
    is_canary: bool,
    refuses_from: usize,
    answers: Vec<(u16, Value)>,
) -> Seen {
    let (client, seen) = client_answering_all(answers);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "namespace": "shop", "name": "web-1", "uid": "u-1", "resourceVersion": "7",
            "annotations": {}
        },
        "status": {"containerStatuses": [{
            "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 1,
            "state": {"running": {"startedAt": "2026-05-04T15:00:00Z"}}
        }]}
    }))
    .unwrap();
    let stamp = Stamp::parse(STAMP).unwrap();
    let claim = Claim {
        policy: stamp.policy.clone(),
        epoch: stamp.epoch,
        attempt: Attempt::First,
        time: "2026-05-04T15:52:35Z".parse().unwrap(),
    };
    let name = if method == Method::Http {
        "HTTP"
    } else {
        "Annotate"
    };
    let target = target(name);
    let caller = Caller::new(refuses_from);
    let recycle = PodRecycle {
        client: &client,
        target: &target,
        pod: &pod,
        pod_ref: pod_ref(),
        method,
        claim,
        moved: None,
        stamp,
        topology: TopologyNote::default(),
        recycles: 3,
    };
    let recycled = recycle_pod(&recycle, is_canary, &Hook(hook), &caller).await;
    drop(client);
    Seen {
        recycled,
        calls: caller.calls.into_inner().unwrap(),
        requests: seen.await.unwrap(),
    }
}

fn done() -> (u16, Value) {
    (200, json!({"metadata": {"name": "web-1"}}))
}

#[tokio::test]
async fn the_fence_is_asked_before_the_claim_and_between_claim_and_effect() {
    let seen = recycle(
        Method::Annotate,
        EffectOutcome::Done,
        false,
        9,
        vec![done(), done()],
    )
    .await;
    assert_eq!(seen.recycled, Recycled::Done);
    assert_eq!(
        seen.calls,
        [
            "permit",
            "fence",
            "claimed",
            "fence",
            "effect",
            "stamping: Stamped"
        ]
    );
    assert_eq!(seen.writes(0), ["add claim", "add restarts"]);
    assert_eq!(
        seen.writes(1),
        [
            "remove claim",
            "add epoch",
            "add writer",
            "add readers",
            "add recycles"
        ]
    );
}

#[tokio::test]
async fn the_claim_of_an_eviction_notes_no_restarts_of_a_pod_that_goes() {
    let none = EffectOutcome::Done;
    let seen = recycle(Method::Evict, none, false, 9, vec![done(), done()]).await;
    assert_eq!(seen.writes(0), ["add claim"]);
}

#[tokio::test]
async fn without_the_right_to_act_nothing_is_written() {
    let seen = recycle(Method::Http, EffectOutcome::Done, false, 1, vec![]).await;
    assert_eq!(seen.recycled, Recycled::Untouched);
    assert!(seen.requests.is_empty());
}

#[tokio::test]
async fn without_a_permit_nothing_is_asked_and_nothing_is_written() {
    let seen = recycle(Method::Http, EffectOutcome::Done, false, 0, vec![]).await;
    assert_eq!(seen.recycled, Recycled::Postponed);
    assert_eq!(seen.calls, ["permit"]);
    assert!(seen.requests.is_empty());
}

#[tokio::test]
async fn a_right_that_ends_after_the_claim_leaves_the_claim_and_makes_no_effect() {
    let seen = recycle(Method::Http, EffectOutcome::Done, false, 2, vec![done()]).await;
    assert_eq!(seen.recycled, Recycled::Untouched);
    assert_eq!(seen.calls, ["permit", "fence", "claimed", "fence"]);
    assert_eq!(seen.requests.len(), 1);
}

#[tokio::test]
async fn a_pod_that_has_changed_is_left_alone() {
    let changed = vec![(409, failure_body(409, "Conflict", "changed"))];
    let seen = recycle(Method::Http, EffectOutcome::Done, false, 9, changed).await;
    assert_eq!(seen.recycled, Recycled::Untouched);
    assert_eq!(seen.calls, ["permit", "fence"]);
}

#[tokio::test]
async fn a_first_failure_leaves_the_claim_for_another_attempt() {
    let failed = EffectOutcome::failed(EffectFault::HttpStatus, "500");
    let seen = recycle(Method::Http, failed, false, 9, vec![done()]).await;
    assert_eq!(
        seen.recycled,
        Recycled::Failed(EffectFault::HttpStatus, "500".to_owned())
    );
    assert_eq!(seen.requests.len(), 1, "the claim alone");
}

#[tokio::test]
async fn a_canary_whose_app_answers_with_a_failure_is_marked_and_one_that_is_not_reached_is_not() {
    let failed = |fault| EffectOutcome::failed(fault, "no");
    let answered = failed(EffectFault::HttpStatus);
    let seen = recycle(Method::Http, answered, true, 9, vec![done(), done()]).await;
    assert_eq!(seen.writes(1), ["add restarts"]);
    let mark = seen.requests[1].body[2]["value"].as_str().unwrap();
    assert_eq!(
        mark,
        "4361b7b0/12 2026-05-04T15:52:35Z app=1 NotReady Refused"
    );
    for fault in [EffectFault::Timeout, EffectFault::Connection] {
        let seen = recycle(Method::Http, failed(fault), true, 9, vec![done()]).await;
        assert_eq!(seen.requests.len(), 1, "the claim alone: {fault:?}");
    }
}

#[tokio::test]
async fn a_failure_that_every_pod_shares_marks_the_pod_and_releases_a_canary() {
    let failed = || EffectOutcome::failed(EffectFault::HostNetwork, "no");
    let seen = recycle(Method::Http, failed(), false, 9, vec![done(), done()]).await;
    assert_eq!(seen.writes(1), ["replace claim"]);
    let seen = recycle(Method::Http, failed(), true, 9, vec![done(), done()]).await;
    assert_eq!(seen.writes(1), ["remove claim"]);
}

#[tokio::test]
async fn an_effect_that_is_held_up_releases_its_claim() {
    let blocked = EffectOutcome::Blocked {
        by: BlockedBy::ApiServerBusy,
        message: "busy".to_owned(),
    };
    let seen = recycle(Method::Http, blocked, false, 9, vec![done(), done()]).await;
    assert_eq!(
        seen.recycled,
        Recycled::Blocked(BlockedBy::ApiServerBusy, "busy".to_owned())
    );
    assert_eq!(seen.writes(1), ["remove claim"]);
}
