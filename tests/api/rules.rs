//! What fields mean together: the CEL rules, and lists that are maps.
#![allow(clippy::too_many_lines)] // a table

use serde_json::{Value, json};

use crate::table::{RECYCLE, SELECTOR, Table, WORKLOAD, steered, target, window};
use dbbalance_testkit::api_server::KubeApiServer;

/// The CEL rules.
pub fn between_fields(server: &KubeApiServer<'_>) -> usize {
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
        let with = format!("{method} with fallback");
        if method == "Rollout" {
            t.takes(&with, &[(RECYCLE, block)]);
        } else {
            t.refuses(&with, &[(RECYCLE, block)], &words);
        }
    }

    let unsaid = "spec: Invalid value: connectionsPerPod is required, unless evidence measures";
    let bare = || json!([{"endpoint": "Reader"}]);
    let measured = ("/evidence", json!({"source": "ProcNet"}));
    let pools = "/targets/0/pools";
    t.refuses("a pool without a number", &[(pools, bare())], &[unsaid]);
    t.takes("the same, measured", &[(pools, bare()), measured.clone()]);
    let two = json!([{"endpoint": "Reader", "connectionsPerPod": 1}, {"endpoint": "Writer"}]);
    t.refuses(
        "two pools, measured, one without a number",
        &[(pools, two), measured],
        &[unsaid],
    );
    let hook = |more: Value| {
        let mut block = call();
        block
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        [(RECYCLE, json!({"method": "HTTP", "http": block}))]
    };
    let tls = |tls: Value| hook(json!({ "tls": tls }));
    let named = "targets[0].recycle.http.tls: Invalid value: serverName is required";
    let useless = "targets[0].recycle.http.tls: Invalid value: caBundle is of no use";
    t.takes(
        "a verified hook",
        &tls(json!({"serverName": "a.shop.svc", "caBundle": "LS0t"})),
    );
    t.takes(
        "a hook that is not verified",
        &tls(json!({"insecureSkipVerify": true})),
    );
    t.refuses("TLS without a name", &tls(json!({})), &[named]);
    let address = "targets[0].recycle.http.tls: Invalid value: serverName must be a name";
    for name in ["10.1.2.3", "127.1", "0x7f000001"] {
        t.refuses(name, &tls(json!({ "serverName": name })), &[address]);
    }
    let both = json!({"insecureSkipVerify": true, "caBundle": "LS0t"});
    t.refuses("a bundle that is not used", &tls(both), &[useless]);
    let header = |header: &str| {
        hook(json!({"headerSecretRef": {"name": "hook", "key": "token", "header": header}}))
    };
    t.takes("a header", &header("Authorization"));
    let own = "headerSecretRef: Invalid value: this header is set by HTTP itself";
    t.refuses("HTTP's own header", &header("Content-Length"), &[own]);

    let mut twice = target("again");
    twice["workloadRef"] = target("web")["workloadRef"].clone();
    let targets = |second: Value| [("/targets", json!([target("web"), second]))];
    let shared = "spec: Invalid value: two targets name one workload: give its pools in one target";
    t.refuses("one workload twice", &targets(twice.clone()), &[shared]);
    twice["workloadRef"]["kind"] = json!("StatefulSet");
    t.takes("two workloads of one name", &targets(twice));
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

    steering(&mut t);
    unavailable(&mut t);
    unique(&mut t);
    t.end()
}

/// A steered name needs measured connections, a reader pool, and a hold that covers the start of an evicted pod's successor.
fn steering(t: &mut Table<'_>) {
    let with = |more: &[(&'static str, Value)]| [&steered()[..], more].concat();
    t.takes("a steered name", &with(&[]));
    let needs = ["spec: Invalid value: dns.steering needs measured connections and a reader pool"];
    let unmeasured = [("/evidence", json!({"source": "None"}))];
    t.refuses("steering without evidence", &with(&unmeasured), &needs);
    let pools = |endpoint: &str| {
        let pools = json!([{"endpoint": endpoint, "connectionsPerPod": 1}]);
        [("/targets/0/pools", pools)]
    };
    t.refuses(
        "steering without a reader pool",
        &with(&pools("Writer")),
        &needs,
    );
    t.takes("steering of a reader pool", &with(&pools("Reader")));
    let refused = ["spec: Invalid value: dns.steering.holdSeconds must be 60 or more"];
    let held = |recycle: Value, seconds: i32| {
        with(&[
            (RECYCLE, recycle),
            ("/dns/steering/holdSeconds", json!(seconds)),
        ])
    };
    let http = json!({"method": "HTTP", "http": {"port": 1, "path": "/"}});
    let mut falls_back = http.clone();
    falls_back["fallback"] = json!("Evict");
    for evicts in [json!({"method": "Evict"}), falls_back] {
        t.takes("a hold for Evict", &held(evicts.clone(), 60));
        t.refuses("a short hold for Evict", &held(evicts, 59), &refused);
    }
    t.takes("a short hold for HTTP", &held(http, 15));
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
    let two = |b: Value| [("/targets", json!([target("web"), b]))];
    t.takes("two targets", &two(target("jobs")));
    let mut of_another_workload = target("jobs");
    of_another_workload["name"] = json!("web");
    t.refuses(
        "a target's name twice",
        &two(of_another_workload),
        &["spec.targets[1]: Duplicate value", "web"],
    );
    let two = |a, b| [("/windows", json!([window(a), window(b)]))];
    t.takes("two windows", &two("night", "day"));
    t.refuses(
        "a window's name twice",
        &two("day", "day"),
        &["spec.windows[1]: Duplicate value", "day"],
    );
    let weight = |instance: &str| json!({"instance": instance, "weight": 0});
    let two = |a, b| [("/balance/weights", json!([weight(a), weight(b)]))];
    t.takes("two weights", &two("a", "b"));
    let words = ["spec.balance.weights[1]: Duplicate value", "a"];
    t.refuses("an instance's weight twice", &two("a", "a"), &words);
    let pool = |endpoint: &str| json!({"endpoint": endpoint, "connectionsPerPod": 1});
    let two = |a, b| [("/targets/0/pools", json!([pool(a), pool(b)]))];
    t.takes("two pools", &two("Reader", "Writer"));
    let words = ["spec.targets[0].pools[1]: Duplicate value", "Reader"];
    t.refuses("an endpoint twice", &two("Reader", "Reader"), &words);
}
