//! What happens to a policy from its creation on: defaults, its first status, and what of it may change.

use http::Method;
use serde_json::{Value, json};

use crate::table::{Table, base, changed};
use dbbalance_testkit::api_server::{DRY, KubeApiServer, STRICT, policy_path};

fn named(mut policy: Value, name: &str) -> Value {
    policy["metadata"]["name"] = json!(name);
    policy
}

/// Cluster and region stay, presence included; all else may be edited.
pub fn immutability(server: &KubeApiServer<'_>) -> usize {
    let mut t = Table::new(server);
    let region = [("/cluster/region", json!("eu-west-1"))];
    server.create(&named(base(), "nowhere"), STRICT).unwrap();
    server
        .create(&named(changed(&region), "west"), STRICT)
        .unwrap();

    let identifier = "spec.cluster: Invalid value: identifier is immutable";
    let moved = "spec.cluster: Invalid value: region is immutable";
    let cluster = |cluster: Value| json!({"spec": {"cluster": cluster}});
    let refused = [
        (
            "nowhere",
            cluster(json!({"identifier": "other"})),
            identifier,
        ),
        ("nowhere", cluster(json!({"region": "eu-west-1"})), moved),
        ("west", cluster(json!({"region": "eu-west-2"})), moved),
        ("west", cluster(json!({"region": null})), moved),
    ];
    for (name, patch, words) in refused {
        let what = format!("{name}: {patch}");
        t.expect(&what, server.patch(name, &patch, DRY), Some(&[words]));
    }
    let role = "arn:aws:iam::444455556666:role/r";
    let taken = [
        ("nowhere", cluster(json!({"identifier": "orders-prod"}))),
        (
            "west",
            cluster(json!({"roleARN": role, "externalID": "abc"})),
        ),
        (
            "west",
            json!({"spec": {"mode": "Observe", "suspend": true}}),
        ),
        (
            "west",
            json!({"spec": {"targets": [crate::table::target("other")]}}),
        ),
        (
            "west",
            json!({"metadata": {"annotations": {"dbbalance.io/recycle-requested": "1"}}}),
        ),
    ];
    for (name, patch) in taken {
        t.expect(
            &format!("{name}: {patch}"),
            server.patch(name, &patch, DRY),
            None,
        );
    }
    let steered = named(changed(&crate::table::steered()), "steered");
    server.create(&steered, STRICT).unwrap();
    let steering = |steering: Value| json!({"spec": {"dns": {"steering": steering}}});
    let other = "spec.dns.steering: Invalid value: via and reader are immutable";
    for (change, words) in [
        (json!({"via": "Slice"}), Some(&[other][..])),
        (json!({"reader": "pay-ro"}), Some(&[other])),
        (json!({"holdSeconds": 90}), None),
        (Value::Null, None),
    ] {
        let patch = steering(change);
        t.expect(
            &format!("{patch}"),
            server.patch("steered", &patch, DRY),
            words,
        );
    }
    // Rules hold for edits as for new policies.
    let patch = json!({"spec": {"pacing": {"maxUnavailable": 0}}});
    let words = ["spec.pacing.maxUnavailable"];
    t.expect(
        "a bad edit",
        server.patch("west", &patch, DRY),
        Some(&words),
    );
    t.end()
}

/// Ten lines are a whole policy; the rest is as the documents say.
pub fn defaults(server: &KubeApiServer<'_>) -> usize {
    let short = named(base(), "short");
    server.create(&short, STRICT).unwrap();
    let mut expected = short["spec"].clone();
    expected["targets"][0]["pools"][0]["strayConnections"] = json!(0);
    let rest = json!({
        "mode": "Enforce",
        "suspend": false,
        "triggers": {
            "failover": {"enabled": true, "settleSeconds": 0},
            "readerAdded": {"enabled": true, "settleSeconds": 30},
            "readerRemoved": {"enabled": true, "settleSeconds": 30},
            "drift": {"enabled": true}
        },
        "pacing": {"maxUnavailable": "25%", "intervalSeconds": 10, "jitterPercent": 20, "progressDeadlineSeconds": 900},
        "limits": {"cooldownSeconds": 300, "maxRunsPerHour": 6},
        "budget": {"headroomPercent": 15},
        "dns": {"onTimeout": "Hold", "timeoutSeconds": 300, "holdSeconds": 5},
        "evidence": {"source": "None", "tolerancePercent": 15},
        "balance": {"shares": "Equal", "rampSeconds": 0}
    });
    expected
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    assert_eq!(server.read("short")["spec"], expected);

    // A block that says one thing keeps the other defaults; blocks that are given get theirs.
    let partly = changed(&[
        ("/triggers/readerAdded", json!({"settleSeconds": 60})),
        ("/pacing", json!({"maxUnavailable": 2})),
        ("/limits", json!({})),
        ("/budget/maxConnections", json!(2000)),
        ("/windows", json!([crate::table::window("w")])),
        (
            "/targets/0/recycle",
            json!({"method": "HTTP", "http": {"port": 8080, "path": "/r"}}),
        ),
    ]);
    server.create(&named(partly, "partly"), STRICT).unwrap();
    let spec = &server.read("partly")["spec"];
    let mut with = rest.clone();
    with["triggers"]["readerAdded"]["settleSeconds"] = json!(60);
    with["pacing"]["maxUnavailable"] = json!(2);
    with["budget"]["maxConnections"] = json!(2000);
    for block in ["triggers", "pacing", "limits", "budget"] {
        assert_eq!(spec[block], with[block], "{block}");
    }
    let mut window = crate::table::window("w");
    (window["timeZone"], window["spreadSeconds"]) = (json!("UTC"), json!(0));
    assert_eq!(spec["windows"], json!([window]));
    let http = json!({"port": 8080, "path": "/r", "verb": "POST", "timeoutSeconds": 5});
    assert_eq!(spec["targets"][0]["recycle"]["http"], http);

    let policy = named(changed(&crate::table::steered()), "by-name");
    server.create(&policy, STRICT).unwrap();
    let read = &server.read("by-name")["spec"]["dns"];
    let mut dns = rest["dns"].clone();
    dns["steering"] = json!({
        "via": "Service", "reader": "orders-ro",
        "holdSeconds": 60, "settleSeconds": 0, "allowSingleOperator": false
    });
    assert_eq!(read, &dns);

    let mut with = http.clone();
    with["headerSecretRef"] = json!({"name": "hook", "key": "token"});
    let recycle = json!({"method": "HTTP", "http": with});
    let policy = named(changed(&[("/targets/0/recycle", recycle)]), "header");
    server.create(&policy, STRICT).unwrap();
    let read = &server.read("header")["spec"]["targets"][0]["recycle"]["http"]["headerSecretRef"];
    assert_eq!(
        read,
        &json!({"name": "hook", "key": "token", "header": "Authorization"})
    );

    let signal = json!({"method": "Signal", "signal": {"name": "HUP"}});
    let policy = named(changed(&[("/targets/0/recycle", signal)]), "signal");
    server.create(&policy, STRICT).unwrap();
    let recycle = &server.read("signal")["spec"]["targets"][0]["recycle"];
    assert_eq!(
        recycle,
        &json!({"method": "Signal", "signal": {"name": "HUP", "process": 1}})
    );
    9
}

/// Whoever has not been seen by an operator reads as pending, and no user writes what the operator found.
pub fn status(server: &KubeApiServer<'_>) -> usize {
    let pending = json!({"conditions": [{
        "type": "Ready", "status": "Unknown", "reason": "Pending",
        "message": "Waiting for the dbbalance operator", "lastTransitionTime": "1970-01-01T00:00:00Z"
    }]});
    let invented = json!({"epoch": 7, "conditions": [{
        "type": "Ready", "status": "True", "reason": "Mine", "message": "", "lastTransitionTime": "2020-01-01T00:00:00Z"
    }]});
    let mut policy = named(base(), "pending");
    policy["status"] = invented.clone();
    server.create(&policy, STRICT).unwrap();
    assert_eq!(
        server.read("pending")["status"],
        pending,
        "created with a status"
    );

    // Somebody who edits, applies or replaces the policy does not reach it either.
    server
        .patch("pending", &json!({"status": invented}), STRICT)
        .unwrap();
    assert_eq!(server.read("pending")["status"], pending, "patched");
    let path = format!(
        "{}?fieldManager=user&force=true&{STRICT}",
        policy_path("pending")
    );
    server.call(Method::PATCH, &path, &policy).unwrap();
    assert_eq!(server.read("pending")["status"], pending, "applied");
    let mut whole = server.read("pending");
    whole["status"] = invented.clone();
    server
        .call(Method::PUT, &policy_path("pending"), &whole)
        .unwrap();
    assert_eq!(server.read("pending")["status"], pending, "replaced");

    // The operator's way; it leaves the spec and its generation alone.
    let before = server.read("pending");
    let found = json!({"status": invented, "spec": {"mode": "Observe"}});
    let path = format!("{}/status", policy_path("pending"));
    server.call(Method::PATCH, &path, &found).unwrap();
    let after = server.read("pending");
    assert_eq!(after["status"], invented);
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(
        after["metadata"]["generation"],
        before["metadata"]["generation"]
    );
    5
}
