//! What fields mean together (the CEL rules), the words that a field takes, and fields that nobody knows.

use serde_json::{Value, json};

use crate::server::{DRY, Server};
use crate::table::{RECYCLE, SELECTOR, Table, WORKLOAD, at, base, target, window};

/// The CEL rules.
pub fn between_fields(server: &Server<'_>) -> usize {
    let mut t = Table::new(server);
    let labels = || json!({"matchLabels": {"app": "web"}});
    t.takes("the shortest policy", &[]);

    let one = "spec.targets[0]: Invalid value: give exactly one of workloadRef and selector";
    t.takes(
        "a selector",
        &[(WORKLOAD, Value::Null), (SELECTOR, labels())],
    );
    t.refuses("both", &[(SELECTOR, labels())], &[one]);
    t.refuses("neither", &[(WORKLOAD, Value::Null)], &[one]);

    let empty = "targets[0].selector: Invalid value: an empty selector would take every pod";
    let select = |selector| [(WORKLOAD, Value::Null), (SELECTOR, selector)];
    t.refuses("an empty selector", &select(json!({})), &[empty]);
    t.refuses("no labels", &select(json!({"matchLabels": {}})), &[empty]);
    t.refuses(
        "no expressions",
        &select(json!({"matchExpressions": []})),
        &[empty],
    );
    let expression = json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]});
    t.takes("an expression", &select(expression));

    let signal =
        "targets[0].recycle: Invalid value: signal is required for method Signal and refused";
    let http = "targets[0].recycle: Invalid value: http is required for method HTTP and refused";
    let hup = || json!({"name": "HUP"});
    let call = || json!({"port": 8080, "path": "/recycle"});
    t.takes(
        "Signal",
        &[(RECYCLE, json!({"method": "Signal", "signal": hup()}))],
    );
    t.takes(
        "HTTP",
        &[(RECYCLE, json!({"method": "HTTP", "http": call()}))],
    );
    t.refuses(
        "Signal without",
        &[(RECYCLE, json!({"method": "Signal"}))],
        &[signal],
    );
    t.refuses(
        "HTTP without",
        &[(RECYCLE, json!({"method": "HTTP"}))],
        &[http],
    );
    for method in ["Evict", "Rollout", "Annotate"] {
        t.takes(method, &[(RECYCLE, json!({"method": method}))]);
        let block = json!({"method": method, "signal": hup()});
        t.refuses(
            &format!("{method} with signal"),
            &[(RECYCLE, block)],
            &[signal],
        );
        let block = json!({"method": method, "http": call()});
        t.refuses(&format!("{method} with http"), &[(RECYCLE, block)], &[http]);
        let block = json!({"method": method, "fallback": "Evict"});
        let words =
            ["targets[0].recycle: Invalid value: fallback is for methods that can fail on one pod"];
        t.refuses(
            &format!("{method} with fallback"),
            &[(RECYCLE, block)],
            &words,
        );
    }
    let block = json!({"method": "HTTP", "http": call(), "signal": hup()});
    t.refuses("HTTP with signal", &[(RECYCLE, block)], &[signal]);
    let block = json!({"method": "Signal", "http": call(), "signal": hup()});
    t.refuses("Signal with http", &[(RECYCLE, block)], &[http]);

    let single = "targets[0].recycle: Invalid value: allowSingleReplica is for evictions";
    for allow in [true, false] {
        let block = json!({"method": "Evict", "allowSingleReplica": allow});
        t.takes("a single replica for Evict", &[(RECYCLE, block)]);
        let block = json!({"method": "Annotate", "allowSingleReplica": allow});
        t.refuses(
            "a single replica for Annotate",
            &[(RECYCLE, block)],
            &[single],
        );
    }
    for (method, name, block) in [("Signal", "signal", hup()), ("HTTP", "http", call())] {
        let with =
            json!({"method": method, name: block, "fallback": "Evict", "allowSingleReplica": true});
        t.takes(
            &format!("{method} with fallback"),
            &[(RECYCLE, with.clone())],
        );
        let mut without = with;
        without.as_object_mut().unwrap().remove("fallback");
        t.refuses(
            &format!("{method}, a single replica"),
            &[(RECYCLE, without)],
            &[single],
        );
    }

    let rollout = json!({"method": "Rollout"});
    let changes = [
        (WORKLOAD, Value::Null),
        (SELECTOR, labels()),
        (RECYCLE, rollout),
    ];
    let words = ["spec.targets[0]: Invalid value: method Rollout needs workloadRef"];
    t.refuses("Rollout of a selector", &changes, &words);

    let role = || json!("arn:aws:iam::444455556666:role/dbbalance");
    let both = [
        ("/cluster/roleARN", role()),
        ("/cluster/externalID", json!("abc")),
    ];
    t.takes("a role", &both[..1]);
    t.takes("a role and an external id", &both);
    let words = ["spec.cluster: Invalid value: externalID is used only with roleARN"];
    t.refuses("an external id alone", &both[1..], &words);

    let pace = |interval, deadline| {
        let pacing = json!({"intervalSeconds": interval, "progressDeadlineSeconds": deadline});
        [("/pacing", pacing)]
    };
    let words = [
        "spec.pacing: Invalid value: progressDeadlineSeconds must be greater than intervalSeconds",
    ];
    t.takes("a deadline after the interval", &pace(60, 61));
    t.refuses("a deadline with the interval", &pace(60, 60), &words);
    t.refuses(
        "an interval above the default deadline",
        &[("/pacing/intervalSeconds", json!(900))],
        &words,
    );

    let windows = |kind: &str, spread: i32| {
        let mut window = window("office");
        (window["type"], window["spreadSeconds"]) = (json!(kind), json!(spread));
        [("/windows", json!([window]))]
    };
    let words = ["spec.windows[0]: Invalid value: spreadSeconds must be less than durationSeconds"];
    t.takes("spread within Allow", &windows("Allow", 3599));
    t.refuses("spread past Allow", &windows("Allow", 3600), &words);
    t.takes("spread after Deny", &windows("Deny", 3600));

    unavailable(&mut t);
    unique(&mut t);
    t.end()
}

fn unavailable(t: &mut Table<'_>) {
    let path = "/pacing/maxUnavailable";
    for good in [
        json!(1),
        json!(1000),
        json!("1%"),
        json!("25%"),
        json!("99%"),
        json!("100%"),
    ] {
        t.takes(&format!("maxUnavailable {good}"), &[(path, good)]);
    }
    let words = [
        "spec.pacing.maxUnavailable: Invalid value: ",
        ": must be a number of pods from 1 to 1000 or a percentage from 1% to 100%",
    ];
    for bad in [
        "0%", "101%", "00%", "1.5%", "abc", "25", "-1%", "", "%", "5%%",
    ] {
        t.refuses(
            &format!("maxUnavailable {bad:?}"),
            &[(path, json!(bad))],
            &words,
        );
    }
    for bad in [0, -1, 1001] {
        t.refuses(
            &format!("maxUnavailable {bad}"),
            &[(path, json!(bad))],
            &words,
        );
    }
    let words = ["spec.pacing.maxUnavailable: Invalid value"];
    t.refuses("half a pod", &[(path, json!(1.5))], &words);
    t.refuses("maxUnavailable true", &[(path, json!(true))], &words);
}

/// The lists that are maps: no key twice.
fn unique(t: &mut Table<'_>) {
    let two = |a, b| [("/targets", json!([target(a), target(b)]))];
    t.takes("two targets", &two("web", "jobs"));
    t.refuses(
        "a target's name twice",
        &two("web", "web"),
        &["spec.targets[1]: Duplicate value", "web"],
    );
    let two = |a, b| [("/windows", json!([window(a), window(b)]))];
    t.takes("two windows", &two("night", "day"));
    t.refuses(
        "a window's name twice",
        &two("day", "day"),
        &["spec.windows[1]: Duplicate value", "day"],
    );
    let pool = |endpoint: &str| json!({"endpoint": endpoint, "connectionsPerPod": 1});
    let two = |a, b| [("/targets/0/pools", json!([pool(a), pool(b)]))];
    t.takes("two pools", &two("Reader", "Writer"));
    let words = ["spec.targets[0].pools[1]: Duplicate value", "Reader"];
    t.refuses("an endpoint twice", &two("Reader", "Reader"), &words);
}

/// Fields that take some words only, and fields that must be there.
pub fn words(server: &Server<'_>) -> usize {
    let mut t = Table::new(server);
    let signal = json!({"method": "Signal", "signal": {"name": "HUP"}});
    let http = json!({"method": "HTTP", "http": {"port": 1, "path": "/"}});
    let signals = [
        "HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "CONT", "TTIN", "TTOU", "WINCH",
    ];
    let fields: [(&str, &[(&str, Value)], &[&str], &[&str]); 9] = [
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
    let required: [(&str, &[(&str, Value)]); 18] = [
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
        ("/targets/0/pools/0/connectionsPerPod", &[]),
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
pub fn unknown_fields(server: &Server<'_>) -> usize {
    let mut t = Table::new(server);
    for path in [
        "/modes",
        "/dns",
        "/evidence",
        "/cluster/endpoint",
        "/targets/0/port",
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
