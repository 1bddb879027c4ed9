//! Tables of cases: a short policy, one change, and what the server must say to it.

use kube::core::Status;
use serde_json::{Value, json};

use dbbalance_testkit::api_server::{DRY, KubeApiServer};

/// The shortest policy: all that a user must say.
pub fn base() -> Value {
    json!({
        "apiVersion": "dbbalance.io/v1alpha1",
        "kind": "DbBalancePolicy",
        "metadata": {"name": "orders", "namespace": dbbalance_testkit::api_server::NAMESPACE},
        "spec": {
            "cluster": {"identifier": "orders-prod"},
            "targets": [{
                "name": "web",
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "pools": [{"endpoint": "Reader", "connectionsPerPod": 10}],
                "recycle": {"method": "Evict"}
            }]
        }
    })
}

/// A window that the rules take, with this name.
pub fn window(name: &str) -> Value {
    json!({"name": name, "type": "Deny", "schedule": "0 9 * * 1-5", "durationSeconds": 3600})
}

/// A target that the rules take, with this name, which is its workload's as well.
pub fn target(name: &str) -> Value {
    let mut target = base()["spec"]["targets"][0].take();
    target["name"] = json!(name);
    target["workloadRef"]["name"] = json!(name);
    target
}

/// The changes that a policy with a steered name needs: measured connections, and a method that comes back at once.
pub fn steered() -> [(&'static str, Value); 3] {
    [
        ("/evidence", json!({"source": "ProcNet"})),
        (RECYCLE, json!({"method": "Annotate"})),
        (
            "/dns",
            json!({"steering": {"via": "Service", "reader": "orders-ro"}}),
        ),
    ]
}

/// The first target's `recycle`, for a change.
pub const RECYCLE: &str = "/targets/0/recycle";
/// The first target's `workloadRef`, for a change.
pub const WORKLOAD: &str = "/targets/0/workloadRef";
/// The first target's `selector`, for a change.
pub const SELECTOR: &str = "/targets/0/selector";

/// The field of a spec at a path such as `/pacing/intervalSeconds`; made if it is not there.
pub fn at<'p>(policy: &'p mut Value, path: &str) -> &'p mut Value {
    path.split('/')
        .skip(1)
        .fold(&mut policy["spec"], |at, step| {
            match step.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[step],
            }
        })
}

/// The base with changes of its spec: paths and values; null takes a field away.
pub fn changed(changes: &[(&str, Value)]) -> Value {
    let mut policy = base();
    for (path, value) in changes {
        let (folder, name) = path.rsplit_once('/').unwrap();
        let at = at(&mut policy, folder);
        match (value, name.parse::<usize>()) {
            (Value::Null, _) => {
                at.as_object_mut().unwrap().remove(name);
            }
            (value, Ok(index)) => at[index] = value.clone(),
            (value, Err(_)) => at[name] = value.clone(),
        }
    }
    policy
}

/// The cases of a part; failures are collected, so that one run tells all.
pub struct Table<'s> {
    server: &'s KubeApiServer<'s>,
    failures: Vec<String>,
    count: usize,
}

impl<'s> Table<'s> {
    pub fn new(server: &'s KubeApiServer<'s>) -> Self {
        Self {
            server,
            failures: Vec::new(),
            count: 0,
        }
    }

    /// The server takes the base with these changes.
    pub fn takes(&mut self, what: &str, changes: &[(&str, Value)]) {
        let answer = self.server.create(&changed(changes), DRY);
        self.expect(what, answer, None);
    }

    /// The server refuses the base with these changes, for one reason, in these words.
    pub fn refuses(&mut self, what: &str, changes: &[(&str, Value)], words: &[&str]) {
        let answer = self.server.create(&changed(changes), DRY);
        self.expect(what, answer, Some(words));
    }

    /// An answer that was got elsewhere: none of the words, or a refusal with all of them.
    pub fn expect(
        &mut self,
        what: &str,
        answer: Result<Value, Box<Status>>,
        words: Option<&[&str]>,
    ) {
        self.count += 1;
        let wrong = match (answer, words) {
            (Ok(_), None) => return,
            (Ok(_), Some(_)) => "was taken".to_owned(),
            (Err(status), None) => format!("was refused: {}", status.message),
            (Err(status), Some(words)) => {
                // The server's own remark that it leaves the CEL rules for later is no reason.
                let causes = status
                    .details
                    .map_or(Vec::new(), |details| details.causes)
                    .iter()
                    .filter(|cause| !cause.message.contains("rules were not checked"))
                    .count();
                let missing = words.iter().find(|word| !status.message.contains(**word));
                match missing {
                    Some(word) => format!("was refused without {word:?}: {}", status.message),
                    None if causes > 1 => format!("{causes} reasons: {}", status.message),
                    None => return,
                }
            }
        };
        self.failures.push(format!("{what}: {wrong}"));
    }

    /// The number of cases; fails if one was not as expected.
    pub fn end(self) -> usize {
        assert!(
            self.failures.is_empty(),
            "{} of {} cases:\n{}",
            self.failures.len(),
            self.count,
            self.failures.join("\n")
        );
        self.count
    }
}
