//! The kubectl plugin against a real API server: what it shows, what it asks for, and what it says when it cannot.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::{env, fs};

use http::Method;
use serde_json::{Value, json};

use crate::table::base;
use dbbalance_testkit::api_server::{KubeApiServer, NAMESPACE, STRICT, policy_path};
use dbbalance_testkit::plugin_program::find_plugin_program;

/// The plugin as users install it: in a folder of the `PATH`.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin");
    fs::create_dir_all(&folder).unwrap();
    let link = folder.join("kubectl-dbbalance");
    let _ = fs::remove_file(&link);
    symlink(find_plugin_program(), &link).unwrap();
    link
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    fn done(self, parts: &[&str]) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        for part in parts {
            assert!(self.out.contains(part), "lacks {part:?}:\n{}", self.out);
        }
        self.out
    }

    fn failed(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "lacks {part:?}:\n{}", self.err);
        }
    }
}

fn plugin(server: &KubeApiServer<'_>, arguments: &[&str]) -> Said {
    let mut command = server.testbed.command(installed());
    command.args(arguments).output().unwrap().into()
}

fn in_namespace(server: &KubeApiServer<'_>, arguments: &[&str]) -> Said {
    plugin(server, &[arguments, &["-n", NAMESPACE]].concat())
}

/// A policy of this name, as an operator would have left it.
fn seen(server: &KubeApiServer<'_>, name: &str) {
    let mut policy = base();
    policy["metadata"]["name"] = json!(name);
    server.create(&policy, STRICT).unwrap();
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "Observed", "message": "as seen", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {
        "epoch": 3, "stale": "0/2", "conditions": [condition("Ready", "True"), condition("Fresh", "True")],
        "targets": [{"name": "web", "reference": "Deployment/web", "owned": true, "baselineEpoch": 3, "dueEpoch": 3, "urgentEpoch": 0, "pods": 2, "stale": 0}],
        "plan": [{"target": "web", "action": "recycle 2 of 2 pods", "waitingFor": "Budget", "message": "needs 128, has 22"}],
        "topology": {
            "fingerprint": "3f9c", "clusterARN": "arn", "clusterResourceID": "c", "writer": "orders-prod-1", "readerCount": 1,
            "members": [
                {"instance": "orders-prod-1", "resourceID": "1", "role": "Writer", "address": "198.18.0.11"},
                {"instance": "orders-prod-2", "resourceID": "2", "role": "Reader", "address": "198.18.0.12"}
            ]
        }
    }});
    set_status(server, name, &status);
}

fn set_status(server: &KubeApiServer<'_>, name: &str, status: &Value) {
    let path = format!("{}/status", policy_path(name));
    server.call(Method::PATCH, &path, status).unwrap();
}

fn note(server: &KubeApiServer<'_>, name: &str, key: &str) -> Option<String> {
    let key = format!("dbbalance.io/{key}");
    let value = server.read(name)["metadata"]["annotations"][&key].take();
    value.as_str().map(str::to_owned)
}

/// `status`, `plan` and `connections` of policies that are there and that are not.
pub fn shows(server: &KubeApiServer<'_>) -> usize {
    seen(server, "shown");
    let page = in_namespace(server, &["status", "shown"]);
    page.done(&[
        "shown in api: Enforce",
        "epoch 3-3f9c",
        "198.18.0.12",
        "✓ Ready",
        "needs 128, has 22",
    ]);
    let all = in_namespace(server, &["status"]).done(&["NAME", "shown"]);
    assert!(!all.contains('\x1b'), "no colours where no terminal is");
    let json = in_namespace(server, &["status", "shown", "-o", "json"]).done(&[]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["status"]["epoch"], 3);
    in_namespace(server, &["plan", "shown"])
        .done(&["recycle 2 of 2 pods", "waits for Budget: needs 128"]);
    let json = in_namespace(server, &["plan", "shown", "-o", "json"]).done(&[]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["plan"][0]["waitingFor"], "Budget");
    in_namespace(server, &["connections", "shown"]).done(&["no pods are counted", "orders-prod-2"]);

    in_namespace(server, &["status", "shwon"]).failed(
        1,
        &[
            "there is no policy shwon in namespace api; policies there: ",
            "shown",
        ],
    );
    plugin(server, &["status", "shown", "-n", "default"]).failed(
        1,
        &["there is no policy shown in namespace default, and no other: pass"],
    );
    plugin(server, &["status"]).done(&["there are no policies in namespace default"]);
    in_namespace(server, &["connections", "shown", "--target", "wbe"])
        .failed(1, &["has no target wbe; its targets: web"]);
    in_namespace(server, &["verify", "shown", "--yes"]).failed(
        1,
        &["no pod of target web can be verified: it has no counted pods"],
    );
    plugin(server, &["status", "--context", "nowhere"]).failed(1, &["nowhere", "--context"]);
    plugin(server, &["status", "--kubeconfig", "/nowhere"])
        .failed(1, &["/nowhere", "--kubeconfig"]);
    plugin(server, &["stauts"]).failed(2, &["stauts"]);

    // As kubectl finds it.
    let folder = installed().parent().unwrap().to_owned();
    let mut command = server.testbed.command("kubectl");
    let path = server
        .testbed
        .environment()
        .into_iter()
        .find(|(name, _)| *name == "PATH");
    let mut folders = vec![folder];
    folders.extend(env::split_paths(&path.unwrap().1));
    command.env("PATH", env::join_paths(folders).unwrap());
    command.args(["dbbalance", "status", "shown", "-n", NAMESPACE]);
    Said::from(command.output().unwrap()).done(&["shown in api"]);
    16
}

/// `recycle`, `pause` and `resume`, by the annotations that they leave.
pub fn asks(server: &KubeApiServer<'_>) -> usize {
    seen(server, "asked");
    in_namespace(server, &["recycle", "asked", "--token", "release-7"])
        .done(&["a run is requested, token release-7"]);
    assert_eq!(
        note(server, "asked", "recycle-requested").as_deref(),
        Some("release-7")
    );
    // Nobody takes it up here.
    in_namespace(server, &["recycle", "asked", "--wait", "--timeout", "1s"])
        .failed(1, &["is not fresh after 1s"]);
    let token = note(server, "asked", "recycle-requested").unwrap();
    assert!(token.starts_with("20"), "the time is the default: {token}");
    set_status(
        server,
        "asked",
        &json!({"status": {"recycleRequested": "release-8"}}),
    );
    in_namespace(server, &["recycle", "asked", "--token", "release-8"])
        .failed(1, &["has already accepted token release-8"]);
    set_status(
        server,
        "asked",
        &json!({"status": {"recycleRequested": "release-9"}}),
    );
    in_namespace(
        server,
        &["pause", "asked", "--for", "2h", "--reason", "release day"],
    )
    .done(&["paused until"]);
    assert_eq!(
        note(server, "asked", "pause-reason").as_deref(),
        Some("release day")
    );
    let until: jiff::Timestamp = note(server, "asked", "pause-until")
        .unwrap()
        .parse()
        .unwrap();
    let left = until.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((7190..=7200).contains(&left), "{left}");
    in_namespace(server, &["status", "asked"]).done(&["paused until", "release day"]);
    in_namespace(
        server,
        &["pause", "asked", "--until", "2020-01-01T00:00:00Z"],
    )
    .failed(1, &["is in the past"]);
    in_namespace(server, &["resume", "asked"]).done(&["the pause until", "has ended"]);
    assert_eq!(note(server, "asked", "pause-until"), None);
    assert_eq!(note(server, "asked", "pause-reason"), None);
    in_namespace(server, &["resume", "asked"]).done(&["is not paused"]);
    in_namespace(server, &["widen", "asked"]).failed(1, &["has no spec.dns.steering"]);
    set_status(
        server,
        "asked",
        &json!({"status": {"dns": {"service": "orders-ro", "via": "Service", "led": "Aurora"}}}),
    );
    in_namespace(server, &["widen", "asked", "--for", "2h"])
        .done(&["stays wide until", "leads to Aurora's own answer"]);
    assert!(note(server, "asked", "wide-until").is_some());

    in_namespace(server, &["drain", "asked", "orders-3"]).done(&["orders-3 is drained"]);
    in_namespace(server, &["drain", "asked", "orders-4"]).done(&["orders-4 is drained"]);
    let drained = note(server, "asked", "drain");
    assert_eq!(drained.as_deref(), Some("orders-3,orders-4"));
    in_namespace(server, &["undrain", "asked", "orders-3"]).done(&["gets its share again"]);
    in_namespace(server, &["undrain", "asked", "orders-3"]).done(&["does not drain orders-3"]);
    // Nobody takes it up here.
    let wait = ["drain", "asked", "orders-4", "--wait", "--timeout", "1s"];
    in_namespace(server, &wait).failed(1, &["orders-4 is not drained after 1s"]);
    in_namespace(server, &["undrain", "asked", "orders-4"]).done(&["gets its share again"]);
    assert_eq!(note(server, "asked", "drain"), None);

    let mut fresh = base();
    fresh["metadata"]["name"] = json!("unseen");
    server.create(&fresh, STRICT).unwrap();
    in_namespace(server, &["recycle", "unseen"])
        .failed(1, &["has not been seen by an operator yet"]);
    in_namespace(server, &["verify", "unseen", "--yes"]).failed(1, &["policy unseen is not Ready"]);
    in_namespace(server, &["connections", "unseen"]).failed(1, &["has no topology recorded yet"]);
    22
}

/// A user with few rights is told which one is missing.
pub fn rights(server: &KubeApiServer<'_>) -> usize {
    seen(server, "guarded");
    server.kubectl(&["create", "serviceaccount", "guest", "-n", NAMESPACE]);
    let token = server.kubectl(&["create", "token", "guest", "-n", NAMESPACE]);
    let config = server.kubectl(&["config", "view", "--raw", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&config).unwrap();
    for user in config["users"].as_array_mut().unwrap() {
        user["user"] = json!({"token": token.trim()});
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-guest.json");
    fs::write(&path, config.to_string()).unwrap();
    let guest = |arguments: &[&str]| {
        let connect = ["-n", NAMESPACE, "--kubeconfig", path.to_str().unwrap()];
        plugin(server, &[arguments, &connect].concat())
    };
    let may = |role: &str, verbs: &str, resource: &str| {
        let (verbs, resource) = (format!("--verb={verbs}"), format!("--resource={resource}"));
        server.kubectl(&["create", "role", role, "-n", NAMESPACE, &verbs, &resource]);
        let (role, to) = (
            format!("--role={role}"),
            format!("--serviceaccount={NAMESPACE}:guest"),
        );
        server.kubectl(&[
            "create",
            "rolebinding",
            &role[7..],
            "-n",
            NAMESPACE,
            &role,
            &to,
        ]);
    };

    let forbidden = [
        "is forbidden",
        "ask for a role with get on dbbalancepolicies.dbbalance.io in namespace api",
    ];
    guest(&["status", "guarded"]).failed(1, &forbidden);
    may(
        "reads-policies",
        "get,list",
        "dbbalancepolicies.dbbalance.io",
    );
    // An authorizer may be a moment behind the role.
    dbbalance_testbed::wait::poll_until("the role", std::time::Duration::from_secs(10), || {
        Ok((guest(&["status", "guarded"]).code == Some(0)).then_some(()))
    })
    .unwrap();
    guest(&["recycle", "guarded"]).failed(
        1,
        &["ask for a role with patch on dbbalancepolicies.dbbalance.io"],
    );
    guest(&["pause", "guarded"]).failed(1, &["ask for a role with patch on dbbalancepolicies"]);
    assert_eq!(note(server, "guarded", "recycle-requested"), None);
    guest(&["connections", "guarded"])
        .failed(1, &["ask for a role with list on pods in namespace api"]);
    guest(&["verify", "guarded", "--yes"])
        .failed(1, &["ask for a role with list on pods in namespace api"]);
    6
}
