//! The words that a field takes, fields that must be there, and fields that nobody knows.
#![allow(clippy::too_many_lines)] // a table

use serde_json::{Value, json};

use crate::table::{RECYCLE, Table, at, base, steered, window};
use dbbalance_testkit::api_server::{DRY, KubeApiServer};

/// A field, the changes that it needs around it, words that it takes and words that it refuses.
type Words<'a> = (
    &'a str,
    &'a [(&'a str, Value)],
    &'a [&'a str],
    &'a [&'a str],
);

/// Fields that take some words only, and fields that must be there.
pub fn known(server: &KubeApiServer<'_>) -> usize {
    let mut t = Table::new(server);
    let signal = json!({"method": "Signal", "signal": {"name": "HUP"}});
    let http = json!({"method": "HTTP", "http": {"port": 1, "path": "/"}});
    let signals = [
        "HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "CONT", "TTIN", "TTOU", "WINCH",
    ];
    let steered = steered();
    let fields: [Words<'_>; 13] = [
        (
            "/dns/steering/via",
            &steered,
            &["Service", "Slice"],
            &["service", "Endpoints"],
        ),
        (
            "/mode",
            &[],
            &["Enforce", "Observe"],
            &["enforce", "DryRun", ""],
        ),
        (
            "/targets/0/workloadRef/kind",
            &[],
            &["Deployment", "StatefulSet", "DaemonSet"],
            &["Job", "deployment"],
        ),
        (
            "/targets/0/workloadRef/apiVersion",
            &[],
            &["apps/v1"],
            &["apps/v1beta1", "v1"],
        ),
        (
            "/targets/0/pools/0/endpoint",
            &[],
            &["Reader", "Writer"],
            &["reader", "Custom"],
        ),
        (
            "/targets/0/recycle/method",
            &[],
            &["Evict", "Rollout", "Annotate"],
            &["Restart", "evict"],
        ),
        (
            "/targets/0/recycle/signal/name",
            &[(RECYCLE, signal)],
            &signals,
            &["KILL", "STOP", "SIGHUP", "hup"],
        ),
        (
            "/targets/0/recycle/http/verb",
            &[(RECYCLE, http.clone())],
            &["POST", "PUT", "GET"],
            &["DELETE", "post"],
        ),
        (
            "/targets/0/recycle/fallback",
            &[(RECYCLE, http)],
            &["Evict"],
            &["Rollout", "None"],
        ),
        (
            "/dns/onTimeout",
            &[],
            &["Hold", "Proceed"],
            &["hold", "Fail"],
        ),
        (
            "/evidence/source",
            &[],
            &["None", "ProcNet"],
            &["procnet", "SQL"],
        ),
        (
            "/balance/shares",
            &[],
            &["Equal", "Capacity"],
            &["equal", "Class"],
        ),
        (
            "/windows/0/type",
            &[("/windows", json!([window("w")]))],
            &["Allow", "Deny"],
            &["allow", "Block"],
        ),
    ];
    for (path, with, good, bad) in fields {
        let change = |word: &str| [with, &[(path, json!(word))]].concat();
        for word in good {
            t.takes(&format!("{path} {word}"), &change(word));
        }
        for word in bad {
            let words = [
                &*field(path),
                "Unsupported value",
                "supported values: ",
                good[0],
            ];
            t.refuses(&format!("{path} {word:?}"), &change(word), &words);
        }
    }

    let http = || json!({"method": "HTTP", "http": {"port": 1, "path": "/"}});
    let window = || json!([window("w")]);
    let required: [(&str, &[(&str, Value)]); 19] = [
        ("/dns/steering/via", &steered),
        ("/dns/steering/reader", &steered),
        ("/cluster", &[]),
        ("/cluster/identifier", &[]),
        ("/targets", &[]),
        ("/targets/0/name", &[]),
        ("/targets/0/pools", &[]),
        ("/targets/0/recycle", &[]),
        ("/targets/0/workloadRef/apiVersion", &[]),
        ("/targets/0/workloadRef/kind", &[]),
        ("/targets/0/workloadRef/name", &[]),
        ("/targets/0/pools/0/endpoint", &[]),
        ("/targets/0/recycle/method", &[]),
        (
            "/targets/0/recycle/signal/name",
            &[(RECYCLE, json!({"method": "Signal", "signal": {}}))],
        ),
        ("/targets/0/recycle/http/port", &[(RECYCLE, http())]),
        ("/targets/0/recycle/http/path", &[(RECYCLE, http())]),
        ("/windows/0/name", &[("/windows", window())]),
        ("/windows/0/schedule", &[("/windows", window())]),
        ("/windows/0/durationSeconds", &[("/windows", window())]),
    ];
    for (path, with) in required {
        let changes = [with, &[(path, Value::Null)]].concat();
        t.refuses(
            &format!("without {path}"),
            &changes,
            &[&format!("{}: Required value", field(path))],
        );
    }
    let words = ["spec.windows[0].type: Required value"];
    let changes = [("/windows", window()), ("/windows/0/type", Value::Null)];
    t.refuses("without a window's type", &changes, &words);

    // A null is an absent field, as templates write it, for the CEL rules too.
    let mut nulled = base();
    for path in [
        "/cluster/region",
        "/pacing/maxUnavailable",
        "/targets/0/selector",
    ] {
        *at(&mut nulled, path) = Value::Null;
    }
    let mut taken = server.create(&nulled, DRY).unwrap();
    let mut plain = server.create(&base(), DRY).unwrap();
    assert_eq!(taken["spec"].take(), plain["spec"].take(), "nulls");
    t.refuses(
        "a number as text",
        &[("/limits/maxRunsPerHour", json!("6"))],
        &["must be of type integer"],
    );
    t.refuses(
        "a word as switch",
        &[("/suspend", json!("no"))],
        &["spec.suspend", "must be of type boolean"],
    );
    t.end()
}

/// As the server writes the path of a field.
fn field(path: &str) -> String {
    path.split('/')
        .skip(1)
        .fold("spec".to_owned(), |so_far, step| {
            if step.parse::<usize>().is_ok() {
                format!("{so_far}[{step}]")
            } else {
                format!("{so_far}.{step}")
            }
        })
}

/// A mistyped field is told, not dropped; fields whose work comes later are unknown too.
pub fn unknown_fields(server: &KubeApiServer<'_>) -> usize {
    let mut t = Table::new(server);
    for path in [
        "/modes",
        "/dns/gate",
        "/dns/writer",
        "/evidence/container",
        "/cluster/endpoint",
        "/targets/0/namespace",
        "/targets/0/workloadRef/namespace",
        "/targets/0/pools/0/port",
        "/targets/0/recycle/evict",
        "/triggers/writerChanged",
        "/triggers/failover/settle",
        "/pacing/maxSurge",
        "/limits/cooldown",
        "/budget/max",
    ] {
        let words = ["strict decoding error: unknown field", &*field(path)];
        t.refuses(path, &[(path, json!(1))], &words);
    }
    let changes = [
        ("/windows", json!([window("w")])),
        ("/windows/0/zone", json!("UTC")),
    ];
    t.refuses(
        "a window's zone",
        &changes,
        &["unknown field", "spec.windows[0].zone"],
    );
    t.end()
}
