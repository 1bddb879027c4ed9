//! Every bound of the schema, from both sides: numbers, texts, lists.
#![allow(clippy::too_many_lines)] // tables

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::schema::{Walk, spec};
use crate::table::{RECYCLE, SELECTOR, Table, WORKLOAD, steered, target, window};
use dbbalance_testkit::api_server::KubeApiServer;

/// A field, the changes that it needs around it, and its least and greatest value.
type Number<'a> = (&'a str, &'a [(&'a str, Value)], i64, i64);

/// Least and greatest of each number, and what is just beyond.
pub fn numbers(server: &KubeApiServer<'_>) -> usize {
    let mut t = Table::new(server);
    let signal = [(
        RECYCLE,
        json!({"method": "Signal", "signal": {"name": "HUP"}}),
    )];
    let http = [(
        RECYCLE,
        json!({"method": "HTTP", "http": {"port": 1, "path": "/"}}),
    )];
    let windows = [("/windows", json!([window("w")]))];
    let late = [("/pacing/progressDeadlineSeconds", json!(86400))];
    let quick = [("/pacing/intervalSeconds", json!(1))];
    let steered = steered();
    let weights = [("/balance/weights", json!([{"instance": "a", "weight": 0}]))];
    let fields: [Number<'_>; 24] = [
        ("/targets/0/pools/0/connectionsPerPod", &[], 1, 10_000),
        ("/targets/0/pools/0/strayConnections", &[], 0, 10_000),
        ("/targets/0/recycle/signal/process", &signal, 1, 4_194_304),
        ("/targets/0/recycle/http/port", &http, 1, 65_535),
        ("/targets/0/recycle/http/timeoutSeconds", &http, 1, 60),
        ("/triggers/failover/settleSeconds", &[], 0, 3600),
        ("/triggers/readerAdded/settleSeconds", &[], 0, 3600),
        ("/triggers/readerRemoved/settleSeconds", &[], 0, 3600),
        ("/pacing/intervalSeconds", &late, 1, 3600),
        ("/pacing/jitterPercent", &[], 0, 100),
        ("/pacing/progressDeadlineSeconds", &quick, 10, 86_400),
        ("/limits/cooldownSeconds", &[], 0, 86_400),
        ("/limits/maxRunsPerHour", &[], 1, 60),
        ("/budget/maxConnections", &[], 1, 262_143),
        ("/budget/headroomPercent", &[], 0, 90),
        ("/targets/0/port", &[], 1, 65_535),
        ("/dns/timeoutSeconds", &[], 0, 3600),
        ("/dns/holdSeconds", &[], 0, 300),
        ("/dns/steering/holdSeconds", &steered, 15, 300),
        ("/dns/steering/settleSeconds", &steered, 0, 120),
        ("/evidence/tolerancePercent", &[], 5, 50),
        ("/balance/rampSeconds", &[], 0, 3600),
        ("/balance/weights/0/weight", &weights, 0, 1000),
        ("/windows/0/durationSeconds", &windows, 60, 604_800),
    ];
    let spread = ("/windows/0/spreadSeconds", &windows[..], 0, 86_400);
    let fields = fields.into_iter().chain([spread]);
    let mut known = BTreeSet::new();
    for (path, with, least, most) in fields {
        known.insert(path.replace("/0", ""));
        let change = |value: i64| [with, &[(path, json!(value))]].concat();
        t.takes(&format!("{path}, least"), &change(least));
        t.takes(&format!("{path}, most"), &change(most));
        let words = [&*format!(
            "in body should be greater than or equal to {least}"
        )];
        t.refuses(&format!("{path}, below"), &change(least - 1), &words);
        let words = [&*format!("in body should be less than or equal to {most}")];
        t.refuses(&format!("{path}, above"), &change(most + 1), &words);
    }
    let mut all = BTreeSet::new();
    spec().walk("", &mut |path, schema| {
        if matches!(schema["type"].as_str(), Some("integer" | "number")) {
            all.insert(path.to_owned());
        }
    });
    assert_eq!(all, known, "numbers of the schema, and those tried here");
    t.end()
}

/// A field, the changes that it needs around it, its greatest length, what it takes and what it refuses.
type Text<'a> = (
    &'a str,
    &'a [(&'a str, Value)],
    usize,
    &'a [&'a str],
    &'a [&'a str],
);

fn long(length: usize) -> Value {
    json!("a".repeat(length))
}

/// Lengths and patterns of each text.
pub fn texts(server: &KubeApiServer<'_>) -> usize {
    let mut t = Table::new(server);
    let signal = [(
        RECYCLE,
        json!({"method": "Signal", "signal": {"name": "HUP"}}),
    )];
    let http = [(
        RECYCLE,
        json!({"method": "HTTP", "http": {"port": 1, "path": "/"}}),
    )];
    let secured = [(
        RECYCLE,
        json!({"method": "HTTP", "http": {
            "port": 1, "path": "/", "tls": {"serverName": "a"},
            "headerSecretRef": {"name": "a", "key": "a"}
        }}),
    )];
    let windows = [("/windows", json!([window("w")]))];
    let role = [(
        "/cluster/roleARN",
        json!("arn:aws:iam::444455556666:role/r"),
    )];
    let arn = |length: usize| format!("arn:aws:iam::444455556666:role/{}", "r".repeat(length - 31));
    let labels = |labels: Value| {
        [
            (WORKLOAD, Value::Null),
            (SELECTOR, json!({"matchLabels": labels})),
        ]
    };
    let expression = |key: Value, values: Value| {
        let one = json!({"key": key, "operator": "In", "values": values});
        [
            (WORKLOAD, Value::Null),
            (SELECTOR, json!({"matchExpressions": [one]})),
        ]
    };

    // Path, surroundings, greatest length, good ones, bad ones.
    let names: (&[&str], &[&str]) = (&["a", "a-b", "0a"], &["-a", "a-", "A", "a.b", "a_b"]);
    let steered = steered();
    let weights = [("/balance/weights", json!([{"instance": "a", "weight": 0}]))];
    let fields: [Text<'_>; 17] = [
        (
            "/dns/steering/reader",
            &steered,
            63,
            &["a", "a-1", "orders-ro"],
            &["-a", "a-", "1a", "A", "a.b", "a_b"],
        ),
        (
            "/cluster/identifier",
            &[],
            63,
            &["a", "a1", "a-b-c"],
            &["A", "1a", "-a", "a-", "a--b", "a.b"],
        ),
        (
            "/cluster/region",
            &[],
            32,
            &[
                "eu-west-1",
                "us-gov-east-1",
                "ap-southeast-12",
                "eusc-de-east-1",
            ],
            &["eu-west", "EU-WEST-1", "eu_west_1"],
        ),
        (
            "/cluster/roleARN",
            &[],
            512,
            &["arn:aws-cn:iam::444455556666:role/path/r+=,.@-"],
            &[
                "arn:aws:iam::44445555666:role/r",
                "arn:aws:iam::444455556666:user/r",
            ],
        ),
        (
            "/cluster/externalID",
            &role,
            256,
            &["ab", "a:b/c=d"],
            &["a b", "a#b"],
        ),
        ("/targets/0/name", &[], 63, names.0, names.1),
        (
            "/targets/0/workloadRef/name",
            &[],
            253,
            &["a", "a.b-c"],
            &["-a", "a.", "A", "a_b"],
        ),
        (
            "/targets/0/recycle/signal/container",
            &signal,
            63,
            names.0,
            names.1,
        ),
        ("/targets/0/evidenceContainer", &[], 63, names.0, names.1),
        (
            "/targets/0/recycle/http/path",
            &http,
            1024,
            &["/", "/a/b?c=d&e=%20"],
            &["a", "/a b", "/a#b", "//ü", "http://a/"],
        ),
        (
            "/targets/0/recycle/http/tls/serverName",
            &secured,
            253,
            &["a", "a.b-c", "pay.shop.svc"],
            &["-a", "a.", "A", "a_b"],
        ),
        (
            "/targets/0/recycle/http/headerSecretRef/name",
            &secured,
            253,
            &["a", "a.b-c"],
            &["-a", "a.", "A", "a_b"],
        ),
        (
            "/targets/0/recycle/http/headerSecretRef/key",
            &secured,
            253,
            &["token", ".a_B-1"],
            &["a b", "a/b"],
        ),
        (
            "/targets/0/recycle/http/headerSecretRef/header",
            &secured,
            64,
            &["Authorization", "X-Token-2"],
            &["a b", "a:", "a_b"],
        ),
        (
            "/balance/weights/0/instance",
            &weights,
            63,
            &["a", "a1", "a-b-c"],
            &["A", "1a", "-a", "a-", "a--b", "a.b"],
        ),
        ("/windows/0/name", &windows, 63, names.0, names.1),
        (
            "/windows/0/timeZone",
            &windows,
            64,
            &["UTC", "Etc/GMT+1", "America/Port-au-Prince"],
            &["Europe Berlin", "a:b"],
        ),
    ];
    let mut known: BTreeSet<String> = [
        "/windows/schedule",
        "/targets/selector/matchExpressions/key",
        "/targets/recycle/http/tls/caBundle",
    ]
    .map(str::to_owned)
    .into();
    for (path, with, most, good, bad) in fields {
        known.insert(path.replace("/0", ""));
        let change = |value: &Value| [with, &[(path, value.clone())]].concat();
        let sized = |length: usize| match path {
            "/cluster/roleARN" => json!(arn(length)),
            "/cluster/region" => json!(format!("eu-{}-1", "a".repeat(length - 5))),
            "/targets/0/recycle/http/path" => json!(format!("/{}", "a".repeat(length - 1))),
            _ => long(length),
        };
        t.takes(&format!("{path}, longest"), &change(&sized(most)));
        let words = [&*format!("Too long: may not be more than {most} bytes")];
        t.refuses(
            &format!("{path}, longer"),
            &change(&sized(most + 1)),
            &words,
        );
        for text in good {
            t.takes(&format!("{path} {text:?}"), &change(&json!(text)));
        }
        for text in bad {
            let words = ["in body should match '^"];
            t.refuses(&format!("{path} {text:?}"), &change(&json!(text)), &words);
        }
    }
    t.refuses(
        "an external id of one letter",
        &[role[0].clone(), ("/cluster/externalID", json!("a"))],
        &["at least 2 chars long"],
    );
    schedules(&mut t);
    let bundle = |length: usize| {
        let path = "/targets/0/recycle/http/tls/caBundle";
        [secured[0].clone(), (path, json!("A".repeat(length)))]
    };
    t.takes("the longest bundle", &bundle(131_072));
    t.refuses("a longer bundle", &bundle(131_076), &["caBundle: Too long"]);

    t.takes(
        "a label's longest value",
        &labels(json!({"app": "a".repeat(63)})),
    );
    t.refuses(
        "a longer one",
        &labels(json!({"app": "a".repeat(64)})),
        &["matchLabels.app: Too long"],
    );
    t.takes(
        "an expression's longest",
        &expression(long(317), json!(["a".repeat(63)])),
    );
    t.refuses(
        "a longer value",
        &expression(long(1), json!(["a".repeat(64)])),
        &["values[0]: Too long"],
    );
    t.refuses(
        "a longer key",
        &expression(long(318), json!([])),
        &["key: Too long"],
    );
    t.refuses(
        "no key",
        &expression(json!(""), json!([])),
        &["key in body should be at least 1 chars long"],
    );

    let mut all = BTreeSet::new();
    spec().walk("", &mut |path, schema| {
        if schema["type"] == "string" && schema.get("enum").is_none() {
            all.insert(path.to_owned());
        }
    });
    assert_eq!(all, known, "texts of the schema, and those tried here");
    t.end()
}

/// Five fields; what they mean is judged by the operator.
fn schedules(t: &mut Table<'_>) {
    let change = |text: &str| {
        [
            ("/windows", json!([window("w")])),
            ("/windows/0/schedule", json!(text)),
        ]
    };
    for good in ["* * * * *", "0 9 * * MON-FRI", "*/5  0-6 1,15 * 7"] {
        t.takes(good, &change(good));
    }
    t.takes(
        "the longest schedule",
        &change(&format!("* * * * {}", "1".repeat(120))),
    );
    let longer = change(&format!("* * * * {}", "1".repeat(121)));
    t.refuses("a longer schedule", &longer, &["schedule: Too long"]);
    for bad in ["0 9 * * 1 *", "@every 10m", "0 0 9 * * 1-5", " 0 9 * * *"] {
        t.refuses(
            bad,
            &change(bad),
            &["spec.windows[0].schedule in body should match"],
        );
    }
    t.refuses("@daily", &change("@daily 1"), &["at least 9 chars long"]);
}

/// The least and greatest number of items.
pub fn lists(server: &KubeApiServer<'_>) -> usize {
    let mut t = Table::new(server);
    let targets = |n: usize| {
        let all: Vec<_> = (0..n).map(|i| target(&format!("t{i}"))).collect();
        [("/targets", json!(all))]
    };
    t.takes("16 targets", &targets(16));
    t.refuses(
        "17 targets",
        &targets(17),
        &["spec.targets: Too many: 17: must have at most 16 items"],
    );
    t.refuses(
        "no target",
        &targets(0),
        &["spec.targets in body should have at least 1 items"],
    );

    let windows = |n: usize| {
        let all: Vec<_> = (0..n).map(|i| window(&format!("w{i}"))).collect();
        [("/windows", json!(all))]
    };
    t.takes("no window", &windows(0));
    t.takes("8 windows", &windows(8));
    t.refuses(
        "9 windows",
        &windows(9),
        &["spec.windows: Too many: 9: must have at most 8 items"],
    );

    let weights = |n: usize| {
        let all: Vec<_> = (0..n)
            .map(|i| json!({"instance": format!("r{i}"), "weight": 50}))
            .collect();
        [("/balance/weights", json!(all))]
    };
    t.takes("no weight", &weights(0));
    t.takes("32 weights", &weights(32));
    t.refuses(
        "33 weights",
        &weights(33),
        &["spec.balance.weights: Too many: 33: must have at most 32 items"],
    );

    let pool = |endpoint: &str| json!({"endpoint": endpoint, "connectionsPerPod": 1});
    t.refuses(
        "no pool",
        &[("/targets/0/pools", json!([]))],
        &["pools in body should have at least 1 items"],
    );
    // A third is one of the two again, which is a second reason.
    let three = json!([pool("Reader"), pool("Writer"), pool("Reader")]);
    let three = server.create(
        &crate::table::changed(&[("/targets/0/pools", three)]),
        dbbalance_testkit::api_server::DRY,
    );
    let message = three.unwrap_err().message;
    assert!(
        message.contains("pools: Too many: 3: must have at most 2 items"),
        "{message}"
    );
    let select = |selector| [(WORKLOAD, Value::Null), (SELECTOR, selector)];
    let labels = |n: usize| {
        let all: serde_json::Map<_, _> = (0..n).map(|i| (format!("l{i}"), json!("x"))).collect();
        select(json!({"matchLabels": all}))
    };
    t.takes("16 labels", &labels(16));
    t.refuses(
        "17 labels",
        &labels(17),
        &["matchLabels: Too many: 17: must have at most 16 items"],
    );
    let expressions = |n: usize, values: usize| {
        let one = json!({"key": "a", "operator": "In", "values": vec!["x"; values]});
        select(json!({"matchExpressions": vec![one; n]}))
    };
    t.takes("16 expressions", &expressions(16, 64));
    t.refuses(
        "17 expressions",
        &expressions(17, 1),
        &["matchExpressions: Too many: 17: must have at most 16 items"],
    );
    t.refuses(
        "65 values",
        &expressions(1, 65),
        &["values: Too many: 65: must have at most 64 items"],
    );
    t.end()
}
