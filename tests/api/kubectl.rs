//! What a user of `kubectl` sees: columns, the short name, waiting, explanations.

use std::fs;

use http::Method;
use serde_json::json;

use crate::table::{base, changed};
use dbbalance_testkit::api_server::{KubeApiServer, NAMESPACE, STRICT, policy_path};

const HEADER: &str = "NAME CLUSTER MODE WRITER READERS EPOCH STALE BALANCED READY LAST-RUN AGE";

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Columns before and after an operator has seen the policy, and what waits for its conditions.
pub fn get_and_wait(server: &KubeApiServer<'_>) -> usize {
    let mut policy = base();
    policy["metadata"]["name"] = json!("columns");
    server.create(&policy, STRICT).unwrap();
    let get = |more: &[&str]| {
        let text = server.kubectl(&[&["get", "dbp", "columns", "-n", NAMESPACE], more].concat());
        text.lines().map(words).collect::<Vec<_>>()
    };
    let first = get(&[]);
    assert_eq!(first[0], HEADER);
    assert!(
        first[1].starts_with("columns orders-prod Enforce Unknown "),
        "{}",
        first[1]
    );

    let wait = |condition: &str, limit: &str| {
        server
            .testbed
            .kubectl(&["wait", "dbp/columns", "-n", NAMESPACE, condition, limit])
    };
    assert!(
        wait("--for=condition=Ready", "--timeout=1s").is_err(),
        "nobody has seen it"
    );
    wait("--for=condition=Ready=Unknown", "--timeout=1s").unwrap();

    let condition = |name: &str, reason: &str| json!({"type": name, "status": "True", "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let member =
        |name: &str, role: &str| json!({"instance": name, "resourceID": name, "role": role});
    let status = json!({"status": {
        "epoch": 12, "stale": "0/20", "lastRunTime": "2026-01-01T00:00:00Z",
        "conditions": [condition("Ready", "Observed"), condition("Balanced", "Even")],
        "plan": [{"target": "web", "action": "nothing", "waitingFor": "Window"}],
        "topology": {
            "fingerprint": "3f9c", "clusterARN": "arn", "clusterResourceID": "c", "writer": "orders-prod-1",
            "readerCount": 1, "members": [member("orders-prod-1", "Writer"), member("orders-prod-2", "Reader")]
        }
    }});
    let path = format!("{}/status", policy_path("columns"));
    server.call(Method::PATCH, &path, &status).unwrap();
    let row = &get(&[])[1];
    let shown = "columns orders-prod Enforce orders-prod-1 1 12 0/20 True True ";
    assert!(row.starts_with(shown), "{row}");
    let wide = get(&["-o", "wide"]);
    assert_eq!(wide[0], format!("{HEADER} REASON PREPARED WAITING-FOR"));
    assert!(wide[1].ends_with(" Observed Window"), "{}", wide[1]);
    wait("--for=condition=Ready", "--timeout=5s").unwrap();
    wait("--for=condition=Balanced", "--timeout=5s").unwrap();
    wait("--for=jsonpath={.status.epoch}=12", "--timeout=5s").unwrap();

    for name in [
        "dbp",
        "dbbalancepolicy",
        "dbbalancepolicies",
        "dbbalancepolicies.v1alpha1.dbbalance.io",
    ] {
        let found = server.kubectl(&["get", name, "columns", "-n", NAMESPACE, "-o", "name"]);
        assert_eq!(found.trim(), "dbbalancepolicy.dbbalance.io/columns");
    }

    // As a user meets it: a mistyped field in a file.
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("api-mistyped.json");
    fs::write(
        &path,
        changed(&[("/pacing/maxUnavailble", json!(1))]).to_string(),
    )
    .unwrap();
    let refused =
        server
            .testbed
            .kubectl(&["apply", "--validate=strict", "-f", path.to_str().unwrap()]);
    let message = format!("{:#}", refused.unwrap_err());
    assert!(
        message.contains("unknown field \"spec.pacing.maxUnavailble\""),
        "{message}"
    );
    14
}

/// Explanations at each depth: the field's own words, and its words to choose from.
pub fn explain(server: &KubeApiServer<'_>) -> usize {
    let cases: [(&str, &[&str]); 9] = [
        (
            "dbp",
            &[
                "KIND: DbBalancePolicy",
                "VERSION: v1alpha1",
                "Recycles the connection pools of pods",
                "spec <Object> -required-",
            ],
        ),
        (
            "dbp.spec",
            &[
                "cluster <Object> -required-",
                "targets <[]Object> -required-",
                "mode <string>",
                "enum: Enforce, Observe",
                "windows <[]Object>",
            ],
        ),
        (
            "dbp.spec.mode",
            &["Enforce acts on pods. Observe plans and shows"],
        ),
        (
            "dbp.spec.cluster",
            &[
                "identifier <string> -required-",
                "The AWS region. Default: the operator's.",
            ],
        ),
        (
            "dbp.spec.targets.recycle",
            &[
                "method <string> -required-",
                "enum: Signal, HTTP, Evict, Rollout",
                "once the canary has passed",
            ],
        ),
        (
            "dbp.spec.targets.selector.matchExpressions",
            &[
                "operator <string> -required-",
                "enum: In, NotIn, Exists, DoesNotExist",
            ],
        ),
        (
            "dbp.spec.pacing",
            &["a percentage rounded down", "intervalSeconds <integer>"],
        ),
        (
            "dbp.spec.windows",
            &["timeZone <string>", "The IANA time zone"],
        ),
        (
            "dbp.status.topology.members",
            &["role <string> -required-", "enum: Writer, Reader"],
        ),
    ];
    for (path, expected) in cases {
        let text = words(&server.kubectl(&["explain", path]));
        for part in expected {
            assert!(
                text.contains(part),
                "kubectl explain {path} lacks {part:?}:\n{text}"
            );
        }
    }
    let all = server.kubectl(&["explain", "dbp.spec", "--recursive"]);
    for field in [
        "roleARN",
        "externalID",
        "connectionsPerPod",
        "allowSingleReplica",
        "headroomPercent",
        "spreadSeconds",
    ] {
        assert!(all.contains(field), "{field}");
    }
    assert!(
        !server
            .kubectl(&["explain", "dbp.spec"])
            .contains("<no description>")
    );
    cases.len()
}
